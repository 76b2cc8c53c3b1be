"""The type of an option or argument that names a job, and its completion in a shell."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ledger.errors import SoraLedgerError
from ledger.job import JOB_PREFIX
from ledger.log.job_names import NAMES, SUBMITTED, handle_of
from ledger.log.opening import open_ledger
from ledger.store.filters import JobFilter
from render_service.runtime.settings import Settings, read_settings

if TYPE_CHECKING:
    from ledger.job import Job

_MOST_OFFERED = 50
_LOOKED_AT = 2_000
"""Number of newest jobs whose ids are compared with a word that does not begin an id."""

NEWEST = "@last"

HELP = f"The job: {NAMES}."


class JobWord(str):
    """A word that names a job, as typed; `resolve_last` turns a relative one into an id."""

    __slots__ = ()


class JobName(click.ParamType[JobWord]):
    """Marks a value as the name of a job, so that it is resolved and completed like all others."""

    name = "job"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> JobWord:
        """Mark the value."""
        return JobWord(value)

    def shell_complete(
        self,
        ctx: click.Context,
        _param: click.Parameter,
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer the newest jobs that match, by handle, or by the id of the job or video that was begun."""
        if incomplete.startswith("@"):
            return [CompletionItem(word) for word in (NEWEST, "@-2", "@-3") if word.startswith(incomplete)]
        with suppress(SoraLedgerError, OSError):
            settings = read_settings(ledger=ctx.params.get("ledger"))
            return [_make_completion(job, incomplete) for job in _find_fitting(settings, incomplete)]
        return []


JOB = JobName()


def _find_fitting(settings: Settings, incomplete: str) -> "list[Job]":
    with open_ledger(settings.ledger_url) as ledger:
        if incomplete.startswith(JOB_PREFIX):
            return ledger.jobs(JobFilter(id_prefix=incomplete), _MOST_OFFERED)
        newest = ledger.jobs(limit=_LOOKED_AT if incomplete else _MOST_OFFERED)
        return [job for job in newest if _word_for(job, incomplete).startswith(incomplete)][:_MOST_OFFERED]


def _word_for(job: "Job", incomplete: str) -> str:
    """Return the name of `job` that `incomplete` may begin: its id, its video's id, or its handle."""
    if incomplete and (JOB_PREFIX.startswith(incomplete) or incomplete.startswith(JOB_PREFIX)):
        return job.job_id
    if incomplete and job.video_id and job.video_id.startswith(incomplete):
        return job.video_id
    return handle_of(job.job_id)


def _make_completion(job: "Job", incomplete: str) -> CompletionItem:
    word = _word_for(job, incomplete)
    shot = " ".join(part for part in (job.model or job.requested_model, job.size) if part)
    return CompletionItem(word, help=f"{job.state}, {job.created_at[:16].replace('T', ' ')} {shot}".strip())


ABOUT_A_VIDEO = ("poll", "open", "download")
"""Commands for which an unsent job is useless."""


def last_job(settings: Settings) -> str:
    """Return the id of the acting person's last job that was sent to a server."""
    return str(resolve_last(JobWord(NEWEST), settings, ABOUT_A_VIDEO[0]))


def resolve_last(value: Any, settings: Settings, command: str | None = None) -> Any:
    """Return the id of the job that ``@last`` or ``@-2`` means for the acting person; else `value`.

    For a `command` about a video it means one that was sent to a server.
    """
    if isinstance(value, JobWord) and value.startswith("@"):
        states = SUBMITTED if command in ABOUT_A_VIDEO else None
        with open_ledger(settings.ledger_url) as ledger:
            return ledger.job(value, settings.actor, states).job_id
    return value

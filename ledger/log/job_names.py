"""Resolve a job name: a whole id, or a short form from a table, a page or a person.

A job id is ``job_`` and the 32 hex digits of a UUIDv7. It begins with its time, which jobs of the same minute
share, and ends at random, so tables show the last 8 digits as a handle. An ellipsis, as some programs print
it in shortened ids, is accepted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ledger.errors import AmbiguousJob, JobNotFound
from ledger.job import JOB_PREFIX, Job
from ledger.store.filters import ALL_JOBS, JobFilter
from ledger.terms import State

HANDLE_DIGITS = 8
"""Digits of the handle of a job that tables show: the end of its id."""

_LEAST_DIGITS = 4
"""Minimum number of digits for the end of an id; shorter names match beginnings only."""

_MOST_NAMED = 5
_ELLIPSIS = re.compile(r"…|\.\.\.")
_PUBLIC = re.compile(r"video_(?P<digits>[0-9a-f]{32})")
_END = re.compile(rf"[0-9a-f]{{{_LEAST_DIGITS},32}}")
_BACK = re.compile(r"@(?:last|-(?P<count>[1-9][0-9]{0,5}))")

JobsOf = Callable[[JobFilter, int], list[Job]]
"""Lists the jobs that match a filter, up to a limit: `jobs` of a store."""

NAMES = "job id, video id, the beginning or the end of a job id, @last or @-2"


def handle_of(job_id: str) -> str:
    """Return the short handle of a job, which resolves to it."""
    return job_id[-HANDLE_DIGITS:]


SUBMITTED = tuple(
    state
    for state in State
    if state not in {"requested", "held", "approved", "refused", "denied", "decided", "cancelled"}
)
"""States of jobs that were sent to a server."""


def resolve_job(
    jobs_of: JobsOf, name: str, actor: str | None = None, states: tuple[State, ...] | None = None
) -> Job:
    """Return the one job called `name`; `JobNotFound` or `AmbiguousJob`, which lists them.

    ``@last`` and ``@-1`` are the newest job, ``@-2`` the one before, among jobs of `actor` and in one of
    `states` if given.
    """
    if back := _BACK.fullmatch(name):
        return _count_back(jobs_of, name, int(back["count"] or 1), JobFilter(actor=actor, states=states))
    return require_one(jobs_named(jobs_of, name), name)


def _count_back(jobs_of: JobsOf, name: str, count: int, where: JobFilter) -> Job:
    jobs = jobs_of(where, count)
    if len(jobs) < count:
        whose = f" of {where.actor}" if where.actor else ""
        kind = "submitted " if where.states else ""
        have = {0: f"no {kind}jobs", 1: f"only 1 {kind}job"}.get(len(jobs), f"only {len(jobs)} {kind}jobs")
        raise JobNotFound(
            f"{name!r}: the ledger has {have}{whose} so far: `sora-ledger jobs` lists the jobs of everyone",
            param="job",
            expected="a job of this ledger",
            found=f"{name}",
        )
    return jobs[-1]


def require_one(jobs: Sequence[Job], name: str) -> Job:
    """Return the only job in `jobs`, the matches of `name`; the error lists the candidates."""
    if not jobs:
        raise JobNotFound(
            f"{name!r} is not a job id, a video id, or the beginning or end of a job id in this ledger: "
            "`sora-ledger jobs` lists the jobs",
            param="job",
            expected="a job id, a video id, or the beginning or end of a job id",
            found=f"{name}",
        )
    if len(jobs) > 1:
        candidates = ", ".join(f"{job.job_id} ({job.state}, {job.created_at[:16]}Z)" for job in jobs)
        raise AmbiguousJob(
            f"{name!r} is ambiguous: {candidates}; type more of the id",
            param="job",
            expected="enough of the id to name one job",
            found=f"{name}",
        )
    return jobs[0]


def jobs_named(jobs_of: JobsOf, name: str, sees: Sequence[JobFilter] = ALL_JOBS) -> list[Job]:
    """Return the jobs among `sees` that match `name`, at most a few.

    A server's video id is tried first, then the gateway's public id, then the beginning and the end of job
    ids with equal rank.
    """
    public = _PUBLIC.fullmatch(name)

    def visible(where: JobFilter) -> list[Job]:
        jobs = {
            job.job_id: job
            for reachable in sees
            for job in jobs_of(
                replace(
                    reachable, video_id=where.video_id, id_prefix=where.id_prefix, id_suffix=where.id_suffix
                ),
                _MOST_NAMED,
            )
        }
        return [jobs[job_id] for job_id in sorted(jobs, reverse=True)][:_MOST_NAMED]

    return (
        visible(JobFilter(video_id=name))
        or (visible(JobFilter(id_prefix=JOB_PREFIX + public["digits"])) if public else [])
        or _find_by_part(visible, name)
    )


def _find_by_part(visible: Callable[[JobFilter], list[Job]], name: str) -> list[Job]:
    """Return the jobs whose ids begin or end like `name`, which may contain an ellipsis."""
    cut = _ELLIPSIS.search(name)
    if cut:
        begin, end = name[: cut.start()].removeprefix(JOB_PREFIX), name[cut.end() :]
    else:
        begin = end = name.removeprefix(JOB_PREFIX)
    matches: list[Job] = []
    if begin and not (cut and end):
        matches += visible(JobFilter(id_prefix=JOB_PREFIX + begin))
    if _END.fullmatch(end) and (cut or not name.startswith(JOB_PREFIX)):
        prefix = JOB_PREFIX + begin if cut and begin else None
        matches += visible(JobFilter(id_prefix=prefix, id_suffix=end))
    return list({job.job_id: job for job in matches}.values())[:_MOST_NAMED]

"""A video by its id: its job, which is adopted if only the server knows it, and its server's capabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.invocation import Invocation
from ledger.errors import JobNotFound, LedgerUnusable
from ledger.job import JOB_PREFIX, Job
from ledger.terms import Variant
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from sora_adapter.errors import OperationUnsupported, SettingsUnusable, VideoNotFound

if TYPE_CHECKING:
    from render_service.session.session import Session
    from sora_adapter.profiles import Wanted


def job_of(inv: Invocation, name: str) -> Job:
    """Return the job of `name`; a video that only the server has is adopted, into a new ledger if needed."""
    try:
        with inv.ledger() as ledger:
            return ledger.job(name)
    except JobNotFound as unknown:
        if name.startswith(JOB_PREFIX):
            raise
        return _adopt(inv, name, unknown)
    except LedgerUnusable as unusable:
        if name.startswith(JOB_PREFIX) or inv.settings.may_have_ledger:
            raise
        return _adopt(inv, name, unusable)


def _adopt(inv: Invocation, name: str, unknown: Exception) -> Job:
    """Ask the server and adopt the video if it exists; else raise `unknown` with the server's answer."""
    from render_service.adoption.adopt import adopt_or_recover, look_up  # rarely needed
    from render_service.api.sessions import finished

    try:
        found = finished(look_up(inv.settings, inv.trace, name, even_if_retired=inv.even_if_retired))
    except VideoNotFound as absent:
        raise type(unknown)(f"{unknown} (nor does the server know such a video)") from absent
    except (
        BadInput,
        SettingsUnusable,
        OperationUnsupported,
    ):  # there is no server to ask
        raise unknown from None

    async def record(session: "Session") -> Job:
        job, _ = await adopt_or_recover(session, session.profile(), found)
        return job

    return inv.session(record, begins=True)


def show_get(inv: Invocation, name: str, *, method: str = "GET", suffix: str = "") -> None:
    """Emit the request that would be sent for one video; an unknown video id is used verbatim."""
    from render_service.session.servers import check_server  # only a dry run
    from render_service.submission.preview import address
    from render_service.submission.sources import video_in

    video_id, profile = name, inv.settings.chosen_profile()
    try:
        with inv.ledger() as ledger:
            job = ledger.job(name)
            video_id, profile = video_in(job)
            check_server(inv.settings, ledger, job)
    except (JobNotFound, LedgerUnusable):  # a preview needs no ledger, unless only the ledger knows the id
        if name.startswith(JOB_PREFIX):
            raise
    check_offered(inv.settings, profile, "delete" if method == "DELETE" else "retrieve")
    url = f"{address(inv.settings, profile)}/videos/{video_id}{suffix}"
    document = {"dry_run": True, "request": {"method": method, "url": url}}
    inv.emit(document, lambda console: console.print(f"{method} {url}", markup=False))


def check_variants(settings: Settings, profile_name: str | None, variants: Sequence[Variant]) -> None:
    """Refuse variants that the server of the profile does not offer, before anything is sent."""
    beside_the_video = [variant for variant in variants if variant is not Variant.VIDEO]
    if beside_the_video:
        check_offered(settings, profile_name, *beside_the_video)


def check_offered(settings: Settings, profile_name: str | None, *wanted: "Wanted") -> None:
    """Refuse operations that the server of the profile does not offer, even if nothing would be sent."""
    from sora_adapter.profiles import profile, require  # not for a known job

    require(profile(profile_name or settings.chosen_profile(), settings.profiles_file), *wanted)

"""A video id that only the server knows: its video is adopted on the first command that names it."""

from typing import TYPE_CHECKING

from cli.invocation import Invocation
from ledger.errors import JobNotFound, LedgerUnusable
from ledger.job import JOB_PREFIX, Job

if TYPE_CHECKING:
    from render_service.session.session import Session


def job_of(inv: Invocation, name: str) -> Job:
    """Return the job called `name`; what only the server knows is adopted, and begins a ledger if need be."""
    try:
        with inv.ledger() as ledger:
            return ledger.job(name)
    except JobNotFound as unknown:
        if name.startswith(JOB_PREFIX):
            raise
        return _adopted(inv, name, unknown)
    except LedgerUnusable as unusable:
        if name.startswith(JOB_PREFIX) or inv.settings.may_have_ledger:
            raise
        return _adopted(inv, name, unusable)


def _adopted(inv: Invocation, name: str, unknown: Exception) -> Job:
    """Ask the server, and only if it has the video record anything; else say both: `unknown`, and why not."""
    from render_service.adoption.adopt import adopt_or_recover, look_up  # noqa: PLC0415  # calls a server
    from render_service.api.sessions import finished  # noqa: PLC0415
    from render_service.runtime.errors import BadInput  # noqa: PLC0415
    from sora_adapter.errors import OperationUnsupported, SettingsUnusable, VideoNotFound  # noqa: PLC0415

    try:
        seen = finished(look_up(inv.settings, inv.trace, name, even_if_retired=inv.even_if_retired))
    except VideoNotFound as absent:
        raise type(unknown)(f"{unknown} (nor does the server know such a video)") from absent
    except (
        BadInput,
        SettingsUnusable,
        OperationUnsupported,
    ):  # no server could be asked
        raise unknown from None

    async def record(session: "Session") -> Job:
        job, _ = await adopt_or_recover(session, session.profile(), seen)
        return job

    return inv.session(record, begins=True)

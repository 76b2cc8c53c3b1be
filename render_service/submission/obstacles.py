"""Report what would prevent a request from being sent, and what a preview assumes; nothing is called.

A decision says whether the policy allows a request. Whether it can be sent is another question: the profile
may be retired, the key or the address missing, the source video on another server.
"""

from dataclasses import dataclass
from typing import Any

from decision.request.request import RenderRequest
from ledger.job import State
from render_service.rules.opening import ledger_if_any
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import SANDBOX, Settings
from render_service.session.connections import usable_profile
from render_service.session.servers import address_in_use, check_server
from render_service.submission.sources import UNDER_WAY
from sora_adapter.capabilities import checked_base_url, checked_key
from sora_adapter.errors import SettingsUnusable


@dataclass(frozen=True)
class Outlook:
    """Why the run would be refused at present, and what it would check first; None if nothing applies."""

    refused: str | None = None
    assumes: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the outlook as fields of a preview."""
        return {"refused": self.refused, "assumes": self.assumes}

    def lines(self) -> list[str]:
        """Return what a person should know in addition to the decision."""
        refused = [f"the run would be refused: {self.refused}"] if self.refused else []
        return [*refused, *([self.assumes] if self.assumes else [])]


def outlook(settings: Settings, request: RenderRequest, *, even_if_retired: bool = False) -> Outlook:
    """Return what prevents `request` from being sent, and what is assumed about its source video."""
    assumes = None
    try:
        server = usable_profile(settings, request.profile, even_if_retired=even_if_retired)
        if server.name != SANDBOX:
            checked_base_url(server, address_in_use(settings, server))
            checked_key(server, settings.api_key)
        if request.source is not None and request.source.job_id is not None:
            assumes = _look_at_source(settings, request.source.job_id)
    except (BadInput, SettingsUnusable) as refused:
        return Outlook(refused=str(refused), assumes=assumes)
    return Outlook(assumes=assumes)


def _look_at_source(settings: Settings, job_id: str) -> str | None:
    with ledger_if_any(settings) as ledger:
        job = ledger.job(job_id) if ledger else None
        if ledger is None or job is None:
            return None
        check_server(settings, ledger, job)
    if job.status not in UNDER_WAY or job.state is not State.RUNNING:
        return None
    return (
        f"this assumes that {job.video_id} is completed by then: it was last seen {job.status}, "
        "and the run checks with the server first"
    )

"""Results of the client: videos, pages of videos, and characters, as a server described them."""

from dataclasses import dataclass

from ledger.events import ErrorDetail
from ledger.terms import Status


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A video as a server described it; times are Unix seconds, `progress` 0 to 100.

    `server_status` is the server's own word if it differs from `status`; `reported_cost_usd_micros` is the
    cost that the server reported for this call; `url` is the URL it gives for the bytes, and is not recorded.
    """

    video_id: str
    status: Status
    progress: int | None = None
    server_status: str | None = None
    error: ErrorDetail | None = None
    created_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None
    model: str | None = None
    size: str | None = None
    seconds: str | None = None
    prompt: str | None = None
    remixed_from_video_id: str | None = None
    poll_after_ms: int | None = None
    retry_after_ms: int | None = None
    provider_request_id: str | None = None
    reported_cost_usd_micros: int | None = None
    url: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the video is completed or failed."""
        return self.status in {Status.COMPLETED, Status.FAILED}


@dataclass(frozen=True)
class Page:
    """One page of a list; `last_id` is the `after` of the next.

    `has_more` is None if the server does not say; then only an empty page marks the end.
    """

    observations: tuple[Observation, ...]
    has_more: bool | None
    last_id: str | None


@dataclass(frozen=True)
class Character:
    """A person or thing that can appear in several videos; `created_at` in Unix seconds."""

    character_id: str
    name: str | None = None
    created_at: int | None = None

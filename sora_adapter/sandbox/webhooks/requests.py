"""Parse requests about webhook endpoints. Unlike the real server, this one accepts http URLs too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import limit, one_of, refuse_unknown, require, text_up_to

EVENT_TYPES = (
    "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
    "response.completed", "response.failed", "response.cancelled", "response.incomplete",
    "eval.run.succeeded", "eval.run.failed", "eval.run.canceled",
    "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled",
    "realtime.call.incoming", "video.completed", "video.failed",
    "agent.environment.ready", "agent.environment.failed", "agent.environment.suspended",
    "agent.environment.expired", "agent.session.created", "agent.session.action_required",
    "agent.session.in_progress", "agent.session.idle", "agent.session.failed", "safety.alert.created",
)  # fmt: skip
MAX_TEXT = 2048
_KEEP_OLD = "keep_old_secret_active_for_24_hours"


@dataclass(frozen=True)
class EndpointPage:
    """A requested page, newest first; `after` is the last id of the previous page."""

    limit: int
    after: str | None


def parse_endpoint(fields: Fields, *, permissive: bool) -> dict[str, Any]:
    """Check a create request; return name, url and event_types."""
    for param in ("event_types", "name", "url"):
        require(fields, param)
    return parse_changes(fields, permissive=permissive)


def parse_changes(fields: Fields, *, permissive: bool) -> dict[str, Any]:
    """Check an update request; return the given ones of name, url and event_types."""
    refuse_unknown(fields, ("event_types", "name", "url"))
    changes: dict[str, Any] = {}
    if "event_types" in fields:
        changes["event_types"] = _event_types(fields["event_types"])
    if "name" in fields:
        changes["name"] = text_up_to(fields, "name", MAX_TEXT)
    if "url" in fields:
        changes["url"] = _url(text_up_to(fields, "url", MAX_TEXT), permissive=permissive)
    return changes


def parse_rotation(fields: Fields) -> bool:
    """Check a rotation; return whether the old secret stays valid for a day."""
    refuse_unknown(fields, (_KEEP_OLD,))
    keep_old = fields.get(_KEEP_OLD, False)
    if not isinstance(keep_old, bool):
        raise ApiError.wrong_type(_KEEP_OLD, "a boolean", type_name(keep_old))
    return keep_old


def parse_test(fields: Fields) -> str:
    """Check a test; return the type of the event to send."""
    refuse_unknown(fields, ("event_type",))
    return one_of(fields, "event_type", EVENT_TYPES)


def parse_page(query: Mapping[str, str]) -> EndpointPage:
    """Check the query of a list."""
    return EndpointPage(limit(query, least=1), query.get("after"))


def is_postable(url: str) -> bool:
    """Return whether a URL can be posted to: it has a host and a valid port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _event_types(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ApiError.wrong_type("event_types", "an array", type_name(value))
    if not value:
        message = "Invalid 'event_types': expected at least one event type, but got none."
        raise ApiError.invalid(message, code="empty_array", param="event_types")
    wanted = [one_of({"event_types": one}, "event_types", EVENT_TYPES) for one in value]
    return tuple(dict.fromkeys(wanted))


def _url(url: str, *, permissive: bool) -> str:
    if not permissive and not is_postable(url):
        message = f"Invalid 'url': expected an https (or http) URL with a host, but got '{url}'."
        raise ApiError.invalid(message, code="invalid_url", param="url")
    return url

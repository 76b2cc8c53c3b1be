"""The API of webhook endpoints, as SDK 3.52 calls it: contents of requests, and shapes of answers.

`parse_endpoint` and `parse_changes` accept any text as URL; which URLs are usable is up to the server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import read_choice, read_limit, read_text_up_to, refuse_unknown, require

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


def parse_endpoint(fields: Fields, offered: Sequence[str] = EVENT_TYPES) -> dict[str, Any]:
    """Check a create request; return name, url and event_types, which must be `offered`."""
    for param in ("event_types", "name", "url"):
        require(fields, param)
    return parse_changes(fields, offered)


def parse_changes(fields: Fields, offered: Sequence[str] = EVENT_TYPES) -> dict[str, Any]:
    """Check an update request; return the given ones of name, url and event_types."""
    refuse_unknown(fields, ("event_types", "name", "url"))
    changes: dict[str, Any] = {}
    if "event_types" in fields:
        changes["event_types"] = _event_types(fields["event_types"], offered)
    if "name" in fields:
        changes["name"] = read_text_up_to(fields, "name", MAX_TEXT)
    if "url" in fields:
        changes["url"] = read_text_up_to(fields, "url", MAX_TEXT)
    return changes


def parse_rotation(fields: Fields) -> bool:
    """Check a rotation; return whether the old secret stays valid for a day."""
    refuse_unknown(fields, (_KEEP_OLD,))
    keep_old = fields.get(_KEEP_OLD, False)
    if not isinstance(keep_old, bool):
        raise ApiError.wrong_type(_KEEP_OLD, "a boolean", type_name(keep_old))
    return keep_old


def parse_test(fields: Fields, offered: Sequence[str] = EVENT_TYPES) -> str:
    """Check a test; return the type of the event to send."""
    refuse_unknown(fields, ("event_type",))
    return read_choice(fields, "event_type", offered)


def parse_page(query: Mapping[str, str]) -> EndpointPage:
    """Check the query of a list."""
    return EndpointPage(read_limit(query, least=1), query.get("after"))


def _event_types(value: Any, offered: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ApiError.wrong_type("event_types", "an array", type_name(value))
    if not value:
        message = "Invalid 'event_types': expected at least one event type, but got none."
        raise ApiError.invalid(
            message, code="empty_array", param="event_types", expected="at least one event type", found="none"
        )
    wanted = [read_choice({"event_types": entry}, "event_types", offered) for entry in value]
    return tuple(dict.fromkeys(wanted))


def endpoint_resource(
    endpoint_id: str,
    name: str,
    url: str,
    event_types: Sequence[str],
    *,
    hint: str,
    created_at: float,
    updated_at: float,
) -> dict[str, Any]:
    """Return an endpoint in the API's format; times are whole seconds since 1970."""
    return {
        "id": endpoint_id,
        "object": "webhook_endpoint",
        "name": name,
        "url": url,
        "event_types": list(event_types),
        "signing_secret_hint": hint,
        "created_at": int(created_at),
        "updated_at": int(updated_at),
    }


def endpoint_list(data: Sequence[Mapping[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of endpoints."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def test_resource(endpoint_id: str, event_type: str, status: int) -> dict[str, Any]:
    """Return a receiver's answer to a sample event."""
    return {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint_id,
        "event_type": event_type,
        "status_code": status,
        "success": True,
    }


def deleted_endpoint(endpoint_id: str) -> dict[str, Any]:
    """Return the confirmation of a deletion."""
    return {"id": endpoint_id, "deleted": True, "object": "webhook_endpoint.deleted"}


def no_such_endpoint(endpoint_id: str, param: str = "webhook_endpoint_id") -> ApiError:
    """Return the refusal for an endpoint that does not exist."""
    message = f"Webhook endpoint with id '{endpoint_id[:MAX_TEXT]}' not found."
    return ApiError.not_found(
        message,
        code="webhook_endpoint_not_found",
        param=param,
        expected="the id of an endpoint",
        found=endpoint_id[:MAX_TEXT],
    )


def unreachable(url: str, why: str | None = None) -> ApiError:
    """Return the answer to a test that the receiver did not answer."""
    message = f"The webhook endpoint at '{url}' gave no answer{f' ({why})' if why else ''}."
    return ApiError.invalid(
        message,
        code="webhook_endpoint_unreachable",
        param="webhook_endpoint_id",
        expected="an endpoint that answers",
        found=why or "no answer",
    )


def event_type_list(offered: Sequence[str] = EVENT_TYPES) -> dict[str, Any]:
    """Return the event types that an endpoint may subscribe to."""
    return {"object": "list", "data": list(offered)}

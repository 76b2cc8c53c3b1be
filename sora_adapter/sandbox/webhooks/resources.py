"""Endpoints and deliveries as the API shows them; a secret is shown when it is made and never again."""

from typing import Any

from sora_adapter.sandbox.webhooks.deliveries import Delivery
from sora_adapter.sandbox.webhooks.endpoints import Endpoint, hint_of
from sora_adapter.sandbox.webhooks.requests import EVENT_TYPES


def endpoint_resource(endpoint: Endpoint) -> dict[str, Any]:
    """Show an endpoint; times are whole seconds since 1970."""
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": hint_of(endpoint.secret),
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
    }


def with_secret(endpoint: Endpoint) -> dict[str, Any]:
    """Show an endpoint whose secret is new."""
    return {**endpoint_resource(endpoint), "signing_secret": endpoint.secret}


def test_resource(endpoint: Endpoint, event_type: str, status: int) -> dict[str, Any]:
    """Tell how a receiver answered a sample event."""
    return {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint.id,
        "event_type": event_type,
        "status_code": status,
        "success": True,
    }


def deleted_endpoint(endpoint_id: str) -> dict[str, Any]:
    """Confirm a deletion."""
    return {"id": endpoint_id, "deleted": True, "object": "webhook_endpoint.deleted"}


def event_type_list() -> dict[str, Any]:
    """Show every type of event an endpoint may ask for."""
    return {"object": "list", "data": list(EVENT_TYPES)}


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """Show a delivery to a test; `next_at` is null once it was taken or given up."""
    return {
        "id": delivery.id,
        "webhook_endpoint_id": delivery.endpoint_id,
        "event_id": delivery.event_id,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
        "next_at": delivery.next_at,
    }

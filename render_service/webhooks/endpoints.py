"""Having a server announce finished videos: register an endpoint, list, test, rotate. Nothing is recorded.

Secrets go to whoever asked and nowhere else: into no log and no ledger.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from render_service.runtime.errors import BadInput
from render_service.runtime.settings import WEBHOOK_SECRETS, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.session import connection, usable_profile
from render_service.webhooks.secrets import secrets_variable
from sora_adapter.capabilities import require
from sora_adapter.endpoints import Endpoint, NewSecret

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

R = TypeVar("R")


async def asked(
    settings: Settings,
    trace: Trace,
    ask: "Callable[[VideosClient], Awaitable[R]]",
    *,
    even_if_retired: bool = False,
) -> R:
    """Return what `ask` gets from the server of the chosen profile; `OperationUnsupported` if it has none."""
    profile = usable_profile(settings, None, even_if_retired=even_if_retired)
    require(profile, "webhooks")
    async with connection(settings, trace, profile) as client:
        return await ask(client)


def checked_url(url: str) -> str:
    """Return `url` if a server could post to it."""
    if not url.startswith(("https://", "http://")) or not url.isascii() or " " in url:
        raise BadInput(f"--url {url!r}: expected https://host/webhooks/PROFILE, where `serve` is reached")
    return url


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as JSON."""
    return endpoint.model_dump(mode="json", exclude_none=True)


def secret_document(settings: Settings, endpoint: NewSecret) -> dict[str, Any]:
    """Return an endpoint with its new secret, and the variable `serve` reads it from."""
    profile = settings.chosen_profile()
    variables = {"variable": WEBHOOK_SECRETS, "variable_of_profile": secrets_variable(profile)}
    return endpoint_document(endpoint) | {"profile": profile} | variables

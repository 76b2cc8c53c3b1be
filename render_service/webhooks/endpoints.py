"""Manage endpoints at a server, for its events about finished videos, and their signing secrets.

Endpoints are registered, listed, tested and rotated; nothing is recorded. Secrets are returned to the caller
only, and never appear in a log or ledger.

``SORA_LEDGER_WEBHOOK_SECRETS`` has the secrets of the chosen profile, ``SORA_LEDGER_WEBHOOK_SECRETS_NEW_API``
the secrets of the profile ``new-api``: in capitals, with ``_`` for ``-``. Several are separated by blanks or
commas, as during a rotation.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from render_service.runtime.errors import BadInput
from render_service.runtime.settings import WEBHOOK_SECRETS, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from sora_adapter.endpoints import Endpoint, NewSecret
from sora_adapter.errors import SettingsUnusable
from sora_adapter.profiles import profiles, require
from sora_adapter.webhooks import check_secret

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

R = TypeVar("R")


async def call_server(
    settings: Settings,
    trace: Trace,
    ask: "Callable[[VideosClient], Awaitable[R]]",
    *,
    even_if_retired: bool = False,
) -> R:
    """Return the result of `ask` at the chosen profile's server; `OperationUnsupported` if it has none."""
    profile = find_usable_profile(settings, None, even_if_retired=even_if_retired)
    require(profile, "webhooks")
    async with connection(settings, trace, profile) as client:
        return await ask(client)


def checked_url(url: str) -> str:
    """Return `url` if a server can post to it."""
    if not url.startswith(("https://", "http://")) or not url.isascii() or " " in url:
        raise BadInput(
            f"--url {url!r}: expected https://host/webhooks/PROFILE, where `serve` is reached",
            param="url",
            expected="https://host/webhooks/PROFILE",
            found=url,
        )
    return url


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as JSON."""
    return endpoint.model_dump(mode="json", exclude_none=True)


def secret_document(settings: Settings, endpoint: NewSecret) -> dict[str, Any]:
    """Return an endpoint with its new secret, and the variable `serve` reads it from."""
    profile = settings.chosen_profile()
    variables = {"variable": WEBHOOK_SECRETS, "variable_of_profile": secrets_variable(profile)}
    return endpoint_document(endpoint) | {"profile": profile} | variables


def secrets_variable(profile: str) -> str:
    """Return the variable that holds the secrets of one profile."""
    return f"{WEBHOOK_SECRETS}_{profile.upper().replace('-', '_')}"


def webhook_secrets(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Return the secrets by profile; `BadInput` names an invalid variable, or one of an unknown profile."""
    secrets: dict[str, tuple[str, ...]] = {}
    for variable, text in sorted(settings.webhook_secrets.items()):
        name = _profile_of(variable, settings)
        secrets[name] = tuple(dict.fromkeys((*secrets.get(name, ()), *_secrets(variable, text))))
    return secrets


def _profile_of(variable: str, settings: Settings) -> str:
    if variable == WEBHOOK_SECRETS:
        return settings.chosen_profile()
    known = {secrets_variable(name): name for name in profiles(settings.profiles_file)}
    if variable not in known:
        raise BadInput(
            f"{variable}: unknown profile; expected one of {', '.join(known)}",
            param=variable,
            expected=f"one of {', '.join(known)}",
            found="another",
        )
    return known[variable]


def _secrets(variable: str, text: str) -> tuple[str, ...]:
    secrets = text.replace(",", " ").split()
    if not secrets:
        raise BadInput(
            f"{variable} is empty: set it to what `webhook register` printed, or unset it",
            param=variable,
            expected="a secret",
            found="nothing",
        )
    try:
        return tuple(map(check_secret, secrets))
    except SettingsUnusable as error:
        raise BadInput(
            f"{variable}: {error}", param=variable, expected="a webhook secret", found=error
        ) from error

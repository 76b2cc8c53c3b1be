"""The clients of a session, one per profile until it is closed, and the usable profiles."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from render_service.runtime.errors import KeyMissing, ProfileRetired
from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.spans import Telemetry
from render_service.runtime.telemetry import Trace
from sora_adapter.profiles import Profile, profile, profiles

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


KEY_MISSING = """\
OPENAI_API_KEY is not set.
  1. Get a key from the operator of the server that you use. (OpenAI switched
     off its own Videos API on 2026-09-24; LiteLLM, vLLM-Omni, SGLang and
     others speak the same protocol.)
  2. Set it in your own shell, and never paste it into a chat or a prompt:
       export OPENAI_API_KEY=…          (or a line OPENAI_API_KEY=… in .env)
  3. Name the server: export OPENAI_BASE_URL=https://host/v1
To try everything now, without key or network, add --profile sandbox."""


Connect = Callable[[Settings, Trace, Profile, Telemetry], AbstractAsyncContextManager["VideosClient"]]
"""Connects to the server of a profile: `render_service.session.connecting.connection`."""


class Connections:
    """One client per profile, created on first use by `connect`."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._clients: dict[str, VideosClient] = {}

    def __contains__(self, name: object) -> bool:
        """Return whether there is a client for the profile of this name."""
        return name in self._clients

    async def get(
        self, settings: Settings, trace: Trace, profile: Profile, telemetry: Telemetry
    ) -> "VideosClient":
        """Return the client for `profile`."""
        async with self._lock:
            if profile.name not in self._clients:
                made = self._connect(settings, trace, profile, telemetry)
                self._clients[profile.name] = await self._stack.enter_async_context(made)
            return self._clients[profile.name]

    async def close(self) -> None:
        """Close all clients."""
        self._clients.clear()
        await self._stack.aclose()


def find_usable_profile(settings: Settings, name: str | None, *, even_if_retired: bool) -> Profile:
    """Return the profile `name` (None: the one for new requests); errors say what to do if it is unusable."""
    chosen = profile(name or settings.chosen_profile(), settings.profiles_file)
    retired = chosen.is_retired_at(settings.base_url) and not even_if_retired
    needs_key = chosen.needs_key and not settings.api_key
    if needs_key and not (
        retired and chosen.base_url is None
    ):  # the message about the key mentions the end of OpenAI's API
        raise KeyMissing(KEY_MISSING, param=chosen.key_variable, expected="an API key", found="nothing")
    check_key_goes_to(settings, chosen)
    if retired:
        raise ProfileRetired(
            f"profile {chosen.name}: {chosen.retired_because} (--even-if-retired tries anyway)",
            param="profile",
            expected="a server that exists",
            found=chosen.name,
        )
    return chosen


def check_key_goes_to(settings: Settings, profile: Profile) -> None:
    """Refuse to send a key to a server that it is not for; the sandbox gets none."""
    if profile.name != SANDBOX:
        settings.check_key_goes_to(own_profile=profile.name not in profiles())

"""Check what a server offers before anything is sent, and say what is missing, why, and the way out. Pure."""

from typing import get_args
from urllib.parse import urlsplit

from ledger.events import Variant
from sora_adapter.errors import OperationUnsupported, SettingsUnusable
from sora_adapter.profiles import Ability, Profile, Wanted

_NAMES: dict[Wanted, str] = {
    "create": "new videos",
    "remix": "remixes",
    "edit": "edits of a video it has",
    "edit_upload": "edits of an uploaded video",
    "extend": "extensions",
    "character": "characters",
    "retrieve": "the status of a video",
    "list": "a list of its videos",
    "delete": "deletions",
    "content": "downloads",
    "webhooks": "webhook endpoints",
    "moderations": "moderations",
    "url": "an input reference by URL",
    "file_id": "an input reference by file id",
    "seed": "a seed",
    "loop": "loops",
    "negative_prompt": "a negative prompt",
    "fps": "a choice of frames per second",
    "input_references": "several input references",
    Variant.THUMBNAIL: "thumbnails",
    Variant.SPRITESHEET: "spritesheets",
    Variant.VIDEO: "the video itself",
}


def require(profile: Profile, *wanted: Wanted) -> None:
    """Raise `OperationUnsupported` for the first thing of `wanted` that the server does not offer."""
    for thing in wanted:
        if not profile.offers(thing):
            raise OperationUnsupported(
                f"profile {profile.name} does not offer {_NAMES[thing]}: {_because(profile, thing)} "
                "(nothing was sent)"
            )


def _because(profile: Profile, wanted: Wanted) -> str:
    offered = ", ".join(ability for ability in get_args(Ability) if profile.offers(ability))
    return profile.unsupported.get(wanted) or f"its server has {offered}; use the profile of one that can"


def checked_base_url(profile: Profile, base_url: str | None) -> str:
    """Return the base URL to use, None meaning the profile's; `SettingsUnusable` says what is wrong."""
    url = base_url or profile.base_url
    if url is None:
        raise SettingsUnusable(f"profile {profile.name} needs the address of a server; set OPENAI_BASE_URL")
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise SettingsUnusable(f"base URL {url!r} cannot be used; expected one like https://host/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsUnusable(
            f"the base URL of {parts.hostname} must not hold a user, a query or a fragment; "
            f"a key belongs in {profile.key_variable}"
        )
    return url.rstrip("/")


def checked_key(profile: Profile, api_key: str | None) -> str | None:
    """Return the key to use; `SettingsUnusable` where one is needed, or cannot be sent."""
    key = (api_key or "").strip()
    if not key and profile.needs_key:
        raise SettingsUnusable(f"profile {profile.name} needs a key; set {profile.key_variable}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsUnusable(
            f"the key in {profile.key_variable} holds a space or a character no key has; copy it again"
        )
    return key or None

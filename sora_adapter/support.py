"""What a server cannot do is said before anything is sent: what, why, and what to do instead. Pure."""

from typing import get_args

from ledger.events import Variant
from sora_adapter.errors import OperationUnsupported
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

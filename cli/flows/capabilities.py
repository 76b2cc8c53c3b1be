"""What the server of a profile has to offer, checked before anything is sent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ledger.events import Variant
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from sora_adapter.profiles import Wanted


def check_variants(settings: Settings, profile_name: str | None, variants: Sequence[Variant]) -> None:
    """Refuse what the server of the profile cannot give, before anything is sent; the message says why."""
    beside_the_video = [variant for variant in variants if variant is not Variant.VIDEO]
    if beside_the_video:
        check_offered(settings, profile_name, *beside_the_video)


def check_offered(settings: Settings, profile_name: str | None, *wanted: "Wanted") -> None:
    """Refuse what the server of the profile does not offer, also where nothing would be sent anyway."""
    from sora_adapter.capabilities import require  # noqa: PLC0415
    from sora_adapter.profiles import profile  # noqa: PLC0415

    require(profile(profile_name or settings.chosen_profile(), settings.profiles_file), *wanted)

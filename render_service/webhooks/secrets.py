"""Which secrets webhooks of each profile may be signed with, several at once while one replaces another.

``SORA_LEDGER_WEBHOOK_SECRETS`` holds those of the chosen profile, ``SORA_LEDGER_WEBHOOK_SECRETS_NEW_API``
those of the profile ``new-api``: in capitals, with ``_`` for ``-``. Blanks or commas separate several.
"""

from collections.abc import Mapping

from render_service.runtime.errors import BadInput
from render_service.runtime.settings import WEBHOOK_SECRETS, Settings
from sora_adapter.errors import SettingsUnusable
from sora_adapter.profiles import profiles


def secrets_variable(profile: str) -> str:
    """Return the variable that holds the secrets of one profile."""
    return f"{WEBHOOK_SECRETS}_{profile.upper().replace('-', '_')}"


def webhook_secrets(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Return the secrets by profile; `BadInput` names a variable that is empty, broken, or of no profile."""
    found: dict[str, tuple[str, ...]] = {}
    for variable, text in sorted(settings.webhook_secrets.items()):
        name = _profile_of(variable, settings)
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *_secrets(variable, text))))
    return found


def _profile_of(variable: str, settings: Settings) -> str:
    if variable == WEBHOOK_SECRETS:
        return settings.chosen_profile()
    known = {secrets_variable(name): name for name in profiles(settings.profiles_file)}
    if variable not in known:
        raise BadInput(f"{variable}: there is no such profile; expected one of {', '.join(known)}")
    return known[variable]


def _secrets(variable: str, text: str) -> tuple[str, ...]:
    from sora_adapter.webhooks import checked_secret  # noqa: PLC0415  # openai takes half a second

    secrets = text.replace(",", " ").split()
    if not secrets:
        raise BadInput(f"{variable} is empty: set it to what `webhook register` printed, or unset it")
    try:
        return tuple(map(checked_secret, secrets))
    except SettingsUnusable as error:
        raise BadInput(f"{variable}: {error}") from error

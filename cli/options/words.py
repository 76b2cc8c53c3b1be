"""Shell completions for option values: models, sizes, purposes, profiles."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_words(words: Callable[[], Iterable[str]]) -> Completion:
    """Return a completer for the `words` that begin as typed; they are read on request."""

    def offered(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words() if word.startswith(incomplete)]

    return offered


def _models() -> Iterable[str]:
    from decision.rules.toml import default_catalog  # only a shell asks

    return ("auto", *default_catalog().model_names)


def _sizes() -> Iterable[str]:
    from decision.rules.toml import default_catalog

    return default_catalog().sizes


def _seconds() -> Iterable[str]:
    from decision.rules.toml import default_catalog

    return map(str, default_catalog().seconds)


def _purposes() -> Iterable[str]:
    from decision.rules.purpose import PURPOSES

    return PURPOSES


def _profiles() -> Iterable[str]:
    from render_service.runtime.settings import read_settings
    from sora_adapter.profiles import profiles as known

    return known(read_settings().profiles_file)


def _fits() -> Iterable[str]:
    from render_service.assets.fit import Fit

    return (fit.value for fit in Fit)


def _aspects() -> Iterable[str]:
    from decision.request.prompt import CHANGE_ASPECTS

    return CHANGE_ASPECTS


models, sizes, lengths = complete_words(_models), complete_words(_sizes), complete_words(_seconds)
purposes, profiles = complete_words(_purposes), complete_words(_profiles)
fits, aspects = complete_words(_fits), complete_words(_aspects)
switches = complete_words(lambda: ("true", "false"))

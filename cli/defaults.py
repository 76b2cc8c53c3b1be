"""Defaults of options from a person's config file, for the commands that have them."""

from collections.abc import Mapping
from typing import Any

from cli.text.usage import Usage
from decision.errors import DecisionError
from decision.money import micros_of
from decision.request.dimensions import read_size, seconds_of
from decision.rules.catalog import Catalog
from decision.rules.purpose import PURPOSES
from render_service.assets.fit import Fit
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import check_word
from render_service.runtime.user_config import read_config

_RENDERS = ("create", "create-and-poll", "image2video", "decide", "create-batch")
_WAITS = ("create-and-poll", "image2video", "poll", "create-batch")
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "model": _RENDERS,
    "size": _RENDERS,
    "seconds": _RENDERS,
    "purpose": _RENDERS,
    "fit": _RENDERS,
    "nearest": _RENDERS,
    "max_cost": ("create", "create-and-poll", "image2video", "decide"),
    "poll_interval": _WAITS,
    "timeout": _WAITS,
}
"""The commands whose option of that name gets the default."""

_PARAMETERS = {"max_cost": "max_cost_usd_micros"}
_WITH = {"fit": ("-i", "--images", "--input-reference")}
"""A default that applies only together with one of these options."""

_WITHOUT = {"seconds": ("--duration",), "size": ("--width", "--height")}
"""A default that gives way to other names of its option."""


class Defaults(Mapping[str, Any]):
    """The defaults by command, read when such a command is run; help does not need the file."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments

    def __getitem__(self, command: str) -> dict[str, str]:
        if not any(command in commands for commands in _COMMANDS.values()):
            raise KeyError(command)
        config = read_config()
        return {
            _PARAMETERS.get(name, name): config[name]
            for name, commands in _COMMANDS.items()
            if name in config and command in commands and self._applies(name)
        }

    def _applies(self, name: str) -> bool:
        typed = {word.split("=")[0] for word in self._arguments}
        return not typed.intersection(_WITHOUT.get(name, ())) and (
            name not in _WITH or bool(typed.intersection(_WITH[name]))
        )

    def __iter__(self) -> Any:
        return iter(_RENDERS)

    def __len__(self) -> int:
        return len(_RENDERS)


def check_default(name: str, value: str, catalog: Catalog) -> None:
    """Refuse a value that the option would refuse, as far as that is known without a request."""
    try:
        _check(name, value, catalog)
    except DecisionError as error:
        raise BadInput(
            f"config {name}: {error}", param=name, expected="a value that the option takes", found=error
        ) from error


def _check(name: str, value: str, catalog: Catalog) -> None:
    expected: tuple[str, ...] | None = {
        "model": ("auto", *catalog.model_names),
        "purpose": tuple(PURPOSES),
        "fit": tuple(fit.value for fit in Fit),
        "nearest": ("true", "false"),
    }.get(name)
    if expected is not None and value not in expected:
        raise Usage(
            f"config {name} {value!r}: expected {', '.join(expected)}",
            param=name,
            expected=", ".join(expected),
            found=value,
        )
    if name == "size":
        read_size(value, catalog)
    if name == "seconds":
        seconds_of(value, catalog)
    if name in {"team", "project"}:
        check_word(f"config {name}", value)
    if name == "max_cost" and micros_of(value) is None:
        raise Usage(
            f"config max_cost {value!r}: expected dollars from 0, such as 2.50",
            param="max_cost",
            expected="dollars from 0, such as 2.50",
            found=value,
        )
    if name in {"poll_interval", "timeout"} and not _is_seconds(value):
        raise Usage(
            f"config {name} {value!r}: expected seconds, such as 5",
            param=name,
            expected="seconds, such as 5",
            found=value,
        )


def _is_seconds(value: str) -> bool:
    try:
        return 0 <= float(value) < float("inf")
    except ValueError:
        return False

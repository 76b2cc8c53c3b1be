"""A person's defaults, in a separate file; options, the environment and ``.env`` override them.

The file is ``sora-ledger/config.toml`` in the configuration folder of the system (``XDG_CONFIG_HOME``), with
one line for each key. It holds no secret, no address that a key would be sent to, and no person's name: those
are set where they are visible.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ledger.private_files import NewFile, make_folders
from render_service.runtime.errors import BadInput, StorageFailed

MOST_BYTES = 1 << 16


class Key(NamedTuple):
    """A key of the file: its setting, and the variable that overrides it, if any."""

    help: str
    variable: str | None = None


KEYS: Mapping[str, Key] = {
    "ledger": Key("the ledger: a file or a URL", "SORA_LEDGER_URL"),
    "profile": Key("the server profile", "SORA_LEDGER_PROFILE"),
    "team": Key("the team that pays", "SORA_LEDGER_TEAM"),
    "project": Key("the project that pays", "SORA_LEDGER_PROJECT"),
    "model": Key("--model of a new render"),
    "size": Key("--size of a new render"),
    "seconds": Key("--seconds of a new render"),
    "purpose": Key("--purpose of a new render"),
    "fit": Key("--fit of an image"),
    "nearest": Key("--nearest: true or false"),
    "max_cost": Key("--max-cost of a new render, in dollars"),
    "poll_interval": Key("--poll-interval, in seconds"),
    "timeout": Key("--timeout of waiting, in seconds"),
}
"""The available keys."""


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the file."""
    folder = environment.get("XDG_CONFIG_HOME", "").strip()
    if folder and Path(folder).is_absolute():
        return Path(folder) / "sora-ledger" / "config.toml"
    from platformdirs import user_config_path  # only if no folder is given

    return user_config_path("sora-ledger", appauthor=False) / "config.toml"


def read_config(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the set values, by key; `BadInput` says what is wrong with the file."""
    path = config_path(environment)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # a service has another person's home
        return {}
    except OSError as error:
        raise BadInput(
            f"config file {path}: cannot be read ({error.strerror})",
            param="config",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:
        raise BadInput(
            f"config file {path}: expected TOML, one key = value on each line ({error})",
            param="config",
            expected="TOML, one key = value on each line",
            found=error,
        ) from error
    return {name: _text(path, name, value) for name, value in table.items()}


def variables(config: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of `config` that a variable overrides, by the name of the variable."""
    return {key.variable: config[name] for name, key in KEYS.items() if key.variable and name in config}


def set_config(name: str, value: str | None) -> Path:
    """Set a key of the file, or remove it with None; return the path. `BadInput` for an unknown key."""
    check_key(name)
    config = read_config()
    if value is None:
        config.pop(name, None)
    else:
        config[name] = value
    path = config_path()
    lines = [f"{key} = {json.dumps(config[key], ensure_ascii=False)}\n" for key in KEYS if key in config]
    try:
        make_folders(path.parent)
        with NewFile(path) as file:
            file.write("".join(lines).encode())
            file.replace()
    except OSError as error:
        raise StorageFailed(
            f"config file {path}: cannot be written ({error.strerror})",
            param="config",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    return path


def check_key(name: str, place: str = "config") -> str:
    """Return `name` if it is a key of the file; `BadInput` lists the keys, and the nearest, if any."""
    if name in KEYS:
        return name
    near = get_close_matches(name.lower().replace("-", "_").lstrip("_"), KEYS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise BadInput(
        f"{place}: unknown key {name!r} (known: {', '.join(KEYS)}){hint}",
        param=name,
        expected=near[0] if near else f"one of {', '.join(KEYS)}",
        found=name,
    )


def _text(path: Path, name: str, value: object) -> str:
    check_key(name, f"config file {path}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise BadInput(
            f"config file {path}: {name} expects text, a number, true or false",
            param=name,
            expected="text, a number, true or false",
            found="another value",
        )
    return str(value)

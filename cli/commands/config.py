"""``config``: a person's defaults, in a separate file."""

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cli.defaults import check_default
from cli.invocation import Invocation
from cli.options import common, words
from cli.options.command import Group
from render_service.runtime.printable import printable
from render_service.runtime.user_config import KEYS, check_key, config_path, read_config, set_config

if TYPE_CHECKING:
    from rich.console import Console


def _keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=key.help) for name, key in KEYS.items() if name.startswith(incomplete)]


_OFFERED = {
    "profile": words.profiles,
    "model": words.models,
    "size": words.sizes,
    "seconds": words.lengths,
    "purpose": words.purposes,
    "fit": words.fits,
    "nearest": words.switches,
}


def _values(context: click.Context, value: click.Parameter, incomplete: str) -> list[CompletionItem]:
    offer = _OFFERED.get(str(context.params.get("key")))
    return offer(context, value, incomplete) if offer else []


@click.group("config", cls=Group)
def config_command() -> None:
    """Set your own defaults; options, variables and `.env` override them.

    \b
    Example:
      sora-ledger config set profile sandbox
      sora-ledger config list
    """


@config_command.command("list", short_help="Show all keys and their values.")
@common.invocation
def list_command(inv: Invocation) -> None:
    """Show every key with its value and purpose.

    \b
    Example:
      sora-ledger config list
    """
    config = read_config()
    document = {"path": str(config_path()), "config": {name: config.get(name) for name in KEYS}}
    inv.emit(document, lambda console: _show(console, document))


def _show(console: "Console", document: dict[str, Any]) -> None:
    console.print(document["path"], markup=False, soft_wrap=True)
    width = max(map(len, KEYS))
    for name, key in KEYS.items():
        value = document["config"][name]
        text = f"{name:<{width}}  {'-' if value is None else value:<12}  {key.help}"
        console.print(printable(text), markup=False)


@config_command.command("get", short_help="Print the value of a key.")
@click.argument("key", shell_complete=_keys)
@common.invocation
def get_command(inv: Invocation, *, key: str) -> None:
    """Print the value of a key, or nothing if it is not set.

    \b
    Example:
      sora-ledger config get profile
    """
    value = read_config().get(check_key(key))
    inv.emit({"key": key, "value": value}, lambda console: console.print(value or "", markup=False))


@config_command.command("set", short_help="Set a key.")
@click.argument("key", shell_complete=_keys)
@click.argument("value", shell_complete=_values)
@common.invocation
def set_command(inv: Invocation, *, key: str, value: str) -> None:
    """Set a key; the value is checked as the option would be.

    \b
    Example:
      sora-ledger config set seconds 8
    """
    check_default(check_key(key), value, inv.rules.catalog)
    path = set_config(key, value)
    inv.emit(
        {"path": str(path), "key": key, "value": value},
        lambda console: console.print(f"{key} = {printable(value)}", markup=False),
    )


@config_command.command("unset", short_help="Remove a key.")
@click.argument("key", shell_complete=_keys)
@common.invocation
def unset_command(inv: Invocation, *, key: str) -> None:
    """Remove a key, so that the default of the program applies.

    \b
    Example:
      sora-ledger config unset seconds
    """
    path = set_config(key, None)
    inv.emit(
        {"path": str(path), "key": key, "value": None},
        lambda console: console.print(f"{key} is not set", markup=False),
    )

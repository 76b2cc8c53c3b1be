"""Checks of several ledgers, one by one: `verify --all DIR` and `audit --all DIR`.

`render_service.runtime.ledgers` finds the ledgers of a folder. An unreadable ledger does not prevent the
checks of the others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.text.tables import columns
from cli.text.usage import Usage
from ledger.errors import LedgerUnusable
from render_service.runtime.documents import Json
from render_service.runtime.errors import ServiceError
from render_service.runtime.ledgers import OneLedger, ledgers_in
from render_service.runtime.settings import read_settings

if TYPE_CHECKING:
    from rich.console import Console


option = click.option(
    "--all",
    "all_in",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Check every ledger in this folder: DIR/*.db, DIR/*/ledger.db and DIR/*/settings.env.",
)


def refuse(options: Mapping[str, object]) -> None:
    """Raise a usage error if an option for a single ledger was used with --all."""
    if used := [name for name, value in options.items() if value]:
        raise Usage(
            f"{used[0]} is about one ledger; leave it or --all out",
            param="all",
            expected="one ledger, or another command",
            found="--all",
        )


def check_all(inv: Invocation, folder: Path, check: Callable[[Invocation], Json], findings: ExitCode) -> None:
    """Check each ledger with `check`, print the results, and end with the code of the worst.

    That is `findings` if any has findings, and otherwise the code of one that could not be checked.
    """
    results = [_check_ledger(inv, ledger, check) for ledger in ledgers_in(folder)]
    document = {"clean": all(result["clean"] is True for result in results), "ledgers": results}
    inv.emit(document, lambda console: _text(console, results))
    if any(result["clean"] is False for result in results):
        raise click.exceptions.Exit(findings)
    if any(result["clean"] is None for result in results):
        raise click.exceptions.Exit(ExitCode.LEDGER_UNUSABLE)


def _check_ledger(inv: Invocation, ledger: OneLedger, check: Callable[[Invocation], Json]) -> Json:
    try:
        settings = read_settings(environment=ledger.environment, folder=ledger.folder)
        return {"ledger": ledger.shown, **check(replace(inv, settings=settings))}
    except (LedgerUnusable, ServiceError) as error:
        return {"ledger": ledger.shown, "clean": None, "because": str(error)}


def _text(console: "Console", results: Iterable[Json]) -> None:
    words = {True: "clean", False: "findings", None: "not checked"}
    rows = [
        (
            result["ledger"],
            words[result["clean"]],
            result.get("because") or _codes(result.get("findings") or ()),
        )
        for result in results
    ]
    columns(console, ("ledger", "result", "what"), rows, cuts=True)


def _codes(findings: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(finding["code"]) for finding in findings))

"""``remix --change KEY=VALUE``: the prompt of a remix, written from the recorded shot."""

from collections.abc import Mapping
from typing import Any

import click

from cli.invocation import Invocation
from cli.text.usage import Usage
from decision.one_change.shot_spec import NAMES, change_spec
from decision.request.prompt import FIELDS
from ledger.errors import JobNotFound
from render_service.submission.sources import spec_at

KEEPS = "same shot and framing"
FIXED = ("model", "size", "seconds")

change_option = click.option(
    "--change",
    "changes",
    metavar="KEY=VALUE",
    multiple=True,
    help=f"Change one line of the recorded shot: {', '.join(NAMES)}.",
)


def apply_changes(
    inv: Invocation, name: str, changes: tuple[str, ...], request_options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return prompt and options of the remix of the video called `name` that makes `changes`.

    Several changes, or a change of what a remix keeps, are passed on: the decision denies them and names
    the alternative.
    """
    wanted = dict(map(_pair, changes))
    if len(wanted) < len(changes):
        raise Usage(
            "--change names one key twice; a remix changes exactly one thing",
            param="change",
            expected="each key once",
            found="one twice",
        )
    wishes = {key: value for key, value in wanted.items() if key in FIXED}
    lines = {key: value for key, value in wanted.items() if key not in FIXED}
    if wishes or len(lines) > 1:
        unknown = [key for key in lines if key not in FIELDS]
        if unknown:
            change_spec({}, unknown[0], lines[unknown[0]])  # lists the valid keys
        return KEEPS, request_options | wishes | {"fields": {**lines, **request_options["fields"]}}
    ((key, value),) = lines.items()
    spec = change_spec(_spec(inv, name), key, value)
    return spec.prompt, request_options | {"fields": {**spec.fields, **request_options["fields"]}}


def _pair(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if not equals:
        example = f"{key}='…'" if key in NAMES else "palette='teal, sand, rust'"
        raise Usage(
            f"--change {change}: expected KEY=VALUE, for example --change {example}",
            param="change",
            expected=f"KEY=VALUE, for example --change {example}",
            found=change,
        )
    return key.strip().lower(), value


def _spec(inv: Invocation, name: str) -> Mapping[str, str]:
    with inv.ledger() as ledger:
        try:
            return spec_at(ledger, ledger.job(name))
        except JobNotFound:  # perhaps only the server knows it: it is adopted later, and its shot is unknown
            return {}

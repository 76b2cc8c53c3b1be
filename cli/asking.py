"""From options to a request: the prompt from wherever it is, the reference image, the limits."""

from decimal import Decimal, InvalidOperation
from typing import Any, TextIO

import click

from decision.catalog import Catalog
from decision.request import RenderRequest, Source, parse_request

MICROS = 1_000_000


def read_prompt(text: str | None, file: TextIO | None) -> str:
    """Return the prompt; exactly one of the two says it."""
    if (text is None) == (file is None):
        given = "neither was" if text is None else "both were"
        raise click.UsageError(f"give the prompt with --prompt or --prompt-file (- is stdin); {given} given")
    if file is None:
        return text or ""
    try:
        return file.read().strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--prompt-file {file.name}: expected UTF-8 text ({error.reason})") from error


def read_cost(text: str | None, option: str = "--max-cost") -> int | None:
    """Return dollars as integer micro-dollars."""
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    micros = amount * MICROS if amount.is_finite() else Decimal(-1)
    if micros < 0 or micros != micros.to_integral_value() or micros >= 2**53:
        raise click.UsageError(f"{option} {text}: expected dollars from 0, such as 2.50")
    return int(micros)


def make_request(
    catalog: Catalog, operation: str = "create", source: Source | None = None, **values: Any
) -> RenderRequest:
    """Parse what was asked for; what changes a video the server has names it as its `source`."""
    return parse_request(catalog=catalog, operation=operation, source=source, **values)

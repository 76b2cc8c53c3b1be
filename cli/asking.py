"""From options to a request."""

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from decision.catalog import Catalog
from decision.request import RenderRequest, Source, parse_request

MICROS = 1_000_000


def read_cost(option: str, text: str | None) -> int | None:
    """Return the dollars given with `option` as integer micro-dollars."""
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

"""Dollars as they are typed."""

from decimal import Decimal, InvalidOperation

import click

MICROS = 1_000_000


def read_dollars(option: str, text: str) -> int:
    """Return the dollars given with `option` as integer micro-dollars."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    micros = amount * MICROS if amount.is_finite() else Decimal(-1)
    if micros < 0 or micros != micros.to_integral_value() or micros >= 2**53:
        raise click.UsageError(f"{option} {text}: expected dollars from 0, such as 2.50")
    return int(micros)

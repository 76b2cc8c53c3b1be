"""Amounts of money, as people write and read them."""

from decimal import Decimal, DecimalException

MICROS_PER_USD = 1_000_000
LARGEST = 2**53
"""Amounts are below this: the largest that a record holds exactly."""
_CENTS = 2


def micros_of(text: str) -> int | None:
    """Parse dollars as people write them into exact micro-dollars; None if it is not an amount from 0."""
    try:
        micros = Decimal(text.removeprefix("$")) * MICROS_PER_USD
    except DecimalException:  # not a number, or one far out of range
        return None
    is_amount = micros.is_finite() and 0 <= micros < LARGEST and micros == micros.to_integral_value()
    return int(micros) if is_amount else None


def format_usd(micros: int) -> str:
    """Return micro-dollars as dollars with at least two decimals and no rounding: 400000 is ``0.40 USD``."""
    return f"{usd_digits(micros)} USD"


def usd_digits(micros: int) -> str:
    """Return the amount without the currency, as a command-line option takes it."""
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    decimals = f"{rest:06d}".rstrip("0").ljust(_CENTS, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals}"

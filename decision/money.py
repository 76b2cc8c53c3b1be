"""Amounts of money for people."""

MICROS_PER_USD = 1_000_000
_CENTS = 2


def format_usd(micros: int) -> str:
    """Return micro-dollars as dollars with at least two decimals and no rounding: 400000 is ``0.40 USD``."""
    return f"{usd_digits(micros)} USD"


def usd_digits(micros: int) -> str:
    """Return the amount without the currency, as a command-line option takes it."""
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    decimals = f"{rest:06d}".rstrip("0").ljust(_CENTS, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals}"

"""How many there are of something, in words."""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return the number and its noun: ``1 job``, ``2,048 jobs``; `things` is a plural that takes no ``s``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"

"""Templates, and their formats for text, times and money.

Every expression in every template is escaped, and its control characters and direction marks are shown as
`�`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from decision.money import usd_digits
from render_service.runtime.ledger_process import ledger_process
from render_service.runtime.printable import printable
from render_service.server.console.pages import PREFIX

TEMPLATES = Path(__file__).parent / "templates"
_UNITS = (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3_600), ("minute", 60))

NOTHING = "\N{EN DASH}"

STATES = {
    "requested": ("Requested", "waiting"),
    "held": ("Waiting for approval", "attention"),
    "approved": ("Approved", "waiting"),
    "refused": ("Refused", "bad"),
    "denied": ("Denied", "bad"),
    "decided": ("Queued", "waiting"),
    "submitting": ("Submitting", "working"),
    "rejected": ("Rejected", "bad"),
    "unknown": ("Outcome unknown", "attention"),
    "absent": ("Not created", "waiting"),
    "running": ("Rendering", "working"),
    "completed": ("Rendered", "working"),
    "stored": ("Ready", "good"),
    "failed": ("Failed", "bad"),
    "lost": ("Lost", "bad"),
    "abandoned": ("Abandoned", "quiet"),
    "cancelled": ("Cancelled", "quiet"),
    "deleted": ("Deleted", "quiet"),
}
"""The words for the state of a job, and the kind of its badge."""


@cache
def compiled() -> Environment:
    """Return the templates, each compiled at its first use in this process."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=shown,
    )
    process = ledger_process()
    environment.globals.update(prefix=PREFIX, states=STATES, ledger=process.name if process else None)
    environment.filters.update(usd=usd, ago=ago, when=when, day=day, duration=duration, count=count)
    return environment


class Templates:
    """The templates of one console, whose files have the addresses that `asset` returns."""

    def __init__(self, asset: Callable[[str], str]) -> None:
        self._asset = asset

    def render(self, template: str, **context: Any) -> str:
        """Return the page."""
        return compiled().get_template(template).render({"asset": self._asset, **context})


def shown(value: Any) -> Any:
    """Return `value` as shown on a page; it cannot reorder or hide the text around it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def usd(micros: int | None) -> str:
    """Return micro-dollars such as ``$1.20``; a dash for none."""
    if micros is None:
        return NOTHING
    return f"{'-' if micros < 0 else ''}${usd_digits(abs(micros))}"


def count(number: int) -> str:
    """Return a number with separators."""
    return f"{number:,}"


def duration(seconds: float | None) -> str:
    """Return seconds in the largest two units, such as ``3 min 20 s``."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3_600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    words = [f"{amount} {unit}" for amount, unit in parts if amount]
    return " ".join(words[:2]) or "0 s"


def moment(value: datetime | str | float) -> datetime:
    """Return a time that was recorded as text or seconds."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value.astimezone(UTC) if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)


@pass_context
def ago(context: Context, value: datetime | str | float | None) -> str | Markup:
    """Return a time relative to now, with the exact one as its title."""
    if value is None:
        return NOTHING
    then = moment(value)
    words = _relative((context["now"] - then).total_seconds())
    return _element(then, words, title=f"{then:%Y-%m-%d %H:%M:%S} UTC")


def when(value: datetime | str | float | None) -> str | Markup:
    """Return a time to the second."""
    if value is None:
        return NOTHING
    then = moment(value)
    return _element(then, f"{then:%Y-%m-%d %H:%M:%S} UTC")


def day(value: datetime | str | float | None) -> str | Markup:
    """Return the day of a time."""
    if value is None:
        return NOTHING
    then = moment(value)
    return _element(then, f"{then:%Y-%m-%d}", title=f"{then:%Y-%m-%d %H:%M:%S} UTC")


def _element(then: datetime, words: str, title: str | None = None) -> Markup:
    at = then.isoformat(timespec="seconds").replace("+00:00", "Z")
    if title is None:
        return Markup('<time datetime="{}">{}</time>').format(at, words)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at, title, words)


def _relative(seconds: float) -> str:
    length = abs(seconds)
    for unit, size in _UNITS:
        if length >= size:
            number = int(length // size)
            words = f"{number} {unit}{'' if number == 1 else 's'}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "just now" if seconds > -1 else "in less than a minute"

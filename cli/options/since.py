"""The times that ``--since`` and ``--until`` accept: a time, a day, a month, or an age."""

import re
from datetime import UTC, datetime, timedelta

import click

from cli.options.common import parse_moment
from cli.text.usage import BadValue
from ledger.record import timestamp

FORMS = "7d, 24h, today, yesterday, 2026-10, 2026-10-07 or 2026-10-07T14:00:00Z"

_AGO = re.compile(r"(?P<count>[0-9]{1,6}) ?(?P<unit>m|min|h|d|w)")
_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MONTH = re.compile(r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])")
_YEAR = re.compile(r"(?P<year>[0-9]{4})")
_DAYS_AGO = {"today": 0, "yesterday": 1}


def read_since(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Read an option's time with `parse_since`."""
    if value is None:
        return None
    from render_service.session.session import utc_now  # only if a time is given

    return parse_since(value, utc_now())


def parse_since(text: str, now: datetime) -> str:
    """Read a time or an age as of `now`; days, months and years begin in this zone."""
    word = text.strip().lower()
    try:
        return timestamp(_begin(word, now.astimezone()).astimezone(UTC))
    except LookupError:
        return _moment(text)
    except (ValueError, OverflowError) as error:
        raise BadValue(
            f"{text!r}: there is no such time; expected {FORMS}", expected=FORMS, found=text
        ) from error


def _begin(word: str, now: datetime) -> datetime:
    """Return when the time called `word` begins; `LookupError` if it has another form."""
    if ago := _AGO.fullmatch(word):
        return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["count"])})
    if word in _DAYS_AGO:
        return _midnight(now - timedelta(days=_DAYS_AGO[word]))
    if month := _MONTH.fullmatch(word):
        return _midnight(datetime(int(month["year"]), int(month["month"]), 1))  # noqa: DTZ001  # of this zone
    if year := _YEAR.fullmatch(word):
        return _midnight(datetime(int(year["year"]), 1, 1))  # noqa: DTZ001  # of this zone
    raise LookupError(word)


def _midnight(day: datetime) -> datetime:
    """Return the beginning of a day in this machine's zone, whose offset may have changed since."""
    return day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone()


def _moment(text: str) -> str:
    try:
        return parse_moment(text)
    except click.BadParameter as error:
        raise BadValue(f"{text!r}: expected {FORMS}", expected=FORMS, found=text) from error

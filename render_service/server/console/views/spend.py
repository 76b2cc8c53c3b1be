"""Spend: money by day, model, purpose, person and team, a forecast, and the remainder of the budgets."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from markupsafe import Markup

from ledger.record import timestamp
from render_service.reports.spending import Grouping, Spending, SpentMoney, spending
from render_service.rules.budgets import RemainingBudget, list_remaining
from render_service.server.console import charts
from render_service.server.console.pages import Page, View, Visit
from render_service.server.console.views.inbox import known

PACE_DAYS = 14
"""Number of days whose mean the forecast continues."""

PERIODS: Mapping[str, tuple[str, int | None]] = {
    "month": ("This month", 0),
    "30": ("30 days", 30),
    "90": ("90 days", 90),
    "365": ("A year", 365),
    "all": ("Everything", None),
}
GROUPS = (Grouping.MODEL, Grouping.PURPOSE, Grouping.ACTOR, Grouping.TEAM)
MOST_SHOWN = 50
MOST_BARS = 92
DAYS_OF_WEEK = 7


class Group(View):
    """The money of the jobs with one property."""

    name: str
    jobs: int
    reserved_usd_micros: int
    settled_usd_micros: int
    estimated_usd_micros: int
    """The settled part that no server reported."""

    @property
    def usd_micros(self) -> int:
        """Reserved and settled money together."""
        return self.reserved_usd_micros + self.settled_usd_micros


class Budget(View):
    """A budget that a render may be paid from now."""

    budget: str
    limit_usd_micros: int | None
    held_usd_micros: int
    left_usd_micros: int | None

    @property
    def percent(self) -> int:
        """The used share of the limit."""
        limit = self.limit_usd_micros
        return 0 if limit is None else 100 if limit == 0 else self.held_usd_micros * 100 // limit


class SpendView(View):
    """The page. The forecast is for the end of the month, in UTC, at the pace of the last `PACE_DAYS`."""

    period: str
    periods: Mapping[str, str]
    by: str
    total: Group
    groups: tuple[Group, ...]
    more_groups: int
    days: tuple[Group, ...]
    forecast_usd_micros: int | None
    pace_usd_micros: int | None
    budgets: tuple[Budget, ...]

    def drawing(self) -> Markup:
        """Return the days as bars, or weeks if there are many days."""
        return charts.bars(_bars(self.days), "Money by day of the request, settled and reserved")


def read(visit: Visit) -> SpendView:
    """Sum up the jobs that the person may see."""
    period = visit.query("period") or "month"
    if period not in PERIODS:
        period = "month"
    by = next((group for group in GROUPS if group == visit.query("by")), Grouping.MODEL)
    since, today = _since(period, visit.now), _midnight(visit.now)
    paced_since = today - timedelta(days=PACE_DAYS)
    first = None if since is None else min(since, paced_since, today.replace(day=1))
    read_days = _spending(
        visit, Grouping.DAY, first
    ).parts  # one query for the period, the pace and the month
    days = [day for day in read_days if since is None or day.name >= _name(since)]
    grouped = _spending(visit, by, since)
    pace = pace_of([day for day in read_days if _name(paced_since) <= day.name < _name(today)], today)
    month = [day for day in read_days if day.name >= _name(today.replace(day=1))]
    return SpendView(
        period=period,
        periods={name: words for name, (words, _) in PERIODS.items()},
        by=by,
        total=_group(grouped.total),
        groups=tuple(_group(part) for part in grouped.parts[:MOST_SHOWN]),
        more_groups=max(0, len(grouped.parts) - MOST_SHOWN),
        days=tuple(_group(part) for part in days),
        forecast_usd_micros=None if pace is None else forecast(month, today, pace),
        pace_usd_micros=pace,
        budgets=tuple(_budget(left) for left in _standing(visit)),
    )


def rows(view: SpendView) -> Sequence[Mapping[str, object]]:
    """Return the money by day."""
    return [day.model_dump() for day in view.days]


def _spending(visit: Visit, by: Grouping, since: datetime | None) -> Spending:
    start = None if since is None else timestamp(since)
    return spending(visit.session.ledger, by, visit.now, start, sees=visit.caller.sees, known={})


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _name(day: datetime) -> str:
    return f"{day:%Y-%m-%d}"


def _since(period: str, now: datetime) -> datetime | None:
    today, days = _midnight(now), PERIODS[period][1]
    if days is None:
        return None
    return today.replace(day=1) if days == 0 else today - timedelta(days=days - 1)


def pace_of(days: Sequence[SpentMoney], today: datetime) -> int | None:
    """Return the mean of the whole `days` before today, from the first of them; None if there are none."""
    if not days:
        return None
    first = datetime.fromisoformat(days[0].name).replace(tzinfo=today.tzinfo)
    return sum(day.usd_micros for day in days) // (today - first).days


def forecast(month: Sequence[SpentMoney], today: datetime, pace: int) -> int:
    """Return the month's cost if each remaining day costs `pace`, and today at least that."""
    before = sum(day.usd_micros for day in month if day.name != _name(today))
    spent_today = next((day.usd_micros for day in month if day.name == _name(today)), 0)
    left = monthrange(today.year, today.month)[1] - today.day
    return before + max(spent_today, pace) + pace * left


def _standing(visit: Visit) -> list[RemainingBudget]:
    ledger = visit.session.ledger
    limits = {
        name: limit for name, limit in known(ledger).limits.get().items() if visit.caller.may_see_budget(name)
    }
    return list_remaining(ledger, visit.now, known=limits)


def _group(spent: SpentMoney) -> Group:
    return Group(
        name=spent.name or "none",
        jobs=spent.jobs,
        reserved_usd_micros=spent.reserved_usd_micros,
        settled_usd_micros=spent.settled_usd_micros,
        estimated_usd_micros=spent.estimated_usd_micros,
    )


def _budget(left: RemainingBudget) -> Budget:
    return Budget(
        budget=left.budget,
        limit_usd_micros=left.limit_usd_micros,
        held_usd_micros=left.held_usd_micros,
        left_usd_micros=left.usd_micros,
    )


def _bars(days: Sequence[Group]) -> list[charts.Bar]:
    """Return a bar for each day between the first and the last, or for each week if there are many."""
    if not days:
        return []
    by_day = {day.name: day for day in days}
    first, last = (datetime.fromisoformat(day.name) for day in (days[0], days[-1]))
    length = (last - first).days + 1
    step = 1 if length <= MOST_BARS else DAYS_OF_WEEK * (1 + length // (DAYS_OF_WEEK * MOST_BARS))
    bars = []
    for start in range(0, length, step):
        names = [f"{first + timedelta(days=start + day):%Y-%m-%d}" for day in range(step)]
        found = [by_day[name] for name in names if name in by_day]
        words = names[0] if step == 1 else f"{step} days from {names[0]}"
        settled, reserved = (
            sum(getattr(day, f"{kind}_usd_micros") for day in found) for kind in ("settled", "reserved")
        )
        bars.append(charts.Bar(words, (settled, reserved)))
    return bars


PAGE = Page("/spend", "Spend", "spend.html", read, rows=rows)

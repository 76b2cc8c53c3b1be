"""The videos as a grid: found by words of their prompts, restricted by filters with counts, newest first.

All filters are in the address, so that a link keeps them. Only the displayed jobs are read: the counts come
from a table that each append updates, and a search counts among its newest matches.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from decision.rules.roles import Permission
from ledger.store.filters import JobFilter
from ledger.store.interface import EventStore, Facet, Facets, FoundJob, Match
from ledger.store.search import prefixes_of
from ledger.terms import State, Variant
from render_service.reports.find import snippet_of
from render_service.runtime.errors import BadInput
from render_service.server.console.pages import PREFIX, Page, View, Visit
from render_service.server.console.rendering import STATES

PAGE_SIZE = 24
MOST_COUNTED = 1_000
"""Number of a search's newest matches that are counted."""

MOST_CHOICES = 200
"""Number of a filter's values that are offered, the most frequent."""

MOST_DIGITS = 18
LONGEST_PROMPT = 160
LONGEST_CELL = 2_000
"""Characters of a prompt on a card, and in JSON and CSV."""

NO_TEAM = "-"
FILTERS: Final[Mapping[Facet, str]] = {
    "state": "State",
    "model": "Model",
    "purpose": "Purpose",
    "actor": "Requester",
    "team": "Team",
    "month": "Month",
}
"""The filters in order; each is a parameter of the address."""

_EACH_JOB_ONCE: Final[tuple[Facet, ...]] = ("month", "state", "purpose", "actor", "team")
"""Filters for which a job has one value; it may have two models."""


class Card(View):
    """One video: its state, its request, its requester, and its cost.

    `prompt` is null if it was erased, or if none is known; `words` is the part of it on the card, and `marks`
    are the starts and ends of the search words in it. `poster` is the address of the stored thumbnail, `film`
    that of the stored video, whose first frame is shown if there is no thumbnail.
    """

    job_id: str
    state: str
    prompt: str | None
    words: str
    marks: tuple[tuple[int, int], ...]
    operation: str
    model: str | None
    size: str | None
    seconds: int | None
    purpose: str | None
    actor: str
    team: str | None
    project: str | None
    created_at: str
    cost_usd_micros: int | None
    cost_is_settled: bool
    verdict: str | None
    poster: str | None
    film: str | None

    def pieces(self) -> list[tuple[str, bool]]:
        """Return the words in pieces, each with whether it matches the search."""
        pieces, end = list[tuple[str, bool]](), 0
        for start, stop in self.marks:
            if start >= end:
                pieces += [(self.words[end:start], False), (self.words[start:stop], True)]
                end = stop
        return [*pieces, (self.words[end:], False)]


class Choice(View):
    """A value of a filter, with the number of videos that have it and match the other filters."""

    value: str
    label: str
    jobs: int


class Filter(View):
    """A filter: its values, and the selected one."""

    name: str
    label: str
    chosen: str | None
    choices: tuple[Choice, ...]


class VideosView(View):
    """A part of the list of videos.

    With `is_partial`, only the newest matches of a search are counted, also in the filters; `total` counts
    all matches unless `is_least` says that there may be more. `newer` and `older` are the queries of the
    neighbouring parts.
    """

    words: str
    has_no_word: bool
    filters: tuple[Filter, ...]
    total: int
    is_least: bool
    is_partial: bool
    videos: tuple[Card, ...]
    newer: str | None
    older: str | None
    may_request: bool

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """The label of each selected filter, with its value."""
        return [(filter_.label, filter_.chosen) for filter_ in self.filters if filter_.chosen]


@dataclass(frozen=True)
class Wanted:
    """The query in the address."""

    words: str
    chosen: Mapping[Facet, str]

    @classmethod
    def read(cls, visit: Visit) -> "Wanted":
        """Read the parameters; `BadInput` names an invalid one."""
        chosen = {name: value for name in FILTERS if (value := visit.query(name)) is not None}
        if (state := chosen.get("state")) is not None and state not in list(State):
            raise BadInput(f"state {state[:40]!r}: expected one of {', '.join(State)}")
        return cls(visit.query("q") or "", chosen)

    def where(self, *, without: Facet | None = None) -> JobFilter:
        """Return the filter, without that of one property."""
        chosen = {name: value for name, value in self.chosen.items() if name != without}
        where = JobFilter(model=chosen.get("model"), purpose=chosen.get("purpose"), actor=chosen.get("actor"))
        if (state := chosen.get("state")) is not None:
            where = replace(where, states=(State(state),))
        if (team := chosen.get("team")) is not None:
            where = replace(where, teamless=True) if team == NO_TEAM else replace(where, team=team)
        if (month := chosen.get("month")) is not None:
            where = replace(where, since=month, until=f"{month}~")  # sorts after every time of the month
        return where

    def matches(self, facets: Facets, *, without: Facet | None = None) -> bool:
        """Return whether a job with these properties matches `where`, as a store would decide."""
        for name, value in self.chosen.items():
            if name == without:
                continue
            if name == "model":
                if value not in {facets.model, facets.requested_model}:
                    return False
            elif getattr(facets, name) != ("" if name == "team" and value == NO_TEAM else value):
                return False
        return True

    def query(self, **more: object) -> str:
        """Return the address of a part of this list, after its question mark."""
        words = [("q", self.words)] if self.words else []
        return urlencode([*words, *self.chosen.items(), *more.items()])


def read_videos(visit: Visit) -> VideosView:
    """Return the part of the list for the address."""
    wanted, store, sees = Wanted.read(visit), visit.session.ledger.store, visit.caller.sees
    matches = store.matches(wanted.words, MOST_COUNTED, sees=sees) if wanted.words else []
    numbers, total = _counted(store, wanted, sees, matches)
    before, after = _position(visit, "before"), _position(visit, "after")
    where = replace(wanted.where(), oldest_first=after is not None)
    beyond = after if after is not None else before
    if wanted.words and after is None:
        matching = _older_matches(store, wanted, before, sees, matches)
    else:
        matching = store.search(wanted.words, where, PAGE_SIZE + 1, sees=sees, beyond=beyond)
    has_more, matching = len(matching) > PAGE_SIZE, matching[:PAGE_SIZE]
    if after is not None:
        matching.reverse()
    has_older = bool(matching) and (has_more if after is None else True)
    has_newer = bool(matching) and (has_more if after is not None else before is not None)
    is_partial = len(matches) == MOST_COUNTED
    shows_all = before is None and after is None and not has_more
    return VideosView(
        words=wanted.words,
        has_no_word=bool(wanted.words) and not prefixes_of(wanted.words),
        filters=tuple(_filter(name, wanted, numbers[name]) for name in FILTERS),
        total=len(matching) if shows_all else total,
        is_least=is_partial and not shows_all,
        is_partial=is_partial,
        videos=tuple(_card(match, wanted.words) for match in matching),
        newer=wanted.query(after=matching[0].position) if has_newer else None,
        older=wanted.query(before=matching[-1].position) if has_older else None,
        may_request=visit.may(Permission.REQUEST),
    )


def _older_matches(
    store: EventStore,
    wanted: Wanted,
    before: int | None,
    sees: Sequence[JobFilter],
    matches: Sequence[Match],
) -> list[FoundJob]:
    """Return one video more than a page, from the newest matches of the search as far as they reach."""
    positions = [
        position
        for position, facets in matches
        if (before is None or position < before) and wanted.matches(facets)
    ]
    matching = store.listed(positions[: PAGE_SIZE + 1])
    if len(matching) <= PAGE_SIZE and len(matches) == MOST_COUNTED:
        beyond = min(matches[-1].position, before or matches[-1].position)
        rest = PAGE_SIZE + 1 - len(matching)
        matching += store.search(wanted.words, wanted.where(), rest, sees=sees, beyond=beyond)
    return matching


def _counted(
    store: EventStore, wanted: Wanted, sees: Sequence[JobFilter], matches: Sequence[Match]
) -> tuple[dict[Facet, Mapping[str, int]], int]:
    """Return the numbers for each filter and the total; for a search, from `matches`."""
    numbers: dict[Facet, Mapping[str, int]]
    if not wanted.words:
        numbers = {name: store.counts(name, wanted.where(without=name), sees=sees) for name in FILTERS}
        free = next((name for name in _EACH_JOB_ONCE if name not in wanted.chosen), None)
        all_of_them = numbers[free] if free else store.counts("month", wanted.where(), sees=sees)
        return numbers, sum(all_of_them.values())
    combinations = Counter(match.facets for match in matches)
    numbers = {name: _values(combinations, wanted, name) for name in FILTERS}
    return numbers, sum(jobs for facets, jobs in combinations.items() if wanted.matches(facets))


def _values(matches: Mapping[Facets, int], wanted: Wanted, name: Facet) -> Mapping[str, int]:
    """Return the numbers of the matches per value of one filter, under the other filters."""
    numbers = Counter[str]()
    for facets, jobs in matches.items():
        if wanted.matches(facets, without=name):
            models = {facets.model, facets.requested_model}
            for value in models if name == "model" else {getattr(facets, name)}:
                numbers[value] += jobs
    return numbers


def _filter(name: Facet, wanted: Wanted, numbers: Mapping[str, int]) -> Filter:
    chosen = wanted.chosen.get(name)
    by_value = {(NO_TEAM if name == "team" and not value else value): jobs for value, jobs in numbers.items()}
    by_value.pop("", None)
    most = dict(sorted(by_value.items(), key=lambda item: (-item[1], item[0]))[:MOST_CHOICES])
    if chosen is not None:
        most.setdefault(chosen, by_value.get(chosen, 0))
    order = sorted(most, reverse=name == "month")
    choices = tuple(Choice(value=value, label=_label(name, value), jobs=most[value]) for value in order)
    return Filter(name=name, label=FILTERS[name], chosen=chosen, choices=choices)


def _label(name: Facet, value: str) -> str:
    if name == "state":
        return STATES[value][0]
    return "no team" if name == "team" and value == NO_TEAM else value


def _position(visit: Visit, name: str) -> int | None:
    text = visit.query(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise BadInput(f"{name} {text[:40]!r}: expected the position of a record")
    return int(text)


def _card(match: FoundJob, words: str) -> Card:
    job, snippet = match.job, snippet_of(match, words, LONGEST_PROMPT)
    settled = job.settled_usd_micros
    files = {name: f"{PREFIX}/videos/{job.job_id}/files/{name}" for name in job.assets}
    return Card(
        job_id=job.job_id,
        state=job.state,
        prompt=None if match.prompt is None else match.prompt[:LONGEST_CELL],
        words=snippet.text,
        marks=snippet.spans,
        operation=job.operation or "adopted",
        model=job.model or job.requested_model,
        size=job.size,
        seconds=job.seconds,
        purpose=job.purpose,
        actor=job.actor,
        team=job.team,
        project=job.project,
        created_at=job.created_at,
        cost_usd_micros=settled if settled is not None else job.reserved_usd_micros or None,
        cost_is_settled=settled is not None,
        verdict=job.verdict,
        poster=files.get(Variant.THUMBNAIL),
        film=files.get(Variant.VIDEO),
    )


def _rows(view: VideosView) -> list[dict[str, Any]]:
    hidden = {"words", "marks", "poster", "film"}
    return [card.model_dump(mode="json", exclude=hidden) for card in view.videos]


PAGE = Page(path="/videos", title="Videos", template="videos.html", read=read_videos, rows=_rows)

"""Names of budgets, which define their scope: whose money, and for how long.

=============================================  =======================================================
name                                           holds what is spent
=============================================  =======================================================
``all``                                        by everyone
``team_film``                                  by the team ``film``
``project_spring__purpose_final``              on finals of the project ``spring``: all parts must match
``actor_alice``                                by ``alice``, under any key or login, and their agents
``team_film__month``                           nothing itself: it limits every month
``team_film__2026_11``, ``…__2026_11_21``      by the team in that month, on that day (UTC)
=============================================  =======================================================

A month or day gets its own budget, with its own limit in the ledger, when the first render is decided in it.
So the store enforces every budget in the same way, and the holds of a month stay readable forever.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product

from decision.rules.purpose import PURPOSES
from render_service.runtime.errors import BadInput

LONGEST = 64
EVERYBODY = "all"
AGENT, ON_BEHALF_OF = "agent ", " on behalf of "
"""The format of an agent's actor: ``agent NAME on behalf of PERSON``."""
_ACTOR = "actor_"
WORD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_NOT_WORD = re.compile("[^a-z0-9]+")
LONGEST_WORD = 40
_DATED = re.compile(r"[0-9]{4}_[0-9]{2}(_[0-9]{2})?")
_PARTS = ("team", "project", "purpose", "actor")
_JOINED = _PARTS[:3]
"""Parts that a name may have several of; an actor's budget has no other part."""
_EXAMPLES = (
    "all, team_film, project_spring, purpose_final, several of these joined as in team_film__purpose_final, "
    "or actor_NAME"
)


class Period(StrEnum):
    """How long a budget lasts."""

    NONE = "none"
    MONTH = "month"
    DAY = "day"


@dataclass(frozen=True)
class Scope:
    """The payers of a render; None if no team, project, purpose or actor applies."""

    team: str | None
    project: str | None
    purpose: str | None
    actor: str | None = None

    def names(self) -> Iterator["BudgetName"]:
        """Yield the possible names of budgets that apply; a budget for a period by the name of its limit."""
        choices = [dict.fromkeys((None, getattr(self, part))) for part in _JOINED]
        for team, project, purpose in product(*choices):
            for period in Period:
                yield BudgetName(team, project, purpose, period)
        if self.actor is not None:
            for period in Period:
                yield BudgetName(actor=actor_word(self.actor), period=period)


@dataclass(frozen=True)
class BudgetName:
    """The parts of a name; `dated` is set for one month or day, `period` is its kind."""

    team: str | None = None
    project: str | None = None
    purpose: str | None = None
    period: Period = Period.NONE
    dated: str | None = None
    actor: str | None = None

    def __str__(self) -> str:
        parts = [f"{part}_{word}" for part in _PARTS if (word := getattr(self, part))]
        ending = self.dated or (self.period.value if self.period is not Period.NONE else None)
        return "__".join([*(parts or [EVERYBODY]), *([ending] if ending else [])])

    def resolve(self, now: datetime) -> "BudgetName":
        """Return the budget of the month or day of `now`; without a period, the budget itself."""
        form = {Period.MONTH: "%Y_%m", Period.DAY: "%Y_%m_%d"}.get(self.period)
        return replace(self, dated=now.astimezone(UTC).strftime(form)) if form else self

    @property
    def is_limit_only(self) -> bool:
        """Whether it holds no money because it is the limit of every month or day."""
        return self.period is not Period.NONE and self.dated is None


def stream_of(budget: str) -> str:
    """Return the stream in which the limits of a budget are recorded."""
    return f"budget_{budget}"


def person_of(actor: str) -> str:
    """Return the person an actor acts for: themselves, or for an agent the recorded person."""
    return actor.rpartition(ON_BEHALF_OF)[2] if actor.startswith(AGENT) else actor


def actor_word(actor: str) -> str:
    """Return the word for an actor in a name; other names get a digest, so that they differ.

    An agent's spending counts for its person: a limit that another name could avoid would limit nothing.
    """
    actor = person_of(actor)
    if WORD.fullmatch(actor) and len(actor) <= LONGEST_WORD:
        return actor
    letters = _NOT_WORD.sub("_", actor.lower()).strip("_")[:20]
    return f"{letters}_{hashlib.sha256(actor.encode()).hexdigest()[:8]}".replace("__", "_").strip("_")


def read_name(text: str, period: Period) -> BudgetName:
    """Return the budget called `text`, for every `period`; `BadInput` explains the names.

    An actor may be named verbatim: ``actor_alice@example.org``.
    """
    if text.startswith(_ACTOR) and text != _ACTOR:
        text = _ACTOR + actor_word(text.removeprefix(_ACTOR))
    name = parse_name(text)
    if name is None or name.dated or name.period is not Period.NONE:
        hint = "; give the period with --period" if name else ""
        raise BadInput(
            f"budget {text!r}: expected {_EXAMPLES}{hint}", param="budget", expected=_EXAMPLES, found=text
        )
    name = replace(name, period=period)
    longest = str(name.resolve(datetime(2000, 1, 1, tzinfo=UTC)))
    if len(longest) > LONGEST:
        raise BadInput(
            f"budget {text!r}: {longest} would have more than {LONGEST} characters; shorten it",
            param="budget",
            expected=f"at most {LONGEST} characters",
            found=text,
        )
    return name


def parse_name(text: str) -> BudgetName | None:
    """Return the parts of a name; None for a foreign name, which applies to nothing by itself."""
    *first, last = text.split("__")
    ending: dict[str, object] = {}
    if last in (Period.MONTH, Period.DAY):
        ending = {"period": Period(last)}
    elif _DATED.fullmatch(last):
        ending = {"period": Period.DAY if last.count("_") > 1 else Period.MONTH, "dated": last}
    parts = first if ending else [*first, last]
    words = {} if parts == [EVERYBODY] else _words(parts)
    if words is None:
        return None
    name = BudgetName(**words, **ending)  # type: ignore[arg-type]  # the endings are period and dated
    return name if str(name) == text else None


def _words(parts: list[str]) -> dict[str, str] | None:
    words = {part: word for part, _, word in (text.partition("_") for text in parts)}
    is_mixed = "actor" in words and len(words) > 1
    fits = (
        not is_mixed
        and len(words) == len(parts) > 0
        and all(part in _PARTS and WORD.fullmatch(word) for part, word in words.items())
    )
    return words if fits and words.get("purpose", PURPOSES[0]) in PURPOSES else None

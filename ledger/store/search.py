"""Finding jobs by the words of their prompts and by their properties: what is indexed, what a search means.

No SQL here. Both stores keep these tables that follow from the log, written in the transaction of an append:

- ``listing``: one narrow row per job, under the position of its first record, with the properties that lists
  are filtered by, and its money;
- ``counts``: how many jobs there are of each combination of `Facets`, so that a count never reads the jobs;
- ``spending``: the money of each combination of `Spender`, so that a sum never reads the jobs;
- ``search``: the words of each job's prompt. An erasure removes them together with the text.

A word of a query is found at the beginning of a word of the prompt. Chinese, Japanese, Thai and other scripts
without spaces are indexed in pairs of characters, so that any part of a text is found. Case, accents
and compatibility forms make no difference. Everything else (quotes, operators, NUL) separates words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from ledger.job import Job

MOST_WORDS: Final = 32
"""Further words of a query are ignored."""

LONGEST_WORD: Final = 64
"""Characters of a word that are indexed; a longer word is found by its beginning."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u2600-\u27bf\U0001f000-\U0001faff"  # symbols, emoji
    "\u3005-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_RUN = re.compile(rf"([{_UNSPACED}]+)|([^\W_{_UNSPACED}]+)")
_ASCII = re.compile(r"[a-z0-9]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")


def is_searched(field: str) -> bool:
    """Return whether the text at `field` of a job's first record is part of its prompt."""
    return field == "prompt" or field.startswith("fields.")


def words_of(text: str) -> set[str]:
    """Return the words that `text` is found by; those of scripts without spaces are pairs of characters.

    Words hold letters, digits and symbols beyond ASCII only, so they need no quoting in a query language.
    """
    if text.isascii():
        return {word[:LONGEST_WORD] for word in _ASCII.findall(text.lower())}
    return {word for unspaced, run in _runs(text) for word in (_pairs(run) if unspaced else (run,))}


def prefixes_of(query: str) -> list[str]:
    """Return the beginnings of words that a prompt must contain to match `query`."""
    found: dict[str, None] = {}
    for unspaced, run in _runs(query):
        pairs = list(_pairs(run)) if unspaced else [run]
        found |= dict.fromkeys(pairs[:-1] if len(pairs) > 1 else pairs)  # the last one is a single character
    return list(found)[:MOST_WORDS]


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the words of `text` without case and accents, and whether their script has no spaces."""
    for match in _RUN.finditer(folded(text)):
        yield match.lastindex == 1, match[0] if match.lastindex == 1 else match[0][:LONGEST_WORD]


def folded(text: str) -> str:
    """Return `text` without what a search ignores: case, accents, compatibility forms."""
    if text.isascii():
        return text.lower()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    return unicodedata.normalize("NFC", plain)


def _pairs(run: str) -> Iterator[str]:
    return (run[at : at + 2] for at in range(len(run)))


Facet = Literal["month", "state", "model", "purpose", "actor", "team"]
"""A property by which jobs are counted."""


class Facets(NamedTuple):
    """The properties of a job that are counted; an empty string where it has none."""

    month: str
    state: str
    model: str
    requested_model: str
    purpose: str
    actor: str
    team: str


def facets_of(job: Job) -> Facets:
    """Return the combination that `job` is counted under."""
    return Facets(
        job.created_at[:7],
        job.state.value,
        job.model or "",
        job.requested_model or "",
        job.purpose or "",
        job.actor,
        job.team or "",
    )


SpentBy = Literal["day", "model", "purpose", "actor", "team"]
"""A property by which money is summed."""


class Money(NamedTuple):
    """The money of some jobs, in micro-dollars; `estimated` is the settled part that no server reported."""

    jobs: int
    reserved: int
    settled: int
    estimated: int


class Spender(NamedTuple):
    """What the money of a job is summed under; an empty string where it has none."""

    day: str
    model: str
    purpose: str
    actor: str
    team: str


def spender_of(job: Job) -> Spender | None:
    """Return the combination under which the money of `job` is summed; None if it was paid for elsewhere."""
    if not job.requested_model:
        return None
    return Spender(job.created_at[:10], job.model or "", job.purpose or "", job.actor, job.team or "")


def money_of(job: Job) -> tuple[int, int, int]:
    """Return what `job` reserves, what was settled, and what of that is an estimate, in micro-dollars."""
    settled = job.settled_usd_micros or 0
    return job.reserved_usd_micros, settled, settled if job.cost_basis == "estimated" else 0


def by_model(rows: Iterable[tuple[str, str, int]]) -> Mapping[str, int]:
    """Return the numbers of jobs by model: a job counts under its decided and its requested one."""
    numbers = Counter[str]()
    for model, requested_model, jobs in rows:
        for name in {model, requested_model}:
            numbers[name] += jobs
    return numbers


class Match(NamedTuple):
    """A job that a search found: the position of its first record, and its properties."""

    position: int
    facets: Facets


class FoundJob(NamedTuple):
    """A job in a list: the position of its first record, its row, and the texts of its prompt by field.

    Texts that were erased are absent.
    """

    position: int
    job: Job
    texts: Mapping[str, str]

    @property
    def prompt(self) -> str | None:
        """The prompt; None if it was erased, or if the job has none."""
        return self.texts.get("prompt")


def found(rows: Iterable[tuple[int, bytes]], texts: Iterable[tuple[int, str, str]]) -> list[FoundJob]:
    """Return what a store read: positions with job rows, and positions with the fields and texts there."""
    by_position: dict[int, dict[str, str]] = {}
    for position, field, text in texts:
        if is_searched(field):
            by_position.setdefault(position, {})[field] = text
    return [FoundJob(at, Job.from_canonical(body), by_position.get(at, {})) for at, body in rows]


def spans_of(text: str, query: str) -> list[tuple[int, int]]:
    """Return where the words of `query` occur in `text`: starts and ends, in order."""
    wanted = list(dict.fromkeys(_runs(query)))
    spans = []
    for match in _RUN.finditer(text):
        run, is_unspaced = folded(match[0]), match.lastindex == 1
        for unspaced, word in wanted:
            at = run.find(word) if unspaced else 0
            if unspaced is is_unspaced and at >= 0 and run.startswith(word, at):
                start = match.start() + at
                spans.append((start, min(start + len(word), match.end())))
    return spans

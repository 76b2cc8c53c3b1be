"""The tables that lists, counts and searches of jobs read: how they follow from the log, and queries on them.

A crash at any line leaves the transaction uncommitted, and the tables agree with the log as before.

The index of words keeps deleted words in its pages until these are merged. So an erasure removes the words
from every result at once, and from the file when `rewrite_words` builds the index again, together with the
texts. The option ``secure-delete`` of FTS5 would not save that: it does not reach copies in the unused part
of a page either, it needs SQLite 3.42, and older versions cannot read a file that was written with it.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.store.append import Changes
from ledger.store.interface import JobFilter, Standing
from ledger.store.search import (
    Facet,
    Facets,
    FoundJob,
    Money,
    SpentBy,
    by_model,
    facets_of,
    found,
    money_of,
    prefixes_of,
    words_of,
)
from ledger.store.sqlite.reading import LAST_LETTER

_LIST = "INSERT INTO listing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_RELIST = (
    "UPDATE listing SET state = ?, model = ?, verdict = ?, "
    "reserved_usd_micros = ?, settled_usd_micros = ?, estimated_usd_micros = ? WHERE job_id = ?"
)
_COUNT = "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_INDEX = "INSERT INTO search (rowid, words) VALUES (?, ?)"
_UNINDEX = "INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?)"
_SEARCHED = "(field = 'prompt' OR field GLOB 'fields.*')"


def write_listing(db: sqlite3.Connection, changes: Changes) -> None:
    """List the jobs that begin, and change the properties and counts of those that `changes` change."""
    if not (changes.counts or changes.relisted):
        return
    began = [_row(at, changes.jobs[job_id]) for job_id, at in changes.begun.items()]
    db.executemany(_LIST, began)
    db.executemany(
        _RELIST,
        [
            (job.state.value, job.model or "", job.verdict or "", *money_of(job), job.job_id)
            for job in map(changes.jobs.__getitem__, changes.relisted - changes.begun.keys())
        ],
    )
    db.executemany(
        f"{_COUNT} ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs",
        [(*facets, change) for facets, change in changes.counts.items() if change],
    )
    _index(db, changes.words())


def _row(position: int, job: Job) -> tuple[object, ...]:
    _, *facets = facets_of(job)
    sources = job.source_job or "", job.remix_video_id or "", job.verdict or ""
    return position, job.job_id, job.created_at, *facets, job.profile or "", *money_of(job), *sources


def _index(db: sqlite3.Connection, words: Mapping[int, Iterable[str]]) -> None:
    if words:
        db.executemany(_INDEX, [(at, " ".join(each)) for at, each in sorted(words.items())])


def unindex(db: sqlite3.Connection, erased: list[str]) -> None:
    """Remove the words of the prompts that contain the `erased` commitments, before their texts are deleted.

    The index needs the words it was given, which are those of all texts at the position.
    """
    query = "SELECT DISTINCT position FROM json_each(?) CROSS JOIN private_bodies ON commitment = value"
    for (position,) in db.execute(query, (json.dumps(erased),)).fetchall():
        if db.execute("SELECT 1 FROM search WHERE rowid = ?", (position,)).fetchone():
            texts = db.execute(
                f"SELECT text FROM private_bodies WHERE position = ? AND {_SEARCHED}", (position,)
            )
            words = set[str]().union(*(words_of(text) for (text,) in texts))
            db.execute(_UNINDEX, (position, " ".join(words)))


def rebuild(db: sqlite3.Connection) -> None:
    """Make all three tables again from the job rows and the texts, in the transaction that is open.

    A damaged job row is left out: `verify` reports it, and `replay --swap` makes it again.
    """
    counts = Counter[Facets]()

    def listed() -> Iterator[tuple[object, ...]]:
        query = (
            "SELECT events.position, body FROM jobs CROSS JOIN events "
            "ON stream = job_id AND events.version = 1"
        )
        for position, body in db.execute(query):
            try:
                job = Job.from_canonical(body)
            except LedgerUnusable:
                continue
            counts[facets_of(job)] += 1
            yield _row(position, job)

    db.execute("DELETE FROM listing")
    db.execute("DELETE FROM counts")
    db.executemany(_LIST, listed())
    db.executemany(_COUNT, [(*facets, jobs) for facets, jobs in counts.items()])
    rewrite_words(db)


def rewrite_words(db: sqlite3.Connection) -> None:
    """Build the index of words again from the texts that are left, in the transaction that is open."""
    db.execute("INSERT INTO search (search) VALUES ('delete-all')")
    query = (
        "SELECT position, text FROM private_bodies JOIN listing USING (position) "
        f"WHERE {_SEARCHED} ORDER BY position"
    )
    for position, texts in groupby(db.execute(query), itemgetter(0)):
        words = set[str]().union(*(words_of(text) for _, text in texts))
        db.execute(_INDEX, (position, " ".join(words)))


def search(  # the arguments of the contract
    db: sqlite3.Connection,
    words: str,
    where: JobFilter,
    limit: int,
    *,
    sees: Sequence[JobFilter],
    beyond: int | None,
) -> list[FoundJob]:
    """Return the jobs that `where` and one of `sees` describe and whose prompts have `words`."""
    prefixes = prefixes_of(words)
    if words.strip() and not prefixes:
        return []
    tables, position = "listing", "listing.position"
    clauses = [_any_of(sees), *_properties(where, "created_at"), *_more_properties(where)]
    if prefixes:
        tables, position = "search CROSS JOIN listing ON listing.position = search.rowid", "search.rowid"
        clauses.append(("search MATCH ?", [_match(prefixes)]))
    comparison, order = (">", "ASC") if where.oldest_first else ("<", "DESC")
    if beyond is not None:
        clauses.append((f"{position} {comparison} ?", [beyond]))
    text, values = _joined(clauses)
    query = (
        f"SELECT listing.position, body FROM {tables} CROSS JOIN jobs USING (job_id) "
        f"WHERE {text} ORDER BY {position} {order} LIMIT ?"
    )
    rows = db.execute(query, (*values, limit)).fetchall()
    texts = db.execute(
        "SELECT position, field, CAST(text AS TEXT) FROM private_bodies "
        "WHERE position IN (SELECT value FROM json_each(?))",
        (json.dumps([position for position, _ in rows]),),
    )
    return found(rows, texts)


def _match(prefixes: Iterable[str]) -> str:
    return " ".join(f'"{word}" *' for word in prefixes)


def matches(db: sqlite3.Connection, words: str, limit: int, *, sees: Sequence[JobFilter]) -> list[Facets]:
    """Return the properties of the newest jobs whose prompts have all `words`."""
    prefixes = prefixes_of(words)
    if not prefixes:
        return []
    clauses, values = _joined([_any_of(sees), ("search MATCH ?", [_match(prefixes)])])
    query = (
        "SELECT substr(created_at, 1, 7), state, model, requested_model, purpose, actor, team FROM search "
        "CROSS JOIN listing ON listing.position = search.rowid "
        f"WHERE {clauses} ORDER BY search.rowid DESC LIMIT ?"
    )
    return [Facets(*row) for row in db.execute(query, (*values, limit))]


def counts(
    db: sqlite3.Connection, by: Facet, where: JobFilter, *, sees: Sequence[JobFilter]
) -> Mapping[str, int]:
    """Return the numbers of jobs by the values of one property."""
    clauses, values = _joined([_any_of(sees), ("jobs > 0", ()), *_properties(where, "month")])
    value = "model, requested_model" if by == "model" else by
    query = f"SELECT {value}, SUM(jobs) FROM counts AS listing WHERE {clauses} GROUP BY {value}"
    rows = db.execute(query, values).fetchall()
    return by_model(rows) if by == "model" else dict(rows)


def spent(
    db: sqlite3.Connection, by: SpentBy, where: JobFilter, *, sees: Sequence[JobFilter]
) -> Mapping[str, Money]:
    """Return the money of jobs by the values of one property."""
    clauses, values = _joined(
        [_any_of(sees), ("listing.requested_model <> ''", ()), *_properties(where, "created_at")]
    )
    value = "substr(created_at, 1, 10)" if by == "day" else by
    sums = ", ".join(f"SUM({kind}_usd_micros)" for kind in ("reserved", "settled", "estimated"))
    query = f"SELECT {value}, COUNT(*), {sums} FROM listing WHERE {clauses} GROUP BY 1"
    return {name: Money(*numbers) for name, *numbers in db.execute(query, values)}


def standing(db: sqlite3.Connection, position: int, *, sees: Sequence[JobFilter]) -> Standing:
    """Return the jobs that had begun at `position`: the unchanged ones by state, the ids of the others.

    The last position of a stream is in the index of streams, which is narrower than the rows of jobs.
    """
    clauses, values = _joined([_any_of(sees), ("listing.position <= ?", [position])])
    last = "SELECT position FROM events WHERE stream = job_id ORDER BY version DESC LIMIT 1"
    query = (
        f"SELECT state, CASE WHEN ({last}) > ? THEN job_id END, COUNT(*) FROM listing "
        f"WHERE {clauses} GROUP BY 1, 2"
    )
    unchanged, changed = Counter[str](), []
    for state, job_id, number in db.execute(query, [position, *values]):
        if job_id is None:
            unchanged[state] += number
        else:
            changed.append(job_id)
    return Standing(unchanged, changed)


Clause = tuple[str, Sequence[object]]


def _joined(clauses: Iterable[Clause]) -> tuple[str, list[object]]:
    texts, values = zip(*clauses, strict=True)
    return " AND ".join(texts), [value for bound in values for value in bound]


def _properties(where: JobFilter, time: str) -> Iterator[Clause]:
    """Yield the clauses for what both ``listing`` and ``counts`` know of a job."""
    compared = [
        ("listing.team = ?", where.of_team),
        ("listing.team = ?", where.team),
        ("listing.actor = ?", where.of_actor),
        ("listing.actor = ?", where.actor),
        ("purpose = ?", where.purpose),
        (f"{time} >= ?", where.since),
        (f"{time} < ?", where.until),
    ]
    yield from ((clause, [value]) for clause, value in compared if value is not None)
    if where.teamless:
        yield "listing.team = ''", ()
    if where.states is not None:
        marks = ",".join("?" * len(where.states))
        yield f"listing.state IN ({marks})", [state.value for state in where.states]
    if where.model is not None:
        yield "(model = ? OR requested_model = ?)", [where.model] * 2


def _more_properties(where: JobFilter) -> Iterator[Clause]:
    """Yield the clauses for what only ``listing`` and ``jobs`` know of a job."""
    compared = [
        ("listing.profile = ?", where.profile),
        ("video_id = ?", where.video_id),
        ("listing.job_id < ?", where.before),
        ("listing.job_id > ?", where.after),
    ]
    yield from ((clause, [value]) for clause, value in compared if value is not None)
    if where.id_prefix is not None:
        bounds = [where.id_prefix, where.id_prefix + LAST_LETTER]
        yield "listing.job_id >= ? AND listing.job_id < ?", bounds
    if where.id_suffix is not None:
        yield "substr(listing.job_id, ?) = ?", [-len(where.id_suffix), where.id_suffix]
    rest = replace(where, model=None, purpose=None, actor=None, team=None)
    for pieces in rest.pieces():
        yield f"({' OR '.join(['instr(body, ?)'] * len(pieces)) or '0'})", pieces


def _any_of(sees: Sequence[JobFilter]) -> Clause:
    """Return the clause for the jobs of one of `sees`."""
    alternatives = [_joined([("1", ()), *_properties(each, "month")]) for each in sees]
    texts = " OR ".join(text for text, _ in alternatives)
    return f"({texts or '0'})", [value for _, values in alternatives for value in values]

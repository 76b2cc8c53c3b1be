"""The tables behind lists, counts and searches of jobs: how they derive from the log, and queries on them.

A crash at any line leaves the transaction uncommitted, and the tables consistent with the log as before.

The word index keeps deleted words in its pages until they are merged. So an erasure removes the words from
every result immediately, but from the file only when `rewrite_words` rebuilds the index, together with the
texts. The option ``secure-delete`` of FTS5 would not make that unnecessary: it misses copies in the unused
part of a page too, it needs SQLite 3.42, and older versions cannot read a file written with it.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.store.append import Changes
from ledger.store.filters import EVERY_JOB, JobFilter
from ledger.store.interface import (
    Facet,
    Facets,
    FoundJob,
    ListDrift,
    Match,
    Money,
    Spender,
    SpentBy,
    Standing,
    by_model,
    facets_of,
    found,
    money_of,
)
from ledger.store.search import prefixes_of, words_of
from ledger.store.sqlite.blocks import BLOCK
from ledger.store.sqlite.connection import Connection
from ledger.store.sqlite.reading import LAST_LETTER

_LIST = f"INSERT INTO listing VALUES ({', '.join('?' * 20)})"
_RELIST = (
    "UPDATE listing SET state = ?, model = ?, verdict = ?, "
    "reserved_usd_micros = ?, settled_usd_micros = ?, estimated_usd_micros = ? WHERE job_id = ?"
)
_COUNT = "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PART = "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MORE_JOBS = "ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs"
_SPEND = "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TOUCHED = f"""
job_id IN (SELECT stream FROM events WHERE position > ?1 * {BLOCK} AND position <= (?1 + 1) * {BLOCK})
"""
_BEGAN = f"(position - 1) / {BLOCK}"
_SPANS = " ".join(f"WHEN {_BEGAN} >> {span} = max(block, ?1) >> {span} THEN {span}" for span in range(48))
_MOVE = f"""
UPDATE listing SET block = max(block, ?1), span = CASE {_SPANS} END,
    counted_state = state, counted_model = model WHERE {_TOUCHED}
"""
_CHANGED = f"""
SELECT position, counted_state, counted_model, state, model, substr(created_at, 1, 7), requested_model,
    purpose, actor, team FROM listing WHERE {_TOUCHED} AND (counted_state <> state OR counted_model <> model)
"""
_INDEX = "INSERT INTO search (rowid, words) VALUES (?, ?)"
_UNINDEX = "INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?)"
_KINDS = ("reserved_usd_micros", "settled_usd_micros", "estimated_usd_micros")
_MORE_MONEY = ", ".join(f"{kind} = {kind} + excluded.{kind}" for kind in _KINDS)
_SUMMED = (
    "SELECT substr(created_at, 1, 10) AS day, model, purpose, actor, team, COUNT(*) AS jobs, "
    f"{', '.join(f'SUM({kind}) AS {kind}' for kind in _KINDS)} FROM listing "
    "WHERE requested_model <> '' GROUP BY 1, 2, 3, 4, 5"
)
LISTING = 13
"""From this schema version on there are the other tables."""
SPENDING = 18
"""From this schema version on there are the sums of money, and the list of indexed words."""
PARTS = 21
"""From this schema version on there are the counts per part of the log, and the spans of jobs."""
_NOTED = 4
"""Columns of a row that are written when a block is complete."""
PART = 16 * BLOCK
"""Positions in a part of the log; each part has job counts per combination of properties."""
MOST_NAMED = 16
"""Maximum number of words with a prefix that are listed in a query."""
MOST_READ = 1_000
"""Maximum number of jobs that are checked one by one."""
MONTH = len("2026-11")
_FIRST_LETTER = "0"
"""The smallest character of a word."""
Clause = tuple[str, Sequence[object]]
"""A condition, and the values of its question marks."""
_SEARCHED = "(field = 'prompt' OR field GLOB 'fields.*')"


def write_listing(db: sqlite3.Connection, changes: Changes) -> None:
    """List the new jobs, and change the properties and counts of the jobs that `changes` change."""
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
    counted = [(*facets, change) for facets, change in changes.counts.items() if change]
    db.executemany(f"{_COUNT} {_MORE_JOBS}", counted)
    db.executemany(
        f"{_SPEND} ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, {_MORE_MONEY}",
        [(*spender, *money) for spender, money in changes.spending.items() if any(money)],
    )
    _index(db, changes.words())


def move(db: sqlite3.Connection, number: int) -> None:
    """Note the jobs with a record in a block that the open transaction completes, and recount them.

    Once per 256 records rather than with each: most state changes of a job are in the same block.
    """
    numbers = Counter[tuple[object, ...]]()
    for position, old_state, old_model, state, model, month, *rest in db.execute(_CHANGED, (number,)):
        part = _part_of(position)
        numbers[part, month, state, model, *rest] += 1
        if old_state:
            numbers[part, month, old_state, old_model, *rest] -= 1
    changed = [(*key, change) for key, change in numbers.items() if change]
    db.executemany(f"{_PART} {_MORE_JOBS}", changed)
    db.execute(_MOVE, (number,))


def _part_of(position: int) -> int:
    return (position - 1) // PART


def _row(position: int, job: Job, *, counted: bool = False) -> tuple[object, ...]:
    _, *facets = facets_of(job)
    sources = job.source_job or "", job.remix_video_id or "", job.verdict or ""
    money, block = money_of(job), (job.position - 1) // BLOCK
    span = ((position - 1) // BLOCK ^ block).bit_length()
    as_counted = (job.state.value, job.model or "") if counted else ("", "")
    known = position, job.job_id, job.created_at, *facets, job.profile or "", *money, *sources
    return *known, block, *as_counted, span


def _index(db: sqlite3.Connection, words: Mapping[int, Iterable[str]]) -> None:
    if words:
        db.executemany(_INDEX, [(at, " ".join(found_by)) for at, found_by in sorted(words.items())])


def unindex(db: sqlite3.Connection, erased: list[str]) -> None:
    """Remove the words of the prompts that contain the `erased` commitments, before their texts are deleted.

    The index needs the words it was given: the words of all texts at the position.
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
    """Rebuild all five tables from the job rows and the texts, in the open transaction.

    A damaged job row is left out: `verify` reports it, and `replay --swap` rebuilds it.
    """
    counts, parts = Counter[Facets](), Counter[tuple[int, Facets]]()

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
            facets = facets_of(job)
            counts[facets] += 1
            parts[_part_of(position), facets] += 1
            yield _row(position, job, counted=True)

    for table in ("listing", "counts", "parts"):
        db.execute(f"DELETE FROM {table}")
    db.executemany(_LIST, listed())
    db.executemany(_COUNT, [(*facets, jobs) for facets, jobs in counts.items()])
    db.executemany(_PART, [(number, *facets, jobs) for (number, facets), jobs in parts.items()])
    db.execute("DELETE FROM spending")
    db.execute(f"INSERT INTO spending {_SUMMED}")
    rewrite_words(db)


def rewrite_words(db: sqlite3.Connection) -> None:
    """Rebuild the word index from the remaining texts, in the open transaction."""
    db.execute("INSERT INTO search (search) VALUES ('delete-all')")
    query = (
        "SELECT position, text FROM private_bodies JOIN listing USING (position) "
        f"WHERE {_SEARCHED} ORDER BY position"
    )
    for position, texts in groupby(db.execute(query), itemgetter(0)):
        words = set[str]().union(*(words_of(text) for _, text in texts))
        db.execute(_INDEX, (position, " ".join(words)))


def search(  # the arguments of the contract
    db: Connection,
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
    wanted = _Wanted(where, sees, limit, beyond)
    return listed(db, [position for (position,) in _rows(db, "listing.position", prefixes, wanted)])


def listed(db: sqlite3.Connection, positions: Sequence[int]) -> list[FoundJob]:
    """Return the jobs that began at these positions, in their order."""
    names = json.dumps(positions)
    rows = db.execute(
        "SELECT value, body FROM json_each(?) CROSS JOIN listing ON listing.position = value "
        "CROSS JOIN jobs USING (job_id)",
        (names,),
    ).fetchall()
    texts = db.execute(
        "SELECT position, field, CAST(text AS TEXT) FROM private_bodies "
        "WHERE position IN (SELECT value FROM json_each(?))",
        (names,),
    )
    return found(rows, texts)


def matches(db: Connection, words: str, limit: int, *, sees: Sequence[JobFilter]) -> list[Match]:
    """Return the newest jobs whose prompts have all `words`, with their properties."""
    prefixes = prefixes_of(words)
    if not prefixes:
        return []
    columns = (
        "listing.position, substr(created_at, 1, 7), listing.state, model, requested_model, purpose, "
        "listing.actor, listing.team"
    )
    rows = _rows(db, columns, prefixes, _Wanted(EVERY_JOB, sees, limit, None))
    return [Match(position, Facets(*facets)) for position, *facets in rows]


class _Wanted(NamedTuple):
    """The wanted rows of ``listing``, how many, and where the search continues."""

    where: JobFilter
    sees: Sequence[JobFilter]
    limit: int
    beyond: int | None

    @property
    def order(self) -> str:
        return "ASC" if self.where.oldest_first else "DESC"

    @property
    def is_restricted(self) -> bool:
        """Whether it restricts a property that the parts of the log are counted by."""
        return bool([*_properties(self.where, "month")]) or EVERY_JOB not in self.sees

    def tables(self) -> str:
        """Return the tables to join; job rows are long, and are read only for fields found nowhere else."""
        return "listing CROSS JOIN jobs USING (job_id)" if [*_more_properties(self.where)] else "listing"

    def clauses(self, position: str = "listing.position") -> list[Clause]:
        where = self.where
        clauses = [_any_of(self.sees), *_properties(where, "created_at"), *_more_properties(where)]
        if self.beyond is not None:
            clauses.append((f"{position} {'>' if where.oldest_first else '<'} ?", [self.beyond]))
        return clauses


def _rows(db: Connection, columns: str, prefixes: Sequence[str], wanted: _Wanted) -> list[tuple[Any, ...]]:
    """Return the wanted rows of jobs whose prompts have a word for each of the prefixes, in order."""
    parts = _parts(db, wanted) if db.schema >= PARTS and wanted.is_restricted else None
    if parts is not None and (not prefixes or sum(jobs for _, jobs in parts) <= MOST_READ):
        return _rows_of_parts(db, columns, prefixes, wanted, parts)
    if not prefixes:
        return _select(db, columns, wanted.tables(), wanted.clauses(), wanted)
    match, are_named = _match(db, prefixes)
    matching: Clause = ("search MATCH ?", [match])
    if len(prefixes) > 1:
        # Where one word is rare and another is not, the index skips what lies between only from old to new.
        query = "SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid LIMIT ?"
        few = [position for (position,) in db.execute(query, (match, MOST_READ + 1))]
        if len(few) <= MOST_READ:
            chosen = ("listing.position IN (SELECT value FROM json_each(?))", [json.dumps(few)])
            return _select(db, columns, wanted.tables(), [chosen, *wanted.clauses()], wanted)
    tables = f"search CROSS JOIN {wanted.tables()} ON listing.position = search.rowid"
    if "jobs" in tables:
        tables = "search CROSS JOIN listing ON listing.position = search.rowid CROSS JOIN jobs USING (job_id)"
    clauses = [matching, *wanted.clauses("search.rowid")]
    if len(prefixes) > 1 and are_named and not wanted.where.oldest_first:
        return _rows_of_windows(db, columns, tables, clauses, wanted)
    return _select(db, columns, tables, clauses, wanted, by="search.rowid")


def _select(
    db: Connection,
    columns: str,
    tables: str,
    clauses: Iterable[Clause],
    wanted: _Wanted,
    *,
    by: str = "listing.position",
) -> list[tuple[Any, ...]]:
    text, values = _joined(clauses)
    query = f"SELECT {columns} FROM {tables} WHERE {text} ORDER BY {by} {wanted.order} LIMIT ?"
    return db.execute(query, (*values, wanted.limit)).fetchall()


def _parts(db: Connection, wanted: _Wanted) -> list[tuple[int, int]]:
    """Return the parts of the log in which matching jobs may have begun, in order, and about how many.

    Jobs with a record in the last, incomplete block may have changed since they were counted.
    """
    where = wanted.where
    months = replace(where, since=where.since and where.since[:MONTH])
    text, values = _joined([_any_of(wanted.sees), *_properties(months, "month")])
    changed, more = _joined([_any_of(wanted.sees), *_properties(where, "created_at")])
    comparison = ">=" if where.oldest_first else "<="
    query = f"""
    SELECT number, SUM(jobs) FROM (
        SELECT number, jobs FROM parts AS listing WHERE {text}
        UNION ALL SELECT (position - 1) / {PART}, 1 FROM listing WHERE job_id IN (
            SELECT stream FROM events WHERE position > (SELECT size / {BLOCK} * {BLOCK} FROM head)
        ) AND {changed}
    ) WHERE ?1 IS NULL OR number {comparison} ?1
    GROUP BY number HAVING SUM(jobs) > 0 ORDER BY number {wanted.order}
    """
    bound = None if wanted.beyond is None else _part_of(wanted.beyond)
    return db.execute(query.replace("?1", "?"), [*values, *more, bound, bound]).fetchall()


def _rows_of_parts(
    db: Connection,
    columns: str,
    prefixes: Sequence[str],
    wanted: _Wanted,
    parts: Sequence[tuple[int, int]],
) -> list[tuple[Any, ...]]:
    """Return the wanted rows from the parts that have matches; their prompts are read if there are words."""
    rows = list[tuple[Any, ...]]()
    tables = (
        f"json_each(?) CROSS JOIN listing ON listing.position > value * {PART} "
        f"AND listing.position <= (value + 1) * {PART}"
    )
    if "jobs" in wanted.tables():
        tables += " CROSS JOIN jobs USING (job_id)"
    text, values = _joined(wanted.clauses())
    query = f"SELECT {columns} FROM {tables} WHERE {text} ORDER BY listing.position {wanted.order} LIMIT ?"
    for numbers in _by_jobs(parts, wanted.limit):
        most = -1 if prefixes else wanted.limit - len(rows)
        found = db.execute(query, (json.dumps(numbers), *values, most)).fetchall()
        rows += _with_words(db, found, prefixes) if prefixes else found
        if len(rows) >= wanted.limit:
            break
    return rows[: wanted.limit]


def _by_jobs(parts: Iterable[tuple[int, int]], limit: int) -> Iterator[list[int]]:
    """Yield the numbers of parts, in groups with as many jobs as are wanted, then with more."""
    numbers, jobs, enough = list[int](), 0, limit
    for number, more in parts:
        numbers.append(number)
        jobs += more
        if jobs >= enough and len(numbers) > 1:  # some of the first part may have been returned before
            yield numbers
            numbers, jobs, enough = [], 0, enough * 4
    if numbers:
        yield numbers


def _with_words(
    db: Connection, rows: Sequence[tuple[Any, ...]], prefixes: Iterable[str]
) -> list[tuple[Any, ...]]:
    """Return the rows whose prompts have a word for each of the prefixes."""
    words: dict[int, set[str]] = {}
    query = (
        "SELECT position, CAST(text AS TEXT) FROM private_bodies "
        f"WHERE position IN (SELECT value FROM json_each(?)) AND {_SEARCHED}"
    )
    for position, text in db.execute(query, (json.dumps([row[0] for row in rows]),)):
        words.setdefault(position, set()).update(words_of(text))
    return [
        row
        for row in rows
        if all(any(word.startswith(prefix) for word in words.get(row[0], ())) for prefix in prefixes)
    ]


def _rows_of_windows(
    db: Connection, columns: str, tables: str, clauses: Sequence[Clause], wanted: _Wanted
) -> list[tuple[Any, ...]]:
    """Return the newest rows, read from old to new in parts of the log of growing size."""
    rows, width = list[tuple[Any, ...]](), PART
    high = db.execute("SELECT MAX(position) FROM listing").fetchone()[0] or 0
    if wanted.beyond is not None:
        high = min(high, wanted.beyond - 1)
    text, values = _joined(clauses)
    query = (
        f"SELECT {columns} FROM {tables} WHERE {text} AND search.rowid > ? AND search.rowid <= ? "
        "ORDER BY search.rowid"
    )
    while high > 0 and len(rows) < wanted.limit:
        low = max(0, high - width)
        rows += reversed(db.execute(query, (*values, low, high)).fetchall())
        high, width = low, width * 2
    return rows[: wanted.limit]


def _match(db: Connection, prefixes: Iterable[str]) -> tuple[str, bool]:
    """Return a query for the positions with a word for each prefix, and whether all words are listed.

    If few words begin with a prefix, they are listed: the index yields the positions of a word from the
    newest on, but collects all positions of a prefix before it yields the first.
    """
    parts, are_named = [], True
    for prefix in prefixes:
        words = _beginning(db, prefix) if db.schema >= SPENDING else None
        are_named = are_named and words is not None
        parts.append(f'"{prefix}" *' if words is None else " OR ".join(f'"{word}"' for word in words))
    return " AND ".join(f"({part})" for part in parts), are_named


def _beginning(db: sqlite3.Connection, prefix: str) -> list[str] | None:
    """Return the indexed words that begin with `prefix`, or the prefix itself; None if there are many."""
    words, least = list[str](), prefix
    while len(words) <= MOST_NAMED:
        row = db.execute("SELECT term FROM search_words WHERE term >= ? LIMIT 1", (least,)).fetchone()
        if row is None or not row[0].startswith(prefix):
            return words or [prefix]
        words.append(row[0])
        least = row[0] + _FIRST_LETTER
    return None


def counts(
    db: sqlite3.Connection, by: Facet, where: JobFilter, *, sees: Sequence[JobFilter]
) -> Mapping[str, int]:
    """Return the numbers of jobs per value of one property."""
    clauses, values = _joined([_any_of(sees), ("jobs > 0", ()), *_properties(where, "month")])
    value = "model, requested_model" if by == "model" else by
    query = f"SELECT {value}, SUM(jobs) FROM counts AS listing WHERE {clauses} GROUP BY {value}"
    rows = db.execute(query, values).fetchall()
    return by_model(rows) if by == "model" else dict(rows)


def spent(db: Connection, by: SpentBy, where: JobFilter, *, sees: Sequence[JobFilter]) -> Mapping[str, Money]:
    """Return the money of jobs per value of one property."""
    days = where.by_day() if db.schema >= SPENDING else None
    if days is not None:
        table, jobs, day = "spending", "SUM(jobs)", "day"
        clauses, values = _joined([_any_of(sees), ("jobs > 0", ()), *_properties(days, "day")])
    else:
        table, jobs, day = "listing", "COUNT(*)", "substr(created_at, 1, 10)"
        paid = "requested_model <> ''", ()
        clauses, values = _joined([_any_of(sees), paid, *_properties(where, "created_at")])
    sums = ", ".join(f"SUM({kind})" for kind in _KINDS)
    value = day if by == "day" else by
    query = f"SELECT {value}, {jobs}, {sums} FROM {table} AS listing WHERE {clauses} GROUP BY 1"
    return {name: Money(*numbers) for name, *numbers in db.execute(query, values)}


def standing(db: Connection, position: int, *, sees: Sequence[JobFilter]) -> Standing:
    """Return the jobs that had begun at `position`: the unchanged ones by state, the ids of the others."""
    if db.schema < PARTS:
        return _standing_of_streams(db, position, sees)
    db.execute("BEGIN")  # what follows is one snapshot
    try:
        (size,) = db.execute("SELECT size FROM head WHERE id = 1").fetchone()
        return _standing(db, position, size, sees)
    finally:
        db.execute("ROLLBACK")


def _standing(db: Connection, position: int, size: int, sees: Sequence[JobFilter]) -> Standing:
    """Count the jobs that had begun, without those that changed later.

    A job changed later if its block is a later one, or if it has a record after the position in the block of
    the position or in the last, incomplete block: those are few, and `named`.
    """
    block, end = (position - 1) // BLOCK, size // BLOCK * BLOCK
    visible, values = _any_of(sees)
    streams = "SELECT stream FROM events WHERE position > ? AND position <= ?"
    stretches = ((position, min((block + 1) * BLOCK, size)), (end, size))
    here, last = (sorted({stream for (stream,) in db.execute(streams, stretch)}) for stretch in stretches)
    later = here if position > end else {*here, *last}
    changed = db.execute(
        "SELECT state, job_id FROM json_each(?) CROSS JOIN listing ON job_id = value "
        f"WHERE block <= ? AND position <= ? AND {visible}",
        [json.dumps([*later]), block, position, *values],
    ).fetchall()
    for clause, bound in _across(position, size // BLOCK):
        across = f"SELECT state, job_id FROM listing WHERE span > 0 AND {clause} AND {visible}"
        changed += db.execute(across, [*bound, *values])
    begun = _begun(db, position, last, sees)
    begun.subtract(state for state, _ in changed)
    return Standing(+begun, [job_id for _, job_id in changed])


def _begun(db: Connection, position: int, last: Sequence[str], sees: Sequence[JobFilter]) -> Counter[str]:
    """Count the jobs that had begun at `position` by their current state.

    Whole parts are counted. Jobs with a record in the last, incomplete block may have changed state since
    then.
    """
    visible, values = _any_of(sees)
    whole = position // PART
    counted = (
        ("SUM(jobs) FROM parts AS listing WHERE number < ?", [whole]),
        ("COUNT(*) FROM listing WHERE position > ? AND position <= ?", [whole * PART, position]),
    )
    begun = Counter[str]()
    for counting, bound in counted:
        query = f"SELECT state, {counting} AND {visible} GROUP BY state"
        begun.update(dict(db.execute(query, [*bound, *values]).fetchall()))
    changed = (
        "SELECT state, counted_state FROM json_each(?) CROSS JOIN listing ON job_id = value "
        f"WHERE position <= ? AND state <> counted_state AND {visible}"
    )
    for state, before in db.execute(changed, [json.dumps(last), whole * PART, *values]):
        begun[state] += 1
        begun[before] -= 1
    return begun


def _across(position: int, blocks: int) -> Iterator[Clause]:
    """Yield a clause for each span: the jobs that had begun at `position` and changed in a later block.

    The jobs of one span began in the first half of an aligned range of blocks and last changed in its second
    half. So before the middle it is enough that they had begun, and after it that they changed later.
    """
    block = (position - 1) // BLOCK
    for span in range(1, max(blocks, 1).bit_length() + 1):
        first = block >> span << span
        middle, end = first + (1 << span - 1), first + (1 << span)
        if block < middle:
            yield "span = ? AND position > ? AND position <= ?", [span, first * BLOCK, position]
        else:
            yield "span = ? AND block > ? AND block < ?", [span, block, end]


def _standing_of_streams(db: Connection, position: int, sees: Sequence[JobFilter]) -> Standing:
    """Read the last position of each job from the index of streams, in a ledger of an older schema."""
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


def list_drift(db: Connection) -> list[ListDrift]:
    """Compare the tables behind lists with the job rows, and counts and money with the lists."""
    if db.schema < PARTS:
        return []
    db.execute("BEGIN")  # what follows is one snapshot
    try:
        (size,) = db.execute("SELECT size FROM head WHERE id = 1").fetchone()
        return [*_listing_drift(db, size // BLOCK), *_sum_drift(db)]
    finally:
        db.execute("ROLLBACK")


def _listing_drift(db: Connection, blocks: int) -> Iterator[ListDrift]:
    query = (
        "SELECT events.position, body, listing.* FROM jobs CROSS JOIN events "
        "ON stream = jobs.job_id AND events.version = 1 LEFT JOIN listing ON listing.job_id = jobs.job_id"
    )
    for position, body, *live in db.execute(query):
        try:
            job = Job.from_canonical(body)
        except LedgerUnusable:
            continue
        row = _row(position, job, counted=True)
        is_noted = (job.position - 1) // BLOCK < blocks  # the block of its last change is complete
        compared = None if is_noted else -_NOTED
        if (*live,)[:compared] != row[:compared]:
            yield ListDrift("listing", job.job_id, None if live[0] is None else (*live,), row)
    query = "SELECT * FROM listing WHERE job_id NOT IN (SELECT job_id FROM jobs)"
    yield from (ListDrift("listing", live[1], live, None) for live in db.execute(query))


def _sum_drift(db: Connection) -> Iterator[ListDrift]:
    counted = (
        f"SELECT substr(created_at, 1, 7), {', '.join(Facets._fields[1:])}, COUNT(*) FROM listing "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    properties = f"substr(created_at, 1, 7), counted_state, counted_model, {', '.join(Facets._fields[3:])}"
    parted = (
        f"SELECT (position - 1) / {PART}, {properties}, COUNT(*) FROM listing WHERE counted_state <> '' "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
    )
    tables = (
        ("counts", Facets._fields, counted),
        ("parts", ("number", *Facets._fields), parted),
        ("spending", Spender._fields, _SUMMED),
    )
    for table, names, expected in tables:
        live = {row[: len(names)]: row for row in db.execute(f"SELECT * FROM {table} WHERE jobs <> 0")}
        right = {row[: len(names)]: row for row in db.execute(expected)}
        for key in live.keys() | right.keys():
            if live.get(key) != right.get(key):
                yield ListDrift(table, " ".join(map(str, key)), live.get(key), right.get(key))


def _joined(clauses: Iterable[Clause]) -> tuple[str, list[object]]:
    texts, values = zip(*clauses, strict=True)
    return " AND ".join(texts), [value for bound in values for value in bound]


def _properties(where: JobFilter, time: str) -> Iterator[Clause]:
    """Yield the clauses on columns that both ``listing`` and ``counts`` have."""
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
    """Yield the clauses on columns that only ``listing`` and ``jobs`` have."""
    compared = [
        ("listing.profile = ?", where.profile),
        ("video_id = ?", where.video_id),
        ("listing.job_id < ?", where.before),
        ("listing.job_id > ?", where.after),
    ]
    yield from ((clause, [value]) for clause, value in compared if value is not None)
    if where.videos is not None:
        yield "video_id IN (SELECT value FROM json_each(?))", [json.dumps(where.videos)]
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
    alternatives = [_joined([("1", ()), *_properties(filter_, "month")]) for filter_ in sees]
    texts = " OR ".join(text for text, _ in alternatives)
    return f"({texts or '0'})", [value for _, values in alternatives for value in values]

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
from ledger.job import Job, State
from ledger.store.append import Changes
from ledger.store.interface import EVERY_JOB, JobFilter, ListDrift, Standing
from ledger.store.search import (
    Facet,
    Facets,
    FoundJob,
    Money,
    Spender,
    SpentBy,
    by_model,
    facets_of,
    found,
    money_of,
    prefixes_of,
    words_of,
)
from ledger.store.sqlite.blocks import BLOCK
from ledger.store.sqlite.connection import Connection
from ledger.store.sqlite.reading import LAST_LETTER

_LIST = "INSERT INTO listing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_RELIST = (
    "UPDATE listing SET state = ?, model = ?, verdict = ?, "
    "reserved_usd_micros = ?, settled_usd_micros = ?, estimated_usd_micros = ? WHERE job_id = ?"
)
_COUNT = "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SPEND = "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOVE = f"""
UPDATE listing SET block = ?1 WHERE +block < ?1 AND job_id IN (
    SELECT stream FROM events WHERE position > ?1 * {BLOCK} AND position <= (?1 + 1) * {BLOCK}
)"""
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
"""From this schema on there are the other tables."""
SPENDING = 18
"""From this schema on there are the sums of money, the blocks of jobs, and the list of indexed words."""
MOST_NAMED = 16
"""Words that begin with a prefix and are named in a query."""
_FIRST_LETTER = "0"
"""The least character of a word."""
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
    db.executemany(
        f"{_SPEND} ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, {_MORE_MONEY}",
        [(*spender, *money) for spender, money in changes.spending.items() if any(money)],
    )
    _index(db, changes.words())


def move(db: sqlite3.Connection, number: int) -> None:
    """Note the jobs that changed last in a block, which the open transaction completes."""
    db.execute(_MOVE, (number,))


def _row(position: int, job: Job) -> tuple[object, ...]:
    _, *facets = facets_of(job)
    sources = job.source_job or "", job.remix_video_id or "", job.verdict or ""
    money, block = money_of(job), (job.position - 1) // BLOCK
    return position, job.job_id, job.created_at, *facets, job.profile or "", *money, *sources, block


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
    """Make all four tables again from the job rows and the texts, in the transaction that is open.

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
    db.execute("DELETE FROM spending")
    db.execute(f"INSERT INTO spending {_SUMMED}")
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
    tables, position = "listing", "listing.position"
    clauses = [_any_of(sees), *_properties(where, "created_at"), *_more_properties(where)]
    if prefixes:
        tables, position = "search CROSS JOIN listing ON listing.position = search.rowid", "search.rowid"
        clauses.append(("search MATCH ?", [_match(db, prefixes)]))
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


def _match(db: Connection, prefixes: Iterable[str]) -> str:
    """Return a query for the positions with a word for each of the prefixes.

    If few words begin with a prefix, they are named: the index yields the positions of a word from the newest
    one on, but collects all positions of a prefix before it yields one.
    """
    parts = []
    for prefix in prefixes:
        words = _beginning(db, prefix) if db.schema >= SPENDING else None
        parts.append(f'"{prefix}" *' if words is None else " OR ".join(f'"{word}"' for word in words))
    return " AND ".join(f"({part})" for part in parts)


def _beginning(db: sqlite3.Connection, prefix: str) -> list[str] | None:
    """Return the words of the index that begin with `prefix`, or itself; None if there are many."""
    words, least = list[str](), prefix
    while len(words) <= MOST_NAMED:
        row = db.execute("SELECT term FROM search_words WHERE term >= ? LIMIT 1", (least,)).fetchone()
        if row is None or not row[0].startswith(prefix):
            return words or [prefix]
        words.append(row[0])
        least = row[0] + _FIRST_LETTER
    return None


def matches(db: Connection, words: str, limit: int, *, sees: Sequence[JobFilter]) -> list[Facets]:
    """Return the properties of the newest jobs whose prompts have all `words`."""
    prefixes = prefixes_of(words)
    if not prefixes:
        return []
    clauses, values = _joined([_any_of(sees), ("search MATCH ?", [_match(db, prefixes)])])
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


def spent(db: Connection, by: SpentBy, where: JobFilter, *, sees: Sequence[JobFilter]) -> Mapping[str, Money]:
    """Return the money of jobs by the values of one property."""
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
    if db.schema < SPENDING:
        return _standing_of_streams(db, position, sees)
    db.execute("BEGIN")  # what follows is one snapshot
    try:
        (size,) = db.execute("SELECT size FROM head WHERE id = 1").fetchone()
        return _standing(db, position, size, sees)
    finally:
        db.execute("ROLLBACK")


def _standing(db: Connection, position: int, size: int, sees: Sequence[JobFilter]) -> Standing:
    """Subtract the jobs that changed later from the counts, or count the others, whichever are fewer.

    A job changed later if its block is a later one, or if it has a record after the position in the block of
    the position, or in the last block, which is not complete: those are few, and `named`.
    """
    block, end = (position - 1) // BLOCK, size // BLOCK * BLOCK
    parts = ((position, min((block + 1) * BLOCK, size)), (max(end, position), size))
    streams = "SELECT stream FROM events WHERE position > ? AND position <= ?"
    names = json.dumps(sorted({stream for part in parts for (stream,) in db.execute(streams, part)}))
    visible, values = _any_of(sees)
    query = (
        "SELECT state, position, job_id FROM json_each(?) CROSS JOIN listing ON job_id = value "
        f"WHERE block <= ? AND {visible}"
    )
    named = db.execute(query, [names, block, *values]).fetchall()
    if position < size // 2:
        unchanged = _by_state(db, "block <= ?", block, sees)
        began_then = "position <= ? AND +block > ?", [position, block]
    else:
        unchanged = Counter(counts(db, "state", EVERY_JOB, sees=sees))
        unchanged.subtract(_by_state(db, "block > ?", block, sees))
        states = ", ".join("?" * len(State))
        began_then = f"+position <= ? AND block > ? AND state IN ({states})", [position, block, *State]
    unchanged.subtract(state for state, _, _ in named)
    text, bound = began_then
    rows = db.execute(f"SELECT job_id FROM listing WHERE {text} AND {visible}", [*bound, *values])
    changed = [job_id for (job_id,) in rows]
    return Standing(+unchanged, changed + [job_id for _, began, job_id in named if began <= position])


def _by_state(db: Connection, where: str, block: int, sees: Sequence[JobFilter]) -> Counter[str]:
    """Count the jobs of some blocks by state; a part of the index is read for each state."""
    visible, values = _any_of(sees)
    query = f"SELECT COUNT(*) FROM listing WHERE state = ? AND {where} AND {visible}"
    return Counter(
        {state: db.execute(query, [state, block, *values]).fetchone()[0] for state in map(str, State)}
    )


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
    """Compare the tables of lists with the job rows; those of counts and money with the lists."""
    if db.schema < SPENDING:
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
        row = _row(position, job)
        *others, changed = live
        last = (job.position - 1) // BLOCK
        if (*others,) != row[:-1] or (last < blocks and changed != last):
            yield ListDrift("listing", job.job_id, None if live[0] is None else (*live,), row)
    query = "SELECT * FROM listing WHERE job_id NOT IN (SELECT job_id FROM jobs)"
    yield from (ListDrift("listing", live[1], live, None) for live in db.execute(query))


def _sum_drift(db: Connection) -> Iterator[ListDrift]:
    counted = (
        f"SELECT substr(created_at, 1, 7), {', '.join(Facets._fields[1:])}, COUNT(*) FROM listing "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    tables = (("counts", Facets._fields, counted), ("spending", Spender._fields, _SUMMED))
    for table, names, expected in tables:
        live = {row[: len(names)]: row for row in db.execute(f"SELECT * FROM {table} WHERE jobs <> 0")}
        right = {row[: len(names)]: row for row in db.execute(expected)}
        for key in live.keys() | right.keys():
            if live.get(key) != right.get(key):
                yield ListDrift(table, " ".join(key), live.get(key), right.get(key))


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

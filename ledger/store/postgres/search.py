"""The tables behind lists, counts and searches of jobs: how they derive from the log, and queries on them.

An append writes them in its pipeline, so they cost no extra round trip, and a crash at any line leaves them
consistent with the log. The append that erases a prompt removes its words from every result. Their bytes
leave the table and its index when `ledger.store.postgres.append_rows.rewrite_bodies` rewrites both.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import psycopg

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.store.append import Changes
from ledger.store.filters import JobFilter
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
from ledger.store.postgres.connection import Connection
from ledger.store.search import prefixes_of, words_of

_LIST = "INSERT INTO listing VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_COUNT = "INSERT INTO counts VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
_KINDS = ("reserved_usd_micros", "settled_usd_micros", "estimated_usd_micros")
_SUMMED = (
    "SELECT substr(created_at, 1, 10) AS day, model, purpose, actor, team, COUNT(*) AS jobs, "
    f"{', '.join(f'SUM({kind})::bigint AS {kind}' for kind in _KINDS)} FROM listing "
    "WHERE requested_model <> ''::bytea GROUP BY 1, 2, 3, 4, 5"
)
SPENDING = 16
"""From this schema version on there is the table of money sums."""
MOST_LATER = 5_000
"""Maximum records after a position whose jobs are subtracted from the counts."""
_INDEX = "INSERT INTO search VALUES (%s, array_to_tsvector(%s::text[]))"
_SEARCHED = "(field = 'prompt' OR starts_with(field, 'fields.'))"
_PART = 2_000
_LAST_LETTER = "\U0010ffff"


def listed_rows(changes: Changes) -> list[tuple[object, ...]]:
    """Return the rows of ``listing`` for new jobs."""
    return [_row(at, changes.jobs[job_id]) for job_id, at in changes.begun.items()]


def relisted_rows(changes: Changes) -> list[tuple[object, ...]]:
    """Return the changes to the rows of existing jobs, each after the id of its job."""
    relisted = [changes.jobs[job_id] for job_id in sorted(changes.relisted - changes.begun.keys())]
    return [(job.job_id, job.state.value, _bytes(job.model), *money_of(job)) for job in relisted]


def counted_rows(changes: Changes) -> list[tuple[object, ...]]:
    """Return the changes to the numbers in ``counts``."""
    return [_count(facets, change) for facets, change in changes.counts.items() if change]


def spent_rows(changes: Changes) -> list[tuple[object, ...]]:
    """Return the changes to the sums in ``spending``."""
    changed = [(*spender, *money) for spender, money in changes.spending.items() if any(money)]
    return [(day, model.encode(), purpose.encode(), *rest) for day, model, purpose, *rest in changed]


def indexed_rows(changes: Changes) -> list[tuple[int, str]]:
    """Return the words of the new texts, joined by spaces, which no word contains."""
    return [(at, " ".join(words)) for at, words in changes.words().items()]


def _many(db: Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:
        db.cursor().executemany(query, rows)


def _bytes(text: str | None) -> bytes:
    return (text or "").encode()


def _row(position: int, job: Job) -> tuple[object, ...]:
    return (
        position,
        job.job_id,
        job.created_at,
        *_stored(facets_of(job))[1:],
        job.profile or "",
        *money_of(job),
    )


def _count(facets: Facets, jobs: int) -> tuple[object, ...]:
    return *_stored(facets), jobs


def _stored(facets: Facets) -> tuple[object, ...]:
    free = {"model", "requested_model", "purpose"}
    return tuple(
        value.encode() if name in free else value for name, value in zip(Facets._fields, facets, strict=True)
    )


def rebuild(db: Connection) -> None:
    """Rebuild all four tables from the job rows and the texts, in the open transaction.

    A damaged job row is left out: `verify` reports it, and `replay --swap` rebuilds it.
    """
    counts = Counter[Facets]()

    def listed() -> Iterator[tuple[object, ...]]:
        query = (
            "SELECT events.position, body FROM jobs JOIN events ON stream = job_id AND events.version = 1 "
            "ORDER BY events.position"
        )
        for position, body in _in_parts(db, query):
            try:
                job = Job.from_canonical(body)
            except LedgerUnusable:
                continue
            counts[facets_of(job)] += 1
            yield _row(position, job)

    for table in ("listing", "counts", "spending", "search"):
        db.execute(f"DELETE FROM {table}")
    _in_chunks(db, _LIST, listed())
    _in_chunks(db, _COUNT, (_count(facets, jobs) for facets, jobs in counts.items()))
    db.execute(f"INSERT INTO spending {_SUMMED}".encode())
    query = (
        "SELECT position, text FROM private_bodies JOIN listing USING (position) "
        f"WHERE {_SEARCHED} ORDER BY position"
    )
    texts = groupby(_in_parts(db, query), itemgetter(0))
    _in_chunks(db, _INDEX, ((at, list(_words(text for _, text in together))) for at, together in texts))


def _words(texts: Iterable[bytes]) -> set[str]:
    return set[str]().union(*(words_of(text.decode()) for text in texts))


def _in_parts(db: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    with db.cursor("rebuilding", binary=True) as cursor:
        cursor.itersize = _PART
        yield from cursor.execute(query.encode())


def _in_chunks(db: Connection, query: str, rows: Iterator[tuple[object, ...]]) -> None:
    while part := list(islice(rows, _PART)):
        _many(db, query, part)


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
    tables = "listing JOIN jobs USING (job_id)"
    clauses = [_any_of(sees), *_properties(where, "created_at"), *_more_properties(where)]
    if prefixes:
        tables += " JOIN search ON search.position = listing.position"
        clauses.append(("words @@ %s::tsquery", [_tsquery(prefixes)]))
    comparison, order = (">", "ASC") if where.oldest_first else ("<", "DESC")
    if beyond is not None:
        clauses.append((f"listing.position {comparison} %s", [beyond]))
    text, values = _joined(clauses)
    query = (
        f"SELECT listing.position, body FROM {tables} WHERE {text} ORDER BY listing.position {order} LIMIT %s"
    )
    # With the values inlined, the statement is planned for them: a frequent word is best searched along the
    # list, a rare one through the index.
    return _with_texts(db, psycopg.ClientCursor(db).execute(query.encode(), [*values, limit]).fetchall())


def listed(db: Connection, positions: Sequence[int]) -> list[FoundJob]:
    """Return the jobs that began at these positions, in their order."""
    query = b"""
    SELECT listing.position, body FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted (position, number)
    JOIN listing USING (position) JOIN jobs USING (job_id) ORDER BY number
    """
    return _with_texts(db, db.execute(query, (list(positions),), binary=True).fetchall())


def _with_texts(db: Connection, rows: Sequence[tuple[Any, ...]]) -> list[FoundJob]:
    texts = db.execute(
        "SELECT position, field, text FROM private_bodies WHERE position = ANY(%s)",
        ([position for position, _ in rows],),
        binary=True,
    )
    return found(rows, ((position, field, text.decode()) for position, field, text in texts))


def _tsquery(prefixes: Iterable[str]) -> str:
    return " & ".join(f"'{word}':*" for word in prefixes)


def matches(db: Connection, words: str, limit: int, *, sees: Sequence[JobFilter]) -> list[Match]:
    """Return the newest jobs whose prompts have all `words`, with their properties."""
    prefixes = prefixes_of(words)
    if not prefixes:
        return []
    clauses, values = _joined([_any_of(sees), ("words @@ %s::tsquery", [_tsquery(prefixes)])])
    query = (
        "SELECT listing.position, substr(created_at, 1, 7), state, model, requested_model, purpose, actor, "
        "team FROM listing JOIN search ON search.position = listing.position "
        f"WHERE {clauses} ORDER BY listing.position DESC LIMIT %s"
    )
    rows = psycopg.ClientCursor(db).execute(query.encode(), [*values, limit])
    return [Match(position, Facets(*map(_text, facets))) for position, *facets in rows]


def counts(db: Connection, by: Facet, where: JobFilter, *, sees: Sequence[JobFilter]) -> Mapping[str, int]:
    """Return the numbers of jobs by the values of one property."""
    clauses, values = _joined([_any_of(sees), ("jobs > 0", ()), *_properties(where, "month")])
    value = "model, requested_model" if by == "model" else by
    query = f"SELECT {value}, SUM(jobs) FROM counts AS listing WHERE {clauses} GROUP BY {value}"
    cursor = db.execute(query.encode(), values, binary=True)
    rows: list[Any] = [(*map(_text, names), int(jobs)) for *names, jobs in cursor]
    return by_model(rows) if by == "model" else dict(rows)


def spent(db: Connection, by: SpentBy, where: JobFilter, *, sees: Sequence[JobFilter]) -> Mapping[str, Money]:
    """Return the money of jobs by the values of one property."""
    days = where.by_day() if db.schema >= SPENDING else None
    if days is not None:
        table, jobs, day = "spending", "SUM(jobs)::bigint", "day"
        clauses, values = _joined([_any_of(sees), ("jobs > 0", ()), *_properties(days, "day")])
    else:
        table, jobs, day = "listing", "COUNT(*)", "substr(created_at, 1, 10)"
        paid = "requested_model <> ''::bytea", ()
        clauses, values = _joined([_any_of(sees), paid, *_properties(where, "created_at")])
    sums = ", ".join(f"SUM({kind})::bigint" for kind in _KINDS)
    value = day if by == "day" else by
    query = f"SELECT {value}, {jobs}, {sums} FROM {table} AS listing WHERE {clauses} GROUP BY 1"
    cursor = db.execute(query.encode(), values, binary=True)
    return {_text(name): Money(*numbers) for name, *numbers in cursor}


def _text(stored: str | bytes) -> str:
    return stored.decode() if isinstance(stored, bytes) else stored


def standing(db: Connection, position: int, *, sees: Sequence[JobFilter]) -> Standing:
    """Return the jobs that had begun at `position`: the unchanged ones by state, the ids of the others.

    If few records follow, the jobs they changed are subtracted from the counts; otherwise all jobs are read.
    """
    visible, values = _any_of(sees)
    ((size,),) = db.execute("SELECT size FROM head WHERE id = 1").fetchall()
    if size - position <= MOST_LATER:
        query = f"""
        WITH later AS MATERIALIZED (
            SELECT DISTINCT stream AS job_id FROM events WHERE position > %s AND starts_with(stream, 'job_')
        )
        SELECT state, NULL, SUM(jobs)::bigint FROM counts AS listing WHERE {visible} GROUP BY state
        UNION ALL
        SELECT state, CASE WHEN listing.position <= %s THEN job_id END, -COUNT(*)
        FROM listing JOIN later USING (job_id) WHERE {visible} GROUP BY 1, 2
        """
        arguments = [position, *values, position, *values]
    else:
        query = f"""
        SELECT state, job_id, CASE WHEN job_id IS NULL THEN number ELSE 0 END FROM (
            SELECT listing.state, CASE WHEN jobs.position > %s THEN job_id END AS job_id, COUNT(*) AS number
            FROM listing JOIN jobs USING (job_id) WHERE listing.position <= %s AND {visible} GROUP BY 1, 2
        ) AS standing
        """
        arguments = [position, position, *values]
    unchanged, changed = Counter[str](), list[str]()
    for state, job_id, number in db.execute(query.encode(), arguments):
        unchanged[state] += number
        changed += [] if job_id is None else [job_id]
    return Standing(+unchanged, changed)


def list_drift(db: Connection) -> list[ListDrift]:
    """Compare the tables behind lists with the job rows, and counts and money with the lists.

    The open transaction becomes one snapshot.
    """
    db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if db.schema < SPENDING:
        return []
    return [*_listing_drift(db), *_sum_drift(db)]


def _listing_drift(db: Connection) -> Iterator[ListDrift]:
    query = (
        "SELECT events.position, body, listing.* FROM jobs JOIN events "
        "ON stream = jobs.job_id AND events.version = 1 LEFT JOIN listing ON listing.job_id = jobs.job_id"
    )
    for position, body, *live in _in_parts(db, query):
        try:
            job = Job.from_canonical(body)
        except LedgerUnusable:
            continue
        row = _row(position, job)
        if tuple(live) != row:
            yield ListDrift("listing", job.job_id, None if live[0] is None else tuple(live), row)
    query = "SELECT * FROM listing WHERE job_id NOT IN (SELECT job_id FROM jobs)"
    yield from (ListDrift("listing", live[1], live, None) for live in db.execute(query, binary=True))


def _sum_drift(db: Connection) -> Iterator[ListDrift]:
    counted = (
        f"SELECT substr(created_at, 1, 7), {', '.join(Facets._fields[1:])}, COUNT(*) FROM listing "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7"
    )
    tables = (("counts", Facets._fields, counted), ("spending", Spender._fields, _SUMMED))
    for table, names, expected in tables:
        stored = db.execute(f"SELECT * FROM {table} WHERE jobs <> 0".encode(), binary=True)
        live = {row[: len(names)]: row for row in stored}
        right = {row[: len(names)]: row for row in db.execute(expected.encode(), binary=True)}
        for key in live.keys() | right.keys():
            if live.get(key) != right.get(key):
                yield ListDrift(table, " ".join(map(_text, key)), live.get(key), right.get(key))


Clause = tuple[str, Sequence[object]]


def _joined(clauses: Iterable[Clause]) -> tuple[str, list[object]]:
    texts, values = zip(*clauses, strict=True)
    return " AND ".join(texts), [value for bound in values for value in bound]


def _properties(where: JobFilter, time: str) -> Iterator[Clause]:
    """Yield the clauses on columns that both ``listing`` and ``counts`` have."""
    compared = [
        ("listing.team = %s", where.of_team),
        ("listing.team = %s", where.team),
        ("listing.actor = %s", where.of_actor),
        ("listing.actor = %s", where.actor),
        ("purpose = %s", None if where.purpose is None else where.purpose.encode()),
        (f"{time} >= %s", where.since),
        (f"{time} < %s", where.until),
    ]
    yield from ((clause, [value]) for clause, value in compared if value is not None)
    if where.teamless:
        yield "listing.team = ''", ()
    if where.states is not None:
        yield "listing.state = ANY(%s)", [[state.value for state in where.states]]
    if where.model is not None:
        yield "(model = %s OR requested_model = %s)", [where.model.encode()] * 2


def _more_properties(where: JobFilter) -> Iterator[Clause]:
    """Yield the clauses on columns that only ``listing`` and ``jobs`` have."""
    compared = [
        ("listing.profile = %s", where.profile),
        ("video_id = %s", None if where.video_id is None else where.video_id.encode()),
        ("listing.job_id < %s", where.before),
        ("listing.job_id > %s", where.after),
    ]
    yield from ((clause, [value]) for clause, value in compared if value is not None)
    if where.videos is not None:
        yield "video_id = ANY(%s)", [[video_id.encode() for video_id in where.videos]]
    if where.id_prefix is not None:
        bounds = [where.id_prefix, where.id_prefix + _LAST_LETTER]
        yield "listing.job_id >= %s AND listing.job_id < %s", bounds
    if where.id_suffix is not None:
        yield "right(listing.job_id, %s) = %s", [len(where.id_suffix), where.id_suffix]
    rest = replace(where, model=None, purpose=None, actor=None, team=None)
    for pieces in rest.pieces():
        yield f"({' OR '.join(['position(%s in body) > 0'] * len(pieces)) or 'false'})", pieces


def _any_of(sees: Sequence[JobFilter]) -> Clause:
    """Return the clause for the jobs of one of `sees`."""
    alternatives = [_joined([("true", ()), *_properties(filter_, "month")]) for filter_ in sees]
    texts = " OR ".join(text for text, _ in alternatives)
    return f"({texts or 'false'})", [value for _, values in alternatives for value in values]

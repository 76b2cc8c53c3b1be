"""What is left of an erased text: nothing, in any file of the ledger."""

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs

from ledger.log.ledger import Ledger
from ledger.private import PrivateBody, private_values
from ledger.store.filters import JobFilter
from ledger.store.sqlite import SqliteStore
from tests.ledger.scribe import Scribe

JOBS = 600
TOGETHER = 20


def bytes_on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def left_of(wanted: list[bytes], stored: bytes) -> list[bytes]:
    """Return what is still there of what was erased."""
    beginnings = {stored[at : at + 8] for at in range(len(stored))}  # hundreds of searches take long
    return [each for each in wanted if each[:8] in beginnings and each in stored]


def fill(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> list[PrivateBody]:
    """Record requests whose texts have very different lengths, as prompts have; return their bodies."""
    bodies = []
    for first in range(0, JOBS, TOGETHER):
        batches = []
        for number in range(first, first + TOGETHER):
            prompt = f"prompt {number:06d} " * (1, 2, 10, 120)[number % 4]
            event = vocabulary.requested(prompt)
            bodies += [private.body for _, private in private_values(event) if private.body]
            batches.append(scribe.batch(f"job_{number:032x}", event))
        ledger.append(batches)
    return bodies


def erase(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, bodies: list[PrivateBody]) -> None:
    gone = {"commitments": tuple(body.commitment for body in bodies)}
    event = structs.replace(vocabulary.sample("private.erased"), **gone)
    ledger.append([scribe.batch("ledger", event)])


@pytest.fixture
def bodies(ledger: Ledger, scribe: Scribe, vocabulary: ModuleType) -> list[PrivateBody]:
    return fill(ledger, scribe, vocabulary)


def test_no_salt_is_left_in_any_file(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, path: Path, bodies: list[PrivateBody]
) -> None:
    """A salt is 32 random bytes, so finding one means that its row was there."""
    erase(ledger, scribe, vocabulary, bodies)
    assert ledger.store.scrub() == []
    stored = bytes_on_disk(path.parent)
    assert left_of([body.salt for body in bodies], stored) == []


def test_no_text_is_left_in_any_file(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, path: Path, bodies: list[PrivateBody]
) -> None:
    erase(ledger, scribe, vocabulary, bodies)
    ledger.store.scrub()
    stored = bytes_on_disk(path.parent)
    assert left_of([body.text[:13].encode() for body in bodies], stored) == []


def test_no_word_is_left_in_any_file(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, path: Path
) -> None:
    """The index stores a word without what it shares with the word before, so its end is searched for."""
    bodies, words = [], [secrets.token_hex(12) for _ in range(4 * JOBS)]
    for number in range(JOBS):
        event = vocabulary.requested(" ".join(words[4 * number : 4 * number + 4]))
        bodies += [private.body for _, private in private_values(event) if private.body]
        ledger.append([scribe.batch(f"job_{number:032x}", event)])
    ends = [word[12:].encode() for word in words]
    assert left_of(ends, bytes_on_disk(path.parent))
    erase(ledger, scribe, vocabulary, bodies[: len(bodies) // 2])
    assert ledger.store.search(words[0], JobFilter(), 1) == []
    ledger.store.scrub()
    assert left_of(ends[: len(ends) // 2], bytes_on_disk(path.parent)) == []
    assert len(ledger.store.search(words[-1], JobFilter(), 1)) == 1
    erase(ledger, scribe, vocabulary, bodies[len(bodies) // 2 :])
    ledger.store.scrub()
    assert left_of(ends, bytes_on_disk(path.parent)) == []


def test_what_was_not_erased_stays_as_it_was(
    ledger: Ledger,
    scribe: Scribe,
    vocabulary: ModuleType,
    path: Path,
    check: Callable[..., list[tuple[str, int | None]]],
    bodies: list[PrivateBody],
) -> None:
    erase(ledger, scribe, vocabulary, bodies[::2])
    ledger.store.scrub()
    left = ledger.store.bodies(range(1, JOBS + 3))
    assert (sorted(left.values()), check(path)) == (sorted(bodies[1::2]), [])


def test_a_reader_that_keeps_the_log_in_use_is_named(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, path: Path
) -> None:
    records = scribe.live(ledger.store)
    ledger.store._writer.execute("PRAGMA busy_timeout = 1")  # type: ignore[attr-defined]
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM events").fetchone()
    erase(ledger, scribe, vocabulary, list(records[0].bodies.values()))
    [left] = ledger.store.scrub()
    reader.close()
    assert left == (
        f"another program is reading, so {path}-wal may still contain the text: "
        "close that program and repeat the command, which then empties the file"
    )


def test_scrubbing_again_finishes_what_a_reader_prevented(
    ledger: Ledger, scribe: Scribe, vocabulary: ModuleType, path: Path
) -> None:
    bodies = [each.body for _, each in private_values(scribe.live(ledger.store)[0].event) if each.body]
    ledger.store._writer.execute("PRAGMA busy_timeout = 1")  # type: ignore[attr-defined]
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM events").fetchone()
    erase(ledger, scribe, vocabulary, bodies)
    ledger.store.scrub()
    reader.close()
    assert ledger.store.scrub() == []
    assert [body for body in bodies if body.salt in bytes_on_disk(path.parent)] == []


def test_a_ledger_opened_for_reading_scrubs_nothing(ledger: Ledger, path: Path) -> None:
    with SqliteStore(path, read_only=True) as store, pytest.raises(Exception, match="for reading only"):
        store.scrub()

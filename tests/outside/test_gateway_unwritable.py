"""A ledger that cannot be written: requests are refused before anything is sent, reads go on, and so do
requests once it can be written again.

`chmod` does not stop root, so the files are made immutable, the disk is really full, and PostgreSQL really
refuses to write.
"""

import ctypes
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.ledger.store.postgres.server import Databases
from tests.outside.conftest import Gateway, Outside, Person, until
from tests.outside.test_gateway_gets import FAST
from tests.outside.test_gateway_refusals import Answered, ask

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
Spoil = Callable[[], None]
GETFLAGS, SETFLAGS, IMMUTABLE = 0x8008_6601, 0x4008_6602, 0x10
MS_NOSUID = 2
WAITED_S = 60
LIBC = ctypes.CDLL(None, use_errno=True)


def mark(path: Path, *, immutable: bool) -> None:
    """Let nobody write a file, or everybody again, as `chattr +i` and `-i` do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, GETFLAGS, flags)
        now = int.from_bytes(flags, "little")
        wanted = now | IMMUTABLE if immutable else now & ~IMMUTABLE
        fcntl.ioctl(descriptor, SETFLAGS, wanted.to_bytes(8, "little"))
    finally:
        os.close(descriptor)


@contextmanager
def immutable_files() -> Iterator[tuple[Path, Spoil, Spoil]]:
    """Yield a folder, and functions that make the files of its ledger immutable and mutable again."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # a disk; /dev/shm has no flags for open files
        folder = Path(name)
        probe = folder / "probe"
        with probe.open("wb", buffering=0) as file:
            try:
                mark(probe, immutable=True)
            except OSError as error:
                pytest.skip(f"files in {folder.parent} cannot be made immutable here ({error.strerror})")
            try:
                is_bound = not file.write(b"x")
            except OSError:
                is_bound = True
            mark(probe, immutable=False)
        if not is_bound:
            pytest.skip("this system lets a program write into an immutable file that it has open")

        def ledger(*, immutable: bool) -> None:
            for path in folder.glob("ledger.db*"):
                mark(path, immutable=immutable)

        try:
            yield folder, lambda: ledger(immutable=True), lambda: ledger(immutable=False)
        finally:
            ledger(immutable=False)


@contextmanager
def full_disk() -> Iterator[tuple[Path, Spoil, Spoil]]:
    """Yield a folder on a small disk of its own, and functions that fill the disk and make room again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if LIBC.mount(b"none", name.encode(), b"tmpfs", MS_NOSUID, b"size=16m") != 0:
            pytest.skip(f"no disk can be mounted here ({os.strerror(ctypes.get_errno())})")

        def fill() -> None:
            with (folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
                while filler.write(bytes(4096)):
                    pass

        try:
            yield folder, fill, (folder / "filler").unlink
        finally:
            LIBC.umount2(name.encode(), 2)


def refuse_writes(url: str, *, refused: bool) -> None:
    """Let the database refuse every write of sessions from now on, and end those that there are."""
    with closing(psycopg.connect(url, autocommit=True)) as db:
        db.execute("SET default_transaction_read_only = off")
        name = db.info.dbname
        db.execute(
            f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if refused else "off"}'
        )
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def refused_until_it_can_be_written(
    server: Outside, one: Gateway, spoil: Spoil, mend: Spoil, refusals: int = 3
) -> None:
    key = one.grant("app", "requester")
    made = ask(one, "POST", "/v1/videos", key, {"prompt": "before"})
    assert made.status == 200, made.document
    until(lambda: one.person("jobs").document["jobs"][0]["state"] == "stored", WAITED_S)
    spoil()
    for number in range(refusals):
        answer = ask(one, "POST", "/v1/videos", key, {"prompt": f"refused {number}"})
        assert (answer.status, answer.document["error"]["code"]) == (503, "ledger_unavailable"), answer
        assert (answer.headers["x-should-retry"], int(answer.headers["retry-after"]) > 0) == ("true", True)
        assert len(server.bills()) == 1
        for path in (f"/v1/videos/{made.document['id']}", "/v1/videos", "/v1/models"):
            shown = ask(one, "GET", path, key)
            assert shown.status == 200, (path, shown)
    assert len(content(one, key, made)) > 1000
    mend()
    until(lambda: ask(one, "POST", "/v1/videos", key, {"prompt": "after"}).status == 200, WAITED_S)
    assert [bill["prompt"] for bill in server.bills()] == ["before", "after"]
    until(lambda: [job["state"] for job in one.person("jobs").document["jobs"]] == ["stored"] * 2, WAITED_S)
    assert one.person("verify").code == 0
    assert "Traceback" not in one.errors


def content(one: Gateway, key: str, made: Answered) -> bytes:
    url = f"{one.base_url}/videos/{made.document['id']}/content"
    answer = httpx2.get(url, headers={"authorization": f"Bearer {key}"}, timeout=30)
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize("disk", [immutable_files, full_disk])
def test_a_ledger_file_that_cannot_be_written_refuses_requests_and_serves_what_it_has(
    outside: Start, gateway: Open, person: Person, disk: Any
) -> None:
    server = outside()
    with disk() as (folder, spoil, mend):
        person.folder = folder
        one = gateway(server, *FAST, SORA_LEDGER_RETRY_SECONDS="0.3")
        try:
            refused_until_it_can_be_written(server, one, spoil, mend)
        finally:
            one.end()


def test_a_database_that_refuses_writes_refuses_requests_and_serves_what_it_has(
    outside: Start, gateway: Open, databases: Databases
) -> None:
    server, url = outside(), databases.database()
    one = gateway(server, *FAST, SORA_LEDGER_URL=url, SORA_LEDGER_RETRY_SECONDS="0.3")
    try:
        refused_until_it_can_be_written(
            server, one, lambda: refuse_writes(url, refused=True), lambda: refuse_writes(url, refused=False)
        )
    finally:
        one.end()

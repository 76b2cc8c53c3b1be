"""`forward` as an operator has it: processes that are killed and stopped, `serve`, and bad input."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.log.opening import open_ledger
from tests.cli.conftest import Sora
from tests.forks import Forks, Running
from tests.receiver import Receiver, receiving

PERMITTED = {"SORA_LEDGER_PRIVATE_ENDPOINTS": "allow"}


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def file(folder: Path, there: Receiver) -> Path:
    """Write a file with one destination, and a ledger with some events."""
    file = folder / "forward.toml"
    file.write_text(f'version = 1\n[[http]]\nname = "there"\nurl = "{there.url}"\n')
    return file


@pytest.fixture
def jobs(sora: Sora, folder: Path) -> int:
    """Record a few jobs; return how many records there are."""
    for number in range(3):
        ended = sora("create", "--profile", "sandbox", "--prompt", f"a fox runs {number}", "--queue")
        assert ended.code == 0
    return size()


def size() -> int:
    with open_ledger("ledger.db") as ledger:
        return ledger.head().size


def sequences(there: Receiver, *, status: int = 200) -> list[int]:
    return [int(one.event["sequence"]) for one in there.received if one.status == status]


def waited_for(process: Running) -> str:
    """Wait until a process forwards; return the rest of nothing."""
    assert process.stderr
    for line in process.stderr:
        if "forward.begun" in line:
            return line
    raise AssertionError("it ended before it forwarded")


def test_drain_forwards_what_was_recorded_and_ends(
    sora: Sora, file: Path, jobs: int, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(PERMITTED.items())))
    ended = sora("forward", str(file), "--drain")
    assert ended.code == 0
    there_now = {"name": "there", "sent": jobs, "refused": 0, "position": jobs}
    assert ended.document == {"destinations": [there_now]}
    assert sorted(sequences(there)) == list(range(1, jobs + 1))
    assert sora("queue").document["forwarding"] == [
        {"destination": "there", "position": jobs, "behind": 0, "is_running": False}
    ]


def test_a_destination_is_forgotten_with_its_position_and_begins_anew(
    sora: Sora, file: Path, jobs: int, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(PERMITTED.items())))
    assert sora("forward", str(file), "--drain").code == 0
    ended = sora("forward", "--forget", "there")
    assert (ended.code, ended.document) == (0, {"destination": "there", "position": jobs})
    assert sora("queue").document["forwarding"] == []
    assert sora("forward", str(file), "--drain").document["destinations"][0]["sent"] == jobs
    assert len(there.received) == 2 * jobs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--forget", "other"), "nothing was ever forwarded to it; there are: there"),
        (("--forget", "there", "--drain"), "without FILE and --drain"),
    ],
)
def test_what_cannot_be_forgotten_is_named(
    sora: Sora,
    file: Path,
    jobs: int,
    there: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
) -> None:
    assert jobs
    monkeypatch.setenv(*next(iter(PERMITTED.items())))
    assert sora("forward", str(file), "--drain").code == 0
    ended = sora("forward", *options)
    assert (ended.code, words in ended.err) == (2, True), ended.err
    assert there.received
    assert sora("queue").document["forwarding"]


def test_the_position_of_a_destination_that_is_forwarded_to_is_not_forgotten(
    sora: Sora, folder: Path, file: Path, jobs: int, there: Receiver, forks: Forks
) -> None:
    process = forks.popen(["forward", str(file)], folder, os.environ | PERMITTED)
    waited_for(process)
    ended = sora("forward", "--forget", "there")
    assert (ended.code, "a process forwards to it" in ended.err) == (2, True), ended.err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(sequences(there)) <= set(range(1, jobs + 1))


def test_a_forwarder_that_is_killed_loses_nothing(
    folder: Path, file: Path, jobs: int, there: Receiver, forks: Forks
) -> None:
    def popen(*more: str) -> Running:
        return forks.popen(["forward", str(file), *more], folder, os.environ | PERMITTED)

    first = popen()

    def kill_at_the_fourth(number: int) -> int:
        if number == 4:
            first.send_signal(signal.SIGKILL)
            return 0  # it may have been taken, for all that the forwarder knows
        return 200

    there.answer = kill_at_the_fourth
    there.wait_for(4)
    first.communicate()
    there.answer = lambda _: 200
    second = popen("--drain")  # it waits until the turn of the first has ended
    out, _ = second.communicate()
    assert json.loads(out)["destinations"][0]["position"] == jobs
    assert set(sequences(there)) == set(range(1, jobs + 1))
    with open_ledger("ledger.db") as ledger:
        streams = {record.position: record.stream for record in ledger.read()}
    for stream in set(streams.values()):
        taken = [number for number in sequences(there) if streams[number] == stream]
        assert list(dict.fromkeys(taken)) == sorted(set(taken))


def test_a_forwarder_that_is_stopped_stores_its_position_and_leaves_its_turn(
    sora: Sora, folder: Path, file: Path, jobs: int, there: Receiver, forks: Forks
) -> None:
    process = forks.popen(["forward", str(file)], folder, os.environ | PERMITTED)
    waited_for(process)
    there.wait_for(jobs)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["destinations"][0]["position"] == jobs
    assert sora("queue").document["forwarding"][0]["is_running"] is False


def test_serve_forwards_where_the_variable_names_a_file(
    folder: Path, file: Path, there: Receiver, jobs: int, forks: Forks
) -> None:
    command = ["serve", "--port", "0", "--profile", "sandbox", "--json", "--no-work"]
    process = forks.popen(command, folder, os.environ | PERMITTED | {"SORA_LEDGER_FORWARD": str(file)})
    try:
        there.wait_for(jobs)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert sorted(sequences(there))[:jobs] == list(range(1, jobs + 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forward"], "name a file of destinations, or set SORA_LEDGER_FORWARD"),
        (["forward", "nowhere.toml"], "file of destinations nowhere.toml: cannot be read"),
        (["forward", "forward.toml"], "SORA_LEDGER_PRIVATE_ENDPOINTS=allow permits http"),
    ],
)
def test_what_cannot_be_forwarded_is_reported_and_nothing_is_sent(
    sora: Sora, file: Path, jobs: int, there: Receiver, arguments: list[str], message: str
) -> None:
    ended = sora(*arguments)
    assert (ended.code, message in ended.error) == (2, True)
    assert there.received == []


def test_without_a_ledger_nothing_is_begun(sora: Sora, file: Path, folder: Path) -> None:
    assert sora("forward", str(file)).code == 7
    assert not (folder / "ledger.db").exists()


def test_the_file_is_not_named_by_a_folder(
    sora: Sora, file: Path, folder: Path, jobs: int, there: Receiver
) -> None:
    (folder / ".env").write_text("SORA_LEDGER_FORWARD=forward.toml\nSORA_LEDGER_PRIVATE_ENDPOINTS=allow\n")
    assert sora("forward", "--drain").code == 2
    assert there.received == []

"""An answer that was paid for is never dropped, whatever becomes of the ledger while it is on its way."""

import json
import resource
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.ledger.store.postgres.server import Databases
from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
PROMPT = ("--prompt", "a fox runs", "--no-augment")


def billed(server: Any, count: int) -> None:
    """Return once the server has created `count` videos."""
    while len(server.bills()) < count:
        time.sleep(0.01)


def fill_the_disk(process: Any) -> None:
    """Let no file of the process grow past its first block, as on a disk without room for more."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))


def kept(person: Person) -> list[Path]:
    return sorted(Path(person.folder, "ledger.db.spool").glob("*.json"))


def types(person: Person) -> list[str]:
    return [record["type"] for record in person("log", "--json").document["records"]]


def cut_off(ana: Person, server: Any, *command: str, videos: int = 1) -> tuple[int, str]:
    """Start a command, fill the disk while its calls are being answered, and return how it ended."""
    process = ana.with_(SORA_LEDGER_RETRY_SECONDS="0.3").start(*command)
    billed(server, videos)
    fill_the_disk(process)
    server.release()
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_an_answer_on_a_full_disk_is_kept_told_and_recorded_by_the_next_command(
    outside: Start, person: Person
) -> None:
    server = outside(creates=["slow@held"])
    ana = person.at(server)
    code, err = cut_off(ana, server, "create", *PROMPT)
    [bill], [file] = server.bills(), kept(ana)
    spooled = json.loads(file.read_text().splitlines()[1])
    assert code == 7
    assert [
        name
        for name in (bill["id"], spooled["attempt_id"], spooled["job_id"], str(file.name))
        if name not in err
    ] == []
    assert "epeat" not in err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    reading = ana("jobs")
    assert ("waits in" in reading.err, len(kept(ana))) == (True, 1)
    [finding] = ana("audit", "--offline").document["findings"]
    assert finding["code"] == "ANSWER_NOT_RECORDED"

    polled = ana("poll", "--id", spooled["job_id"], "--poll-interval", "0.05")
    assert (polled.code, polled.document["id"]) == (0, bill["id"])
    assert (kept(ana), len(server.bills()), ana("verify").code) == ([], 1, 0)
    assert types(ana)[3:6] == ["submission.intended", "submission.accepted", "submission.spooled"]


@pytest.mark.parametrize(
    "command",
    [
        ("budget", "set", "all", "--limit", "5"),
        ("policy", "activate", "team.toml", "--reason", "agreed"),
        ("init",),
    ],
    ids=" ".join,
)
def test_every_command_that_writes_records_the_answers_that_wait(
    outside: Start, person: Person, command: tuple[str, ...]
) -> None:
    server = outside(creates=["slow@held"])
    ana = person.at(server)
    cut_off(ana, server, "create", *PROMPT)
    assert len(kept(ana)) == 1
    packaged = ana("policy", "show", "--packaged", "policy").out
    Path(ana.folder, "team.toml").write_text(packaged.replace('name = "default"', 'name = "team"'))
    assert (ana(*command).code, kept(ana)) == (0, [])
    assert {"submission.accepted", "submission.spooled"} <= set(types(ana))


def test_an_answer_survives_a_kill_while_the_ledger_is_tried_again(outside: Start, person: Person) -> None:
    server = outside(creates=["slow@held"])
    ana = person.at(server)
    process = ana.with_(SORA_LEDGER_RETRY_SECONDS="600").start("create", *PROMPT)
    billed(server, 1)
    fill_the_disk(process)
    server.release()
    while not kept(ana):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    job = json.loads(kept(ana)[0].read_text().splitlines()[1])["job_id"]
    assert (ana("poll", "--id", job, "--poll-interval", "0.05").code, len(server.bills())) == (0, 1)


def test_a_full_disk_that_is_freed_in_time_leaves_no_trace(outside: Start, person: Person) -> None:
    server = outside(creates=["slow@held"])
    ana = person.at(server)
    process = ana.start("create", *PROMPT)
    billed(server, 1)
    fill_the_disk(process)
    server.release()
    while not kept(ana):
        time.sleep(0.01)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    process.communicate(timeout=60)
    assert (process.returncode, kept(ana), types(ana)[-1]) == (0, [], "submission.accepted")


def test_a_batch_and_a_worker_with_calls_in_flight_keep_every_answer(outside: Start, person: Person) -> None:
    server = outside(create="slow@held")
    ana = person.at(server)
    Path(ana.folder, "three.jsonl").write_text("a fox\nan owl\na bear\n")
    code, err = cut_off(ana, server, "create-batch", "--input", "three.jsonl", "--out-dir", "out", videos=3)
    assert (code, len(kept(ana)), [bill["id"] in err for bill in server.bills()]) == (7, 3, [True] * 3)
    resumed = ana("create-batch", "--input", "three.jsonl", "--out-dir", "out", "--resume")
    assert (resumed.code, kept(ana), len(server.bills())) == (0, [], 3)

    for prompt in ("a crow", "a fish", "a goat"):
        ana("create", "--prompt", prompt, "--queue")
    code, _ = cut_off(ana, server, "worker", "--drain", videos=6)
    assert (code, len(kept(ana))) == (7, 3)
    server.behave(create="ok")
    ana("jobs")
    ana("reconcile", "--all")
    states = [job["state"] for job in ana("jobs").document["jobs"]]
    assert (states, kept(ana), len(server.bills()), ana("verify").code) == (["running"] * 6, [], 6, 0)


def test_files_of_another_ledger_and_damaged_ones_are_reported_and_stay(
    outside: Start, person: Person
) -> None:
    server = outside(creates=["slow@held"])
    ana = person.at(server)
    cut_off(ana, server, "create", *PROMPT)
    [file] = kept(ana)
    damaged = file.with_name("attempt_damaged.json")
    damaged.write_bytes(file.read_bytes().replace(b"submission.accepted", b"submission.rejected"))
    other = ana.with_(SORA_LEDGER_URL="sqlite:///other.db")
    other("create", *PROMPT, "--queue")
    Path(ana.folder, "other.db.spool").mkdir()
    foreign = Path(ana.folder, "other.db.spool", file.name)
    foreign.write_bytes(file.read_bytes())

    [finding] = other("audit", "--offline").document["findings"]
    assert "it belongs to ledger" in finding["found"]
    other("create", *PROMPT, "--queue")
    assert foreign.exists()

    ana("create", *PROMPT, "--queue")
    assert kept(ana) == [damaged]
    [checked] = [one for one in ana("doctor", "--dry-run").document["findings"] if one["check"] == "spool"]
    assert (checked["found"], "damaged" in checked["says"]) == ("wrong", True)


def test_an_answer_a_database_server_could_not_take_is_kept_in_the_users_folder(
    outside: Start, person: Person, postgres: ModuleType, databases: Databases
) -> None:
    server, url = outside(creates=["slow@held"]), databases.url()
    ana = person.at(server).with_(SORA_LEDGER_URL=url)
    process = ana.with_(SORA_LEDGER_RETRY_SECONDS="0.3").start("create", *PROMPT)
    billed(server, 1)
    postgres.execute(
        url, "ALTER TABLE head RENAME TO away"
    )  # as gone as a server that is down, for one ledger
    server.release()
    _, err = process.communicate(timeout=60)
    postgres.execute(url, "ALTER TABLE away RENAME TO head")
    spool = Path(ana.environment["XDG_DATA_HOME"], "sora-ledger", "spool")
    [file] = spool.glob("*/*.json")
    assert (process.returncode, server.bills()[0]["id"] in err, str(file) in err) == (7, True, True)
    job = json.loads(file.read_text().splitlines()[1])["job_id"]
    assert (ana("poll", "--id", job, "--poll-interval", "0.05").code, file.exists()) == (0, False)
    assert (len(server.bills()), ana("verify").code) == (1, 0)

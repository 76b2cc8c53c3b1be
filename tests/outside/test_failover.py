"""Workers and commands outlive a database that restarts, fails over or goes silent; a job is billed once."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.outside.cluster import Cluster, running_cluster
from tests.outside.conftest import Outside, Person

POOLER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
CREATE = ("create", "--prompt", "A lighthouse in fog", "--queue", "--json")
LEDGER_UNUSABLE = 7


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Yield a cluster with a primary and, after `follow`, a synchronous standby."""
    with running_cluster() as made:
        yield made


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    """Yield a list; the processes in it are killed at the end."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def queue(person: Person, number: int) -> list[str]:
    made = [person(*CREATE, "--request-key", f"r{n}-{time.monotonic_ns()}") for n in range(number)]
    assert [each.code for each in made] == [0] * number, made[0].err
    return [each.document["job_id"] for each in made]


def wait_until_billed(server: Any, number: int, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while len(server.bills()) < number and time.monotonic() < ends:
        time.sleep(0.1)


def ends_well(person: Person, server: Any, number: int, workers: list[subprocess.Popen[str]]) -> None:
    """Stop the workers and hold the ledger against the server's own count."""
    ends = time.monotonic() + 90
    while time.monotonic() < ends:
        states = [job["state"] for job in person("jobs", "--json").document["jobs"]]
        if set(states) == {"stored"}:
            break
        time.sleep(0.2)
    if states != ["stored"] * number:
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        pytest.fail("\n".join([str(states), *(worker.communicate(timeout=60)[1] for worker in workers)]))
    assert [worker.poll() for worker in workers] == [None] * len(workers)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    output = [worker.communicate(timeout=30)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), output
    assert len(server.bills()) == number
    assert person("verify").code == 0
    assert person("audit").code == 0


def test_a_worker_outlives_a_restart_and_a_promotion_of_its_database(
    cluster: Cluster, outside: Callable[..., Outside], person: Person, workers: list[subprocess.Popen[str]]
) -> None:
    server = outside()
    person = person.at(server).with_(SORA_LEDGER_URL=cluster.url, PGCONNECT_TIMEOUT="5")
    cluster.follow()
    queue(person, 1)
    workers.append(person.start("worker", "--interval", "0.2"))
    wait_until_billed(server, 1)
    cluster.primary.stop(signal.SIGINT)
    cluster.primary.start()
    queue(person, 1)
    wait_until_billed(server, 2)
    cluster.primary.stop()
    waiting = person.start(*CREATE)
    line = waiting.stderr.readline()
    while "waiting" not in line:
        line = waiting.stderr.readline()
    assert f"127.0.0.1:{cluster.primary.port},127.0.0.1:{cluster.standby.port}" in line
    cluster.standby.promote()
    cluster.standby.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    ends_well(person, server, 3, workers)


def test_an_answer_that_waits_for_the_database_survives_a_kill(
    cluster: Cluster,
    outside: Callable[..., Outside],
    person: Person,
    workers: list[subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    server = outside(creates=["slow@held"])
    person = person.at(server).with_(SORA_LEDGER_URL=cluster.primary.url)
    [job] = queue(person, 1)
    workers.append(person.start("worker", "--interval", "0.2"))
    wait_until_billed(server, 1)
    cluster.primary.stop()
    server.release()
    ends = time.monotonic() + 60
    while not list((tmp_path / "data").glob("**/spool/*/*.json")) and time.monotonic() < ends:
        time.sleep(0.05)
    workers[0].kill()
    workers.pop().communicate()
    cluster.primary.start()
    assert person("poll", "--id", job).code == 0
    assert len(server.bills()) == 1
    assert person("audit").code == 0


@pytest.mark.soak
def test_workers_and_commands_move_on_from_a_frozen_primary(
    cluster: Cluster, outside: Callable[..., Outside], person: Person, workers: list[subprocess.Popen[str]]
) -> None:
    server = outside(render_s=2.0)
    person = person.at(server).with_(SORA_LEDGER_URL=cluster.url)
    cluster.follow()
    queue(person, 1)
    workers += [person.start("worker", "--interval", "0.5") for _ in range(3)]
    wait_until_billed(server, 1)
    queue(person, 5)
    cluster.primary.freeze()
    time.sleep(2)
    cluster.standby.promote()
    cluster.standby.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    began = time.monotonic()
    created = person(*CREATE)
    assert (created.code, time.monotonic() - began < 60) == (0, True), created.err
    ends_well(person, server, 7, workers)


@pytest.mark.soak
def test_everything_ends_with_7_where_a_frozen_server_is_the_only_one(
    cluster: Cluster, outside: Callable[..., Outside], person: Person, workers: list[subprocess.Popen[str]]
) -> None:
    server = outside()
    person = person.at(server).with_(SORA_LEDGER_URL=cluster.primary.url, SORA_LEDGER_FAILOVER_SECONDS="10")
    queue(person, 1)
    workers.append(person.start("worker", "--interval", "0.2"))
    wait_until_billed(server, 1)
    cluster.primary.freeze()
    began = time.monotonic()
    created = person(*CREATE)
    assert (created.code, time.monotonic() - began < 40) == (LEDGER_UNUSABLE, True), created.err
    assert "fail-over?" in created.err
    workers[0].communicate(timeout=60)
    assert workers[0].returncode == LEDGER_UNUSABLE


@pytest.mark.soak
def test_workers_outlive_many_restarts(
    cluster: Cluster, outside: Callable[..., Outside], person: Person, workers: list[subprocess.Popen[str]]
) -> None:
    server = outside(render_s=0.5)
    person = person.at(server).with_(SORA_LEDGER_URL=cluster.primary.url)
    queue(person, 1)
    workers += [person.start("worker", "--interval", "0.3") for _ in range(3)]
    created = 1
    for turn in range(12):
        making = [person.start(*CREATE) for _ in range(3)]
        time.sleep(0.3)
        cluster.primary.stop(signal.SIGQUIT if turn % 2 else signal.SIGINT)
        time.sleep(1)
        cluster.primary.start()
        for each in making:
            _, line = each.communicate(timeout=120)
            assert each.returncode == 0, line
        created += len(making)
    ends_well(person, server, created, workers)


# --- a pooler in between ---


needs_pooler = pytest.mark.skipif(
    POOLER is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)


@needs_pooler
@pytest.mark.parametrize("mode", ["transaction", pytest.param("session", marks=pytest.mark.soak)])
def test_a_ledger_works_through_pgbouncer_and_leaves_nothing_in_its_connections(
    cluster: Cluster,
    outside: Callable[..., Outside],
    person: Person,
    workers: list[subprocess.Popen[str]],
    mode: str,
) -> None:
    assert POOLER is not None
    server = outside()
    url = cluster.pool(POOLER, mode, default_pool_size=2 if mode == "transaction" else 20)
    person = person.at(server).with_(SORA_LEDGER_URL=url)
    queue(person, 2)
    workers.append(person.start("worker", "--interval", "0.2"))
    ends_well(person, server, 2, workers)
    with psycopg.connect(url, autocommit=True) as another:
        left = another.execute(
            "SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"
        ).fetchall()
        another.execute("CREATE TABLE public.theirs (x INTEGER)")
    assert [name for (name,) in left if name != "client_encoding"] == []


@needs_pooler
def test_following_the_log_through_pgbouncer_hears_of_appends(
    cluster: Cluster, outside: Callable[..., Outside], person: Person, workers: list[subprocess.Popen[str]]
) -> None:
    assert POOLER is not None
    person = person.at(outside()).with_(SORA_LEDGER_URL=cluster.pool(POOLER, "transaction"))
    queue(person, 1)
    following = person.start("log", "--follow", "--type", "render.requested", "--json")
    workers.append(following)
    following.stdout.readline()
    queue(person, 1)
    assert "render.requested" in following.stdout.readline()


@needs_pooler
def test_what_a_pooler_cannot_do_is_refused_by_name(
    cluster: Cluster, outside: Callable[..., Outside], person: Person
) -> None:
    assert POOLER is not None
    url = cluster.pool(POOLER, "transaction")
    person = person.at(outside()).with_(SORA_LEDGER_URL=url)
    queue(person, 1)
    backup = person("backup", "b.dump")
    assert (backup.code, "there is a connection pooler in between" in backup.err) == (LEDGER_UNUSABLE, True)
    optioned = person("jobs", "--ledger", f"{url}?options=-csearch_path%3Dpublic")
    assert (optioned.code, "take `options` out of it" in optioned.err) == (LEDGER_UNUSABLE, True)

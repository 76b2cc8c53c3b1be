"""`serve`, workers and clients on PostgreSQL under Patroni, whose leader is killed, frozen and cut off.

``make ha`` runs it; HA_ROUNDS says how many times the leader is lost (6). It prints, for each time, how
long Patroni took to commit again elsewhere, and how long until a client's request was accepted again.
"""

import json
import os
import signal
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Self

import pytest

from tests.forks import LONGER
from tests.outside.conftest import Gateway, Outside, Person
from tests.outside.patroni_cluster import ETCD, PACKAGES, PatroniCluster

ROUNDS = int(os.environ.get("HA_ROUNDS", "6"))
CLIENTS = 3
LONGEST_S = 7_200
"""How long the processes of the test may run."""


@pytest.fixture
def cluster() -> Iterator[PatroniCluster]:
    """Yield a cluster of three."""
    if not (PACKAGES / "patroni").exists() or not ETCD:
        pytest.skip("needs Patroni and etcd: `make ha` installs the one and asks for the other")
    made = PatroniCluster()
    try:
        made.begin()
        yield made
    finally:
        made.end()


class Clients:
    """Clients that request renders one after the other, each until it is accepted."""

    def __init__(self, base_url: str, key: str) -> None:
        self._url, self._key = f"{base_url}/videos", key
        self._numbers = count(1)
        self._stop = threading.Event()
        self.accepted: list[tuple[float, float, str]] = []
        """When a request was first sent, when it was accepted, and its id."""
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(150)
        assert not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stop.is_set():
            number, began = next(self._numbers), time.monotonic()
            body = json.dumps({"model": "sora-2", "prompt": f"lighthouse {number}", "seconds": "4"}).encode()
            headers = {
                "authorization": f"Bearer {self._key}",
                "content-type": "application/json",
                "idempotency-key": f"ha-{number}",
            }
            while True:  # also after the end: each request that was sent is accepted in the end
                try:
                    request = urllib.request.Request(self._url, body, headers)
                    with urllib.request.urlopen(request, timeout=90) as answer:
                        video = json.load(answer)
                except (OSError, ValueError):  # HTTPError is an OSError
                    time.sleep(0.2)
                    continue
                self.accepted.append((began, time.monotonic(), video["id"]))
                break
            self._stop.wait(0.5)

    def accepted_after(self, moment: float) -> float:
        """Return when a request was accepted that was first sent after `moment`."""
        ends = time.monotonic() + 180
        while time.monotonic() < ends:
            late = [accepted for began, accepted, _ in list(self.accepted) if began > moment]
            if late:
                return min(late)
            time.sleep(0.05)
        raise TimeoutError("no request was accepted")


def report(line: str) -> None:
    sys.__stderr__.write(f"{line}\n")


def lose(node: Any, how: str) -> None:
    """Take the leader away."""
    if how == "killed":
        node.kill()
    elif how == "frozen":
        node.signal(signal.SIGSTOP)
    else:
        node.relay.cut()
        node.etcd.cut()


def bring_back(node: Any, how: str) -> None:
    if how == "killed":
        node.start()
    elif how == "frozen":
        node.signal(signal.SIGCONT)
    else:
        node.etcd.heal()
        node.relay.heal()


@pytest.mark.soak
def test_nothing_is_lost_or_billed_twice_while_the_leader_is_lost_again_and_again(
    cluster: PatroniCluster,
    outside: Callable[..., Outside],
    person: Person,
    gateway: Callable[..., Gateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(LONGER, str(LONGEST_S))
    server = outside()
    variables = {LONGER: str(LONGEST_S), "SORA_LEDGER_URL": cluster.url, "PGCONNECT_TIMEOUT": "3"}
    person = person.at(server).with_(**variables)
    serving = gateway(server, **variables)
    key = serving.grant("load", "requester")
    workers = [person.start("worker", "--interval", "0.5") for _ in range(2)]
    figures: list[tuple[str, float, float]] = []
    with Clients(serving.base_url, key) as clients:
        clients.accepted_after(0)
        for number in range(ROUNDS):
            how = ("killed", "frozen", "cut off")[number % 3]
            leader = cluster.leader()
            lost_at = time.monotonic()
            lose(leader, how)
            cluster.leader(without=leader)
            elected = time.monotonic() - lost_at
            again = clients.accepted_after(lost_at) - lost_at
            figures.append((how, elected, again))
            report(f"{number + 1:3} {how:8} leader after {elected:5.1f} s, accepted after {again:5.1f} s")
            bring_back(leader, how)
            cluster.settle()
    until_stored(person, [video for _, _, video in clients.accepted])
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    errors = [worker.communicate(timeout=90)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    jobs = {job["job_id"] for job in person("jobs", "--limit", "100000", "--json").document["jobs"]}
    assert len(jobs) == len({video for _, _, video in clients.accepted}) == len(server.bills())
    assert len({bill["prompt"] for bill in server.bills()}) == len(server.bills())
    assert person("verify").code == 0
    assert person("audit").code == 0
    elected, again = (statistics.median(column) for column in list(zip(*figures, strict=True))[1:])
    report(f"{len(jobs)} renders; medians: leader after {elected:.1f} s, accepted after {again:.1f} s")


def until_stored(person: Person, videos: list[str]) -> None:
    ends = time.monotonic() + 180
    states: list[str] = []
    while time.monotonic() < ends:
        with suppress(KeyError, ValueError):
            states = [job["state"] for job in person("jobs", "--limit", "100000", "--json").document["jobs"]]
            if len(states) == len(videos) and set(states) == {"stored"}:
                return
        time.sleep(1)
    pytest.fail(f"{len(videos)} were accepted; the states are {states}")

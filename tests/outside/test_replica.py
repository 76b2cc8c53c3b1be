"""Reading commands and the console read from a standby, and nobody misses their own records."""

import http.client
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from tests.ledger.store.postgres.server import Databases
from tests.outside.cluster import Cluster, running_cluster
from tests.outside.conftest import PACKAGED, Gateway, Outside, Person

OK, SEE_OTHER, UNUSABLE = 200, 303, 7
RULE = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Yield a primary with a standby that confirms no commit, whose replay can be paused."""
    with running_cluster() as made:
        made.follow()
        made.primary.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        yield made


@pytest.fixture
def reviewer(person: Person, outside: Callable[..., Outside], cluster: Cluster) -> Person:
    """Return a person whose commands read from the standby, once it has the beginning of the ledger."""
    person = person.at(outside()).with_(SORA_LEDGER_URL=cluster.primary.url)
    assert person("create", "--prompt", "a boat", "--queue").code == 0
    caught_up(cluster)
    return person.with_(SORA_LEDGER_READ_URL=cluster.standby.url)


def caught_up(cluster: Any) -> None:
    """Wait until the standby has every record of the primary."""
    with psycopg.connect(cluster.primary.url, autocommit=True) as db:
        (position,) = db.execute("SELECT pg_current_wal_lsn()::text").fetchone() or ("",)
    cluster.standby.until(f"SELECT pg_last_wal_replay_lsn() >= '{position}'")


def states(ended: Any) -> list[str]:
    """Return the states of the jobs that `jobs` listed."""
    assert ended.code == 0, ended.err
    return [job["state"] for job in ended.document["jobs"]]


def test_reading_commands_read_the_standby_and_say_how_far_it_is_behind(
    reviewer: Person, cluster: Cluster
) -> None:
    current = reviewer("jobs")
    assert states(current) == ["decided"]
    assert current.document["read_from"] == {
        "source": "replica",
        "records_behind": 0,
        "seconds_behind": 0.0,
        "because": None,
    }
    cluster.standby.execute("SELECT pg_wal_replay_pause()")
    other = reviewer.with_(SORA_LEDGER_ACTOR="somebody-else")
    assert other("create", "--prompt", "a cat", "--queue").code == 0

    behind = reviewer("jobs")
    assert states(behind) == ["decided"]
    assert behind.document["read_from"]["source"] == "replica"
    assert behind.document["read_from"]["records_behind"] == 2
    assert behind.document["read_from"]["seconds_behind"] > 0
    assert re.search(r"2 records \([0-9.]+ s\) behind", behind.err)
    for command in (
        ("queue",),
        ("spend",),
        ("log",),
        ("find", "boat"),
        ("budget", "list"),
        ("access", "list"),
    ):
        assert reviewer(*command).document["read_from"]["records_behind"] == 2, command


def test_a_person_reads_their_own_records_although_the_standby_does_not_have_them(
    reviewer: Person, cluster: Cluster
) -> None:
    cluster.standby.execute("SELECT pg_wal_replay_pause()")
    [job] = [each["job_id"] for each in reviewer("jobs").document["jobs"]]
    assert reviewer("cancel", job).code == 0
    shown = reviewer("jobs")
    assert states(shown) == ["cancelled"]
    assert shown.document["read_from"]["source"] == "primary"
    assert "does not have your newest record yet" in shown.err
    cluster.standby.execute("SELECT pg_wal_replay_resume()")
    caught_up(cluster)
    assert reviewer("jobs").document["read_from"]["source"] == "replica"


def test_a_replica_that_is_down_is_replaced_by_the_primary_and_the_other_way_round(
    reviewer: Person, cluster: Cluster
) -> None:
    cluster.standby.stop()
    ended = reviewer("jobs")
    assert states(ended) == ["decided"]
    assert ended.document["read_from"]["source"] == "primary"
    assert "the replica cannot be read" in ended.err
    found = {one["check"]: one["found"] for one in reviewer("doctor").document["findings"]}
    assert found["replica"] == "wrong"
    cluster.standby.start()
    cluster.primary.stop()
    ended = reviewer("jobs")
    assert states(ended) == ["decided"]
    assert ended.document["read_from"] == {
        "source": "replica",
        "records_behind": None,
        "seconds_behind": None,
        "because": None,
    }
    cluster.standby.stop()
    assert reviewer("jobs").code == UNUSABLE


def test_another_ledger_is_refused_as_a_replica(
    reviewer: Person, cluster: Cluster, databases: Databases
) -> None:
    url = databases.url()
    assert reviewer.with_(SORA_LEDGER_URL=url)("init", "--ledger", url).code == 0
    ended = reviewer.with_(SORA_LEDGER_READ_URL=url)("jobs")
    assert (ended.code, "it is another ledger, with the origin sora-ledger/" in ended.err) == (UNUSABLE, True)
    ended = reviewer.with_(SORA_LEDGER_READ_URL="replica.db")("jobs")
    assert (ended.code, "expected postgresql://" in ended.err) == (2, True)


class Browser:
    """A person in the console."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.port, self.cookie = gateway.port, ""
        status, _, _ = self.send("POST", "/console/sign-in", {"key": key, "next": ""})
        assert status == SEE_OTHER

    def send(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str, Any]:
        """Send a request; return status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(form) if form else None, headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        for name, text in answer.getheaders():
            if name == "set-cookie" and "_session_" in text:
                self.cookie = text.partition(";")[0]
        connection.close()
        return answer.status, body, answer.headers

    def page(self, path: str) -> str:
        """Return a page."""
        status, body, _ = self.send("GET", path)
        assert status == OK, body
        return body


def test_an_approval_in_the_console_is_shown_at_once_although_the_standby_does_not_have_it(
    reviewer: Person, outside: Callable[..., Outside], gateway: Callable[..., Gateway], cluster: Cluster
) -> None:
    (reviewer.folder / "team.toml").write_text(PACKAGED + RULE)
    assert reviewer("policy", "activate", "team.toml", "--reason", "for a test").code == 0
    serving = gateway(
        outside(),
        "--no-work",
        SORA_LEDGER_URL=cluster.primary.url,
        SORA_LEDGER_READ_URL=cluster.standby.url,
    )
    serving.person = serving.person.with_(SORA_LEDGER_ACTOR="root")
    keys = {name: serving.grant(name, role) for name, role in (("maria", "approver"), ("sol", "operator"))}
    made = reviewer("create", "--prompt", "a held boat", "--purpose", "final")
    job = made.document["job_id"]
    caught_up(cluster)
    maria, sol = Browser(serving, keys["maria"]), Browser(serving, keys["sol"])
    caught_up(cluster)
    assert "from the replica, which has every record" in sol.page("/console/operations")
    shown = maria.page(f"/console/inbox/{job}")
    cluster.standby.execute("SELECT pg_wal_replay_pause()")

    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', shown))
    where = re.search(rf'action="(/console/inbox/{job}/answer)"', shown)
    assert where, shown
    status, body, _ = maria.send("POST", where[1], {**form, "verdict": "approve", "reason": "it fits"})
    assert status == SEE_OTHER, body

    assert job not in maria.page("/console/inbox")
    assert "from the primary: the replica does not have your newest record yet" in maria.page(
        "/console/inbox"
    )
    assert "Waiting for approval" in sol.page(f"/console/videos/{job}")
    assert "Waiting for approval" not in maria.page(f"/console/videos/{job}")
    assert re.search(r"from the replica, which is [0-9]+ records?", sol.page("/console/operations"))
    read_from = json.loads(sol.send("GET", f"/console/videos/{job}.json")[2]["x-sora-ledger-read-from"])
    assert (read_from["source"], read_from["records_behind"] > 0) == ("replica", True)

"""Access keys: shown once, refused once revoked, granted by two people where the policy wants two."""

import asyncio
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.log.bundle import Scope
from render_service.access.callers import Caller
from render_service.access.gatekeeper import Gatekeeper
from render_service.api.sessions import open_session
from render_service.runtime.errors import NotAuthenticated
from render_service.runtime.settings import read_settings
from render_service.runtime.telemetry import Log, Trace
from tests.outside.conftest import Gateway, Outside, Person, at_a_terminal
from tests.outside.test_forged_approvals import found, found_by_all, rewrite, team

TRACE = Trace("1" * 32, "2" * 16)
RULES = """
[[approvals]]
code = "RULES"
operations = ["policy.activate"]
"""


def granted(person: Person, *arguments: str) -> str:
    """Grant a key and return its text."""
    ended = person("access", "grant", *arguments, "--json")
    assert ended.code == 0, ended.err
    return str(ended.document["key"])


def identified(person: Person, key: str) -> Caller:
    """Identify the caller with `key`, as a gateway on the person's ledger does."""

    async def identify() -> Caller:
        session = await asyncio.to_thread(opened, person)
        try:
            return await Gatekeeper(session).identify(f"Bearer {key}")
        finally:
            await session.close()

    return asyncio.run(identify())


def opened(person: Person) -> Any:
    settings = read_settings(ledger=str(person.folder / "ledger.db"), environment={}, folder=person.folder)
    return open_session(settings, TRACE, Log(TRACE, quiet=True))


def test_the_text_of_a_key_is_shown_once_and_is_nowhere_else(person: Person) -> None:
    shown = person("access", "grant", "alice", "--role", "requester", "--json", "--json-out", "g.json", "-v")
    secret = shown.document["key"].split("_", 2)[2]  # which may contain underscores
    assert shown.out.count(secret) == 1
    later = [person("access", "list", "--all", "--json"), person("log", "--json"), person("verify", "-v")]
    later.append(person("access", "revoke", "alice", "--reason", "lost", "--json", "-v"))
    assert [ended.code for ended in later] == [0, 0, 0, 0]
    texts = [shown.err, *(text for ended in later for text in (ended.out, ended.err))]
    assert [text for text in texts if secret in text] == []
    written = [path for path in person.folder.rglob("*") if path.is_file()]
    assert Path(person.folder / "g.json") in written
    assert [path for path in written if secret.encode() in path.read_bytes()] == []


def test_a_revocation_by_another_process_is_seen_within_a_second(person: Person) -> None:
    key = granted(person, "alice", "--role", "requester")

    async def last_accepted_s() -> float:
        """Return how long after the revocation the last accepted request began."""
        session = await asyncio.to_thread(opened, person)
        gatekeeper = Gatekeeper(session)
        await gatekeeper.identify(f"Bearer {key}")
        assert (await asyncio.to_thread(person, "access", "revoke", "alice")).code == 0
        began = accepted = time.monotonic()
        try:
            while True:
                asked = time.monotonic()
                await gatekeeper.identify(f"Bearer {key}")
                accepted = asked
                await asyncio.sleep(0.01)
        except NotAuthenticated:
            return accepted - began
        finally:
            await session.close()

    assert asyncio.run(last_accepted_s()) < 1.0


def test_processes_that_grant_and_revoke_at_once_each_leave_one_record(person: Person) -> None:
    granted(person, "alice", "--role", "requester")
    processes = [person.start("access", "revoke", "alice", "--json") for _ in range(2)]
    processes += [person.start("access", "grant", "bob", "--role", "requester", "--json") for _ in range(3)]
    ended = [process.communicate(timeout=60) and process.returncode for process in processes]
    assert sorted(ended[:2]) == [0, 2]
    assert ended[2:] == [0, 0, 0]
    keys = person("access", "list", "--all").document["keys"]
    assert [key["state"] for key in keys if key["name"] == "alice"] == ["revoked"]
    assert [key["state"] for key in keys if key["name"] == "bob"] == ["valid"] * 3
    types = [record["type"] for record in person("log").document["records"]]
    assert types.count("access.revoked") == 1
    assert person("verify").code == 0


def test_one_key_of_a_name_can_replace_another(person: Person) -> None:
    old, new = (granted(person, "alice", "--role", "requester") for _ in range(2))
    assert person("access", "revoke", old.split("_")[1]).code == 0
    with pytest.raises(NotAuthenticated, match="was revoked"):
        identified(person, old)
    assert identified(person, new).name == "alice"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("grant", "bob"), "Missing option '--role'"),
        (("grant", "bob", "--role", "king"), "unknown role king: the policy default has the roles requester"),
        (("grant", "ALICE", "--role", "approver"), "there are keys of alice; one person has one name"),
        (("grant", "bob", "--role", "requester", "--team", "Film!"), "--team: expected lower-case letters"),
        (("grant", "bob", "--role", "requester", "--purpose", "fun"), "--purpose fun: expected one of"),
        (("grant", "bob", "--role", "requester", "--profile", "moon"), "no server profile is called 'moon'"),
        (("grant", "bob", "--role", "requester", "--expires", "2020-01-01"), "is in the past"),
        (("grant", "bob", "--role", "requester", "--running-jobs", "0"), "0 is not in the range"),
        (("grant", "bo\x07b", "--role", "requester"), "printable characters"),
        (("revoke", "nobody"), "nobody: no access key has this id or name; `sora-ledger access list`"),
        (("revoke", "alice"), "alice was already revoked by"),
    ],
)
def test_bad_input_is_named_and_leaves_no_record(
    person: Person, arguments: tuple[str, ...], says: str
) -> None:
    granted(person, "alice", "--role", "requester")
    assert person("access", "revoke", "alice").code == 0
    before = person("log").document["records"]
    ended = person("access", *arguments)
    assert (ended.code, says in ended.document["error"]["message"]) == (2, True), ended.err
    assert person("log").document["records"] == before


def test_no_single_person_makes_an_approver_where_the_policy_wants_two_for_its_rules(person: Person) -> None:
    team(person, RULES)
    asked = person("access", "grant", "ghost", "--role", "approver", "--key", "ana.key", "--json")
    assert asked.code == 3, asked.err
    key, change = asked.document["key"], asked.document["change"]
    with pytest.raises(NotAuthenticated, match="there is no access key"):
        identified(person, key)
    assert person("approve", change).code == 2
    assert person("approve", change, "--key", "ana.key").code == 2
    by_maria = person("approve", change, "--key", "maria.key")
    assert by_maria.document["state"] == "applied", by_maria.err
    assert identified(person, key).name == "ghost"
    assert found(person) == []


def test_a_proposed_grant_names_what_it_permits_and_not_its_key(person: Person) -> None:
    team(person, RULES)
    asked = person("access", "grant", "ghost", "--role", "operator", "--team", "film", "--key", "ana.key")
    waiting = person("changes", "--format", "text").out
    assert f"{asked.document['access']['key_id']} for ghost as operator; team film" in waiting
    assert asked.document["key"] not in waiting + person("changes", "--json").out


def test_a_rewritten_grant_is_found_by_every_checker(person: Person) -> None:
    team(person, RULES)
    asked = person("access", "grant", "alice", "--role", "requester", "--key", "ana.key")
    assert person("approve", asked.document["change"], "--key", "maria.key").code == 0
    ledger = person.folder / "ledger.db"
    assert found(person) == []
    rewrite(ledger, "access.granted", lambda grant: grant.update(roles=["approver"]))
    assert found_by_all(person, Scope()) == ["CHANGE_NOT_PERMITTED"]


def test_a_grant_under_a_typed_name_shows_that_it_was_typed(person: Person) -> None:
    granted(person, "alice", "--role", "requester", "--actor", "boss")
    assert "boss (typed)" in person("access", "list", "--format", "text").out


def test_a_list_of_keys_fits_a_terminal_of_80_columns(person: Person) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    roles = [word for role in ("requester", "approver", "reviewer", "auditor") for word in ("--role", role)]
    granted(
        person,
        "a-service-with-a-very-long-name@example.org",
        *roles,
        "--team",
        "a_team_with_a_long_name",
        "--expires",
        tomorrow,
        "--actor",
        "somebody-with-a-very-long-name@example.org",
    )
    code, screen = at_a_terminal(person.with_(COLUMNS="80"), "", "access", "list", "--all")
    assert code == 0
    lines = re.sub("\x1b\\[[0-9;]*m", "", screen).splitlines()
    assert max(map(len, lines)) <= 80, screen


# --- at the gateway, over HTTP ---


def ask(gateway: Gateway, key: str, method: str, path: str, **body: Any) -> tuple[int, Any]:
    """Send one request as a client with `key`; return status and document."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(gateway.base_url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


CLIP = {"model": "sora-2", "seconds": "4", "size": "1280x720"}


def test_a_key_works_until_it_is_revoked_and_is_in_no_log(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = gateway(outside())
    key = server.grant("alice", "requester")
    assert ask(server, key, "GET", "/videos")[0] == 200
    assert ask(server, f"{key[:-1]}{'A' if key[-1] != 'A' else 'B'}", "GET", "/videos")[0] == 401
    assert server.person("access", "revoke", "alice").code == 0
    revoked_at = began = time.monotonic()
    while (answered := ask(server, key, "GET", "/videos"))[0] == 200:
        assert began < revoked_at + 1, "a request that began a second after the revocation was answered"
        began = time.monotonic()
    status, document = answered
    assert (status, "was revoked" in document["error"]["message"]) == (401, True)
    ask(server, key, "GET", f"/videos/{key}")
    secret = key.split("_", 2)[2]
    written = [path for path in server.person.folder.rglob("*") if path.is_file()]
    assert [path for path in written if secret.encode() in path.read_bytes()] == []
    assert "alice" in server.errors
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert secret not in listed.stdout


def test_a_team_sees_its_own_videos_alone(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    upstream = outside()
    server = gateway(upstream, "--no-work")
    alice, bob = (server.grant("alice", "requester", team="film") for _ in range(2))
    carol = server.grant("carol", "requester", team="news")
    operator = server.grant("root", "operator")
    status, video = ask(server, alice, "POST", "/videos", prompt="a fox", **CLIP)
    assert status == 200, video
    path = f"/videos/{video['id']}"
    assert [ask(server, key, "GET", path)[0] for key in (alice, bob, operator)] == [200, 200, 200]
    assert ask(server, carol, "GET", path)[0] == 404
    assert [len(ask(server, key, "GET", "/videos")[1]["data"]) for key in (bob, carol)] == [1, 0]
    assert ask(server, carol, "DELETE", path)[0] == 404
    [job] = server.person("jobs").document["jobs"]
    assert (job["team"], job["actor"]) == ("film", "alice")
    assert len(upstream.bills()) == 1


def test_a_budget_of_a_person_counts_all_their_keys(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    upstream = outside()
    server = gateway(upstream, "--no-work")
    assert server.person("budget", "set", "actor_alice@example.org", "--limit", "0.50").code == 0
    first, second = (server.grant("alice@example.org", "requester") for _ in range(2))
    bob = server.grant("bob", "requester")
    assert ask(server, first, "POST", "/videos", prompt="a fox", **CLIP)[0] == 200
    status, document = ask(server, second, "POST", "/videos", prompt="an owl", **CLIP)
    assert (status, document["error"]["code"]) == (429, "insufficient_quota"), document
    assert ask(server, bob, "POST", "/videos", prompt="a hare", **CLIP)[0] == 200
    assert len(upstream.bills()) == 2


def test_only_a_key_of_a_team_or_one_that_may_charge_others_spends_its_budget(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    upstream = outside()
    server = gateway(upstream, "--no-work")
    assert server.person("budget", "set", "team_film", "--limit", "0.90").code == 0  # two clips
    film, news = (server.grant(team, "requester", team=team) for team in ("film", "news"))
    alice, operator = server.grant("alice", "requester"), server.grant("root", "operator")
    for key in (alice, news):
        for named in ({"team": "film"}, {"team": "film", "project": "spring"}):
            status, document = ask(server, key, "POST", "/videos", prompt="a fox", **named, **CLIP)
            assert (status, document["error"]["code"]) == (403, "permission_denied"), document
    assert ask(server, alice, "POST", "/videos", prompt="a fox", project="spring", **CLIP)[0] == 403
    assert ask(server, alice, "POST", "/videos", prompt="a fox", **CLIP)[0] == 200
    assert ask(server, operator, "POST", "/videos", prompt="an owl", team="film", **CLIP)[0] == 200
    assert ask(server, film, "POST", "/videos", prompt="a hare", project="spring", **CLIP)[0] == 200
    status, document = ask(server, film, "POST", "/videos", prompt="a bear", **CLIP)
    assert (status, document["error"]["code"]) == (429, "insufficient_quota"), document
    teams = [job["team"] for job in server.person("jobs").document["jobs"] if job["state"] != "denied"]
    assert (sorted(map(str, teams)), len(upstream.bills())) == (["None", "film", "film"], 3)


def test_a_key_is_held_to_its_purposes_rate_and_running_jobs(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    upstream = outside(status="in_progress")  # a video that is completed does not run any more
    server = gateway(upstream, "--no-work")
    slow = server.grant("slow", "requester", requests_per_minute="2")
    assert [ask(server, slow, "GET", "/videos")[0] for _ in range(3)] == [200, 200, 429]
    one = server.grant("one", "requester", running_jobs="1")
    with ThreadPoolExecutor(4) as clients:
        asks = [clients.submit(ask, server, one, "POST", "/videos", prompt=f"{n}", **CLIP) for n in range(4)]
    assert sorted(each.result()[0] for each in asks) == [200, 429, 429, 429]
    draft = server.grant("draft", "requester", purpose="draft")
    headers_free = {"prompt": "a fox", "purpose": "final", **CLIP}
    status, document = ask(server, draft, "POST", "/videos", **headers_free)
    assert (status, "does not permit the purpose final" in document["error"]["message"]) == (403, True)
    assert ask(server, server.grant("audit", "auditor"), "POST", "/videos", prompt="x", **CLIP)[0] == 403
    assert len(upstream.bills()) == 1
    assert server.person("verify").code == 0

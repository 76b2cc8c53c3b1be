"""A ledger whose file was rewritten, hashes and all, so that an approval says what nobody signed.

Verification in the ledger, of an exported bundle, and by the one file that strangers get, all find it.
"""

import hashlib
import hmac
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from decision.rules.policy import Policy, default_policy
from decision.rules.toml import default_catalog
from ledger.events import PolicyActivated
from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.opening import open_ledger, open_or_create
from ledger.log.tiles import head_of
from ledger.record import ActorSource, Authority, Provenance, draft
from ledger.store.interface import ANY, Batch, Document
from tests.outside.conftest import Person

ROOT = Path(__file__).parents[2]
CHECKER = ROOT / "ledger" / "verify" / "verify_bundle.py"
CHANGES = """
[[approvals]]
code = "RULES_AND_MONEY"
operations = ["policy.activate", "budget.set"]
"""
RULE = """
[approvers]
maria = ["{maria}"]

[requesters]
ana = ["{ana}"]

[[approvals]]
code = "FINALS"
purposes = ["final"]
signed = true
"""


@pytest.fixture
def approved(person: Person) -> Person:
    """A render that Ana asked for and Maria approved, both with their keys; it is not sent yet."""
    team(person)
    ana = person.with_(SORA_LEDGER_KEY="ana.key", SORA_LEDGER_PROFILE="sandbox")
    held = ana("create", "--prompt", "A paper boat", "--purpose", "final")
    assert held.code == 3, held.err
    answered = person("approve", held.document["job_id"], "--key", "maria.key")
    assert (answered.code, answered.document["state"]) == (0, "decided"), answered.err
    return person


def team(person: Person, more: str = "") -> None:
    """Put a policy in force that names the keys of Ana and Maria."""
    keys = {
        name: person("key", "new", f"{name}.key", "--name", name).document["verifier"]
        for name in ("ana", "maria")
    }
    packaged = person("policy", "show", "--packaged", "policy").out
    (person.folder / "team.toml").write_text(
        packaged.replace('"default"', '"team"', 1) + RULE.format(**keys) + more
    )
    assert person("policy", "activate", "team.toml", "--reason", "finals need Maria").code == 0


def found_by_all(person: Person, scope: Scope | None = None) -> list[str]:
    """Return the codes that `verify`, `verify-bundle` and the one file find alike."""
    codes = found(person)
    if scope is None:
        [job] = person("jobs").document["jobs"]
        assert person("export", job["job_id"], "--out", "ours.zip").code == (10 if codes else 0)
        scope = Scope(job_id=job["job_id"])
    bundle_by_a_forger(person.folder, scope)
    bundle = person("verify-bundle", "b.zip")
    command = [sys.executable, "-I", str(CHECKER), "b.zip"]
    alone = subprocess.run(command, cwd=person.folder, capture_output=True, text=True, check=False)
    assert [finding["code"] for finding in bundle.document["findings"]] == codes
    assert re.findall(r"^  ! ([A-Z_]+)", alone.stdout, re.MULTILINE) == codes
    assert bundle.code == alone.returncode == (10 if codes else 0)
    return codes


def bundle_by_a_forger(folder: Path, scope: Scope) -> None:
    """Write a bundle without looking whether it checks, as `export` does."""
    with open_ledger(str(folder / "ledger.db")) as ledger, (folder / "b.zip").open("wb") as file:
        write_bundle(file, "b.zip", ledger, scope, head_of(ledger), Wish())


def found(person: Person) -> list[str]:
    ended = person("verify")
    codes = [finding["code"] for finding in ended.document["findings"]]
    assert ended.code == (10 if codes else 0)
    return codes


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def rewrite(ledger: Path, type_: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the payload of the one record of this type, and all that is hashed from it."""
    db = sqlite3.connect(ledger, isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    [(position, record, payload)] = db.execute(
        "SELECT position, record, payload FROM events WHERE type = ?", (type_,)
    ).fetchall()
    content = json.loads(payload)
    change(content)
    payload = printed(content)
    record = printed(json.loads(record) | {"payload_sha256": hashlib.sha256(payload).hexdigest()})
    leaf = hashlib.sha256(b"\0" + record).digest()
    db.execute(
        "UPDATE events SET record = ?, payload = ?, leaf = ? WHERE position = ?",
        (record, payload, leaf, position),
    )
    edge: list[tuple[int, bytes]] = []
    for (value,) in db.execute("SELECT leaf FROM events ORDER BY position").fetchall():
        edge.append((0, value))
        while len(edge) > 1 and edge[-2][0] == edge[-1][0]:
            (height, left), (_, right) = edge[-2:]
            edge[-2:] = [(height + 1, node(left, right))]
    db.execute("UPDATE head SET frontier = ?", (b"".join(value for _, value in edge),))
    db.close()


def printed(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def other_prompt(ledger: Path, prompt: str) -> None:
    """Put another prompt under the request: its commitment, and the text that opens it."""
    salt, before = bytes(32), list[str]()
    commitment = hmac.digest(salt, b"sora-ledger/private/v1\0prompt\0" + prompt.encode(), "sha256").hex()

    def swap(request: dict[str, Any]) -> None:
        before.append(request["prompt"]["commitment"])
        request["prompt"]["commitment"] = commitment

    rewrite(ledger, "render.requested", swap)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        row = (commitment, salt, prompt, *before)
        db.execute("UPDATE private_bodies SET commitment = ?, salt = ?, text = ? WHERE commitment = ?", row)


def test_an_approval_that_was_rewritten_is_found_by_every_checker(approved: Person) -> None:
    ledger = approved.folder / "ledger.db"
    original = ledger.read_bytes()
    assert found(approved) == []

    rewrite(ledger, "render.decided", lambda made: made["basis"]["inputs"].update(approved=None))
    assert found(approved) == ["DECISION_NOT_PERMITTED"]

    ledger.write_bytes(original)
    other_prompt(ledger, "A paper tank")
    assert found(approved) == ["REQUEST_SIGNATURE", "APPROVAL_SIGNATURE", "DECISION_NOT_PERMITTED"]

    ledger.write_bytes(original)
    rewrite(ledger, "approval.granted", lambda answer: answer.update(signature="A" * 86 + "=="))
    assert found_by_all(approved) == ["APPROVAL_SIGNATURE", "DECISION_NOT_PERMITTED"]


def test_a_limit_and_a_policy_that_nobody_approved_are_found_by_every_checker(person: Person) -> None:
    team(person, CHANGES)
    proposed = person("budget", "set", "all", "--limit", "5", "--key", "ana.key")
    assert proposed.code == 3, proposed.err
    approved = person("approve", proposed.document["change"], "--key", "maria.key")
    assert approved.document["state"] == "applied", approved.err
    ledger = person.folder / "ledger.db"
    original = ledger.read_bytes()
    assert found(person) == []

    rewrite(ledger, "budget.set", lambda limit: limit.update(limit_usd_micros=500_000_000))
    assert found_by_all(person, Scope()) == ["CHANGE_NOT_PERMITTED"]

    ledger.write_bytes(original)
    rewrite(ledger, "approval.granted", lambda answer: answer.update(signature="A" * 86 + "=="))
    assert found(person) == ["APPROVAL_SIGNATURE", "CHANGE_NOT_PERMITTED"]

    ledger.write_bytes(original)
    activate_past_the_commands(person, "lax")
    assert found_by_all(person, Scope()) == ["CHANGE_NOT_PERMITTED"]


def activate_past_the_commands(person: Person, name: str) -> None:
    """Append an activation as somebody does who may write to the ledger and has our code."""
    policy = Policy.model_validate({**default_policy().model_dump(), "name": name})
    event = PolicyActivated(policy_sha256=policy.digest, catalog_sha256=default_catalog().digest)
    who = Provenance("eve", ActorSource.OPERATING_SYSTEM, Authority.HUMAN, "1" * 32, "2" * 16)
    now = datetime.now(UTC)
    with open_or_create(str(person.folder / "ledger.db"), who, now) as ledger:
        documents = [Document(policy.canonical), Document(default_catalog().canonical)]
        ledger.append([Batch("policy", ANY, [draft(event, who, now)])], documents=documents)

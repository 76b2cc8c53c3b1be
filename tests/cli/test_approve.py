"""Answering for what is held, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

NAMES = ("ana", "maria")
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
def held(sora: Sora, server: Callable[..., SandboxServer], folder: Path) -> str:
    """A final that Ana signed with ana.key is held until Maria has signed; her key is in maria.key."""
    server()
    keys = {name: sora("key", "new", f"{name}.key", "--name", name).document["verifier"] for name in NAMES}
    packaged = sora("policy", "show", "--packaged", "policy").out
    (folder / "team.toml").write_text(packaged.replace('"default"', '"team"', 1) + RULE.format(**keys))
    assert sora("policy", "activate", "team.toml", "--reason", "finals need Maria").code == 0
    ended = sora("create", "--prompt", "a fox", "--purpose", "final", "--key", "ana.key")
    assert (ended.code, ended.document["state"]) == (3, "held")
    assert "approve" in ended.error
    return str(ended.document["job_id"])


def test_a_signed_approval_is_shown_decided_again_and_resumed(sora: Sora, held: str) -> None:
    approved = sora("approve", held, "--key", "maria.key", "--reason", "fine")
    assert (approved.code, approved.document["state"]) == (0, "decided")
    assert approved.document["decision"]["decision"] == "ALLOW"
    request, answer = sora("show", held).document["answers"]
    assert (request["said"], request["actor"], request["signature_stands"]) == ("requested", "ana", True)
    assert (answer["actor"], answer["actor_source"], answer["signature_stands"]) == (
        "maria",
        "signature",
        True,
    )
    assert "identified by their signature (key" in sora("show", held, "--format=text").out
    assert sora("resume", held).document["state"] == "running"
    assert sora("verify").code == 0


def test_resume_of_what_is_held_ends_as_held_and_says_who_can_approve(sora: Sora, held: str) -> None:
    ended = sora("resume", held)
    assert (ended.code, f"sora-ledger approve {held}" in ended.error) == (3, True)
    assert [record["type"] for record in sora("show", held).document["records"]][-1] == "render.held"


def test_approve_can_submit_too(sora: Sora, held: str) -> None:
    ended = sora("approve", held, "--key", "maria.key", "--submit")
    assert (ended.code, ended.document["state"]) == (0, "running")


def test_another_name_alone_is_refused_and_nothing_recorded(sora: Sora, held: str) -> None:
    size = len(sora("log").document["records"])
    ended = sora("approve", held, "--actor", "bob")
    assert ended.code == 2
    assert "does not prove who you are" in ended.error
    assert len(sora("log").document["records"]) == size


UNSIGNED = """
[[approvals]]
code = "FINALS"
purposes = ["final"]
"""


def test_a_requester_under_a_typed_name_is_told_at_once_that_it_takes_a_signature(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    packaged = sora("policy", "show", "--packaged", "policy").out
    (folder / "team.toml").write_text(packaged + UNSIGNED)
    assert sora("policy", "activate", "team.toml", "--reason", "second eyes").code == 0
    ended = sora("create", "--prompt", "a fox", "--purpose", "final", "--actor", "ana")
    assert "requested as ana, a name that anyone" in ended.error
    answered = sora("approve", ended.document["job_id"], "--actor", "bob")
    for told in (ended.error, answered.error):
        assert "once the policy names your key under [approvers]" in told


def test_who_has_to_sign_is_named_when_a_render_is_held(sora: Sora, held: str) -> None:
    assert "sign with --key FILE (keys of: maria)" in sora("poll", held).error


def test_the_next_commands_of_a_held_render_sign_where_a_signature_is_needed(sora: Sora, held: str) -> None:
    failed = json.loads(sora("status", held).err.splitlines()[-1])
    commands = [["sora-ledger", "approve", held, "--key", "FILE"], ["sora-ledger", "cancel", held]]
    assert (failed["code"], failed["exit_code"], failed["next"]) == ("job_held", 3, commands)


def test_a_render_that_needs_a_second_approval_is_not_shown_as_approved(sora: Sora, held: str) -> None:
    one = Path("team.toml").read_text(encoding="utf-8")
    two = one.replace("\nsigned = true", "\nsigned = true\npeople = 2")
    bo = sora("key", "new", "bo.key", "--name", "bo").document["verifier"]
    more = two.replace("\nmaria = ", f'\nbo = ["{bo}"]\nmaria = ')
    Path("two.toml").write_text(more, encoding="utf-8")
    assert sora("policy", "activate", "two.toml", "--reason", "finals need two").code == 0
    job = sora("create", "--prompt", "an owl", "--purpose", "final", "--key", "ana.key").document["job_id"]
    assert sora("approve", job, "--key", "maria.key").document["approvals_needed"] == 1
    assert "partly approved, more approvals needed" in sora("show", job, "--format=text").out
    assert sora("show", job).document["job"]["state"] == "approved"
    assert f"sora-ledger approve {job} --key FILE" in sora("status", job).error


def test_what_was_held_and_is_withdrawn_names_no_next_step(sora: Sora, held: str) -> None:
    assert sora("cancel", held).code == 0
    assert "sora-ledger approve" not in sora("show", held, "--format=text").out
    assert sora("whynot", held).document["what_now"] == []


def test_a_rejection_takes_a_reason(sora: Sora, held: str) -> None:
    for reason in ([], ["--reason", " "]):
        assert sora("reject", held, "--key", "maria.key", *reason).code == 2
    assert sora("show", held).document["records"][-1]["type"] == "render.held"


def test_a_rejected_render_is_closed_and_says_so(sora: Sora, held: str) -> None:
    assert sora("reject", held, "--key", "maria.key", "--reason", "not yet").code == 0
    assert sora("status", held, "--offline").code == 3
    ended = sora("approve", held, "--key", "maria.key")
    assert ended.code == 1
    assert "is refused, not held" in ended.error
    text = sora("whynot", held, "--format=text").out
    assert "approval.refused by maria (identified by signature)" in text
    assert "not yet" in text
    assert "make a new request" in text


@pytest.mark.parametrize("command", ["approve", "reject"])
def test_an_unknown_job_is_refused(sora: Sora, held: str, command: str) -> None:
    assert sora(command, "job_ffff", "--reason", "no").code == 2


def test_what_is_held_reads_well(sora: Sora, held: str) -> None:
    shown = sora("show", held, "--format=text").out
    assert "held" in shown
    assert f"sora-ledger approve {held}" in shown
    assert "needs 1 person (FINALS)" in shown
    assert "it would be sora-2-pro, estimated to cost 1.20 USD" in shown
    assert sora("jobs", "--state", "held", "--format=text").out.count("held") == 1

"""`audit` as an operator runs it."""

import time
from collections.abc import Callable

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def at_openai(
    server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SandboxServer]:
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")
    return lambda *faults: server(clock=time.time, faults=faults)


def test_nothing_to_look_at_ends_with_0(sora: Sora, at_openai: Callable[..., SandboxServer]) -> None:
    base_url = at_openai().base_url
    sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")
    ended = sora("audit")
    assert (ended.code, ended.document["clean"], ended.document["findings"]) == (0, True, [])
    [server] = ended.document["servers"]
    assert server == {
        "profile": "openai",
        "listed": 1,
        "because": None,
        "server": base_url,
        "doubt": None,
    }


def test_a_finding_ends_with_11_and_what_to_do(sora: Sora, at_openai: Callable[..., SandboxServer]) -> None:
    at_openai("create=kept-but-answer-lost")
    job = sora("create", "--prompt", "a fox").document["job_id"]
    ended = sora("audit", "--format=text")
    assert ended.code == 11
    assert f"OUTCOME_UNKNOWN {job}" in ended.out
    assert f"→ sora-ledger reconcile {job}" in ended.out


def test_what_audit_says_to_do_settles_it(sora: Sora, at_openai: Callable[..., SandboxServer]) -> None:
    at_openai("create=kept-but-answer-lost")
    job = sora("create", "--prompt", "a fox").document["job_id"]
    sora("reconcile", job)
    sora("poll", job, "--poll-interval", "0.05")
    assert sora("audit").code == 0


def test_the_equation_of_an_earlier_position_can_be_asked_for(
    sora: Sora, at_openai: Callable[..., SandboxServer]
) -> None:
    at_openai()
    sora("create", "--prompt", "a fox")
    ended = sora("audit", "--as-of", "4", "--format=text")
    assert ended.code == 0
    assert ended.out == (
        "1 attempt up to position 4 = 0 accepted + 0 rejected + 0 recovered + 0 absent + 0 unknown "
        "+ 1 in flight\n"
    )


def test_a_position_beyond_the_end_is_refused(sora: Sora, denied: str) -> None:
    ended = sora("audit", "--as-of", "99")
    assert (ended.code, "the end of the ledger" in ended.error) == (2, True)


def test_a_failed_render_rests_once_a_person_says_what_was_done(
    sora: Sora, at_openai: Callable[..., SandboxServer]
) -> None:
    at_openai()
    job = sora("create", "--prompt", "a fox [fail]").document["job_id"]
    sora("poll", job, "--poll-interval", "0.05")
    done = sora("audit", "--dealt-with", job, "--reason", "it was not billed").document["dealt_with"]
    assert [(one["code"], one["subject"]) for one in done] == [("SPEND_WITHOUT_ASSET", job)]
    ended = sora("audit", "--format=text")
    assert (ended.code, "1 more dealt with before" in ended.out) == (0, True)


@pytest.mark.parametrize(
    "options", [("--dealt-with", "job_1"), ("--reason", "so"), ("--dealt-with", "j", "--reason", " ")]
)
def test_what_was_dealt_with_needs_a_job_and_a_reason(
    sora: Sora, denied: str, options: tuple[str, ...]
) -> None:
    ended = sora("audit", *options)
    assert (ended.code, "--dealt-with needs --reason TEXT" in ended.error) == (2, True)


def test_a_job_without_a_lasting_finding_cannot_be_dealt_with(sora: Sora, denied: str) -> None:
    ended = sora("audit", "--dealt-with", denied, "--reason", "nothing")
    assert (ended.code, "has no finding to deal with" in ended.error) == (2, True)


def test_a_server_that_cannot_be_used_is_reported(sora: Sora, denied: str) -> None:
    ended = sora("audit", "--profile", "openai")
    assert ended.code == 0
    assert ended.document["servers"][0]["because"] == "OPENAI_API_KEY is not set."


def test_a_server_that_does_not_answer_is_an_error(
    sora: Sora, at_openai: Callable[..., SandboxServer], denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_openai()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("render_service.submission.retry.FIRST_PAUSE_S", 0.001)
    assert sora("audit").code == 8


def test_a_missing_ledger_is_reported(sora: Sora) -> None:
    assert sora("audit").code == 7

"""What answers say: the next allowed call for every state, and never to try again what may be billed."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp")
from ledger.errors import JobNotFound, LedgerUnusable
from ledger.job import Job
from ledger.terms import Operation, State
from render_service.runtime.errors import BadInput, NotReady, RequestKeyTaken
from render_service.server.mcp.answers import error_answer, error_document, in_tool_terms, next_call
from render_service.server.mcp.calls import Agent, Calls, Place, recordable
from render_service.server.mcp.server import result_of
from render_service.server.mcp.tools import TOOLS
from sora_adapter.errors import ServerTrouble

ID = f"job_{'0' * 32}"
HELD = {State.HELD, State.APPROVED}
MAY_BE_BILLED = {State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.COMPLETED}


def job(state: State, **facts: Any) -> Job:
    about = {"operation": Operation.REMIX, "request_key": "k", "actor": "ana", "trace_id": "0" * 32} | facts
    return Job(job_id=ID, version=1, position=1, state=state, created_at="", updated_at="", **about)


@pytest.mark.parametrize("state", [state for state in State if state not in HELD])
def test_every_state_has_a_next_call_that_exists(state: State) -> None:
    following = next_call(job(state), None)  # only holds read the ledger
    assert following.tool is None or following.tool in TOOLS
    assert following.because


@pytest.mark.parametrize("state", sorted(MAY_BE_BILLED))
def test_what_may_be_billed_is_waited_for(state: State) -> None:
    following = next_call(job(state), None)  # as above
    assert (following.tool, following.arguments) == ("wait", {"job": ID})


@pytest.mark.parametrize("state", [State.DECIDED, State.ABSENT, State.REJECTED])
def test_what_was_not_sent_is_sent_by_the_same_tool_with_the_same_key(state: State) -> None:
    following = next_call(job(state), None)  # as above
    assert (following.tool, following.arguments) == ("remix", {"request_key": "k"})


def test_a_queued_job_without_a_key_is_submitted_by_a_person() -> None:
    following = next_call(job(State.DECIDED, request_key=None), None)  # as above
    assert (following.tool, following.person) == ("job", (f"sora-ledger resume {ID}",))


def test_options_become_arguments_and_commands_stay_as_they_are() -> None:
    text = in_tool_terms("use --max-cost 0.40, or --seconds 4; `sora-ledger approve job_1 --key FILE`")
    assert text == "use max_cost_usd 0.40, or seconds 4; `sora-ledger approve job_1 --key FILE`"


@pytest.mark.parametrize(
    ("command", "calls", "person"),
    [
        ("poll --id job_1", [{"tool": "wait", "arguments": {"job": "job_1"}}], []),
        ("reconcile job_1", [{"tool": "wait", "arguments": {"job": "job_1"}}], []),
        ("budget list", [{"tool": "budget", "arguments": {}}], []),
        ("jobs", [{"tool": "find", "arguments": {}}], []),
        ("reconcile job_1 --absent --reason TEXT", [], ["reconcile job_1 --absent --reason TEXT"]),
        ("budget set all --limit 5", [], ["budget set all --limit 5"]),
        ("approve job_1 --key FILE", [], ["approve job_1 --key FILE"]),
        ("resume job_1", [], ["resume job_1"]),
    ],
)
def test_a_command_becomes_a_call_unless_only_a_person_may_run_it(
    command: str, calls: list[Any], person: list[str]
) -> None:
    error = error_document("failed", f"it failed: `sora-ledger {command}`")["error"]
    assert error["calls"] == calls
    assert error["person"] == [f"sora-ledger {words}" for words in person]


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (RequestKeyTaken(f"the key belongs to {ID}"), "request_key_taken", "never"),
        (JobNotFound("no such job"), "job_not_found", "never"),
        (BadInput("bad"), "bad_input", "never"),
        (NotReady("not yet"), "not_ready", "never"),
        (LedgerUnusable("locked"), "ledger_unusable", "same_key"),
        (ServerTrouble("no answer"), "server_trouble", "same_key"),
    ],
)
def test_an_error_says_whether_the_same_key_may_be_used_again(
    error: Exception, code: str, retry: str
) -> None:
    answer = error_answer(error)
    assert answer is not None
    assert (answer["error"]["code"], answer["error"]["retry"]) == (code, retry)


def test_half_a_character_in_a_servers_words_does_not_lose_the_answer() -> None:
    result = result_of({"job": ID, "state": "running", "trouble": "a\ud800b"})
    assert result.model_dump_json()
    assert (result.structured_content["trouble"], result.is_error) == ("a?b", False)


def test_an_unexpected_error_is_no_answer() -> None:
    assert error_answer(RuntimeError("a defect")) is None


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (None, "unknown"),
        ("", "unknown"),
        ("claude\n on behalf of maria", "claude maria"),
        ("x" * 300, "x" * 64),
        ("\u202efox", "fox"),
    ],
)
def test_the_name_of_a_client_is_recorded_on_one_line_and_short(client: str | None, name: str) -> None:
    assert recordable(client) == name


def test_a_path_outside_the_folder_is_refused(tmp_path: Path) -> None:
    agent = Agent(None, "ana", Place(tmp_path / "clips"), 1, Calls())  # reads no session
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "up").symlink_to(tmp_path)
    assert agent.path("a/../fox.mp4", "to") == tmp_path / "clips" / "fox.mp4"
    for outside in ("../fox.mp4", "/etc/passwd", "up/fox.mp4"):
        with pytest.raises(BadInput, match="expected a file in"):
            agent.path(outside, "to")


@pytest.mark.parametrize("actor", ["bob", "agent x on behalf of bob", "agent x on behalf of banana"])
def test_what_another_person_requested_is_not_an_agents_own(actor: str) -> None:
    agent = Agent(None, "ana", Place(Path()), 1, Calls())  # reads no session
    with pytest.raises(BadInput, match="sora-ledger cancel"):
        agent.check_own(job(State.HELD, actor=actor))
    agent.check_own(job(State.HELD, actor="ana"))
    agent.check_own(job(State.HELD, actor="agent y on behalf of ana"))

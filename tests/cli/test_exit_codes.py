"""One table of exit codes, in the code, the help and the docs."""

import re
import sqlite3
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from cli.exit_codes import MEANINGS, OF_ERROR, OF_STATE, ExitCode, code_of_error
from decision.errors import BadRequest
from ledger.errors import AmbiguousJob, JobNotFound, LedgerUnusable, WrongExpectedVersion
from ledger.terms import State
from render_service.runtime.errors import (
    AssetUnusable,
    BadInput,
    KeyMissing,
    NotApproved,
    NotReady,
    StorageFailed,
)
from sora_adapter.errors import (
    ContentExpired,
    ServerRefused,
    ServerUnreachable,
    ServerUnreadable,
    UnknownProfile,
    VideoNotFound,
)
from sora_adapter.polling import PollTimeout
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

DOCS = Path(__file__).parents[2] / "docs" / "exit-codes.md"
ERRORS = [
    (BadRequest("x"), 2),
    (BadInput("x"), 2),
    (KeyMissing("x"), 2),
    (UnknownProfile("x"), 2),
    (JobNotFound("x"), 2),
    (AmbiguousJob("x"), 2),
    (NotReady("x"), 1),
    (NotApproved("x"), 3),
    (AssetUnusable("x"), 1),
    (StorageFailed("x"), 1),
    (WrongExpectedVersion("x"), 1),
    (VideoNotFound("x"), 1),
    (ContentExpired("x"), 1),
    (PollTimeout("x", video_id="video_1", last=None), 5),
    (LedgerUnusable("x"), 7),
    (ServerUnreachable("x"), 8),
    (ServerRefused("x"), 8),
    (ServerUnreadable("x"), 8),
]


def rows(text: str, heading: str) -> list[tuple[str, str]]:
    """Return the rows of the table under a heading row."""
    table = text.partition(f"{heading}\n|---|---|\n")[2].partition("\n\n")[0]
    return [(left, right) for left, right in re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)]


def test_the_docs_have_the_table_of_the_code() -> None:
    assert rows(DOCS.read_text(encoding="utf-8"), "| code | means |") == [
        (str(code.value), meaning) for code, meaning in MEANINGS.items()
    ]


def test_the_docs_say_how_each_state_ends() -> None:
    facts = {
        state: int(code)
        for states, code in rows(DOCS.read_text(encoding="utf-8"), "| state | code |")[:-1]
        for state in states.split(", ")
    }
    assert facts == OF_STATE


def test_every_state_with_a_code_is_a_state() -> None:
    assert set(OF_STATE) <= {state.value for state in State}


def test_the_help_has_the_table(sora: Sora) -> None:
    message = " ".join(sora("--help").out.split())
    assert [meaning for meaning in MEANINGS.values() if meaning not in message] == []


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_raised_on_purpose_has_its_code(error: Exception, code: int) -> None:
    assert code_of_error(error) == code


@pytest.mark.parametrize("name", OF_ERROR)
def test_the_table_names_classes_that_exist(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert getattr(import_module(module), kind).__module__ == module


def test_an_error_that_was_not_has_none() -> None:
    assert code_of_error(ZeroDivisionError()) is None


def test_a_denial_ends_with_3_and_its_reason(sora: Sora) -> None:
    ended = sora(
        "create", "--prompt", "a fox", "--model", "sora-2", "--size", "1920x1080", "--profile", "sandbox"
    )
    assert ended.code == ExitCode.DENIED
    assert "size 1920x1080 is not offered by sora-2 (offered: 720x1280, 1280x720); use --model" in ended.error


def test_status_says_why_it_does_not_end_with_0(sora: Sora, denied: str) -> None:
    ended = sora("status", denied)
    assert (ended.code, ended.document["state"]) == (3, "denied")
    assert ended.error.startswith(f"Error: {denied} is denied: sora-2 would cost 0.40 USD")


def test_a_failed_render_ends_with_4(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    ended = sora("create-and-poll", "--prompt", "a [fail] fox", "--poll-interval", "0.05")
    assert (ended.code, "moderation_blocked" in ended.error) == (4, True)


def test_waiting_too_long_ends_with_5(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server(render_seconds=60)
    ended = sora("create-and-poll", "--prompt", "a fox", "--timeout", "0")
    assert (ended.code, "the server keeps rendering" in ended.error) == (5, True)
    assert ended.document["final"]["state"] == "running"
    again = sora("poll", ended.document["final"]["job_id"], "--timeout", "0")
    assert (again.code, again.document["id"]) == (5, ended.document["final"]["id"])


def test_findings_end_with_10(sora: Sora, denied: str, folder: Path) -> None:
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("UPDATE jobs SET state = 'stored'")
    db.close()
    assert sora("verify").code == ExitCode.INTEGRITY

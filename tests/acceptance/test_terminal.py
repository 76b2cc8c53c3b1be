"""On a real terminal: text, colours, a progress bar, and lines that can be copied."""

import os
import pty
from typing import Any

from tests.acceptance.conftest import Place

CREATE = ["create-and-poll", "--prompt", "a fox runs", "--poll-interval", "0.05"]


def on_a_terminal(place: Any, *arguments: str, **more: str) -> tuple[int, str]:
    """Run a command with a terminal as its stdout and stderr; return code and what was shown."""
    ours, theirs = pty.openpty()
    environment = place.environment | {"TERM": "xterm-256color", "COLUMNS": "80"} | more
    process = place.forks.start([arguments], place.folder, environment, theirs, theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    os.close(ours)
    return process.wait(120), shown.decode()


def test_a_person_sees_decision_progress_and_result(place: Place) -> None:
    code, shown = on_a_terminal(place, *CREATE, SORA_SANDBOX_SECONDS="0.5")
    assert code == 0
    for part in ("trace ", "allowed", "sora-2 because", "━", "100%", "stored", "file:///"):
        assert part in shown


def test_a_path_is_shown_unbroken(place: Place) -> None:
    on_a_terminal(place, *CREATE)
    _, shown = on_a_terminal(place, "status", place.jobs()[0]["job_id"])
    name = place.jobs()[0]["assets"]["video"]["storage_uri"].removeprefix("asset:")
    assert f"/assets/{name}" in shown


def test_a_command_to_copy_is_shown_unbroken(place: Place) -> None:
    source = place.json("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05")["final"]["job_id"]
    two = "Make it night with neon light all over the town, and replace the fox with a red owl."
    _, shown = on_a_terminal(place, "remix", source, "--prompt", two)
    command = f"remix --id {source} --prompt 'Make it night with neon light all over the town'"
    assert command in shown


def test_why_something_is_denied_is_reported_once(place: Place) -> None:
    code, shown = on_a_terminal(place, "create", "--prompt", "a fox", "--max-cost", "0.01")
    assert (code, shown.count("sora-2 would cost 0.40 USD"), " is denied\r\n" in shown) == (3, 1, True)


def test_jobs_are_a_line_each(place: Place) -> None:
    job = place.json("create", "--prompt", "a fox")["job_id"]
    _, shown = on_a_terminal(place, "jobs")
    [line] = [line for line in shown.splitlines() if job[-8:] in line]
    assert "sora-2 4 s" in line

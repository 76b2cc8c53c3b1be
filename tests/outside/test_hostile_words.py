"""What a server says reaches neither a log nor a terminal as it is."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from tests.outside.conftest import Outside, Person, at_a_terminal

Start = Callable[..., Outside]
PRIVATE = "refused while rendering 'Elena Petrova lies in hospital'"


def test_a_workers_log_repeats_no_words_of_a_server(outside: Start, person: Person) -> None:
    server = outside(render_s=60.0)
    someone = person.at(server)
    job = someone("create", "--prompt", "A teal coupe", "--queue").document["job_id"]
    server.behave(words=PRIVATE, list=False, retrieve=[403])
    with someone.start("worker", "--interval", "0.1") as worker:
        assert worker.stderr is not None
        message = ""
        for line in worker.stderr:
            message += line
            if '"job.trouble"' in line:
                break
        worker.terminate()
        message += worker.communicate(timeout=30)[1]
    assert ("Elena" in message, job in message, '"http_status": 403' in message) == (False, True, True), (
        message
    )


ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31m"
C1 = "\x9b2J"
TURNED = "\u202egnp.exe\u2066"
HOSTILE = f"words {ESCAPE}{C1}{TURNED}\x7f end"
COMMANDS = ["list", "jobs", "log", "show", "whynot"]


def _hostile(outside: Start, person: Person, **behaviour: Any) -> tuple[Person, str]:
    server = outside(failure=HOSTILE, extra={"model": HOSTILE}, **behaviour)
    someone = person.at(server)
    ended = someone("create-and-poll", "--prompt", f"A fox {HOSTILE}", "--poll-interval", "0.1")
    return someone, str(ended.document["final"]["job_id"])


def _on(job: str, command: str) -> list[str]:
    return (
        [command, job]
        if command in {"show", "status", "explain", "whynot", "poll", "download"}
        else [command]
    )


def _obeyed(text: str) -> set[str]:
    """Return the characters in `text` that a terminal or a reader's eye obeys; NEL and tab are harmless."""
    return {letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf"}} - {"\n", "\t"}


def test_nothing_that_is_printed_commands_a_terminal(outside: Start, person: Person) -> None:
    someone, job = _hostile(outside, person)
    for command in COMMANDS:
        for form in ("text", "json"):
            ended = someone(*_on(job, command), "--format", form)
            assert _obeyed(ended.out + ended.err) == set(), (command, form)
            if form == "json":
                assert ended.document, command


def test_json_holds_the_very_words(outside: Start, person: Person) -> None:
    someone, job = _hostile(outside, person)
    assert HOSTILE in someone("show", job).document["job"]["prompt"]


def test_errors_command_no_terminal(outside: Start, person: Person) -> None:
    someone = person.at(outside(words=HOSTILE, create="403"))
    for form in ("text", "json"):
        refused = someone("create", "--prompt", "A fox", "--format", form)
        misspelt = someone("show", HOSTILE, "--format", form)
        assert (refused.code, misspelt.code) == (8, 2)
        assert _obeyed(f"{refused.out}{refused.err}{misspelt.out}{misspelt.err}") == set()


def test_a_terminal_gets_colours_of_ours_and_no_command_of_others(outside: Start, person: Person) -> None:
    someone, job = _hostile(outside, person)
    for command in ("show", "list"):
        shown = at_a_terminal(someone, "", *_on(job, command))[1]
        assert "words" in shown
        assert not re.search("\x1b]|\x1b\\[2J|\x9b|[\u202a-\u202e\u2066-\u2069]", shown), command
        as_json = at_a_terminal(someone, "", *_on(job, command), "--json")[1]
        assert not re.search("\x1b]|\x1b\\[2J|\x9b|[\u202a-\u202e\u2066-\u2069]", as_json), command

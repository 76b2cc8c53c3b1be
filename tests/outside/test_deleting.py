"""Deleting on a terminal: a person is asked before the server forgets a video."""

import os
import pty
from collections.abc import Callable

import pytest

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]


def at_a_terminal(person: Person, answer: str, *command: str) -> tuple[int, str]:
    """Run a command whose three streams are a terminal, type `answer`, and return code and screen."""
    ours, theirs = pty.openpty()
    with person.start(*command, streams=theirs) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(60), shown.decode()


@pytest.mark.parametrize(
    ("answer", "options", "code", "deletions"),
    [("n\n", [], 1, 0), ("y\n", [], 0, 1), ("", ["--yes"], 0, 1)],
    ids=["no", "yes", "--yes"],
)
def test_a_person_is_asked_before_a_video_is_deleted(
    outside: Start, person: Person, answer: str, options: list[str], code: int, deletions: int
) -> None:
    server = outside()
    someone = person.at(server)
    job = someone("create", "--prompt", "A teal coupe").document["job_id"]
    ended, shown = at_a_terminal(someone, answer, "delete", job, *options)
    assert (ended, len(server.requests("DELETE"))) == (code, deletions), shown
    assert ("NOT stored here" in shown) is not bool(options), shown


def test_a_script_is_not_asked(outside: Start, person: Person) -> None:
    server = outside()
    someone = person.at(server)
    job = someone("create", "--prompt", "A teal coupe").document["job_id"]
    answer = someone("delete", job).document
    assert (answer["object"], answer["deleted"], len(server.requests("DELETE"))) == ("video.deleted", True, 1)

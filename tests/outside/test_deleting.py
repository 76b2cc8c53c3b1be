"""Deleting on a terminal: a person is asked before the server forgets a video."""

from collections.abc import Callable

import pytest

from tests.outside.conftest import Outside, Person, at_a_terminal

Start = Callable[..., Outside]


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

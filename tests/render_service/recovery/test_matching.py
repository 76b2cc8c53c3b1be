"""How a video compares with what was asked for: every field by itself, with the answer written out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger.events import RenderRequested, SubmissionIntended, SubmissionUnknown
from ledger.job import Job
from ledger.private import Private
from ledger.terms import Operation, State, Status
from render_service.recovery.assignment import doubts_about, likeness, may_be_of, may_stand_for
from render_service.recovery.attempts import Attempt
from sora_adapter.models import Observation

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
FOX = "a fox runs  in the\nsnow"


def attempt(prompt: str | None = FOX, **changes: Any) -> Attempt:
    """Return an attempt of 12:00, given up after a minute; `changes` are of the request."""
    job = Job(
        job_id="job_1",
        version=4,
        position=4,
        state=State.UNKNOWN,
        created_at="",
        updated_at="",
        actor="ana",
        trace_id="",
        model="sora-2",
    )
    private = Private.seal("prompt", prompt or "erased")
    asked = RenderRequested(
        **{
            "operation": Operation.CREATE,
            "prompt": private if prompt else Private(commitment=private.commitment),
            "size": "1280x720",
            "seconds": 8,
            "purpose": "draft",
            "requested_model": "auto",
            "profile": "openai",
        }
        | changes
    )
    intent = SubmissionIntended(
        attempt_id="attempt_1", request_sha256="0" * 64, profile="openai", server="", model="sora-2-2025"
    )
    lost = SubmissionUnknown(attempt_id="attempt_1", lost="timeout")
    return Attempt(job, asked, intent, 4, NOON, NOON + timedelta(minutes=1), lost)


def video(**changes: Any) -> Observation:
    """Return a video that is just what `attempt()` asked for."""
    exact: dict[str, Any] = {
        "video_id": "video_1",
        "status": Status.COMPLETED,
        "created_at": NOON_S,
        "model": "sora-2",
        "size": "1280x720",
        "seconds": "8",
        "prompt": FOX,
    }
    return Observation(**exact | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": " a fox\truns in the snow "},
        {"prompt": None},
        {"model": "sora-2-2025"},
        {"model": None},
        {"size": None},
        {"seconds": None},
    ],
)
def test_what_shows_nothing_else_is_the_same(changes: dict[str, Any]) -> None:
    compared = likeness(attempt(), video(**changes))
    assert (compared.verdict, compared.differences, compared.text_differs) == ("same", (), False)


def test_an_accent_that_is_encoded_otherwise_makes_no_difference() -> None:
    assert likeness(attempt("caf\u00e9"), video(prompt="cafe\u0301")).verdict == "same"


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"prompt": "a fox runs"}, "the prompt"),
        ({"prompt": "A FOX RUNS IN THE SNOW"}, "the prompt"),
        ({"model": "sora-2-pro"}, "the model (sora-2-pro, asked for sora-2-2025)"),
        ({"size": "720x1280"}, "the size (720x1280, asked for 1280x720)"),
        ({"size": "1024x1792"}, "the size (1024x1792, asked for 1280x720)"),
        ({"seconds": "4"}, "the length (4 s, asked for 8 s)"),
        ({"seconds": "9"}, "the length (9 s, asked for 8 s)"),
        ({"created_at": None}, "the time (the server names none)"),
    ],
)
def test_one_difference_makes_it_similar(changes: dict[str, Any], difference: str) -> None:
    compared = likeness(attempt(), video(**changes))
    assert (compared.verdict, compared.differences) == ("similar", (difference,))
    assert compared.text_differs == ("prompt" in changes)


def test_a_text_beside_an_erased_one_is_similar() -> None:
    compared = likeness(attempt(None), video())
    assert (compared.verdict, compared.differences) == ("similar", ("the prompt (ours was erased)",))
    assert not compared.text_differs


def test_no_text_beside_an_erased_one_is_the_same() -> None:
    assert likeness(attempt(None), video(prompt=None)).verdict == "same"


REMIX = {"operation": Operation.REMIX, "remix_video_id": "video_0"}


@pytest.mark.parametrize(
    ("asked", "shown", "verdict", "differences"),
    [
        (REMIX, {"remixed_from_video_id": "video_0"}, "same", ()),
        (REMIX, {"remixed_from_video_id": "video_9"}, "other", ("the source",)),
        ({}, {"remixed_from_video_id": "video_9"}, "other", ("the source",)),
        (REMIX, {}, "same", ()),
        (REMIX, {"prompt": None}, "similar", ("the source (the server names none)",)),
        (REMIX, {"prompt": None, "remixed_from_video_id": "video_0"}, "same", ()),
        ({}, {"prompt": None}, "same", ()),
    ],
)
def test_the_source_of_a_remix_counts(
    asked: dict[str, Any], shown: dict[str, Any], verdict: str, differences: tuple[str, ...]
) -> None:
    compared = likeness(attempt(**asked), video(**shown))
    assert (compared.verdict, compared.differences) == (verdict, differences)


def test_size_and_length_of_an_edited_file_are_not_compared() -> None:
    one = attempt(operation=Operation.EDIT)
    assert likeness(one, video(size="640x360", seconds="5")).verdict == "same"


def test_size_and_length_of_an_edited_video_are_compared() -> None:
    one = attempt(operation=Operation.EDIT, remix_video_id="video_0")
    assert likeness(one, video(size="640x360", seconds="5")).verdict == "similar"


@pytest.mark.parametrize(
    ("lost", "heard_after_s", "created_after_s", "is_in_time"),
    [
        ("timeout", 60, -301, False),
        ("timeout", 60, -300, True),
        ("timeout", 60, 900, True),
        ("timeout", 60, 901, False),
        ("timeout", 1200, 1500, True),
        ("timeout", 1200, 1501, False),
        ("crash", 1200, 900, True),
        ("crash", 1200, 901, False),
        (None, 0, 900, True),
        (None, 0, 901, False),
    ],
)
def test_a_video_is_of_its_time(
    lost: Any, heard_after_s: int, created_after_s: int, *, is_in_time: bool
) -> None:
    said = SubmissionUnknown(attempt_id="attempt_1", lost=lost) if lost else None
    one = replace(attempt(), lost=said, heard_at=NOON + timedelta(seconds=heard_after_s))
    assert one.may_have_created_at(NOON_S + created_after_s) is is_in_time


def test_the_time_a_server_needs_moves_the_end_of_the_time() -> None:
    one = replace(attempt(), takes_effect_s=3600)
    assert [one.may_have_created_at(NOON_S + after_s) for after_s in (3900, 3901)] == [True, False]


@pytest.mark.parametrize(
    ("now_s", "grace_s", "unproven_s"),
    [(0, 0, 600), (599, 0, 1), (600, 0, 0), (600, 300, 0), (600, 900, 360), (5000, 300, 0)],
)
def test_absence_is_not_proven_before_the_call_can_take_effect_no_more(
    now_s: int, grace_s: float, unproven_s: float
) -> None:
    assert attempt().measure_unproven_s(NOON + timedelta(seconds=now_s), grace_s) == unproven_s


OLD = {"created_at": NOON_S - 86_400}
TIME = "the time (by the clocks it was created before or long after)"


@pytest.mark.parametrize(
    ("changes", "doubts"),
    [
        ({}, ()),
        ({"prompt": "else", "size": "1x1"}, ("the prompt", "the size (1x1, asked for 1280x720)")),
        ({"remixed_from_video_id": "video_9"}, ("the source",)),
        (OLD, (TIME,)),
        (OLD | {"seconds": "4"}, ("the length (4 s, asked for 8 s)", TIME)),
        (OLD | {"prompt": "else"}, None),
        (OLD | {"remixed_from_video_id": "video_9"}, None),
    ],
)
def test_within_its_time_no_video_is_ruled_out(
    changes: dict[str, Any], doubts: tuple[str, ...] | None
) -> None:
    assert doubts_about(attempt(), video(**changes)) == doubts


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"prompt": "a fox"}, True),
        ({"prompt": None}, True),
        ({"created_at": None, "prompt": "a fox"}, True),
        ({"size": "720x1280", "seconds": "4"}, True),
        (OLD, True),
        ({"prompt": "a horse", "size": "720x1280"}, False),
        ({"prompt": None, "size": "720x1280", "seconds": "4"}, False),
        ({"remixed_from_video_id": "video_9"}, False),
        (OLD | {"prompt": None}, False),
        (OLD | {"prompt": "a horse"}, False),
    ],
)
def test_a_video_much_like_ours_is_not_taken_for_anothers(changes: dict[str, Any], *, ours: bool) -> None:
    assert may_be_of(attempt(), video(**changes)) is ours


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.EXTEND, Operation.REMIX])
def test_size_and_length_of_anything_but_an_edited_file_are_compared(operation: Operation) -> None:
    one = attempt(operation=operation)
    assert likeness(one, video(size="640x360")).differences == ("the size (640x360, asked for 1280x720)",)


def test_two_attempts_for_the_very_same_may_stand_for_each_other() -> None:
    one = replace(attempt(), takes_effect_s=1, heard_at=NOON, position=9, lost=None)
    assert may_stand_for(attempt(), one)
    assert may_stand_for(
        attempt(options={"seed": 7, "loop": True}), attempt(options={"loop": True, "seed": 7})
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": Operation.EDIT},
        {"size": "720x1280"},
        {"seconds": 4},
        {"options": {"seed": 7}},
        {"remix_video_id": "video_0"},
        {"reference_file_id": "file_1"},
        {"character_ids": ("char_1",)},
        {"reference_url": Private.seal("reference_url", "https://example.com/a.png")},
    ],
)
def test_attempts_for_something_else_do_not_stand_for_each_other(changes: dict[str, Any]) -> None:
    assert not may_stand_for(attempt(), attempt(**changes))


@pytest.mark.parametrize("text", ["another text", None])
def test_attempts_of_another_text_or_an_erased_one_do_not_stand_for_each_other(text: str | None) -> None:
    assert not may_stand_for(attempt(), attempt(text))
    assert not may_stand_for(attempt(None), attempt(text))


def test_attempts_for_another_model_do_not_stand_for_each_other() -> None:
    one = attempt()
    other = replace(one, intent=structs.replace(one.intent, model="sora-2-pro"))
    assert not may_stand_for(one, other)


@pytest.mark.parametrize("file", ["input_reference", "source_file"])
def test_attempts_with_another_file_do_not_stand_for_each_other(file: str) -> None:
    def with_file(digest: str) -> Attempt:
        one = attempt()
        sent = SimpleNamespace(sha256=digest * 64)
        return replace(one, requested=structs.replace(one.requested, **{file: sent}))

    assert may_stand_for(with_file("a"), with_file("a"))
    assert not may_stand_for(with_file("a"), with_file("b"))
    assert not may_stand_for(with_file("a"), attempt())

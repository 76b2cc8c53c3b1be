"""What is concluded from a finding, case by case, and the commands a person is given."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from ledger.events import ErrorDetail, SubmissionUnknown
from ledger.private import Private
from ledger.terms import State
from render_service.recovery.assignment import ANOTHER_TIME, Finding
from render_service.recovery.listing import Sightings
from render_service.recovery.verdict import (
    SHOWN,
    Settlement,
    conclude,
    settle_closed,
    settle_elsewhere,
    settle_under_way,
)
from sora_adapter.profiles import Profile
from tests.render_service.recovery.test_matching import attempt, video

PROFILE = Profile.model_validate(
    {
        "name": "studio",
        "title": "Studio",
        "description": "A server that keeps what it lists.",
        "needs_key": False,
        "key_variable": "STUDIO_KEY",
        "operations": ["create", "list"],
        "list_proves_absence": True,
    }
)
SEEN = Sightings(unclaimed=(), adopted=(), by_webhook=frozenset(), listed=3, knows_ours=True, doubt=None)
AGAIN = "sora-ledger reconcile job_1"
ABSENT = f"{AGAIN} --absent --reason TEXT"
NAMING = f"{AGAIN} --video-id VIDEO_ID"
NOTHING = Finding("nothing")


def concluded(finding: Finding, profile: Profile = PROFILE, missing_s: float = 0, **seen: Any) -> Settlement:
    return conclude(attempt(), finding, replace(SEEN, **seen), profile, missing_s, has_key=True)


def test_a_video_of_the_same_prompt_is_recovered() -> None:
    settlement = concluded(Finding("found", video()))
    assert (settlement.verdict, settlement.commands, settlement.is_open) == ("recovered", (), False)
    assert settlement.why == "the server created video_1 at 2026-11-21 12:00:00 UTC, as requested"


@pytest.mark.parametrize(
    ("by_webhook", "expected"), [({"video_1"}, "a webhook announced"), (set(), "the server lists")]
)
def test_a_video_without_a_prompt_is_left_to_a_person(by_webhook: set[str], expected: str) -> None:
    settlement = concluded(Finding("found", video(prompt=None)), by_webhook=frozenset(by_webhook))
    assert (settlement.verdict, settlement.candidates) == ("needs_person", ("video_1",))
    assert settlement.commands == (f"{AGAIN} --video-id video_1", ABSENT)
    assert settlement.why.startswith(f"{expected} a matching video")


def test_a_video_that_fits_another_attempt_is_waited_for() -> None:
    settlement = concluded(Finding("wait", candidates=(video(),)))
    assert (settlement.verdict, settlement.commands, settlement.is_open) == ("waiting", (AGAIN,), True)


def test_several_videos_are_left_to_a_person_with_a_command_for_each() -> None:
    some = (video(), video(video_id="video_2"))
    settlement = concluded(Finding("several", candidates=some, doubts=("video_2: the size",)))
    assert (settlement.verdict, settlement.candidates) == ("needs_person", ("video_1", "video_2"))
    assert settlement.commands == (f"{AGAIN} --video-id video_1", f"{AGAIN} --video-id video_2", ABSENT)
    assert settlement.why == "these videos may belong to it; what differs: video_2: the size"


@pytest.mark.parametrize(
    ("times_doubt", "doubt", "is_said"),
    [
        ("they are of tomorrow", f"video_1: {ANOTHER_TIME}", True),
        ("they are of tomorrow", "video_1: the size", False),
        (None, f"video_1: {ANOTHER_TIME}", False),
    ],
)
def test_the_times_of_a_server_are_doubted_only_where_a_time_is_what_differs(
    *, times_doubt: str | None, doubt: str, is_said: bool
) -> None:
    finding = Finding("several", candidates=(video(),), doubts=(doubt,))
    why = concluded(finding, times_doubt=times_doubt).why
    assert ("The server's times prove nothing: they are of tomorrow" in why) is is_said


def test_of_many_differences_some_are_shown_and_the_rest_counted() -> None:
    doubts = tuple(f"video_{number}: the size" for number in range(SHOWN + 2))
    why = concluded(Finding("several", candidates=(video(),), doubts=doubts)).why
    assert f"video_{SHOWN - 1}: the size; and 2 more (`sora-ledger list` shows them)" in why
    assert f"video_{SHOWN}:" not in why
    assert "more" not in concluded(Finding("several", candidates=(video(),), doubts=doubts[:SHOWN])).why


def test_nothing_in_a_list_that_proves_it_is_absence() -> None:
    settlement = concluded(NOTHING)
    assert (settlement.verdict, settlement.is_open) == ("absent", False)
    assert settlement.commands == ("sora-ledger resume job_1", "sora-ledger cancel job_1")


def test_absence_does_not_count_while_the_call_may_take_effect() -> None:
    settlement = concluded(NOTHING, missing_s=0.5)
    assert (settlement.verdict, settlement.commands) == ("waiting", (AGAIN, ABSENT))


@pytest.mark.parametrize(
    ("changes", "observed", "why"),
    [
        ({}, {"listed": None}, "this server cannot be searched: profile studio has no list"),
        ({}, {"listed": None, "doubt": "it is down"}, "this server cannot be searched: it is down"),
        (
            {"unsupported": {"list": "the list is for administrators"}},
            {"listed": None, "doubt": "it is down"},
            "this server cannot be searched: the list is for administrators",
        ),
        ({"list_proves_absence": False}, {}, "nothing in the list of Studio matches, which proves nothing"),
        (
            {},
            {"knows_ours": False},
            (
                "nothing in the list matches, which proves nothing: it may be of another account; "
                "it shows none of our videos"
            ),
        ),
        ({}, {"doubt": "pages repeat"}, "nothing in the list matches, which proves nothing: pages repeat"),
    ],
)
def test_nothing_in_a_list_that_proves_nothing_is_left_to_a_person(
    changes: dict[str, Any], observed: dict[str, Any], why: str
) -> None:
    settlement = concluded(NOTHING, PROFILE.model_copy(update=changes), **observed)
    assert (settlement.verdict, settlement.commands) == ("needs_person", (NAMING, ABSENT))
    assert settlement.why.startswith(why)


@pytest.mark.parametrize(
    ("has_key", "why"), [(None, "no key is recorded"), (False, "this attempt was made with another key")]
)
def test_a_list_that_another_key_is_shown_proves_nothing(*, has_key: bool | None, why: str) -> None:
    settlement = conclude(attempt(), NOTHING, SEEN, PROFILE, 0, has_key=has_key)
    assert (settlement.verdict, settlement.commands) == ("needs_person", (NAMING, ABSENT))
    assert why in settlement.why


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("video_of_another_job", "needs_person"),
        ("a_code", "absent"),
        ("zz_a_code", "absent"),
        (None, "absent"),
    ],
)
def test_only_an_answer_with_the_video_of_another_job_keeps_nothing_from_being_absence(
    code: str | None, verdict: str
) -> None:
    error = ErrorDetail(http_status=200, code=code, message=Private.seal("error.message", "said"))
    lost = SubmissionUnknown(attempt_id="attempt_1", lost="unreadable", error=error)
    answered = replace(attempt(), lost=lost)
    assert conclude(answered, NOTHING, SEEN, PROFILE, 0, has_key=True).verdict == verdict


def test_a_video_that_is_found_counts_whatever_the_server_answered() -> None:
    error = ErrorDetail(
        http_status=200, code="video_of_another_job", message=Private.seal("error.message", "s")
    )
    lost = SubmissionUnknown(attempt_id="attempt_1", lost="unreadable", error=error)
    answered = replace(attempt(), lost=lost)
    assert (
        conclude(answered, Finding("found", video()), SEEN, PROFILE, 0, has_key=True).verdict == "recovered"
    )


def test_an_attempt_under_way_is_waited_for_or_given_up_early() -> None:
    settlement = settle_under_way(attempt().job, 300.0)
    assert (settlement.verdict, settlement.commands) == ("waiting", (AGAIN, f"{AGAIN} --grace 0"))
    assert "younger than 300 s" in settlement.why


def test_an_attempt_sent_elsewhere_is_settled_there() -> None:
    one = attempt()
    there = replace(one, intent=structs.replace(one.intent, server="http://there/v1"))
    settlement = settle_elsewhere(there, "http://here/v1")
    assert settlement.verdict == "needs_person"
    assert settlement.commands == ("export OPENAI_BASE_URL=http://there/v1",)


def test_a_job_without_an_open_attempt_is_settled() -> None:
    job = structs.replace(attempt().job, state=State.RUNNING)
    assert (settle_closed(job).verdict, settle_closed(job).is_open, settle_closed(job).commands) == (
        "settled",
        False,
        (),
    )

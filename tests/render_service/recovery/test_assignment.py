"""Whatever attempts and videos there are: no video is given twice, none to whom it does not fit."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.events import (
    Operation,
    RenderRequested,
    Status,
    SubmissionIntended,
    SubmissionUnknown,
)
from ledger.job import Job, State
from ledger.private import Private
from render_service.recovery.assignment import assign
from render_service.recovery.attempts import Attempt
from render_service.recovery.matching import likeness
from sora_adapter.observation import Observation

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROMPTS = ("a fox runs", "an owl sleeps")
SIZES = ("1280x720", "720x1280")
MINUTES = (0, 30)


def attempt(number: int, prompt: str, size: str, minute: int) -> Attempt:
    at = NOON + timedelta(minutes=minute)
    job = Job(
        job_id=f"job_{number}",
        version=4,
        position=number,
        state=State.UNKNOWN,
        created_at="",
        updated_at="",
        actor="ana",
        trace_id="",
        model="sora-2",
    )
    asked = RenderRequested(
        operation=Operation.CREATE,
        prompt=Private.seal("prompt", prompt),
        size=size,
        seconds=4,
        purpose="draft",
        requested_model="auto",
        profile="openai",
    )
    intent = SubmissionIntended(
        attempt_id=f"attempt_{number}", request_sha256="0" * 64, profile="openai", server="", model="sora-2"
    )
    lost = SubmissionUnknown(attempt_id=intent.attempt_id, lost="timeout")
    return Attempt(job, asked, intent, number, at, at, lost)


def video(number: int, prompt: str | None, size: str, minute: int) -> Observation:
    return Observation(
        video_id=f"video_{number}",
        status=Status.COMPLETED,
        created_at=int((NOON + timedelta(minutes=minute)).timestamp()),
        model="sora-2",
        size=size,
        seconds="4",
        prompt=prompt,
    )


shapes = st.tuples(st.sampled_from(PROMPTS), st.sampled_from(SIZES), st.sampled_from(MINUTES))
sights = st.tuples(
    st.sampled_from([*PROMPTS, None]), st.sampled_from(SIZES), st.sampled_from([*MINUTES, 600])
)
attempts_ = st.lists(shapes, min_size=1, max_size=4).map(
    lambda many: [attempt(number, *shape) for number, shape in enumerate(many)]
)
videos_ = st.lists(sights, max_size=4).map(
    lambda many: [video(number, *sight) for number, sight in enumerate(many)]
)


@given(attempts_, videos_)
def test_no_video_is_given_twice(attempts: list[Attempt], videos: list[Observation]) -> None:
    given_ = [f.video.video_id for f in assign(attempts, videos, ()).values() if f.video]
    assert len(set(given_)) == len(given_)


@given(attempts_, videos_)
def test_a_video_is_given_only_to_whom_it_fits(attempts: list[Attempt], videos: list[Observation]) -> None:
    findings = assign(attempts, videos, ())
    for one in attempts:
        found = findings[one.job.job_id].video
        if found is not None:
            assert likeness(one, found).verdict == "same"
            assert one.may_have_created_at(found.created_at or 0)


@given(attempts_, videos_)
def test_nothing_is_found_only_where_nothing_is_like_it(
    attempts: list[Attempt], videos: list[Observation]
) -> None:
    findings = assign(attempts, videos, ())
    taken = {f.video.video_id for f in findings.values() if f.video}
    for one in attempts:
        if findings[one.job.job_id].kind == "nothing":
            left = [seen for seen in videos if seen.video_id not in taken]
            assert all(likeness(one, seen).verdict == "other" for seen in left)


@given(attempts_, videos_)
def test_the_order_of_the_list_does_not_matter(attempts: list[Attempt], videos: list[Observation]) -> None:
    assert assign(attempts, videos, ()) == assign(attempts, videos[::-1], ())


@given(attempts_, videos_, st.integers(0, 3))
def test_an_attempt_under_way_keeps_the_others_from_its_videos(
    attempts: list[Attempt], videos: list[Observation], number: int
) -> None:
    running = attempts[number % len(attempts)]
    findings = assign(attempts, videos, [running.job.job_id])
    given_ = [f.video for f in findings.values() if f.video]
    assert all(
        likeness(running, seen).verdict != "same" or not running.may_have_created_at(seen.created_at or 0)
        for seen in given_
    )

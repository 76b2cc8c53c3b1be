"""Whatever attempts and videos there are: no video is given twice, none to whom it does not fit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.events import RenderRequested, SubmissionIntended, SubmissionUnknown
from ledger.job import Job
from ledger.private import Private
from ledger.terms import Operation, State, Status
from render_service.recovery.assignment import assign
from render_service.recovery.attempts import Attempt
from sora_adapter.models import Observation

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


def fits(one: Attempt, seen: Observation) -> bool:
    """Say whether a video is certainly of an attempt: as asked, and made 5 minutes before to 15 after."""
    lag_s = (seen.created_at or 0) - one.intended_at.timestamp()
    shown = seen.prompt in (None, one.prompt) and seen.size == one.requested.size
    return shown and -300 <= lag_s <= 900


def may_be_of(one: Attempt, seen: Observation) -> bool:
    """Say whether a video is not certainly another's: made in time, or of the same text by another clock."""
    lag_s = (seen.created_at or 0) - one.intended_at.timestamp()
    return -300 <= lag_s <= 900 or seen.prompt in (None, one.prompt)


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
            assert fits(one, found)


@given(attempts_, videos_)
def test_nothing_is_found_only_where_nothing_is_like_it(
    attempts: list[Attempt], videos: list[Observation]
) -> None:
    findings = assign(attempts, videos, ())
    taken = {f.video.video_id for f in findings.values() if f.video}
    for one in attempts:
        if findings[one.job.job_id].kind == "nothing":
            left = [seen for seen in videos if seen.video_id not in taken]
            assert not any(may_be_of(one, seen) for seen in left)


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
    assert not any(fits(running, seen) for seen in given_)


def test_an_attempt_without_a_video_waits_for_the_attempt_its_twin_fits() -> None:
    findings = assign(
        [attempt(0, "a fox runs", "1280x720", 0), attempt(1, "a fox runs", "1280x720", 0)],
        [video(0, "a fox runs", "1280x720", 1)],
        (),
    )
    assert [(f.kind, f.video and f.video.video_id) for f in findings.values()] == [
        ("found", "video_0"),
        ("wait", None),
    ]


def test_an_adopted_video_of_its_time_is_not_nothing_whatever_it_shows() -> None:
    one, adopted = attempt(0, "a fox runs", "1280x720", 0), video(7, "an owl sleeps", "720x1280", 1)
    finding = assign([one], [], (), [adopted])["job_0"]
    assert (finding.kind, finding.candidates) == ("several", ())
    assert finding.doubts == (
        "video_7: the prompt, the size (720x1280, asked for 1280x720), it was adopted without a submission",
    )


def test_an_adopted_video_of_another_time_and_text_is_nothing() -> None:
    one, adopted = attempt(0, "a fox runs", "1280x720", 0), video(7, "an owl sleeps", "1280x720", 600)
    assert assign([one], [], (), [adopted])["job_0"].kind == "nothing"


def test_videos_of_one_time_are_shared_out_by_their_ids_where_the_server_names_no_time() -> None:
    one = attempt(0, "a fox runs", "1280x720", 0)
    timeless = [replace(video(n, "a fox runs", "1280x720", 0), created_at=None) for n in (2, 1)]
    timed = video(3, "a fox runs", "720x1280", 0)
    finding = assign([one], [timed, *timeless], ())["job_0"]
    assert [seen.video_id for seen in finding.candidates] == ["video_1", "video_2", "video_3"]


def test_an_adopted_video_without_a_time_is_not_nothing() -> None:
    one = attempt(0, "a fox runs", "1280x720", 0)
    adopted = replace(video(7, "an owl sleeps", "720x1280", 600), created_at=None)
    assert assign([one], [], (), [adopted])["job_0"].kind == "several"


def test_an_adopted_video_of_another_time_and_the_same_text_is_not_nothing() -> None:
    one, adopted = attempt(0, "a fox runs", "1280x720", 0), video(7, "a fox runs", "1280x720", 600)
    assert assign([one], [], (), [adopted])["job_0"].kind == "several"


def test_an_attempt_that_waits_names_the_videos_it_waits_for() -> None:
    one, seen = attempt(0, "a fox runs", "1280x720", 0), video(0, "a fox runs", "1280x720", 1)
    finding = assign([one], [seen], ["job_0"])["job_0"]
    assert (finding.kind, finding.candidates) == ("wait", (seen,))


def test_a_video_without_a_prompt_keeps_no_attempt_from_the_video_that_shows_its_prompt() -> None:
    attempts = [attempt(number, f"shot {number}", "1280x720", 0) for number in range(300)]
    videos = [video(number, f"shot {number}", "1280x720", 1) for number in range(298)]
    without = video(999, None, "1280x720", 0)
    findings = assign(attempts, [without, *videos], ())
    found = [finding.video.video_id for finding in findings.values() if finding.video]
    assert found == [f"video_{number}" for number in range(298)]
    for left in ("job_298", "job_299"):
        assert (findings[left].kind, findings[left].candidates) == ("several", (without,))


def test_a_video_without_a_prompt_waits_for_an_attempt_that_may_still_be_answered() -> None:
    attempts = [attempt(number, f"shot {number}", "1280x720", 0) for number in range(3)]
    videos = [video(0, "shot 0", "1280x720", 1), video(9, None, "1280x720", 0)]
    kinds = [finding.kind for finding in assign(attempts, videos, ["job_1"]).values()]
    assert kinds == ["found", "wait", "wait"]


def test_the_one_attempt_without_a_video_of_its_text_is_asked_about_the_one_without_a_text() -> None:
    attempts = [attempt(number, "a fox runs", "1280x720", 0) for number in range(2)]
    videos = [video(0, None, "1280x720", 0), video(1, "a fox runs", "1280x720", 1)]
    found = [f.video and f.video.video_id for f in assign(attempts, videos, ()).values()]
    assert found == ["video_1", "video_0"]  # the latter is not taken: see `verdict`

"""What a client sees of a job, in each state it can be in."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ledger import events as e
from ledger.job import TRANSITIONS, Job, next_state
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.store.interface import ANY, Batch
from ledger.store.sqlite import SqliteStore
from ledger.terms import Operation, Outcome, State, Status
from render_service.server.gateway.projection import Projection, job_id_of
from render_service.server.gateway.resources import status_of, video_resource
from render_service.session.event_ids import public_id
from render_service.submission.submit import unrecorded
from tests.ledger import scribe as s

JOB = s.JOB
SCRIBE = s.Scribe()
COMPLETED_AT, EXPIRES_AT = 1_767_268_900, 1_767_272_500


def begun() -> list[Any]:
    return [s.requested()]


def sent() -> list[Any]:
    return [*begun(), s.decided(), s.sample("submission.intended")]


def running() -> list[Any]:
    return [*sent(), s.sample("submission.accepted")]


def held() -> list[Any]:
    return [*begun(), s.sample("render.held")]


def completed() -> list[Any]:
    times = {"completed_at": COMPLETED_AT, "expires_at": EXPIRES_AT}
    return [*running(), s.observed(Status.COMPLETED, 100, **times)]


def stored() -> list[Any]:
    return [*completed(), s.asset()]


def closed(outcome: Outcome) -> e.RenderClosed:
    return e.RenderClosed(outcome=outcome, duration_ms=1, cost_usd_micros=0)


def lives() -> dict[str, tuple[list[Any], str, str | None]]:
    """Return the events that lead to each state, what a client then sees, and the code of its failure."""
    return {
        "requested": (begun(), "queued", None),
        "held": (held(), "queued", None),
        "partly approved": ([*held(), s.sample("approval.granted")], "queued", None),
        "decided": ([*begun(), s.decided()], "queued", None),
        "being sent": (sent(), "queued", None),
        "lost answer": ([*sent(), s.sample("submission.unknown")], "queued", None),
        "may be sent again": ([*sent(), s.sample("submission.absent")], "queued", None),
        "refused by a busy server": ([*sent(), s.sample("submission.rejected")], "queued", None),
        "queued at the server": (running(), "queued", None),
        "in progress": ([*running(), s.observed(Status.IN_PROGRESS, 30)], "in_progress", None),
        "completed": (completed(), "completed", None),
        "stored": (stored(), "completed", None),
        "stored and closed": ([*stored(), closed(Outcome.STORED)], "completed", None),
        "failed": ([*running(), s.observed(Status.FAILED, error=s.error())], "failed", "server_error"),
        "failed without a word": ([*running(), s.observed(Status.FAILED)], "failed", "render_failed"),
        "refused": ([*held(), s.sample("approval.refused")], "failed", "approval_refused"),
        "denied after approval": (
            [*held(), s.sample("approval.granted"), s.sample("render.denied")], "failed", "OVER_BUDGET",
        ),
        "rejected": (
            [*sent(), s.sample("submission.rejected"), closed(Outcome.REJECTED)], "failed", "server_error",
        ),
        "absent": (
            [*sent(), s.sample("submission.absent"), closed(Outcome.ABSENT)], "failed", "not_created",
        ),
        "cancelled": ([*held(), s.sample("render.cancelled")], "failed", "cancelled"),
        "lost": ([*completed(), s.sample("asset.lost")], "failed", "video_lost"),
        "abandoned": ([*running(), s.sample("render.abandoned")], "failed", "abandoned"),
    }  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(SqliteStore(tmp_path / "ledger.db"))


def recorded(ledger: Ledger, events: list[Any], job_id: str = JOB) -> Job:
    ledger.append([Batch(job_id, ANY, [SCRIBE.draft(event) for event in events])])
    job = ledger.store.job(job_id)
    assert job is not None
    return job


@pytest.mark.parametrize("name", list(lives()))
def test_each_state_has_a_status_and_each_failure_a_code_and_a_sentence(ledger: Ledger, name: str) -> None:
    events, status, code = lives()[name]
    video = video_resource(ledger, recorded(ledger, events))
    assert (video["status"], (video["error"] or {}).get("code")) == (status, code)
    assert (video["completed_at"] is None) == (status in {"queued", "in_progress"})
    assert video["progress"] == 100 or status != "completed"
    if video["error"]:
        assert video["error"]["message"]


def test_no_state_is_left_out() -> None:
    states = set()
    for events, _, _ in lives().values():
        state: Any = None
        for event in events:
            job = None if state is None else structs.replace(unrecorded(), state=state)
            state = next_state(job, event)
        states.add(state)
    assert states | {State.DELETED} == {state for state in TRANSITIONS if state is not None}


def test_a_video_object_has_the_fields_of_the_api(ledger: Ledger) -> None:
    job = recorded(ledger, completed())
    assert video_resource(ledger, job) == {
        "id": "video_" + JOB.removeprefix("job_"),
        "object": "video",
        "model": "sora-2",
        "status": "completed",
        "progress": 100,
        "created_at": int(datetime.fromisoformat(job.created_at).timestamp()),
        "completed_at": COMPLETED_AT,
        "expires_at": EXPIRES_AT,
        "prompt": "a paper boat on a canal",
        "size": "1280x720",
        "seconds": "4",
        "remixed_from_video_id": None,
        "error": None,
    }


def test_a_stored_video_does_not_expire(ledger: Ledger) -> None:
    assert video_resource(ledger, recorded(ledger, stored()))["expires_at"] is None


def test_a_refusal_repeats_what_the_approver_wrote(ledger: Ledger) -> None:
    video = video_resource(ledger, recorded(ledger, lives()["refused"][0]))
    assert video["error"]["message"] == "The request needed an approval, which was refused. no"


OURS = public_id(s.OTHER_JOB)
FROM_VIDEO = {"remix_video_id": "video_1", "source_job": s.OTHER_JOB}


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"operation": Operation.REMIX, **FROM_VIDEO}, OURS),
        ({"operation": Operation.EDIT, **FROM_VIDEO}, OURS),
        ({"operation": Operation.EXTEND, **FROM_VIDEO}, None),
        ({"operation": Operation.CREATE, "source_job": s.OTHER_JOB}, None),
        ({"operation": Operation.REMIX, "remix_video_id": "video_1"}, OURS),
        ({"operation": Operation.REMIX, "remix_video_id": "video_of_others"}, "video_of_others"),
    ],
)
def test_the_source_is_named_by_our_id_if_it_is_known(
    ledger: Ledger, changes: dict[str, Any], source: str | None
) -> None:
    recorded(ledger, running(), s.OTHER_JOB)
    job = recorded(ledger, [structs.replace(s.requested(), **changes)])
    assert video_resource(ledger, job)["remixed_from_video_id"] == source


def test_erased_text_is_null(ledger: Ledger) -> None:
    events = lives()["failed"][0]
    private = (events[0].prompt, events[-1].error.message)
    projection = Projection(ledger)
    assert b"paper boat" in projection._body(recorded(ledger, events))
    commitments = tuple(text.commitment for text in private)
    job = recorded(ledger, [e.PrivateErased(commitments=commitments, reason_code="subject_request")])
    video = video_resource(ledger, job)
    assert (video["prompt"], video["error"]["message"]) == (None, "The server could not render the video.")
    assert b"paper boat" not in projection._body(job), "the cached object is not of this version"


def test_an_object_is_made_once_for_a_version(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    projection, job = Projection(ledger), recorded(ledger, running())
    first = projection._body(job)
    monkeypatch.setattr(Ledger, "read", None)
    assert projection._body(job) is first


def test_the_cache_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render_service.server.gateway.projection.MOST_CACHED", 2)
    projection = Projection(ledger)
    for number in range(4):
        projection._body(recorded(ledger, begun(), f"job_{number:032x}"))
    assert len(projection._cached) == 2


@pytest.mark.parametrize(
    ("name", "job_id"),
    [
        ("video_" + "0a" * 16, "job_" + "0a" * 16),
        ("job_" + "0a" * 16, "job_" + "0a" * 16),
        ("video_" + "0A" * 16, None),
        ("video_" + "0a" * 15, None),
        ("video_" + "0a" * 16 + "\n", None),
        ("x", None),
    ],
)
def test_a_public_id_is_a_job_id_in_other_words(name: str, job_id: str | None) -> None:
    assert job_id_of(name) == job_id
    if job_id is not None:
        assert job_id_of(public_id(job_id)) == job_id


def test_a_status_of_the_server_that_is_ahead_of_the_ledger_is_not_final(ledger: Ledger) -> None:
    accepted = e.SubmissionAccepted(attempt_id="attempt_1", video_id="video_1", status=Status.COMPLETED)
    job = recorded(ledger, [*sent(), accepted])
    assert (job.state, status_of(job)) == (State.RUNNING, Status.IN_PROGRESS)


def test_an_adopted_video_is_shown_with_what_is_known_of_it(ledger: Ledger) -> None:
    adopted = e.RenderAdopted(
        profile="sandbox", video_id="v", status=Status.COMPLETED, prompt=Private.seal("prompt", "older")
    )
    video = video_resource(ledger, recorded(ledger, [adopted]))
    assert (video["prompt"], video["model"], video["seconds"]) == ("older", "auto", None)

"""Review a finished video: a verdict with scores, notes, and notes about moments of the clip.

Several people may review one clip. The last verdict becomes the job's; the agreement is computed from each
reviewer's last review.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ledger.errors import WrongExpectedVersion
from ledger.events import AssetStored, ReviewRecorded, TimedNote
from ledger.job import Job
from ledger.private import Private
from ledger.record import Entry
from ledger.terms import State, Variant
from render_service.runtime.documents import ERASED
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.history import JobHistory

if TYPE_CHECKING:
    from render_service.session.session import Session

Verdict = Literal["approved", "changes_requested", "rejected"]
REVIEWABLE = (State.COMPLETED, State.STORED, State.DELETED)
SCORES = ("clarity", "continuity", "brand_fit")
HIGHEST = 100
MOST_TIMED_NOTES = 100
_MOMENT = re.compile(
    r"(?:(?P<minutes>[0-9]{1,4}):)?(?P<seconds>[0-9]{1,6})(?:\.(?P<part>[0-9]{1,3}))?", re.ASCII
)


class NoteAt(NamedTuple):
    """A note about one moment of a clip, in milliseconds from its beginning."""

    at_ms: int
    text: str


def read_note(text: str) -> NoteAt:
    """Read ``SECONDS=TEXT`` or ``MINUTES:SECONDS=TEXT``; `BadInput` says what is expected."""
    moment, _, words = text.partition("=")
    match = _MOMENT.fullmatch(moment.strip())
    if match is None or not words.strip():
        raise BadInput(
            f"note {text[:60]!r}: expected a time in the clip and a text, such as 2.5=hands or 1:02.5=hands",
            param="note",
            expected="a time in the clip and a text, such as 2.5=hands or 1:02.5=hands",
            found=text[:60],
        )
    seconds = int(match["minutes"] or 0) * 60 + int(match["seconds"])
    return NoteAt(seconds * 1000 + int((match["part"] or "0").ljust(3, "0")), words.strip())


async def review(
    session: "Session",
    job: Job,
    verdict: Verdict,
    scores: Mapping[str, int] | None = None,
    notes: str | None = None,
    timed_notes: Sequence[NoteAt] = (),
    event_id: str | None = None,
) -> Job:
    """Record a review of `job`; the last verdict counts. `NotReady` if there is no video to review.

    `timed_notes` are about moments of the clip, and recorded in chronological order. With `event_id` it is
    recorded once; `EventIdConflict` if it already was.
    """
    recorded = dict(scores or {})
    wrong = [name for name, score in recorded.items() if name not in SCORES or not 0 <= score <= HIGHEST]
    if wrong:
        raise BadInput(
            f"score {wrong[0]} {recorded[wrong[0]]}: expected 0 to {HIGHEST} for one of {', '.join(SCORES)}",
            param=wrong[0],
            expected=f"0 to {HIGHEST} for one of {', '.join(SCORES)}",
            found=recorded[wrong[0]],
        )
    if job.state not in REVIEWABLE:
        raise NotReady(
            f"{job.job_id} is {job.state}, so there is no video to review; {_next_step(job)}",
            param="job",
            expected="a job with a video",
            found=f"a {job.state} job",
        )
    if timed_notes:
        await asyncio.to_thread(_check_moments, session, job, timed_notes)
    sealed = Private.seal("notes", notes) if notes else None
    timed = tuple(
        TimedNote(at_ms=note.at_ms, text=Private.seal(f"timed_notes.{index}.text", note.text))
        for index, note in enumerate(sorted(timed_notes))
    )
    recorded_review = ReviewRecorded(verdict=verdict, scores=recorded, notes=sealed, timed_notes=timed)
    event = session.draft(recorded_review, event_id=event_id)
    try:
        return await session.advance(job, [event])
    except WrongExpectedVersion:  # another event was recorded first, which does not affect a review
        return await session.advance(await session.job(job.job_id), [event])


def _check_moments(session: "Session", job: Job, notes: Sequence[NoteAt]) -> None:
    """Raise `BadInput` for too many notes, or for one after the end of the clip."""
    if len(notes) > MOST_TIMED_NOTES:
        raise BadInput(
            f"{job.job_id}: a review has at most {MOST_TIMED_NOTES} timed notes, not {len(notes)}",
            param="note",
            expected=f"at most {MOST_TIMED_NOTES} timed notes",
            found=len(notes),
        )
    ends_ms = clip_ms(JobHistory.of(session.ledger, job), job)
    late = next((note for note in notes if ends_ms is not None and note.at_ms > ends_ms), None)
    if late is not None and ends_ms is not None:
        raise BadInput(
            f"note at {late.at_ms / 1000:g} s: the clip of {job.job_id} is {ends_ms / 1000:g} s long",
            param="note",
            expected=f"a time up to {ends_ms / 1000:g} s",
            found=f"{late.at_ms / 1000:g} s",
        )


def clip_ms(history: JobHistory, job: Job) -> int | None:
    """Return the length of a clip: from the stored file, or as requested; None if neither is known."""
    videos = (entry.event for entry in reversed(history.all_of(AssetStored)))
    probe = next((event.probe for event in videos if event.variant is Variant.VIDEO), None)
    if probe is not None and probe.duration_ms is not None:
        return probe.duration_ms
    return None if job.seconds is None else job.seconds * 1000


def _next_step(job: Job) -> str:
    if job.state is State.RUNNING:
        return f"wait for it with `sora-ledger poll --id {job.job_id}`"
    return f"`sora-ledger show {job.job_id}` says why"


# --- reading ---


@dataclass(frozen=True)
class Agreement:
    """The agreement between the reviewers of a clip, by the last review of each.

    `verdicts` counts them by verdict; `scores` has the lowest, mean and highest of each score.
    """

    reviewers: int
    verdicts: Mapping[str, int]
    scores: Mapping[str, tuple[int, int, int]]

    @property
    def is_unanimous(self) -> bool:
        """Whether two or more people gave the same verdict, and nobody a different one."""
        return self.reviewers > 1 and len(self.verdicts) == 1

    @property
    def words(self) -> str:
        """The agreement in a few words."""
        if not self.reviewers:
            return "no review"
        if self.reviewers == 1:
            return f"one reviewer: {next(iter(self.verdicts))}"
        if self.is_unanimous:
            return f"{self.reviewers} reviewers agree: {next(iter(self.verdicts))}"
        parts = ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts.items())
        return f"{self.reviewers} reviewers do not agree: {parts}"

    def document(self) -> dict[str, Any]:
        """Return the agreement as JSON."""
        scores = {
            name: {"low": low, "mean": mean, "high": high} for name, (low, mean, high) in self.scores.items()
        }
        return {
            "reviewers": self.reviewers,
            "verdicts": dict(self.verdicts),
            "unanimous": self.is_unanimous,
            "scores": scores,
            "words": self.words,
        }


def reviews_in(history: JobHistory) -> list[Entry[ReviewRecorded]]:
    """Return the reviews of a job, in order."""
    return history.all_of(ReviewRecorded)


def last_by_person(reviews: Iterable[Entry[ReviewRecorded]]) -> dict[str, Entry[ReviewRecorded]]:
    """Return the last review of each person, by name, in the order of their first reviews."""
    return {review.record.actor: review for review in reviews}


def agreement(reviews: Iterable[Entry[ReviewRecorded]]) -> Agreement:
    """Return the agreement of reviewers."""
    last = [review.event for review in last_by_person(reviews).values()]
    by_verdict: dict[str, list[int]] = {}
    for review in last:
        for name, score in review.scores.items():
            by_verdict.setdefault(name, []).append(score)
    return Agreement(
        reviewers=len(last),
        verdicts=dict(Counter(review.verdict for review in last).most_common()),
        scores={name: (min(own), round(sum(own) / len(own)), max(own)) for name, own in by_verdict.items()},
    )


def reviews_document(reviews: Sequence[Entry[ReviewRecorded]]) -> dict[str, Any]:
    """Return the reviews of a job and their agreement as JSON; erased text is ``[erased]``."""
    return {"given": [_document(review) for review in reviews], "agreement": agreement(reviews).document()}


def _document(review: Entry[ReviewRecorded]) -> dict[str, Any]:
    event, record = review.event, review.record
    return {
        "reviewer": record.actor,
        "identified_by": record.envelope.actor_source,
        "at": record.recorded_at,
        "position": record.position,
        "verdict": event.verdict,
        "scores": dict(event.scores),
        "notes": event.notes and _text(event.notes),
        "timed_notes": [{"at_ms": note.at_ms, "text": _text(note.text)} for note in event.timed_notes],
    }


def _text(private: Private) -> str:
    return ERASED if private.text is None else private.text

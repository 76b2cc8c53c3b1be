"""Decide the consequences of a finding, and what is left to a person. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, assert_never

from ledger.job import Job
from render_service.recovery.assignment import ANOTHER_TIME, Finding
from render_service.recovery.attempts import Attempt
from render_service.recovery.listing import Sightings
from render_service.runtime.documents import job_document
from render_service.session.servers import explain_key_to_set
from sora_adapter.models import Observation
from sora_adapter.profiles import Profile

Verdict = Literal["recovered", "absent", "waiting", "needs_person", "settled"]

SHOWN = 10
"""Maximum number of videos that a message lists with a command each."""


@dataclass(frozen=True)
class Settlement:
    """The verdict on one attempt: the current job, the reason, and what a person can do.

    *recovered* and *absent* are recorded; *settled* means that there was nothing open; *waiting* means that
    it has to be checked again later; *needs_person* means that a person has to choose one of `commands`.
    """

    job: Job
    verdict: Verdict
    why: str
    candidates: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the outcome is still unknown."""
        return self.verdict in {"waiting", "needs_person"}


def conclude(
    attempt: Attempt,
    finding: Finding,
    sightings: Sightings,
    profile: Profile,
    missing_s: float,
    *,
    has_key: bool | None,
) -> Settlement:
    """Return the verdict on `attempt`; `missing_s` is how long absence cannot be concluded yet.

    `has_key` says whether the server was asked with the key of the attempt; None if no key is recorded.
    """
    job = attempt.job
    if finding.kind == "nothing" and attempt.got_anothers:
        return _ask(
            job, "the server answered with a video of another job, so it may have created another one"
        )
    match finding.kind:
        case "found":
            assert finding.video is not None  # implied by "found"
            return _recover(job, finding.video, sightings)
        case "wait":
            why = "a video that may belong to it also matches another attempt, which has to be settled first"
            return Settlement(job, "waiting", why, commands=(_format_retry(job),))
        case "several":
            return _ask(job, _describe_doubts(finding, sightings), finding.candidates)
        case "nothing":
            return _conclude_absence(job, sightings, profile, missing_s, has_key=has_key)
        case _:
            assert_never(finding.kind)


def _describe_doubts(finding: Finding, sightings: Sightings) -> str:
    shown, more = finding.doubts[:SHOWN], len(finding.doubts) - SHOWN
    doubts = "; ".join([*shown, *([f"and {more} more (`sora-ledger list` shows them)"] if more > 0 else [])])
    videos = "these videos may belong to it" + (f"; what differs: {doubts}" if doubts else "")
    if sightings.times_doubt and any(ANOTHER_TIME in doubt for doubt in finding.doubts):
        videos += f". The server's times prove nothing: {sightings.times_doubt}"
    return videos


def _recover(job: Job, video: Observation, sightings: Sightings) -> Settlement:
    if video.prompt is None:
        source = "a webhook announced" if video.video_id in sightings.by_webhook else "the server lists"
        return _ask(job, f"{source} a matching video without a prompt to compare", (video,))
    made = datetime.fromtimestamp(video.created_at or 0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Settlement(job, "recovered", f"the server created {video.video_id} at {made}, as requested")


def _conclude_absence(
    job: Job, sightings: Sightings, profile: Profile, missing_s: float, *, has_key: bool | None
) -> Settlement:
    """Conclude absence if the list is complete, old enough, and of a server whose lists prove it."""
    if sightings.listed is None:
        because = profile.unsupported.get("list") or sightings.doubt or f"profile {profile.name} has no list"
        return _ask(job, f"this server cannot be searched: {because}")
    if not profile.list_proves_absence:
        why = f"nothing in the list of {profile.title} matches, which proves nothing: it may forget videos"
        return _ask(job, why)
    if doubt := _account_doubt(sightings, profile, has_key=has_key):
        why = f"nothing in the list matches, which proves nothing: it may be of another account; {doubt}"
        return _ask(job, why)
    if missing_s > 0:
        why = f"nothing in the list matches; that counts in {missing_s:.0f} s, as a video may appear late"
        return Settlement(job, "waiting", why, commands=(_format_retry(job), _declaring_absent(job)))
    if sightings.doubt is not None:
        return _ask(job, f"nothing in the list matches, which proves nothing: {sightings.doubt}")
    why = "submissions of this ledger account for all videos of that time, so nothing was created"
    return Settlement(job, "absent", why, commands=next_steps(job))


def _account_doubt(sightings: Sightings, profile: Profile, *, has_key: bool | None) -> str | None:
    """Return why a list may be of another account than the attempt's; None if there is no doubt.

    A rotated key belongs to the same account, which no record shows: a person decides.
    """
    if has_key is None:
        return "no key is recorded for this attempt"
    if not has_key:
        return f"this attempt was made with another key; {explain_key_to_set(profile)}"
    return None if sightings.knows_ours else "it shows none of our videos"


def next_steps(job: Job) -> tuple[str, ...]:
    """Return the commands for a job whose attempt is known to have created nothing."""
    return f"sora-ledger resume {job.job_id}", f"sora-ledger cancel {job.job_id}"


def _ask(job: Job, why: str, candidates: Sequence[Observation] = ()) -> Settlement:
    names = tuple(sightings.video_id for sightings in candidates)
    taking = tuple(f"{_format_retry(job)} --video-id {name}" for name in names[:SHOWN] or ("VIDEO_ID",))
    return Settlement(job, "needs_person", why, names, (*taking, _declaring_absent(job)))


def _declaring_absent(job: Job) -> str:
    return f"{_format_retry(job)} --absent --reason TEXT"


def _format_retry(job: Job) -> str:
    return f"sora-ledger reconcile {job.job_id}"


def settle_under_way(job: Job, grace_s: float) -> Settlement:
    """Return the settlement of an attempt whose answer may still come."""
    why = f"its answer may still come: the attempt is younger than {grace_s:g} s"
    return Settlement(job, "waiting", why, commands=(_format_retry(job), f"{_format_retry(job)} --grace 0"))


def settle_closed(job: Job) -> Settlement:
    """Return the settlement of a job that has no open attempt."""
    return Settlement(job, "settled", f"it is {job.state}: there is no lost submission to look for")


def settle_elsewhere(attempt: Attempt, other_server: str) -> Settlement:
    """Return the settlement of an attempt that was sent to another server than the one in use."""
    server = attempt.intent.server
    why = f"it was sent to {server}, but {other_server} is in use: its list says nothing about this attempt"
    return Settlement(attempt.job, "needs_person", why, commands=(f"export OPENAI_BASE_URL={server}",))


def settlements_document(settlements: Sequence[Settlement]) -> dict[str, Any]:
    """Return settlements as JSON."""
    data = [
        {
            "verdict": settlement.verdict,
            "why": settlement.why,
            "candidates": list(settlement.candidates),
            "commands": list(settlement.commands),
            "job": job_document(settlement.job),
        }
        for settlement in settlements
    ]
    return {"settlements": data, "open": sum(settlement.is_open for settlement in settlements)}

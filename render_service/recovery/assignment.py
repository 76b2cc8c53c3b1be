"""Assign videos to open attempts. Pure; `docs/decisions/0121` and `0125` give the reasons.

First a server's description of a video is compared with the request of an attempt. *same*: nothing
contradicts the request. *similar*: something differs, possibly the text; servers trim, normalise and cut
prompts, round lengths and rename models, so a person must decide. *other*: it has another source.

Attempts that may have created the same videos are considered together. One attempt with one video is certain.
Attempts with identical requests are interchangeable, so their videos are assigned in order. Anything else is
left to a person. An attempt that may still be answered makes the others in its group wait. A video with a
prompt identifies its request. One without a prompt may belong to any, so it is considered only for the
remaining attempts, and never keeps the others from their own videos.

An attempt counts as *nothing* only if submissions account for every video of its time: an adopted or
unclaimed video may belong to it, however differently the server describes it. If the server's times prove
nothing (`search`), this applies to every video it lists.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ledger.terms import Operation
from render_service.recovery.attempts import Attempt
from render_service.submission.recorded_call import SENT, comparable
from sora_adapter.models import Observation


@dataclass(frozen=True)
class Likeness:
    """The result of comparing a video with a request; `text_differs` if its prompt is another."""

    verdict: Literal["same", "similar", "other"]
    differences: tuple[str, ...] = ()
    text_differs: bool = False


def likeness(attempt: Attempt, video: Observation) -> Likeness:
    """Compare a request with a server's video."""
    source, text_differs = _names_another_source(attempt, video), _shows_another_text(attempt, video)
    differences = (
        *(["the source"] if source else []),
        *(["the prompt"] if text_differs else []),
        *_find_differences(attempt, video),
    )
    verdict: Literal["same", "similar", "other"] = "similar" if differences else "same"
    return Likeness("other" if source else verdict, differences, text_differs)


def _names_another_source(attempt: Attempt, video: Observation) -> bool:
    shown_source = video.remixed_from_video_id
    return shown_source is not None and shown_source != attempt.requested.remix_video_id


def _shows_another_text(attempt: Attempt, video: Observation) -> bool:
    sent, shown = _text(attempt.prompt), _text(video.prompt)
    return shown is not None and sent is not None and shown != sent


def _text(prompt: str | None) -> str | None:
    """Return a prompt regardless of spacing and of how accents are encoded."""
    return None if prompt is None else " ".join(unicodedata.normalize("NFC", prompt).split())


def _find_differences(attempt: Attempt, video: Observation) -> Iterator[str]:
    requested = attempt.requested
    if video.prompt is not None and attempt.prompt is None:
        yield "the prompt (ours was erased)"
    if (
        requested.operation is Operation.REMIX
        and video.remixed_from_video_id is None
        and video.prompt is None
    ):
        yield "the source (the server names none)"
    if video.created_at is None:
        yield "the time (the server names none)"
    if video.model is not None and video.model not in {attempt.intent.model, attempt.job.model}:
        yield f"the model ({video.model}, asked for {attempt.intent.model})"
    if _is_of_file(attempt):
        return
    if video.size is not None and video.size != requested.size:
        yield f"the size ({video.size}, asked for {requested.size})"
    if video.seconds is not None and video.seconds != str(requested.seconds):
        yield f"the length ({video.seconds} s, asked for {requested.seconds} s)"


def _is_of_file(attempt: Attempt) -> bool:
    """Return whether a file was edited: the size and length of the result are not guaranteed."""
    return attempt.requested.operation is Operation.EDIT and attempt.requested.remix_video_id is None


def may_stand_for(attempt: Attempt, other: Attempt) -> bool:
    """Return whether two attempts have identical requests, so that a video of one may serve the other."""
    return attempt.prompt is not None and _essence(attempt) == _essence(other)


def _essence(attempt: Attempt) -> dict[str, Any]:
    """Return the sent request; for a URL whose text was erased, its commitment."""
    sent = {name: value for name, value in comparable(attempt.requested).items() if name in SENT}
    url = attempt.requested.reference_url
    by_url = {"reference_url": url.commitment} if url is not None and url.text is None else {}
    return sent | by_url | {"prompt": attempt.prompt, "model": attempt.intent.model}


ANOTHER_TIME = "the time (by the clocks it was created before or long after)"


@dataclass(frozen=True)
class Finding:
    """The result for one attempt.

    *found*: `video` belongs to it. *nothing*: no video can belong to it. *several*: some of `candidates` may
    belong to it; `doubts` say why that is uncertain, and which adopted videos may. *wait*: a video may belong
    to it, but another attempt has to be settled first.
    """

    kind: Literal["found", "nothing", "several", "wait"]
    video: Observation | None = None
    candidates: tuple[Observation, ...] = ()
    doubts: tuple[str, ...] = ()


def assign(
    attempts: Sequence[Attempt],
    videos: Sequence[Observation],
    under_way: Iterable[str],
    adopted: Sequence[Observation] = (),
    *,
    times_count: bool = True,
) -> Mapping[str, Finding]:
    """Return the finding for each attempt, by job id.

    `videos` are unclaimed, `adopted` were imported without a submission; `under_way` are the jobs whose
    attempts may still be answered. Unless `times_count`, the creation time does not rule out a video.
    """
    waiting = set(under_way)
    videos = sorted(videos, key=lambda video: (video.created_at or 0, video.video_id))
    findings = _assign_matching(attempts, videos, waiting)
    matching = (
        video for finding in findings.values() for video in (finding.video, *finding.candidates) if video
    )
    spoken_for = {video.video_id for video in matching}
    for attempt in attempts:
        name = attempt.job.job_id
        if findings[name].kind == "nothing":
            findings[name] = _defer_if_unaccounted(
                findings[name],
                [(video, doubts_about(attempt, video, times_count=times_count)) for video in videos],
                [_doubts_about_adopted(attempt, video, times_count=times_count) for video in adopted],
                spoken_for,
            )
    return findings


def _assign_matching(
    attempts: Sequence[Attempt], videos: Sequence[Observation], waiting: set[str]
) -> dict[str, Finding]:
    """Assign the videos that show their prompts, then those that show none to the attempts that are left."""
    of_text = defaultdict[str | None, list[Observation]](list)
    for video in videos:
        of_text[_text(video.prompt)].append(video)
    without_text = of_text.pop(None, [])
    fitting = {
        attempt.job.job_id: _find_fitting(attempt, of_text[_text(attempt.prompt)]) for attempt in attempts
    }
    findings = _share_out(attempts, fitting, waiting)
    left = [attempt for attempt in attempts if findings[attempt.job.job_id].kind != "found"]
    fitting = {attempt.job.job_id: _find_fitting(attempt, without_text) for attempt in left}
    for name, finding in _share_out(left, fitting, waiting).items():
        earlier = findings[name]
        more = replace(earlier, candidates=(*earlier.candidates, *fitting[name]))
        findings[name] = finding if earlier.kind == "nothing" else more
    return findings


def _find_fitting(attempt: Attempt, videos: Sequence[Observation]) -> list[Observation]:
    return [video for video in videos if doubts_about(attempt, video) == ()]


def doubts_about(attempt: Attempt, video: Observation, *, times_count: bool = True) -> tuple[str, ...] | None:
    """Return the doubts whether `video` belongs to `attempt`; None if it certainly does not.

    Within the time of an attempt, nothing that a server says about a video rules it out for certain. Outside
    that time, which would require wrong clocks, a different text or source does, if times count.
    """
    compared = likeness(attempt, video)
    if video.created_at is None or attempt.may_have_created_at(video.created_at):
        return compared.differences
    if times_count and (compared.verdict == "other" or compared.text_differs):
        return None
    return (*compared.differences, ANOTHER_TIME)


def may_be_of(attempt: Attempt, video: Observation) -> bool:
    """Return whether `video` resembles the request of `attempt` too closely to be attributed to another one.

    Its text matches the attempt, is not shown, or is the only difference.
    """
    doubts, compared = doubts_about(attempt, video), likeness(attempt, video)
    if doubts is None or compared.verdict == "other":
        return False
    if video.prompt is not None and not compared.text_differs:
        return True
    telling = [doubt for doubt in doubts if not doubt.startswith("the time (the server")]
    return len(telling) <= 1 and ANOTHER_TIME not in telling


def _share_out(
    attempts: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]], under_way: set[str]
) -> dict[str, Finding]:
    findings: dict[str, Finding] = {}
    for group in _groups(attempts, fitting):
        findings |= _assign_group(group, fitting, under_way)
    return findings


def _groups(
    attempts: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]]
) -> Iterator[list[Attempt]]:
    """Yield groups of attempts that share videos, directly or through others."""
    sharing = defaultdict[str, list[Attempt]](list)
    for attempt in attempts:
        for video in fitting[attempt.job.job_id]:
            sharing[video.video_id].append(attempt)
    grouped: set[str] = set()
    for first in attempts:
        if first.job.job_id in grouped:
            continue
        grouped.add(first.job.job_id)
        group = [first]
        for attempt in group:  # the loop extends the group
            for video in fitting[attempt.job.job_id]:
                joining = [
                    candidate
                    for candidate in sharing.pop(video.video_id, ())
                    if candidate.job.job_id not in grouped
                ]
                grouped |= {candidate.job.job_id for candidate in joining}
                group += joining
        yield sorted(group, key=lambda attempt: attempt.position)


def _assign_group(
    group: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]], under_way: set[str]
) -> dict[str, Finding]:
    names = [attempt.job.job_id for attempt in group]
    videos = {video.video_id: video for name in names for video in fitting[name]}
    if not videos:
        return dict.fromkeys(names, Finding("nothing"))
    if under_way.intersection(names):
        return {name: Finding("wait", candidates=tuple(fitting[name])) for name in names}
    first = group[0]
    shared = (
        _assign_in_order(group, fitting) if all(may_stand_for(first, other) for other in group[1:]) else None
    )
    if shared is None or len(shared) < len(videos):
        return {name: Finding("several", candidates=tuple(fitting[name])) for name in names}
    return {name: Finding("found", shared[name]) if name in shared else Finding("nothing") for name in names}


def _assign_in_order(
    group: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]]
) -> dict[str, Observation]:
    """Assign to each attempt, oldest first, the oldest matching video that is still free."""
    assigned: dict[str, Observation] = {}
    taken: set[str] = set()
    for attempt in group:
        name = attempt.job.job_id
        free = next((video for video in fitting[name] if video.video_id not in taken), None)
        if free:
            assigned[name] = free
            taken.add(free.video_id)
    return assigned


def _defer_if_unaccounted(
    finding: Finding,
    videos: Sequence[tuple[Observation, tuple[str, ...] | None]],
    adopted: Sequence[str | None],
    spoken_for: set[str],
) -> Finding:
    """Leave an attempt to a person if nothing matches it but an unaccounted video may belong to it.

    `videos` and `adopted` are paired with their doubts, None if they certainly belong to others. A video that
    matches another attempt (`spoken_for`) makes this one wait: it may be assigned to the other.
    """
    near = [(video, doubts) for video, doubts in videos if doubts is not None]
    free = [(video, doubts) for video, doubts in near if video.video_id not in spoken_for]
    free.sort(key=lambda pair: len(pair[1]))  # most similar first
    adopted_doubts = [doubts for doubts in adopted if doubts is not None]
    if free or adopted_doubts:
        doubts = (*(f"{video.video_id}: {', '.join(doubts)}" for video, doubts in free), *adopted_doubts)
        return Finding("several", candidates=tuple(video for video, _ in free), doubts=doubts)
    if near:
        return Finding("wait", candidates=tuple(video for video, _ in near))
    return finding


def _doubts_about_adopted(attempt: Attempt, video: Observation, *, times_count: bool) -> str | None:
    """Return the doubts about an adopted video; None if neither its time nor its text matches the attempt."""
    is_in_time = video.created_at is None or attempt.may_have_created_at(video.created_at)
    doubts = doubts_about(attempt, video, times_count=times_count)
    if doubts is None or not (is_in_time or not times_count or may_be_of(attempt, video)):
        return None
    return f"{video.video_id}: {', '.join((*doubts, 'it was adopted without a submission'))}"

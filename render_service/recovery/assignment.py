"""Which video belongs to which open attempt. Pure; `docs/decisions/0121` gives the reasons.

Attempts that may have created the same videos are looked at together: one attempt with one video is certain;
attempts that asked for the very same are interchangeable, so their videos are shared out in order; anything
else is for a person. An attempt that may still be answered makes those beside it wait.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from render_service.recovery.attempts import Attempt
from render_service.recovery.matching import Likeness, likeness, may_stand_for
from sora_adapter.observation import Observation


@dataclass(frozen=True)
class Finding:
    """What was found for one attempt.

    *found*: `video` is its own. *nothing*: no video may be its own. *several*: some of `candidates` may be,
    and `doubts` say why that is not certain. *wait*: another attempt that may have created the same is still
    under way.
    """

    kind: Literal["found", "nothing", "several", "wait"]
    video: Observation | None = None
    candidates: tuple[Observation, ...] = ()
    doubts: tuple[str, ...] = ()


def assign(
    attempts: Sequence[Attempt], videos: Sequence[Observation], under_way: Iterable[str]
) -> Mapping[str, Finding]:
    """Return what was found for each attempt, by job id; `videos` are those nobody has claimed.

    `under_way` names the jobs whose attempts may still be answered.
    """
    waiting = set(under_way)
    videos = sorted(videos, key=lambda seen: (seen.created_at or 0, seen.video_id))
    fitting = {attempt.job.job_id: _fitting(attempt, videos) for attempt in attempts}
    findings: dict[str, Finding] = {}
    for group in _groups(attempts, fitting):
        findings |= _shared_out(group, fitting, waiting)
    return {
        attempt.job.job_id: _with_doubts(findings[attempt.job.job_id], attempt, videos)
        for attempt in attempts
    }


def _fitting(attempt: Attempt, videos: Sequence[Observation]) -> list[Observation]:
    return [seen for seen in videos if _doubt(attempt, seen) == ()]


def _doubt(attempt: Attempt, seen: Observation) -> tuple[str, ...] | None:
    """Return why `seen` is not certainly of this attempt; None if it certainly is not."""
    compared: Likeness = likeness(attempt, seen)
    if compared.verdict == "other":
        return None
    if seen.created_at is not None and not attempt.may_have_created_at(seen.created_at):
        return (*compared.differences, "the time (by the clocks it was made before or long after)")
    return compared.differences


def _groups(
    attempts: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]]
) -> Iterator[list[Attempt]]:
    """Yield attempts that share videos, directly or through others."""
    left = list(attempts)
    while left:
        group, shared = [left.pop(0)], set[str]()
        for attempt in group:  # grows while it is read
            shared |= {seen.video_id for seen in fitting[attempt.job.job_id]}
            joining = [
                other for other in left if any(seen.video_id in shared for seen in fitting[other.job.job_id])
            ]
            group += joining
            left = [other for other in left if other not in joining]
        yield sorted(group, key=lambda attempt: attempt.position)


def _shared_out(
    group: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]], under_way: set[str]
) -> dict[str, Finding]:
    names = [attempt.job.job_id for attempt in group]
    videos = {seen.video_id: seen for name in names for seen in fitting[name]}
    if not videos:
        return dict.fromkeys(names, Finding("nothing"))
    if under_way.intersection(names):
        return {name: Finding("wait", candidates=tuple(fitting[name])) for name in names}
    first = group[0]
    shared = _in_order(group, fitting) if all(may_stand_for(first, other) for other in group[1:]) else None
    if shared is None or len(shared) < len(videos):
        return {name: Finding("several", candidates=tuple(fitting[name])) for name in names}
    return {name: Finding("found", shared[name]) if name in shared else Finding("nothing") for name in names}


def _in_order(
    group: Sequence[Attempt], fitting: Mapping[str, Sequence[Observation]]
) -> dict[str, Observation]:
    """Give each attempt, oldest first, the oldest video that fits and that no other has."""
    given: dict[str, Observation] = {}
    for attempt in group:
        name, taken = attempt.job.job_id, {seen.video_id for seen in given.values()}
        free = [seen for seen in fitting[name] if seen.video_id not in taken]
        if free:
            given[name] = free[0]
    return given


def _with_doubts(finding: Finding, attempt: Attempt, videos: Sequence[Observation]) -> Finding:
    """Leave an attempt to a person where nothing fits it and something nearly does."""
    if finding.kind != "nothing":
        return finding
    near = [(seen, doubt) for seen in videos if (doubt := _doubt(attempt, seen))]
    if not near:
        return finding
    doubts = tuple(f"{seen.video_id}: {', '.join(doubt)}" for seen, doubt in near)
    return Finding("several", candidates=tuple(seen for seen, _ in near), doubts=doubts)

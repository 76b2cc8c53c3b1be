"""Which video belongs to which open attempt. Pure; `docs/decisions/0121` and `0125` give the reasons.

Attempts that may have created the same videos are looked at together: one attempt with one video is certain;
attempts that asked for the very same are interchangeable, so their videos are shared out in order; anything
else is for a person. An attempt that may still be answered makes those beside it wait.

Nothing was found for an attempt only if submissions account for every video of its time: one that is adopted,
or that nobody has claimed, may be its own, however differently it is described. Where the server's times
prove nothing (`clocks`), that holds for every video it lists.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from render_service.recovery.attempts import Attempt
from render_service.recovery.matching import likeness, may_stand_for
from sora_adapter.models import Observation

ANOTHER_TIME = "the time (by the clocks it was made before or long after)"


@dataclass(frozen=True)
class Finding:
    """What was found for one attempt.

    *found*: `video` is its own. *nothing*: no video may be its own. *several*: some of `candidates` may be,
    and `doubts` say why that is not certain, and which adopted videos may be. *wait*: a video may be its own
    that is still to be given to another attempt.
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
    """Return what was found for each attempt, by job id.

    `videos` are those nobody has claimed, `adopted` those that were taken in without a submission;
    `under_way` names the jobs whose attempts may still be answered. Unless `times_count`, the time of a video
    does not rule it out.
    """
    waiting = set(under_way)
    videos = sorted(videos, key=lambda seen: (seen.created_at or 0, seen.video_id))
    fitting = {attempt.job.job_id: _fitting(attempt, videos) for attempt in attempts}
    findings: dict[str, Finding] = {}
    for group in _groups(attempts, fitting):
        findings |= _shared_out(group, fitting, waiting)
    spoken_for = {seen.video_id for some in fitting.values() for seen in some}
    return {
        attempt.job.job_id: _unless_unaccounted(
            findings[attempt.job.job_id],
            [(seen, doubts_about(attempt, seen, times_count=times_count)) for seen in videos],
            [_doubts_about_adopted(attempt, seen, times_count=times_count) for seen in adopted],
            spoken_for,
        )
        for attempt in attempts
    }


def _fitting(attempt: Attempt, videos: Sequence[Observation]) -> list[Observation]:
    return [seen for seen in videos if doubts_about(attempt, seen) == ()]


def doubts_about(attempt: Attempt, seen: Observation, *, times_count: bool = True) -> tuple[str, ...] | None:
    """Return why `seen` is not certainly of this attempt; None if it certainly is not.

    Within the time of an attempt nothing a server says of a video is certain to rule it out. At another time,
    where the clocks would have to be wrong, another text or source does, if times count.
    """
    compared = likeness(attempt, seen)
    if seen.created_at is None or attempt.may_have_created_at(seen.created_at):
        return compared.differences
    if times_count and (compared.verdict == "other" or compared.text_differs):
        return None
    return (*compared.differences, ANOTHER_TIME)


def may_be_of(attempt: Attempt, seen: Observation) -> bool:
    """Say whether `seen` is so much like what `attempt` asked for that it must not be taken for another's.

    Its text is that of the attempt, or not shown, or the text is all that differs.
    """
    doubts, compared = doubts_about(attempt, seen), likeness(attempt, seen)
    if doubts is None or compared.verdict == "other":
        return False
    if seen.prompt is not None and not compared.text_differs:
        return True
    telling = [doubt for doubt in doubts if not doubt.startswith("the time (the server")]
    return len(telling) <= 1 and ANOTHER_TIME not in telling


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


def _unless_unaccounted(
    finding: Finding,
    videos: Sequence[tuple[Observation, tuple[str, ...] | None]],
    adopted: Sequence[str | None],
    spoken_for: set[str],
) -> Finding:
    """Leave an attempt to a person where nothing fits it and no submission accounts for what may be its own.

    `videos` and `adopted` come with what is in doubt about them, None if they are certainly another's. A
    video that fits another attempt, `spoken_for`, is waited for: it may be given to that one.
    """
    if finding.kind != "nothing":
        return finding
    near = [(seen, doubts) for seen, doubts in videos if doubts is not None]
    free = [(seen, doubts) for seen, doubts in near if seen.video_id not in spoken_for]
    free.sort(key=lambda pair: len(pair[1]))  # what is most like it first
    taken_in = [doubts for doubts in adopted if doubts is not None]
    if free or taken_in:
        doubts = (*(f"{seen.video_id}: {', '.join(doubts)}" for seen, doubts in free), *taken_in)
        return Finding("several", candidates=tuple(seen for seen, _ in free), doubts=doubts)
    if near:
        return Finding("wait", candidates=tuple(seen for seen, _ in near))
    return finding


def _doubts_about_adopted(attempt: Attempt, seen: Observation, *, times_count: bool) -> str | None:
    """Return why an adopted video may be of the attempt; None if neither its time nor its text is."""
    is_in_time = seen.created_at is None or attempt.may_have_created_at(seen.created_at)
    doubts = doubts_about(attempt, seen, times_count=times_count)
    if doubts is None or not (is_in_time or not times_count or may_be_of(attempt, seen)):
        return None
    return f"{seen.video_id}: {', '.join((*doubts, 'it was adopted without a submission'))}"

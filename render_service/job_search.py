"""Finding jobs in the ledger: by what they are, by time, and by what they were made from. Reads only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ledger.events import Status
from ledger.job import Job, State
from ledger.ledger import Ledger
from ledger.store.interface import JobFilter


@dataclass(frozen=True)
class Search:
    """Which jobs to find; what is None does not restrict. Times are RFC 3339 UTC, `until` exclusive."""

    states: tuple[State, ...] | None = None
    statuses: tuple[Status, ...] | None = None
    model: str | None = None
    purpose: str | None = None
    actor: str | None = None
    profile: str | None = None
    since: str | None = None
    until: str | None = None
    of: str | None = None

    def fits(self, job: Job) -> bool:
        """Say whether `job` is one of those; a model may be the one asked for or the one decided on."""
        return (
            (self.statuses is None or job.status in self.statuses)
            and (self.model is None or self.model in {job.model, job.requested_model})
            and (self.purpose is None or job.purpose == self.purpose)
            and (self.actor is None or job.actor == self.actor)
            and (self.since is None or job.created_at >= self.since)
            and (self.until is None or job.created_at < self.until)
        )


def find_jobs(ledger: Ledger, search: Search, limit: int | None = None) -> list[Job]:
    """Return the jobs that `search` describes, newest first."""
    where = JobFilter(states=search.states, profile=search.profile)
    if search == Search(states=search.states, profile=search.profile):
        return ledger.jobs(where, limit)  # the database can tell, and reads no more than it must
    line = None if search.of is None else {job.job_id for job in lineage(ledger, ledger.job(search.of))}
    fitting = (job for job in ledger.jobs(where) if search.fits(job))
    return [job for job in fitting if line is None or job.job_id in line][:limit]


def lineage(ledger: Ledger, job: Job) -> list[Job]:
    """Return `job` with all it was made from and all that was made from it, oldest first."""
    jobs = {each.job_id: each for each in ledger.jobs()}
    sources = sources_in(jobs.values())
    line, ancestor = [job.job_id], sources.get(job.job_id)
    while ancestor is not None and ancestor not in line:
        line.append(ancestor)
        ancestor = sources.get(ancestor)
    made_from = _made_from(sources)
    descendants = list(made_from.get(job.job_id, ()))
    for each in descendants:  # grows while it is read: children of children
        descendants += [child for child in made_from.get(each, ()) if child not in descendants]
    return [jobs[name] for name in sorted({*line, *descendants})]


def sources_in(jobs: Iterable[Job]) -> Mapping[str, str]:
    """Return of which job each one was made, as far as both are in `jobs`.

    An adopted remix names only its source's video; that video's job may have been adopted as well.
    """
    jobs = list(jobs)
    known = {job.job_id for job in jobs}
    by_video: dict[tuple[str | None, str | None], str] = {
        (job.profile, job.video_id): job.job_id for job in jobs if job.video_id
    }
    found = {
        job.job_id: job.source_job or by_video.get((job.profile, job.remix_video_id))
        for job in jobs
        if job.source_job or job.remix_video_id
    }
    return {child: source for child, source in found.items() if source in known and source != child}


def trees(jobs: Iterable[Job]) -> list[tuple[int, Job]]:
    """Return `jobs` as a forest, each with its depth; the newest tree first, in a tree the oldest."""
    by_id = {job.job_id: job for job in jobs}
    sources = sources_in(by_id.values())
    made_from = _made_from(sources)
    drawn: list[tuple[int, Job]] = []
    waiting = [(0, name) for name in sorted(by_id) if name not in sources]  # the last is taken first
    while waiting:
        depth, name = waiting.pop()
        drawn.append((depth, by_id[name]))
        waiting += [(depth + 1, child) for child in sorted(made_from.get(name, ()), reverse=True)]
    return drawn


def _made_from(sources: Mapping[str, str]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for child, source in sorted(sources.items()):
        children.setdefault(source, []).append(child)
    return children

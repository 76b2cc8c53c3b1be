"""Find jobs in the ledger: by their properties, by time, and by their source. Reads only."""

from collections.abc import Iterable, Iterator, Mapping

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.interface import JobFilter


def find_jobs(
    ledger: Ledger, where: JobFilter, limit: int | None = None, *, of: str | None = None
) -> list[Job]:
    """Return the jobs that `where` describes, newest first; with `of`, only those of the same lineage."""
    if of is None:
        return list(each_found(ledger, where, limit))
    line = lineage(ledger, ledger.job(of))[::-1]
    if where == JobFilter():
        return line[:limit]
    meant = {job.job_id for job in ledger.jobs(where)}
    return [job for job in line if job.job_id in meant][:limit]


def each_found(
    ledger: Ledger, where: JobFilter, limit: int | None = None, *, of: str | None = None
) -> Iterator[Job]:
    """Yield the same jobs; without `of` they are read lazily, because there may be many."""
    return ledger.each_job(where, limit) if of is None else iter(find_jobs(ledger, where, limit, of=of))


def source_of(ledger: Ledger, job: Job) -> str | None:
    """Return the source job of `job`, if it is in the ledger."""
    source = None if job.source_job else _source(ledger, job)
    return job.source_job or (source.job_id if source and source.job_id != job.job_id else None)


def lineage(ledger: Ledger, job: Job) -> list[Job]:
    """Return `job` with all its sources and everything made from it, oldest first."""
    ancestors = [job]
    while (source := _source(ledger, ancestors[-1])) and source not in ancestors:
        ancestors.append(source)
    jobs = {job.job_id: job for job in (*ledger.jobs(JobFilter(derived=True)), *ancestors)}
    made_from = _made_from(sources_in(jobs.values()))
    descendants = list(made_from.get(job.job_id, ()))
    for descendant in descendants:  # the loop extends the list: children of children
        descendants += [child for child in made_from.get(descendant, ()) if child not in descendants]
    return [jobs[name] for name in sorted({*(ancestor.job_id for ancestor in ancestors), *descendants})]


def _source(ledger: Ledger, job: Job) -> Job | None:
    """Return the job that `job` was made from, according to `sources_in`; None if it is not in the ledger."""
    if job.source_job:
        return ledger.store.job(job.source_job)
    if job.remix_video_id is None:
        return None
    return next(iter(ledger.jobs(JobFilter(profile=job.profile, video_id=job.remix_video_id))), None)


def sources_in(jobs: Iterable[Job]) -> Mapping[str, str]:
    """Return the source of each job, where both are in `jobs`.

    An adopted remix names only the video of its source, whose job may have been adopted as well.
    """
    jobs = list(jobs)
    known = {job.job_id for job in jobs}
    by_video: dict[tuple[str | None, str | None], str] = {
        (job.profile, job.video_id): job.job_id for job in jobs if job.video_id
    }
    sources = {
        job.job_id: job.source_job or by_video.get((job.profile, job.remix_video_id))
        for job in jobs
        if job.source_job or job.remix_video_id
    }
    return {child: source for child, source in sources.items() if source in known and source != child}


def trees(jobs: Iterable[Job]) -> list[tuple[int, Job]]:
    """Return `jobs` as a forest, each with its depth; the newest tree first, oldest first within a tree."""
    by_id = {job.job_id: job for job in jobs}
    sources = sources_in(by_id.values())
    made_from = _made_from(sources)
    drawn: list[tuple[int, Job]] = []
    waiting = [(0, name) for name in sorted(by_id) if name not in sources]  # popped from the end
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

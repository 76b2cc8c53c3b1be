"""Find jobs in the ledger: by their properties, by time, and by their source. Reads only."""

from collections.abc import Iterable, Iterator, Mapping

from ledger.events import RenderRequested
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.filters import JobFilter
from render_service.runtime.documents import ERASED
from render_service.session.event_ids import request_id, retry_key
from render_service.session.history import prompt_in


def find_jobs(
    ledger: Ledger, where: JobFilter, limit: int | None = None, *, of: str | None = None
) -> list[Job]:
    """Return the jobs that match `where`, newest first; with `of`, only jobs of the same lineage."""
    if of is None:
        return list(iterate_matches(ledger, where, limit))
    line = lineage(ledger, ledger.job(of))[::-1]
    if where == JobFilter():
        return line[:limit]
    meant = {job.job_id for job in ledger.jobs(where)}
    return [job for job in line if job.job_id in meant][:limit]


def iterate_matches(
    ledger: Ledger, where: JobFilter, limit: int | None = None, *, of: str | None = None
) -> Iterator[Job]:
    """Yield the same jobs; without `of` they are read lazily, because there may be many."""
    return ledger.iterate_jobs(where, limit) if of is None else iter(find_jobs(ledger, where, limit, of=of))


def source_of(ledger: Ledger, job: Job) -> str | None:
    """Return the source job of `job`, if it is in the ledger."""
    source = None if job.source_job else source_job(ledger, job)
    return job.source_job or (source.job_id if source and source.job_id != job.job_id else None)


def lineage(ledger: Ledger, job: Job) -> list[Job]:
    """Return `job` with all its sources and everything made from it, oldest first."""
    related = {job.job_id: job}
    ancestor: Job | None = job
    while ancestor and (ancestor := source_job(ledger, ancestor)) and ancestor.job_id not in related:
        related[ancestor.job_id] = ancestor
    waiting = [job]
    while waiting:
        new = [child for child in find_derived(ledger, waiting.pop()) if child.job_id not in related]
        related |= {child.job_id: child for child in new}
        waiting += new
    return [related[name] for name in sorted(related)]


def source_job(ledger: Ledger, job: Job) -> Job | None:
    """Return the job that `job` was made from, according to `sources_in`; None if it is not in the ledger."""
    if job.source_job:
        return ledger.store.job(job.source_job)
    if job.remix_video_id is None:
        return None
    where = JobFilter(profile=job.profile, video_id=job.remix_video_id)
    return next(iter(ledger.jobs(where, limit=1)), None)


def find_derived(ledger: Ledger, job: Job, limit: int | None = None) -> list[Job]:
    """Return the jobs that were made from `job`, according to `sources_in`, oldest first."""
    named = JobFilter(source_job=job.job_id, oldest_first=True)
    jobs = ledger.jobs(named, limit)
    if job.video_id is not None:
        adopted = JobFilter(profile=job.profile, source_video=job.video_id, oldest_first=True)
        jobs += ledger.jobs(adopted, limit)
    return sorted(jobs, key=lambda child: child.job_id)[:limit]


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


def prompt_of(ledger: Ledger, job: Job) -> str | None:
    """Return the prompt of `job` as typed; None if none is known, ``[erased]`` if it was erased."""
    prompt = prompt_in(ledger, job.job_id)
    return None if prompt is None else ERASED if prompt.text is None else prompt.text


def find_retried(ledger: Ledger, first: Record) -> str | None:
    """Return the id of the job that another one retries, from its `first` record; None for no retry."""
    cause = first.envelope.causation_id
    record = ledger.event(str(cause)) if cause and first.type == RenderRequested.type else None
    if record is None or not record.stream.startswith(JOB_PREFIX):
        return None
    # a split's next remix is also caused by a job's record, but has another request id
    return record.stream if first.event_id == request_id(retry_key(record.stream)) else None


def find_retry(ledger: Ledger, job_id: str) -> str | None:
    """Return the id of the job that retries another one; None if it was not retried."""
    record = ledger.event(request_id(retry_key(job_id)))
    return record.stream if record and find_retried(ledger, record) == job_id else None


def trees(jobs: Iterable[Job]) -> list[tuple[int, Job]]:
    """Return `jobs` as a forest, each with its depth; the newest tree first, oldest first within a tree."""
    by_id = {job.job_id: job for job in jobs}
    sources = sources_in(by_id.values())
    children = _children(sources)
    drawn: list[tuple[int, Job]] = []
    waiting = [(0, name) for name in sorted(by_id) if name not in sources]  # popped from the end
    while waiting:
        depth, name = waiting.pop()
        drawn.append((depth, by_id[name]))
        waiting += [(depth + 1, child) for child in sorted(children.get(name, ()), reverse=True)]
    return drawn


def _children(sources: Mapping[str, str]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for child, source in sorted(sources.items()):
        children.setdefault(source, []).append(child)
    return children

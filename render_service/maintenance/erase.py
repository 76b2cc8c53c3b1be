"""Erase private text: the text is deleted, its record stays, and all existing proofs stay valid.

Records are selected by actor, job or age. Their remaining private text is deleted in the transaction that
records ``private.erased`` in the same stream. Text that a job needs to be submitted, or to determine the
outcome of a submission, is kept until then. Selection by age alone spares texts that a webhook endpoint in
use needs; erasing its owner's texts does not, and stops its deliveries.

Files are deleted after the erasure is recorded: a crash in between leaves files, which the same command
deletes. Only files in the ledger's own place are deleted, and only if their bytes match the record, because a
record can name any file of the machine.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ledger.events import (
    AssetLost,
    AssetStored,
    CharacterCreated,
    Event,
    PrivateErased,
    RenderRequested,
)
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.private import private_values
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, Batch
from ledger.terms import State
from render_service.assets.maintenance import unlink_video
from render_service.assets.store import AssetStore
from render_service.notifications.endpoints import Endpoints
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from render_service.session.session import Session

MOST_IN_ONE_EVENT = 5_000
"""Limit of commitments per event: a third of what fits into a payload."""

STREAMS_TOGETHER = 100
NEEDED = frozenset(
    {
        State.REQUESTED,
        State.HELD,
        State.APPROVED,
        State.DECIDED,
        State.SUBMITTING,
        State.UNKNOWN,
        State.REJECTED,
        State.ABSENT,
    }
)
"""States in which a job that is not closed may still need its text."""


@dataclass(frozen=True)
class Selection:
    """The text to erase: of one job, by one actor, recorded before a time (RFC 3339 UTC); None means any."""

    job_id: str | None = None
    actor: str | None = None
    before: str | None = None

    def takes(self, job: Job) -> bool:
        """Return whether the files of `job` are selected."""
        return (
            self.job_id in {None, job.job_id}
            and self.actor in {None, job.actor}
            and (self.before is None or job.created_at < self.before)
        )


class File(NamedTuple):
    """A stored file: a video, or an input file of a request."""

    storage_uri: str
    sha256: str


@dataclass
class Plan:
    """The planned texts, by stream; jobs that still need theirs; files to delete, and shared files."""

    commitments: dict[str, list[str]] = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)
    files: dict[str, list[File]] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> int:
        """The number of texts to erase."""
        return sum(map(len, self.commitments.values()))

    @property
    def uris(self) -> list[str]:
        """The URIs of the files to delete, each once."""
        return list(dict.fromkeys(file.storage_uri for files in self.files.values() for file in files))

    def document(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        return {
            "texts": self.texts,
            "streams": list(self.commitments),
            "files": self.uris,
            "files_kept": [{"storage_uri": uri, "shared_with": other} for uri, other in self.shared.items()],
            "still_needed": self.needed,
        }


def plan(ledger: Ledger, selection: Selection, assets: AssetStore | None = None) -> Plan:
    """Return the plan for `selection`, including its files in `assets` if given; changes nothing.

    `NotReady` if one job is selected that still needs its text.
    """
    found = Plan()
    waiting = _find_still_needed(ledger, selection)
    in_use = _find_in_use(ledger) if selection.actor is None else frozenset()
    for stream, commitment in _find_private_text(ledger, selection):
        if stream in waiting or commitment in in_use:
            if stream not in found.needed:
                found.needed.append(stream)
        else:
            found.commitments.setdefault(stream, []).append(commitment)
    if assets is not None:
        for job in ledger.jobs():
            if selection.takes(job) and job.job_id not in waiting:
                found.files[job.job_id] = list(_find_files(ledger, job, assets))
        _exclude_shared(ledger, found)
    return found


async def erase(session: Session, planned: Plan, reason_code: str) -> list[str]:
    """Erase the planned texts and files; return descriptions of what could not be erased.

    The record is durable before a file is deleted. Run again, it continues where it was interrupted.
    """
    doubtful = await asyncio.to_thread(_exclude_doubtful, session.assets, planned)
    batches = iter(await asyncio.to_thread(lambda: list(_erasure_batches(session, planned, reason_code))))
    while together := list(islice(batches, STREAMS_TOGETHER)):
        # A crash here leaves some streams erased and others not: the same command erases the rest.
        await session.append_together(together)
    # A crash from here on leaves files or database pages whose content is recorded as erased: the same
    # command finds the files by their digests, deletes them, and cleans the database.
    await asyncio.to_thread(_unlink, session, planned)
    for uri in planned.uris:
        await asyncio.to_thread(session.assets.remove, uri)
    return [*doubtful, *await asyncio.to_thread(session.ledger.store.scrub)]


def _unlink(session: Session, planned: Plan) -> None:
    """Remove the links to the videos, whose names have words of the prompts."""
    for stream in dict.fromkeys([*planned.commitments, *planned.files]):
        if stream.startswith(JOB_PREFIX):
            unlink_video(session.assets, session.ledger.job(stream))


def _exclude_doubtful(assets: AssetStore, planned: Plan) -> list[str]:
    """Remove files from the plan that must not be deleted, and return their descriptions.

    `PlaceTaken` if this ledger must not delete files in its place.
    """
    left: dict[str, str] = {}
    for job_id, files in planned.files.items():
        for file in files:
            if why := assets.doubt(file.storage_uri, file.sha256):
                left[file.storage_uri] = f"{file.storage_uri}, not removed: {why}"
        planned.files[job_id] = [file for file in files if file.storage_uri not in left]
    planned.files = {job_id: files for job_id, files in planned.files.items() if files}
    if planned.files:
        assets.check_removing(assets.place)
    return list(left.values())


def reminders(planned: Plan, jobs: Iterable[Job], sandbox_folder: Path) -> Iterator[str]:
    """Yield descriptions of copies that erasing cannot reach."""
    rendered = [job for job in jobs if job.job_id in planned.commitments and job.video_id]
    if any(job.profile == "sandbox" for job in rendered) and sandbox_folder.exists():
        yield f"{sandbox_folder}, where the embedded sandbox, which acts as a server, stores what it was sent"
    there = [job for job in rendered if job.state is not State.DELETED and job.profile != "sandbox"]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        command = f"`sora-ledger delete --id {there[0].job_id}`{more}"
        yield f"the server, which received it; {command} deletes the video there"
    yield "files written by commands: --json-out, --out, publish, batch folders, bundles, backups, copies"


def _find_still_needed(ledger: Ledger, selection: Selection) -> frozenset[str]:
    if selection.job_id:
        job = ledger.job(selection.job_id)
        if _needs_text(job):
            raise NotReady(
                f"{job.job_id} is {job.state}, so its text is still needed: "
                f"`sora-ledger cancel {job.job_id}` withdraws it before submission, `poll` settles it after",
                param="job",
                expected="a job that is over, or was never sent",
                found=f"a {job.state} job",
            )
        return frozenset()
    return frozenset(job.job_id for job in ledger.jobs() if _needs_text(job))


def _find_in_use(ledger: Ledger) -> frozenset[str]:
    """Return the commitments of the texts that webhook endpoints need."""
    endpoints = Endpoints(ledger).renew().by_id.values()
    return frozenset(text.commitment for endpoint in endpoints for text in endpoint.texts)


def _needs_text(job: Job) -> bool:
    return job.state in NEEDED and job.outcome is None


def _find_private_text(ledger: Ledger, selection: Selection) -> Iterator[tuple[str, str]]:
    """Yield stream and commitment of every selected private text that was not erased yet."""
    where = RecordFilter(stream=selection.job_id, actor=selection.actor, until=selection.before)
    for record in ledger.read(where):
        for _, private in private_values(record.event):
            if private.body is not None:
                yield record.stream, private.commitment


def _find_files(ledger: Ledger, job: Job, assets: AssetStore) -> Iterator[File]:
    """Yield the stored files of a job."""
    for record in ledger.history(job.job_id):
        for sha256, recorded_uri in _iterate_named_files(record):
            uri = recorded_uri if recorded_uri and assets.has(recorded_uri) else assets.find(sha256)
            if uri is not None:
                yield File(uri, sha256)


def _iterate_named_files(record: Record) -> Iterator[tuple[str, str | None]]:
    """Yield digest and URI of the files that an event names; for some only the digest is recorded."""
    match record.event:
        case AssetStored(sha256=sha256, storage_uri=uri):
            yield sha256, uri
        case RenderRequested() as event:
            for image in (event.input_reference, *event.further_images):
                if image is not None:
                    yield image.sha256, image.storage_uri
                    if image.original_sha256 is not None:
                        yield image.original_sha256, None
            if event.source_file is not None:
                yield event.source_file.sha256, event.source_file.storage_uri
        case CharacterCreated(source_sha256=sha256):
            yield sha256, None
        case _:
            pass


def _exclude_shared(ledger: Ledger, found: Plan) -> None:
    """Remove files from the plan that other jobs need: the same bytes are stored only once."""
    wanted = {file.sha256 for files in found.files.values() for file in files}
    users = dict(_other_users(ledger, found, wanted)) if wanted else {}
    for job_id, files in found.files.items():
        found.shared |= {file.storage_uri: users[file.sha256] for file in files if file.sha256 in users}
        found.files[job_id] = [file for file in files if file.sha256 not in users]
    found.files = {job_id: files for job_id, files in found.files.items() if files}


def _other_users(ledger: Ledger, found: Plan, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Yield digest and stream of everything outside the plan that uses one of the `wanted` files."""
    for type_ in (AssetStored.type, RenderRequested.type, CharacterCreated.type):
        for record in ledger.read(RecordFilter(type=type_)):
            if record.stream not in found.files:
                yield from (
                    (sha256, record.stream) for sha256, _ in _iterate_named_files(record) if sha256 in wanted
                )


def _erasure_batches(session: Session, planned: Plan, reason_code: str) -> Iterator[Batch]:
    for stream in dict.fromkeys([*planned.commitments, *planned.files]):
        commitments = planned.commitments.get(stream, [])
        events: list[Event] = [
            PrivateErased(
                commitments=tuple(commitments[start : start + MOST_IN_ONE_EVENT]), reason_code=reason_code
            )
            for start in range(0, len(commitments), MOST_IN_ONE_EVENT)
        ]
        if stream.startswith(JOB_PREFIX):
            events += _loss_events(session.ledger, stream, planned.files.get(stream, []))
        if events:
            yield Batch(stream, ANY, [session.draft(event) for event in events])


def _loss_events(ledger: Ledger, job_id: str, files: Iterable[File]) -> Iterator[Event]:
    """Yield the loss events for the files of a job, except those already recorded."""
    job, lost = ledger.job(job_id), JobHistory.read(ledger, job_id).lost_variants
    deleted = {file.sha256 for file in files}
    for variant, asset in job.assets.items():
        event = AssetLost(variant=variant, cause="deleted")
        if asset.sha256 in deleted and variant not in lost and job.allows(event):
            yield event

"""The stored files of a video, served as the gateway serves them, and the evidence of it, made on demand."""

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, Response

from decision.rules.roles import Permission
from ledger.events import Variant
from ledger.job import Asset, Job
from ledger.log.bundle import Scope
from render_service.evidence.bundles import Export, export_bundle
from render_service.server.console.answers import NotHere
from render_service.server.console.jobs import find_job, hides_words
from render_service.server.console.pages import Endpoint, Visit
from render_service.server.gateway.content import READERS, FileAnswer, OpenFile, StoredFiles
from render_service.server.gateway.errors import Refusal
from render_service.session.history import JobHistory
from render_service.session.session import Session


class Files:
    """The stored files of videos, in ranges and checked against their digests; nothing is fetched for it."""

    def __init__(self, session: Session) -> None:
        self._files = StoredFiles(session.assets)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="console-files")

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the addresses below a video's."""
        return (
            Endpoint("/videos/{name}/files/{variant}", Permission.READ, self.answer),
            Endpoint("/videos/{name}/evidence", Permission.READ, evidence),
        )

    async def answer(self, visit: Visit) -> Response:
        """Answer with a stored file, whole or in part."""
        job, asset = await asyncio.to_thread(self._named, visit)
        loop = asyncio.get_running_loop()
        file: OpenFile | None = await loop.run_in_executor(self._readers, self._files.open, asset)
        if file is None:
            raise NotHere("this file is not stored here any more")
        try:
            return FileAnswer(file, asset, job.job_id, visit.request, {}, readers=self._readers)
        except Refusal as refused:  # a range beyond the end of the file
            error = {"error": str(refused)}
            return JSONResponse(error, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)

    def _named(self, visit: Visit) -> tuple[Job, Asset]:
        job, name = find_job(visit, visit.part("name")), visit.part("variant")
        asset = job.assets.get(Variant(name)) if name in list(Variant) else None
        if asset is None:
            raise NotHere(f"this video has no stored {name[:40]}")
        return job, asset


async def evidence(visit: Visit) -> Response:
    """Answer with the bundle that ``sora-ledger export`` writes: the records of one video, with proofs.

    Nothing is recorded, as by the command. The words with which a server refused the gateway's own key are
    for operators, so for others a bundle that would contain them has no text at all.
    """
    job, with_text = await asyncio.to_thread(_evidence_for, visit)
    with_text = with_text and visit.query("text") != "no"
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="sora-ledger-evidence-")
    name = f"{job.job_id}.evidence.zip"
    try:
        wanted = Export(
            target=Path(folder.name) / name,
            scope=Scope(job_id=job.job_id),
            with_text=with_text,
            with_assets=visit.query("files") == "yes",
        )
        done = await asyncio.to_thread(export_bundle, visit.session.ledger, wanted, visit.session.assets)
    except BaseException:
        folder.cleanup()
        raise
    headers = {"cache-control": "no-store"}
    return FileResponse(
        done.path,
        media_type="application/zip",
        filename=name,
        headers=headers,
        background=BackgroundTask(folder.cleanup),
    )


def _evidence_for(visit: Visit) -> tuple[Job, bool]:
    job = find_job(visit, visit.part("name"))
    errors = (
        getattr(record.event, "error", None) for record in JobHistory.of(visit.session.ledger, job).records
    )
    return job, not any(hides_words(visit, error) for error in errors)

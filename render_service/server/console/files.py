"""The stored files of a video, served as by the gateway, and its evidence, made on demand.

A shared link shows one of these, one video or its evidence, to people without a key. Links are made, listed
and revoked here.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from decision.rules.roles import Permission
from ledger.errors import SoraLedgerError
from ledger.job import Asset, Job
from ledger.log.bundle import Scope
from ledger.terms import Variant
from render_service.access.grants import (
    MOST_DAYS,
    Share,
    Shared,
    create_share,
    read_share,
    revoke_share,
    shares_of,
)
from render_service.access.signing import Signer, open_signer
from render_service.evidence.bundles import Export, export_bundle
from render_service.provenance.embedded import manifest_finder
from render_service.runtime.errors import BadInput, NotPermitted
from render_service.server.console.answers import Site
from render_service.server.console.jobs import find_job, is_about_gateway
from render_service.server.console.pages import (
    PREFIX,
    SHARED,
    Action,
    Done,
    Endpoint,
    NotHere,
    Page,
    View,
    Visit,
    text_of,
)
from render_service.server.console.security import own_origin
from render_service.server.gateway.refusals import Refusal
from render_service.server.gateway.stored_files import CHUNK_BYTES, READERS, FileAnswer, OpenFile, StoredFiles
from render_service.session.history import JobHistory
from render_service.session.session import Session


class Files:
    """The stored files of videos, in ranges and checked against their digests; nothing is fetched."""

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
        job = await asyncio.to_thread(find_job, visit, visit.part("name"))
        return await self.serve(visit.request, job, visit.part("variant"))

    async def serve(self, request: Request, job: Job, variant: str) -> Response:
        """Answer with a stored file of `job`, which the person may see."""
        asset = _asset(job, variant)
        loop = asyncio.get_running_loop()
        file: OpenFile | None = await loop.run_in_executor(self._readers, self._files.open, asset)
        if file is None:
            raise NotHere("this file is no longer stored here")
        try:
            return FileAnswer(file, asset, job.job_id, request, {}, readers=self._readers)
        except Refusal as refused:  # a range beyond the end of the file
            error = {"error": str(refused)}
            return JSONResponse(error, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def _asset(job: Job, variant: str) -> Asset:
    asset = job.assets.get(Variant(variant)) if variant in list(Variant) else None
    if asset is None:
        raise NotHere(f"this video has no stored {variant[:40]}")
    return asset


async def evidence(visit: Visit) -> Response:
    """Answer with the bundle that ``sora-ledger export`` writes: the records of one video, with proofs.

    Like the command, it records nothing.
    """
    job = await asyncio.to_thread(find_job, visit, visit.part("name"))
    return await serve_bundle(
        visit.session,
        job,
        with_text=visit.query("text") != "no",
        with_assets=visit.query("files") == "yes",
        for_operator=visit.may(Permission.OPERATE),
    )


async def serve_bundle(
    session: Session, job: Job, *, with_text: bool, with_assets: bool, for_operator: bool
) -> Response:
    """Answer with the bundle of `job`; its file is deleted before the first byte is sent.

    A server's words about refusing the gateway's own key are for operators only, so for others a bundle that
    would contain them has no text at all.
    """
    with_text = with_text and (for_operator or await asyncio.to_thread(_is_for_everyone, session, job))
    bundle, length = await asyncio.to_thread(
        _bundle, session, job, with_text=with_text, with_assets=with_assets
    )
    name = f"{job.job_id}.evidence.zip"
    headers = {
        "cache-control": "no-store",
        "content-length": str(length),
        "content-disposition": f'attachment; filename="{name}"',
    }
    return StreamingResponse(_sent(bundle), media_type="application/zip", headers=headers)


def _bundle(session: Session, job: Job, *, with_text: bool, with_assets: bool) -> tuple[BinaryIO, int]:
    """Make a bundle, and return it open, with its length; a kill after that leaves nothing of it."""
    with tempfile.TemporaryDirectory(prefix="sora-ledger-evidence-") as folder:
        wanted = Export(
            target=Path(folder) / "evidence.zip",
            scope=Scope(job_id=job.job_id),
            with_text=with_text,
            with_assets=with_assets,
            find_manifest=manifest_finder(session.assets, stored=with_assets),
        )
        done = export_bundle(session.ledger, wanted, session.assets)
        return done.path.open("rb"), done.bytes


async def _sent(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _is_for_everyone(session: Session, job: Job) -> bool:
    records = JobHistory.of(session.ledger, job).records
    return not any(is_about_gateway(getattr(record.event, "error", None)) for record in records)


Answer = Callable[[Request, Share, Job], Awaitable[Response]]


class SharedLinks:
    """The addresses of shared links; every file is requested with the whole text of the link."""

    def __init__(self, site: Site, files: Files, signer: Signer) -> None:
        self._site, self._files, self._signer = site, files, signer

    def routes(self) -> list[BaseRoute]:
        """Return the routes, below the console's path."""
        return [
            Route(SHARED + "{text}", self._answering(self._show)),
            Route(SHARED + "{text}/files/{variant}", self._answering(self._file)),
            Route(SHARED + "{text}/evidence", self._answering(self._evidence)),
        ]

    def _answering(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def answering(request: Request) -> Response:
            session, text = self._site.session, request.path_params["text"]
            try:
                share = await asyncio.to_thread(
                    read_share, session.ledger, self._signer, text, session.clock()
                )
                if share is None:
                    raise NotHere("this link is not valid: it has expired, was revoked, or is incomplete")
                request.state.logged["share"] = share[0].event.share_id
                return await answer(request, *share)
            except (SoraLedgerError, TimeoutError) as error:
                return self._site.refused(error)

        return answering

    async def _show(self, request: Request, share: Share, job: Job) -> Response:
        video = job.assets.get(Variant.VIDEO)
        text = self._site.render(
            "shared.html",
            None,
            here=f"{PREFIX}{SHARED}{request.path_params['text']}",
            of=share.event.of,
            actor=share.created.actor,
            expires_at=share.event.expires_at,
            created_at=job.created_at,
            model=job.model,
            media_type=video.media_type if video else "video/mp4",
            poster=Variant.THUMBNAIL in job.assets,
            name=job.job_id,
        )
        return HTMLResponse(text)

    async def _file(self, request: Request, share: Share, job: Job) -> Response:
        if share.event.of != "video":
            raise NotHere("this link does not show the video")
        return await self._files.serve(request, job, request.path_params["variant"])

    async def _evidence(self, _: Request, share: Share, job: Job) -> Response:
        if share.event.of != "bundle":
            raise NotHere("this link does not show the evidence")
        return await serve_bundle(
            self._site.session, job, with_text=True, with_assets=False, for_operator=False
        )


PATH = "/videos/{name}/shares"
MAY_SHARE: Mapping[Shared, tuple[Permission, ...]] = {
    "video": (Permission.REQUEST, Permission.REVIEW, Permission.APPROVE, Permission.OPERATE),
    "bundle": (Permission.AUDIT, Permission.OPERATE),
}
"""The right to share with people without a key what one sees oneself."""


class Link(View):
    """A shared link."""

    share_id: str
    of: str
    state: str
    created_by: str
    created_at: str
    expires_at: str
    revoked_by: str | None
    revoked_at: str | None
    position: int


class SharesView(View):
    """The page."""

    job_id: str
    has_video: bool
    may_share: tuple[str, ...]
    most_days: int
    links: tuple[Link, ...]


def read(visit: Visit) -> SharesView:
    """Read the links of a job, newest first."""
    job = find_job(visit, visit.part("name"))
    shares = shares_of(visit.session.ledger, job.job_id)
    return SharesView(
        job_id=job.job_id,
        has_video=bool(job.assets),
        may_share=tuple(of for of in MAY_SHARE if _may_share(visit, of)),
        most_days=MOST_DAYS,
        links=tuple(_link(share, visit) for share in reversed(shares)),
    )


def rows(view: SharesView) -> Sequence[Mapping[str, object]]:
    """Return the table of links."""
    return [link.model_dump() for link in view.links]


def _may_share(visit: Visit, of: Shared) -> bool:
    return any(visit.may(permission) for permission in MAY_SHARE[of])


def _link(share: Share, visit: Visit) -> Link:
    revoked = share.revoked
    ended = "valid" if share.is_valid(visit.now) else "ended"
    return Link(
        share_id=share.event.share_id,
        of=share.event.of,
        state="revoked" if revoked else ended,
        created_by=share.created.actor,
        created_at=share.created.recorded_at,
        expires_at=share.event.expires_at,
        revoked_by=revoked.actor if revoked else None,
        revoked_at=revoked.recorded_at if revoked else None,
        position=share.created.position,
    )


async def share(visit: Visit, form: FormData) -> Done:
    """Make a link, whose address is shown once."""
    job, days = find_job(visit, visit.part("name")), text_of(form, "days")
    of = next((permission for permission in MAY_SHARE if permission == form.get("of")), None)
    if of is None:
        raise BadInput("choose what the link shows: the video, or its evidence")
    if not _may_share(visit, of):
        roles = " or ".join(MAY_SHARE[of])
        raise NotPermitted(f"a link to the {of} can be made only by people who may {roles}")
    if not (days.isascii() and days.isdecimal()):
        raise BadInput(f"expected a number of days, from 1 to {MOST_DAYS}, found {days[:20]!r}")
    made, text = await create_share(visit.session, _signer(visit), job, of, int(days[:6]))
    return Done(
        f"/videos/{job.job_id}/shares",
        f"Anyone with this address sees the {of} until {made.event.expires_at[:10]}, without a key.",
        shown_once=f"{own_origin(visit.request)}{PREFIX}/shared/{text}",
    )


async def revoke(visit: Visit, form: FormData) -> Done:
    """Revoke a link, even one that another person made."""
    if not any(_may_share(visit, of) for of in MAY_SHARE):
        raise NotPermitted("only people who may make links can revoke them")
    job = find_job(visit, visit.part("name"))
    await revoke_share(visit.session, job, text_of(form, "share_id"))
    return Done(f"/videos/{job.job_id}/shares", "The link no longer works.")


def _signer(visit: Visit) -> Signer:
    return open_signer(visit.session.settings, visit.session.ledger.ledger_id)


SHARES_PAGE = Page(PATH, "Share", "shares.html", read, rows=rows, menu=False)
SHARES_ACTIONS = (
    Action(f"{PATH}/new", PATH, Permission.READ, share),
    Action(f"{PATH}/revoke", PATH, Permission.READ, revoke),
)

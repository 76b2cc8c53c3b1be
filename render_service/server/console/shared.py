"""What a shared link shows to people without a key: one video, or its evidence."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ledger.errors import SoraLedgerError
from ledger.job import Job
from ledger.terms import Variant
from render_service.access.shares import Share, read_share
from render_service.access.signing import Signer
from render_service.server.console.answers import NotHere, Site
from render_service.server.console.files import Files, serve_bundle
from render_service.server.console.pages import PREFIX, SHARED

Answer = Callable[[Request, Share, Job], Awaitable[Response]]


class SharedLinks:
    """The addresses of shared links; every file is asked for with the whole text of the link."""

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
                    raise NotHere("this link shows nothing: it has ended, was revoked, or is not complete")
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

"""``/log``: the log for outsiders, as C2SP tlog-tiles (`ledger.log.tiles`), for monitors and tile readers.

It is open to everyone who can reach the server. Entries are only the records: they commit to payloads,
private text and files, but contain none of them.

The content of a tile never changes, so caches may keep it. The checkpoint is current; with a witness policy
it is the last one that witnesses cosigned, and newer records wait for the next.
"""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ledger.errors import LedgerError
from ledger.log.ledger import Ledger
from ledger.log.tiles import Tile, tile_content
from render_service.evidence.checkpoints import tree_head
from render_service.evidence.recorded_checks import find_last_witnessed
from render_service.runtime.errors import NotIntact, ServiceError

PREFIX = "/log"
_FOR_EVER = "public, max-age=31536000, immutable"
_NO_CACHE = "no-cache"


def log_routes(ledger: Ledger, key: Path, *, witnessed: bool) -> Sequence[BaseRoute]:
    """Return the routes; the checkpoint is signed with `key`, or is the last one `witnessed`."""
    log = _ServedLog(ledger, key, witnessed=witnessed)
    return (
        Route(f"{PREFIX}/checkpoint", log.checkpoint),
        Route(f"{PREFIX}/{{path:path}}", log.tile),
    )


class _ServedLog:
    def __init__(self, ledger: Ledger, key: Path, *, witnessed: bool) -> None:
        self._ledger = ledger
        self._key = key
        self._witnessed = witnessed
        self._signed: tuple[int, bytes] = (-1, b"")

    async def checkpoint(self, _: Request) -> Response:
        """Answer with the signed tree head."""
        text = await _read(self._checkpoint)
        return Response(text, media_type="text/plain", headers={"cache-control": _NO_CACHE})

    def _checkpoint(self) -> bytes:
        if self._witnessed:
            witnessed = find_last_witnessed(self._ledger)
            if witnessed is None:
                raise HTTPException(503, "no checkpoint was cosigned by witnesses yet", {"retry-after": "60"})
            return witnessed.event.checkpoint.encode()
        size, text = self._signed
        if self._ledger.head().size != size:
            head = tree_head(self._ledger, self._key)
            text = head.to_bytes()
            self._signed = head.checkpoint.size, text
        return text

    async def tile(self, request: Request) -> Response:
        """Answer with the tile in the path; 404 if the log does not have it completely."""
        tile = Tile.parse(request.path_params["path"])
        if tile is None:
            raise HTTPException(404)
        try:
            content = await _read(partial(tile_content, self._ledger, tile))
        except ValueError:
            raise HTTPException(404) from None
        headers = {"cache-control": _FOR_EVER}
        if tile.level is None:
            headers["vary"] = "accept-encoding"
            if "gzip" in request.headers.get("accept-encoding", ""):
                content = await asyncio.to_thread(gzip.compress, content, 6, mtime=0)
                headers["content-encoding"] = "gzip"
        return Response(content, media_type="application/octet-stream", headers=headers)


async def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return await asyncio.to_thread(read)
    except (LedgerError, ServiceError) as error:  # its message may contain path and user
        because = "the ledger is damaged" if isinstance(error, NotIntact) else "the ledger is not available"
        raise HTTPException(503, because, {"retry-after": "30"}) from error

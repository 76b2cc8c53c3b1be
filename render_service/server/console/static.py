"""The style sheet and the scripts, read once; a browser keeps them until their content changes."""

import gzip
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from render_service.server.console.pages import PREFIX

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as it is sent."""

    kind: str
    content: bytes
    packed: bytes
    digest: str


class Static:
    """The files of one folder; no other file can be named."""

    def __init__(self, folder: Path) -> None:
        self._assets: dict[str, Asset] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix in TYPES:
                content = path.read_bytes()
                packed = gzip.compress(content, mtime=0)
                self._assets[path.name] = Asset(
                    TYPES[path.suffix], content, packed, sha256(content).hexdigest()[:16]
                )

    def url(self, name: str) -> str:
        """Return the address of a file, which changes with its content."""
        return f"{PREFIX}/static/{name}?{self._assets[name].digest}"

    async def answer(self, request: Request) -> Response:
        """Send a file."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        is_packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
        if is_packed:
            headers["content-encoding"] = "gzip"
        return Response(asset.packed if is_packed else asset.content, headers=headers, media_type=asset.kind)

"""The style sheet and the scripts, read once; browsers cache them until their content changes.

A file named ``.wasm.gz`` is sent as the ``.wasm`` in it. It is large and rarely requested, so it is read on
request, and unpacked only for a browser without gzip support.
"""

import asyncio
import gzip
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
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
PACKED_WASM = ".wasm.gz"
WASM = "application/wasm"
FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as sent."""

    kind: str
    content: bytes
    packed: bytes
    digest: str


class Static:
    """The files of one folder; no other file is reachable."""

    def __init__(self, folder: Path) -> None:
        self._assets = _assets_of(folder)
        self._wasm = {
            path.name.removesuffix(".gz"): path
            for path in sorted(folder.iterdir())
            if path.name.endswith(PACKED_WASM)
        }

    def url(self, name: str) -> str:
        """Return the address of a file, which changes with its content."""
        if name in self._wasm:
            return f"{PREFIX}/static/{name}?{_digest_of(self._wasm[name])}"
        return f"{PREFIX}/static/{name}?{self._assets[name].digest}"

    async def answer(self, request: Request) -> Response:
        """Send a file."""
        name = request.path_params["name"]
        if name in self._wasm:
            return await asyncio.to_thread(_wasm, self._wasm[name], request)
        asset = self._assets.get(name)
        if asset is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        packed = takes_gzip(request)
        return _response(asset.packed if packed else asset.content, asset.kind, packed=packed)


@cache
def _assets_of(folder: Path) -> Mapping[str, Asset]:
    """Return the files by name, read and packed once per process."""
    assets = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            packed = gzip.compress(content, mtime=0)
            assets[path.name] = Asset(TYPES[path.suffix], content, packed, sha256(content).hexdigest()[:16])
    return MappingProxyType(assets)


def takes_gzip(request: Request) -> bool:
    """Return whether the browser accepts gzip."""
    return "gzip" in request.headers.get("accept-encoding", "")


def _response(content: bytes, kind: str, *, packed: bool) -> Response:
    headers = {"cache-control": FOREVER, "vary": "accept-encoding"}
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=kind)


def _wasm(path: Path, request: Request) -> Response:
    packed = path.read_bytes()
    if takes_gzip(request):
        return _response(packed, WASM, packed=True)
    return _response(gzip.decompress(packed), WASM, packed=False)


@cache
def _digest_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:16]

"""The bare servers that `gateway.py` compares with: two pass-throughs, a file server and a constant answer.

``python gateway_peers.py NAME UPSTREAM`` serves one of them, and prints its port first.
"""

import asyncio
import json
import socket
import sys
import time
import warnings
from typing import Any, cast

import httpx2
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route


def serve(what: str, upstream: str = "") -> None:
    """Serve one of the peers in this process."""
    # Without the protocol asyncio would leave Nagle's algorithm on, and every answer would take 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        print(listening.getsockname()[1], flush=True)
        if what == "constant":
            asyncio.run(serve_constant(listening))
            return
        app = APPS[what](upstream)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run([listening])


def pass_through(upstream: str) -> Any:
    """Return an app that forwards every request and its answer."""
    client = httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=100))
    drop = {"host", "content-length", "connection", "accept-encoding"}

    async def forward(request: Request) -> Response:
        url = upstream.removesuffix("/v1") + request.url.path
        headers = {name: text for name, text in request.headers.items() if name not in drop}
        came = await client.request(request.method, url, headers=headers, content=await request.body())
        passed = {
            name: text for name, text in came.headers.items() if name in {"content-type", "x-request-id"}
        }
        return Response(came.content, came.status_code, passed)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])


def sdk_pass_through(upstream: str) -> Any:
    """Return an app that reads each create and sends it with the official SDK, and does nothing else."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of the SDK's videos, for each call
    client = AsyncOpenAI(base_url=upstream, api_key="any", max_retries=0, timeout=60)

    async def create(request: Request) -> Response:
        async with request.form() as form:
            video = await client.videos.create(**cast("Any", dict(form)))
        return JSONResponse(video.model_dump(mode="json"))

    async def retrieve(request: Request) -> Response:
        video = await client.videos.retrieve(request.path_params["video"])
        return JSONResponse(video.model_dump(mode="json"))

    return Starlette(
        routes=[
            Route("/v1/videos", create, methods=["POST"]),
            Route("/v1/videos/{video}", retrieve),
        ]
    )


def file_server(clip: str) -> Any:
    """Return an app that serves one file, and is a Videos server whose videos all are that file."""
    video = {
        "id": "video_bench", "object": "video", "status": "completed", "progress": 100, "prompt": None,
        "created_at": int(time.time()), "completed_at": int(time.time()), "expires_at": None, "error": None,
        "model": "sora-2", "seconds": "4", "size": "720x1280",
    }  # fmt: skip

    async def show(_: Request) -> Response:
        return JSONResponse(video)

    async def listed(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [video], "has_more": False})

    async def file(_: Request) -> Response:
        return FileResponse(clip, media_type="video/mp4")

    routes = {"/file": file, "/v1/videos/video_bench/content": file, "/v1/videos/video_bench": show}
    return Starlette(
        routes=[
            *(Route(path, handler) for path, handler in routes.items()),
            Route("/v1/videos", show, methods=["POST"]),
            Route("/v1/videos", listed),
        ]
    )


async def serve_constant(listening: socket.socket) -> None:
    """Answer every request with the same bytes."""
    body = json.dumps({"id": "video_0", "object": "video", "status": "queued", "padding": "x" * 400}).encode()
    canned = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )

    class Constant(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, _: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(canned)

    server = await asyncio.get_running_loop().create_server(Constant, sock=listening)
    await server.serve_forever()


APPS = {"pass-through": pass_through, "official SDK": sdk_pass_through, "FileResponse": file_server}


if __name__ == "__main__":
    serve(*sys.argv[1:3])

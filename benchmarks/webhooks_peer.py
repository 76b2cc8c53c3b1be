"""The bare server that `webhooks.py` compares with: it checks the signature of a delivery, and answers 200.

``python webhooks_peer.py PORT SECRET`` serves it.
"""

import sys

import uvicorn
from openai import OpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def serve(port: int, secret: str) -> None:
    """Serve the peer in this process."""
    sdk = OpenAI(api_key="none")

    async def receive(request: Request) -> Response:
        sdk.webhooks.verify_signature(await request.body(), dict(request.headers), secret=secret)
        return JSONResponse({"ok": True})

    app = Starlette(routes=[Route("/", receive, methods=["POST"])])
    uvicorn.run(app, port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])

"""Serve one agent on stdin and stdout."""

import asyncio
import os
from pathlib import Path
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from render_service.server.mcp.calls import Agent, Place
from render_service.server.mcp.server import client_name, protocol_server
from render_service.session.session import Session
from render_service.worker.worker import stop_signals

ANSWER_S = 25.0
"""Most clients give up on a tool after 60 seconds."""


async def serve_stdio(session: Session, *, folder: Path, answer_s: float = ANSWER_S) -> None:
    """Serve one client on stdin and stdout until it closes stdin, or until SIGTERM or Ctrl-C.

    A submission under way is finished and recorded before this returns.
    """
    agent = Agent(session, session.settings.actor, Place(folder), answer_s)
    server = protocol_server(lambda context: agent.named(client_name(context)))
    with stop_signals() as stop:
        serving = asyncio.create_task(_serve(server))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        await agent.calls.close()
        if not serving.done():
            await session.close()
            os._exit(0)  # a thread waits for a line on stdin that may never come, and cannot be interrupted
        stopping.cancel()
    await serving


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())

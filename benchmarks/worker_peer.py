"""The peer of `worker.py`: the same renders as tasks of `procrastinate`, in the same PostgreSQL.

A task sends the request, polls until the video is completed, downloads it to a temporary file, flushes it to
disk and renames it to its digest. It does nothing that a ledger is for: no intent before the call, no record,
no budget, no check of the bytes.

Each process runs `CONCURRENCY` tasks at a time, as many requests as our worker sends, and ends when the queue
is empty.
"""

import asyncio
import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import procrastinate
from openai import AsyncOpenAI

CONCURRENCY = 16

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get("PEER_URL", "")))


@functools.cache
def client() -> AsyncOpenAI:
    """Return the client that all tasks share."""
    return AsyncOpenAI()


@app.task(name="render")
async def render(prompt: str) -> None:
    """Make one video and store it."""
    video = await client().videos.create(prompt=prompt, model="sora-2", seconds="4", size="1280x720")
    while video.status != "completed":
        video = await client().videos.retrieve(video.id)
    folder = Path(os.environ["PEER_FOLDER"])
    async with client().videos.with_streaming_response.download_content(video.id) as response:
        digest = hashlib.sha256()
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in response.iter_bytes():
                file.write(chunk)
                digest.update(chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
    # Each job has a separate file: the sandbox serves the same clip to all of them.
    os.rename(name, folder / f"{video.id}-{digest.hexdigest()}.mp4")  # noqa: PTH104  # a rename takes no time


async def queue(jobs: int) -> None:
    """Make the tables and queue `jobs` renders."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await render.batch_defer_async(*({"prompt": f"Shot {n}: a fox runs"} for n in range(jobs)))


async def work() -> None:
    """Run tasks until the queue is empty."""
    async with app.open_async():
        await app.run_worker_async(
            wait=False, concurrency=CONCURRENCY, delete_jobs="never", install_signal_handlers=False
        )


if __name__ == "__main__":
    asyncio.run(work() if len(sys.argv) == 1 else queue(int(sys.argv[1])))

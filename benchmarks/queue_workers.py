"""The workers of `queues.py`: the same work from three queues, in the same PostgreSQL.

The work of a job is one POST to the sandbox and one GET of the video; then the job is complete. Each process
works on `AT_ONCE` jobs, and a job of a process that ended is due again for others after `LEASE_S`. A line in
the process's file says when the work on a job began and ended.

- *ours*: the port `WorkQueue` of the ledger's store, claimed and released as `render_service.worker` does.
- *procrastinate*: jobs are fetched one by one. Workers send heartbeats; each of them looks every second for
  jobs whose worker stopped sending them, and retries them, which its documentation leaves to a user's task.
- *pgqueuer*: a worker dequeues batches, and every job sends heartbeats.

    queue_workers.py KIND            work until killed
    queue_workers.py KIND JOBS       make the tables and queue so many jobs
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2

from ledger.store.queue import Lease, Release
from render_service.runtime.coalesce import Coalescer

AT_ONCE = 16
LEASE_S = 10.0
IDLE_S = 0.2

URL = os.environ["QUEUE_URL"]
BASE_URL = os.environ["OPENAI_BASE_URL"]


class Work:
    """The context of every queue's jobs, and the file for their times."""

    def __init__(self) -> None:
        self._file = os.open(os.environ["QUEUE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._client = httpx2.AsyncClient(
            headers={"authorization": "Bearer any"}, limits=httpx2.Limits(max_connections=AT_ONCE)
        )

    async def do(self, name: str) -> None:
        """Make a video and poll it."""
        self._note("begin", name)
        fields = {"model": "sora-2", "prompt": name, "seconds": "4", "size": "1280x720"}
        video = (await self._client.post(f"{BASE_URL}/videos", json=fields)).raise_for_status().json()
        (await self._client.get(f"{BASE_URL}/videos/{video['id']}")).raise_for_status()

    def ended(self, name: str) -> None:
        """Note that the work is done; the queue is updated next."""
        self._note("end", name)

    def _note(self, what: str, name: str) -> None:
        os.write(self._file, f"{what} {os.getpid()} {name} {time.monotonic()}\n".encode())


def names(jobs: int) -> list[str]:
    """Return the names of the jobs."""
    return [f"job_{number:012x}" for number in range(jobs)]


# --- ours ---


def queue_ours(jobs: int) -> None:
    """Queue the jobs."""
    from ledger.store.postgres import PostgresStore  # noqa: PLC0415  # one queue is loaded

    with PostgresStore(URL) as store:
        store.queue.wake(names(jobs))


async def work_ours() -> None:
    """Work on them until killed."""
    from ledger.store.postgres import PostgresStore  # noqa: PLC0415

    queue, holder, lease_ms = PostgresStore(URL).queue, f"worker-{os.getpid()}", round(LEASE_S * 1000)
    work = Work()

    async def release_all(leases: Sequence[Lease]) -> Sequence[None]:
        await asyncio.to_thread(queue.release_all, [Release(lease, None) for lease in leases])
        return [None] * len(leases)

    releases = Coalescer(release_all)

    async def do(lease: Lease) -> None:
        await work.do(lease.job_id)
        work.ended(lease.job_id)
        await releases.do(lease)

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            await asyncio.to_thread(queue.keep, holder, lease_ms)

    keeping = asyncio.create_task(keep())
    tasks: set[asyncio.Task[None]] = set()
    while not keeping.done():
        leases = await asyncio.to_thread(queue.claim, holder, lease_ms, AT_ONCE - len(tasks))
        tasks |= {asyncio.create_task(do(lease)) for lease in leases}
        if len(tasks) == AT_ONCE:
            ended, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0 if leases else IDLE_S)
            ended = {task for task in tasks if task.done()}
            tasks -= ended
        for task in ended:
            task.result()


# --- procrastinate ---


def _procrastinate() -> tuple[Any, Any]:
    import procrastinate  # noqa: PLC0415

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL))
    work: list[Work] = []

    @app.task(name="render")
    async def render(name: str) -> None:
        if not work:
            work.append(Work())
        await work[0].do(name)
        work[0].ended(name)

    return app, render


async def queue_procrastinate(jobs: int) -> None:
    """Make the tables and queue the jobs."""
    app, render = _procrastinate()
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await render.batch_defer_async(*({"name": name} for name in names(jobs)))


async def work_procrastinate() -> None:
    """Work on them until killed."""
    app, _ = _procrastinate()
    async with app.open_async():

        async def retry_stalled() -> None:
            manager = app.job_manager
            while True:
                await asyncio.sleep(1)
                for job in await manager.get_stalled_jobs(seconds_since_heartbeat=LEASE_S):
                    await manager.retry_job(job)

        retrying = asyncio.create_task(retry_stalled())
        await app.run_worker_async(
            concurrency=AT_ONCE,
            delete_jobs="never",
            fetch_job_polling_interval=IDLE_S,
            update_heartbeat_interval=LEASE_S / 3,
            stalled_worker_timeout=LEASE_S,
            install_signal_handlers=False,
        )
        retrying.cancel()


# --- pgqueuer ---


async def _pgqueuer() -> Any:
    import psycopg  # noqa: PLC0415
    from pgqueuer import PgQueuer  # noqa: PLC0415  # in .venv/queues

    connection = await psycopg.AsyncConnection.connect(URL, autocommit=True)
    return PgQueuer.from_psycopg_connection(connection)


async def queue_pgqueuer(jobs: int) -> None:
    """Make the tables and queue the jobs."""
    queuer = await _pgqueuer()
    queries = queuer.qm.queries
    await queries.install()
    every = names(jobs)
    await queries.enqueue(["render"] * jobs, [name.encode() for name in every], [0] * jobs)


async def work_pgqueuer() -> None:
    """Work on them until killed."""
    queuer = await _pgqueuer()
    work = Work()

    @queuer.entrypoint("render")
    async def render(job: Any) -> None:
        name = job.payload.decode()
        await work.do(name)
        work.ended(name)

    await queuer.run(
        dequeue_timeout=timedelta(seconds=IDLE_S),
        batch_size=AT_ONCE // 2,
        max_concurrent_tasks=AT_ONCE,
        heartbeat_timeout=timedelta(seconds=LEASE_S),
    )


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    assert kind in {"ours", "procrastinate", "pgqueuer"}, kind
    sys.path.append(str(Path(__file__).parents[1] / ".venv/queues"))
    if rest:
        made = globals()[f"queue_{kind}"](int(rest[0]))
        if made is not None:
            asyncio.run(made)
    else:
        asyncio.run(globals()[f"work_{kind}"]())

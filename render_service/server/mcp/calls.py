"""Paid calls that outlive the request they began in, and the agent that makes them.

A client may time out, cancel or disconnect at any moment. A submission under way is finished and recorded all
the same, because its video may be billed: it runs in a task of its own, which no request can cancel.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ledger.job import Job
from ledger.record import ActorSource
from render_service.runtime.errors import BadInput
from render_service.runtime.telemetry import begin_trace
from render_service.session.session import Session
from sora_adapter.errors import loggable

T = TypeVar("T")
FOR = " on behalf of "
LONGEST_NAME = 64
"""Characters of a client's name that are recorded."""
LONGEST_PERSON = 160
"""Characters of a person's name beside which the client's fits into a record."""


class Calls:
    """The calls of one server process."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], str] = {}

    def start(self, session: Session, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work`, which no request can cancel; `name` is its request key or job."""
        task = asyncio.create_task(work)
        self._running[task] = name

        def ended(task: asyncio.Task[Any]) -> None:
            self._running.pop(task, None)
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                session.log.info("mcp.call_failed", call=name, **loggable(error))

        task.add_done_callback(ended)
        return task

    async def answered(self, name: str, seconds: float) -> None:
        """Return once the calls under `name` have ended, or after `seconds`."""
        tasks = [task for task, known in self._running.items() if known == name]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """End every call; a submission under way is finished and recorded first."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Agent:
    """One agent: its session, the person it acts for, the folder for its files, and how long it waits."""

    session: Session
    person: str
    folder: Path
    answer_s: float
    calls: Calls = field(default_factory=Calls)

    def __post_init__(self) -> None:
        """Refuse a name that leaves no room for the agent's."""
        if len(self.person) > LONGEST_PERSON:
            raise BadInput(
                f"--actor or SORA_LEDGER_ACTOR: expected at most {LONGEST_PERSON} characters, because the "
                f"agent's name is recorded with it; found {len(self.person)}"
            )

    def named(self, client: str | None) -> "Agent":
        """Return the agent that calls itself `client`, with a trace of its own for one call.

        Anyone can claim a name, so it is recorded as claimed, and it never signs: a held request under it
        needs a signed approval.
        """
        trace = begin_trace({})
        settings = replace(
            self.session.settings,
            actor=f"agent {recordable(client)}{FOR}{self.person}",
            actor_source=ActorSource.FLAG,
            key_file=None,
            request_key_file=None,
        )
        session = replace(self.session, settings=settings, trace=trace, log=self.session.log.of(trace))
        return replace(self, session=session)

    def check_own(self, job: Job) -> None:
        """Raise `BadInput` unless `job` was requested by this person or an agent acting for them."""
        if job.actor != self.person and not job.actor.endswith(f"{FOR}{self.person}"):
            raise BadInput(
                f"{job.job_id} was requested by {job.actor}, not on behalf of {self.person}, so you may not "
                f"withdraw it; a person can: `sora-ledger cancel {job.job_id}`"
            )

    def path(self, name: str, what: str) -> Path:
        """Return the path of a file in the folder of this server; `BadInput` for one outside it."""
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise BadInput(
                f"{what} {name}: expected a file in {folder}, where this server runs; name one in it"
            )
        return path


def recordable(client: str | None) -> str:
    """Return the name of a client as it is recorded: printable, on one line, not too long."""
    name = "".join(letter for letter in client or "" if letter.isprintable()).replace(FOR, " ").strip()
    return name[:LONGEST_NAME].strip() or "unknown"

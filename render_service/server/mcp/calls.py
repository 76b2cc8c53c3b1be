"""Paid calls that outlive the request they began in, and the agent that makes them.

A client may time out, cancel or disconnect at any moment. A submission in progress is still finished and
recorded, because its video may be billed: it runs in a separate task, which no request can cancel.

An agent on stdio acts for the person who started the server, and sees what they see. An agent over HTTP acts
for the holder of its access key: it sees the jobs of that key, and can do what the key permits.

The policy in force sets a spending ceiling for one agent's session. A budget limits a person or a team for a
month; a ceiling stops a single looping agent before it has spent that budget: ``[agents]
session_usd_micros``. A session is all requests of one agent for one person, under one access key if it has
one, in ``session_hours``. It is counted from the ledger, so it outlives the server, and every server on the
ledger counts the same.

1. The agent takes its turn, held by one of its requests at a time across all processes on the ledger.
2. Its jobs of the session are added up: running or held jobs count with their estimate.
3. The request is recorded, and counts from then on. The turn ends; sending it takes longer.

A crash between 1 and 3 leaves a turn that nobody ends. It is named after its starting period, so it counts
for at most twice `TURN_S`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mcp_types import Tool, ToolAnnotations

from decision.errors import DecisionError
from decision.money import format_usd
from decision.request.request import RenderRequest, parse_request
from decision.rules.policy import Policy
from decision.rules.roles import Permission
from ledger.errors import JobNotFound
from ledger.events import RenderDenied, RenderHeld
from ledger.job import Job
from ledger.record import ActorSource, timestamp
from ledger.store.filters import JobFilter
from ledger.store.queue import Limit
from ledger.terms import State
from render_service.access.callers import Caller
from render_service.assets.inputs import Material
from render_service.rules.budget_names import AGENT, ON_BEHALF_OF, person_of
from render_service.rules.policies import Rules
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput, SessionCeiling
from render_service.runtime.telemetry import begin_trace
from render_service.server.gateway.projection import visible_job
from render_service.server.gateway.submissions import Submissions
from render_service.server.mcp.arguments import Arguments, ChangeArguments, RenderArguments
from render_service.server.mcp.card import CARD
from render_service.session.session import Session
from render_service.submission.preview import ruling_on
from render_service.submission.result import Opening, Placed, placed_under
from render_service.submission.submit import place
from sora_adapter.errors import loggable

FREE = (State.DENIED, State.REJECTED, State.ABSENT, State.CANCELLED, State.REFUSED)
"""States of a job for which nothing was billed."""
DEFAULT_HOURS = 24
TURN_S = 120.0
"""Longer than recording a request takes; a turn left by a crash ends after twice that."""
LOOK_S = 0.05


@asynccontextmanager
async def room(session: Session, request: RenderRequest) -> AsyncIterator[Callable[[], None]]:
    """Hold the agent's turn, or raise `SessionCeiling`; yields a function that ends it after recording."""
    limit = session.policy.agents.session_usd_micros if session.policy.agents else None
    if limit is None:
        yield lambda: None
        return
    turn = _Turn(session)
    await turn.begin()
    try:
        await asyncio.to_thread(_check, session, request, limit)
        yield turn.end
    finally:
        await turn.close()


class _Turn:
    """The turn of an agent to make a request, across all processes on the ledger."""

    def __init__(self, session: Session) -> None:
        self._session, self._queue = session, session.ledger.store.queue
        self._token = uuid.uuid4().hex
        self._ending: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Wait for the turn of this period, and of the previous one, in which another may have begun."""
        now = int(time.time() // TURN_S)
        for period in (now - 1, now):
            limit = Limit(f"{self._session.settings.actor} {period}", running=1)
            while await asyncio.to_thread(self._queue.acquire_slot, f"{self._token}{period}", limit):
                await self._session.sleep(LOOK_S)
        self._held = [f"{self._token}{period}" for period in (now - 1, now)]

    def end(self) -> None:
        """End the turn; it may be called twice."""
        if self._ending is None:
            self._ending = asyncio.create_task(asyncio.to_thread(self._queue.release_slots, self._held))

    async def close(self) -> None:
        """End the turn, and wait until it has ended, also if this is cancelled."""
        self.end()
        if self._ending is not None:
            await asyncio.shield(self._ending)


def _check(session: Session, request: RenderRequest, limit: int) -> None:
    """Raise `SessionCeiling` if a new request costs more than the remainder of the session."""
    if request.request_key and placed_under(session.ledger, request.request_key) is not None:
        return  # it is recorded, and already counts
    ruling = ruling_on(session.settings, request)
    if isinstance(ruling, RenderDenied):  # it will be recorded as denied, and cost nothing
        return
    chosen = ruling.choice if isinstance(ruling, RenderHeld) else ruling
    estimate, taken = chosen.cost_usd_micros or 0, spent(session)
    if taken + estimate <= limit:
        return
    raise SessionCeiling(
        f"this session may spend {format_usd(limit)} in {hours_of(session.policy)} hours by the policy "
        f"{session.policy.name}: {format_usd(taken)} are taken, and this request would cost "
        f"{format_usd(estimate)}; nothing was recorded. `sora-ledger jobs` shows what was requested; "
        "a person may raise session_usd_micros in the policy",
        param="max_cost_usd",
        expected=f"at most {format_usd(max(0, limit - taken))}",
        found=format_usd(estimate),
    )


def hours_of(policy: Policy) -> int:
    """Return how long a session of an agent lasts."""
    hours = policy.agents.session_hours if policy.agents else None
    return DEFAULT_HOURS if hours is None else hours


def spent(session: Session) -> int:
    """Return the cost of the agent's jobs in this session so far, running ones by their estimates."""
    since = timestamp(session.clock() - timedelta(hours=hours_of(session.policy)))
    where = JobFilter(of_actor=session.settings.actor, since=since)
    key = session.settings.access_key_id
    jobs = (job for job in session.ledger.iterate_jobs(where) if key is None or job.access_key_id == key)
    return sum(_cost_of(job) for job in jobs if job.state not in FREE)


def _cost_of(job: Job) -> int:
    settled = job.settled_usd_micros
    return (job.estimate_usd_micros or 0) if settled is None else settled


T = TypeVar("T")
LONGEST_NAME = 64
"""Characters of a client's name that are recorded."""
LONGEST_PERSON = 160
"""Maximum length of a person's name with which the client's still fits into a record."""


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
        """End every call; a submission in progress is finished and recorded first."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Place:
    """The place of one agent's server: a folder for its files on stdio, an origin over HTTP.

    `console` is where people approve; None if nobody serves it.
    """

    folder: Path | None = None
    origin: str | None = None
    console: str | None = None


@dataclass(frozen=True)
class Agent:
    """One agent: its session, the person it acts for, the place of its server, and how long it waits.

    `caller` is the holder of the access key it uses, and `submissions` the server's; None on stdio.
    """

    session: Session
    person: str
    at: Place
    answer_s: float
    calls: Calls = field(default_factory=Calls)
    caller: Caller | None = None
    submissions: Submissions | None = None

    def __post_init__(self) -> None:
        """Refuse a name that leaves no room for the agent's."""
        if len(self.person) > LONGEST_PERSON:
            raise BadInput(
                f"--actor or SORA_LEDGER_ACTOR: expected at most {LONGEST_PERSON} characters, because the "
                f"agent's name is recorded with it; found {len(self.person)}",
                param="actor",
                expected=f"at most {LONGEST_PERSON} characters",
                found=len(self.person),
            )

    def named(self, client: str | None) -> "Agent":
        """Return the agent that calls itself `client`, with a separate trace for one call.

        Anyone can claim a name, so it is recorded as claimed, and it never signs: a held request under it
        needs a signed approval.
        """
        trace = begin_trace({})
        settings = replace(
            self.session.settings,
            actor=f"{AGENT}{recordable(client)}{ON_BEHALF_OF}{self.person}",
            actor_source=ActorSource.FLAG,
            key_file=None,
            request_key_file=None,
        )
        session = replace(self.session, settings=settings, trace=trace, log=self.session.log.of(trace))
        return replace(self, session=session)

    def check(self, permission: Permission) -> None:
        """Raise `NotPermitted` unless the access key permits this; on stdio, a person's terminal does."""
        if self.caller is not None:
            self.caller.check(permission)

    async def job(self, name: str) -> Job:
        """Return the job called `name`; one that the agent may not see does not exist for it."""
        if self.caller is None:
            return await self.session.job(name)
        job = await asyncio.to_thread(visible_job, self.session.ledger, self.caller, name)
        if job is None:
            raise JobNotFound(
                f"no job that you may see has the id {name!r}: `sora-ledger jobs` lists them",
                param="job",
                expected="a job that you may see",
                found=name,
            )
        return job

    def visible(self, where: JobFilter) -> list[JobFilter]:
        """Return filters for the jobs matching `where` that the agent may see."""
        if self.caller is None:
            return [where]
        filters = list(self.caller.sees)
        if JobFilter() not in filters:  # its requests under its own name are not under the person's
            filters.append(
                JobFilter(of_actor=self.session.settings.actor, teamless=self.caller.team is not None)
            )
        return [
            replace(where, of_team=filter_.of_team, of_actor=filter_.of_actor, teamless=filter_.teamless)
            for filter_ in filters
        ]

    def terms(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a request adjusted for the access key: its purpose, its own request keys."""
        if self.caller is None:
            return values
        if values.get("purpose") is None and self.caller.purposes:
            values = values | {"purpose": self.caller.purposes[0]}
        key = values.get("request_key")
        return values if key is None else values | {"request_key": f"{self._keys}{key}"}

    async def place(self, request: RenderRequest, material: Material) -> Placed:
        """Submit a request within the ceiling of the session and the limits of the access key."""
        if self.caller is not None:
            self.caller.check_profile(request.profile)
            self.caller.check_purpose(request.purpose)
        async with room(self.session, request) as recorded:
            if self.caller is None or self.submissions is None:
                opening = Opening(opened=lambda _: recorded())
                return await place(self.session, request, material, opening=opening)
            entry = self.submissions.begin(self.caller, self.session, request, material, 0)
            waiting = asyncio.create_task(entry.recorded.wait())
            await asyncio.wait({entry.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            recorded()
            return await asyncio.shield(entry.task)

    def shown(self, document: Json) -> Json:
        """Return an answer with request keys in the agent's form."""
        if self.caller is None:
            return document
        if isinstance(key := document.get("request_key"), str):
            document["request_key"] = key.removeprefix(self._keys)
        arguments = document["next"]["arguments"] if isinstance(document.get("next"), dict) else {}
        if isinstance(key := arguments.get("request_key"), str):
            arguments["request_key"] = key.removeprefix(self._keys)
        if isinstance(error := document.get("error"), dict):
            error["message"] = error["message"].replace(self._keys, "")
            for call in error["calls"]:
                if isinstance(key := call["arguments"].get("request_key"), str):
                    call["arguments"]["request_key"] = key.removeprefix(self._keys)
        return document

    @property
    def _keys(self) -> str:
        """Prefix of the access key's request keys, as in the gateway."""
        return "" if self.caller is None else f"{self.caller.key_id or self.caller.name}/"

    def check_own(self, job: Job) -> None:
        """Raise `BadInput` unless `job` was requested by this person or an agent acting for them."""
        if person_of(job.actor) != self.person:
            raise BadInput(
                f"{job.job_id} was requested by {job.actor}, not on behalf of {self.person}, so you may not "
                f"withdraw it; a person can: `sora-ledger cancel {job.job_id}`",
                param="job",
                expected=f"a job requested on behalf of {self.person}",
                found=f"one of {job.actor}",
            )

    def path(self, name: str, what: str) -> Path:
        """Return the path of a file in the folder of this server; `BadInput` for one outside it."""
        if self.at.folder is None:
            raise BadInput(
                f"{what} {name}: expected no file, because this server is not on your machine; leave {what} "
                f"out. POST {self.at.origin}/v1/videos takes a first frame, and download answers with a URL",
                param=what,
                expected="no file",
                found=name,
            )
        folder = self.at.folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise BadInput(
                f"{what} {name}: expected a file in {folder}, where this server runs; name one in it",
                param=what,
                expected=f"a file in {folder}",
                found=name,
            )
        return path


def recordable(client: str | None) -> str:
    """Return a client's name in recordable form: printable, on one line, not too long."""
    name = (
        "".join(letter for letter in client or "" if letter.isprintable()).replace(ON_BEHALF_OF, " ").strip()
    )
    return name[:LONGEST_NAME].strip() or "unknown"


def parsed(session: Session, values: dict[str, Any]) -> RenderRequest:
    """Parse a request by the catalog in force."""

    def by(rules: Rules) -> RenderRequest:
        return parse_request(catalog=rules.catalog, **values)

    return session.in_force.judge(by, (DecisionError,))


@dataclass(frozen=True)
class ToolEntry:
    """A tool that an agent can call: its handler, its arguments, and how it acts.

    `reads` means that nothing is recorded, written or sent; `server` that the render server may be called.
    `repeats` means that the same call again changes nothing more. `permission` is what the roles of an access
    key must permit.
    """

    name: str
    description: str
    arguments: type[Arguments]
    handler: Callable[[Agent, Any], Awaitable[Json]]
    reads: bool = False
    server: bool = False
    repeats: bool = True
    destroys: bool = False
    permission: Permission = Permission.READ

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self.arguments.model_json_schema()

    @property
    def pays(self) -> bool:
        """Whether a call may cost money."""
        return issubclass(self.arguments, RenderArguments | ChangeArguments)

    def described(self, *, with_card: bool = False) -> Tool:
        """Return the tool's listing; `with_card` adds the page that shows its job."""
        shows_job = with_card and (self.pays or self.name in {"job", "wait", "download"})
        return Tool(
            name=self.name,
            description=self.description,
            input_schema=self.schema,
            _meta={"ui": {"resourceUri": CARD}} if shows_job else None,
            annotations=ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=self.destroys,
                idempotent_hint=self.repeats,
                open_world_hint=self.server,
            ),
        )

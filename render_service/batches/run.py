"""Run a batch: decide and record many requests together, submit them a few at a time, settle them in sweeps.

1. *Enrol.* Every entry is decided and recorded, in transactions of many entries; nothing is sent yet. The
   event ids are derived from the entries' keys, so the ledger itself refuses a batch that was started before.
   With `resume`, recorded entries continue from their current state, and a changed entry is refused.
2. *Send*, `concurrency` at a time: each intent is durable before its call, and may share a transaction with
   the outcome of the previous call. An entry with a recorded attempt is not sent again, unless that attempt
   is known to have created nothing.
3. *Settle*, with `poll`, the entries that were sent, while the rest is being sent:
   `render_service.settlement.sweep`.

If an entry is split into several remixes, the first is enrolled, with the others recorded next to it: workers
request each once the previous one is stored (`submission.request_again`).

A crash anywhere leaves entries decided, submitting (a video may exist; never sent again) or running; the
same three steps with `resume` continue from there. The failure of one entry does not stop the others, unless
`fail_fast` is set.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from decision.engine.guardrails import ModerationResult
from decision.one_change.verdict import JudgeResult
from ledger.errors import BudgetExceeded, EventIdConflict, LedgerUnusable, WrongExpectedVersion
from ledger.events import RenderDecided, RenderDenied
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import Draft
from ledger.store.interface import NEW, Batch
from ledger.terms import State, Variant
from render_service.batches.file import BatchInvalid, Problem
from render_service.batches.folder import BatchFolder
from render_service.batches.item import FAILURES, Member, Watch
from render_service.batches.plan import Planned
from render_service.rules.budgets import (
    PolicyReplaced,
    Races,
    translate_refusal,
)
from render_service.rules.overrides import Override
from render_service.runtime.coalesce import Coalescer
from render_service.runtime.errors import BadInput
from render_service.session.jobs import fold_records
from render_service.session.session import Session
from render_service.settlement.observe import ON_PURPOSE
from render_service.settlement.settle import HAS_VIDEO
from render_service.settlement.sweep import settle_all
from render_service.submission.intent import requested
from render_service.submission.judge import judge_of
from render_service.submission.moderation import moderate_each
from render_service.submission.result import Opening, Placed, differences, placed_under
from render_service.submission.retry import Patience
from render_service.submission.submit import decide, may_try_again, opening, submit

T = TypeVar("T")

TOGETHER = 100
"""Entries per transaction: enough to share its cost, few enough to keep it short."""

Opinions = tuple[ModerationResult | None, JudgeResult | None]
"""The opinions on an entry before its decision: the server's moderation, and the policy's judge."""


@dataclass(frozen=True)
class BatchOptions:
    """Options of a batch; `attempts` is per entry, for retries after refusals that created nothing.

    With `queue` nothing is sent: allowed entries are scheduled for a worker, or for `resume` one by one.
    `override` is applied to each entry that is denied, if the policy allows that.
    """

    concurrency: int = 3
    attempts: int = 3
    fail_fast: bool = False
    resume: bool = False
    queue: bool = False
    poll: bool = False
    download: bool = False
    interval_s: float = 10.0
    timeout_s: float = 1_800.0
    override: Override | None = None


async def run_batch(
    session: Session,
    plan: Sequence[Planned],
    folder: BatchFolder,
    terms: BatchOptions,
    watch: Watch | None = None,
) -> list[Member]:
    """Run a batch and return the result of each entry, in their order.

    `watch` is called for every entry whose state has changed. Before anything is recorded, `BatchInvalid`
    lists the entries that were changed since the batch was started, `BadInput` means that it was started
    before, and `SettingsUnusable` that the settings cannot reach a server.
    """
    if not terms.queue:
        await _connect(session, plan)
    # A crash while entries are recorded leaves some of them decided and nothing sent: --resume records the
    # others.
    members = await enrol(session, plan, resume=terms.resume, override=terms.override)
    members = await asyncio.to_thread(_with_expected, session, members)
    if watch:
        for member in members:
            watch(member)
    folder.prepare(plan)
    # A crash from here on leaves each entry in the state of its job: --resume sends those never attempted,
    # waits for those running, and leaves those being sent to `reconcile`.
    run = _Run(session, folder, terms, members, watch or (lambda _: None))
    if terms.queue:
        await run.queue()
    elif terms.poll:
        await run.send_and_settle()
    else:
        await run.send()
    return run.members


def _with_expected(session: Session, members: Sequence[Member]) -> list[Member]:
    """Return `members` with how long their renders are expected to take."""
    now, measuring = session.clock(), session.measuring
    return [replace(member, expected=measuring.expected_of(member.job, now)) for member in members]


async def _connect(session: Session, plan: Sequence[Planned]) -> None:
    """Connect to the server of every entry, to find errors in address and key early."""
    for name in {planned.request.profile for planned in plan}:
        async with session.connect(session.profile(name)):
            pass


async def enrol(
    session: Session, plan: Sequence[Planned], *, resume: bool, override: Override | None = None
) -> list[Member]:
    """Decide and record every entry that is not in the ledger yet; return all entries with their jobs.

    `override` is applied to the entries that are denied.
    """
    known = await asyncio.to_thread(_find_recorded, session.ledger, plan, resume=resume)
    members = {planned.entry.number: Member(planned, placed) for planned, placed in known}
    new = [planned for planned in plan if planned.entry.number not in members]
    for some in _chunks(new, TOGETHER):
        members |= {member.number: member for member in await _record(session, some, override)}
    return [members[planned.entry.number] for planned in plan]


def _find_recorded(ledger: Ledger, plan: Sequence[Planned], *, resume: bool) -> list[tuple[Planned, Placed]]:
    recorded = [(planned, placed_under(ledger, planned.request.request_key)) for planned in plan]
    known = [(planned, placed) for planned, placed in recorded if placed]
    if known and not resume:
        raise BadInput(
            f"this batch was started before: {len(known)} of its {len(plan)} entries are in the ledger; "
            "continue it with --resume, or start another in another --out-dir, or with --batch NAME if "
            "the recorded one was started on another machine with the same path",
            param="batch",
            expected="a new batch, or --resume",
            found=f"one of which {len(known)} of {len(plan)} entries are recorded",
        )
    problems = []
    for planned, placed in known:
        differing = differences(placed.requested, planned.request)
        if differing:
            problems.append(
                Problem(
                    planned.entry.line,
                    f"it is {placed.job.job_id}, recorded with another {' and another '.join(differing)}; "
                    "restore it and add new entries at the end, or name another --out-dir "
                    "(or --batch NAME, if the recorded batch is that of another machine with the same path)",
                )
            )
    if problems:
        raise BatchInvalid("the batch was changed since it was started", problems)
    return known


async def _record(session: Session, plan: Sequence[Planned], override: Override | None) -> list[Member]:
    """Record request and decision of several entries in one transaction."""
    races, results = Races(session.log), None
    requests = [planned.request for planned in plan]
    judged: list[JudgeResult | None] = [None] * len(plan)
    while True:
        if results is None or None in results:  # requested by the policy in force now, but not before
            results = await moderate_each(session, requests)
        judged = [
            verdict or await judge_of(session, request)
            for request, verdict in zip(requests, judged, strict=True)
        ]
        try:
            opinions = list(zip(results, judged, strict=True))
            return await _decide_and_record(session, plan, opinions, override)
        except (BudgetExceeded, PolicyReplaced) as race:
            races.log_lost(race)
        except EventIdConflict as taken:
            raise BadInput(
                "another process has just started this batch: wait for it, then continue with --resume",
                param="batch",
                expected="a batch that nobody else runs",
                found="one that another process has just started",
            ) from taken


async def _decide_and_record(
    session: Session,
    plan: Sequence[Planned],
    opinions: Sequence[Opinions],
    override: Override | None,
) -> list[Member]:
    under = session.in_force.rules
    placed, batches = await asyncio.to_thread(_draft_entries, session, plan, opinions, override)
    if any(decided.under is not under for decided in placed):  # rules reloaded meanwhile: decide all again
        raise PolicyReplaced
    with translate_refusal(session.in_force, under):
        records = iter(await session.append_together([*batches, under.unchanged], documents=under.documents))
    return [
        Member(
            planned,
            replace(decided, job=fold_records(decided.job, [next(records) for _ in batch.drafts])),
        )
        for planned, decided, batch in zip(plan, placed, batches, strict=True)
    ]


def _draft_entries(
    session: Session,
    plan: Sequence[Planned],
    opinions: Sequence[Opinions],
    override: Override | None,
) -> tuple[list[Placed], list[Batch]]:
    """Decide several entries, each with the budgets reduced by the entries before it."""
    placed, batches = [], []
    taken = Counter[str]()
    drafted: dict[int, Draft] = {}  # keyed by the ruling's id(), unique because `placed` keeps it alive
    for planned, (moderation, judge) in zip(plan, opinions, strict=True):
        request = planned.request
        event = requested(session.assets, request, planned.material, session.settings)
        decided = decide(session, request, event, taken=taken, moderation=moderation, judge=judge)
        if override and isinstance(decided.ruling, RenderDenied):
            decided = decide(session, request, event, override, taken, moderation=moderation, judge=judge)
        decided = replace(decided, opening=Opening(plan=planned.split))
        batch = Batch(decided.job.job_id, NEW, opening(session, decided, drafted.get(id(decided.ruling))))
        drafted[id(decided.ruling)] = next(
            candidate for candidate in batch.drafts if candidate.event == decided.ruling
        )
        if isinstance(decided.ruling, RenderDecided):
            taken.update({hold.budget: hold.usd_micros for hold in decided.ruling.holds})
        placed.append(decided)
        batches.append(batch)
    return placed, batches


class _Run:
    """A running batch: its entries and the operations on them."""

    def __init__(
        self, session: Session, folder: BatchFolder, terms: BatchOptions, members: list[Member], watch: Watch
    ) -> None:
        self.members = members
        self._session = session
        self._folder = folder
        self._terms = terms
        self._watch = watch
        self._stopped = False
        self._documents = Coalescer[int, None](self._write)
        self._sent: asyncio.Queue[Job | None] = asyncio.Queue()

    async def send(self) -> None:
        """Send all allowed entries, `concurrency` at a time; with `fail_fast` start none after a failure."""
        waiting = iter(range(len(self.members)))

        async def worker() -> None:
            for index in waiting:
                if not self._stopped:
                    await self._start(group, index)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._terms.concurrency, len(self.members))):
                group.create_task(worker())
        await self._documents.finish()

    async def queue(self) -> None:
        """Schedule the allowed entries for a worker."""
        for index, member in enumerate(self.members):
            if member.job.state is State.DECIDED:
                await asyncio.to_thread(self._session.ledger.store.queue.schedule, member.job.job_id)
            self._update(index, member)
        await self._documents.finish()

    async def _start(self, group: asyncio.TaskGroup, index: int) -> None:
        """Send an entry and return when its outcome is known; with `fail_fast`, when that is recorded.

        This outcome and the next intent are then recorded in either order, often in one transaction.
        """
        over = asyncio.Event()
        sending = group.create_task(self._send(index, over.set))
        sending.add_done_callback(lambda _: over.set())
        await (asyncio.wait([sending]) if self._terms.fail_fast else over.wait())

    async def _send(self, index: int, over: Callable[[], None]) -> None:
        """Send an entry; `over` is called as soon as its outcome is known, before that is recorded."""
        member = await self._with_error(self.members[index], self._submit(self.members[index], over))
        self._update(index, member)
        self._stopped |= self._terms.fail_fast and member.has_failed
        if member.error is None and member.job.state in HAS_VIDEO:
            self._sent.put_nowait(member.job)

    async def _submit(self, member: Member, over: Callable[[], None]) -> Member:
        session, placed, planned = self._session, member.placed, member.planned
        if not may_try_again(session, placed.job, placed.outcome) or not isinstance(
            placed.ruling, RenderDecided
        ):
            return member
        self._watch(member)
        patience = Patience(timeout_s=self._terms.timeout_s, attempts=self._terms.attempts, over=over)
        try:
            placed = await submit(session, placed, patience, planned.material)
        except WrongExpectedVersion:  # another process sends this batch too
            placed = replace(placed, job=await session.job(placed.job.job_id))
        return replace(member, placed=placed)

    async def send_and_settle(self) -> None:
        """Send, wait for running renders, store the videos, and copy them out with `download`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle())
            await self.send()
            self._sent.put_nowait(None)

    async def _sent_jobs(self) -> AsyncIterator[Job]:
        while (job := await self._sent.get()) is not None:
            yield job

    async def _settle(self) -> None:
        by_job = {member.job.job_id: index for index, member in enumerate(self.members)}

        def watch(job: Job) -> None:
            self._watch(self.members[by_job[job.job_id]].at(job))
            self._stopped |= self._terms.fail_fast and job.state in FAILURES

        terms, coming = self._terms, self._sent_jobs()
        first = await anext(coming, None)
        if first is None:
            return
        ends = await settle_all(
            self._session,
            [first],
            coming=coming,
            interval_s=terms.interval_s,
            timeout_s=terms.timeout_s,
            watch=watch,
        )
        for job_id, end in ends.items():
            index = by_job[job_id]
            member = replace(self.members[index].at(end.job), error=end.error)
            if terms.download and Variant.VIDEO in end.job.assets:
                member = await self._with_error(member, self._download(member))
            if member != self.members[index]:
                self._update(index, member)
        await self._documents.finish()

    async def _download(self, member: Member) -> Member:
        copying = self._folder.copy_video
        copy = await asyncio.to_thread(copying, self._session.assets, member.planned, member.job)
        return replace(member, files=(copy,))

    async def _with_error(self, member: Member, work: Awaitable[Member]) -> Member:
        """Return the result of `work`; an expected error is recorded in the returned member."""
        try:
            return await work
        except ON_PURPOSE as error:
            with suppress(LedgerUnusable):  # keep its last known state
                member = member.at(await self._session.job(member.job.job_id))
            return replace(member, error=error)

    def _update(self, index: int, member: Member) -> None:
        self.members[index] = member
        self._watch(member)
        self._documents.put(index)

    async def _write(self, indexes: Sequence[int]) -> Sequence[None]:
        """Write the due documents in the background."""
        due = list(dict.fromkeys(indexes))
        members = [self.members[index] for index in due]
        errors = await asyncio.to_thread(self._folder.write_all, members, self._session.ledger)
        for index, error in zip(due, errors, strict=True):
            if error is not None:
                self.members[index] = replace(self.members[index], error=error)
        return [None] * len(indexes)


def _chunks(plan: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (plan[start : start + size] for start in range(0, len(plan), size))


def counts(members: Sequence[Member]) -> dict[str, int]:
    """Return the number of entries, in total and by state."""
    states = [member.job.state for member in members]
    return {"entries": len(members)} | {
        state.value: states.count(state) for state in State if state in states
    }

"""`SyncRenderDesk`, the Python API for synchronous programs: the methods of `RenderDesk`, not awaited."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Unpack

from ledger.job import Job
from ledger.terms import State
from render_service.adoption.characters import KnownCharacter
from render_service.api.desk import EVENTS_S, INTERVAL_S, TIMEOUT_S, RenderDesk
from render_service.api.values import ChangeOptions, CreateOptions, Decided, LedgerEvent, Spend, VideoPage
from render_service.approvals.reviews import Verdict
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.verdict import Settlement
from render_service.rules.measurements import Duration

T = TypeVar("T")


class SyncRenderDesk:
    """`RenderDesk` for synchronous programs; use as ``with SyncRenderDesk(…) as desk``.

    Not for use inside a running event loop, nor from several threads at the same time.
    """

    def __init__(
        self,
        *,
        ledger: str | None = None,
        profile: str | None = None,
        actor: str | None = None,
        team: str | None = None,
        project: str | None = None,
    ) -> None:
        self._session = RenderDesk(ledger=ledger, profile=profile, actor=actor, team=team, project=project)
        self._open = ExitStack()
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:  # closes the loop if the desk cannot be opened
            self._runner = opening.enter_context(asyncio.Runner())
            self._run(self._session.__aenter__())
            opening.callback(lambda: self._run(self._session.__aexit__()))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._runner = None

    def create(self, prompt: str, **options: Unpack[CreateOptions]) -> Job:
        """See `RenderDesk.create`."""
        return self._run(self._session.create(prompt, **options))

    def create_and_poll(
        self,
        prompt: str,
        *,
        poll_interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        **options: Unpack[CreateOptions],
    ) -> Job:
        """See `RenderDesk.create_and_poll`."""
        return self._run(
            self._session.create_and_poll(
                prompt, poll_interval_s=poll_interval_s, timeout_s=timeout_s, **options
            )
        )

    def remix(self, name: str, prompt: str, **options: Unpack[ChangeOptions]) -> Job:
        """See `RenderDesk.remix`."""
        return self._run(self._session.remix(name, prompt, **options))

    def edit(self, name: str, prompt: str, **options: Unpack[ChangeOptions]) -> Job:
        """See `RenderDesk.edit`."""
        return self._run(self._session.edit(name, prompt, **options))

    def extend(self, name: str, prompt: str, *, seconds: str | int, **options: Unpack[ChangeOptions]) -> Job:
        """See `RenderDesk.extend`."""
        return self._run(self._session.extend(name, prompt, seconds=seconds, **options))

    def create_character(self, name: str, video: Path | str) -> KnownCharacter:
        """See `RenderDesk.create_character`."""
        return self._run(self._session.create_character(name, video))

    def decide(
        self,
        prompt: str,
        *,
        operation: Literal["create", "remix", "edit", "extend"] = "create",
        job: str | None = None,
        **options: Unpack[CreateOptions],
    ) -> Decided:
        """See `RenderDesk.decide`."""
        return self._run(self._session.decide(prompt, operation=operation, job=job, **options))

    def wait_many(
        self,
        names: Iterable[str],
        *,
        poll_interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
    ) -> Sequence[Job]:
        """See `RenderDesk.wait_many`."""
        return self._run(self._session.wait_many(names, poll_interval_s=poll_interval_s, timeout_s=timeout_s))

    def find(
        self,
        words: str | None = None,
        *,
        states: Sequence[State] | None = None,
        purpose: str | None = None,
        limit: int = 20,
    ) -> Sequence[Job]:
        """See `RenderDesk.find`."""
        return self._run(self._session.find(words, states=states, purpose=purpose, limit=limit))

    def events(
        self, after: int = 0, *, follow: bool = True, poll_interval_s: float = EVENTS_S
    ) -> Iterator[LedgerEvent]:
        """See `RenderDesk.events`."""
        reading = self._session.events(after, follow=follow, poll_interval_s=poll_interval_s)
        while True:
            try:
                event = self._run(_next(reading))
            except StopAsyncIteration:
                return
            yield event

    def review(
        self,
        name: str,
        verdict: Verdict,
        *,
        scores: Mapping[str, int] | None = None,
        notes: str | None = None,
    ) -> Job:
        """See `RenderDesk.review`."""
        return self._run(self._session.review(name, verdict, scores=scores, notes=notes))

    def approve(self, name: str, *, comment: str | None = None, key: Path | str | None = None) -> Job:
        """See `RenderDesk.approve`."""
        return self._run(self._session.approve(name, comment=comment, key=key))

    def cancel(self, name: str, *, reason: str | None = None) -> Job:
        """See `RenderDesk.cancel`."""
        return self._run(self._session.cancel(name, reason=reason))

    def spend(
        self,
        by: Literal["model", "purpose", "actor", "team", "day", "budget"] = "model",
        *,
        since: str | None = None,
    ) -> Spend:
        """See `RenderDesk.spend`."""
        return self._run(self._session.spend(by, since=since))

    def resume(self, name: str) -> Job:
        """See `RenderDesk.resume`."""
        return self._run(self._session.resume(name))

    def reconcile(self, name: str, *, grace_s: float = GRACE_S) -> Settlement:
        """See `RenderDesk.reconcile`."""
        return self._run(self._session.reconcile(name, grace_s=grace_s))

    def poll(self, name: str, *, poll_interval_s: float = INTERVAL_S, timeout_s: float = TIMEOUT_S) -> Job:
        """See `RenderDesk.poll`."""
        return self._run(self._session.poll(name, poll_interval_s=poll_interval_s, timeout_s=timeout_s))

    def job(self, name: str) -> Job:
        """See `RenderDesk.job`."""
        return self._run(self._session.job(name))

    def expected(self, name: str) -> Duration | None:
        """See `RenderDesk.expected`."""
        return self._run(self._session.expected(name))

    def download(
        self,
        name: str,
        *,
        variant: Literal["video", "thumbnail", "spritesheet"] = "video",
        to: Path | str | None = None,
        force: bool = False,
    ) -> bytes:
        """See `RenderDesk.download`."""
        return self._run(self._session.download(name, variant=variant, to=to, force=force))

    def list(
        self, *, limit: int = 20, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> VideoPage:
        """See `RenderDesk.list`."""
        return self._run(self._session.list(limit=limit, after=after, order=order))

    def delete(self, name: str, *, reason: str | None = None) -> Job:
        """See `RenderDesk.delete`."""
        return self._run(self._session.delete(name, reason=reason))

    def record(self, stream: str, fact: Mapping[str, Any], *, event_id: str | None = None) -> LedgerEvent:
        """See `RenderDesk.record`."""
        return self._run(self._session.record(stream, fact, event_id=event_id))

    def _run(self, use: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            use.close()
            raise RuntimeError("the desk is not open: use `with SyncRenderDesk(…) as desk`")
        return self._runner.run(use)


async def _next(reading: AsyncIterator[LedgerEvent]) -> LedgerEvent:
    return await anext(reading)

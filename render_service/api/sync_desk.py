"""`SyncRenderDesk`, the Python API for synchronous programs."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Unpack

from ledger.job import Job
from render_service.api.async_desk import INTERVAL_S, TIMEOUT_S, CreateOptions, RenderDesk
from render_service.recovery.attempts import GRACE_S
from render_service.recovery.verdict import Settlement

T = TypeVar("T")


class SyncRenderDesk:
    """`RenderDesk` for synchronous programs; use as ``with SyncRenderDesk(…) as desk``.

    Not for use inside a running event loop, nor from several threads at once.
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
    ) -> dict[str, Any]:
        """See `RenderDesk.list`."""
        return self._run(self._session.list(limit=limit, after=after, order=order))

    def delete(self, name: str, *, reason: str | None = None) -> Job:
        """See `RenderDesk.delete`."""
        return self._run(self._session.delete(name, reason=reason))

    def record(self, stream: str, fact: Mapping[str, Any], *, event_id: str | None = None) -> dict[str, Any]:
        """See `RenderDesk.record`."""
        return self._run(self._session.record(stream, fact, event_id=event_id))

    def _run(self, use: Coroutine[Any, Any, T]) -> T:
        if self._runner is None:
            use.close()
            raise RuntimeError("the desk is not open: use `with SyncRenderDesk(…) as desk`")
        return self._runner.run(use)

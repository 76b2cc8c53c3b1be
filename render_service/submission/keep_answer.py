"""Keeping one answer in the spool while the ledger cannot be written, and saying what to do about it."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from ledger.errors import LedgerUnusable
from ledger.events import SubmissionAccepted
from ledger.job import Job
from ledger.record import Draft, timestamp
from render_service.runtime.errors import AnswerSpooled
from render_service.session.session import Session
from render_service.submission import spool
from render_service.submission.spool import Spooled, SpooledDraft
from sora_adapter.messages import Submission

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0


class Keeping:
    """The answer to one attempt, from the first failure to record it until it is recorded or given up."""

    def __init__(self, session: Session, job: Job, outcome: Submission, drafts: Sequence[Draft]) -> None:
        self._session = session
        self._job = job
        self._outcome = outcome
        self._drafts = drafts
        self._file: Path | None = None
        self._trouble: OSError | None = None
        self._until = 0.0
        self._pause_s = FIRST_PAUSE_S

    @property
    def _video_id(self) -> str | None:
        return self._outcome.video_id if isinstance(self._outcome, SubmissionAccepted) else None

    async def keep(self) -> None:
        """Write the answer to the spool, unless it is there; log where it is, with all ids."""
        if self._file is not None:
            return
        first = self._trouble is None
        try:
            self._file = await asyncio.to_thread(self._write)
        except OSError as error:
            self._trouble = error
        if self._file is not None or first:
            self._session.log.warning(
                "answer.kept" if self._file else "answer.not_kept",
                job_id=self._job.job_id,
                attempt_id=self._outcome.attempt_id,
                video_id=self._video_id,
                outcome=self._outcome.type,
                file=str(self._file) if self._file else None,
            )

    def _write(self) -> Path:
        spooled = Spooled(
            ledger_id=self._session.ledger.ledger_id,
            job_id=self._job.job_id,
            attempt_id=self._outcome.attempt_id,
            outcome=self._outcome.type,
            video_id=self._video_id,
            spooled_at=timestamp(self._session.clock()),
            drafts=tuple(map(SpooledDraft.of, self._drafts)),
        )
        return spool.write(self._session.settings.spool_folders(spooled.ledger_id), spooled)

    async def may_try_again(self) -> bool:
        """Wait a moment and return True, or False once the time for it is over."""
        self._until = self._until or time.monotonic() + self._session.settings.retry_seconds
        if time.monotonic() + self._pause_s > self._until:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True

    async def forget(self) -> None:
        """Delete the file: the answer is recorded."""
        if self._file is not None:
            await asyncio.to_thread(spool.remove, self._file)

    def unrecorded(self, cause: LedgerUnusable) -> AnswerSpooled:
        """Say what came, that it is not recorded, where it is kept, and which command records it."""
        job_id, attempt_id, video_id = self._job.job_id, self._outcome.attempt_id, self._video_id
        came = f"the server made {video_id}" if video_id else f"it ended as {self._outcome.type}"
        what = f"{job_id}: {came} for {attempt_id}, and the ledger cannot record it: {cause}"
        if self._file is not None:
            return AnswerSpooled(
                f"{what}. The answer is kept in {self._file}; the next command that records something takes "
                f"it from there: once the ledger can be written, `sora-ledger poll --id {job_id}`. "
                "Do not send the request again"
            )
        because = self._trouble.strerror if self._trouble else "unknown"
        command = f"reconcile {job_id}" + (f" --video-id {video_id}" if video_id else "")
        return AnswerSpooled(
            f"{what}. Nor can it be kept in a file ({because}): note both ids, and once the ledger can be "
            f"written run `sora-ledger {command}`. Do not send the request again"
        )

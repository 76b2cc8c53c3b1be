"""Faults on demand, for the next request of an operation, the next job, or the next delivery.

A fault is planned as ``OPERATION=FAULT[@DETAIL][:TIMES]``; without TIMES it lasts until it is cleared.
The faults of one operation happen one after the other, in the planned order.

==========================  =========================================================================
any operation               what happens to the request
==========================  =========================================================================
none                        nothing: lets TIMES requests through before the next fault
lost                        the connection is reset before anything is read or carried out
kept-but-answer-lost        it is carried out, and the connection is reset instead of an answer
429[@SECONDS]               refused before it is carried out, with Retry-After if given
refused@CODE                refused for its key, account or model: one of `refusals.REFUSALS`
500, 502, 503, 504          the server fails before it is carried out
kept-but-500, …             it is carried out, but the answer is a server error
slow@SECONDS                it is carried out after that time, if the caller still waits
kept-but-slow@SECONDS       it is carried out, and answered after that time
reset                       the connection is reset in the middle of the answer's body
truncated                   the body ends halfway, although content-length announces more
==========================  =========================================================================

==========================  =========================================================================
create remix edit extend    what happens to the job
==========================  =========================================================================
stuck@PERCENT               it never proceeds beyond this
failing[@CODE]              it fails when it would have been completed
==========================  =========================================================================

==========================  =========================================================================
webhook                     what happens to a delivery
==========================  =========================================================================
lost, doubled, late@SECONDS, out-of-order, badly-signed
==========================  =========================================================================

The plan lives as long as the server; `fault_middleware` carries them
out. A job that is stuck or failing is not announced by webhook.
"""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sora_adapter.sandbox.wire.refusals import REFUSALS
from sora_adapter.sandbox.wire.relay import OPERATIONS

GRAMMAR = "OPERATION=FAULT[@DETAIL][:TIMES], such as create=429@2:3 or create=stuck@40"
WEBHOOK = "webhook"
CREATORS = ("create", "remix", "edit", "extend")
KEPT = "kept-but-"
ANSWER_LOST = f"{KEPT}answer-lost"
ANSWER_SLOW = f"{KEPT}slow"
FATES = ("stuck", "failing")
_FAILURES = ("500", "502", "503", "504")
_ANYWHERE = (
    "none", "lost", ANSWER_LOST, "429", "refused", *_FAILURES, *(f"{KEPT}{status}" for status in _FAILURES),
    "slow", ANSWER_SLOW, "reset", "truncated",
)  # fmt: skip
_OF_WEBHOOKS = ("none", "lost", "doubled", "late", "out-of-order", "badly-signed")
_WITH_NUMBER = ("slow", ANSWER_SLOW, "stuck", "late")
_SPEC = re.compile(r"(?P<operation>[a-z-]+)=(?P<kind>[a-z0-9-]+)(?:@(?P<detail>[\w.]+))?(?::(?P<times>\d+))?")


@dataclass(frozen=True)
class Fault:
    """A planned fault, for `times` more occurrences (None: always); `detail` is a number or an error code."""

    operation: str
    kind: str
    detail: str | None = None
    times: int | None = None

    @property
    def number(self) -> float:
        """The numeric detail of a fault: seconds or percent."""
        return float(self.detail or 0)

    def __str__(self) -> str:
        detail = "" if self.detail is None else f"@{self.detail}"
        return f"{self.operation}={self.kind}{detail}" + ("" if self.times is None else f":{self.times}")


class Faults:
    """The faults that are still planned, in order, and the fates of jobs; thread-safe."""

    def __init__(self, specs: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._fates: dict[str, Fault] = {}
        self.add(specs)

    def add(self, specs: Iterable[str]) -> None:
        """Plan faults after those already planned, all of them or none; raises ValueError."""
        faults = [parse_fault(spec) for spec in specs]
        with self._lock:
            self._waiting.extend(faults)

    def clear(self) -> None:
        """Remove all faults, including the fates of jobs that were stuck or failing."""
        with self._lock:
            self._waiting.clear()
            self._fates.clear()

    def waiting(self) -> list[str]:
        """Return the planned faults, as specifications."""
        with self._lock:
            return [str(fault) for fault in self._waiting]

    def next(self, operation: str) -> Fault | None:
        """Return the fault of this request or delivery, and count it; None if there is none."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fault.operation == operation:
                    if fault.times is not None:
                        self._waiting[index : index + 1] = _one_less(fault)
                    return None if fault.kind == "none" else fault
        return None

    def befall(self, job_id: str, fate: Fault) -> None:
        """Record the fate of a job."""
        with self._lock:
            self._fates[job_id] = fate

    def fate_of(self, job_id: str) -> Fault | None:
        """Return the fate of a job: a fault that is one of FATES, or None."""
        with self._lock:
            return self._fates.get(job_id)


def parse_fault(spec: str) -> Fault:
    """Parse one fault; raises ValueError with what was expected."""
    read = _SPEC.fullmatch(spec)
    if read is None:
        raise ValueError(f"{spec!r} is not a fault; expected one like create=kept-but-answer-lost:1")
    operation, kind, detail, times = read.group("operation", "kind", "detail", "times")
    if operation not in (*OPERATIONS, WEBHOOK):
        offered = ", ".join((*OPERATIONS, WEBHOOK))
        raise ValueError(f"{spec!r}: unknown operation {operation} (known: {offered})")
    if kind not in _kinds_of(operation):
        raise ValueError(
            f"{spec!r}: {operation} has no fault {kind} (known: {', '.join(_kinds_of(operation))})"
        )
    if (kind in _WITH_NUMBER and detail is None) or (
        kind in (*_WITH_NUMBER, "429") and not _is_number(detail)
    ):
        raise ValueError(f"{spec!r}: {kind} needs a number, as in {operation}={kind}@2")
    if kind == "refused" and detail not in REFUSALS:
        raise ValueError(f"{spec!r}: refused needs a code (known: {', '.join(REFUSALS)})")
    return Fault(operation, kind, detail, None if times is None else int(times))


def _kinds_of(operation: str) -> tuple[str, ...]:
    if operation == WEBHOOK:
        return _OF_WEBHOOKS
    return (*_ANYWHERE, *FATES) if operation in CREATORS else _ANYWHERE


def _is_number(detail: str | None) -> bool:
    return detail is None or re.fullmatch(r"\d+(\.\d+)?", detail) is not None


def _one_less(fault: Fault) -> list[Fault]:
    """Return a fault with one occurrence less."""
    assert fault.times is not None  # only called for counted faults
    return [replace(fault, times=fault.times - 1)] if fault.times > 1 else []

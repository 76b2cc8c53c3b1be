"""Faults on demand: which one befalls the next request of an operation, the next job, the next delivery.

A fault is asked for as ``OPERATION=FAULT[@DETAIL][:TIMES]``; without TIMES it lasts until it is taken back.
Those of one operation happen one after the other, in the order they were asked for.

==========================  =========================================================================
any operation               what happens to the request
==========================  =========================================================================
none                        nothing: lets TIMES requests through before the next fault
lost                        the connection is reset before anything is read or carried out
kept-but-answer-lost        it is carried out, and the connection is reset in the place of an answer
429[@SECONDS]               refused before it is carried out, perhaps with Retry-After
refused@CODE                refused for its key, account or model: one of `refusals.REFUSALS`
500, 502, 503, 504          the server fails before it is carried out
kept-but-500, …             it is carried out, and the answer says that the server failed
slow@SECONDS                it is carried out after that time, if the caller is still there
kept-but-slow@SECONDS       it is carried out, and answered after that time
reset                       the connection is reset in the middle of the answer's body
truncated                   the body ends in its middle, although content-length announces more
==========================  =========================================================================

==========================  =========================================================================
create remix edit extend    what becomes of the job
==========================  =========================================================================
stuck@PERCENT               it never gets further
failing[@CODE]              it fails when it would have been completed
==========================  =========================================================================

==========================  =========================================================================
webhook                     what the sender of webhooks has to do with a delivery
==========================  =========================================================================
lost, doubled, late@SECONDS, out-of-order, badly-signed
==========================  =========================================================================

The plan lives as long as the server; `mishaps` carries out what concerns requests and jobs, `webhook_faults`
what concerns deliveries. A job that is stuck or failing is not announced by webhook.
"""

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sora_adapter.sandbox.wire.errors import REFUSALS
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
    """What is to happen, once more or `times` (None: always); `detail` is a number or an error code."""

    operation: str
    kind: str
    detail: str | None = None
    times: int | None = None

    @property
    def number(self) -> float:
        """The detail of a fault that has a number for one: seconds or percent."""
        return float(self.detail or 0)

    def __str__(self) -> str:
        detail = "" if self.detail is None else f"@{self.detail}"
        return f"{self.operation}={self.kind}{detail}" + ("" if self.times is None else f":{self.times}")


class Faults:
    """What is still to happen, in order, and what became of which job; safe to ask from any thread."""

    def __init__(self, specs: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []
        self._fates: dict[str, Fault] = {}
        self.add(specs)

    def add(self, specs: Iterable[str]) -> None:
        """Plan faults behind those that wait already, all of them or none; raises ValueError."""
        faults = [parse_fault(spec) for spec in specs]
        with self._lock:
            self._waiting.extend(faults)

    def clear(self) -> None:
        """Let everything go well from now on, also for the jobs that were stuck or failing."""
        with self._lock:
            self._waiting.clear()
            self._fates.clear()

    def waiting(self) -> list[str]:
        """Return what is still to happen, as it would be asked for."""
        with self._lock:
            return [str(fault) for fault in self._waiting]

    def next(self, operation: str) -> Fault | None:
        """Return the fault that befalls this request or delivery, and count it; None if all goes well."""
        with self._lock:
            for index, fault in enumerate(self._waiting):
                if fault.operation == operation:
                    if fault.times is not None:
                        self._waiting[index : index + 1] = _one_less(fault)
                    return None if fault.kind == "none" else fault
        return None

    def befall(self, job_id: str, fate: Fault) -> None:
        """Note what becomes of a job."""
        with self._lock:
            self._fates[job_id] = fate

    def fate_of(self, job_id: str) -> Fault | None:
        """Return what becomes of a job: a fault that is one of FATES, or None."""
        with self._lock:
            return self._fates.get(job_id)


def parse_fault(spec: str) -> Fault:
    """Read one fault; raises ValueError with what was expected."""
    read = _SPEC.fullmatch(spec)
    if read is None:
        raise ValueError(f"{spec!r} is no fault; expected one like create=kept-but-answer-lost:1")
    operation, kind, detail, times = read.group("operation", "kind", "detail", "times")
    if operation not in (*OPERATIONS, WEBHOOK):
        offered = ", ".join((*OPERATIONS, WEBHOOK))
        raise ValueError(f"{spec!r}: there is no operation {operation} (there are: {offered})")
    if kind not in _kinds_of(operation):
        raise ValueError(
            f"{spec!r}: {operation} knows no {kind} (it knows: {', '.join(_kinds_of(operation))})"
        )
    if (kind in _WITH_NUMBER and detail is None) or (
        kind in (*_WITH_NUMBER, "429") and not _is_number(detail)
    ):
        raise ValueError(f"{spec!r}: {kind} needs a number, as in {operation}={kind}@2")
    if kind == "refused" and detail not in REFUSALS:
        raise ValueError(f"{spec!r}: refused needs a code (there are: {', '.join(REFUSALS)})")
    return Fault(operation, kind, detail, None if times is None else int(times))


def _kinds_of(operation: str) -> tuple[str, ...]:
    if operation == WEBHOOK:
        return _OF_WEBHOOKS
    return (*_ANYWHERE, *FATES) if operation in CREATORS else _ANYWHERE


def _is_number(detail: str | None) -> bool:
    return detail is None or re.fullmatch(r"\d+(\.\d+)?", detail) is not None


def _one_less(fault: Fault) -> list[Fault]:
    """Return what is left of a fault that has just happened."""
    assert fault.times is not None  # only counted faults come here
    return [replace(fault, times=fault.times - 1)] if fault.times > 1 else []

"""The fold of `ledger.verify.rules` once more, for correct records: slim, and without explanations.

A job is a structure whose members are in the order of its row, so serialising it gives the row. `NotSound` if
a step is not allowed; `ledger.verify.rules` says what is wrong with it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ledger.verify.rules import (
    ANYWHERE,
    BLANK,
    FACTS,
    ONCE_OPEN,
    ONLY_WITH_VALUE,
    SPLIT,
    STEPS,
)

_ALWAYS = ("assets", "budgets", "job_id", "created_at", "actor", "trace_id", "state", "version", "position")
_LATE = dict.fromkeys(ONLY_WITH_VALUE, msgspec.UNSET)
_FIELDS: list[Any] = sorted(
    [*((name, Any) for name in (*_ALWAYS, "updated_at"))]
    + [(name, Any, value) for name, value in (BLANK | _LATE).items()]
)
Row: Any = msgspec.defstruct("Row", _FIELDS, kw_only=True)
"""The row of a job."""

_NEXT = {state: {**steps, **dict.fromkeys(ANYWHERE, state)} for state, steps in STEPS.items() if state != "-"}
_NEXT |= {
    state: dict.fromkeys(ANYWHERE, state)
    for steps in STEPS.values()
    for state in steps.values()
    if state not in STEPS
}
MONEY = frozenset(
    "render.decided submission.intended submission.rejected submission.absent render.cancelled "
    "cost.settled".split()
)
"""The events that change what a job holds of its budgets."""


_OBSERVED: dict[object, str] = {status: f"status.observed:{status}" for status in ("completed", "failed")}


class NotSound(Exception):
    """Something is wrong, or may be."""


def fold(row: Any, type_: str, envelope: Any, payload: Any) -> Any:
    """Return the row of a job after one more record; members of the payload are attributes."""
    names, apply, is_split, is_once = _CHANGES.get(type_, _NO_CHANGE)
    if row is None:
        state = STEPS["-"].get(type_)
        row = Row(
            assets={},
            budgets={},
            job_id=envelope.stream,
            created_at=envelope.occurred_at,
            actor=envelope.actor,
            trace_id=envelope.trace_id,
            state=state,
            version=1,
            position=0,
            updated_at=None,
        )
    else:
        state = _NEXT[row.state].get(_split(type_, payload) if is_split else type_)
        if is_once and row.outcome is not None:
            state = None
    if state is None:
        raise NotSound(type_)
    for name in names:
        setattr(row, name, getattr(payload, name, None))
    if apply:
        apply(row, payload, envelope)
    row.state = state
    row.version = envelope.version
    row.position = envelope.position
    row.updated_at = envelope.occurred_at
    return row


def _split(type_: str, payload: Any) -> str:
    if type_ == "status.observed":
        return _OBSERVED.get(getattr(payload, "status", None), "status.observed:running")
    return f"{type_}:{'video' if getattr(payload, 'variant', None) == 'video' else 'other'}"


def _fold_requested(row: Any, _payload: Any, _envelope: Any) -> None:
    for name in ONLY_WITH_VALUE:
        if getattr(row, name) is None:
            setattr(row, name, msgspec.UNSET)


def _fold_ruled(row: Any, payload: Any, _envelope: Any) -> None:
    row.decision_id = payload.basis.decision_id


def _fold_decided(row: Any, payload: Any, envelope: Any) -> None:
    _fold_ruled(row, payload, envelope)
    row.estimate_usd_micros = row.reserved_usd_micros = payload.cost_usd_micros
    row.budgets = {str(hold.budget): hold.usd_micros for hold in payload.holds}


def _fold_denied(row: Any, payload: Any, envelope: Any) -> None:
    _fold_ruled(row, payload, envelope)
    row.detail_code = payload.denial_trace.detail_code


def _fold_intended(row: Any, _payload: Any, _envelope: Any) -> None:
    row.attempts += 1
    row.reserved_usd_micros = row.estimate_usd_micros


def _fold_rejected(row: Any, payload: Any, _envelope: Any) -> None:
    row.error_code = getattr(payload.error, "code", None) or None
    row.reserved_usd_micros = 0


def _fold_released(row: Any, _payload: Any, _envelope: Any) -> None:
    row.reserved_usd_micros = 0


def _fold_observed(row: Any, payload: Any, _envelope: Any) -> None:
    if getattr(payload, "error", None) is not None:
        row.error_code = getattr(payload.error, "code", None) or None
    if getattr(payload, "expires_at", None) is not None:
        row.expires_at = payload.expires_at


def _fold_stored(row: Any, payload: Any, _envelope: Any) -> None:
    about = {name: getattr(payload, name) for name in ("bytes", "media_type", "sha256", "storage_uri")}
    row.assets = {**row.assets, str(payload.variant): about}


def _fold_settled(row: Any, payload: Any, _envelope: Any) -> None:
    row.settled_usd_micros = payload.cost_usd_micros
    row.cost_basis = payload.basis
    row.reserved_usd_micros = 0


def _fold_closed(row: Any, _payload: Any, envelope: Any) -> None:
    row.closed_at = envelope.occurred_at


_APPLY: dict[str, Callable[[Any, Any, Any], None]] = {
    "render.requested": _fold_requested,
    "render.decided": _fold_decided,
    "render.held": _fold_ruled,
    "render.denied": _fold_denied,
    "submission.intended": _fold_intended,
    "submission.rejected": _fold_rejected,
    "submission.absent": _fold_released,
    "render.cancelled": _fold_released,
    "status.observed": _fold_observed,
    "asset.stored": _fold_stored,
    "cost.settled": _fold_settled,
    "render.closed": _fold_closed,
}

_Change = tuple[Sequence[str], Callable[[Any, Any, Any], None] | None, bool, bool]
"""What is copied, what else changes, whether the payload decides the step, and a closed job refuses it."""
_NO_CHANGE: _Change = ((), None, False, False)
_CHANGES: dict[str, _Change] = {
    type_: (FACTS.get(type_, ()), _APPLY.get(type_), type_ in SPLIT, type_ in ONCE_OPEN)
    for type_ in {*FACTS, *_APPLY, *SPLIT, *ONCE_OPEN}
}

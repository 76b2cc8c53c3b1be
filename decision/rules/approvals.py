"""The people rules of a policy: which renders need approval, and which denials may be overridden.

A rule matches if everything it names agrees; unset criteria match anything. The packaged policy has no rules.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, model_validator

from decision.rules.catalog import Catalog
from decision.rules.document import Entry
from decision.rules.passkeys import Passkey, is_passkey
from decision.rules.purpose import PURPOSES
from ledger.terms import Operation

ED25519 = b"\x01"
KEY_BYTES = 32
ID_BYTES = 4


def check_key(text: str) -> str:
    """Return `text` if it is an Ed25519 public key; `ValueError` says what is wrong."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not name or len(key) != 1 + KEY_BYTES or key[:1] != ED25519:
        raise ValueError(
            "expected an Ed25519 public key such as ana+1f2e3d4c+AQ…; `sora-ledger key show FILE` prints it"
        )
    found = hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[: 2 * ID_BYTES]
    if found != key_id:
        raise ValueError(f"the key of {name} has the id {found}, not {key_id}: it was mistyped")
    return text


def check_approver_key(text: str) -> str:
    """Return `text` if it is an Ed25519 public key or a passkey; `ValueError` says what is wrong."""
    return str(Passkey.parse(text)) if is_passkey(text) else check_key(text)


PublicKey = Annotated[str, AfterValidator(check_key)]
ApproverKey = Annotated[str, AfterValidator(check_approver_key)]
Person = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
Approvers = dict[Person, Annotated[tuple[ApproverKey, ...], Field(min_length=1)]]
"""The people who may sign approvals, by actor id, each with their keys and passkeys."""

Requesters = dict[Person, Annotated[tuple[PublicKey, ...], Field(min_length=1)]]
"""The people who may sign only requests. A passkey signs on a page, but programs sign requests."""


def keys_of_several(approvers: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the keys listed for more than one person: their signatures do not identify anyone."""
    keys = [key for own in approvers.values() for key in dict.fromkeys(own)]
    return sorted({key for key in keys if keys.count(key) > 1})


def owner_of(key: str, approvers: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the owner of `key`, None if it is not in the policy."""
    return next((person for person, own in approvers.items() if key in own), None)


Code = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
OVERRIDABLE = frozenset(
    {
        "SEVERAL_CHANGES",
        "NO_CHANGE_FOUND",
        "CHANGE_UNCLEAR",
        "COST_ABOVE_LIMIT",
        "ATTESTATION_MISSING",
        "DRAFT_NOT_APPROVED",
        "TERM_NOT_ALLOWED",
        "MODERATION_FLAGGED",
        "MODERATION_MISSING",
    }
)
"""Denials that come from rules; the others are facts, which no permission changes."""
VERDICTS = frozenset({"single", "multiple", "none", "ambiguous"})
"""The possible verdicts of the one-change rule."""
CHANGING = frozenset({Operation.REMIX, Operation.EDIT})
"""The operations whose changes are classified."""


class Change(StrEnum):
    """Changes that may need approval, like renders: of the policy, of budgets, and of access."""

    POLICY = "policy.activate"
    BUDGET = "budget.set"
    ACCESS = "access.grant"

    @property
    def command(self) -> str:
        """The command that makes the change."""
        return self.value.replace(".", " ")


class ApprovalRule(Entry):
    """A kind of render that `people` must approve; `code` is the reason in the record.

    `change_verdicts` are those of `decision.one_change.verdict`: ``ambiguous`` holds unclear remixes.
    `guardrails` are codes of the policy's guardrail rules that a request meets. With `signed`, only approvals
    signed with a key of the policy's approvers count; `signed_by` restricts them to these signers. A rule for
    a `Change` sets no criteria about renders.
    """

    code: Code
    people: Annotated[int, Field(ge=1, le=9, strict=True)] = 1
    models: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None
    operations: tuple[Operation | Change, ...] | None = None
    change_verdicts: tuple[str, ...] | None = None
    guardrails: tuple[str, ...] | None = None
    min_cost_usd_micros: Annotated[int, Field(ge=0, lt=2**53, strict=True)] | None = None
    signed: StrictBool | None = None
    signed_by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _changes_apart(self) -> Self:
        changes = self.changes
        names = ("models", "purposes", "change_verdicts", "guardrails", "min_cost_usd_micros")
        of_renders = any(getattr(self, name) is not None for name in names)
        mixed = len(changes) < len(self.operations or ()) or of_renders
        if changes and mixed:
            raise ValueError(
                f"approval rule {self.code}: a rule for {changes[0]} names nothing of renders; "
                "give them a rule of their own"
            )
        return self

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes it applies to, empty for a rule about renders."""
        return tuple(operation for operation in self.operations or () if isinstance(operation, Change))

    @property
    def wants_signature(self) -> bool:
        """Whether an approval must be signed."""
        return bool(self.signed or self.signed_by)

    def matches(
        self,
        *,
        model: str,
        purpose: str,
        operation: Operation,
        change_verdict: str | None,
        cost_usd_micros: int,
        guardrails: Collection[str] = (),
    ) -> bool:
        """Return whether an otherwise allowed render needs approval under this rule."""
        return (
            (self.models is None or model in self.models)
            and (self.purposes is None or purpose in self.purposes)
            and (self.operations is None or operation in self.operations)
            and (self.change_verdicts is None or change_verdict in self.change_verdicts)
            and (self.guardrails is None or not set(self.guardrails).isdisjoint(guardrails))
            and (self.min_cost_usd_micros is None or cost_usd_micros >= self.min_cost_usd_micros)
        )

    def cannot_be_met(self, approvers: Collection[str]) -> Iterator[str]:
        """Yield why its approvals cannot be given; nothing if enough of `approvers` can give them."""
        signers = set(self.signed_by or approvers) & set(approvers)
        if self.wants_signature and len(signers) < self.people:
            yield (
                f"approval rule {self.code}: it wants {self.people} signed approvals, and [approvers] names"
                f" {len(signers)} who may sign them"
            )

    def find_contradictions(self, catalog: Catalog) -> Iterator[str]:
        """Yield why no render of `catalog` can ever match; nothing if one can, or if it is for changes."""
        if self.changes:
            return
        unknown = [name for name in self.models or () if name not in catalog.model_names]
        if self.models is not None and len(unknown) == len(self.models):
            yield f"approval rule {self.code}: the catalog has none of its models ({', '.join(unknown)})"
        if self.purposes is not None and not set(self.purposes) & set(PURPOSES):
            yield f"approval rule {self.code}: none of its purposes is known ({', '.join(self.purposes)})"
        if self.operations == ():
            yield f"approval rule {self.code}: its operations are an empty list"
        yield from self._warn_of_unknown_verdicts(set(self.change_verdicts or ()))
        dearest = self._find_highest_cost(catalog)
        if not unknown and (self.min_cost_usd_micros or 0) > dearest:
            yield (
                f"approval rule {self.code}: nothing costs {self.min_cost_usd_micros} micro-dollars"
                f" (at most {dearest})"
            )

    def _warn_of_unknown_verdicts(self, verdicts: Collection[str]) -> Iterator[str]:
        if self.change_verdicts is None:
            return
        if not set(verdicts) & VERDICTS:
            yield (
                f"approval rule {self.code}: none of its change_verdicts is known"
                f" ({', '.join(self.change_verdicts)})"
            )
        elif self.operations and not set(self.operations) & CHANGING:
            yield f"approval rule {self.code}: only a remix or an edit has one of its change_verdicts"

    def _find_highest_cost(self, catalog: Catalog) -> int:
        """Return the highest cost of a matching render, with the longest video for operations on a source."""
        longest = max(*catalog.seconds, *catalog.extension.seconds)
        if not self.operations or set(self.operations) & CHANGING:
            longest = max(longest, catalog.extension.max_total_seconds)
        names = self.models or catalog.model_names
        costs = (catalog.cost_usd_micros(name, size, longest) for name in names for size in catalog.sizes)
        return max((cost or 0 for cost in costs), default=0)

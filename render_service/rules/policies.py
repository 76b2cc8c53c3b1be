"""Read, check and activate a team's policy and catalog files, and find those in force.

The rules activated last are in force, or else the packaged ones. They are stored in ``documents`` by digest,
so finding them reads the events of the stream ``policy`` and two documents.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from decision.errors import BadDocument
from decision.rules.approvals import Change
from decision.rules.catalog import Catalog
from decision.rules.document import Document as DecisionDocument
from decision.rules.guardrails import Guardrails
from decision.rules.policy import Policy, default_policy, with_guardrails
from decision.rules.toml import default_catalog, load_document
from ledger.canonical import sha256_hex
from ledger.errors import LedgerUnusable
from ledger.events import PolicyActivated
from ledger.log.ledger import Ledger
from ledger.record import Record, entries
from ledger.store.filters import RecordFilter
from ledger.store.interface import NEW, Batch, Document
from render_service.runtime.errors import BadInput, NeedsApproval, NotReady
from render_service.runtime.files import read_file

STREAM = "policy"
FILE_LIMIT_BYTES = 1_000_000

D = TypeVar("D", bound=DecisionDocument)
T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """The policy and catalog, and the record that activated them; None for the packaged ones."""

    policy: Policy
    catalog: Catalog
    activated: Record | None = None
    version: int = NEW
    """Version of the stream ``policy`` as read: an append that expects it is made under these rules."""

    def check_free(self, change: Change) -> None:
        """Refuse `change` if the policy requires approval for it."""
        rules = self.policy.rules_for(change)
        if rules:
            raise NeedsApproval(
                f"{change} needs approval by rule {', '.join(rule.code for rule in rules)} of the policy "
                f"{self.policy.name}: propose it with `sora-ledger {change.command}`",
                param="approval",
                expected=f"an approval by the rule {', '.join(rule.code for rule in rules)}",
                found="none yet",
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are valid but have no effect."""
        return self.policy.warnings(self.catalog)

    @property
    def documents(self) -> list[Document]:
        """The policy and catalog as decisions and answers cite them."""
        return [Document(self.policy.canonical), Document(self.catalog.canonical)]

    @property
    def unchanged(self) -> Batch:
        """A condition without records: the append fails if other rules are in force."""
        return Batch(STREAM, self.version, [])


class InForce:
    """The rules in force in a ledger, as this process last read them.

    Decisions are recorded on condition that the rules are `Rules.unchanged`. So they are reread only after
    another process has activated others, not for every decision.
    """

    def __init__(self, ledger: Ledger, rules: Rules | None = None) -> None:
        self._ledger = ledger
        self.rules = rules or read_active_rules(ledger)
        self._read_to = 0

    def follow(self) -> None:
        """Reread the rules if others were activated in the meantime; costs one query if not."""
        for record in self._ledger.read(RecordFilter(stream=STREAM), after=self._read_to):
            self._read_to = record.position
            if record.version > self.rules.version:
                self.renew(self.rules)

    def renew(self, old: Rules) -> bool:
        """Reread the rules unless that was done since `old`; return whether there are newer ones."""
        if self.rules.version == old.version:
            self.rules = read_active_rules(self._ledger)
        return self.rules.version != old.version

    def judge(self, by: Callable[[Rules], T], refusals: tuple[type[Exception], ...]) -> T:
        """Return `by` applied to the rules; if old rules refuse, `by` is repeated with newer ones."""
        while True:
            rules = self.rules
            try:
                return by(rules)
            except refusals:
                if not self.renew(rules):
                    raise


def read_packaged_rules() -> Rules:
    """Return the packaged policy and catalog."""
    return Rules(default_policy(), default_catalog())


def read_active_rules(ledger: Ledger) -> Rules:
    """Return the policy and catalog in force in `ledger`."""
    records = list(ledger.read(RecordFilter(stream=STREAM)))
    version = records[-1].version if records else NEW  # an erasure is in the stream too
    last = next(entries(reversed(records), PolicyActivated), None)
    if last is None:
        return replace(read_packaged_rules(), version=version)
    policy = restore_document(ledger, Policy, last.event.policy_sha256)
    return Rules(policy, restore_document(ledger, Catalog, last.event.catalog_sha256), last.record, version)


def activation_before(ledger: Ledger, position: int, policy_sha256: str) -> Record | None:
    """Return the last activation before `position` if it activated that policy, else None."""
    activations = ledger.entries(PolicyActivated, RecordFilter(stream=STREAM))
    before = [entry for entry in activations if entry.record.position < position]
    is_cited = before and before[-1].event.policy_sha256 == policy_sha256
    return before[-1].record if is_cited else None


def restore_document(ledger: Ledger, kind: type[D], sha256: str) -> D:
    """Return a document of the ledger by its digest; `LedgerUnusable` if it is missing or was changed."""
    for packaged in (default_policy(), default_catalog()):
        if isinstance(packaged, kind) and packaged.digest == sha256:
            return packaged
    body = ledger.store.document(sha256)
    if body is None:
        raise LedgerUnusable(
            f"the {kind.__name__.lower()} {sha256[:12]}… is cited in this ledger but not stored in it: "
            "activate its file, or another one, with `sora-ledger policy activate FILE`"
        )
    if sha256_hex(body) != sha256:
        raise LedgerUnusable(
            f"the {kind.__name__.lower()} {sha256[:12]}… stored in this ledger is not the one that was "
            "recorded, so it is not used: `sora-ledger verify` reports it; restore a backup"
        )
    return kind.model_validate_json(body)


def read_rules(
    policy_file: Path,
    catalog_file: Path | None,
    active: Callable[[], Rules],
    guardrails_file: Path | None = None,
) -> Rules:
    """Return the rules in these files; without a catalog file, with the catalog of the `active` rules.

    The guardrails come from their file, else from the policy file, else from the `active` rules: a policy
    without any keeps them in force. `BadInput` gives file, line and key of the problem.
    """
    policy = _read(policy_file, "policy", Policy)
    if guardrails_file and policy.guardrails:
        raise BadInput(
            f"policy file {policy_file} has guardrails of its own: take out [guardrails], or leave out"
            " --guardrails",
            param="guardrails",
            expected="guardrails in one place",
            found="two",
        )
    guardrails = _read(guardrails_file, "guardrails", Guardrails) if guardrails_file else None
    catalog = _read(catalog_file, "catalog", Catalog) if catalog_file else active().catalog
    try:
        return Rules(with_guardrails(policy, guardrails or active().policy.guardrails), catalog)
    except ValidationError as error:
        wrong = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadInput(
            f"policy file {policy_file} with its guardrails: {wrong}",
            param="policy",
            expected="a policy with its guardrails",
            found=wrong,
        ) from None


def _read(path: Path, what: str, kind: type[D]) -> D:
    try:
        return load_document(kind, read_file(path, f"{what} file", FILE_LIMIT_BYTES))
    except BadDocument as error:
        raise BadInput(
            f"{what} file {path}: {error}", param=what, expected=f"a {what} file", found=error
        ) from None


def check_new(active: Rules, rules: Rules) -> None:
    """Refuse to activate rules that are already in force."""
    last = active.activated
    if last and _cites(last) == (rules.policy.digest, rules.catalog.digest):
        raise NotReady(
            f"policy {rules.policy.name} ({rules.policy.digest[:12]}…) and this catalog are active"
            f" since position {last.position}: nothing was recorded",
            param="policy",
            expected="another policy",
            found="the one that is active",
        )


def _cites(record: Record) -> tuple[str, str] | None:
    event = record.event
    return (event.policy_sha256, event.catalog_sha256) if isinstance(event, PolicyActivated) else None

"""A team that asks, approves and changes its rules, in a ledger that checks nothing of it."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import structs

from ledger import events as e
from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.ledger import Ledger
from ledger.log.tiles import head_of
from ledger.record import ActorSource, Record
from ledger.store.interface import Document
from ledger.tree.checkpoint import Signer
from ledger.verify import verify_bundle as vb
from tests.ledger.authenticator import Authenticator

ANA, MARIA, OMAR, EVE = (
    Signer(name, bytes([seed]) * 32) for seed, name in enumerate(("ana", "maria", "omar", "eve"), start=1)
)
CATALOG = Document(b"{}")
JOB = "job_00000000000000000000000000000001"
CHANGE = "change_00000000000000000000000000000001"
NEVER = "2099-01-01T00:00:00.000000Z"
SIGNED = {"actor_source": ActorSource.SIGNATURE}
LOGIN = {"actor_source": ActorSource.OPERATING_SYSTEM}
SIGNATURE, NOT_PERMITTED = "APPROVAL_SIGNATURE", "DECISION_NOT_PERMITTED"


def policy(**more: Any) -> Document:
    content = {
        "approvals": [{"code": "FINALS", "people": 1, "purposes": ["final"]}],
        "approvers": {one.name: [str(one.verifier)] for one in (MARIA, OMAR)},
        "requesters": {ANA.name: [str(ANA.verifier)]},
        "name": "team",
        **more,
    }
    return Document(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def sign(signer: Signer, **statement: Any) -> dict[str, str]:
    text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    signature = base64.b64encode(signer.sign(text).signature).decode()
    return {"key_id": signer.verifier.key_id.hex(), "signature": signature}


class Office:
    """A ledger in which a team asks and approves; what it records is not checked by anything."""

    def __init__(self, ledger: Ledger, scribe: Any, vocabulary: ModuleType) -> None:
        self.ledger = ledger
        self.scribe = scribe
        self.vocabulary = vocabulary
        self.policy = policy()
        self.ledger_id = json.loads(next(ledger.read(limit=1)).payload)["ledger_id"]
        self.first: Record
        self.pending: Record
        self.approval: Record | None = None

    def say(self, event: Any, stream: str = JOB, documents: Any = (), **who: Any) -> Record:
        cause = who.pop("causation_id", None)
        batch = self.scribe.batch(stream, event, **who)
        batch = batch._replace(drafts=[replace(each, causation_id=cause) for each in batch.drafts])
        [record] = self.ledger.append([batch], documents=documents)
        return record

    def activate(self, document: Document, stream: str = "policy", **who: Any) -> Record:
        self.policy = document
        event = e.PolicyActivated(policy_sha256=document.sha256, catalog_sha256=CATALOG.sha256)
        return self.say(event, stream, documents=[document, CATALOG], **who)

    def limit(self, budget: str, usd_micros: int = 5, stream: str | None = None, **who: Any) -> Record:
        event = e.BudgetSet(budget=budget, limit_usd_micros=usd_micros)
        return self.say(event, stream or f"budget_{budget}", **who)

    def ask(self, **who: Any) -> None:
        request = structs.replace(self.vocabulary.requested(), purpose="final")
        self.first = self.say(request, **{"actor": "ana", **LOGIN, **who})

    def sign_request(self, signer: Signer = ANA, **wrong: Any) -> None:
        statement = {
            "actor": "ana",
            "event_id": self.first.event_id,
            "ledger_id": self.ledger_id,
            "login": "ana",
            "payload_sha256": self.first.envelope.payload_sha256,
            "policy_sha256": self.policy.sha256,
            "statement": "sora-ledger/request/1",
            "stream": JOB,
        }
        signature = sign(signer, **statement | wrong)
        event = e.RequestSigned(**signature, login="ana", policy_sha256=self.policy.sha256)
        self.say(event, actor="ana", **SIGNED)

    def basis(self, **inputs: Any) -> e.Basis:
        basis: e.Basis = self.vocabulary.basis()
        update = {"policy_sha256": self.policy.sha256, "inputs": {**basis.inputs, **inputs}}
        return structs.replace(basis, **update)

    def hold(self, **inputs: Any) -> None:
        self.pending = self.say(e.RenderHeld(basis=self.basis(**inputs), reason_codes=("FINALS",)))

    def answer(self, signer: Signer | None = None, kind: Any = e.ApprovalGranted, **how: Any) -> None:
        """Answer; `wrong` are parts of the statement that are signed otherwise than they are."""
        actor = how.get("actor") or (signer.name if signer else "bob")
        fields: dict[str, Any] = {
            "expires_at": how.get("expires_at", NEVER),
            "login": how.get("login", actor),
            "policy_sha256": self.policy.sha256,
        }
        if signer:
            statement = {
                "actor": actor,
                "ledger_id": self.ledger_id,
                "pending_leaf": self.pending.leaf.hex(),
                "requested_leaf": self.first.leaf.hex(),
                "statement": "sora-ledger/approval/2",
                "stream": self.first.stream,
                "verdict": kind.type.partition(".")[2],
                **fields,
            }
            fields |= sign(signer, **statement | how.get("wrong", {}))
        if (device := how.get("passkey")) is not None:
            fields |= self._by_passkey(device, kind, actor, fields, how.get("wrong", {}))
        if "signature" in how:
            fields["signature"] = how["signature"]
        who = how.get("who", SIGNED if signer or device else LOGIN)
        self.approval = self.say(kind(**fields), self.first.stream, actor=actor, **who)

    def _by_passkey(
        self, device: Authenticator, kind: Any, actor: str, fields: dict[str, Any], wrong: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the fields of an answer that a passkey signed, `wrong` in one respect."""
        statement = {
            "actor": actor,
            "ledger_id": self.ledger_id,
            "pending_leaf": self.pending.leaf.hex(),
            "requested_leaf": self.first.leaf.hex(),
            "statement": "sora-ledger/approval/2",
            "stream": self.first.stream,
            "verdict": kind.type.partition(".")[2],
            **fields,
        }
        text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        assertion = device.sign(text, **wrong)
        signature = base64.b64encode(assertion.signature).decode()
        return {"key_id": device.passkey.key_id, "signature": signature, "passkey": assertion.assertion}

    def propose(self, stream: str = CHANGE, **content: Any) -> None:
        """Propose a change, of the policy unless `content` says otherwise; `who` says who does."""
        who = content.pop("who", {"actor": "ana", **LOGIN})
        values = {"operation": "policy.activate", "required_by_sha256": self.policy.sha256} | content
        event = e.ChangeProposed(**values, reason_codes=("RULES",))
        self.first = self.pending = self.say(event, stream, **who)

    def apply(self) -> None:
        self.say(e.ChangeClosed(outcome="applied"), self.first.stream)

    @property
    def cause(self) -> str | None:
        """The last answer."""
        return self.approval.event_id if self.approval else None

    def decide(self, usd_micros: int = 400_000, **inputs: Any) -> None:
        event = self.vocabulary.decided(usd_micros=usd_micros)
        update = {"basis": self.basis(**{"approved": True, **inputs}), "holds": ()}
        self.say(structs.replace(event, **update), causation_id=inputs.pop("cause", self.cause))


def outcome(ledger: Ledger, folder: Path, scope: Scope) -> vb.Outcome:
    file = io.BytesIO()
    write_bundle(file, "b.zip", ledger, scope, head_of(ledger), Wish())
    (folder / "b.zip").write_bytes(file.getvalue())
    return vb.check_bundle(str(folder / "b.zip"))

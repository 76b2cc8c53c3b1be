"""Identify and check the requester of a request that may need approval, and sign the request."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from decision.engine.decide import DecisionContext
from decision.rules.approvals import owner_of
from decision.rules.policy import Policy, Requester
from ledger.events import Considered, Event, RenderHeld, RequestSigned
from ledger.log.ledger import Ledger
from ledger.record import BY_ACCESS, ActorSource, Draft, Provenance, draft
from render_service.approvals.identities import CLAIMED
from render_service.approvals.statements import request_statement, sign
from render_service.evidence.keys import read_signer
from render_service.runtime.errors import BadInput, WrongPerson
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from ledger.tree.checkpoint import Signer


@dataclass(frozen=True)
class RequestAuthor:
    """The requester under `policy`; `signer` is their key if they sign."""

    settings: Settings
    policy: Policy
    actor: str
    source: ActorSource
    signer: "Signer | None" = None

    @property
    def claimed(self) -> bool:
        """Whether the requester is identified only by a typed name."""
        return self.source in CLAIMED

    def add_to(self, context: DecisionContext) -> DecisionContext:
        """Return `context` with the requester input of the decision, which only approval rules need."""
        if not (self.policy.approvals and self.claimed):
            return context
        return context.model_copy(update={"requester_claimed": True})

    def check(self, ruling: Considered) -> None:
        """Raise `BadInput` for a hold if the policy requires a better established requester."""
        if isinstance(ruling, RenderHeld):
            check_requester(self, ", ".join(ruling.reason_codes))

    def drafts(
        self,
        ledger: Ledger,
        stream: str,
        event: Event,
        who: Provenance,
        now: datetime,
        event_id: str | None = None,
        causation_id: str | None = None,
    ) -> list[Draft]:
        """Return the first record of `stream`, and its signature if the request is signed."""
        who = replace(who, actor=self.actor, actor_source=self.source)
        first = draft(event, who, now, event_id=event_id, causation_id=causation_id)
        login = self.settings.login
        if self.signer is None or login is None:
            return [first]

        text = request_statement(
            ledger.ledger_id,
            stream=stream,
            event_id=first.event_id,
            payload_sha256=first.envelope(stream).payload_sha256,
            actor=self.actor,
            login=login,
            policy_sha256=self.policy.digest,
        )
        key_id, signature = sign(self.signer, text)
        signed = RequestSigned(
            key_id=key_id, signature=signature, login=login, policy_sha256=self.policy.digest
        )
        return [first, draft(signed, who, now, causation_id=first.event_id)]


def find_author(settings: Settings, policy: Policy) -> RequestAuthor:
    """Return the requester: the owner of the key in SORA_LEDGER_KEY if the policy names it, else the actor.

    That key is read only if the policy has approval rules. A key that is not in the policy only signs
    checkpoints and is ignored here; a key given with ``--key`` must be in the policy. It never signs for a
    caller of a server.
    """
    unsigned = RequestAuthor(settings, policy, settings.actor, settings.actor_source)
    if settings.actor_source in BY_ACCESS:  # a key of this process is not theirs
        return unsigned
    path = settings.request_key_file or (
        settings.key_file if policy.approvals and policy.requesting else None
    )
    if path is None:
        return unsigned

    signer = read_signer(path)
    owner = owner_of(str(signer.verifier), policy.requesting)
    if owner is None and settings.request_key_file is None:
        return unsigned
    if owner is None:
        raise BadInput(
            f"the key of {signer.name} ({signer.verifier.key_id.hex()}) is not one of the keys "
            f"that the policy {policy.name} names under [approvers] or [requesters], so it does not identify "
            "you: leave out --key",
            param="key",
            expected="a key under [approvers] or [requesters]",
            found=signer.name,
        )
    if settings.actor_source in CLAIMED and settings.actor != owner:
        option = "--actor" if settings.actor_source is ActorSource.FLAG else "SORA_LEDGER_ACTOR"
        raise BadInput(
            f"{option} names {settings.actor}, but the key in {path}, which would sign this "
            f"request, belongs to {owner}: leave out one of them",
            param="actor",
            expected=owner,
            found=settings.actor,
        )
    return RequestAuthor(settings, policy, owner, ActorSource.SIGNATURE, signer)


def check_requester(asker: RequestAuthor, rules: str) -> None:
    """Raise `BadInput` if the policy requires a better established requester for a hold by `rules`."""
    wanted = asker.policy.requester
    if wanted in {None, Requester.TWO_SIGNERS}:
        return
    if wanted is Requester.IDENTIFIED and not asker.claimed:
        return
    if wanted is Requester.SIGNED and asker.signer is not None:
        return
    keys = (
        ", ".join(sorted(asker.policy.requesting)) or "none yet: add them under [approvers] or [requesters]"
    )
    how = f"sign it with --key FILE (keys of: {keys})"
    if wanted is Requester.IDENTIFIED:
        how = f"leave the name out and request it under your own login, or {how}"
    raise WrongPerson(
        f"this needs approval by rule {rules}, and the policy {asker.policy.name} requires the requester "
        f"to be {wanted}; {asker.actor} is {_explain_identity(asker)}: {how}; nothing was recorded",
        f"This needs approval by rule {rules}, and the policy {asker.policy.name} requires the requester to "
        f"be {wanted}; {asker.actor} is {_explain_identity(asker)}. Nothing was recorded. "
        + (
            "Sign in with an access key or at the identity provider."
            if wanted is Requester.IDENTIFIED
            else f"Those can sign requests, in a terminal: {keys}."
        ),
        found=asker.actor,
    )


def _explain_identity(asker: RequestAuthor) -> str:
    if asker.claimed:
        return "only a typed name"
    return "identified by an access key" if asker.source in BY_ACCESS else "only a login"

"""Who requests what may need approval: what establishes it, what the policy wants, signing the request."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from decision.engine.approval import Considered
from decision.engine.decide import DecisionContext
from decision.rules.approvals import owner_of
from decision.rules.policy import Policy, Requester
from ledger.events import Event, RenderHeld, RequestSigned
from ledger.log.ledger import Ledger
from ledger.record import ActorSource, Draft, Provenance, draft
from render_service.approvals.statements import request_statement, sign
from render_service.evidence.keys import read_signer
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings

if TYPE_CHECKING:
    from ledger.tree.checkpoint import Signer

CLAIMED = (ActorSource.FLAG, ActorSource.ENVIRONMENT)


@dataclass(frozen=True)
class Asker:
    """Who asks under `policy`; `signer` is their key where they sign."""

    settings: Settings
    policy: Policy
    actor: str
    source: ActorSource
    signer: "Signer | None" = None

    @property
    def claimed(self) -> bool:
        """Whether nothing but a typed name says who asks."""
        return self.source in CLAIMED

    def known_to(self, context: DecisionContext) -> DecisionContext:
        """Return `context` with what the decision has to know of who asks; nothing where nobody approves."""
        if not (self.policy.approvals and self.claimed):
            return context
        return context.model_copy(update={"requester_claimed": True})

    def check(self, ruling: Considered) -> None:
        """Refuse to ask for what is held where the policy wants to know better who asks."""
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
    ) -> list[Draft]:
        """Return the first record of `stream`, and its signature where the request is signed."""
        who = replace(who, actor=self.actor, actor_source=self.source)
        first = draft(event, who, now, event_id=event_id)
        if self.signer is None:
            return [first]

        text = request_statement(
            ledger.ledger_id,
            stream=stream,
            event_id=first.event_id,
            payload_sha256=first.envelope(stream)["payload_sha256"],
            actor=self.actor,
            login=self.settings.login,
            policy_sha256=self.policy.digest,
        )
        key_id, signature = sign(self.signer, text)
        signed = RequestSigned(
            key_id=key_id, signature=signature, login=self.settings.login, policy_sha256=self.policy.digest
        )
        return [first, draft(signed, who, now, causation_id=first.event_id)]


def asker(settings: Settings, policy: Policy) -> Asker:
    """Return who asks: the owner of the key in SORA_LEDGER_KEY where the policy names it, else who runs this.

    That key is read only where the policy has approval rules. One that the policy does not name signs
    checkpoints and says nothing here; a key that was named with ``--key`` has to be one the policy names.
    """
    unsigned = Asker(settings, policy, settings.actor, settings.actor_source)
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
            f"the key of {signer.name} ({signer.verifier.key_id.hex()}) is not one the policy "
            f"{policy.name} names under [approvers] or [requesters], so it does not say who you are: "
            "leave out --key"
        )
    if settings.actor_source in CLAIMED and settings.actor != owner:
        source = "--actor" if settings.actor_source is ActorSource.FLAG else "SORA_LEDGER_ACTOR"
        raise BadInput(
            f"{source} says {settings.actor}, but the key in {path}, which would sign this "
            f"request, is that of {owner}: leave out one of them"
        )
    return Asker(settings, policy, owner, ActorSource.SIGNATURE, signer)


def check_requester(asker: Asker, rules: str) -> None:
    """Refuse who asks for what `rules` hold where the policy wants to know better who it is."""
    wanted = asker.policy.requester
    if wanted in {None, Requester.TWO_SIGNERS}:
        return
    if wanted is Requester.IDENTIFIED and not asker.claimed:
        return
    if wanted is Requester.SIGNED and asker.signer is not None:
        return
    keys = ", ".join(sorted(asker.policy.requesting)) or "nobody yet: [approvers] or [requesters]"
    how = f"sign it with --key FILE (keys of: {keys})"
    if wanted is Requester.IDENTIFIED:
        how = f"leave the name out and ask under your own login, or {how}"
    raise BadInput(
        f"this needs approval by rule {rules}, and the policy {asker.policy.name} wants the requester "
        f"{wanted}; {asker.actor} is {_established(asker)}: {how}; nothing was recorded"
    )


def _established(asker: Asker) -> str:
    return "a name that was typed" if asker.claimed else "a login"

"""The policy: weights, the fit of each model for each purpose, and rules for approvals, as data.

The policy scores allowed candidates. It can add gates but never remove one. Points are whole numbers, so the
same policy gives the same choice on every machine.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, ValidationError, model_validator

from decision.rules.approvals import (
    OVERRIDABLE,
    ApprovalRule,
    Approvers,
    Change,
    Requesters,
    keys_of_several,
)
from decision.rules.catalog import Catalog
from decision.rules.document import Document, Entry
from decision.rules.guardrails import Guardrails
from decision.rules.purpose import PURPOSES
from decision.rules.roles import DEFAULT_ROLES, RoleName, Roles, warn_unknown_permissions
from decision.rules.toml import load_document

WHOLE_PERCENT = 100
SECONDS_PER_MINUTE = 60
PPM_PER_PERCENT = 10_000

Weight = Annotated[int, Field(ge=0, le=1000, strict=True)]
Percent = Annotated[int, Field(ge=0, le=100, strict=True)]


class Weights(Entry):
    """The points per feature; `decision/policy.toml` gives the units.

    All but the first two count only if the ledger has measurements, or if the request provides them.
    """

    fit_weight: Weight
    cost_weight: Weight
    minute_weight: Weight | None = None
    late_minute_weight: Weight | None = None
    risk_weight: Weight | None = None
    promotion_cost_weight: Weight | None = None


class Fit(Entry):
    """How well a model suits a purpose, from 0 to 100."""

    model: str
    fit: Percent


class FaceRule(StrEnum):
    """The action on a face in a reference image, and on an image that could not be checked."""

    IGNORE = "ignore"
    WARN = "warn"
    BLOCK = "block"
    REQUIRE = "require"


class UnclearChange(StrEnum):
    """The action on a remix that may or may not change exactly one thing."""

    DENY = "deny"
    ALLOW = "allow"


class JudgeUse(StrEnum):
    """When to ask the judge about a remix: if the offline rule is not sure, or always."""

    UNSURE = "unsure"
    ALWAYS = "always"


LOCAL = "local"
"""Replaces the address of a judge: the encoder of this program, which needs the extra ``one-change``."""
ENCODER = "one-change-encoder-4"
"""The only model available at `LOCAL`; another set of weights gets another number."""
_EARLIER_ENCODERS = ("one-change-encoder-1", "one-change-encoder-2", "one-change-encoder-3")
"""Earlier policies may name these: they are accepted, and the judge counts as not installed."""


def _check_url(url: str) -> str:
    if url == LOCAL:
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or not url.isprintable()
        or " " in url
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError(
            "expected the base URL of an endpoint, such as https://host/v1, without user, query or fragment, "
            f'or "{LOCAL}" for the encoder in this program'
        )
    return url.rstrip("/")


class Judge(Entry):
    """Ask a model before the decision whether a remix changes one thing.

    `url` is the base URL of its OpenAI-compatible endpoint; None asks the server of the render, and `LOCAL`
    the encoder in this program. `ask` says when. If the offline rule is sure of several changes or none, the
    remix stays denied whatever the judge says, unless it `may_overrule`.
    """

    model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
    url: Annotated[str, AfterValidator(_check_url)] | None = None
    ask: JudgeUse = JudgeUse.UNSURE
    may_overrule: StrictBool = False

    @model_validator(mode="after")
    def _is_here(self) -> "Judge":
        if self.url == LOCAL and self.model not in (ENCODER, *_EARLIER_ENCODERS):
            raise ValueError(f'expected model = "{ENCODER}" with url = "{LOCAL}", found "{self.model}"')
        return self


class Requester(StrEnum):
    """How the requester of a render that needs approval must be identified."""

    TWO_SIGNERS = "two_signers"
    IDENTIFIED = "identified"
    SIGNED = "signed"


class Agents(Entry):
    """Rules for AI agents: `session_usd_micros` is an agent's budget per `session_hours`, 24 if None."""

    session_usd_micros: Annotated[int, Field(ge=0, lt=2**53, strict=True)] | None = None
    session_hours: Annotated[int, Field(ge=1, le=8_760, strict=True)] | None = None


class Policy(Document):
    """Weights, fits and rules; every purpose of the vocabulary has an entry.

    With `require_attestation`, every render needs confirmed guardrails. For the purposes in
    `require_approved_draft`, a render must be based on an approved draft. `approvals` and `overridable` are
    used by `decision.engine.approval`; `approvers` are the keys that requests and approvals may be signed
    with, `requesters` keys for requests only. `requester` says who may request a render that needs approval:
    anyone under a typed name, who then needs one more signed approval (``two_signers``, the meaning of None),
    only under a login or signed (``identified``), or only signed. `reference_faces` is the action on a human
    face in the first frame; None warns. Models that the catalog marks as retired are denied, unless
    `allow_retired_models`. `unclear_change` is the action on a remix that may or may not change one thing;
    None denies it. `judge` is asked about remixes; None asks no judge. `guardrails` are lists of terms and
    the effects of moderation; the rules that hold are among the `approvals`. `roles` are the permissions of
    access keys by role; None means `decision.rules.roles.DEFAULT_ROLES`. `agents` limits AI agents. Files
    published for the purposes in `require_marking` need a valid C2PA manifest.
    """

    name: str
    require_attestation: StrictBool = False
    weights: Weights
    purposes: dict[str, tuple[Fit, ...]]
    approvals: tuple[ApprovalRule, ...] | None = None
    overridable: tuple[str, ...] | None = None
    require_approved_draft: tuple[str, ...] | None = None
    approvers: Approvers | None = None
    requesters: Requesters | None = None
    requester: Requester | None = None
    reference_faces: FaceRule | None = None
    allow_retired_models: StrictBool | None = None
    unclear_change: UnclearChange | None = None
    judge: Judge | None = None
    guardrails: Guardrails | None = None
    roles: dict[RoleName, tuple[str, ...]] | None = None
    agents: Agents | None = None
    require_marking: tuple[str, ...] | None = None

    @property
    def roles_in_force(self) -> Roles:
        """The roles of access keys: from ``[roles]``, or the default ones."""
        return DEFAULT_ROLES if self.roles is None else self.roles

    @property
    def unclear_changes_pass(self) -> bool:
        """Whether a remix passes that may or may not change exactly one thing.

        An approval rule for ``ambiguous`` lets it pass too, on to a person.
        """
        held = any("ambiguous" in (rule.change_verdicts or ()) for rule in self.approvals or ())
        return held or self.unclear_change is UnclearChange.ALLOW

    def request_keys(self, person: str) -> tuple[str, ...]:
        """Return the keys with which `person` may sign requests."""
        return *(self.approvers or {}).get(person, ()), *(self.requesters or {}).get(person, ())

    def rules_for(self, change: Change) -> tuple[ApprovalRule, ...]:
        """Return the rules that require approval of `change`.

        Like a policy, a grant of access determines who may request and approve. So without a rule for it, it
        needs the same approvals as a change of the policy.
        """
        rules = tuple(rule for rule in self.approvals or () if change in (rule.operations or ()))
        return self.rules_for(Change.POLICY) if change is Change.ACCESS and not rules else rules

    @property
    def requesting(self) -> Approvers:
        """The keys with which requests may be signed, by person."""
        people = dict.fromkeys((*(self.approvers or {}), *(self.requesters or {})))
        return {person: self.request_keys(person) for person in people}

    def features(self, model: str, purpose: str, *, cost: int, cheapest: int) -> Mapping[str, int]:
        """Return the features of a model for its score; `cost` and `cheapest` in micro-dollars."""
        fits = {line.model: line.fit for line in self.purposes[purpose]}
        return {"fit": fits.get(model, 0), "cost_percent_of_cheapest": cost * WHOLE_PERCENT // cheapest}

    def score(self, features: Mapping[str, int]) -> int:
        """Return the score of a model with these features; missing features count as zero."""
        weights = self.weights
        promoted = features.get("promotes_approved") and weights.promotion_cost_weight is not None
        cost_weight = weights.promotion_cost_weight if promoted else weights.cost_weight
        additional_percent = features["cost_percent_of_cheapest"] - WHOLE_PERCENT
        return (
            weights.fit_weight * features["fit"]
            - (cost_weight or 0) * additional_percent
            - (weights.minute_weight or 0) * features.get("expected_seconds", 0) // SECONDS_PER_MINUTE
            - (weights.late_minute_weight or 0) * features.get("late_seconds", 0) // SECONDS_PER_MINUTE
            - (weights.risk_weight or 0) * features.get("failure_ppm", 0) // PPM_PER_PERCENT
        )

    def warnings(self, catalog: Catalog) -> tuple[str, ...]:
        """Return warnings about entries without effect: rules that never match, unknown models."""
        rules = [warning for rule in self.approvals or () for warning in rule.find_contradictions(catalog)]
        rules += [
            reason for rule in self.approvals or () for reason in rule.cannot_be_met(self.approvers or ())
        ]
        rules += self._unknown_guardrails()
        rules += warn_unknown_permissions(self.roles or {})
        fitted = dict.fromkeys(line.model for lines in self.purposes.values() for line in lines)
        strangers = [name for name in fitted if name not in catalog.model_names]
        return *rules, *(f"purposes: the catalog has no model {name}" for name in strangers)

    def _unknown_guardrails(self) -> list[str]:
        known = self.guardrails.codes if self.guardrails else ()
        return [
            f"approval rule {rule.code}: the guardrails have no rule {code}"
            for rule in self.approvals or ()
            for code in rule.guardrails or ()
            if code not in known
        ]

    @model_validator(mode="before")
    @classmethod
    def _has_approvals_for_what_holds(cls, data: Any) -> Any:
        """Add the approval rules of the guardrails that hold, unless the policy has its own for them."""
        if not isinstance(data, dict) or not data.get("guardrails"):
            return data
        approvals = data.get("approvals") or ()
        try:
            guardrails = Guardrails.model_validate(data["guardrails"])
            codes = {rule.code if isinstance(rule, ApprovalRule) else rule["code"] for rule in approvals}
        except (ValidationError, KeyError, TypeError):  # reported with its location when the fields are read
            return data
        added = [rule for rule in guardrails.holding_rules() if rule["code"] not in codes]
        return {**data, "approvals": [*approvals, *added]} if added else data

    @model_validator(mode="after")
    def _holds_by_its_own_code(self) -> Self:
        known = self.guardrails.codes if self.guardrails else ()
        for rule in self.approvals or ():
            if rule.code in known and rule.code not in (rule.guardrails or ()):
                raise ValueError(
                    f"approval rule {rule.code}: the guardrails have a rule of this code, so it must name it"
                    f' (guardrails = ["{rule.code}"]), or have another code'
                )
        return self

    @model_validator(mode="after")
    def _lets_only_rules_be_overridden(self) -> Self:
        facts = [code for code in self.overridable or () if code not in OVERRIDABLE]
        if facts:
            raise ValueError(
                f"{facts[0]} cannot be overridden by anybody (possible: {', '.join(sorted(OVERRIDABLE))})"
            )
        return self

    @model_validator(mode="after")
    def _names_rules_once(self) -> Self:
        codes = [rule.code for rule in self.approvals or ()]
        twice = next((code for code in codes if codes.count(code) > 1), None)
        if twice:
            raise ValueError(
                f"approvals: two rules have the code {twice}, so which of them was approved could not be"
                " told; give each its own"
            )
        return self

    @model_validator(mode="after")
    def _names_approvers_once(self) -> Self:
        shared = keys_of_several(self.requesting)
        if shared:
            raise ValueError(f"approvers: the key {shared[0]} is named for two people; a key is one person's")
        for rule in self.approvals or ():
            strangers = set(rule.signed_by or ()) - set(self.approvers or ())
            if strangers:
                raise ValueError(
                    f"approval rule {rule.code}: signed_by names {', '.join(sorted(strangers))}, for whom"
                    " [approvers] has no key"
                )
        return self

    @model_validator(mode="after")
    def _names_known_purposes(self) -> Self:
        for setting in ("require_approved_draft", "require_marking"):
            unknown = [word for word in getattr(self, setting) or () if word not in PURPOSES]
            if unknown:
                raise ValueError(f"{setting}: {unknown[0]} is no purpose (purposes: {', '.join(PURPOSES)})")
        return self

    @model_validator(mode="after")
    def _covers_the_vocabulary(self) -> Self:
        missing, unknown = set(PURPOSES) - set(self.purposes), set(self.purposes) - set(PURPOSES)
        if missing or unknown:
            raise ValueError(
                f"purposes are {', '.join(PURPOSES)}; missing: {', '.join(sorted(missing)) or 'none'};"
                f" unknown: {', '.join(sorted(unknown)) or 'none'}"
            )
        return self


def with_guardrails(policy: Policy, guardrails: Guardrails | None) -> Policy:
    """Return `policy` with these guardrails, unless it has its own; `ValidationError` if they do not fit."""
    if guardrails is None or policy.guardrails is not None:
        return policy
    content = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    own = guardrails.model_dump(mode="json", exclude_none=True)
    return Policy.model_validate(content | {"guardrails": own})


@cache
def default_policy() -> Policy:
    """Return the packaged policy with the packaged guardrails."""
    folder = files("decision")
    return with_guardrails(
        load_document(Policy, folder.joinpath("policy.toml").read_bytes()),
        load_document(Guardrails, folder.joinpath("guardrails.toml").read_bytes()),
    )

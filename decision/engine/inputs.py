"""The complete inputs of a decision: flat, without free text, as recorded.

A ruling is a function of these inputs, the catalog and the policy (`decision.engine.decide.rule`), so a
recorded decision can be reproduced from its record. From free text, only findings enter: the aspects that a
remix or edit changes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from decision.engine.guardrails import ModerationResult, ModerationStatus
from decision.one_change.verdict import JudgeResult, RemixVerdict
from decision.request.attachments import Faces
from decision.request.request import AUTO, RenderRequest
from decision.rules.policy import SECONDS_PER_MINUTE
from ledger.terms import Operation, Status


class DecisionContext(BaseModel):
    """The caller's knowledge beyond the request: the money left, and the server's capabilities.

    `budgets` are the budgets that would hold the cost; `budget_left_usd_micros` is the smallest remainder of
    any, None without a limit. `operations_offered` and `options_offered` use the words of `operations_needed`
    and `options_needed`, and may include others; None if unknown, in which case nothing is refused.
    `median_seconds` and `failure_ppm` are measurements by model: the time that renders take, and failures per
    million. `promotes_approved` says that the request renders the final version of an approved draft,
    `draft_approved` that anything it was made from was approved; None if it is made from nothing. `team` and
    `project` pay for it. `requester_claimed` says that the requester is known only by a typed name; it is set
    only under a policy with approval rules. Prices are those of the day `priced_on`, UTC. `moderation` is the
    server's moderation of the prompt, and `judge` a judge's verdict on a remix; each is obtained only under a
    policy that requires it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_left_usd_micros: int | None = None
    budgets: tuple[str, ...] = ()
    operations_offered: tuple[str, ...] | None = None
    options_offered: tuple[str, ...] | None = None
    deadline_minutes: Annotated[int, Field(ge=0)] | None = None
    median_seconds: Mapping[str, Annotated[int, Field(ge=0)]] | None = None
    failure_ppm: Mapping[str, Annotated[int, Field(ge=0, le=1_000_000)]] | None = None
    promotes_approved: bool | None = None
    draft_approved: bool | None = None
    team: str | None = None
    project: str | None = None
    priced_on: date | None = None
    requester_claimed: bool | None = None
    moderation: ModerationResult | None = None
    judge: JudgeResult | None = None


def operations_needed(request: RenderRequest) -> tuple[str, ...]:
    """Return the operations a server must offer: the one requested, ``edit_upload``, ``character``."""
    own = "edit_upload" if request.source_file else request.operation.value
    return (own, "character") if request.character_ids else (own,)


def options_needed(request: RenderRequest) -> tuple[str, ...]:
    """Return the options a server must accept: the request's, and an image by ``url`` or ``file_id``."""
    frames = {"url": request.reference_url, "file_id": request.reference_file_id}
    return (*request.options, *(form for form, value in frames.items() if value))


class Inputs(BaseModel):
    """The inputs of one decision, named as in ``Basis.inputs``; money in micro-dollars.

    `wished_*` are explicitly requested values, None if left open. `size` and `seconds` are the source's in a
    remix or edit; in an extension `seconds` is the added length. `change_*` are the findings in the prompt of
    a remix or edit, `declared_change` is the one aspect that the requester declares. Lists are in
    alphabetical order and joined with commas: `budgets`, `change_aspects` (``camera:1,palette:2``), and the
    capabilities that are needed and that the server offers.

    If a judge was to be asked, `offline_verdict` is the verdict without it, and `judge_*` its answer:
    `judge_changes` (``palette:0-14``) in code points of the prompt.

    `guardrails` are the codes of the policy's guardrails that the request meets, None without any guardrails.
    `terms_found` gives the places of terms in the sent prompt (``CODE:3-14``, in order), None if it was not
    searched. `moderation_*` is the server's moderation of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operation
    purpose: str
    profile: str
    size: str
    seconds: int
    wished_model: str | None = None
    wished_size: str | None = None
    wished_seconds: int | None = None
    max_cost_usd_micros: int | None = None
    budget_left_usd_micros: int | None = None
    budgets: str = ""
    augment: bool = True
    input_reference: bool = False
    reference_faces: Faces | None = None
    attested: bool = False
    operations_needed: str
    operations_offered: str | None = None
    options_needed: str = ""
    options_offered: str | None = None
    source_job: str | None = None
    source_video_id: str | None = None
    source_status: Status | None = None
    source_deleted: bool | None = None
    source_model: str | None = None
    source_seconds: int | None = None
    source_extensions: int | None = None
    change_verdict: str | None = None
    change_count: int | None = None
    change_aspects: str | None = None
    offline_verdict: str | None = None
    judge_status: str | None = None
    judge_model: str | None = None
    judge_verdict: str | None = None
    judge_changes: str | None = None
    declared_change: str | None = None
    deadline_minutes: int | None = None
    median_seconds: str | None = None
    failure_ppm: str | None = None
    promotes_approved: bool | None = None
    draft_approved: bool | None = None
    team: str | None = None
    project: str | None = None
    priced_on: date | None = None
    approved: bool | None = None
    overridden: str | None = None
    requester_claimed: bool | None = None
    guardrails: str | None = None
    terms_found: str | None = None
    moderation_status: ModerationStatus | None = None
    moderation_model: str | None = None
    moderation_flagged: str | None = None
    moderation_ppm: str | None = None

    @classmethod
    def collect(
        cls,
        request: RenderRequest,
        context: DecisionContext,
        changes: RemixVerdict | None,
        guarded: Mapping[str, str | None] = MappingProxyType({}),
    ) -> Self:
        """Return the inputs for `request` in its `context`; `changes` is for a remix or edit only.

        `guarded` are the inputs about guardrails, from `decision.engine.guardrails.find_in`, and those about
        a judge, from `decision.engine.judge.apply_judgement`.
        """
        settled = request.source is not None or request.source_file is not None
        return cls(
            operation=request.operation,
            purpose=request.purpose,
            profile=request.profile,
            size=request.size,
            seconds=request.seconds,
            wished_model=None if request.requested_model == AUTO else request.requested_model,
            wished_size=request.wished.size if settled else None,
            wished_seconds=request.wished.seconds if settled else None,
            max_cost_usd_micros=request.max_cost_usd_micros,
            budget_left_usd_micros=context.budget_left_usd_micros,
            budgets=_join_names(context.budgets),
            augment=request.augment,
            input_reference=request.input_reference is not None,
            reference_faces=request.faces,
            attested=request.attested,
            declared_change=request.declared_change,
            operations_needed=_join_names(operations_needed(request)),
            operations_offered=_join_if_known(context.operations_offered),
            options_needed=_join_names(options_needed(request)),
            options_offered=_join_if_known(context.options_offered),
            deadline_minutes=context.deadline_minutes,
            median_seconds=_encode_measurements(context.median_seconds),
            failure_ppm=_encode_measurements(context.failure_ppm),
            promotes_approved=context.promotes_approved,
            draft_approved=context.draft_approved,
            team=context.team,
            project=context.project,
            priced_on=context.priced_on,
            requester_claimed=context.requester_claimed,
            **_read_source(request),
            **_read_changes(changes),
            **guarded,
        )

    def to_record(self) -> dict[str, str | int | bool | None]:
        """Return the inputs as plain values, for ``Basis.inputs``.

        Inputs in `_ADDED_LATER` are left out if unknown, so that older decisions keep their ids.
        """
        values = self.model_dump(mode="json")
        return {
            name: value for name, value in values.items() if value is not None or name not in _ADDED_LATER
        }

    def features_of(self, model: str) -> dict[str, int]:
        """Return the measured features of `model` for its score, without fit and cost."""
        known = {
            "expected_seconds": _value_of(model, self.median_seconds),
            "failure_ppm": _value_of(model, self.failure_ppm),
            "promotes_approved": 1 if self.promotes_approved else None,
        }
        features = {name: value for name, value in known.items() if value is not None}
        if self.deadline_minutes is not None and "expected_seconds" in features:
            late = features["expected_seconds"] - self.deadline_minutes * SECONDS_PER_MINUTE
            features["late_seconds"] = max(0, late)
        return features

    @property
    def guardrail_codes(self) -> tuple[str, ...]:
        """The codes of the guardrails that the request meets."""
        return split_names(self.guardrails or "")

    @property
    def budget_names(self) -> tuple[str, ...]:
        """The budgets in which the cost is reserved."""
        return split_names(self.budgets)

    @property
    def operations_missing(self) -> tuple[str, ...]:
        """Operations that are needed but not offered by the server."""
        return _missing(self.operations_needed, self.operations_offered)

    @property
    def options_missing(self) -> tuple[str, ...]:
        """Options that are needed but not accepted by the server."""
        return _missing(self.options_needed, self.options_offered)


_ADDED_LATER = frozenset(
    "approved deadline_minutes declared_change draft_approved failure_ppm guardrails judge_changes"
    " judge_model judge_status judge_verdict median_seconds offline_verdict"
    " moderation_flagged moderation_model moderation_ppm moderation_status overridden priced_on project"
    " promotes_approved reference_faces requester_claimed team terms_found".split()
)


def _encode_measurements(values: Mapping[str, int] | None) -> str | None:
    """Return measurements in the format of the inputs: ``sora-2:95,sora-2-pro:240``."""
    return ",".join(f"{model}:{value}" for model, value in sorted(values.items())) if values else None


def _value_of(model: str, measured: str | None) -> int | None:
    pairs = (pair.rpartition(":") for pair in split_names(measured or ""))
    return next((int(value) for name, _, value in pairs if name == model), None)


def split_names(joined: str) -> tuple[str, ...]:
    """Return the names in a list of the inputs."""
    return tuple(name for name in joined.split(",") if name)


def _join_names(names: Iterable[str]) -> str:
    return ",".join(sorted(set(names)))


def _join_if_known(names: Iterable[str] | None) -> str | None:
    return None if names is None else _join_names(names)


def _missing(needed: str, offered: str | None) -> tuple[str, ...]:
    if offered is None:
        return ()
    return tuple(name for name in split_names(needed) if name not in split_names(offered))


def _read_source(request: RenderRequest) -> dict[str, object]:
    if request.source is None:
        return {}
    source = request.source
    return {
        "source_job": source.job_id,
        "source_video_id": source.video_id,
        "source_status": source.status,
        "source_deleted": source.deleted,
        "source_model": source.model,
        "source_seconds": source.seconds,
        "source_extensions": source.extensions,
    }


def _read_changes(changes: RemixVerdict | None) -> dict[str, object]:
    if changes is None:
        return {}
    counts = Counter(change.aspect for change in changes.changes)
    return {
        "change_verdict": changes.verdict,
        "change_count": len(changes.changes),
        "change_aspects": ",".join(f"{aspect}:{count}" for aspect, count in sorted(counts.items())),
    }

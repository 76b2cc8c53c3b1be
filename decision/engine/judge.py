"""A judge's verdict on the changes in a remix: inputs of its decision, and their effect.

A judge is a chat model named by the policy, or the encoder in this program. It is asked before the decision,
so that a recorded decision can be repeated without it: from the offline verdict and the judge's,
`join_verdicts` gives the same verdict every time. A judge that was not asked, or did not answer, leaves the
offline verdict unchanged.
"""

from collections.abc import Mapping
from typing import Any

from decision.one_change.verdict import NOT_ASKED, JudgeResult, JudgeStatus, Place, RemixVerdict, check_remix
from decision.request.request import RenderRequest
from decision.rules.policy import Judge, JudgeUse, Policy
from ledger.events import Change
from ledger.terms import Operation

_SURE_OF_A_DENIAL = ("multiple", "none")


def find_judge(policy: Policy, request: RenderRequest) -> Judge | None:
    """Return the judge to ask about `request` under the policy; None if there is none."""
    judge = policy.judge
    if judge is None or request.operation is not Operation.REMIX:
        return None
    return judge if _is_asked(judge, check_remix(request.prompt, request.fields).verdict) else None


def apply_judgement(
    verdict: RemixVerdict | None, judge: Judge | None, result: JudgeResult | None
) -> tuple[RemixVerdict | None, dict[str, str | None]]:
    """Return the verdict on a remix after its judge was asked, and the inputs that record it.

    `verdict` is the offline verdict. If there is no judge, or it is not to be asked, there are no inputs.
    """
    if judge is None or verdict is None or not _is_asked(judge, verdict.verdict):
        return verdict, {}
    result = result or NOT_ASKED
    places = ",".join(f"{place.aspect}:{place.start}-{place.end}" for place in result.places)
    inputs = {
        "offline_verdict": verdict.verdict,
        "judge_status": result.status.value,
        "judge_model": result.model,
        "judge_verdict": result.verdict,
        "judge_changes": places if result.status is JudgeStatus.CHECKED else None,
    }
    return join_verdicts(verdict, judge, result), inputs


def join_verdicts(verdict: RemixVerdict, judge: Judge, result: JudgeResult) -> RemixVerdict:
    """Return the verdict of both: a judge settles what is unclear, and may object to what is one change.

    If the offline rule is sure of several changes or none, they become one only if the policy allows it; then
    several become unclear, too, if the judge is not sure.
    """
    opinion = result.verdict
    if result.status is not JudgeStatus.CHECKED or opinion is None or opinion == verdict.verdict:
        return verdict
    places = tuple(Change(aspect=span.aspect, start=span.start, end=span.end) for span in result.places)
    if verdict.verdict in _SURE_OF_A_DENIAL:
        if not judge.may_overrule:
            return verdict
        if (verdict.verdict, opinion) == ("multiple", "ambiguous"):
            return RemixVerdict("ambiguous", verdict.changes)
        return RemixVerdict("single", places) if opinion == "single" else verdict
    if opinion in ("single", "multiple"):
        return RemixVerdict(opinion, places)
    return RemixVerdict("ambiguous", verdict.changes)


def judge_result_in(inputs: Mapping[str, Any]) -> JudgeResult | None:
    """Return the result in recorded inputs; None if no judge was to be asked."""
    if not inputs.get("judge_status"):
        return None
    return JudgeResult(
        status=JudgeStatus(str(inputs["judge_status"])),
        model=inputs.get("judge_model"),
        verdict=inputs.get("judge_verdict"),
        places=tuple(map(_place, filter(None, str(inputs.get("judge_changes") or "").split(",")))),
    )


def explain_judge(inputs: Mapping[str, Any]) -> list[str]:
    """Return, as a sentence, the judge's answer or why there is none; empty if none was to be asked."""
    status, offline = inputs.get("judge_status"), inputs.get("offline_verdict")
    if not status:
        return []
    if status != JudgeStatus.CHECKED:
        return [f"the policy's judge {_MISSING.get(str(status), status)}, so the offline rule's word counts"]
    by = f" ({inputs['judge_model']})" if inputs.get("judge_model") else ""
    opinion = _WORDS.get(str(inputs.get("judge_verdict")), "unclear")
    return [f"the policy's judge{by} took it for {opinion}, the offline rule for {_WORDS.get(str(offline))}"]


_MISSING: Mapping[str, str] = {
    JudgeStatus.UNREACHABLE: "did not answer in time",
    JudgeStatus.REFUSED: "refused to answer",
    JudgeStatus.UNREADABLE: "gave an answer that cannot be used",
    JudgeStatus.NOT_ASKED: "was not asked",
    JudgeStatus.NOT_INSTALLED: (
        "is not installed here (pip install 'sora-ledger[one-change]'), or the policy names an earlier one"
    ),
}
_WORDS: Mapping[str, str] = {
    "single": "one change",
    "multiple": "several changes",
    "none": "no change",
    "ambiguous": "unclear",
}


def _is_asked(judge: Judge, offline: str) -> bool:
    return judge.ask is JudgeUse.ALWAYS or offline == "ambiguous"


def _place(text: str) -> Place:
    aspect, _, span = text.partition(":")
    start, _, end = span.partition("-")
    return Place(aspect, int(start), int(end))

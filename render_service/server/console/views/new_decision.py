"""The decision on a request that was not sent, as ``sora-ledger decide`` makes it; nothing is recorded."""

from decision.advice.advice import advise
from decision.advice.reading import missing_details
from decision.engine.approval import Considered
from decision.engine.explain import what_now, why
from decision.engine.guardrails import was_asked
from decision.one_change.verdict import check_remix
from decision.request.request import RenderRequest, parse_request
from ledger.events import RenderDecided, RenderHeld
from ledger.terms import Operation
from render_service.reports.explain import candidates_of
from render_service.rules.measurements import expected_duration
from render_service.server.console.pages import View, Visit
from render_service.server.console.views.new_form import sentence
from render_service.server.gateway.asks import Ask
from render_service.submission.preview import ruling_on
from render_service.submission.sources import outlook, source_ahead

_COMMAND = "sora-ledger "
"""How the steps begin that are commands; the page has links for them."""


class Candidate(View):
    """A model that was considered."""

    model: str
    cost_usd_micros: int | None
    chosen: bool
    why_not: tuple[str, ...]


class Wait(View):
    """How long such renders took: half of them at most `p50_seconds`, nine of ten at most `p90_seconds`."""

    p50_seconds: int
    p90_seconds: int
    renders: int


class Changed(View):
    """One change that a remix asks for: its aspect, and its words in the prompt."""

    aspect: str
    words: str


class Decision(View):
    """What would be decided, and why; what is missing; and what would keep it from being sent.

    `changes_say` is ``single``, ``multiple``, ``none`` or ``ambiguous``, and null unless it is a remix.
    `wait` is null if too little was measured.
    """

    decision: str
    model: str | None
    cost_usd_micros: int | None
    size: str
    seconds: int
    images: tuple[str, ...]
    why: tuple[str, ...]
    steps: tuple[str, ...]
    missing: tuple[str, ...]
    advice: tuple[str, ...]
    changes_say: str | None
    changes: tuple[Changed, ...]
    candidates: tuple[Candidate, ...]
    wait: Wait | None
    refused: str | None
    assumes: str | None
    moderated: bool
    """Whether the server was asked to moderate the prompt, for this decision."""


def decide(visit: Visit, ask: Ask) -> Decision:
    """Return the decision on what `ask` stands for; `BadRequest` if it is invalid."""
    session, values = visit.session, dict(ask.values)
    if ask.source is not None:
        values["source"], values["profile"] = source_ahead(session.ledger, ask.source)
    else:
        values["profile"] = session.profile(ask.profile).name
    if "purpose" not in values and visit.caller.purposes:
        values["purpose"] = visit.caller.purposes[0]
    request = parse_request(catalog=session.catalog, **values)
    visit.caller.check_profile(request.profile)
    visit.caller.check_purpose(request.purpose)
    ruling = ruling_on(session.settings, request)
    candidates = tuple(
        Candidate(
            model=candidate["model"],
            cost_usd_micros=candidate["cost_usd_micros"],
            chosen=candidate["chosen"],
            why_not=tuple(candidate["why_not"]),
        )
        for candidate in candidates_of(ruling)
    )
    chosen = next((candidate for candidate in candidates if candidate.chosen), None)
    ahead = outlook(session.settings, request)
    verdict = _changes(request)
    return Decision(
        decision=ruling.decision,
        model=chosen.model if chosen else None,
        cost_usd_micros=ruling.cost_usd_micros if isinstance(ruling, RenderDecided) else _cost(chosen),
        size=request.size,
        seconds=request.seconds,
        images=tuple(
            image.name for image in (request.input_reference, *request.further_images) if image is not None
        ),
        why=tuple(map(sentence, why(ruling))),
        steps=_steps(ruling, request),
        missing=tuple(question.question for question in missing_details(request)),
        advice=tuple(sentence(advice.message) for advice in advise(request)),
        changes_say=verdict[0],
        changes=verdict[1],
        candidates=candidates,
        wait=_wait(visit, request, chosen.model if chosen else None),
        refused=ahead.refused,
        assumes=ahead.assumes,
        moderated=was_asked(ruling.basis.inputs),
    )


def _cost(chosen: Candidate | None) -> int | None:
    return chosen.cost_usd_micros if chosen else None


def _steps(ruling: Considered, request: RenderRequest) -> tuple[str, ...]:
    if isinstance(ruling, RenderDecided):
        return ()
    if isinstance(ruling, RenderHeld):
        return ("Once it is sent, another person has to approve it before anything is rendered or billed.",)
    return tuple(sentence(step) for step in what_now(ruling, request) if not step.startswith(_COMMAND))


def _changes(request: RenderRequest) -> tuple[str | None, tuple[Changed, ...]]:
    if request.operation is not Operation.REMIX:
        return None, ()
    verdict, changes = check_remix(request.prompt, request.fields)
    changed = (
        Changed(aspect=change.aspect, words=request.prompt[change.start : change.end]) for change in changes
    )
    return verdict, tuple(changed)


def _wait(visit: Visit, request: RenderRequest, model: str | None) -> Wait | None:
    if model is None:
        return None
    measured = expected_duration(
        visit.session.ledger,
        profile=request.profile,
        model=model,
        size=request.size,
        seconds=request.seconds,
    )
    return Wait(**measured._asdict()) if measured else None

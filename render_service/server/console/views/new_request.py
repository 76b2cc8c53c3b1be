"""The form for a new request: it shows the decision before the request is sent.

The decision is the same as from ``sora-ledger decide``; nothing is recorded for it. Sending works like the
gateway's ``POST /videos``, with an idempotency key in the form: submitting a form twice makes one video.
"""

import asyncio
import secrets
from collections.abc import Sequence

from starlette.datastructures import FormData, UploadFile

from decision.advice.advice import ATTESTATION, GUARDRAILS, advise
from decision.advice.reading import missing_details
from decision.engine.explain import list_reasons, what_now
from decision.engine.guardrails import was_sent_to_moderation
from decision.errors import DecisionError
from decision.one_change.verdict import check_remix
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.prompt import CHANGE_ASPECTS
from decision.request.request import RenderRequest, parse_request
from decision.rules.purpose import PURPOSES
from decision.rules.roles import Permission
from ledger.errors import SoraLedgerError
from ledger.events import Considered, RenderDecided, RenderHeld
from ledger.terms import Operation
from render_service.assets.fit import Fit
from render_service.reports.explain import candidates_of
from render_service.rules.measurements import expected_duration
from render_service.runtime.errors import BadInput, RequestKeyTaken
from render_service.runtime.printable import shorten
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import Action, Done, Page, View, Visit
from render_service.server.console.views.new_form import (
    MOST_IMAGE_BYTES,
    FieldError,
    Typed,
    field_of,
    images_in,
    read_input,
    sentence,
)
from render_service.server.gateway.request_inputs import RequestInput, Submit
from render_service.submission.preview import outlook, ruling_on
from render_service.submission.sources import source_ahead
from sora_adapter.profiles import profiles

_COMMAND = "sora-ledger "
"""Prefixes of steps that are commands; the page has links for them."""


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
    """The decision and its reasons; missing details; and obstacles to sending.

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


def decide(visit: Visit, request_input: RequestInput) -> Decision:
    """Return the decision on `request_input`; `BadRequest` if it is invalid."""
    session, values = visit.session, dict(request_input.values)
    if request_input.source is not None:
        values["source"], values["profile"] = source_ahead(session.ledger, request_input.source)
    else:
        values["profile"] = session.profile(request_input.profile).name
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
        why=tuple(map(sentence, list_reasons(ruling))),
        steps=_steps(ruling, request),
        missing=tuple(question.question for question in missing_details(request)),
        advice=tuple(sentence(advice.message) for advice in advise(request)),
        changes_say=verdict[0],
        changes=verdict[1],
        candidates=candidates,
        wait=_wait(visit, request, chosen.model if chosen else None),
        refused=ahead.refused,
        assumes=ahead.assumes,
        moderated=was_sent_to_moderation(ruling.basis.inputs),
    )


def _cost(chosen: Candidate | None) -> int | None:
    return chosen.cost_usd_micros if chosen else None


def _steps(ruling: Considered, request: RenderRequest) -> tuple[str, ...]:
    if isinstance(ruling, RenderDecided):
        return ()
    if isinstance(ruling, RenderHeld):
        return ("After you send it, another person must approve it before anything is rendered or billed.",)
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


LONGEST_SOURCE = 300
SENT_BEFORE = (
    "Another request was already sent from this form. Check this one: it has not been sent, and is a new one "
    "if you send it now."
)


class SourceView(View):
    """The source video of a remix."""

    job_id: str
    prompt: str | None
    model: str | None
    size: str | None
    seconds: int | None


class NewRequestView(View):
    """The form as typed, its choices, and the decision on it.

    `take_several_images` are the servers that accept more than a first frame. `errors` are sentences by the
    names of their fields; the empty name is for the form as a whole. `decision` is null as long as there is
    no prompt, or an error.
    """

    form: Typed
    purposes: tuple[str, ...]
    models: tuple[str, ...]
    sizes: tuple[str, ...]
    seconds: tuple[int, ...]
    profiles: tuple[str, ...]
    take_several_images: tuple[str, ...]
    fits: tuple[str, ...]
    aspects: tuple[str, ...]
    team: str | None
    source: SourceView | None
    errors: dict[str, str]
    decision: Decision | None
    attestation: str
    guardrails: tuple[str, ...]


def read_form(visit: Visit) -> NewRequestView:
    """Return the form: new, with values from the address, or as typed when it was refused."""
    if visit.typed:
        typed = Typed.read(visit.typed, key=_new_key())
        return _view(visit, typed, images_in(visit.typed))
    named = {"remix_of": visit.query("remix") or "", "prompt": visit.query("prompt") or ""}
    return _view(visit, Typed.read(named, key=_new_key()), [])


def _view(visit: Visit, typed: Typed, images: Sequence[UploadFile]) -> NewRequestView:
    errors, decision = dict[str, str](), None
    if typed.prompt or visit.typed:
        try:
            decision = decide(visit, read_input(visit, typed, images))
        except SoraLedgerError as error:
            errors[field_of(error)] = sentence(str(error))
    session, catalog, caller = visit.session, visit.session.catalog, visit.caller
    usual = session.settings.chosen_profile()
    known = profiles(session.settings.profiles_file)
    offered = [name for name, profile in known.items() if not profile.retired]
    servers = tuple(dict.fromkeys((usual, *(caller.profiles or offered))))
    return NewRequestView(
        form=typed,
        purposes=caller.purposes or PURPOSES,
        models=tuple(model.name for model in catalog.models if not model.retired),
        sizes=catalog.sizes,
        seconds=catalog.seconds,
        profiles=servers,
        take_several_images=tuple(
            name for name in servers if name in known and known[name].offers(SEVERAL_IMAGES)
        ),
        fits=tuple(Fit),
        aspects=CHANGE_ASPECTS,
        team=session.settings.team,
        source=_source(visit, typed),
        errors=errors,
        decision=decision,
        attestation=ATTESTATION,
        guardrails=tuple(f"{guardrail.rule} {guardrail.meaning}" for guardrail in GUARDRAILS),
    )


def _source(visit: Visit, typed: Typed) -> SourceView | None:
    if not typed.remix_of:
        return None
    try:
        job = find_job(visit, typed.remix_of)
    except SoraLedgerError:  # shown at its field
        return None
    [began] = visit.session.ledger.history(job.job_id)[:1]
    prompt = getattr(began.event, "prompt", None)
    return SourceView(
        job_id=job.job_id,
        prompt=shorten(prompt.text, LONGEST_SOURCE) if prompt is not None and prompt.text else None,
        model=job.model,
        size=job.size,
        seconds=job.seconds,
    )


def _new_key() -> str:
    return secrets.token_urlsafe(24)


async def check(visit: Visit, form: FormData) -> NewRequestView:
    """Show the decision on the typed values; nothing is recorded."""
    typed = Typed.read(form, key=_new_key())
    return await asyncio.to_thread(_view, visit, typed, images_in(form))


async def send(visit: Visit, form: FormData) -> Done | NewRequestView:
    """Record and submit the request as the signed-in person, once per form."""
    typed = Typed.read(form, key="")
    submit: Submit = visit.request.app.state.submit
    try:
        request_input = await asyncio.to_thread(read_input, visit, typed, images_in(form))
        job = await submit(visit.caller, request_input, f"form-{typed.key}")
    except RequestKeyTaken:
        again = await asyncio.to_thread(
            _view, visit, typed.model_copy(update={"key": _new_key()}), images_in(form)
        )
        return again.model_copy(update={"errors": {"": SENT_BEFORE, **again.errors}})
    except (BadInput, DecisionError) as error:
        raise FieldError(field_of(error), sentence(str(error))) from error
    return Done(f"/videos/{job.job_id}", "The request was recorded.")


PAGE = Page(
    path="/new",
    title="New request",
    template="new.html",
    read=read_form,
    permission=Permission.REQUEST,
)
ACTIONS = (
    Action("/new", "/new", Permission.REQUEST, send, most_bytes=MOST_IMAGE_BYTES),
    Action("/new/check", "/new", Permission.REQUEST, check, most_bytes=MOST_IMAGE_BYTES),
)

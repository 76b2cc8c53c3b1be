"""The form for a new request: what would be decided is shown before it is sent.

The decision is that of ``sora-ledger decide``. Sending goes the way of the gateway's ``POST /videos``, under
an idempotency key that the form carries: a form that is sent twice makes one video.
"""

import asyncio
import secrets
from collections.abc import Sequence

from starlette.datastructures import FormData, UploadFile

from decision.advice.advice import ATTESTATION, GUARDRAILS
from decision.errors import DecisionError
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.prompt import CHANGE_ASPECTS
from decision.rules.purpose import PURPOSES
from decision.rules.roles import Permission
from ledger.errors import SoraLedgerError
from render_service.assets.fit import Fit
from render_service.runtime.errors import BadInput, RequestKeyTaken
from render_service.runtime.printable import short
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import Action, Done, Page, View, Visit
from render_service.server.console.views.new_decision import Decision, decide
from render_service.server.console.views.new_form import (
    MOST_IMAGE_BYTES,
    FieldError,
    Typed,
    field_of,
    images_in,
    read_ask,
    sentence,
)
from render_service.server.gateway.posts import Posts
from sora_adapter.profiles import profiles

LONGEST_SOURCE = 300
SENT_BEFORE = (
    "Another request was already sent from this form. Check this one: it has not been sent, and is a new one "
    "if you send it now."
)


class SourceView(View):
    """The video that a remix is made from."""

    job_id: str
    prompt: str | None
    model: str | None
    size: str | None
    seconds: int | None


class NewRequestView(View):
    """The form as it was typed, what it offers, and the decision on it.

    `take_several_images` are the servers that take more than a first frame. `errors` are sentences by the
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
    """Return the form: new, with the words of the address, or as it was typed when it was refused."""
    if visit.typed:
        typed = Typed.read(visit.typed, key=_new_key())
        return _view(visit, typed, images_in(visit.typed))
    named = {"remix_of": visit.query("remix") or "", "prompt": visit.query("prompt") or ""}
    return _view(visit, Typed.read(named, key=_new_key()), [])


def _view(visit: Visit, typed: Typed, images: Sequence[UploadFile]) -> NewRequestView:
    errors, decision = dict[str, str](), None
    if typed.prompt or visit.typed:
        try:
            decision = decide(visit, read_ask(visit, typed, images))
        except SoraLedgerError as error:
            errors[field_of(error)] = sentence(str(error))
    session, catalog, caller = visit.session, visit.session.catalog, visit.caller
    usual = session.settings.chosen_profile()
    known = profiles(session.settings.profiles_file)
    offered = [name for name, one in known.items() if not one.retired]
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
        guardrails=tuple(f"{one.rule} {one.meaning}" for one in GUARDRAILS),
    )


def _source(visit: Visit, typed: Typed) -> SourceView | None:
    if not typed.remix_of:
        return None
    try:
        job = find_job(visit, typed.remix_of)
    except SoraLedgerError:  # said at its field
        return None
    [began] = visit.session.ledger.history(job.job_id)[:1]
    prompt = getattr(began.event, "prompt", None)
    return SourceView(
        job_id=job.job_id,
        prompt=short(prompt.text, LONGEST_SOURCE) if prompt is not None and prompt.text else None,
        model=job.model,
        size=job.size,
        seconds=job.seconds,
    )


def _new_key() -> str:
    return secrets.token_urlsafe(24)


async def check(visit: Visit, form: FormData) -> NewRequestView:
    """Show the decision on what was typed; nothing is recorded."""
    typed = Typed.read(form, key=_new_key())
    return await asyncio.to_thread(_view, visit, typed, images_in(form))


async def send(visit: Visit, form: FormData) -> Done | NewRequestView:
    """Record and submit the request as the person who is signed in, once for each form."""
    typed = Typed.read(form, key="")
    posts: Posts = visit.request.app.state.posts
    try:
        ask = await asyncio.to_thread(read_ask, visit, typed, images_in(form))
        job = await posts.submit(visit.caller, ask, f"form-{typed.key}")
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

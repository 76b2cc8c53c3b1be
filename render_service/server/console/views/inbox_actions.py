"""What a person does about the Inbox: answer a request, settle an unknown outcome."""

import asyncio
import base64
import binascii
from datetime import datetime

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.terms import State
from render_service.approvals.approvals import VALID_FOR, Answered
from render_service.approvals.caller_answers import AnswerOnPage, answer_on_page
from render_service.approvals.passkeys import PasskeySignature
from render_service.recovery.findings import deal_with
from render_service.recovery.reconcile import declare_absent, reconcile_job, take_video
from render_service.runtime.documents import counted
from render_service.runtime.errors import BadInput
from render_service.server.console.pages import Action, Done, Visit, text_of
from render_service.server.console.views.inbox import visible_job


async def answer(visit: Visit, form: FormData) -> Done:
    """Approve or refuse a request, as the person who reads it, with a reason."""
    verdict, name = text_of(form, "verdict"), visit.part("name")
    if verdict not in {"approve", "refuse"}:
        raise BadInput("choose whether you approve or refuse the request; nothing was recorded")
    approves = verdict == "approve"
    submitted = AnswerOnPage(
        name,
        approves,
        text_of(form, "reason"),
        text_of(form, "as_shown"),
        signed=_passkey(form),
        until=_until(form, visit.now) if approves and form.get("signature") else None,
    )
    answered = await answer_on_page(visit.session, visit.caller, submitted)
    if answered is None:
        return Done("/inbox", f"Your answer to {name} was already recorded.")
    if not approves:
        return Done("/inbox", f"You refused {name}.")
    if isinstance(answered, Answered) and answered.job.state in {State.DENIED, State.HELD}:
        then = (
            "denied"
            if answered.job.state is State.DENIED
            else "held again, as it would not be what was approved"
        )
        return Done("/inbox", f"You approved {name}; decided anew, it was {then}.")
    if answered.needed:
        return Done("/inbox", f"You approved {name}; {counted(answered.needed, 'more approval')} needed.")
    done = "it is queued" if isinstance(answered, Answered) else "the change is applied"
    return Done("/inbox", f"You approved {name}; {done}.")


def _passkey(form: FormData) -> PasskeySignature | None:
    """Return what a passkey signed; None if the form is not signed."""
    names = ("credential_id", "signature", "authenticator_data", "client_data")
    texts = [text_of(form, name) for name in names]
    if not any(texts):
        return None
    try:
        return PasskeySignature(*(base64.b64decode(text, altchars=b"-_", validate=True) for text in texts))
    except binascii.Error:
        raise BadInput("the signature of the passkey did not arrive whole; nothing was recorded") from None


def _until(form: FormData, now: datetime) -> datetime:
    """Return when a signed approval ends, as the page proposed it."""
    try:
        until = datetime.fromisoformat(text_of(form, "until"))
    except ValueError:
        until = None
    if until is None or until.tzinfo is None or until > now + VALID_FOR:
        raise BadInput("the page says no usable end of this approval: open it again; nothing was recorded")
    return until


async def settle_outcome(visit: Visit, form: FormData) -> Done:
    """Settle an unknown outcome: look at the server again, name its video, or say that there is none."""
    job = await asyncio.to_thread(visible_job, visit, visit.part("name"))
    choice = text_of(form, "choice")
    if choice == "look":
        settlement = await reconcile_job(visit.session, job)
    elif choice == "found":
        video_id = text_of(form, "video_id")
        if not video_id:
            raise BadInput("enter the id of the video that the server created; nothing was recorded")
        settlement = await take_video(visit.session, job, video_id, force=bool(form.get("force")))
    elif choice == "absent":
        reason = text_of(form, "reason")
        if not reason:
            raise BadInput("say how you know that nothing was created; nothing was recorded")
        settlement = await declare_absent(visit.session, job, reason)
    else:
        raise BadInput("choose what to record about the outcome; nothing was recorded")
    return Done("/inbox", f"{job.job_id}: {settlement.verdict.replace('_', ' ')}; {settlement.why}.")


async def end_finding(visit: Visit, form: FormData) -> Done:
    """Record how the findings of an audit about a job were dealt with."""
    job = await asyncio.to_thread(visible_job, visit, visit.part("name"))
    reason = text_of(form, "reason")
    if not reason:
        raise BadInput("say how the finding was dealt with; nothing was recorded")
    if job.outcome is None:
        raise BadInput(f"{job.job_id} is {job.state}, not over: open the video first; nothing was recorded")
    try:
        ended = await deal_with(visit.session, job.job_id, reason)
    except BadInput:
        return Done("/inbox", f"{job.job_id}: nothing is left to deal with.")
    return Done("/inbox", f"{job.job_id}: {counted(len(ended), 'finding')} dealt with.")


ACTIONS = (
    Action("/inbox/{name}/dealt-with", "/inbox", Permission.OPERATE, end_finding),
    Action("/inbox/{name}/answer", "/inbox/{name}", Permission.APPROVE, answer),
    Action("/inbox/{name}/settle", "/inbox/{name}", Permission.OPERATE, settle_outcome),
)

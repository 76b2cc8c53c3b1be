"""Record the review of a clip as the person who judged it, once, and lead to the next clip."""

import asyncio
from itertools import zip_longest
from typing import get_args

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.errors import EventIdConflict
from render_service.approvals.reviews import HIGHEST, SCORES, NoteAt, Verdict, read_note, review
from render_service.runtime.errors import BadInput
from render_service.server.console.pages import Action, Done, Visit, text_of
from render_service.server.console.views.review import reviewed_job, unreviewed, which_of
from render_service.session.event_ids import review_id

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


async def record(visit: Visit, form: FormData) -> Done:
    """Record a review; the same form sent twice is one review."""
    job = await asyncio.to_thread(reviewed_job, visit, visit.part("name"))
    verdict = next((one for one in VERDICTS if one == form.get("verdict")), None)
    if verdict is None:
        raise BadInput("choose a verdict; nothing was recorded")
    scores, notes = _scores(form), text_of(form, "notes") or None
    key = review_id(job.job_id, visit.caller.name, text_of(form, "as_shown"))
    queue = await asyncio.to_thread(unreviewed, visit, which_of(visit), 2)
    try:
        await review(visit.session, job, verdict, scores, notes, _timed(form), event_id=key)
    except EventIdConflict:  # the form was sent twice
        visit.session.log.info("review.repeated", job_id=job.job_id)
    following = next((each for each in queue if each.job_id != job.job_id), None)
    words = f"Your review of {job.job_id} is recorded: {verdict.replace('_', ' ')}."
    where = "/review" if following is None else f"/review/{following.job_id}"
    return Done(f"{where}?which={which_of(visit).value}", words)


def _scores(form: FormData) -> dict[str, int]:
    """Return the scores that were filled in."""
    scores = {}
    for name in SCORES:
        text = text_of(form, name)
        if text and not (text.isdecimal() and int(text) <= HIGHEST):
            raise BadInput(f"{name.replace('_', ' ')} {text[:20]!r}: expected a number from 0 to {HIGHEST}")
        if text:
            scores[name] = int(text)
    return scores


def _timed(form: FormData) -> list[NoteAt]:
    """Return the notes that have a moment or a text; one without the other is refused."""
    rows = zip_longest(form.getlist("at"), form.getlist("note"), fillvalue="")
    written = ((str(at).strip(), str(text).strip()) for at, text in rows)
    return [read_note(f"{at}={text}") for at, text in written if at or text]


ACTIONS = (Action("/review/{name}", "/review/{name}", Permission.REVIEW, record),)

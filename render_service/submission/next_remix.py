"""Request the next remix of a split, from the record of the one before.

It is requested in the name of the person who requested the split, and decided by the rules in force now; it
is recorded and left to a worker. Its request key is derived from the split's, so that it is requested once,
whoever tries. In the same transaction the prompts that were planned beside the job before are deleted there:
they are in the new job now, so that a text is in one place, and erasing it erases it.

The identity of the requester counts as it was established for the split. A signature covers one request
alone, so the name of a requester who signed counts as typed here.
"""

import asyncio
from dataclasses import replace

from ledger.errors import WrongExpectedVersion
from ledger.events import SplitPlanned
from ledger.job import Job
from ledger.record import ActorSource, Authority
from ledger.terms import State
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.session.splits import (
    MOVED,
    deletion,
    follower_of,
    is_withdrawn,
    plan_of,
    planned_split,
    step_key,
    taken_key,
)
from render_service.submission.request_again import recorded_request
from render_service.submission.result import Opening, Placed, placed_in
from render_service.submission.submit import place


async def next_remix(session: Session, job: Job) -> Placed | None:
    """Request the remix that follows `job` in its split; None if there is none, or it has to wait.

    One that was requested before, by anyone, is returned. Whatever prevents the request is raised.
    """
    while True:
        if job.state is not State.STORED or await asyncio.to_thread(plan_of, session.ledger, job) is None:
            return None
        history = await asyncio.to_thread(JobHistory.of, session.ledger, job)
        plan = next(iter(history.all_of(SplitPlanned))).event
        if not plan.rest:
            return None
        following = await asyncio.to_thread(follower_of, session.ledger, job, plan)
        if following is not None:
            return await asyncio.to_thread(placed_in, session.ledger, following, repeated=True)
        taken = await asyncio.to_thread(taken_key, session.ledger, job, plan)
        if is_withdrawn(plan) or taken is not None:
            return None
        try:
            # A crash before the append leaves the job as it is: the next worker that looks finds it.
            return await _request(session, job, history, plan)
        except WrongExpectedVersion:  # another process recorded something about it, such as an erasure
            job = await session.job(job.job_id)


async def _request(session: Session, job: Job, history: JobHistory, plan: SplitPlanned) -> Placed:
    acting = _in_the_name_of(session, history)
    following, *rest = plan.rest
    instead = {
        "source": job.job_id,
        "prompt": following.prompt.text,
        "declared_change": following.declared_change,
        "request_key": step_key(plan.split_key, plan.number + 1),
    }
    request, material = await recorded_request(acting, job, history, instead=instead)
    later = [(str(remix.prompt.text), remix.declared_change) for remix in rest]
    moved = deletion(session, job.job_id, plan, MOVED, history.version)
    opening = Opening(
        caused_by=history.records[-1].event_id,
        plan=planned_split(plan.split_key, plan.number + 1, later),
        batches=lambda _: moved,
    )
    return await place(acting, request, material, queue=True, opening=opening)


def _in_the_name_of(session: Session, history: JobHistory) -> Session:
    """Return a session that acts for the requester of a job, with their team, project and access key."""
    first, requested = history.first, history.requested
    assert requested is not None  # a planned remix was requested here
    source = ActorSource(first.envelope.actor_source)
    settings = replace(
        session.settings,
        actor=first.actor,
        actor_source=ActorSource.FLAG if source is ActorSource.SIGNATURE else source,
        team=requested.team,
        project=requested.project,
        access_key_id=requested.access_key_id,
        key_file=None,
        request_key_file=None,
    )
    return replace(session, settings=settings, authority=Authority.SYSTEM)

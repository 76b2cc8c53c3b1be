"""Find the job that a name means to a person, and the parts of its record that not every viewer may see.

A name is any id that the command line accepts, and refers only to jobs that the person may see. All others
get the same answer as unknown ones, so nothing reveals whether another team has such a video.
"""

from decision.rules.roles import Permission
from ledger.events import ErrorDetail
from ledger.job import Job
from ledger.log.job_names import jobs_named, require_one
from ledger.log.ledger import Ledger
from render_service.access.callers import Caller
from render_service.server.console.pages import NotHere, Visit
from render_service.server.gateway.projection import may_be_id, visible_job
from render_service.server.gateway.resources import ABOUT_THE_GATEWAY


def find_job(visit: Visit, name: str) -> Job:
    """Return the job called `name`; `NotHere` if there is none, `AmbiguousJob` if there are several.

    A name is a job id, a public id, the id of the server's video, or a part of a job id.
    """
    job = job_called(visit.session.ledger, visit.caller, name)
    if job is None:
        raise NotHere(f"there is no video {name[:64]!r} that you may see")
    return job


def job_called(ledger: Ledger, caller: Caller, name: str) -> Job | None:
    """Return the job that `name` means to `caller`, or None."""
    job = visible_job(ledger, caller, name)
    if job is not None or not may_be_id(name):
        return job
    jobs = jobs_named(ledger.store.jobs, name, caller.sees)
    return require_one(jobs, name) if jobs else None


def hides_words(visit: Visit, error: ErrorDetail | None) -> bool:
    """Return whether the words of an error are only for operators.

    They are if a server refused the gateway's own key or account, because such words quote parts of the key.
    """
    return is_about_gateway(error) and not visit.may(Permission.OPERATE)


def is_about_gateway(error: ErrorDetail | None) -> bool:
    """Return whether a server refused the gateway's own key or account."""
    return error is not None and error.http_status in ABOUT_THE_GATEWAY

"""Determine which server a job belongs to.

A job belongs to the server of its last attempt, or of its adopted video. Only the server that made a video
knows it. Another server's answer about its id is wrong, or worse: a 404 that looks like a deletion, or
another client's video under the same id. So every call about a recorded job goes to the recorded address, or
is refused before anything is sent (docs/decisions/0130).

Older records, made before servers were recorded, name none; for them nothing is refused.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from ledger.events import SubmissionIntended
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.runtime.errors import WrongServer
from render_service.runtime.settings import SANDBOX, Settings
from render_service.session.event_ids import claim_id
from render_service.session.history import JobHistory
from sora_adapter.profiles import Profile, profile

OPEN = (State.SUBMITTING, State.UNKNOWN)


_DEFAULT_PORTS = {"http": 80, "https": 443}


def server_of(ledger: Ledger, job: Job) -> str | None:
    """Return the base URL `job` belongs to; None if no record names it.

    A job that was not submitted yet belongs to the server of its source video, if any. The embedded sandbox
    changes its port and is always the one next to the ledger, so it has no address here.
    """
    if not is_bound(job):
        return None
    if job.video_id is not None or job.state in OPEN:
        return JobHistory.of(ledger, job).server
    return server_of(ledger, ledger.job(job.source_job)) if job.source_job else None


def has_other_key(ledger: Ledger, job: Job, has_key_of: Callable[[SubmissionIntended], bool | None]) -> bool:
    """Return whether the record shows that `job` was submitted with another key than the client's.

    `has_key_of` is the client's.

    Another key may be of another account, which does not know the video: its 404 proves nothing. It may also
    be a rotated key of the same account, so what it does find counts.
    """
    intent = JobHistory.of(ledger, job).intent
    return intent is not None and has_key_of(intent.event) is False


def explain_key_to_set(server: Profile) -> str:
    """Return the advice for a job that was submitted with another key."""
    others = "OPENAI_ORG_ID and OPENAI_PROJECT_ID, if you use them"
    return f"set {server.key_variable} (and {others}) to what the job was submitted with"


def is_bound(job: Job) -> bool:
    """Return whether `job` may belong to a server; only its history shows whether it does."""
    if job.profile in {SANDBOX, None}:
        return False
    starts_from_a_video = job.remix_video_id is not None and job.source_job is not None
    return job.video_id is not None or job.state in OPEN or starts_from_a_video


def address_in_use(settings: Settings, server: Profile) -> str | None:
    """Return the base URL that a call to `server` would use; None if none is set."""
    return settings.base_url or server.base_url


def is_same_server(first: str, second: str) -> bool:
    """Return whether two base URLs name one server: scheme, host, port and path, regardless of spelling."""
    return _parts(first) == _parts(second)


def server_name(profile_name: str, address: str | None) -> str:
    """Return the name of a server in claims: one name for all profiles and spellings of its base URL.

    The embedded sandbox, whose port changes, and a server without an address are named by their profile.
    """
    if profile_name == SANDBOX or address is None:
        return profile_name
    scheme, host, port, path = _parts(address)
    return f"{scheme}://{host}:{port}{path}"


def server_name_in_use(settings: Settings, profile_name: str) -> str:
    """Return the name of the server that calls for the profile use."""
    return server_name(profile_name, address_in_use(settings, profile(profile_name, settings.profiles_file)))


def job_of_video(ledger: Ledger, profile_name: str, address: str | None, video_id: str) -> Job | None:
    """Return the job that has a video of the server at `address`; None if none has.

    Two profiles may name one server, so the job may have been submitted under another profile. Older claims
    do not name the server, and are found through their jobs.
    """
    claim = ledger.event(claim_id(server_name(profile_name, address), video_id))
    if claim is not None:
        return ledger.job(claim.stream)
    jobs = ledger.jobs(JobFilter(video_id=video_id))
    return next((job for job in jobs if is_at(ledger, job, profile_name, address)), None)


def is_at(ledger: Ledger, job: Job, profile_name: str, address: str | None) -> bool:
    """Return whether `job` belongs to the server at `address`; by profile if the address is unknown."""
    if SANDBOX in {job.profile, profile_name}:
        return job.profile == profile_name
    recorded = server_of(ledger, job)
    if recorded is None or address is None:
        return job.profile == profile_name
    return is_same_server(recorded, address)


def check_server(settings: Settings, ledger: Ledger, job: Job) -> None:
    """Refuse to call a server about another server's job; `WrongServer` says what to set."""
    recorded = server_of(ledger, job)
    if recorded is None or job.profile is None:
        return
    server = profile(job.profile, settings.profiles_file)
    in_use = address_in_use(settings, server)
    if in_use is not None and is_same_server(recorded, in_use):
        return
    named = f"{in_use} is the server in use" if in_use else "no server is set"
    raise WrongServer(
        f"{job.job_id} belongs to {recorded}, and {named}: nothing was asked or recorded; "
        f"{_what_to_set(settings, server, recorded)}",
        server=recorded,
        in_use=in_use,
    )


def _what_to_set(settings: Settings, server: Profile, recorded: str) -> str:
    is_own = server.base_url is not None and is_same_server(server.base_url, recorded)
    address = f"set OPENAI_BASE_URL={recorded}"
    if is_own and settings.base_url is not None:
        address = f"unset OPENAI_BASE_URL, or {address}"
    key = f", and {server.key_variable} to a key of that server" if server.needs_key else ""
    other = settings.chosen_profile() != server.name and settings.profile_name is not None
    return address + key + (f" (its profile is --profile {server.name})" if other else "")


def _parts(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(scheme), parts.path.rstrip("/")

"""The operations that cost money: read a request, submit it once, and answer in the API's terms.

A denial is answered with its reason and the smallest change that would be allowed, in terms of the API. A
request that may have been billed is never answered with an error: the video is ``queued``, and the ledger
finds out.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from decision.engine.explain import list_reasons
from decision.errors import DecisionError
from decision.money import format_usd, usd_digits
from decision.request.request import RenderRequest, parse_request
from ledger.errors import LedgerError, argv_of
from ledger.events import DenialTrace, Fix, RenderDenied, RenderRequested, SubmissionRejected
from ledger.job import Job
from ledger.terms import State
from render_service.access.callers import Caller
from render_service.adoption.characters import check_film, create_character
from render_service.rules.policies import Rules
from render_service.runtime.coalesce import Coalescer
from render_service.runtime.documents import Json
from render_service.server.gateway.api_terms import in_api_terms
from render_service.server.gateway.errors import refusal_of
from render_service.server.gateway.headers import expected_headers, job_headers
from render_service.server.gateway.ids import check_file, find_job, known_character
from render_service.server.gateway.projection import PATIENCE_S
from render_service.server.gateway.refusals import (
    Refusal,
    character_unknown,
    from_server,
    over_budget,
    unreachable,
    upload_failed,
)
from render_service.server.gateway.request_inputs import (
    RequestInput,
    read_character,
    read_create,
    read_edit,
    read_extension,
    read_remix,
)
from render_service.server.gateway.resources import new_resource, video_resource
from render_service.server.gateway.submissions import Submissions
from render_service.server.gateway.uploads import MAX_FORM_BYTES, MAX_JSON_BYTES, Uploads, read_film
from render_service.server.gateway.uses import MOST_RETRIES, UnderWay
from render_service.session.session import Session
from render_service.submission.fix_commands import commands_after
from render_service.submission.result import Placed
from render_service.submission.sources import source_of
from sora_adapter.errors import AdapterError, ServerUnreachable, ServerUnreadable
from sora_adapter.serving.bodies import Fields, read_fields

FORBIDDEN = frozenset(
    "ATTESTATION_MISSING DRAFT_NOT_APPROVED FACE_IN_IMAGE FACES_NOT_CHECKED TERM_NOT_ALLOWED"
    " MODERATION_FLAGGED MODERATION_MISSING".split()
)
"""Denials by the policy's demands on people or content; all others are about a value of the request."""

BUDGET = "BUDGET_EXHAUSTED"

_PARAMS: Mapping[str, str] = {
    "max_cost_usd_micros": "max_cost_usd",
    "character_ids": "characters",
    "reference_url": "input_reference",
    "reference_file_id": "input_reference",
    "reference_faces": "input_reference",
    "source": "video",
    "draft": "promotes",
    "declared_change": "declare_change",
    "terms": "prompt",
    "moderation": "prompt",
}
_NAMED = frozenset({"size", "seconds", "model"})
"""Fields that the detail codes of their denials begin with."""

_NOT_SENT = frozenset({"operation", "profile", "catalog", "budget_left_usd_micros"})
"""Terms in fixes that are not fields of a request."""


def denial(job: Job, denied: RenderDenied, requested: RenderRequested) -> Refusal:
    """Return the refusal for a denied job: 429 for lack of budget, 403 for a policy on content, else 400."""
    trace = denied.denial_trace
    steps = [step_of(fix) for fix in trace.minimal_fix]
    remedy = f" It would be allowed if you {' and '.join(steps)}." if steps else ""
    message = in_api_terms(f"{_sentence(list_reasons(denied)[0])}{remedy}")
    document, headers = trace.as_json(), job_headers(job, denied)
    if trace.detail_code == BUDGET:
        return over_budget(message, param="budget", expected=trace.expected, found=trace.found).about(
            headers, document
        )
    status = 403 if trace.detail_code in FORBIDDEN else 400
    refusal = Refusal(
        status,
        trace.detail_code,
        message,
        param=_param(trace),
        expected=trace.expected,
        found=trace.found,
    )
    commands = [argv_of(command) for command in commands_after(denied, requested, with_keys=True)]
    calls = [call for call in map(call_of, commands) if call is not None]
    return refusal.about(headers, document).followed_by(calls, commands)


_FIELD_OF = {
    f"--{name.replace('_', '-')}": name for name in ("prompt", "model", "size", "seconds", "purpose")
} | {
    "--max-cost": "max_cost_usd",
    "--declare-change": "declare_change",
    "--promotes": "promotes",
}


def call_of(argv: Sequence[str]) -> Json | None:
    """Return the API call equivalent to a command; None if the API has none."""
    words, source = list(argv[2:]), None
    body: Json = {}
    headers: Json = {}
    while words:
        option = words.pop(0)
        if option == "--attest":
            body["attested"] = True
        elif option == "--no-augment":
            pass  # the API never augments
        elif not words:
            return None
        elif option in _FIELD_OF:
            body[_FIELD_OF[option]] = words.pop(0)
        elif option == "--request-key":  # its first part is the access key's
            headers["Idempotency-Key"] = words.pop(0).partition("/")[2]
        elif option == "--id":
            source = words.pop(0)
        else:
            return None
    path = {"create": "/v1/videos", "remix": f"/v1/videos/{source}/remix"}.get(argv[1])
    if path is None:
        return None
    return {"method": "POST", "path": path, **({"headers": headers} if headers else {}), "body": body}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _param(trace: DenialTrace) -> str | None:
    """Return the denied field; if the code names none, the field to change."""
    named = trace.detail_code.partition("_")[0].lower()
    if named in _NAMED:
        return named
    field = next((fix.field for fix in trace.minimal_fix if fix.field not in _NOT_SENT), None)
    return _PARAMS.get(field, field) if field else None


def step_of(fix: Fix) -> str:
    """Return, in words, how to apply `fix` to a request of the API."""
    step = _STEPS.get((fix.field, fix.action))
    if step is not None:
        return step(fix)
    name = _PARAMS.get(fix.field, fix.field)
    return f"leave out '{name}'" if fix.action == "drop" else f"set '{name}' to {fix.value}"


def _usd(fix: Fix) -> int:
    return fix.value if isinstance(fix.value, int) else 0


_STEPS: Mapping[tuple[str, str], Callable[[Fix], str]] = {
    ("max_cost_usd_micros", "raise"): lambda fix: f"raise 'max_cost_usd' to {usd_digits(_usd(fix))}",
    ("budget_left_usd_micros", "raise"): lambda fix: (
        f"have the budget raised until {format_usd(_usd(fix))} are left in it"
    ),
    ("source", "wait"): lambda _: "wait until the source video is completed",
    ("operation", "set"): lambda _: "create a new video instead (POST /v1/videos)",
    ("prompt", "split"): lambda fix: (
        f"make {fix.value} remixes, one change each, each of the result of the one before"
    ),
    ("prompt", "set"): lambda _: "name in 'prompt' one thing that is to change",
    ("input_reference", "drop"): lambda _: "leave out the image, or crop the face out",
    ("reference_faces", "set"): lambda _: "have the operator install face detection, which the policy needs",
    ("declared_change", "set"): lambda fix: (
        f"word it as one change; or, if it is one, declare which with 'declare_change', such as {fix.value!r}"
    ),
    ("terms", "drop"): lambda fix: f"leave out of 'prompt' the words that the rule {fix.value} names",
    ("moderation", "drop"): lambda fix: f"change in 'prompt' what the rule {fix.value} is about",
    ("moderation", "wait"): lambda _: "send it again when the server can be asked to moderate it",
    ("attested", "set"): lambda _: "confirm the guardrails with 'attested' set to true",
    ("draft", "wait"): lambda _: "name a draft that a review approved in 'promotes'",
    ("profile", "set"): lambda _: "use a gateway whose server offers this operation",
    ("catalog", "set"): lambda _: "have the operator add the model and its price to the catalog",
}


ANSWER_S = 30.0
"""How long a client waits for the server behind the gateway; after that its video is ``queued``."""

WAKE_S = 1.0
"""Accepted renders are handed to the workers together, this often."""

RETRY_COUNT = "x-stainless-retry-count"
IDEMPOTENCY_KEY = "idempotency-key"
TIDY_S = 60.0
_COUNT = re.compile(r"[0-9]{1,9}")

_RUNNING = frozenset({State.RUNNING, State.COMPLETED, State.UNKNOWN})


class Posts:
    """The handlers; one instance per process."""

    def __init__(self, session: Session, answer_s: float = ANSWER_S) -> None:
        self._session = session
        self._answer_s = answer_s
        self._submissions = Submissions(session)
        self._waking: Coalescer[str, None] = Coalescer(self._wake, gather_s=WAKE_S)

    @property
    def submissions(self) -> Submissions:
        """The submissions of this process, for others who submit a caller's requests."""
        return self._submissions

    async def close(self) -> None:
        """Finish the requests in progress."""
        await self._submissions.close()
        with contextlib.suppress(Exception):  # the workers find these jobs by themselves, later
            await self._waking.finish()

    async def tidy(self, stop: asyncio.Event) -> None:
        """Periodically withdraw jobs that a crash left unsent, until `stop` is set."""
        while not stop.is_set():
            await self._submissions.withdraw_left()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TIDY_S)

    async def create(self, request: Request, caller: Caller) -> Response:
        """``POST /videos``."""
        async with _reading(request) as (fields, uploads):
            if isinstance(fields.get("input_reference"), str | None):
                request_input = read_create(fields, request.headers, uploads)
            else:  # an image is decoded
                request_input = await run_in_threadpool(read_create, fields, request.headers, uploads)
            return await self._submitted(request, caller, request_input)

    async def remix(self, request: Request, caller: Caller) -> Response:
        """``POST /videos/{video_id}/remix``."""
        async with _reading(request) as (fields, _):
            request_input = read_remix(fields, request.headers, str(request.path_params["video_id"]))
            return await self._submitted(request, caller, request_input)

    async def edit(self, request: Request, caller: Caller) -> Response:
        """``POST /videos/edits``."""
        async with _reading(request) as (fields, _):
            request_input = await run_in_threadpool(read_edit, fields, request.headers)
            return await self._submitted(request, caller, request_input)

    async def extend(self, request: Request, caller: Caller) -> Response:
        """``POST /videos/extensions``."""
        async with _reading(request) as (fields, _):
            return await self._submitted(request, caller, read_extension(fields, request.headers))

    async def create_character(self, request: Request, caller: Caller) -> Response:
        """``POST /videos/characters``: free, and attempted once."""
        acting = caller.session(self._session)
        caller.check_profile(acting.profile().name)
        async with _reading(request) as (fields, _):
            name, file = read_character(fields)
            film = await run_in_threadpool(read_film, file)
            check_film(film)
            try:
                made = await create_character(acting, name, film, file.path)
            except (ServerUnreachable, ServerUnreadable) as lost:
                raise character_unknown() from lost
        shown = made.shown
        document = {"id": made.character_id, "name": name, "created_at": shown.created_at if shown else None}
        return JSONResponse(document)

    # --- from a request to its job ---

    async def submit(self, caller: Caller, request_input: RequestInput, key: str) -> Job:
        """Submit the request of a person's form, once for each idempotency `key`; return its job.

        It returns as soon as the job is recorded; it is sent in the background, and the outcome is recorded.
        """
        acting, parsed = await self._parsed_request(caller, request_input, key)
        entry = self._begin(caller, acting, parsed, request_input, 0)
        await self._wait_for_job(entry)
        return entry.job or entry.task.result().job

    async def _submitted(self, request: Request, caller: Caller, request_input: RequestInput) -> Response:
        acting, parsed = await self._parsed_request(
            caller, request_input, request.headers.get(IDEMPOTENCY_KEY)
        )
        count = _retry_count(request)
        if request.state.refused is not None:
            self._submissions.note_refused(caller, acting, parsed, count)
            raise request.state.refused
        entry = self._begin(caller, acting, parsed, request_input, count)
        await asyncio.wait({entry.task}, timeout=self._answer_s)
        await self._wait_for_job(entry)
        return await self._answer(acting, entry)

    async def _parsed_request(
        self, caller: Caller, request_input: RequestInput, key: str | None
    ) -> tuple[Session, RenderRequest]:
        """Return a session that acts as the caller, and the valid request that `request_input` stands for."""
        acting = caller.session(self._session, team=request_input.team, project=request_input.project)
        values, profile = dict(request_input.values), request_input.profile
        if request_input.source is not None:
            job = await find_job(self._session, caller, request_input.source)
            values["source"], profile = await source_of(acting, job.job_id)
        if isinstance(draft := values.get("promotes"), str):
            values["promotes"] = (await find_job(self._session, caller, draft, "promotes")).job_id
        for index, character in enumerate(request_input.character_ids):
            await known_character(self._session, caller, character, f"characters[{index}].id")
        if request_input.file_id is not None:
            check_file(caller, request_input.file_id, "input_reference.file_id")
        values["profile"] = acting.profile(profile).name
        values["request_key"] = _request_key(key, caller)
        if "purpose" not in values and caller.purposes:
            values["purpose"] = caller.purposes[0]
        parsed = await _parsed(acting, values)
        caller.check_profile(parsed.profile)
        caller.check_purpose(parsed.purpose)
        return acting, parsed

    def _begin(
        self, caller: Caller, session: Session, parsed: RenderRequest, request_input: RequestInput, count: int
    ) -> UnderWay:
        entry = self._submissions.begin(caller, session, parsed, request_input.material, count)
        entry.task.add_done_callback(self._wake_if_running)
        return entry

    def _wake_if_running(self, task: "asyncio.Task[Placed]") -> None:
        """Let a worker watch a render that was just accepted."""
        if task.cancelled() or task.exception() is not None:
            return
        placed = task.result()
        if placed.job.state in _RUNNING and not placed.repeated:
            self._waking.put(placed.job.job_id)

    async def _wait_for_job(self, entry: UnderWay) -> None:
        """Wait until the job is recorded, or the submission has failed before that."""
        if not entry.task.done() and entry.job is None:
            recorded = asyncio.create_task(entry.recorded.wait())
            await asyncio.wait({entry.task, recorded}, return_when=asyncio.FIRST_COMPLETED)
            recorded.cancel()

    async def _answer(self, session: Session, entry: UnderWay) -> Response:
        if not entry.task.done():
            assert entry.job is not None  # otherwise it would be waited for
            return await self._shown(session, entry.job, entry.request.prompt)
        error = entry.task.exception()
        if error is None:
            return await self._answer_of(session, entry.task.result())
        if not isinstance(error, Exception):
            raise error
        if entry.job is None:  # nothing was recorded, and nothing sent
            raise error
        if isinstance(error, AdapterError):  # raised only before anything was sent
            raise refusal_of(error).about(job_headers(entry.job)) from error
        session.log.warning("submission.unanswered", job_id=entry.job.job_id, error=type(error).__name__)
        return await self._shown(session, entry.job, entry.request.prompt)

    # --- from a job to the answer ---

    async def _answer_of(self, session: Session, placed: Placed) -> Response:
        job, outcome = placed.job, placed.outcome
        headers = job_headers(job, placed.ruling)
        if isinstance(placed.ruling, RenderDenied):
            raise denial(job, placed.ruling, placed.requested)
        if job.state is State.REJECTED and isinstance(outcome, SubmissionRejected):
            free = session.profile(job.profile).is_free(outcome)
            raise from_server(outcome.error, outcome.retry_after_ms, may_repeat=free).about(headers)
        if job.state is State.ABSENT:
            raise unreachable().about(headers)
        prompt = placed.requested.prompt.text
        if placed.repeated:
            return await self._shown(session, job, prompt)
        return JSONResponse(new_resource(job, prompt), headers=headers | await expected_headers(session, job))

    async def _shown(self, session: Session, job: Job, prompt: str | None) -> Response:
        """Answer with a recorded job, from memory if the ledger cannot be read now."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                document = await asyncio.to_thread(video_resource, session.ledger, job)
        except (LedgerError, TimeoutError):
            document = new_resource(job, prompt)
        return JSONResponse(document, headers=job_headers(job))

    async def _wake(self, job_ids: Sequence[str]) -> Sequence[None]:
        """Make accepted renders due, so that a worker observes them."""
        await asyncio.to_thread(self._session.ledger.store.queue.wake, job_ids)
        return [None] * len(job_ids)


@contextlib.asynccontextmanager
async def _reading(request: Request) -> AsyncIterator[tuple[Fields, Uploads]]:
    """Read the fields of a request; its files are deleted when the block ends.

    A body may take hours to arrive, so the caller is identified again: the key may have been revoked.
    """
    uploads = Uploads()
    try:
        limits = {"max_bytes": MAX_JSON_BYTES, "max_form_bytes": MAX_FORM_BYTES}
        try:
            fields = await read_fields(request, keep=uploads.keep, **limits)
        except OSError as error:
            raise upload_failed(error) from error
        await request.state.identified()
        request.state.fields = fields
        yield fields, uploads
    finally:
        await uploads.close()


async def _parsed(session: Session, values: Mapping[str, object]) -> RenderRequest:
    """Return the request for `values`; `DecisionError` if it is invalid by the rules in force."""

    def parsed(rules: Rules) -> RenderRequest:
        return parse_request(catalog=rules.catalog, **values)

    try:
        return parsed(session.in_force.rules)
    except DecisionError:  # perhaps other rules were activated
        return await asyncio.to_thread(session.in_force.judge, parsed, (DecisionError,))


def _request_key(key: str | None, caller: Caller) -> str | None:
    """Return the idempotency key of a client, in the name space of its access key."""
    return f"{caller.key_id or caller.name}/{key}" if key else None


def _retry_count(request: Request) -> int:
    """Return how often an SDK has sent this request before; 0 for any other client."""
    count = request.headers.get(RETRY_COUNT, "0")
    return min(int(count), MOST_RETRIES) if _COUNT.fullmatch(count) else 0

"""Show the effect of a request without making it: the decision, the call, and any obstacles.

A decision says whether the policy allows a request. Whether it can be sent is another question: the profile
may be retired, the key or the address missing, the source video on another server. Nothing is called to
answer it.

Needs no key and no network, unless the policy requires moderation: then the server is asked for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from decision.engine.approval import consider, set_aside
from decision.engine.explain import list_reasons, what_now
from decision.request.request import RenderRequest, SourceFile
from ledger.events import Considered, RenderDecided, RenderDenied
from ledger.terms import UNDER_WAY, State
from render_service.approvals.requesters import find_author
from render_service.assets.inputs import NOTHING, Material
from render_service.rules.budgets import NOTHING as NOTHING_TAKEN
from render_service.rules.measurements import Duration, expected_duration
from render_service.rules.opening import ledger_if_any
from render_service.rules.overrides import Override
from render_service.rules.policies import read_active_rules, read_packaged_rules
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import SANDBOX, Settings
from render_service.session.connections import find_usable_profile
from render_service.session.servers import address_in_use, check_server
from render_service.session.session import utc_now
from render_service.submission.context import context_in
from render_service.submission.intent import requested
from render_service.submission.judge import judge_ahead
from render_service.submission.moderation import moderated_ahead
from render_service.submission.recorded_call import Files, call_of
from sora_adapter.errors import SettingsUnusable
from sora_adapter.profiles import check_base_url, check_key, profile
from sora_adapter.requests import ReferenceFile, character_post, post_of
from sora_adapter.wire import Post

EMBEDDED = "http://127.0.0.1:<free port>/v1"


@dataclass(frozen=True)
class Outlook:
    """Why the run would currently be refused, and what it would check first; None if nothing applies."""

    refused: str | None = None
    assumes: str | None = None

    def document(self) -> Json:
        """Return the outlook as fields of a preview."""
        return {"refused": self.refused, "assumes": self.assumes}

    def lines(self) -> list[str]:
        """Return what a person should know in addition to the decision."""
        refused = [f"the run would be refused: {self.refused}"] if self.refused else []
        return [*refused, *([self.assumes] if self.assumes else [])]


@dataclass(frozen=True)
class Preview:
    """A ruling, and the request that would be sent if allowed."""

    ruling: Considered
    post: Post | None
    base_url: str
    outlook: Outlook = field(default_factory=Outlook)

    def document(self, request: RenderRequest) -> Json:
        """Return the preview as JSON."""
        sent = request_document(self.post, self.base_url) if self.post else None
        decision = ruling_document(self.ruling, request)
        return {"dry_run": True, "decision": decision, "request": sent} | self.outlook.document()


def preview(
    settings: Settings,
    request: RenderRequest,
    material: Material = NOTHING,
    override: Override | None = None,
    *,
    even_if_retired: bool = False,
    taken: Mapping[str, int] = NOTHING_TAKEN,
) -> Preview:
    """Decide on `request`, and return the call and its obstacles.

    `taken` is what earlier requests of the same run take from each budget. `BadRequest` if `override` names a
    denial that cannot be overridden.
    """
    server = profile(request.profile, settings.profiles_file)
    ruling = ruling_on(settings, request, override, even_if_retired=even_if_retired, taken=taken)
    post = None
    if isinstance(ruling, RenderDecided):
        call = call_of(requested(None, request, material), ruling, Files("JOB", None, material))
        upload = call.upload.content if call.upload else None
        assert not isinstance(upload, Path)  # `Files` has read it
        further = [image.content for image in call.more_references if isinstance(image.content, bytes)]
        post = post_of(call, server, upload, further)
    ahead = outlook(settings, request, even_if_retired=even_if_retired)
    return Preview(ruling, post, address(settings, request.profile), ahead)


def ruling_on(
    settings: Settings,
    request: RenderRequest,
    override: Override | None = None,
    *,
    even_if_retired: bool = False,
    taken: Mapping[str, int] = NOTHING_TAKEN,
) -> Considered:
    """Decide on `request` with the facts in this ledger, if there is one; records nothing.

    Must not be called in an event loop: the server may be asked to moderate the prompt.
    """
    server = profile(request.profile, settings.profiles_file)
    with ledger_if_any(settings) as ledger:
        rules = read_active_rules(ledger) if ledger else read_packaged_rules()
        who = find_author(settings, rules.policy)
        context = who.add_to(context_in(settings, ledger, request, server, utc_now(), taken))
    moderation = moderated_ahead(settings, rules.policy, request, even_if_retired=even_if_retired)
    judge = judge_ahead(settings, rules.policy, request, even_if_retired=even_if_retired)
    context = context.model_copy(update={"moderation": moderation, "judge": judge})
    ruling = consider(request, catalog=rules.catalog, policy=rules.policy, context=context)
    if override is not None:
        ruling = set_aside(ruling, override.codes, catalog=rules.catalog, policy=rules.policy)
    who.check(ruling)
    return ruling


def expected_on(settings: Settings, ruling: Considered, request: RenderRequest) -> Duration | None:
    """Return the expected duration of the render, for the chosen model; None if unknown."""
    if isinstance(ruling, RenderDenied):
        return None
    model = ruling.model if isinstance(ruling, RenderDecided) else ruling.choice.model
    with ledger_if_any(settings) as ledger:
        if ledger is None:
            return None
        return expected_duration(
            ledger, profile=request.profile, model=model, size=request.size, seconds=request.total_seconds
        )


def preview_character(settings: Settings, name: str, file: SourceFile, path: Path) -> Json:
    """Return the request that would create a character; `OperationUnsupported` if the server has none."""
    chosen = settings.chosen_profile()
    upload = ReferenceFile(name=file.name, media_type=file.media_type, content=path)
    post = character_post(name, upload, path.read_bytes(), profile(chosen, settings.profiles_file))
    return {"dry_run": True, "request": request_document(post, address(settings, chosen))}


def address(settings: Settings, profile_name: str) -> str:
    """Return the base URL that would be called."""
    if profile_name == SANDBOX:
        return EMBEDDED
    return settings.base_url or profile(profile_name, settings.profiles_file).base_url or "<OPENAI_BASE_URL>"


def ruling_document(
    ruling: Considered,
    request: RenderRequest | None = None,
    *,
    job_id: str = "JOB",
    draft: str | None = None,
) -> Json:
    """Return a decision: the event's payload, and its explanation in sentences.

    `job_id`, and the `draft` it was made from, appear in the suggested commands.
    """
    document: Json = ruling.as_json() | {"why": list_reasons(ruling)}
    if not isinstance(ruling, RenderDecided):
        document["what_now"] = what_now(ruling, request, job_id=job_id, draft=draft)
    return document


def request_document(post: Post, base_url: str) -> Json:
    """Return the HTTP request that would be sent; files appear only with name and size."""
    files = {
        field: {"name": name, "bytes": len(content), "media_type": media_type}
        for field, (name, content, media_type) in [*(post.files or {}).items(), *post.more_files]
    }
    return {
        "method": "POST",
        "url": f"{base_url}{post.path}",
        "content_type": "multipart/form-data" if post.multipart else "application/json",
        "body": post.body,
        "files": files,
    }


def outlook(settings: Settings, request: RenderRequest, *, even_if_retired: bool = False) -> Outlook:
    """Return the obstacles to sending `request`, and the assumptions about its source video."""
    assumes = None
    try:
        server = find_usable_profile(settings, request.profile, even_if_retired=even_if_retired)
        if server.name != SANDBOX:
            check_base_url(server, address_in_use(settings, server))
            check_key(server, settings.api_key)
        if request.source is not None and request.source.job_id is not None:
            assumes = _look_at_source(settings, request.source.job_id)
    except (BadInput, SettingsUnusable) as refused:
        return Outlook(refused=str(refused), assumes=assumes)
    return Outlook(assumes=assumes)


def _look_at_source(settings: Settings, job_id: str) -> str | None:
    with ledger_if_any(settings) as ledger:
        job = ledger.job(job_id) if ledger else None
        if ledger is None or job is None:
            return None
        check_server(settings, ledger, job)
    if job.status not in UNDER_WAY or job.state is not State.RUNNING:
        return None
    return (
        f"this assumes that {job.video_id} is completed by then: it was last seen {job.status}, "
        "and the run checks with the server first"
    )

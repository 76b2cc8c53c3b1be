"""The permanent objects of a permissive sandbox: the ids that the SDK's own tests use."""

from sora_adapter.sandbox.state.jobs import Job, JobStore
from sora_adapter.sandbox.state.uploads import CharacterStore
from sora_adapter.sandbox.webhooks.endpoints import EndpointStore

STAND_IN_VIDEO = "video_123"
STAND_IN_CHARACTER = "char_123"
STAND_IN_ENDPOINT = "whe_123"
_FOR_EVER_S = 10**9


def provide(jobs: JobStore, characters: CharacterStore, endpoints: EndpointStore, now: float) -> None:
    """Create the permanent objects that are missing."""
    if jobs.get(STAND_IN_VIDEO) is None:
        jobs.add(_video(now))
    characters.create("Stand-in", now, STAND_IN_CHARACTER)
    endpoints.add("Stand-in", "https://", ("batch.completed",), now, STAND_IN_ENDPOINT)


def _video(now: float) -> Job:
    return Job(
        id=STAND_IN_VIDEO,
        model="sora-2",
        size="720x1280",
        seconds="4",
        prompts=("A stand-in for the video of another test",),
        reference_sha256=None,
        remixed_from_video_id=None,
        created_at=now,
        render_seconds=0.0,
        expire_seconds=_FOR_EVER_S,
        request_id="req_stand_in",
    )

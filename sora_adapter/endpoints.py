"""The webhook endpoints of a server: registering, listing, testing, and rotating their secrets.

Each function sends one HTTP request per page or change and raises `AnswerError`, or `OperationUnsupported`
where the profile has no webhooks. A server shows a secret only once, on creation.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from sora_adapter.errors import ServerRefused, VideoNotFound
from sora_adapter.profiles import require

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

EVENT_TYPES = ("video.completed", "video.failed")
_PATH = "/webhook_endpoints"
_PAGE = 100
D = TypeVar("D", bound=BaseModel)


class _AnswerModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Endpoint(_AnswerModel):
    """A registered receiver; `created_at` in Unix seconds."""

    id: str
    name: str | None = None
    url: str
    event_types: tuple[str, ...] = ()
    created_at: int | None = None
    signing_secret_hint: str | None = None


class NewSecret(Endpoint):
    """An endpoint with its new secret."""

    signing_secret: str

    def __repr__(self) -> str:
        """Omit the secret."""
        return f"NewSecret(id={self.id!r})"


class EndpointTest(_AnswerModel):
    """A receiver's answer to a sample event."""

    event_type: str
    status_code: int


class EndpointRemoval(_AnswerModel):
    """The server's confirmation that an endpoint was removed."""

    id: str | None = None
    object: str | None = None


class _Endpoints(_AnswerModel):
    data: tuple[Endpoint, ...]
    has_more: bool = False


async def register(client: "VideosClient", name: str, url: str) -> NewSecret:
    """Register `url` for events about finished videos."""
    body = {"name": name, "url": url, "event_types": list(EVENT_TYPES)}
    return await _post(client, _PATH, body, NewSecret, "a webhook endpoint with its secret")


async def endpoints(client: "VideosClient") -> list[Endpoint]:
    """Return all endpoints, newest first; one request per page."""
    require(client.profile, "webhooks")
    registered: list[Endpoint] = []
    while True:
        after = {"after": registered[-1].id} if registered else {}
        page = await client.get_document(
            _PATH, {"limit": _PAGE, **after}, _Endpoints, "a list of webhook endpoints"
        )
        registered += page.data
        if not page.has_more or not page.data:
            return registered


async def send_sample(client: "VideosClient", endpoint_id: str, event_type: str) -> EndpointTest:
    """Have the server send a sample event now, and return how the receiver answered."""
    path = f"{_path(endpoint_id)}/test"
    return await _post(client, path, {"event_type": event_type}, EndpointTest, "how a test went")


async def rotate(client: "VideosClient", endpoint_id: str, *, keep_old: bool) -> NewSecret:
    """Give an endpoint a new secret; with `keep_old` the server signs with both for 24 hours."""
    body = {"keep_old_secret_active_for_24_hours": keep_old}
    path = f"{_path(endpoint_id)}/rotate_secret"
    return await _post(client, path, body, NewSecret, "a webhook endpoint with its secret")


async def remove(client: "VideosClient", endpoint_id: str) -> EndpointRemoval:
    """Remove an endpoint with all its pending deliveries."""
    require(client.profile, "webhooks")
    expected = "the confirmation of a deletion"
    with _as_endpoint(client):
        return await client.delete_document(_path(endpoint_id), EndpointRemoval, expected)


@contextmanager
def _as_endpoint(client: "VideosClient") -> Iterator[None]:
    """Translate a 404: by default, one with an API error is assumed to be about a video."""
    try:
        yield
    except VideoNotFound as error:
        message = f"no such webhook endpoint at {client.base_url}: `sora-ledger webhook list` shows all"
        raise ServerRefused(message, detail=error.detail) from None


async def _post(
    client: "VideosClient", path: str, body: Mapping[str, object], model: type[D], expected: str
) -> D:
    require(client.profile, "webhooks")
    with _as_endpoint(client):
        return await client.post_document(path, body, model, expected)


def _path(endpoint_id: str) -> str:
    return f"{_PATH}/{quote(endpoint_id, safe='')}"

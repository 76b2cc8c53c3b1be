"""The client of one server: submit, observe, list, fetch, delete, and make characters.

`submit` takes an intent and returns the outcome as an event. The client cannot see the store, so recording
the outcome is the caller's job. Every method sends one HTTP request and never retries; `sora_adapter.polling`
polls.

Importing this module imports `openai`, which takes half a second; so do `transport` and `webhooks`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Literal, Protocol, Self, TypeVar

from pydantic import BaseModel

from ledger.events import SubmissionIntended, VideoDeleted
from ledger.terms import Status, Variant
from sora_adapter.errors import ReferenceUnreadable, ServerUnreadable, VideoNotFound
from sora_adapter.messages import Submission, explain_missing_content
from sora_adapter.models import Character, Observation, Page
from sora_adapter.outcomes import Translator
from sora_adapter.profiles import Profile, check_base_url, check_key, require
from sora_adapter.requests import (
    PreparedPost,
    ReferenceFile,
    ResumePoint,
    SubmitCall,
    character_path,
    character_post,
    post_of,
    route_of,
    video_path,
)
from sora_adapter.responses import Answer, NoAnswer
from sora_adapter.transport import Content, Transport
from sora_adapter.untrusted import redactor, resolve_url
from sora_adapter.wire import Post

DEFAULT_TIMEOUT_S = 60.0
D = TypeVar("D", bound=BaseModel)
Headers = dict[str, str]
NO_PARAMS: Mapping[str, object] = MappingProxyType({})
NO_VIDEO = "video_none_only_asking"
NO_CONTENT = frozenset({400, 404, 409, 410, 422, 425})


@dataclass(frozen=True)
class SubmissionResult:
    """The outcome of a submission, and the cost that the server reported with it."""

    outcome: Submission
    reported_cost_usd_micros: int | None = None


class Call(Protocol):
    """One HTTP exchange, from before it is sent."""

    @property
    def traceparent(self) -> str | None:
        """The header that identifies this exchange to the server; None leaves it to the client."""

    def answered(self, http_status: int | None, lost: str | None) -> None:
        """Note the status of the answer, or how the answer was lost."""


Calls = Callable[[str, str], AbstractContextManager[Call]]
"""Wraps an exchange; called with the method and the route, such as ``/videos/{video_id}``."""


class VideosClient:
    """A client of one server; use as ``async with VideosClient(…) as client``.

    `base_url` defaults to the profile's. Without `api_key` the profile's `default_key` is sent, or no
    credentials. `timeout_s` limits each wait for the server, not a whole download. `traceparent` is called
    for every request (W3C Trace Context), and `calls` wraps every request. Raises `SettingsUnusable` before
    anything is sent; every method raises `OperationUnsupported` for operations that the profile does not
    offer.
    """

    def __init__(
        self,
        profile: Profile,
        base_url: str | None,
        api_key: str | None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        traceparent: Callable[[], str] | None = None,
        calls: Calls | None = None,
    ) -> None:
        self.profile = profile
        self.base_url = check_base_url(profile, base_url)
        key = check_key(profile, api_key)
        self._translator = Translator(profile, self.base_url, redactor(key))
        self._transport = Transport(self.base_url, key or profile.default_key, timeout_s)
        self._traceparent = traceparent
        self._calls = calls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    async def submit(self, intent: SubmissionIntended, call: SubmitCall) -> Submission:
        """Send `call` once, for the attempt of `intent`, and return the outcome.

        Failures of the network or the server do not raise. Before anything is sent, it raises
        `OperationUnsupported`, `ReferenceUnreadable`, or `VideoNotFound` for a malformed source id. If it is
        cancelled, the attempt stays open.
        """
        return (await self.submit_prepared(intent, await self.prepare(call))).outcome

    def key_digest(self, attempt_id: str) -> str:
        """Return the digest of the current key as the intent `attempt_id` would commit to it."""
        return self._transport.key_digest(attempt_id)

    def has_key_of(self, intent: SubmissionIntended) -> bool | None:
        """Return whether the current key is the one of `intent`; None if its record does not show it."""
        text = intent.key_digest.text if intent.key_digest else None
        return None if text is None else text == self.key_digest(intent.attempt_id)

    async def prepare(self, call: SubmitCall) -> PreparedPost:
        """Return the request that `call` will send, with its files and the digest its intent commits to.

        Raises `OperationUnsupported`, `ReferenceUnreadable`, or `VideoNotFound` for a malformed source id.
        """
        upload = await _bytes_of(call.upload) if call.upload else None
        more = [await _bytes_of(reference) for reference in call.more_references]
        post = post_of(call, self.profile, upload, more)
        if post.files or post.more_files:  # hashing a video takes long
            return PreparedPost(post, await asyncio.to_thread(self._transport.digest_post, post))
        return PreparedPost(post, self._transport.digest_post(post))

    async def submit_prepared(
        self, intent: SubmissionIntended, prepared: PreparedPost, in_time: Callable[[], bool] | None = None
    ) -> SubmissionResult:
        """Send the prepared request once, and return the outcome and the cost that the server reported.

        `in_time` is called last, once a connection is open; if it returns False, nothing is sent and the
        outcome is as if the connection had failed. If the intent commits to a digest and the request does not
        match it, `NotAsCommitted` is raised before the first byte.
        """
        post, commitment = prepared.post, _commitment_of(intent)

        async def send(headers: Headers) -> Answer | NoAnswer:
            headers["X-Client-Request-Id"] = intent.attempt_id
            return await self._transport.post(post, headers, in_time, commitment)

        received = await self._exchange("POST", route_of(post.path), send)
        outcome = self._translator.submission(intent.attempt_id, received)
        return SubmissionResult(outcome, self._translator.cost(received))

    async def create_character(self, name: str, video: ReferenceFile) -> Character:
        """Create a character from a video, once; raises `AnswerError`.

        After `ServerUnreachable` the character may exist: no server lists them.
        """
        post = character_post(name, video, await _bytes_of(video), self.profile)
        return self._translator.character(await self._post(post))

    async def get_character(self, character_id: str) -> Character:
        """Retrieve a character; raises `AnswerError`."""
        require(self.profile, "character")
        received = await self._get(character_path(character_id))
        return self._translator.character(received)

    async def observe(self, video_id: str) -> Observation:
        """Retrieve the status of a video; raises `AnswerError`."""
        require(self.profile, "retrieve")
        received = await self._get(video_path(video_id))
        return self._translator.observation(received, video_id)

    async def list(
        self,
        limit: int | None = None,
        after: str | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> Page:
        """Retrieve one page of videos, ordered by time of creation; raises `AnswerError`."""
        require(self.profile, "list")
        options = {"limit": limit, "after": after, "order": order}
        params = {name: value for name, value in options.items() if value is not None}
        return self._translator.page(await self._get("/videos", params))

    async def ping(self) -> datetime | None:
        """Send one free request; return the server's time if it states one; raises `AnswerError`.

        On a server without a list, this requests a video that does not exist; a 404 is a good answer.
        """
        if self.profile.can_list:
            received = await self._get("/videos", {"limit": 1})
            self._translator.page(received)
        else:
            received = await self._get(video_path(NO_VIDEO))
            with suppress(VideoNotFound):
                self._translator.observation(received)
        return received.sent_at if isinstance(received, Answer) else None

    @asynccontextmanager
    async def fetch(
        self, video_id: str, variant: Variant, begun: ResumePoint | None = None
    ) -> AsyncIterator[Content]:
        """Open the bytes of a variant; they stream while the block is open, one chunk in memory at a time.

        With `begun` the rest of the file is requested; `Content.begins_at` says where the bytes begin. If the
        server answers with a URL instead, the bytes are fetched from there, with credentials only at the
        server's own origin.

        Raises `ContentNotReady`, `ContentExpired`, `ContentMissing`, `ContentGone` or another `AnswerError`,
        and while reading `ContentTruncated` and `ContentTooLarge`.
        """
        require(self.profile, "content", variant)
        path, params = f"{video_path(video_id)}/content", self._variant_params(variant)
        extra = begun.headers if begun else {}
        async with self._stream(path, params, extra) as received:
            if isinstance(received, Content) and not received.is_text:
                yield received
                return
            answer = await received.as_answer() if isinstance(received, Content) else received
        url = await self._read_named_address(video_id, answer)
        async with self._stream(url, {}, extra) as received:
            if not isinstance(received, Content):
                raise self._translator.refusal(received)
            if received.is_text:
                raise self._translator.content_unreadable(await received.as_answer())
            yield received

    async def delete(self, video_id: str) -> VideoDeleted:
        """Delete a video; return whether it was confirmed or answered with 404; raises `AnswerError`.

        After `ServerUnreachable` the video may or may not be deleted; `observe` shows which.
        """
        require(self.profile, "delete")
        received = await self._delete(video_path(video_id))
        return self._translator.deletion(video_id, received)

    async def get_document(self, path: str, params: Mapping[str, object], model: type[D], expected: str) -> D:
        """Retrieve a document other than a video; raises `AnswerError`."""
        received = await self._get(path, params)
        return self._translator.document(received, model, expected)

    async def post_document(self, path: str, body: Mapping[str, object], model: type[D], expected: str) -> D:
        """Send a free POST, and return its answer; raises `AnswerError`."""
        received = await self._post(Post(path, dict(body)))
        return self._translator.document(received, model, expected)

    async def delete_document(self, path: str, model: type[D], expected: str) -> D:
        """Delete something other than a video, and return the confirmation; raises `AnswerError`."""
        received = await self._delete(path)
        return self._translator.document(received, model, expected)

    def _variant_params(self, variant: Variant) -> dict[str, str]:
        """Send the variant only to servers that have several; others misread it (docs/servers.md 1.3)."""
        return {"variant": variant.value} if len(self.profile.variants) > 1 else {}

    # --- one exchange each ---

    async def _get(self, path: str, params: Mapping[str, object] = NO_PARAMS) -> Answer | NoAnswer:
        return await self._exchange(
            "GET", route_of(path), lambda headers: self._transport.get(path, params, headers)
        )

    async def _post(self, post: Post) -> Answer | NoAnswer:
        return await self._exchange(
            "POST", route_of(post.path), lambda headers: self._transport.post(post, headers)
        )

    async def _delete(self, path: str) -> Answer | NoAnswer:
        return await self._exchange(
            "DELETE", route_of(path), lambda headers: self._transport.delete(path, headers)
        )

    async def _exchange(
        self, method: str, route: str, send: Callable[[Headers], Awaitable[Answer | NoAnswer]]
    ) -> Answer | NoAnswer:
        if self._calls is None:
            return await send(self._headers(None))
        with self._calls(method, route) as call:
            received = await send(self._headers(call.traceparent))
            _note(call, received)
            return received

    @asynccontextmanager
    async def _stream(
        self, path: str, params: Mapping[str, object], extra: Mapping[str, str]
    ) -> AsyncIterator[Content | Answer | NoAnswer]:
        if self._calls is None:
            async with self._transport.stream(path, params, {**self._headers(None), **extra}) as received:
                yield received
            return
        with self._calls("GET", route_of(path)) as call:
            headers = {**self._headers(call.traceparent), **extra}
            async with self._transport.stream(path, params, headers) as received:
                _note(call, received)
                yield received

    def _headers(self, traceparent: str | None) -> Headers:
        if traceparent is None and self._traceparent is not None:
            traceparent = self._traceparent()
        return {"traceparent": traceparent} if traceparent else {}

    async def _read_named_address(self, video_id: str, received: Answer | NoAnswer) -> str:
        """Return the URL of bytes missing from the answer; raises the `AnswerError` that says why.

        Servers answer 404 for "not yet" and for "no longer", and put a URL into the answer or the video.
        """
        if isinstance(received, NoAnswer):
            raise self._translator.refusal(received)
        if received.url is not None:
            return self._follow(video_id, received.url)
        if received.is_success:
            raise self._translator.content_unreadable(received)
        refusal = self._translator.refusal(received)
        if received.http_status not in NO_CONTENT:
            raise refusal
        video = await self.observe(video_id)
        if video.url is not None and video.status is Status.COMPLETED:
            return self._follow(video_id, video.url)
        if received.http_status == HTTPStatus.BAD_REQUEST:
            raise refusal
        expired = received.http_status == HTTPStatus.GONE or received.is_after(video.expires_at)
        code = refusal.detail.code if refusal.detail else None
        unexplained = received.http_status == HTTPStatus.NOT_FOUND and code is None
        raise explain_missing_content(self.base_url, video, expired=expired, unexplained=unexplained)

    def _follow(self, video_id: str, url: str) -> str:
        target = resolve_url(self.base_url, url)
        if target is None:
            raise ServerUnreadable(
                f"{self.base_url} names an address for the bytes of {video_id} that is not followed: "
                "expected http or https, no plain HTTP from an HTTPS server, and no private address "
                "from a public one"
            )
        return target


def _note(call: Call, received: Content | Answer | NoAnswer) -> None:
    """Note the answer to an exchange."""
    if isinstance(received, NoAnswer):
        call.answered(None, received.how)
    elif isinstance(received, Content):
        call.answered(HTTPStatus.PARTIAL_CONTENT if received.begins_at else HTTPStatus.OK, None)
    else:
        call.answered(received.http_status, None)


def _commitment_of(intent: SubmissionIntended) -> Callable[[str], bool] | None:
    """Return a function that checks a digest against `intent`; None if the intent has no commitment."""
    sent = intent.sent_sha256
    if sent is None:
        return None
    return lambda digest: sent.body is not None and sent.body.text == digest


async def _bytes_of(reference: ReferenceFile) -> bytes:
    if isinstance(reference.content, bytes):
        return reference.content
    try:
        return await asyncio.to_thread(reference.content.read_bytes)
    except OSError as error:
        raise ReferenceUnreadable(
            f"the file {reference.content} cannot be read ({error.strerror}); nothing was sent",
            param="input_reference",
            expected="a file that can be read",
            found=error.strerror,
        ) from error

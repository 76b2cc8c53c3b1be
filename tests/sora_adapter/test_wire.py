"""The digest of what is prepared is the digest of the bytes that go out, and nothing else goes out."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ledger.events import SubmissionIntended
from ledger.private import Private
from sora_adapter.client import VideosClient
from sora_adapter.errors import NotAsCommitted
from sora_adapter.requests import SubmitCall
from sora_adapter.wire import Post, received_sha256, sent_sha256
from tests.sora_adapter.conftest import FaultServer

TARGET = "/v1/videos"
texts = st.text(max_size=40)
names = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
files = st.dictionaries(
    names,
    st.tuples(st.text(min_size=1, max_size=12), st.binary(max_size=60), st.just("image/png")),
    max_size=3,
)


def read_back(request: httpx2.Request) -> str:
    return received_sha256("POST", TARGET, request.headers["content-type"], request.read())


@given(st.dictionaries(names, texts, min_size=1, max_size=5), files)
def test_a_form_is_read_back_as_it_was_prepared(fields: dict[str, str], given_files: dict[str, Any]) -> None:
    post = Post(TARGET, fields, given_files, multipart=True)
    request = httpx2.Request(
        "POST",
        f"http://server{TARGET}",
        data=fields,
        files=list(given_files.items()),
        headers={"content-type": "multipart/form-data; boundary=a-boundary"},
    )
    if not given_files:
        request = httpx2.Request(
            "POST", f"http://server{TARGET}", files=[(name, (None, text)) for name, text in fields.items()]
        )
    assert read_back(request) == sent_sha256(post, TARGET)


@given(st.dictionaries(names, texts | st.integers(-9, 9) | st.booleans(), max_size=5))
def test_json_is_read_back_however_it_is_spaced(fields: dict[str, Any]) -> None:
    body = json.dumps(fields, indent=3).encode()
    assert received_sha256("POST", TARGET, "application/json", body) == sent_sha256(Post("", fields), TARGET)


def test_text_and_number_are_not_the_same() -> None:
    assert sent_sha256(Post("", {"seconds": 4}), TARGET) != sent_sha256(Post("", {"seconds": "4"}), TARGET)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx'),
        ("application/json", b"{"),
    ],
)
def test_what_was_never_prepared_so_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        received_sha256("POST", TARGET, content_type, body)


@pytest.mark.anyio
async def test_what_its_intent_does_not_commit_to_is_not_sent(
    server: FaultServer,
    client: VideosClient,
    intent: SubmissionIntended,
    call: SubmitCall,
    video: dict[str, Any],
) -> None:
    server.answers(200, video)
    prepared = await client.prepare(call)

    def committed_to(digest: str) -> SubmissionIntended:
        return structs.replace(intent, sent_sha256=Private.seal("sent_sha256", digest))

    with pytest.raises(NotAsCommitted, match="nothing was sent"):
        await client.submit_prepared(committed_to("0" * 64), prepared)
    assert (server.posts, server.connections) == (0, 0)
    await client.submit_prepared(committed_to(prepared.sent_sha256), prepared)
    assert server.posts == 1

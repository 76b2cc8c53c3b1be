"""Reading what servers really send."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sora_adapter.responses import Answer, VideoDocument

ODD: list[Any] = [
    None,
    True,
    "",
    "a\ud800",
    "7",
    "\0",
    [],
    [None],
    {},
    {"code": []},
    {"message": 7},
    "x" * 50_000,
]
JSON = st.sampled_from(ODD) | st.integers() | st.floats()
FIELDS = [name for name in VideoDocument.model_fields if name not in {"id", "status", "object"}]
NOON = "Fri, 20 Nov 2026 12:00:00 GMT"


def _answer(body: Any, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(400, named, body if isinstance(body, str) else json.dumps(body))


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_a_video_is_read_whatever_its_optional_fields_hold(extras: dict[str, Any]) -> None:
    assert VideoDocument.model_validate({"id": "video_1", "status": "queued", **extras}).id == "video_1"


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_every_number_read_fits_a_record(extras: dict[str, Any]) -> None:
    read = VideoDocument.model_validate({"id": "video_1", "status": "queued", **extras})
    numbers = (read.progress, read.created_at, read.completed_at, read.expires_at)
    assert all(number is None or 0 <= number < 2**53 for number in numbers)


@pytest.mark.parametrize(
    ("value", "read"),
    [(1764347090, 1764347090), (1764347090922, 1764347090), (10**11, 10**11), (10**15, None), (-5, None)],
)
def test_a_time_is_read_in_seconds(value: int, read: int | None) -> None:
    video = VideoDocument.model_validate({"id": "video_1", "status": "queued", "created_at": value})
    assert video.created_at == read


@pytest.mark.parametrize("video_id", ["", ".", "..", "a b", "a\n", "ä", "x" * 2049, 7, None])
def test_an_id_that_no_path_can_carry_makes_it_no_video(video_id: Any) -> None:
    with pytest.raises(ValidationError):
        VideoDocument.model_validate({"id": video_id, "status": "queued"})


@pytest.mark.parametrize("status", ["", None, {}, "x" * 300])
def test_without_a_status_it_is_no_video(status: Any) -> None:
    with pytest.raises(ValidationError):
        VideoDocument.model_validate({"id": "video_1", "status": status})


@pytest.mark.parametrize(
    ("seconds", "read"), [("8", "8"), (8, "8"), (8.0, "8"), (5.25, "5.25"), (None, None)]
)
def test_seconds_are_text_however_they_are_sent(seconds: Any, read: str | None) -> None:
    document = {"id": "video_1", "status": "queued", "seconds": seconds}
    assert VideoDocument.model_validate(document).seconds == read


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": "moderation_blocked", "message": "No."}, "moderation_blocked", "No."),
        ({"code": 500, "message": "No."}, "500", "No."),
        ({"message": "No."}, None, "No."),
        ("No.", None, "No."),
    ],
    ids=["openai", "vllm-omni", "sglang", "a sentence"],
)
def test_the_error_of_a_job_is_read_in_every_shape(error: Any, code: str | None, message: str) -> None:
    read = VideoDocument.model_validate({"id": "video_1", "status": "failed", "error": error}).error
    assert read
    assert (read.code, read.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "No."}}, "No."),
        ({"error": "No."}, "No."),
        ({"detail": "No."}, "No."),
        ({"detail": [{"loc": ["body", "size"]}]}, '[{"loc": ["body", "size"]}]'),
        ({"message": "No."}, "No."),
        ("bad gateway", "nothing: bad gateway"),
        ("", None),
        ({}, None),
    ],
)
def test_an_error_is_read_from_every_envelope(body: Any, message: str | None) -> None:
    assert _answer(body).error.message == message


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"retry_after": "7"}, 7000),
        ({"retry_after": "0.5"}, 500),
        ({"retry_after": "0"}, 0),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1500),
        ({"retry_after": "Fri, 20 Nov 2026 12:01:30 GMT", "date": NOON}, 90_000),
        ({"retry_after": "Fri, 20 Nov 2026 11:00:00 GMT", "date": NOON}, None),
        ({"retry_after": "Fri, 20 Nov 2026 12:01:30 GMT"}, None),
        ({"retry_after": "99999999999"}, 86_400_000),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(headers: dict[str, str], wait_ms: int | None) -> None:
    assert _answer({}, **headers).retry_after_ms == wait_ms


@given(st.text())
def test_no_header_of_a_server_can_break_the_reading_of_a_wait(text: str) -> None:
    wait = _answer({}, retry_after=text, date=text, openai_poll_after_ms=text).retry_after_ms
    assert wait is None or 0 <= wait <= 86_400_000

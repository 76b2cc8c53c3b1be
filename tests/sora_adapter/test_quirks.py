"""Undoing what a server does differently, and leaving everything else as it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_adapter.outcomes import read_cost_usd_micros, undo_deletion_quirks, undo_quirks, undo_video_quirks
from sora_adapter.profiles import Quirk
from sora_adapter.responses import Answer

EVERY = frozenset(Quirk)
JOB = {"id": "video_1", "object": "video", "status": "failed", "error": {"message": "no"}}
DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _answer(body: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body if isinstance(body, str) else json.dumps(body))


@given(DOCUMENT, st.sampled_from([200, 400, 404, 500]))
def test_no_answer_is_too_strange_to_be_looked_at(body: Any, status: int) -> None:
    for undo in (undo_quirks, undo_video_quirks, undo_deletion_quirks):
        assert undo(_answer(body, status), EVERY)


@given(DOCUMENT, st.sampled_from([200, 400, 404, 500]))
def test_without_quirks_an_answer_stays_as_it_is(body: Any, status: int) -> None:
    answer = _answer(body, status)
    assert [undo(answer, ()) for undo in (undo_quirks, undo_video_quirks, undo_deletion_quirks)] == [
        answer
    ] * 3


@pytest.mark.parametrize(
    "message",
    [
        'litellm.BadRequestError: OpenAIException - {"error": {"code": "bad_size", "message": "No."}}',
        'a {brace} and then {"error": {"code": "bad_size", "message": "No."}} and more',
        '{"x": 1} {"error": {"code": "bad_size", "message": "No."}}',
    ],
)
def test_the_original_error_is_found_in_the_message(message: str) -> None:
    wrapped = _answer({"error": {"message": message, "code": "400"}}, 400)
    read = undo_quirks(wrapped, {Quirk.ERROR_IN_MESSAGE}).error
    assert (read.code, read.message) == ("bad_size", "No.")


@pytest.mark.parametrize("message", ["no JSON at all", '{"error": "text"}', "{" * 20_000])
def test_a_message_without_an_error_in_it_stays(message: str) -> None:
    answer = _answer({"error": {"message": message, "code": "400"}}, 400)
    assert undo_quirks(answer, {Quirk.ERROR_IN_MESSAGE}).error.code == "400"


def test_a_header_of_the_server_behind_is_read_as_its_own() -> None:
    answer = Answer(429, {"llm_provider-retry-after": "7", "llm_provider-x-request-id": "req_1"}, "")
    read = undo_quirks(answer, {Quirk.PREFIXED_HEADERS})
    assert (read.retry_after_ms, read.request_id) == (7000, "req_1")


def test_a_header_the_gateway_sends_itself_wins() -> None:
    answer = Answer(429, {"llm_provider-retry-after": "7", "retry-after": "1"}, "")
    assert undo_quirks(answer, {Quirk.PREFIXED_HEADERS}).retry_after_ms == 1000


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_a_failed_job_under_an_http_error_is_an_answer(status: int) -> None:
    read = undo_video_quirks(_answer(JOB, status), {Quirk.FAILED_JOB_IS_AN_HTTP_ERROR})
    assert (read.http_status, read.document) == (200, JOB)


@pytest.mark.parametrize(
    "body",
    [{**JOB, "status": "queued"}, {"detail": "Video not found"}, {"status": "failed"}, "<html>", []],
)
def test_an_http_error_that_is_no_failed_job_stays_one(body: Any) -> None:
    assert undo_video_quirks(_answer(body, 404), {Quirk.FAILED_JOB_IS_AN_HTTP_ERROR}).http_status == 404


@pytest.mark.parametrize(
    ("body", "status", "is_confirmed"),
    [({**JOB, "status": "deleted"}, 200, True), (JOB, 200, False), ({"status": "deleted"}, 404, False)],
)
def test_a_deleted_video_confirms_its_deletion(
    body: dict[str, Any], status: int, *, is_confirmed: bool
) -> None:
    read = undo_deletion_quirks(_answer(body, status), {Quirk.DELETION_SHOWS_THE_VIDEO}).document
    assert (read == {"deleted": True}) is is_confirmed


@pytest.mark.parametrize(
    ("message", "micros"),
    [
        ("0.8", 800_000),
        ("0.30000000000000004", 300_000),
        ("1e-06", 1),
        ("0", 0),
        ("", None),
        ("None", None),
        ("-1", None),
        ("NaN", None),
        ("Infinity", None),
        ("9" * 40, None),
    ],
)
def test_a_cost_is_whole_micro_dollars_or_nothing(message: str, micros: int | None) -> None:
    answer = Answer(200, {"x-litellm-response-cost": message}, "{}")
    assert read_cost_usd_micros(answer, {Quirk.COST_HEADER}) == micros


def test_a_cost_that_comes_with_an_error_says_nothing() -> None:
    answer = Answer(503, {"x-litellm-response-cost": "0"}, "{}")
    assert read_cost_usd_micros(answer, {Quirk.COST_HEADER}) is None

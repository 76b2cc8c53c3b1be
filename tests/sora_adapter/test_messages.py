"""What a person is told to do about an error, by its code, whatever the status."""

import pytest

from ledger.events import ErrorDetail
from ledger.private import Private
from sora_adapter.errors import AnswerError, ServerBusy, ServerRefused, VideoNotFound
from sora_adapter.messages import Server, make_refusal, needs_a_person
from sora_adapter.profiles import profile

OPENAI = profile("openai")
SERVER = Server("https://host/v1", OPENAI.key_variable, OPENAI.can_list)


def error_of(status: int, code: str | None, message: str = "no") -> AnswerError:
    detail = ErrorDetail(http_status=status, code=code, message=Private.seal("error.message", message))
    return make_refusal(SERVER, detail, None, None)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "invalid_api_key", "make another"),
        (400, "invalid_api_key", "make another"),
        (429, "insufficient_quota", "waiting does not help"),
        (400, "billing_hard_limit_reached", "waiting does not help"),
        (404, "model_not_found", "what this server calls it"),
        (403, "model_not_found", "what this server calls it"),
    ],
)
def test_the_code_says_more_than_the_status(status: int, code: str, message: str) -> None:
    error = error_of(status, code)
    assert (type(error), message in str(error)) == (ServerRefused, True)


def test_an_organisation_that_is_not_verified_is_known_by_the_words() -> None:
    words = "Your organization must be verified to use the model `sora-2`."
    assert "has to be verified first" in str(error_of(403, None, words))
    assert "has to be verified first" in str(error_of(404, "model_not_found", words))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "video_not_found", VideoNotFound), (429, "rate_limit_exceeded", ServerBusy)],
)
def test_other_codes_leave_it_to_the_status(status: int, code: str, kind: type[AnswerError]) -> None:
    assert type(error_of(status, code)) is kind


def test_a_message_that_was_erased_is_no_reason_to_fail() -> None:
    message = Private(commitment="0" * 64)
    assert not needs_a_person(ErrorDetail(http_status=403, message=message))

"""The servers we know, as data."""

from datetime import date

import pytest

from ledger.events import ErrorDetail, Status, SubmissionRejected
from sora_adapter.errors import UnknownProfile
from sora_adapter.profiles import FreeRejection, Profile, profile, profiles


def _rejection(http_status: int, code: str | None = None) -> SubmissionRejected:
    return SubmissionRejected(attempt_id="att_1", error=ErrorDetail(http_status=http_status, code=code))


def test_the_profiles_are_named_by_their_tables() -> None:
    assert [known.name for known in profiles().values()] == list(profiles())


def test_openai_is_known_to_be_switched_off_and_says_so() -> None:
    openai = profile("openai")
    assert openai.retired == date(2026, 9, 24)
    assert openai.retired_because
    assert "switched its Videos API off on 2026-09-24" in openai.retired_because


def test_a_name_nobody_knows_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(UnknownProfile, match=r"'sorra' \(there are: openai, sandbox, custom\)"):
        profile("sorra")


def test_a_retirement_without_its_sentence_is_refused() -> None:
    data = profile("openai").model_dump() | {"retired_because": None}
    with pytest.raises(ValueError, match="belong together"):
        Profile.model_validate(data)


@pytest.mark.parametrize("name", profiles())
@pytest.mark.parametrize("status", Status)
def test_the_four_statuses_mean_themselves_everywhere(name: str, status: Status) -> None:
    assert profile(name).status_of(status.value) is status


@pytest.mark.parametrize("name", profiles())
def test_a_word_nobody_knows_is_not_final(name: str) -> None:
    assert profile(name).status_of("simmering") is Status.IN_PROGRESS


def test_a_plain_429_of_openai_is_free() -> None:
    assert profile("openai").is_free(_rejection(429, "rate_limit_exceeded"))


def test_a_400_of_openai_is_not_known_to_be_free() -> None:
    assert not profile("openai").is_free(_rejection(400, "moderation_blocked"))


def test_nothing_is_known_to_be_free_behind_an_unknown_gateway() -> None:
    assert not profile("custom").is_free(_rejection(429))


def test_a_free_rejection_with_a_code_covers_that_code_only() -> None:
    free = FreeRejection(http_status=400, code="bad_size", because="checked first")
    assert (free.matches(_rejection(400, "bad_size")), free.matches(_rejection(400, "other"))) == (
        True,
        False,
    )

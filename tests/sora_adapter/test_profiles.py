"""The servers we know, as data."""

from datetime import date
from pathlib import Path

import pytest

from ledger.events import ErrorDetail, SubmissionRejected
from ledger.terms import Status, Variant
from sora_adapter.errors import SettingsUnusable, UnknownProfile
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
    with pytest.raises(UnknownProfile, match=r"'sorra' \(there are: openai, sandbox, litellm, .*, custom\)"):
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


@pytest.mark.parametrize(
    ("name", "base_url", "is_retired"),
    [
        ("openai", None, True),
        ("openai", "https://api.openai.com/v1", True),
        ("openai", "https://gateway.example/v1", False),
        ("azure", "https://acme.openai.azure.com/openai/v1", True),
        ("azure", "https://azure.example/v1", False),
        ("azure", None, True),
        ("sandbox", "https://api.openai.com/v1", False),
    ],
)
def test_a_server_is_retired_where_its_owner_switched_it_off(
    name: str, base_url: str | None, *, is_retired: bool
) -> None:
    assert profile(name).is_retired_at(base_url) is is_retired


def test_a_list_that_does_not_exist_cannot_prove_anything() -> None:
    data = profile("litellm").model_dump() | {"list_proves_absence": True}
    with pytest.raises(ValueError, match="without a list, nothing is proved by it"):
        Profile.model_validate(data)


def test_where_a_refusal_proves_nothing_none_is_free() -> None:
    data = profile("openai").model_dump() | {"refusal_is_proof": False}
    with pytest.raises(ValueError, match="none can be free"):
        Profile.model_validate(data)


@pytest.mark.parametrize(
    ("name", "wanted", "offered"),
    [
        ("openai", "extend", True),
        ("openai", "seed", False),
        ("openai", "file_id", True),
        ("litellm", "list", False),
        ("litellm", Variant.VIDEO, True),
        ("litellm", Variant.THUMBNAIL, False),
        ("vllm-omni", "input_references", True),
        ("sglang", "file_id", False),
    ],
)
def test_what_a_server_offers_is_shown_by_one_word(name: str, wanted: str, *, offered: bool) -> None:
    assert profile(name).offers(wanted) is offered  # one of the words


OWN = """
[studio]
like = "litellm"
title = "The studio's gateway"
base_url = "https://gateway.studio.example/v1"
models = { sora-2 = "veo-3.1-fast", sora-2-pro = "veo-3.1" }
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "profiles.toml"


def test_somebodys_own_profile_is_like_one_of_ours_but_for_what_it_says(own: Path) -> None:
    own.write_text(OWN)
    studio, litellm = profile("studio", own), profile("litellm")
    assert (studio.base_url, studio.server_model("sora-2-pro")) == (
        "https://gateway.studio.example/v1",
        "veo-3.1",
    )
    assert (studio.quirks, studio.operations) == (litellm.quirks, litellm.operations)


def test_our_profiles_are_still_there_beside_somebodys_own(own: Path) -> None:
    own.write_text(OWN)
    assert list(profiles(own)) == [*profiles(), "studio"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, r"cannot be read \(No such file or directory\); check SORA_LEDGER_PROFILES"),
        ("[studio", "cannot be read .* expected TOML"),
        ("studio = 1", r"begins with a line \[studio\]"),
        ("[openai]\nlike = 'custom'", "is a built-in profile; give yours another name"),
        ("[studio]\nlike = 'sorra'", "is like 'sorra', which is not one of openai, sandbox"),
        (
            "[studio]\nlike = 'custom'\nmodel = 'x'",
            "there is no key model; did you mean models",
        ),
        (
            "[studio]\nlike = 'custom'\nquirks = { odd = '9' }",
            "quirks.odd.*: Input should be 'ids_rewritten'",
        ),
        ("[Studio]\nlike = 'custom'", "name: String should match"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_with_its_file(
    own: Path, text: str | None, expected: str
) -> None:
    if text is not None:
        own.write_text(text)
    with pytest.raises(SettingsUnusable, match=expected):
        profiles(own)

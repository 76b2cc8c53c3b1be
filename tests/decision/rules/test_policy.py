"""Policy: weights and fits as data."""

from importlib.resources import files

import pytest

from decision.errors import BadDocument
from decision.rules.policy import Policy
from decision.rules.purpose import PURPOSES
from decision.rules.toml import load_document

PACKAGED = files("decision").joinpath("policy.toml").read_text(encoding="utf-8")


def test_the_packaged_policy_covers_every_purpose(policy: Policy) -> None:
    assert set(policy.purposes) == set(PURPOSES)


def test_a_model_the_policy_does_not_know_has_no_fit(policy: Policy) -> None:
    assert policy.features("sora-3", "draft", cost=10, cheapest=10)["fit"] == 0


def test_the_score_falls_when_the_cost_rises(policy: Policy) -> None:
    cheap = policy.features("sora-2", "draft", cost=10, cheapest=10)
    dear = policy.features("sora-2", "draft", cost=30, cheapest=10)
    assert policy.score(cheap) > policy.score(dear)


def test_the_canonical_bytes_give_the_policy_back(policy: Policy) -> None:
    assert Policy.model_validate_json(policy.canonical) == policy


@pytest.mark.parametrize(
    ("text", "instead", "named"),
    [
        ("fit_weight = 10", 'fit_weight = "ten"', "weights.fit_weight"),
        ("fit_weight = 10", "fit_weight = 1.5", "weights.fit_weight"),
        ("[weights]", "[weights]\nmood_weight = 1", "weights.mood_weight"),
        ("draft = [", "doodle = [", "missing: draft; unknown: doodle"),
        ("fit = 100", "fit = 101", "purposes.draft.0.fit"),
    ],
)
def test_a_policy_that_does_not_hold_together_is_refused_with_the_place(
    text: str, instead: str, named: str
) -> None:
    with pytest.raises(BadDocument, match=named):
        load_document(Policy, PACKAGED.replace(text, instead).encode())


def test_nobody_has_to_attest_unless_the_policy_says_so(policy: Policy) -> None:
    assert not policy.require_attestation


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(BadDocument, match="require_attestation"):
        load_document(
            Policy, PACKAGED.replace("require_attestation = false", "require_attestation = 1").encode()
        )


def test_a_policy_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BadDocument, match="not valid TOML"):
        load_document(Policy, b"\xff\xfe")


def test_what_is_wrong_in_a_file_is_reported_with_line_key_and_what_was_found() -> None:
    with pytest.raises(BadDocument, match=r"line \d+, weights\.fit_weight: .* integer, found 'ten'"):
        load_document(Policy, PACKAGED.replace("fit_weight = 10", 'fit_weight = "ten"').encode())
    with pytest.raises(BadDocument, match=r"line \d+, fit_wait: there is no such key"):
        load_document(Policy, PACKAGED.replace("version = 1", "version = 1\nfit_wait = 1").encode())
    with pytest.raises(BadDocument, match=r"approvals\.0\.models: expected a list.*, found 'sora-2'"):
        load_document(Policy, f'{PACKAGED}\n[[approvals]]\ncode = "A"\nmodels = "sora-2"\n'.encode())

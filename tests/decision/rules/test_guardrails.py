"""The guardrails of a policy: what their file may say, and that what holds is an approval rule."""

from importlib.resources import files
from typing import Any

import pytest

from decision.errors import BadDocument
from decision.rules.catalog import Catalog
from decision.rules.guardrails import Action, Guardrails
from decision.rules.policy import Policy
from decision.rules.purpose import FINAL_PURPOSES, PURPOSES
from decision.rules.toml import load_document

TERMS = '[[terms]]\ncode = "NAMES"\nthen = "deny"\nterms = ["Emma Watson"]\n'


def guardrails(text: str = TERMS) -> Guardrails:
    return load_document(Guardrails, f"version = 1\n{text}".encode())


def with_rules(policy: Policy, rules: Guardrails, **more: Any) -> Policy:
    content = policy.model_dump(mode="json", exclude_none=True)
    return Policy.model_validate(
        {**content, "guardrails": rules.model_dump(mode="json", exclude_none=True), **more}
    )


def test_the_packaged_guardrails_are_in_force_and_deny(policy: Policy, catalog: Catalog) -> None:
    packaged = load_document(Guardrails, files("decision").joinpath("guardrails.toml").read_bytes())
    assert policy.guardrails == packaged
    assert {rule.then for rule in packaged.terms} == {Action.DENY}
    assert (policy.approvals, packaged.moderation, policy.warnings(catalog)) == (None, None, ())


def test_what_holds_is_an_approval_rule_of_its_own(policy: Policy) -> None:
    held = TERMS.replace("deny", "hold")
    rule = '[[moderation.rules]]\ncode = "GRAPHIC"\nthen = "hold"\ncategories = ["violence/graphic"]\n'
    used = with_rules(policy, guardrails(f"{held}[moderation]\n{rule}"))
    codes = [rule.code for rule in used.approvals or ()]
    assert codes == ["NAMES", "GRAPHIC", "MODERATION_FLAGGED", "MODERATION_MISSING"]


def test_a_policy_with_guardrails_is_the_same_after_it_was_stored(policy: Policy) -> None:
    used = with_rules(policy, guardrails("[moderation]\n" + TERMS.replace("deny", "hold")))
    assert Policy.model_validate_json(used.canonical) == used
    assert Policy.model_validate_json(used.canonical).canonical == used.canonical


def test_a_policy_without_guardrails_has_the_bytes_it_had() -> None:
    policy = load_document(Policy, files("decision").joinpath("policy.toml").read_bytes())
    assert b"guardrails" not in policy.canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TERMS.replace('["Emma Watson"]', "[]"), "line 5, terms.0.terms"),
        (TERMS.replace("Emma Watson", " -- "), "a word or a phrase with a letter or digit"),
        (TERMS.replace("Emma Watson", "\u200b"), "a word or a phrase with a letter or digit"),
        (TERMS.replace("Emma Watson", "x" * 201), "at most 200 characters"),
        (TERMS.replace('"deny"', '"block"'), "'warn', 'hold' or 'deny'"),
        (TERMS.replace("NAMES", "names"), "line 3, terms.0.code"),
        (TERMS + TERMS, "two rules have the code NAMES"),
        (TERMS.replace("NAMES", "MODERATION_MISSING") + "[moderation]\n", "MODERATION_MISSING"),
        (TERMS.replace("terms =", "words ="), "there is no such key"),
        (
            '[[moderation.rules]]\ncode = "A"\nthen = "deny"\ncategories = ["violence"]\nmin_ppm = 0.5\n',
            "line 6, moderation.rules.0.min_ppm",
        ),
        ('[[moderation.rules]]\ncode = "A"\nthen = "deny"\ncategories = ["Violence!"]\n', "categories.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line_or_code(text: str, says: str) -> None:
    with pytest.raises(BadDocument) as refused:
        guardrails(text)
    assert says in str(refused.value)


def test_an_unreachable_server_holds_finals_and_warns_of_drafts_by_default() -> None:
    rules = guardrails("[moderation]\n")
    actions = {purpose: rules.action("MODERATION_MISSING", purpose) for purpose in PURPOSES}
    assert {purpose for purpose, action in actions.items() if action is Action.HOLD} == set(FINAL_PURPOSES)
    assert {action for action in actions.values() if action is not Action.HOLD} == {Action.WARN}


@pytest.mark.parametrize("unreachable", ["warn", "hold", "deny"])
def test_a_policy_says_what_an_unreachable_server_means_for_every_purpose(unreachable: str) -> None:
    rules = guardrails(f'[moderation]\nunreachable = "{unreachable}"\n')
    assert {rules.action("MODERATION_MISSING", purpose) for purpose in PURPOSES} == {Action(unreachable)}
    held = {rule["code"] for rule in rules.holding_rules()}
    assert ("MODERATION_MISSING" in held) == (unreachable == "hold")


def test_a_policy_may_say_more_of_who_approves_what_a_guardrail_holds(policy: Policy) -> None:
    own = {"code": "NAMES", "people": 2, "guardrails": ["NAMES"]}
    used = with_rules(policy, guardrails(TERMS.replace("deny", "hold")), approvals=[own])
    [rule] = used.approvals or ()
    assert rule.people == 2


def test_an_approval_rule_with_the_code_of_a_guardrail_names_it(policy: Policy) -> None:
    with pytest.raises(ValueError, match="must name it"):
        with_rules(policy, guardrails(), approvals=[{"code": "NAMES", "models": ["sora-2"]}])


def test_an_approval_rule_for_an_unknown_guardrail_is_warned_of(policy: Policy, catalog: Catalog) -> None:
    used = with_rules(policy, guardrails(), approvals=[{"code": "OTHER", "guardrails": ["NOBODY"]}])
    assert "approval rule OTHER: the guardrails have no rule NOBODY" in used.warnings(catalog)

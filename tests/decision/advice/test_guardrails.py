"""Guardrails are data: each has a code, a rule in one line and what it means."""

from decision.advice.advice import ATTESTATION, GUARDRAILS


def test_every_rule_of_the_skill_has_its_guardrail() -> None:
    assert [guardrail.code for guardrail in GUARDRAILS] == [
        "SUITABLE_UNDER_18",
        "NO_REAL_PEOPLE",
        "NO_PROTECTED_CHARACTERS",
        "NO_PROTECTED_MUSIC",
        "NO_FACES_IN_IMAGES",
    ]


def test_every_guardrail_is_a_line_that_can_be_shown() -> None:
    lines = [*(line for guardrail in GUARDRAILS for line in guardrail), ATTESTATION]
    assert all(line and line.isprintable() and len(line) < 100 for line in lines)

"""Several changes as several prompts, one change each, with what stays said in each."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.one_change.split import split, split_request
from decision.one_change.verdict import check_single_change

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def several() -> list[tuple[int, tuple[str, ...]]]:
    """Return, of prompts that the rule finds to be several changes, how many it counts, and the parts."""
    checked = {
        case["prompt"]: check_single_change(case["prompt"])
        for name in ("remix-prompts.jsonl", "remix-prompts-dev.jsonl", "remix-prompts-held-out.jsonl")
        for case in map(json.loads, (DATA / name).read_text(encoding="utf-8").splitlines())
        if case["changes"] == "multiple"
    }
    return [
        (len(found.changes), split(prompt))
        for prompt, found in checked.items()
        if found.verdict == "multiple"
    ]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("Make the car red and the sky purple", ("Make the car red", "Make the sky purple")),
        (
            "Same shot; swap the cello for a violin and the hall for a barn",
            ("Same shot. Swap the cello for a violin", "Same shot. Swap the hall for a barn"),
        ),
        ("Remove the logo, and also add rain.", ("Remove the logo", "Add rain")),
        ("Blur the hills as well as adding a moon", ("Blur the hills", "Add a moon")),
        ("Two changes: bluer water, no boats", ("Bluer water", "No boats")),
        ("1. New coat\n2. Same light\n3. New hat", ("Same light. New coat", "Same light. New hat")),
        (
            "Put the cup on the sill. Keep the light.",
            ("Put the cup on the sill. Keep the light.",),
        ),
    ],
)
def test_every_part_says_its_change_with_its_verb_and_what_stays(prompt: str, parts: tuple[str, ...]) -> None:
    assert split(prompt) == parts


def test_nearly_every_part_is_classified_as_one_change_or_may_be_declared(
    several: list[tuple[int, tuple[str, ...]]],
) -> None:
    parts = [part for _, parts in several for part in parts]
    verdicts = [check_single_change(part).verdict for part in parts]
    assert verdicts.count("single") * 100 >= 90 * len(parts)
    assert verdicts.count("single") + verdicts.count("ambiguous") >= 0.97 * len(parts)


def test_there_are_as_many_parts_as_changes(several: list[tuple[int, tuple[str, ...]]]) -> None:
    assert [parts for changes, parts in several if len(parts) != changes] == []


def test_what_stays_lends_no_verb_to_what_changes() -> None:
    parts = split("Keep the walk, but on a frozen lake and with a red scarf.")
    assert parts == ("Keep the walk. On a frozen lake", "Keep the walk. A red scarf")


def test_a_field_that_is_a_change_of_its_own_becomes_a_part() -> None:
    parts = split_request("Make it night", {"camera": "slow orbit", "lighting": "moonlight"})
    assert parts == ("Make it night", "Change only the camera to slow orbit")


@given(st.text())
def test_any_text_can_be_split(prompt: str) -> None:
    changes = check_single_change(prompt).changes
    assert len(split(prompt)) in {1, len(changes)}

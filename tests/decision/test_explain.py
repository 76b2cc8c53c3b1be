"""Rulings in sentences."""

from collections.abc import Callable
from typing import Any

import pytest

from decision.decide import Ruling
from decision.explain import format_usd, what_now, why
from decision.request import RenderRequest
from ledger.events import RenderDenied

Parse = Callable[..., RenderRequest]
Rule = Callable[..., Ruling]


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00 USD"),
        (400_000, "0.40 USD"),
        (1_200_000, "1.20 USD"),
        (12_345, "0.012345 USD"),
        (1_234_000_000, "1234.00 USD"),
        (-500_000, "-0.50 USD"),
    ],
)
def test_micro_dollars_are_written_as_dollars(micros: int, text: str) -> None:
    assert format_usd(micros) == text


def steps(ruling: Ruling, request: RenderRequest | None = None) -> list[str]:
    assert isinstance(ruling, RenderDenied)
    return what_now(ruling, request)


def test_a_choice_is_explained_by_purpose_size_and_the_other_price(parse: Parse, ruling: Rule) -> None:
    assert why(ruling(parse())) == [
        "sora-2 because the purpose is draft and 1280x720 is offered by it",
        "it is estimated to cost 0.40 USD",
        "sora-2-pro would cost 1.20 USD instead of 0.40 USD",
    ]


def test_a_gated_model_is_explained_by_what_it_offers(parse: Parse, ruling: Rule) -> None:
    sentences = why(ruling(parse(size="1792x1024")))
    assert "size 1792x1024 is not offered by sora-2 (offered: 720x1280, 1280x720)" in sentences


def test_an_explicit_model_is_explained_beside_the_policy(parse: Parse, ruling: Rule) -> None:
    assert why(ruling(parse(model="sora-2", purpose="final")))[:2] == [
        "sora-2 because it was asked for by name",
        "the policy would have chosen sora-2-pro for the purpose final",
    ]


def test_a_remix_is_explained_by_its_source_and_its_change(remix: Parse, ruling: Rule) -> None:
    assert why(ruling(remix()))[:2] == [
        "sora-2 because the video it starts from was made with it",
        "the prompt asks for one change: palette",
    ]


def test_a_denial_is_explained_by_its_own_reason_first(parse: Parse, ruling: Rule) -> None:
    sentences = why(ruling(parse(model="sora-2-pro", max_cost_usd_micros=100_000)))
    assert sentences[0] == "sora-2-pro would cost 1.20 USD; the limit allows at most 0.10 USD"


def test_a_denial_ends_with_the_invariant(remix: Parse, ruling: Rule) -> None:
    sentences = why(ruling(remix(prompt="Make it night, add a dog")))
    assert sentences[-1] == "this is required by INV_SINGLE_CHANGE_REMIX (INVARIANT_VIOLATION)"


@pytest.mark.parametrize(
    ("values", "context", "step"),
    [
        ({"model": "sora-2", "size": "1792x1024"}, {}, "use --model sora-2-pro"),
        ({"model": "sora-2-pro", "max_cost_usd_micros": 9}, {}, "use --max-cost 1.20"),
        ({"seconds": 8}, {"budget_left_usd_micros": 500_000}, "use --seconds 4"),
        ({}, {"budget_left_usd_micros": 0}, "have the budget raised until 0.40 USD are left"),
    ],
)
def test_the_next_step_is_a_flag_or_an_action(
    parse: Parse, ruling: Rule, values: dict[str, Any], context: dict[str, Any], step: str
) -> None:
    assert steps(ruling(parse(**values), **context)) == [step]


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (
            {"source": {"status": "queued"}},
            "wait until the video is completed: sora-ledger poll --id job_0",
        ),
        (
            {"source": {"status": "failed"}},
            "render a new video instead: sora-ledger create with a prompt of its own",
        ),
        (
            {"size": "720x1280"},
            "leave out --size, or render a new video: sora-ledger create --size 720x1280",
        ),
        ({"prompt": "Keep everything"}, "say in --prompt what is to change"),
        (
            {"source": {"model": "dreamer-1"}},
            "add the model and its price to the catalog, or render a new video with create",
        ),
    ],
)
def test_the_next_step_of_a_remix_is_a_command(
    remix: Parse, ruling: Rule, values: dict[str, Any], step: str
) -> None:
    assert steps(ruling(remix(**values))) == [step]


def test_several_changes_become_one_command_each_in_the_words_of_the_request(
    remix: Parse, ruling: Rule
) -> None:
    request = remix(prompt="Make the coat's lining red, and add a dog")
    assert steps(ruling(request), request)[1:] == [
        "sora-ledger remix --id job_0 --prompt 'Make the coat'\"'\"'s lining red'",
        "sora-ledger remix --id ID_OF_THE_REMIX_BEFORE --prompt 'add a dog'",
    ]


def test_a_change_that_stands_in_a_field_becomes_a_command_too(remix: Parse, ruling: Rule) -> None:
    request = remix(prompt="Make it night", fields={"camera": "slow dolly in"})
    assert steps(ruling(request), request)[-1].endswith("--prompt 'slow dolly in'")


def test_without_the_request_no_words_are_repeated(remix: Parse, ruling: Rule) -> None:
    assert steps(ruling(remix(prompt="Make it night, add a dog"))) == [
        "make 2 remixes, one change each, each of the result of the one before"
    ]

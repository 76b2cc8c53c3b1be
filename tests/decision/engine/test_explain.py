"""Rulings in sentences."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from decision.engine.decide import decide
from decision.engine.explain import explain_candidate, explain_failure, format_usd, list_reasons, what_now
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import Fix, GateFailure, RenderDecided, RenderDenied, Ruling

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
    assert list_reasons(ruling(parse())) == [
        "sora-2 because the purpose is draft and 1280x720 is offered by it",
        "it is estimated to cost 0.40 USD",
        "sora-2-pro would cost 1.20 USD instead of 0.40 USD",
    ]


def test_a_gated_model_is_explained_by_what_it_offers(parse: Parse, ruling: Rule) -> None:
    sentences = list_reasons(ruling(parse(size="1792x1024")))
    assert "size 1792x1024 is not offered by sora-2 (offered: 720x1280, 1280x720)" in sentences


def test_an_explicit_model_is_explained_beside_the_policy(parse: Parse, ruling: Rule) -> None:
    assert list_reasons(ruling(parse(model="sora-2", purpose="final")))[:2] == [
        "sora-2 because it was asked for by name",
        "the policy would have chosen sora-2-pro for the purpose final",
    ]


def test_a_remix_is_explained_by_its_source_and_its_change(remix: Parse, ruling: Rule) -> None:
    assert list_reasons(ruling(remix()))[:2] == [
        "sora-2 because the video it starts from was made with it",
        "the prompt asks for one change: palette",
    ]


def test_a_denial_is_explained_by_its_own_reason_first(parse: Parse, ruling: Rule) -> None:
    sentences = list_reasons(ruling(parse(model="sora-2-pro", max_cost_usd_micros=100_000)))
    assert sentences[0] == "sora-2-pro would cost 1.20 USD; the limit allows at most 0.10 USD"


def test_a_denial_ends_with_the_invariant(remix: Parse, ruling: Rule) -> None:
    sentences = list_reasons(ruling(remix(prompt="Make it night, add a dog")))
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
    ("values", "context", "sentence", "step"),
    [
        (
            {},
            {"operations_offered": ("remix",)},
            "the profile openai does not offer create (offered: remix)",
            "use --profile with the name of a server that offers create",
        ),
        (
            {"options": {"seed": 7}},
            {"options_offered": ()},
            "the profile openai does not take --seed (it takes none of these options)",
            "leave out --seed, or use the --profile of a server that takes it",
        ),
        (
            {"character_ids": ["char_1"]},
            {"operations_offered": ("create",)},
            "the profile openai does not offer character (offered: create)",
            "leave out --character-id, or use the --profile of a server that has them",
        ),
        (
            {"reference_url": "https://a.test/b.png"},
            {"options_offered": ("file_id",)},
            "the profile openai does not take --input-reference-url (it takes --input-reference-file-id)",
            "leave out --input-reference-url and give the file with --input-reference",
        ),
    ],
)
def test_what_a_profile_does_not_offer_is_explained_with_a_way_out(
    parse: Parse, ruling: Rule, values: dict[str, Any], context: dict[str, Any], sentence: str, step: str
) -> None:
    refused = ruling(parse(**values), **context)
    assert (list_reasons(refused)[0], steps(refused)) == (sentence, [step])


@pytest.mark.parametrize(
    ("source", "sentence", "step"),
    [
        (
            {"status": "queued"},
            "the video to extend is queued; only a completed one can be extended",
            "wait until the video is completed: sora-ledger poll --id job_0",
        ),
        (
            {"extensions": 6},
            "a video can be extended at most 6 times; this one has been 6 times",
            "render a new video instead: sora-ledger create with a prompt of its own",
        ),
        (
            {"seconds": 116},
            "a video can be extended to at most 120 seconds in total; this one would have 124",
            "use --seconds 4",
        ),
    ],
)
def test_a_refused_extension_is_explained_with_a_way_out(
    extend: Parse, ruling: Rule, source: dict[str, Any], sentence: str, step: str
) -> None:
    refused = ruling(extend(source=source))
    assert (list_reasons(refused)[0], steps(refused)) == (sentence, [step])


def test_a_missing_attestation_is_explained_with_the_flag(
    catalog: Catalog, policy: Policy, parse: Parse
) -> None:
    strict = policy.model_copy(update={"require_attestation": True})
    refused = decide(parse(), catalog=catalog, policy=strict)
    assert list_reasons(refused)[0] == "the policy asks for the guardrails to be confirmed, and they were not"
    assert steps(refused) == ["read the guardrails and confirm them with --attest"]


def test_an_edit_says_how_many_changes_it_makes(edit: Parse, ruling: Rule) -> None:
    sentences = list_reasons(ruling(edit(prompt="Make the coat red and add a dog")))
    assert sentences[1] == "the prompt asks for 2 changes; an edit may, a remix may not"


def test_an_edit_keeps_its_shape_in_its_own_words(edit: Parse, ruling: Rule) -> None:
    sentences = list_reasons(ruling(edit(seconds=8)))
    assert sentences[0] == "an edit keeps the 4 seconds of its source; 8 were asked for"


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
            "leave out --size or --change size, or render a new video: sora-ledger create --size 720x1280",
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


def test_a_wish_that_a_remix_does_not_grant_is_not_shown_as_a_prompt_that_changes_nothing(
    remix: Parse, ruling: Rule
) -> None:
    denied = ruling(remix(prompt="same shot and framing", seconds=8))
    assert list_reasons(denied)[:2] == [
        "a remix keeps the 4 seconds of its source; 8 were asked for",
        "nothing else is to change; a remix changes exactly one thing",
    ]
    assert steps(denied) == [
        "leave out --seconds or --change seconds, or render a new video: sora-ledger create --seconds 8",
        "and name, with --prompt or --change, one thing to change that a remix does not keep",
    ]


def test_an_edit_takes_back_a_wish_by_its_only_option(edit: Parse, ruling: Rule) -> None:
    assert steps(ruling(edit(seconds=8)))[0].startswith("leave out --seconds, or render a new video")


def test_several_changes_become_one_command_each_in_the_words_of_the_request(
    remix: Parse, ruling: Rule
) -> None:
    request = remix(prompt="Make the coat's lining red, and add a dog")
    assert steps(ruling(request), request)[1:] == [
        "sora-ledger remix --id job_0 --prompt 'Make the coat'\"'\"'s lining red'",
        "sora-ledger remix --id ID_OF_THE_REMIX_BEFORE --prompt 'Add a dog'",
    ]


def test_a_change_that_stands_in_a_field_becomes_a_command_too(remix: Parse, ruling: Rule) -> None:
    request = remix(prompt="Make it night", fields={"camera": "slow dolly in"})
    assert steps(ruling(request), request)[-1].endswith("--prompt 'Change only the camera to slow dolly in'")


def test_without_the_request_no_words_are_repeated(remix: Parse, ruling: Rule) -> None:
    assert steps(ruling(remix(prompt="Make it night, add a dog"))) == [
        "make 2 remixes, one change each, each of the result of the one before"
    ]


def test_a_reason_of_a_newer_version_is_shown_as_its_code(parse: Parse, ruling: Rule) -> None:
    decided = structs.replace(ruling(parse()), reason_codes=("MOON_PHASE",))
    assert list_reasons(decided)[0] == "MOON_PHASE"


def test_a_failure_of_a_newer_version_is_shown_as_its_code(parse: Parse, ruling: Rule) -> None:
    decided = ruling(parse())
    failure = GateFailure(gate="moon", detail_code="MOON_PHASE", expected="full", found="new")
    assert (
        explain_failure(decided.basis.candidates[0], failure, decided)
        == "MOON_PHASE (expected full, found new)"
    )


def test_an_operation_of_a_newer_version_leaves_the_sentence_whole(parse: Parse, ruling: Rule) -> None:
    denied = ruling(parse(max_cost_usd_micros=1))
    inputs = dict(denied.basis.inputs) | {"operation": "upscale"}
    denied = structs.replace(denied, basis=structs.replace(denied.basis, inputs=inputs))
    assert list_reasons(denied)[0].startswith("sora-2 would cost 0.40 USD")


def test_a_fix_of_a_newer_version_is_shown_as_it_is(parse: Parse, ruling: Rule) -> None:
    denied = ruling(parse(max_cost_usd_micros=1))
    assert isinstance(denied, RenderDenied)
    fix = Fix(field="moon", action="wait", value="full")
    trace = structs.replace(denied.denial_trace, minimal_fix=(fix,))
    assert what_now(structs.replace(denied, denial_trace=trace)) == ["wait moon: full"]


def test_a_model_that_is_not_among_the_candidates_leaves_the_others_unexplained(
    parse: Parse, ruling: Rule
) -> None:
    decided = ruling(parse())
    assert isinstance(decided, RenderDecided)
    other = structs.replace(decided, model="sora-9")
    assert explain_candidate(decided.basis.candidates[1], other) == []

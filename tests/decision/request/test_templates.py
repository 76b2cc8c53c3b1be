"""Starting points: every blank asks for something, and the examples make good prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.advice.advice import advise
from decision.advice.reading import missing_details
from decision.errors import BadDocument, BadRequest
from decision.request.prompt import is_structured
from decision.request.request import RenderRequest, parse_request
from decision.request.templates import BLANK, Draft, Template, TemplateFile, template, templates
from decision.rules.catalog import Catalog
from decision.rules.toml import load_document

NAMES = sorted(templates())
SMALL = """
version = 1
[templates.small]
title = "t"
use_when = "w"
purpose = "draft"
size = "1280x720"
seconds = 4
prompt = "{thing}"
fields = {}
blanks = { thing = { ask = "?", example = "a cat" } }
"""


def request_of(draft: Draft, starting: Template, catalog: Catalog) -> RenderRequest:
    return parse_request(
        catalog=catalog,
        operation="create",
        prompt=draft.prompt,
        fields=draft.fields,
        purpose=starting.purpose,
        size=starting.size,
        seconds=starting.seconds,
    )


@pytest.mark.parametrize(
    "name",
    [
        "product-teaser",
        "landing-page-hero",
        "social-ad",
        "cinematic-shot",
        "ui-walkthrough",
        "explainer",
    ],
)
def test_there_is_a_starting_point_for_each_asset_type(name: str) -> None:
    assert template(name).title


@pytest.mark.parametrize("name", NAMES)
def test_an_example_lacks_nothing_and_needs_no_advice(catalog: Catalog, name: str) -> None:
    request = request_of(template(name).example, template(name), catalog)
    assert (missing_details(request), advise(request)) == ((), ())


@pytest.mark.parametrize("name", NAMES)
def test_every_blank_that_is_left_is_asked_for(catalog: Catalog, name: str) -> None:
    questions = missing_details(request_of(template(name).fill({}), template(name), catalog))
    assert {question.found for question in questions} == {f"{{{blank}}}" for blank in template(name).blanks}


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_as_a_file_is_a_structured_prompt_with_the_same_blanks(name: str) -> None:
    text = template(name).fill({}).text
    assert is_structured(text)
    assert set(BLANK.findall(text)) == set(template(name).blanks)


@given(st.text(st.characters(categories=("L", "N")), min_size=1))
def test_what_is_filled_in_is_not_filled_in_again(value: str) -> None:
    draft = template("product-teaser").fill({"product": "{surface}", "surface": value})
    assert draft.prompt == f"A close look at {{surface}} on {value}"


def test_an_unknown_template_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean social-ad"):
        template("socialad")


def test_an_unknown_blank_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean product"):
        template("social-ad").fill({"produkt": "a kettle"})


@pytest.mark.parametrize(
    ("text", "instead", "named"),
    [
        ('prompt = "{thing}"', 'prompt = "{other}"', "never asked for or never used: other, thing"),
        ("fields = {}", 'fields = { colour = "red" }', "unknown: colour"),
        ('purpose = "draft"', 'purpose = "fun"', "unknown: fun"),
        ("[templates.small]", "[templates.SMALL]", "templates"),
    ],
)
def test_a_template_that_does_not_hold_together_is_refused(text: str, instead: str, named: str) -> None:
    with pytest.raises(BadDocument, match=named):
        load_document(TemplateFile, SMALL.replace(text, instead).encode())

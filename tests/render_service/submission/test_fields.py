"""A field of a request has one name from the command line to the wire; what differs is written out once."""

from dataclasses import fields
from typing import get_args

from cli.options.inputs import Ingredients
from decision.request.attachments import SERVER_OPTIONS
from decision.request.request import RenderRequest
from ledger.events import RenderRequested
from render_service.api.values import CreateOptions
from render_service.submission.intent import SEALED
from render_service.submission.recorded_call import NOT_SENT, SENT
from sora_adapter.profiles import ExtraField
from sora_adapter.requests import SubmitCall

ASKED_OTHERWISE = {"augmented_prompt", "remix_video_id", "source_job"}
FROM_THE_SETTINGS = {"team", "project", "access_key_id"}
"""Whose request it is, which no request says about itself."""
SENT_OTHERWISE = {"model", "more_references", "source_video_id"}
TYPED_OTHERWISE = {
    "images",
    "input_reference_url",
    "input_reference_file_id",
    "fit",
    "duration",
    "width",
    "height",
    "all_images",
    "nearest",
}


def test_what_is_recorded_of_a_request_has_the_name_it_was_asked_by() -> None:
    unnamed = {name for name in RenderRequested.__struct_fields__ if not hasattr(RenderRequest, name)}
    assert unnamed - RenderRequest.model_fields.keys() == ASKED_OTHERWISE | FROM_THE_SETTINGS


def test_what_is_sent_has_the_name_it_was_recorded_by() -> None:
    names = {field.name for field in fields(SubmitCall)}
    assert names - set(RenderRequested.__struct_fields__) == SENT_OTHERWISE


def test_what_is_typed_for_a_render_has_the_name_of_its_value() -> None:
    names = {field.name for field in fields(Ingredients)}
    assert names - RenderRequest.model_fields.keys() == TYPED_OTHERWISE


def test_a_recorded_field_is_sent_unless_it_is_named_as_ours() -> None:
    assert set(RenderRequested.__struct_fields__) >= NOT_SENT
    assert set(RenderRequested.__struct_fields__) == NOT_SENT | SENT


def test_the_texts_of_a_request_are_sealed_as_their_type_says() -> None:
    assert {"prompt", "augmented_prompt", "reference_url"} == SEALED


def test_an_option_of_some_servers_is_known_to_the_adapter_and_typed_for_callers_in_python() -> None:
    assert set(SERVER_OPTIONS) <= set(get_args(ExtraField))
    assert set(SERVER_OPTIONS) <= set(CreateOptions.__annotations__)

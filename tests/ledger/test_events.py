import json
import re
from types import ModuleType
from typing import get_args

import pytest
from msgspec.json import schema

from ledger.errors import LedgerUnusable
from ledger.events import EVENT_TYPES, Event
from ledger.private import private_values
from ledger.record import parse_event
from ledger.verify import rules

# The table of DESIGN.md and docs/FORMAT.md, once more by hand.
KINDS = {
    "INTENT": "render.requested request.signed change.proposed",
    "PLAN": "render.decided render.held approval.granted approval.refused split.planned",
    "DENY": "render.denied",
    "ACTION": "submission.intended render.cancelled video.deleted render.abandoned "
    "notification.resent checkpoint.published provenance.signed asset.published",
    "OBSERVATION": "submission.accepted submission.rejected submission.unknown submission.recovered "
    "submission.absent submission.spooled status.observed webhook.received webhook.matched "
    "asset.stored asset.lost "
    "cost.settled render.adopted character.created output.attached external.recorded review.recorded "
    "note.recorded access.used session.began session.ended notification.sent notification.failed "
    "ledger.verified projection.recorded "
    "checkpoint.timestamped checkpoint.witnessed provenance.observed",
    "STRUCTURE_UPDATE": "ledger.created policy.activated budget.set decision.overridden private.erased "
    "access.granted access.revoked share.created share.revoked "
    "endpoint.created endpoint.updated endpoint.secret_rotated endpoint.deleted",
    "SESSION_COMPLETION": "render.closed change.closed",
}
KIND_OF = {type_: kind for kind, types in KINDS.items() for type_ in types.split()}
TYPES = sorted(EVENT_TYPES)


def test_every_event_has_the_kind_of_the_table() -> None:
    assert {type_: model.kind.value for type_, model in EVENT_TYPES.items()} == KIND_OF


def test_verify_has_the_same_table() -> None:
    assert rules.KINDS == KIND_OF


def test_the_union_is_closed_over_distinct_names() -> None:
    assert len(EVENT_TYPES) == len(get_args(Event))


@pytest.mark.parametrize("type_", TYPES)
def test_names_are_lower_case_and_dotted(type_: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", type_)


def test_there_is_a_sample_of_every_event(vocabulary: ModuleType) -> None:
    assert sorted({event.type for event in vocabulary.samples()}) == TYPES


@pytest.mark.parametrize("type_", TYPES)
def test_an_event_survives_its_payload(vocabulary: ModuleType, type_: str) -> None:
    event = vocabulary.sample(type_)
    bodies = {value.commitment: value.body for _, value in private_values(event)}
    payload = event.as_json()
    assert parse_event(type_, payload, bodies, event.schema_version) == event


@pytest.mark.parametrize("type_", TYPES)
def test_private_text_survives_with_its_bodies(vocabulary: ModuleType, type_: str) -> None:
    event = vocabulary.sample(type_)
    bodies = {value.commitment: value.body for _, value in private_values(event)}
    again = parse_event(type_, event.as_json(), bodies, event.schema_version)
    texts = [[(path, value.text) for path, value in private_values(e)] for e in (event, again)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("type_", TYPES)
def test_a_payload_does_not_hold_private_text(vocabulary: ModuleType, type_: str) -> None:
    event = vocabulary.sample(type_)
    payload = json.dumps(event.as_json())
    assert [value.text for _, value in private_values(event) if f'"{value.text}"' in payload] == []


@pytest.mark.parametrize("type_", TYPES)
def test_an_unknown_field_is_refused(vocabulary: ModuleType, type_: str) -> None:
    payload = vocabulary.sample(type_).as_json() | {"surplus": 1}
    with pytest.raises(LedgerUnusable, match=r"unknown field `surplus`\): run `sora-ledger verify`"):
        parse_event(type_, payload, {})


@pytest.mark.parametrize("type_", TYPES)
def test_an_event_is_frozen(vocabulary: ModuleType, type_: str) -> None:
    event = vocabulary.sample(type_)
    with pytest.raises(AttributeError, match="immutable"):
        setattr(event, type(event).__struct_fields__[0], None)


def test_no_event_has_a_float() -> None:
    schemas = [json.dumps(schema(model)) for model in EVENT_TYPES.values()]
    assert [schema for schema in schemas if '"type": "number"' in schema] == []


def test_a_type_of_a_later_version_asks_for_an_upgrade() -> None:
    with pytest.raises(LedgerUnusable, match=r"does not know the event type 'render\.dreamt': upgrade"):
        parse_event("render.dreamt", {}, {})

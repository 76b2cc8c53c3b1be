"""The document of a record is its fields and its payload, with the private text that may be shown."""

import json
from types import ModuleType
from typing import Any

from ledger.private import SECRETS, private_values
from ledger.record import Record, StoredRow
from render_service.runtime.documents import record_document
from tests.ledger.scribe import Scribe


def _expected(event: Any, erased: frozenset[str] = frozenset()) -> Any:
    payload = json.loads(json.dumps(event.as_json()))
    for path, private in private_values(event):
        *parents, name = path.split(".")
        place = payload
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place[parent]
        text = "[secret]" if private.body.field in SECRETS else private.text
        place[name]["text"] = "[erased]" if private.commitment in erased else text
    return payload


def test_private_text_is_beside_its_commitment_in_every_event(scribe: Scribe, vocabulary: ModuleType) -> None:
    private = 0
    for event in vocabulary.samples():
        made = scribe.draft(event).placed("notes", 1, 1)
        bodies = {value.commitment: value.body for _, value in private_values(event)}
        stored = Record.from_row(StoredRow(made.record, made.payload, made.leaf), bodies)
        assert record_document(made)["payload"] == _expected(event)
        assert record_document(stored) == record_document(made)
        assert record_document(stored.with_bodies({}))["payload"] == _expected(event, frozenset(bodies))
        private += len(bodies)
    assert private > 10


def test_text_that_looks_like_a_commitment_stays_text(scribe: Scribe, vocabulary: ModuleType) -> None:
    text = '{"commitment":"' + "0" * 64 + '"}'
    made = scribe.draft(vocabulary.requested(prompt=text)).placed("notes", 1, 1)
    assert record_document(made)["payload"]["prompt"]["text"] == text

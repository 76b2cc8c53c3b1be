"""Records as CloudEvents 1.0, in the structured and the binary mode of HTTP, NATS and Kafka.

The attributes come from the record: ``id`` is its event id, so a receiver recognises a repeated event;
``source`` is the ledger, ``subject`` the stream. The extensions are published ones: ``sequence`` (the
position, with zeros so that text sorts like numbers), ``partitionkey``, ``recordedtime`` and ``traceparent``.
The data is the record as `sora-ledger log --json` prints it; private text is included only on request.
"""

import json
from typing import Any, NamedTuple
from urllib.parse import quote

from msgspec.structs import asdict

from ledger.record import Record
from render_service.runtime.documents import record_document

TYPE_PREFIX = "sora_ledger."
STRUCTURED = "application/cloudevents+json; charset=UTF-8"
BINARY = "application/json"
_SEQUENCE_DIGITS = 16
_UNESCAPED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""Characters allowed unescaped in a header value, by the HTTP binding; all others are percent-encoded."""


class CloudEvent(NamedTuple):
    """An event, with its attributes and extensions by name."""

    attributes: dict[str, str]
    data: dict[str, Any]

    @property
    def event_id(self) -> str:
        """The id, the same whenever the event is sent."""
        return self.attributes["id"]

    def structured(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body with everything in the body."""
        return {"content-type": STRUCTURED}, _encode({**self.attributes, "data": self.data})

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body with the attributes in the headers."""
        named = {f"ce-{name}": quote(value, _UNESCAPED) for name, value in self.attributes.items()}
        # The attribute is the header Content-Type in this mode.
        named.pop("ce-datacontenttype")
        return {"content-type": BINARY, **named}, _encode(self.data)

    def kafka_headers(self, mode: str) -> list[tuple[str, bytes]]:
        """Return the headers of a Kafka message, whose values are not escaped."""
        if mode == "structured":
            return [("content-type", STRUCTURED.encode())]
        named = [(f"ce_{name}", value.encode()) for name, value in self.attributes.items()]
        return [
            ("content-type", BINARY.encode()),
            *(pair for pair in named if pair[0] != "ce_datacontenttype"),
        ]


def cloud_event(record: Record, ledger_id: str, *, with_text: bool) -> CloudEvent:
    """Return a record as an event, with its private text if `with_text`; erased text stays erased."""
    if with_text:
        data = record_document(record)
    else:
        data = asdict(record.envelope) | {"payload": record.event.as_json()}
    attributes = {
        "specversion": "1.0",
        "id": record.event_id,
        "source": f"urn:sora-ledger:{ledger_id}",
        "type": TYPE_PREFIX + record.type,
        "subject": record.stream,
        "time": record.occurred_at,
        "datacontenttype": BINARY,
        "sequence": f"{record.position:0{_SEQUENCE_DIGITS}}",
        "partitionkey": record.stream,
        "recordedtime": record.recorded_at,
        "traceparent": f"00-{record.trace_id}-{record.envelope.span_id}-01",
    }
    return CloudEvent(attributes, data | {"leaf": record.leaf.hex()})


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

"""What is read as canonical JSON, by `docs/FORMAT.md`: one way to write each document, and no other."""

import pytest

from ledger.verify import strict

LARGEST = 9007199254740991


@pytest.mark.parametrize(
    ("data", "document"),
    [
        (b"{}", {}),
        (
            b'{"a":null,"b_2":[true,false,""],"c":{"a":"\xc3\xa9"}}',
            {"a": None, "b_2": [True, False, ""], "c": {"a": "é"}},
        ),
        (b'{"a":%d,"b":-%d}' % (LARGEST, LARGEST), {"a": LARGEST, "b": -LARGEST}),
        (b'{"a":"\\u0000\\n\\"\\\\"}', {"a": '\0\n"\\'}),
    ],
)
def test_canonical_json_is_read(data: bytes, document: object) -> None:
    assert strict.parse(data) == document


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1.5}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":-0}',
        b'{"a":%d}' % (LARGEST + 1),
        b'{"a":-%d}' % (LARGEST + 1),
        b'{"A":1}',
        b'{"":1}',
        b'{"a":{"b-c":1}}',
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":"\\u00e9"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"[]",
        b'"a"',
        b"1",
        b"null",
        b"",
    ],
)
def test_any_other_json_is_refused(data: bytes) -> None:
    with pytest.raises(strict.NotCanonicalError):
        strict.parse(data)


@pytest.mark.parametrize("data", ["{}", None, 7, bytearray(b"{}")])
def test_what_a_store_holds_instead_of_bytes_is_refused(data: object) -> None:
    with pytest.raises(strict.NotCanonicalError, match="not bytes"):
        strict.parse(data)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({"a": [{"b": 1.5}]}, "a float"),
        ({"a": LARGEST + 1}, "an integer beyond"),
        ({"a": -LARGEST - 1}, "an integer beyond"),
        ({"a": {"Upper": 1}}, "a key not made of"),
        ({"a": {"c": 1, "b": 2}}, "keys that are not sorted"),
    ],
)
def test_what_prints_as_it_was_read_and_is_not_canonical_is_refused(
    payload: dict[str, object], why: str
) -> None:
    with pytest.raises(strict.NotCanonicalError, match=why):
        strict.look_through(payload, [])


def test_the_commitments_of_a_payload_are_the_objects_that_hold_nothing_else() -> None:
    payload = b'{"a":{"commitment":"one"},"b":[{"commitment":"two"}],"c":{"commitment":"no","d":1},"e":%d}'
    _, commitments = strict.parse_payload(payload % LARGEST)
    assert sorted(commitments) == ["one", "two"]

import hashlib
import hmac
from typing import Annotated, Any

import pytest
from msgspec import Struct, ValidationError, convert, to_builtins

from ledger.private import Private, PrivateBody, commit, private_values

SALT = bytes(range(32))


def test_a_commitment_is_an_hmac_over_domain_field_and_text() -> None:
    message = b"sora-ledger/private/v1\0fields.camera\0caf\xc3\xa9"
    assert commit("fields.camera", "café", SALT) == hmac.new(SALT, message, hashlib.sha256).hexdigest()


def test_equal_texts_have_unequal_commitments() -> None:
    assert Private.seal("prompt", "boat").commitment != Private.seal("prompt", "boat").commitment


def test_the_same_text_commits_differently_in_another_field() -> None:
    assert commit("prompt", "boat", SALT) != commit("why", "boat", SALT)


def test_sealed_text_can_be_read() -> None:
    assert Private.seal("prompt", "boat").text == "boat"


def test_a_dump_holds_the_commitment_alone() -> None:
    private = Private.seal("prompt", "boat")
    assert to_builtins(private) == {"commitment": private.commitment}


def test_an_attached_body_fills_the_text() -> None:
    body = PrivateBody(commit("prompt", "boat", SALT), "prompt", SALT, "boat")
    read = convert({"commitment": body.commitment}, Private)
    read.attach(body)
    assert read.text == "boat"


def test_erased_text_reads_as_none() -> None:
    assert convert({"commitment": "ab" * 32}, Private).text is None


def test_text_beside_the_commitment_is_refused() -> None:
    with pytest.raises(ValidationError, match="unknown field `text`"):
        convert({"commitment": "ab" * 32, "text": "boat"}, Private)


def test_private_values_are_found_at_any_depth_with_their_path() -> None:
    one = Private.seal("a.0.b", "x")
    assert list(private_values({"a": [{"b": one}], "c": 1})) == [("a.0.b", one)]


def test_text_does_not_show_in_the_repr() -> None:
    assert "boat" not in repr(Private.seal("prompt", "boat"))


class Shot(Struct):
    """A struct that holds `Private` in every way a field can."""

    alone: Private
    maybe: Private | None
    named: dict[str, Private]
    listed: tuple[Private, ...]
    noted: Annotated[Private, "a note"]
    anything: Any

    number: int = 1


def test_private_text_is_found_wherever_a_struct_can_hold_it() -> None:
    p = Private.seal("x", "boat")
    shot = Shot(alone=p, maybe=p, named={"a": p}, listed=(p,), noted=p, anything=[p])
    assert [path for path, _ in private_values(shot)] == [
        "alone",
        "maybe",
        "named.a",
        "listed.0",
        "noted",
        "anything.0",
    ]

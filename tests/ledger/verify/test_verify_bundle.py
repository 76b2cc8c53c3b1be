"""The one file that checks a bundle: its own cryptography, its own strictness, nothing of ours."""

import ast
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import canonical_json
from ledger.tree.checkpoint import Checkpoint, CheckpointInvalid, Signer, Verifier
from ledger.tree.head import TreeHead
from ledger.verify import verify_bundle as vb

SOURCE = Path(vb.__file__).read_text(encoding="utf-8")
DATA = Path(__file__).parents[1] / "data"

# RFC 8032, section 7.1, tests 1 to 3: public key, message, signature.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def refuses(read: Callable[[Any], Any], given: Any) -> bool:
    try:
        read(given)
    except ValueError:
        return True
    return False


def root_of(case: dict[str, Any]) -> bytes:
    path = [base64.b64decode(item) for item in case["inclusion_path"] or []]
    leaf = base64.b64decode(case["leaf_hash"])
    return vb.root_of_path(leaf, case["leaf_index"], case["tree_size"], path)


def test_it_imports_the_standard_library_alone() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(SOURCE))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)


def test_it_is_written_in_the_grammar_of_python_3_9() -> None:
    ast.parse(SOURCE, feature_version=(3, 9))


def test_it_runs_without_any_package(tmp_path: Path) -> None:
    (tmp_path / "verify_bundle.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "verify_bundle.py", "b.zip"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "no zip file that can be read" in ran.stderr) == (2, True)


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_a_signature_of_the_rfc_verifies(key: str, message: str, signature: str) -> None:
    assert vb.ed25519_verifies(*map(bytes.fromhex, (key, message, signature)))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50), st.integers(0, 511))
@settings(max_examples=20, deadline=None)
def test_a_signature_of_another_library_verifies_and_one_with_a_flipped_bit_does_not(
    seed: bytes, message: bytes, bit: int
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)
    flipped = (int.from_bytes(signature, "big") ^ (1 << bit)).to_bytes(64, "big")
    assert vb.ed25519_verifies(public, message, signature)
    assert not vb.ed25519_verifies(public, message, flipped)
    assert not vb.ed25519_verifies(public, message + b"!", signature)


@given(st.binary(max_size=40), st.binary(max_size=80))
@settings(max_examples=20, deadline=None)
def test_bytes_that_are_no_key_or_signature_verify_nothing(key: bytes, signature: bytes) -> None:
    assert not vb.ed25519_verifies(key, b"", signature)


def test_a_signature_with_a_scalar_of_the_group_order_or_more_is_refused() -> None:
    key, _, signature = map(bytes.fromhex, RFC_8032[0])
    scalar = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    assert not vb.ed25519_verifies(key, b"", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("case", vectors("inclusion-valid"))
def test_a_published_inclusion_proof_leads_to_the_root(case: dict[str, Any]) -> None:
    assert root_of(case) == base64.b64decode(case["root_hash"])


@pytest.mark.parametrize("case", vectors("inclusion-invalid"))
def test_a_published_inclusion_proof_that_was_changed_does_not(case: dict[str, Any]) -> None:
    try:
        root = root_of(case)
    except ValueError:
        return
    assert root != base64.b64decode(case["root_hash"])


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"",
        b"{",
        b'{"a":1.0}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-0}',
        b'{"a":1e3}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 100_000 + b"}",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0041"}',
        b'{"a":' * 100_000,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_that_is_not_canonical_is_refused(data: bytes) -> None:
    assert refuses(vb.strict_json, data)


KEYS = st.text("abc_1", min_size=1, max_size=3)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(DOCUMENTS)
def test_what_the_writer_prints_is_read(document: dict[str, Any]) -> None:
    assert vb.strict_json(canonical_json(document)) == document


def test_a_hostile_line_of_quotes_and_braces_takes_no_long_time() -> None:
    begun = time.process_time()
    for data in (b'{"a":"' + b'\\"{' * 300_000, b'{"a":"' + b"{" * 500_000 + b'"}' + b"\\" * 500_000):
        assert refuses(vb.strict_json, data)
    assert time.process_time() - begun < 5


def test_braces_in_text_are_no_depth() -> None:
    document = {"a": '{[\\"' * 100}
    assert vb.strict_json(canonical_json(document)) == document


@given(st.binary(max_size=200))
def test_hostile_json_is_canonical_or_a_value_error(data: bytes) -> None:
    try:
        document = vb.strict_json(data)
    except ValueError:
        return
    assert canonical_json(document) == data


SIGNER = Signer("ledger.example", bytes(range(32)))
HEAD = TreeHead(Checkpoint("o", 3, bytes(32)), Checkpoint("o", 3, bytes(32)).sign(SIGNER))


def test_a_checkpoint_of_the_writer_is_read_and_its_signature_found() -> None:
    head = vb.read_head(HEAD.to_bytes())
    assert (head.origin, head.size, head.root) == ("o", 3, bytes(32))
    assert vb.signers(head, [vb.read_key(str(SIGNER.verifier))]) == ["ledger.example"]


@given(st.integers(0, 400), st.binary(max_size=2))
@settings(max_examples=settings.default.max_examples * 300 // 100)
def test_both_readers_of_checkpoints_agree(at: int, put: bytes) -> None:
    data = HEAD.to_bytes()
    data = data[: at % len(data)] + put + data[at % len(data) + 1 :]
    try:
        theirs: Any = vb.read_head(data)[:3]
    except ValueError:
        theirs = None
    try:
        found = TreeHead.parse(data).checkpoint
        ours: Any = (found.origin, found.size, found.root)
    except CheckpointInvalid:
        ours = None
    assert theirs == ours


@pytest.mark.parametrize("text", ["", "a+b", str(SIGNER.verifier)[:-4], "x" + str(SIGNER.verifier)])
def test_both_readers_of_keys_refuse(text: str) -> None:
    assert (refuses(vb.read_key, text), refuses(Verifier.parse, text)) == (True, True)


def is_square(value: int) -> bool:
    """Euler's criterion, modulo the prime of Curve25519."""
    prime = 2**255 - 19
    return pow(value % prime, (prime - 1) // 2, prime) in (0, 1)


@pytest.mark.parametrize("y", range(2, 40))
def test_a_point_is_on_the_curve_or_is_none(y: int) -> None:
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime)
    on_curve = is_square((y * y - 1) * pow(d * y * y + 1, -1, prime))
    assert (vb._point(y.to_bytes(32, "little")) is not None) == on_curve


def test_a_point_whose_x_is_0_has_no_sign() -> None:
    one = 1
    assert vb._point(one.to_bytes(32, "little"))
    assert vb._point((one | 1 << 255).to_bytes(32, "little")) is None


def test_a_head_whose_last_line_has_no_end_is_refused() -> None:
    signed = HEAD.to_bytes()
    assert vb.read_head(signed)
    for cut in (signed[:-1], signed[:-1] + b"=", signed[:-1] + b"X"):
        assert refuses(vb.read_head, cut)


@pytest.mark.parametrize(("count", "is_read"), [(4, False), (5, True)])
def test_a_signature_is_a_key_id_of_4_bytes_and_more(count: int, *, is_read: bool) -> None:
    line = f"\u2014 name {base64.b64encode(bytes(count)).decode()}\n"
    data = HEAD.checkpoint.to_text().encode() + b"\n" + line.encode()
    assert refuses(vb.read_head, data) is not is_read
    assert refuses(TreeHead.parse, data) is not is_read


def test_what_a_policy_says_of_people_is_read() -> None:
    rule = {
        "code": "FINALS",
        "min_cost_usd_micros": 5,
        "people": 2,
        "purposes": ["final"],
        "signed_by": ["ana"],
    }
    policy = {
        "approvals": [rule],
        "approvers": {"ana": ["key"]},
        "overridable": ["SEVERAL_CHANGES"],
        "requester": "login",
        "requesters": {"omar": ["other"]},
    }
    rules = vb.read_rules(canonical_json(policy))
    assert rules is not None
    assert (rules.approvers, rules.requesters, rules.approvals) == (
        {"ana": ["key"]},
        {"omar": ["other"]},
        [rule],
    )
    assert (rules.overridable, rules.requester) == (["SEVERAL_CHANGES"], "login")


def test_a_policy_that_says_nothing_of_people_has_no_rules() -> None:
    rules = vb.read_rules(b'{"approvals":null,"name":"open"}')
    assert rules is not None
    assert (rules.approvers, rules.requesters, rules.approvals, rules.overridable) == ({}, {}, [], [])


@pytest.mark.parametrize(
    "policy",
    [
        {"approvals": [{"code": 1, "people": 1}]},
        {"approvals": [{"code": "A", "people": "1"}]},
        {"approvals": [{"code": "A", "people": True}]},
        {"approvals": [{"code": "A"}]},
        {"approvals": [{"people": 1}]},
        {"approvals": [{"code": "A", "people": 1, "models": [1]}]},
        {"approvals": [{"code": "A", "people": 1, "signed_by": [None]}]},
        {"approvals": [{"code": "A", "people": 1, "min_cost_usd_micros": "5"}]},
        {"approvals": ["A"]},
        {"approvals": 1},
        {"approvers": {"ana": [1]}},
        {"approvers": {"ana": 1}},
        {"requesters": {"ana": [["key"]]}},
        {"requesters": ["ana"]},
        {"overridable": 1},
    ],
)
def test_a_policy_whose_rules_have_another_shape_is_not_judged_by(policy: dict[str, Any]) -> None:
    assert vb.read_rules(canonical_json(policy)) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"b":1,"a":2}', b"\xff"])
def test_bytes_that_are_no_document_are_no_policy(body: bytes) -> None:
    assert vb.read_rules(body) is None

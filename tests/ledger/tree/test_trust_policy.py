"""Trust policies: what a file means, and that a wrong one is refused with its line."""

import re

import pytest

from ledger.tree.checkpoint import COSIGNATURE, Checkpoint, CheckpointInvalid, Signer, Verifier
from ledger.tree.head import TreeHead
from ledger.tree.trust_policy import PolicyInvalid, TrustPolicy
from ledger.verify import verify_bundle as vb

KEYS = [  # the same in every process: they are in the names of the tests
    str(Verifier(f"{name}.example/w", Signer(name, name.encode() * 32).verifier.public_key, COSIGNATURE))
    for name in "abcde"
]
LOG = Signer("log.example", b"l" * 32)
WITNESSES = "".join(f"witness {name} {key}\n" for name, key in zip("ABCDE", KEYS, strict=True))


def policy(text: str) -> TrustPolicy:
    return TrustPolicy.parse((WITNESSES + text).encode())


@pytest.mark.parametrize(
    ("text", "enough", "too_few"),
    [
        ("quorum none\n", ["", "A"], []),
        ("quorum A\n", ["A", "AB"], ["", "BCDE"]),
        ("group g any A B\nquorum g\n", ["A", "B"], ["", "CDE"]),
        ("group g all A B\nquorum g\n", ["AB", "ABC"], ["A", "BC"]),
        ("group g 2 A B C\nquorum g\n", ["AB", "AC", "ABC"], ["A", "ADE"]),
        (
            "group x 2 A B C\ngroup y any D E\ngroup both all x y\nquorum both\n",
            ["ABD", "BCE"],
            ["ABC", "ADE"],
        ),
        ("  # a comment\n\n\tgroup\tg  1 A \n quorum g\t\n", ["A"], ["B"]),
    ],
)
def test_a_quorum_is_met_by_enough_members(text: str, enough: list[str], too_few: list[str]) -> None:
    expected = [*(True for _ in enough), *(False for _ in too_few)]
    for read in (policy(text), vb.read_policy((WITNESSES + text).encode())):
        assert [read.is_met(set(names)) for names in (*enough, *too_few)] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line “quorum NAME”"),
        ("quorum Z\n", "line 6: 'Z' is neither a witness nor a group"),
        ("quorum g\ngroup g any A\n", "line 6: 'g' is neither"),
        ("quorum A\nquorum A\n", "line 7: a second quorum"),
        ("quorum A B\n", "line 6: expected “quorum NAME”"),
        ("quorum A", "does not end with a newline"),
        ("quorum A\r\n", "line 6: a control character"),
        ("group A any B\nquorum A\n", "line 6: 'A' has a line already"),
        ("group none any B\nquorum A\n", "line 6: none is not a name"),
        ("group g 0 A\nquorum g\n", "line 6: expected all, any or a number from 1 to 1"),
        ("group g 3 A B\nquorum g\n", "line 6: expected all, any or a number from 1 to 2"),
        ("group g -1 A\nquorum g\n", "line 6: expected all, any"),
        ("group g all\nquorum g\n", "line 6: expected “group"),
        ("group g any A A\nquorum g\n", "line 6: 'A' is a member already"),
        ("group g any A\ngroup h any A\nquorum g\n", "line 7: 'A' is a member already"),
        ("group g any h\ngroup h any A\nquorum g\n", "line 6: 'h' is neither"),
        (f"witness F {KEYS[0]}\nquorum F\n", "line 6: F and A have the same key"),
        (f"witness F {LOG.verifier}\nquorum F\n", "line 6: a witness's key has type 4"),
        (f"log {KEYS[0]}\nquorum A\n", "line 6: a log's key has type 1"),
        (f"log {LOG.verifier}\nlog {LOG.verifier}\nquorum A\n", "line 7: this log key is there already"),
        ("witness F\nquorum F\n", "line 6: expected “witness NAME VKEY [URL]”"),
        ("witness F nokey\nquorum F\n", "line 6: verifier key"),
        ("Quorum A\n", "line 6: it begins with 'Quorum'"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(PolicyInvalid, match=re.escape(words)):
        policy(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum Z\n",
        "quorum A",
        "quorum A\r\n",
        "quorum A\nquorum A\n",
        "Quorum A\n",
        "log\n",
        "group g 3 A B\nquorum g\n",
        "group g any A A\nquorum g\n",
        "group g any A\ngroup h any A\nquorum g\n",
        f"witness F {KEYS[0]}\nquorum F\n",
        f"witness F {LOG.verifier}\nquorum F\n",
        f"log {KEYS[0]}\nquorum A\n",
    ],
)
def test_the_checker_of_bundles_refuses_the_same_policies(text: str) -> None:
    with pytest.raises(PolicyInvalid):
        policy(text)
    with pytest.raises(ValueError, match=r"line|no "):
        vb.read_policy((WITNESSES + text).encode())


def test_a_comment_may_have_any_octets_above_ascii() -> None:
    assert TrustPolicy.parse(b"# na\xefve \xff\nquorum none\n").quorum == "none"


def test_a_log_counts_only_under_the_name_of_its_origin() -> None:
    head = Checkpoint("another.example", 0, bytes(32))
    with pytest.raises(CheckpointInvalid, match="a log's key is named after its origin"):
        policy(f"log {LOG.verifier}\nquorum none\n").count(TreeHead(head, head.sign(LOG)))


@pytest.mark.parametrize(
    "encoded",
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ],
)
@pytest.mark.parametrize("kind", [b"\x01", b"\x04"])
def test_a_key_of_small_order_is_refused(encoded: str, kind: bytes) -> None:
    key = Verifier("weak.example", bytes.fromhex(encoded), kind)
    with pytest.raises(CheckpointInvalid, match="small order"):
        Verifier.parse(str(key))
    if vb._point(key.public_key) is not None:  # nothing verifies under what is no point
        with pytest.raises(ValueError, match="small order"):
            vb.read_key(str(key))

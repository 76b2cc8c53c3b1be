"""Proofs as files: they come back as they were, show what they claim, and nothing else parses."""

import base64
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import leaf_hash
from ledger.errors import LedgerUnusable
from ledger.log.ledger import Ledger
from ledger.log.tiles import head_of, origin_of
from ledger.tree.checkpoint import Checkpoint, CheckpointInvalid, Signer
from ledger.tree.head import TreeHead
from ledger.tree.merkle import EMPTY_ROOT, ProofInvalid, root_at
from ledger.tree.proof import ConsistencyProof, InclusionProof
from tests.ledger.scribe import Scribe

SIGNER = Signer("ledger.example", bytes(range(32)))
PATHS = st.lists(st.binary(min_size=32, max_size=32), max_size=6).map(tuple)
CHECKPOINTS = st.builds(
    Checkpoint, st.just("sora-ledger/L"), st.integers(0, 10**6), st.binary(min_size=32, max_size=32)
)
CHECKPOINT = Checkpoint("sora-ledger/L", 42, bytes(range(32)))
HEADS = st.builds(
    lambda checkpoint, signed: TreeHead(checkpoint, checkpoint.sign(SIGNER) if signed else None),
    CHECKPOINTS,
    st.booleans(),
)
# The example of the specification of tlog-proof, its checkpoint and hashes cut there and whole here.
HASH = "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ="
FOREIGN = f"""c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6
index 73894
{HASH}
{HASH}

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

— example.com/fancylog hI2DJwAAAAAA
"""


@pytest.fixture
def grown(ledger: Ledger, scribe: Scribe) -> Ledger:
    """Return a ledger of six records."""
    for _ in range(5):
        ledger.append([scribe.note()])
    return ledger


def test_a_proof_in_the_form_of_the_specification_is_read() -> None:
    proof = InclusionProof.parse(FOREIGN.encode())
    assert (proof.index, len(proof.path), proof.head.checkpoint.size, proof.record) == (
        73894,
        2,
        109_482,
        b"age-v1.2.1-darwin-arm64.tar.gz",
    )


@pytest.mark.parametrize("position", range(1, 7))
def test_a_proof_of_a_ledger_shows_its_record(grown: Ledger, position: int) -> None:
    record = next(grown.read(after=position - 1)).record
    made = InclusionProof.make(grown.store, position - 1, head_of(grown, [SIGNER]), record)
    again = InclusionProof.parse(made.to_bytes())
    again.verify(record)
    assert again == made


def test_a_proof_shows_no_other_record(grown: Ledger) -> None:
    made = InclusionProof.make(grown.store, 2, head_of(grown))
    with pytest.raises(ProofInvalid, match="the path leads to root"):
        made.verify(next(grown.read(after=3)).record)


def test_a_proof_by_an_older_head_shows_its_record(grown: Ledger) -> None:
    record = next(grown.read(after=1)).record
    InclusionProof.make(grown.store, 1, head_of(grown, size=4)).verify(record)


@pytest.mark.parametrize("old", range(7))
def test_a_consistency_proof_of_a_ledger_shows_that_it_grew(grown: Ledger, old: int) -> None:
    made = ConsistencyProof.make(grown.store, old, head_of(grown, [SIGNER]))
    again = ConsistencyProof.parse(made.to_bytes())
    again.verify(root_at(grown.store, old))
    assert again == made


def test_from_size_0_the_proof_is_empty(grown: Ledger) -> None:
    made = ConsistencyProof.make(grown.store, 0, head_of(grown))
    assert made.to_bytes().startswith(b"old 0\n\nsora-ledger/")
    made.verify(EMPTY_ROOT)


def test_from_size_0_nothing_but_nothing_is_shown(grown: Ledger) -> None:
    made = ConsistencyProof.make(grown.store, 0, head_of(grown))
    with pytest.raises(ProofInvalid, match="from size 0"):
        made.verify(leaf_hash(b""))


@given(st.integers(0, 10**9), PATHS, HEADS, st.none() | st.binary(max_size=40))
def test_every_inclusion_proof_comes_back(
    index: int, path: tuple[bytes, ...], head: TreeHead, record: bytes | None
) -> None:
    proof = InclusionProof(index, path, head, record)
    assert InclusionProof.parse(proof.to_bytes()) == proof


@given(st.integers(0, 10**9), PATHS, HEADS)
def test_every_consistency_proof_comes_back(old: int, path: tuple[bytes, ...], head: TreeHead) -> None:
    proof = ConsistencyProof(old, path, head)
    assert ConsistencyProof.parse(proof.to_bytes()) == proof


@given(HEADS)
def test_every_tree_head_comes_back(head: TreeHead) -> None:
    assert TreeHead.parse(head.to_bytes()) == head


ANY_FILE = st.binary(max_size=400) | st.builds(
    lambda text, at, put: text[: at % len(text)] + put + text[at % len(text) + 1 :],
    st.sampled_from(
        [FOREIGN.encode(), FOREIGN.partition("\n\n")[2].encode(), b"old 3\n\no\n4\n" + HASH.encode()]
    ),
    st.integers(0, 400),
    st.binary(max_size=3),
)


@pytest.mark.parametrize("kind", [InclusionProof, ConsistencyProof])
@given(data=ANY_FILE)
def test_hostile_bytes_are_a_proof_that_prints_back_or_are_refused(kind: Any, data: bytes) -> None:
    try:
        proof = kind.parse(data)
    except ProofInvalid:
        return
    assert proof.to_bytes() == data


@given(ANY_FILE)
def test_hostile_bytes_are_a_tree_head_that_prints_back_or_are_refused(data: bytes) -> None:
    try:
        head = TreeHead.parse(data)
    except CheckpointInvalid:
        return
    assert head.to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\n\n",
        FOREIGN.replace("@v1", "@v2").encode(),
        FOREIGN.replace("index 73894", "index 073894").encode(),
        FOREIGN.replace("index 73894\n", "").encode(),
        FOREIGN.replace(HASH, HASH[:-2]).encode(),
        FOREIGN.replace(HASH, HASH + "\n" + HASH * 40, 1).encode(),
        FOREIGN.replace(HASH, f"{HASH}\n" * 70, 1).encode(),
        FOREIGN[:-30].encode(),
        b"x" * 1_300_000,
    ],
)
def test_bytes_that_are_no_proof_are_refused(data: bytes) -> None:
    with pytest.raises(ProofInvalid):
        InclusionProof.parse(data)


@pytest.mark.parametrize("old", [2, 3, 6])
def test_a_consistency_proof_with_another_path_shows_nothing(grown: Ledger, old: int) -> None:
    proof = ConsistencyProof.make(grown.store, old, head_of(grown))
    wrong = (*proof.path[:-1], bytes(32)) if proof.path else (bytes(32),)
    with pytest.raises(ProofInvalid):
        ConsistencyProof(old, wrong, proof.head).verify(root_at(grown.store, old))
    with pytest.raises(ProofInvalid):
        proof.verify(bytes(32))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (FOREIGN.replace("\n\n", "\n").encode(), "an empty line, and a checkpoint"),
        (FOREIGN.replace(HASH, HASH[:-2] + "R=", 1).encode(), "canonical base64"),
        (FOREIGN.replace(HASH, base64.b64encode(bytes(31)).decode(), 1).encode(), "expected 32 bytes"),
        (FOREIGN.replace(HASH, base64.b64encode(bytes(33)).decode(), 1).encode(), "expected 32 bytes"),
    ],
    ids=["no empty line", "base64 with loose bits", "a short hash", "a long hash"],
)
def test_a_proof_that_is_refused_says_why(data: bytes, why: str) -> None:
    with pytest.raises(ProofInvalid, match=why):
        InclusionProof.parse(data)


def test_a_head_without_signatures_has_a_limit() -> None:
    lines = CHECKPOINT.to_text()
    assert TreeHead.parse(lines.encode()).checkpoint == CHECKPOINT
    with pytest.raises(CheckpointInvalid, match="at most 4096 bytes"):
        TreeHead.parse((lines + "an extension\n" * 400).encode())


@pytest.mark.parametrize("first", [None, "output.attached"])
def test_a_log_that_does_not_begin_with_its_creation_has_no_name(
    scribe: Scribe, vocabulary: ModuleType, first: str | None
) -> None:
    records = [scribe.draft(vocabulary.sample(first)).placed("notes", 1, 1)] if first else []
    log = SimpleNamespace(read=lambda limit: iter(records[:limit]))
    with pytest.raises(LedgerUnusable, match=r"not a ledger\.created"):
        origin_of(cast("Ledger", log))


def test_signatures_of_the_same_text_are_joined_key_by_key() -> None:
    witness, archive = Signer.generate("witness.example"), Signer.generate("archive.example")
    there = TreeHead(CHECKPOINT, CHECKPOINT.sign(SIGNER, witness, archive))
    joined = TreeHead(CHECKPOINT, CHECKPOINT.sign(SIGNER)).with_signatures_of(there)
    assert joined.note == CHECKPOINT.sign(SIGNER, witness, archive)
    assert TreeHead(CHECKPOINT).with_signatures_of(there) == there


def test_a_head_without_signatures_has_none_to_join() -> None:
    head = TreeHead(CHECKPOINT, CHECKPOINT.sign(SIGNER))
    assert head.with_signatures_of(TreeHead(CHECKPOINT)) == head


def test_signatures_of_another_text_are_not_joined() -> None:
    other = replace(CHECKPOINT, size=CHECKPOINT.size + 1)
    head = TreeHead(CHECKPOINT, CHECKPOINT.sign(SIGNER))
    assert head.with_signatures_of(TreeHead(other, other.sign(Signer.generate("witness.example")))) == head


def test_signatures_that_do_not_fit_into_a_note_are_not_joined() -> None:
    there = TreeHead(CHECKPOINT, CHECKPOINT.sign(*(Signer.generate(f"w{n}.example") for n in range(64))))
    with pytest.raises(CheckpointInvalid, match="at most 64"):
        TreeHead(CHECKPOINT, CHECKPOINT.sign(SIGNER)).with_signatures_of(there)


def test_a_head_without_signatures_vouches_for_nothing() -> None:
    with pytest.raises(CheckpointInvalid, match="this checkpoint is not signed"):
        TreeHead(CHECKPOINT).find_signers([SIGNER.verifier])


def test_a_number_alone_does_not_begin_a_consistency_proof() -> None:
    head = CHECKPOINT.to_text().encode()
    assert ConsistencyProof.parse(b"old 3\n\n" + head).old_size == 3
    with pytest.raises(ProofInvalid, match="begins with “old” and a size"):
        ConsistencyProof.parse(b"3\n\n" + head)


def test_a_number_alone_is_no_index() -> None:
    with pytest.raises(ProofInvalid, match="a line “index” and a number"):
        InclusionProof.parse(FOREIGN.replace("index 73894", "73894").encode())


def test_a_tree_has_no_size_below_0() -> None:
    with pytest.raises(ProofInvalid):
        ConsistencyProof(-1, (), TreeHead(CHECKPOINT)).verify(EMPTY_ROOT)


def test_a_proof_that_is_sound_but_too_long_is_refused() -> None:
    most = 1_200_000
    bare = len(InclusionProof(0, (), TreeHead(CHECKPOINT), b"").to_bytes())
    room = (most - bare) // 4 * 3
    longest = InclusionProof(0, (), TreeHead(CHECKPOINT), bytes(room)).to_bytes()
    assert most - 4 < len(longest) <= most
    assert InclusionProof.parse(longest).to_bytes() == longest
    with pytest.raises(ProofInvalid, match="a proof has at most 1200000 bytes"):
        InclusionProof.parse(InclusionProof(0, (), TreeHead(CHECKPOINT), bytes(room + 3)).to_bytes())

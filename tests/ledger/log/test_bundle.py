"""Bundles: what is exported checks, what was changed is found, and what is hostile does no harm."""

import base64
import hashlib
import io
import json
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.canonical import canonical_json
from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.opening import open_ledger
from ledger.log.tiles import head_of
from ledger.store.interface import Document
from ledger.tree.checkpoint import Signer
from ledger.verify import verify_bundle as vb
from ledger.verify.quick_bundle import is_sound

SIGNER = Signer("ledger.example", bytes(range(32)))
KEY = vb.read_key(str(SIGNER.verifier))
VIDEO = b"bytes of a video"
POLICY = b"a policy"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def ledger_path(vocabulary: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger with two jobs, of which the first cites a file and a policy that can be had."""
    path = tmp_path_factory.mktemp("bundled") / "ledger.db"
    scribe = vocabulary.Scribe()
    basis = structs.replace(vocabulary.basis(), policy_sha256=Document(POLICY).sha256)
    life = vocabulary.life()
    life[1] = structs.replace(life[1], basis=basis)
    life[5] = structs.replace(life[5], sha256=hashlib.sha256(VIDEO).hexdigest())
    with scribe.ledger(path) as ledger:
        ledger.append([scribe.note()], documents=[Document(POLICY)])
        scribe.live(ledger.store, vocabulary.JOB, life)
        other = [vocabulary.requested("a secret submarine"), *vocabulary.life()[1:]]
        scribe.live(ledger.store, vocabulary.OTHER_JOB, other)
    return path


def bundle(path: Path, scope: Scope, *, signed: bool = True, size: int | None = None, **wish: Any) -> bytes:
    """Return the bundle of `scope`."""
    file = io.BytesIO()
    video = hashlib.sha256(VIDEO).hexdigest()
    wishes = {
        "open_asset": lambda cited: io.BytesIO(VIDEO) if cited.sha256 == video else None,
        "verifier": str(SIGNER.verifier) if signed else None,
    }
    with open_ledger(str(path)) as ledger:
        head = head_of(ledger, [SIGNER] if signed else [], size)
        write_bundle(file, "b.zip", ledger, scope, head, Wish(**wishes | wish))
    return file.getvalue()


@pytest.fixture(scope="module")
def job_scope(vocabulary: ModuleType) -> Scope:
    return Scope(job_id=vocabulary.JOB)


@pytest.fixture(scope="module")
def original(ledger_path: Path, job_scope: Scope) -> bytes:
    """Return the signed bundle of the first job, its file included."""
    return bundle(ledger_path, job_scope)


def check(data: bytes, *, keys: Any = (KEY,), held: Any = None) -> vb.Outcome:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return vb.check_bundle(file.name, keys, held)


def codes(data: bytes, **given: Any) -> list[str]:
    return sorted({finding.code for finding in check(data, **given).findings})


def unpacked(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def repacked(files: Files, *, refit: bool = True) -> bytes:
    """Pack `files` again; `refit` makes the manifest name them as they are now, as a forger would."""
    if refit:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = [
            {"bytes": len(data), "name": name, "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(files.items())
            if name != "manifest.json"
        ]
        files = files | {"manifest.json": canonical_json(manifest)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return file.getvalue()


def changed(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    files = unpacked(data)
    return repacked(files | {name: change(files[name])})


def test_a_bundle_of_a_job_checks(original: bytes) -> None:
    outcome = check(original)
    assert (outcome.findings, outcome.records, outcome.signed_by) == ([], 9, ["ledger.example"])


@pytest.mark.parametrize("scope", [Scope(first=2, last=7), Scope(first=20, last=20), Scope()], ids=str)
def test_a_bundle_of_a_range_or_of_everything_checks(ledger_path: Path, scope: Scope) -> None:
    assert codes(bundle(ledger_path, scope)) == []


def test_a_bundle_under_an_older_head_holds_what_was_recorded_until_then(
    ledger_path: Path, job_scope: Scope
) -> None:
    outcome = check(bundle(ledger_path, job_scope, size=6))
    assert (outcome.findings, outcome.records, outcome.size) == ([], 4, 6)


def test_an_unsigned_bundle_says_that_nobody_vouches_for_it(ledger_path: Path, job_scope: Scope) -> None:
    outcome = check(bundle(ledger_path, job_scope, signed=False), keys=())
    assert "Who vouches for it: the checkpoint is not signed." in outcome.shows_not


def test_an_unsigned_bundle_is_not_what_a_reader_with_a_key_asked_for(
    ledger_path: Path, job_scope: Scope
) -> None:
    assert codes(bundle(ledger_path, job_scope, signed=False)) == ["CHECKPOINT_SIGNATURE"]


def test_what_would_shrink_as_a_bomb_does_is_stored_as_it_is(
    ledger_path: Path, job_scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vb, "SMALL_BYTES", 500)
    monkeypatch.setattr(vb, "MAX_RATIO", 2)
    data = bundle(ledger_path, job_scope)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        methods = {packed.getinfo(f"{name}.jsonl").compress_type for name in ("records", "payloads")}
    assert (codes(data), methods) == ([], {zipfile.ZIP_STORED})


def test_the_same_records_under_the_same_head_give_the_same_bytes(
    ledger_path: Path, job_scope: Scope, original: bytes
) -> None:
    assert bundle(ledger_path, job_scope) == original


def test_it_reveals_nothing_about_other_jobs(
    original: bytes, vocabulary: ModuleType, ledger_path: Path
) -> None:
    with open_ledger(str(ledger_path)) as ledger:
        others = [record for record in ledger.read() if record.stream != vocabulary.JOB]
    secrets = {vocabulary.OTHER_JOB, "a secret submarine"}
    secrets |= {body.text for record in others for body in record.bodies.values()} - {"try again", "crisp"}
    secrets |= {commitment for record in others for commitment in record.bodies}
    secrets |= {record.event_id for record in others}
    whole = b"".join(unpacked(original).values()).decode(errors="replace")
    assert {
        secret for secret in secrets if secret in whole and secret not in ours(ledger_path, vocabulary)
    } == set()


def ours(ledger_path: Path, vocabulary: ModuleType) -> str:
    """Return everything that may be in the bundle of the first job."""
    with open_ledger(str(ledger_path)) as ledger:
        records = ledger.history(vocabulary.JOB)
    texts = [body.text for record in records for body in record.bodies.values()]
    return " ".join([*texts, *(record.record.decode() + record.payload.decode() for record in records)])


def test_without_text_no_text_and_no_salt_is_in_it(ledger_path: Path, job_scope: Scope) -> None:
    data = bundle(ledger_path, job_scope, with_text=False)
    outcome = check(data)
    assert ("bodies.jsonl" in unpacked(data), b"paper boat" in b"".join(unpacked(data).values())) == (
        False,
        False,
    )
    assert (outcome.findings, outcome.texts, outcome.texts_absent > 0) == ([], 0, True)


def test_erased_text_is_absent_and_everything_else_checks(
    ledger_path: Path, vocabulary: ModuleType, tmp_path: Path, job_scope: Scope
) -> None:
    copy = tmp_path / "ledger.db"
    copy.write_bytes(ledger_path.read_bytes())
    with vocabulary.Scribe(first=5_000).ledger(copy) as ledger:
        prompt = ledger.history(vocabulary.JOB)[0].event.prompt.commitment
        event = structs.replace(vocabulary.sample("private.erased"), commitments=(prompt,))
        ledger.append([vocabulary.Scribe(first=6_000).batch(vocabulary.JOB, event)])
    outcome = check(bundle(copy, job_scope))
    assert (outcome.findings, outcome.texts_absent) == ([], 1)


def test_an_old_bundle_stays_valid_after_an_erasure(original: bytes) -> None:
    assert codes(original, held=vb.read_head(unpacked(original)["checkpoint"])) == []


def test_a_checkpoint_of_the_same_size_with_another_root_is_found(original: bytes) -> None:
    held = vb.read_head(unpacked(original)["checkpoint"])._replace(root=bytes(32))
    assert codes(original, held=held) == ["CHECKPOINT_ROOT"]


def test_a_checkpoint_of_another_log_or_size_is_found(original: bytes) -> None:
    held = vb.read_head(unpacked(original)["checkpoint"])._replace(size=3)
    assert codes(original, held=held) == ["CHECKPOINT_OTHER"]


def test_a_key_that_did_not_sign_is_found(original: bytes) -> None:
    other = vb.read_key(str(Signer.generate("other.example").verifier))
    assert codes(original, keys=[other]) == ["CHECKPOINT_SIGNATURE"]


LAST = b'"version":9}\n'
FORGERIES: dict[str, tuple[str, Callable[[bytes], bytes], list[str]]] = {
    "an edited record": ("records.jsonl", lambda b: b.replace(b'"ana"', b'"bob"', 1), ["PROOF"]),
    "a record of another job": (
        "records.jsonl",
        lambda b: b.replace(b"0000001", b"0000009", 1),
        ["PROOF", "RECORD_OTHER"],
    ),
    "an edited payload": ("payloads.jsonl", lambda b: b.replace(b"draft", b"final", 1), ["PAYLOAD_DIGEST"]),
    "swapped payloads": (
        "payloads.jsonl",
        lambda b: b"\n".join([*b.split(b"\n")[1::-1], *b.split(b"\n")[2:]]),
        ["BODY_UNKNOWN", "PAYLOAD_DIGEST"],
    ),
    "an edited text": (
        "bodies.jsonl",
        lambda b: b.replace(b"paper boat", b"steel boat", 1),
        ["BODY_MISMATCH"],
    ),
    "a text at another field": (
        "bodies.jsonl",
        lambda b: b.replace(b'"field":"prompt"', b'"field":"augmented_prompt"', 1),
        ["BODY_UNKNOWN"],
    ),
    "a text nobody committed to": (
        "bodies.jsonl",
        lambda b: (
            b
            + canonical_json({"commitment": "c", "field": "why", "position": 999, "salt": "00", "text": "x"})
            + b"\n"
        ),
        ["BODY_UNKNOWN"],
    ),
    "a text that is no text": ("bodies.jsonl", lambda b: b.replace(b'"salt":"', b'"salt":"xyz', 1), ["BODY"]),
    "a text at a position that is true": (
        "bodies.jsonl",
        lambda b: b.replace(b'"position":3', b'"position":true', 1),
        ["BODY"],
    ),
    "a text at a position that is text": (
        "bodies.jsonl",
        lambda b: b.replace(b'"position":3', b'"position":"3"', 1),
        ["BODY"],
    ),
    "an edited proof": (
        "proofs.jsonl",
        lambda b: b.replace(b'{"hashes":["', b'{"hashes":["' + b"0" * 64 + b'","', 1),
        ["PROOF"],
    ),
    "a proof that is no proof": ("proofs.jsonl", lambda b: b.replace(b'"hashes"', b'"other"', 1), ["PROOF"]),
    "a proof with hashes that are numbers": (
        "proofs.jsonl",
        lambda b: b'{"hashes":[1],"position":3}\n' + b.partition(b"\n")[2],
        ["PROOF"],
    ),
    "proofs that are missing": ("proofs.jsonl", lambda _: b"", ["PROOF"]),
    "a record too few": ("records.jsonl", lambda b: b.rsplit(b"\n", 2)[0] + b"\n", ["BUNDLE_FILE"]),
    "no records": ("records.jsonl", lambda _: b"", ["BUNDLE_FILE"]),
    "a record twice": (
        "records.jsonl",
        lambda b: b.partition(b"\n")[0] + b"\n" + b,
        ["POSITION_NOT_DENSE", "VERSION_NOT_DENSE"],
    ),
    "a record that is no JSON": ("records.jsonl", lambda b: b"x" + b, ["RECORD_NOT_CANONICAL"]),
    "a record with other keys": ("records.jsonl", lambda b: b'{"a":1}\n' + b, ["RECORD_KEYS"]),
    "a position that is true": (
        "records.jsonl",
        lambda b: b.replace(b'"position":3', b'"position":true', 1),
        ["RECORD_KEYS"],
    ),
    "a record without its line's end": ("records.jsonl", lambda b: b[:-1], ["BUNDLE_FILE"]),
    "a changed size": (
        "checkpoint",
        lambda b: b.replace(b"\n20\n", b"\n21\n", 1),
        ["CHECKPOINT_SIGNATURE"],
    ),
    "a changed root": (
        "checkpoint",
        lambda b: b.replace(b.split(b"\n")[2], b"A" * 43 + b"=", 1),
        ["CHECKPOINT_SIGNATURE", "PROOF"],
    ),
    "no checkpoint": ("checkpoint", lambda _: b"hello", ["CHECKPOINT"]),
    "a policy that was changed": (
        f"documents/{hashlib.sha256(POLICY).hexdigest()}",
        lambda b: b + b"!",
        ["ATTACHED_DIGEST"],
    ),
    "a video that was changed": (
        f"assets/{hashlib.sha256(VIDEO).hexdigest()}",
        lambda b: b + b"!",
        ["ATTACHED_DIGEST"],
    ),
}


@pytest.mark.parametrize(("name", "change", "expected"), FORGERIES.values(), ids=FORGERIES.keys())
def test_what_was_changed_is_found_though_the_manifest_fits(
    original: bytes, name: str, change: Callable[[bytes], bytes], expected: list[str]
) -> None:
    forged = changed(original, name, change)
    assert unpacked(forged) != unpacked(original)
    assert set(expected) <= set(codes(forged))


@pytest.mark.parametrize("name", ["records.jsonl", "README.txt", "verify_bundle.py"])
def test_what_was_changed_is_found_by_the_manifest(original: bytes, name: str) -> None:
    files = unpacked(original)
    assert "BUNDLE_FILE" in codes(repacked(files | {name: files[name] + b"\n"}, refit=False))


@pytest.mark.parametrize("scope", [Scope(first=2, last=7), Scope()], ids=str)
@pytest.mark.parametrize("at", [0, 3, -1])
def test_a_record_taken_out_of_a_range_is_found(ledger_path: Path, scope: Scope, at: int) -> None:
    files = unpacked(bundle(ledger_path, scope, with_text=False))
    for name in ("records.jsonl", "payloads.jsonl", "proofs.jsonl"):
        if name in files:
            lines = files[name].splitlines(keepends=True)
            del lines[at]
            files[name] = b"".join(lines)
    assert codes(repacked(files)) != []


def test_the_last_record_of_a_job_taken_out_is_not_found_and_the_report_says_so(original: bytes) -> None:
    files = unpacked(original)
    for name in ("records.jsonl", "payloads.jsonl", "proofs.jsonl"):
        files[name] = b"".join(files[name].splitlines(keepends=True)[:-1])
    files["bodies.jsonl"] = b"".join(
        line
        for line in files["bodies.jsonl"].splitlines(keepends=True)
        if b"crisp" not in line and b"hands" not in line
    )
    outcome = check(repacked(files))
    assert outcome.findings == []
    (told,) = [text for text in outcome.shows_not if "nothing more was recorded about this job" in text]
    assert "its number 8, render.closed, at position 10. The job had ended by then" in told


def test_it_says_so_where_a_job_does_not_end_in_a_bundle(ledger_path: Path, job_scope: Scope) -> None:
    outcome = check(bundle(ledger_path, job_scope, size=6))
    assert any("By then the job had not ended." in text for text in outcome.shows_not)


@pytest.mark.parametrize(
    ("name", "change", "claim"),
    [
        ("bodies.jsonl", lambda b: b.replace(b"paper boat", b"steel boat", 1), "private texts"),
        (f"documents/{hashlib.sha256(POLICY).hexdigest()}", lambda b: b + b"!", "documents"),
        (f"assets/{hashlib.sha256(VIDEO).hexdigest()}", lambda b: b + b"!", "stored files"),
    ],
)
def test_what_was_changed_is_not_counted_among_what_is_shown(
    original: bytes, name: str, change: Callable[[bytes], bytes], claim: str
) -> None:
    def counted(outcome: vb.Outcome) -> int:
        return next((int(text.split()[0]) for text in outcome.shows if claim in text), 0)

    assert counted(check(changed(original, name, change))) == counted(check(original)) - 1


def test_only_a_key_or_a_checkpoint_of_the_readers_own_vouches_for_a_bundle(original: bytes) -> None:
    held = vb.read_head(unpacked(original)["checkpoint"])
    outcomes = [check(original), check(original, keys=(), held=held), check(original, keys=())]
    assert [vb.report(outcome).endswith("Nothing is wrong with it.") for outcome in outcomes] == [
        True,
        True,
        False,
    ]
    assert "anybody can make such a bundle" in vb.report(outcomes[2])


def with_entry(original: bytes, name: str, data: bytes = b"x", **attributes: Any) -> bytes:
    """Return the bundle with one more entry, made as a hostile program would make it."""
    file = io.BytesIO(original)
    with zipfile.ZipFile(file, "a") as packed:
        info = zipfile.ZipInfo("placeholder")
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        info.filename = name
        packed.writestr(info, data)
    return file.getvalue()


LINK = (stat.S_IFLNK | 0o777) << 16
ASSET = "assets/" + "0" * 64
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a path upwards": (lambda b: with_entry(b, "../../etc/cron.d/x"), "BUNDLE_NAME"),
    "an absolute path": (lambda b: with_entry(b, "/etc/passwd"), "BUNDLE_NAME"),
    "a drive": (lambda b: with_entry(b, "C:\\x"), "BUNDLE_NAME"),
    "a path upwards inside a folder": (lambda b: with_entry(b, "assets/../x"), "BUNDLE_NAME"),
    "a name of many bytes": (lambda b: with_entry(b, "a" * 60_000), "BUNDLE_NAME"),
    "a file nobody asked for": (lambda b: with_entry(b, "setup.py"), "BUNDLE_NAME"),
    "a symbolic link": (lambda b: with_entry(b, ASSET, b"/etc/passwd", external_attr=LINK), "BUNDLE_NAME"),
    "a folder": (lambda b: with_entry(b, "assets/", b""), "BUNDLE_NAME"),
    "another compression": (lambda b: with_entry(b, ASSET, compress_type=zipfile.ZIP_LZMA), "BUNDLE_FILE"),
    "a bomb": (
        lambda b: with_entry(b, ASSET, bytes(50_000_000), compress_type=zipfile.ZIP_DEFLATED),
        "BUNDLE_SIZE",
    ),
    "an asset nobody listed": (lambda b: with_entry(b, ASSET), "BUNDLE_MANIFEST"),
    "an asset nobody cites": (
        lambda b: repacked(unpacked(b) | {f"assets/{hashlib.sha256(b'x').hexdigest()}": b"x"}),
        "ATTACHED_UNKNOWN",
    ),
}


@pytest.mark.parametrize(("make", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_entry_is_found(original: bytes, make: Callable[[bytes], bytes], code: str) -> None:
    assert codes(make(original)) == [code]


def test_a_name_twice_is_found(original: bytes) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = with_entry(original, "records.jsonl", unpacked(original)["records.jsonl"])
    assert codes(twice) == ["BUNDLE_NAME"]


def test_more_files_than_a_bundle_may_have_are_found(
    original: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vb, "MAX_FILES", 5)
    assert codes(original) == ["BUNDLE_SIZE"]


def test_an_encrypted_file_is_found(original: bytes) -> None:
    data = bytearray(original)
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    assert codes(bytes(data)) == ["BUNDLE_FILE"]


def test_a_size_that_lies_is_found(original: bytes) -> None:
    data = bytearray(repacked(unpacked(original)))
    entry = data.index(b"PK\x01\x02")
    (size,) = struct.unpack_from("<I", data, entry + 24)
    struct.pack_into("<I", data, entry + 24, size - 1)
    assert codes(bytes(data)) == ["BUNDLE_FILE"]


MANIFESTS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "BUNDLE_MANIFEST"),
    "nested too deep": (b'{"a":' * 5_000, "BUNDLE_MANIFEST"),
    "a huge integer": (b'{"a":' + b"9" * 100_000 + b"}", "BUNDLE_MANIFEST"),
    "not a number": (b'{"format":NaN}', "BUNDLE_MANIFEST"),
    "a key twice": (b'{"format":1,"format":2}', "BUNDLE_MANIFEST"),
    "no UTF-8": (b'{"format":"\xff"}', "BUNDLE_MANIFEST"),
    "no scope": (b'{"files":[],"format":"sora-ledger/bundle/v1"}', "BUNDLE_MANIFEST"),
    "a scope that is none": (
        b'{"files":[],"format":"sora-ledger/bundle/v1","scope":{"from":true,"kind":"range","to":2}}',
        "BUNDLE_MANIFEST",
    ),
    "files that are none": (
        b'{"files":[1],"format":"sora-ledger/bundle/v1","scope":{"kind":"all"}}',
        "BUNDLE_MANIFEST",
    ),
    "files that are missing": (
        b'{"files":[],"format":"sora-ledger/bundle/v1","scope":{"kind":"all"}}',
        "BUNDLE_MANIFEST",
    ),
}


@pytest.mark.parametrize(("manifest", "code"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_is_none_is_found(original: bytes, manifest: bytes, code: str) -> None:
    assert codes(repacked(unpacked(original) | {"manifest.json": manifest}, refit=False)) == [code]


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"\x00" * 100, b"PK\x05\x06" + bytes(18), repacked({"a": b""}, refit=False)]
)
def test_a_file_that_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(vb.NotABundle):
        check(data)


def test_a_bundle_of_another_format_is_refused(original: bytes) -> None:
    manifest = canonical_json({"format": "sora-ledger/bundle/v3"})
    with pytest.raises(vb.NotABundle, match="bundle/v3"):
        check(repacked(unpacked(original) | {"manifest.json": manifest}, refit=False))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bundle_is_refused(original: bytes, part: float) -> None:
    with pytest.raises(vb.NotABundle):
        check(original[: int(len(original) * part)])


@given(st.data())
@settings(max_examples=settings.default.max_examples * 150 // 100, deadline=None)
def test_a_bundle_with_changed_bytes_is_refused_or_reported_or_says_the_same(
    original: bytes, data: st.DataObject
) -> None:
    broken = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        outcome = check(bytes(broken))
    except vb.NotABundle:
        return
    if not outcome.findings:
        assert unpacked(bytes(broken)) == unpacked(original)


LINES = st.binary(max_size=60) | st.sampled_from(
    [b"{}", b"[]", b"null", b'{"a":1}', b'{"hashes":[],"position":1}', b'{"hashes":null,"position":3}']
)


@given(
    st.sampled_from(["records.jsonl", "payloads.jsonl", "proofs.jsonl", "bodies.jsonl", "checkpoint"]),
    st.integers(0, 9),
    LINES,
)
@settings(max_examples=settings.default.max_examples * 150 // 100, deadline=None)
def test_a_hostile_line_is_reported(original: bytes, name: str, at: int, line: bytes) -> None:
    def put(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[at % len(lines)] = line
        return b"\n".join(lines)

    files = unpacked(original)
    if put(files[name]) != files[name]:
        assert codes(changed(original, name, put)) != []


@given(st.dictionaries(st.sampled_from(["build", "files", "format", "scope", "verifier"]), LINES.map(repr)))
@settings(max_examples=settings.default.max_examples * 50 // 100, deadline=None)
def test_a_hostile_manifest_is_refused_or_reported(original: bytes, changes: dict[str, str]) -> None:
    manifest = canonical_json(json.loads(unpacked(original)["manifest.json"]) | changes)
    try:
        check(repacked(unpacked(original) | {"manifest.json": manifest}, refit=False))
    except vb.NotABundle:
        assert "format" in changes


# --- what `quick_bundle` calls sound, `verify_bundle` has no finding about ---------------------------------


@pytest.fixture(scope="module")
def everything(ledger_path: Path) -> bytes:
    return bundle(ledger_path, Scope(), signed=False)


def called_sound(data: bytes) -> bool:
    """Return whether the bundle is called sound quickly, which must be what the full check finds."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        sound = is_sound(file.name)
        assert sound == (not vb.check_bundle(file.name).findings)
        return sound


def with_records(files: Files, at: int, payload: bytes) -> bytes:
    """Pack a bundle in which a record has another payload, and all digests fit, up to the checkpoint."""
    records, payloads = (files[name].splitlines() for name in ("records.jsonl", "payloads.jsonl"))
    payloads[at] = payload
    record = json.loads(records[at])
    records[at] = canonical_json(record | {"payload_sha256": hashlib.sha256(payload).hexdigest()})
    tree = vb.WholeTree()
    for each in records:
        tree.add(vb.leaf_of(each))
    origin, size, _ = files["checkpoint"].decode().splitlines()
    head = f"{origin}\n{size}\n{base64.b64encode(tree.root()).decode()}\n"
    lines = {"records.jsonl": records, "payloads.jsonl": payloads}
    changed = {name: b"".join(each + b"\n" for each in found) for name, found in lines.items()}
    return repacked(files | changed | {"checkpoint": head.encode()})


def test_a_bundle_of_everything_is_called_sound_quickly(everything: bytes, ledger_path: Path) -> None:
    assert called_sound(everything)
    assert called_sound(bundle(ledger_path, Scope(), with_text=False))


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, change, _ in FORGERIES.values() if name != "proofs.jsonl"],
    ids=[key for key, (name, *_) in FORGERIES.items() if name != "proofs.jsonl"],
)
def test_a_forged_bundle_of_everything_is_not_called_sound_quickly(
    everything: bytes, name: str, change: Callable[[bytes], bytes]
) -> None:
    forged = changed(everything, name, change)
    assert not called_sound(forged) or unpacked(forged) == unpacked(everything)


SPOILT: list[Callable[[bytes], bytes]] = [
    lambda payload: payload,
    lambda payload: payload + b" ",
    lambda payload: payload.replace(b":", b": ", 1),
    lambda payload: payload.replace(b":null", b":1.5", 1),
    lambda payload: payload.replace(b":null", b":9007199254740992", 1),
    lambda payload: payload.replace(b":null", b":true", 1),
    lambda payload: payload.replace(b":null", b':"\\u0041"', 1),
    lambda payload: payload.replace(b'{"', b'{"zz":1,"', 1),
    lambda payload: payload.replace(b'{"', b'{"aa":1,"aa":1,"', 1),
    lambda payload: payload.replace(b'"commitment":"', b'"commitment":"0', 1),
    lambda payload: payload.replace(b'"operation"', b'"operatiox"', 1),
    lambda payload: payload.replace(b'"policy_sha256":"', b'"policy_sha256":"0', 1),
    lambda payload: payload.replace(b'"basis"', b'"basic"', 1),
    lambda payload: b"[" + payload + b"]",
    lambda payload: b"",
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_payload_that_was_spoilt_before_it_was_hashed_is_judged_alike(
    everything: bytes, spoil: Callable[[bytes], bytes]
) -> None:
    files = unpacked(everything)
    for at, payload in enumerate(files["payloads.jsonl"].splitlines()[:11]):
        called_sound(with_records(files, at, spoil(payload)))  # which compares


def test_the_report_is_fit_for_a_terminal(original: bytes) -> None:
    forged = changed(original, "checkpoint", lambda b: b"\x1b[31m" + b)
    assert all(letter.isprintable() or letter == "\n" for letter in vb.report(check(forged)))


def test_what_went_into_a_bundle_is_counted(ledger_path: Path, job_scope: Scope) -> None:
    video = hashlib.sha256(VIDEO).hexdigest()
    wish = Wish(open_asset=lambda cited: io.BytesIO(VIDEO) if cited.sha256 == video else None)
    with open_ledger(str(ledger_path)) as ledger:
        contents = write_bundle(io.BytesIO(), "b.zip", ledger, job_scope, head_of(ledger), wish)
        empty = write_bundle(io.BytesIO(), "b.zip", ledger, Scope(job_id="job_none"), head_of(ledger), Wish())
        history = ledger.history(str(job_scope.job_id))
        texts = sum(len(ledger.store.bodies([record.position])) for record in history)
    assert (contents.records, contents.texts, contents.documents, contents.assets) == (9, texts, 1, 1)
    assert (empty.records, empty.texts, empty.documents, empty.assets) == (0, 0, 0, 0)


def test_several_keys_may_be_named(
    original: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.zip").write_bytes(original)
    keys = [Signer.generate("other.example"), SIGNER, Signer.generate("third.example")]
    named = [word for key in keys for word in ("--verifier", str(key.verifier))]
    assert vb.main([str(tmp_path / "b.zip"), *named]) == 0
    assert "signed with the key you gave (ledger.example)" in capsys.readouterr().out


def test_stored_files_are_packed_as_they_are_and_everything_else_is_deflated(original: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(original)) as packed:
        methods = {info.filename: info.compress_type for info in packed.infolist()}
    stored = {name for name, method in methods.items() if method == zipfile.ZIP_STORED}
    assert stored == {f"assets/{hashlib.sha256(VIDEO).hexdigest()}"}
    assert {method for name, method in methods.items() if name not in stored} == {zipfile.ZIP_DEFLATED}


def test_the_picture_a_first_frame_was_made_of_comes_along(vocabulary: ModuleType, tmp_path: Path) -> None:
    frame, picture = b"the frame as it was sent", b"the picture as it was before"
    digests = {
        name: hashlib.sha256(data).hexdigest() for name, data in [("frame", frame), ("picture", picture)]
    }
    asked = vocabulary.requested()
    reference = structs.replace(
        asked.input_reference,
        sha256=digests["frame"],
        original_sha256=digests["picture"],
        storage_uri="f/frame.png",
    )
    scribe = vocabulary.Scribe()
    with scribe.ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([scribe.batch(vocabulary.JOB, structs.replace(asked, input_reference=reference))])
    had = {digests["frame"]: frame, digests["picture"]: picture}
    data = bundle(
        tmp_path / "ledger.db",
        Scope(job_id=vocabulary.JOB),
        open_asset=lambda cited: io.BytesIO(had[cited.sha256]) if cited.sha256 in had else None,
    )
    assets = {name: content for name, content in unpacked(data).items() if name.startswith("assets/")}
    assert assets == {f"assets/{digests['frame']}.png": frame, f"assets/{digests['picture']}": picture}
    assert codes(data) == []

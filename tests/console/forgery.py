"""Bundles with one thing changed: damaged, made to fit the manifest, or with the whole tree made anew."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.opening import open_ledger
from ledger.log.tiles import head_of
from ledger.tree.checkpoint import Checkpoint, Signer
from ledger.tree.merkle import Frontier

SIGNER = Signer("ledger.example", bytes(range(32)))
Files = dict[str, bytes]


def bundle_of(ledger_path: Path, folder: Path, scope: Scope) -> bytes:
    """Return a signed bundle of a copy of the ledger."""
    copied, file = folder / "copied.db", io.BytesIO()
    copyfile(ledger_path, copied)
    with open_ledger(str(copied)) as ledger:
        wish = Wish(verifier=str(SIGNER.verifier))
        write_bundle(file, "b.zip", ledger, scope, head_of(ledger, [SIGNER]), wish)
    return file.getvalue()


def unpack(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pack(files: Files) -> bytes:
    """Pack files with a manifest that lists them as they are."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = [
        {"bytes": len(data), "name": name, "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
        if name != "manifest.json"
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name, data in (files | {"manifest.json": canonical(manifest)}).items():
            packed.writestr(name, data)
    return file.getvalue()


def others(value: Any) -> list[Any]:
    """Return values to put in the place of a value of JSON."""
    if isinstance(value, bool) or value is None:
        return [not value]
    if isinstance(value, int):
        return [value + 1, -value, str(value)]
    if isinstance(value, str):
        return [value[:-1] + ("0" if value.endswith("1") else "1"), None, 7]
    return [None, "x"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from places(item, (*path, key))


def edited(document: Any, path: tuple[Any, ...], other: Any) -> Any:
    """Return a copy of a JSON document with another value at a path."""
    copied = json.loads(json.dumps(document))
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = other
    return copied


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def line_edits(data: bytes) -> list[tuple[int, Any]]:
    """Return every change of one value in lines of JSON: the line's number, and the other document."""
    return [
        (number, edited(document, path, other))
        for number, document in enumerate(map(json.loads, data.splitlines()))
        for path in places(document)
        for other in others(value_at(document, path))
    ]


def sample(edits: list[tuple[int, Any]], count: int) -> list[tuple[int, Any]]:
    """Return `count` of the edits, evenly spread."""
    return edits[:: max(1, len(edits) // count)]


def with_line(files: Files, name: str, number: int, line: bytes) -> Files:
    lines = files[name].splitlines()
    lines[number] = line
    return files | {name: b"".join(each + b"\n" for each in lines)}


def made_anew(files: Files, number: int, payload: Any) -> Files:
    """Return the files of a whole ledger with another payload in it: digests, tree and checkpoint fit."""
    records = [json.loads(line) for line in files["records.jsonl"].splitlines()]
    line = canonical(payload)
    records[number]["payload_sha256"] = hashlib.sha256(line).hexdigest()
    tree = Frontier()
    for record in records:
        tree.append(hashlib.sha256(b"\0" + canonical(record)).digest())
    origin = files["checkpoint"].decode().split("\n")[0]
    head = Checkpoint(origin, tree.size, tree.root()).to_text().encode()
    manifest = json.loads(files["manifest.json"]) | {"verifier": None}
    changed = with_line(files, "payloads.jsonl", number, line)
    changed["records.jsonl"] = b"".join(canonical(record) + b"\n" for record in records)
    return changed | {"checkpoint": head, "manifest.json": canonical(manifest)}

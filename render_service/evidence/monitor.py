"""Follow a log from outside: remember its last checkpoint, and raise if it is not extended.

A log is followed by its tiles (C2SP tlog-tiles), served over HTTP or in a folder. Each time:

1. Read the checkpoint. If keys are given, one of them must have signed it, and its origin must be the
   followed log's.
2. Read the leaf hashes after the last checkpoint, and append them to the right edge of its tree, which the
   state stores. If the result has the new checkpoint's root, it extends the last one.
3. Read the records, and compare each with its hash.
4. Replace the state atomically. A crash before that leaves the old one: the same records are followed again.

A log that shows fewer records than before, another root, or a record that does not match its hash is disputed
(`LogDisputed`). The state is unchanged, and the conflicting checkpoint is saved next to it. Two signed
checkpoints, neither of which extends the other, prove that the log was split or rewritten.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import httpx2

from ledger.canonical import leaf_hash
from ledger.log.tiles import WIDTH, Tile, entries_of
from ledger.tree.checkpoint import MAX_NOTE_BYTES, CheckpointInvalid, Verifier
from ledger.tree.head import TreeHead
from ledger.tree.merkle import HASH_BYTES, Frontier
from render_service.runtime.errors import BadInput, LogDisputed, LogUnreachable, StorageFailed
from render_service.runtime.files import read_file, write_file

FORMAT = "sora-ledger monitor 1"
MOST_STATE_BYTES = 2 * MAX_NOTE_BYTES
MOST_TILE_BYTES = WIDTH * (2 + 0xFFFF)
ANSWER_S = 30.0

Kind = Literal["rollback", "split_view", "rewritten", "record_mismatch", "other_log", "signature"]


class Source(Protocol):
    """A source to read a log from."""

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the content at `path`, None if there is none; `LogUnreachable` if that is unknown."""


class HttpSource:
    """A log that is served at a URL."""

    def __init__(self, url: str, client: httpx2.Client) -> None:
        self._url = url.rstrip("/")
        self._client = client

    def read(self, path: str, limit: int) -> bytes | None:
        """Get it."""
        url = f"{self._url}/{path}"
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                    return None
                if answer.status_code != HTTPStatus.OK:
                    raise LogUnreachable(
                        f"{url}: expected HTTP 200, found {answer.status_code}; try again later",
                        expected="HTTP 200",
                        found=answer.status_code,
                    )
                content = bytearray()
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > limit:
                        raise LogUnreachable(
                            f"{url}: expected at most {limit} bytes; check the URL",
                            expected=f"at most {limit} bytes",
                            found="more",
                        )
                return bytes(content)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            detail = str(error) or type(error).__name__
            raise LogUnreachable(
                f"{url}: {detail}; check the URL, or try again later",
                param="log",
                expected="a log that can be read",
                found=detail,
            ) from error


class FolderSource:
    """A log in a folder, as `sora-ledger export --tiles` writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, limit: int) -> bytes | None:
        """Read the file."""
        place = self._folder / path
        return read_file(place, "log file", limit) if place.is_file() else None


@contextmanager
def source_at(place: str) -> Iterator[Source]:
    """Open the log at a URL or in a folder."""
    if place.startswith(("http://", "https://")):
        with httpx2.Client(timeout=ANSWER_S, follow_redirects=True) as client:
            yield HttpSource(place, client)
        return
    if not Path(place).is_dir():
        raise BadInput(
            f"{place}: expected the URL of a log, such as https://example.org/log, or a folder of tiles",
            param="log",
            expected="the URL of a log, such as https://example.org/log, or a folder of tiles",
            found=place,
        )
    yield FolderSource(Path(place))


class MonitorState(NamedTuple):
    """The progress on a log: its last checkpoint, and the right edge of its tree."""

    head: TreeHead
    frontier: Frontier

    def to_bytes(self) -> bytes:
        """Return the content of a state file."""
        document = {
            "format": FORMAT,
            "checkpoint": self.head.to_bytes().decode(),
            "edge": self.frontier.to_bytes().hex(),
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes, path: Path) -> "MonitorState":
        """Read the content of a state file; `BadInput` if it is not one or was changed."""
        try:
            document = json.loads(content)
            known = document["format"] == FORMAT
            head = TreeHead.parse(document["checkpoint"].encode())
            frontier = Frontier.from_bytes(head.checkpoint.size, bytes.fromhex(document["edge"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"state {path}: expected what `sora-ledger monitor` wrote; name another file",
                param="state",
                expected="what `sora-ledger monitor` wrote",
                found="another file",
            ) from error
        if not known:
            raise BadInput(
                f"state {path}: expected the format {FORMAT}; use the version that wrote it",
                param="state",
                expected=f"the format {FORMAT}",
                found="another format",
            )
        if frontier.root() != head.checkpoint.root:
            raise BadInput(
                f"state {path}: its edge does not have the root of its checkpoint: it was changed",
                param="state",
                expected="an unchanged file",
                found="a changed one",
            )
        return cls(head, frontier)


@dataclass(frozen=True)
class Round:
    """The result of one check: the log's checkpoint, its signers, and the number of new records."""

    head: TreeHead
    signed_by: list[str]
    new: int


class Monitor:
    """Follows one log, with its state in a file."""

    def __init__(self, source: Source, state: Path, verifiers: Sequence[Verifier] = ()) -> None:
        self._source = source
        self._state = state
        self._verifiers = verifiers
        self._read_state = b""

    def look(self, use: Callable[[bytes], object] = lambda _: None) -> Round:
        """Follow the log to its current checkpoint; `use` is called with every new record, in order.

        Raises `LogDisputed` if the log contradicts itself, `LogUnreachable` if it cannot be read.
        """
        before = self._load()
        head, signed_by = self._read_head(before.head if before else None)
        frontier = before.frontier.copy() if before else Frontier()
        first = frontier.size
        leaves = self._extend(frontier, head)
        for number, record in enumerate(self._records(leaves, first, head)):
            if leaf_hash(record) != leaves[number]:
                position = first + number + 1
                raise self._dispute(
                    "record_mismatch", f"the record at position {position} is not the one of its hash", head
                )
            if not _is_record(record, first + number + 1):
                message = f"the entry at position {first + number + 1} is not the record of that position"
                raise self._dispute("record_mismatch", message, head)
            use(record)
        self._save(MonitorState(head, frontier))
        return Round(head, signed_by, len(leaves))

    def _load(self) -> MonitorState | None:
        if not self._state.exists():
            return None
        self._read_state = read_file(self._state, "state", MOST_STATE_BYTES)
        return MonitorState.parse(self._read_state, self._state)

    def _save(self, followed: MonitorState) -> None:
        there = read_file(self._state, "state", MOST_STATE_BYTES) if self._state.exists() else b""
        if there != self._read_state:
            raise StorageFailed(
                f"state {self._state}: another monitor changed it meanwhile; run one for each state file",
                param="state",
                expected="a state file of one monitor",
                found="a change by another",
            )
        content = followed.to_bytes()
        if content != there:
            write_file(self._state, content)
        self._read_state = content

    def _read_head(self, before: TreeHead | None) -> tuple[TreeHead, list[str]]:
        content = self._source.read("checkpoint", MAX_NOTE_BYTES)
        if content is None:
            raise LogUnreachable(
                "checkpoint: the log has none there; check the URL or folder",
                param="log",
                expected="a checkpoint",
                found="none",
            )
        try:
            head = TreeHead.parse(content)
        except CheckpointInvalid as error:
            raise LogUnreachable(
                f"checkpoint: {error}; check the URL or folder",
                param="log",
                expected="a checkpoint",
                found=error,
            ) from error
        signed_by: list[str] = []
        if self._verifiers:
            try:
                signed_by = [key.name for key in head.find_signers(self._verifiers)]
            except CheckpointInvalid as error:
                raise self._dispute("signature", str(error), head) from error
        if before is not None:
            self._compare(before, head)
        return head, signed_by

    def _compare(self, before: TreeHead, head: TreeHead) -> None:
        old, new = before.checkpoint, head.checkpoint
        if new.origin != old.origin:
            raise self._dispute("other_log", f"the log is {new.origin}, it was {old.origin}", head)
        if new.size < old.size:
            message = (
                f"the log shows {new.size} records, it showed {old.size}: its end was cut off, or it is split"
            )
            raise self._dispute("rollback", message, head)
        if new.size == old.size and new.root != old.root:
            message = (
                f"at {old.size} records the log shows the root {new.root.hex()}, it showed {old.root.hex()}"
            )
            raise self._dispute("split_view", message, head)

    def _extend(self, frontier: Frontier, head: TreeHead) -> list[bytes]:
        """Append the leaves up to `head`, which must then have its root; return them."""
        first, size = frontier.size, head.checkpoint.size
        leaves: list[bytes] = []
        for tile, content in self._tiles(0, first, size):
            hashes = [content[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES)]
            if len(content) < tile.width * HASH_BYTES:
                raise self._dispute("rewritten", f"{tile.path}: it is too short", head)
            new = hashes[max(0, first - tile.number * WIDTH) :]
            frontier.extend(new)
            leaves += new
        if frontier.root() != head.checkpoint.root:
            message = (
                f"the checkpoint of {size} records does not extend the one of {first}: the log was rewritten"
                if first
                else f"the tiles do not lead to the root of the checkpoint of {size} records"
            )
            raise self._dispute("rewritten", message, head)
        return leaves

    def _records(self, leaves: Sequence[bytes], first: int, head: TreeHead) -> Iterator[bytes]:
        for tile, content in self._tiles(None, first, first + len(leaves)):
            try:
                records = entries_of(content)[: tile.width]
            except ValueError as error:
                raise self._dispute("record_mismatch", f"{tile.path}: {error}", head) from error
            if len(records) < tile.width:
                raise self._dispute("record_mismatch", f"{tile.path}: it is too short", head)
            yield from records[max(0, first - tile.number * WIDTH) :]

    def _tiles(self, level: int | None, first: int, size: int) -> Iterator[tuple[Tile, bytes]]:
        """Yield the tiles of the leaves from `first` to `size`; the full tile if a partial one is gone."""
        for number in range(first // WIDTH, -(-size // WIDTH)):
            tile = Tile(level, number, min(WIDTH, size - number * WIDTH))
            content = self._source.read(tile.path, MOST_TILE_BYTES)
            if content is None and tile.width < WIDTH:
                content = self._source.read(tile._replace(width=WIDTH).path, MOST_TILE_BYTES)
            if content is None:
                raise LogUnreachable(
                    f"{tile.path}: the log does not have it, although its checkpoint needs it"
                )
            yield tile, content

    def _dispute(self, kind: Kind, message: str, head: TreeHead) -> LogDisputed:
        """Save the conflicting checkpoint next to the state, as evidence; return the error to raise."""
        shown = head.checkpoint
        name = f"{self._state.name}.{shown.size}-{shown.root.hex()[:8]}.checkpoint"
        path = self._state.with_name(name)
        if not path.exists():
            write_file(path, head.to_bytes())
        return LogDisputed(f"{kind}: {message}; the checkpoint that shows it is kept in {path}", kind)


def _is_record(content: bytes, position: int) -> bool:
    try:
        document = json.loads(content)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("position") == position and b"\n" not in content

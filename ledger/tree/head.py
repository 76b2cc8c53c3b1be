"""Tree heads in files: a signed checkpoint, or its bare lines.

Only a signed head says who vouches for it. An unsigned head is still useful: it shows whether the ledger has
changed since, if you know where the file comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ledger.tree.checkpoint import Checkpoint, CheckpointInvalid, Note, Verifier

MAX_LINES_BYTES = 4_096


@dataclass(frozen=True)
class TreeHead:
    """A checkpoint, and the note with its signatures; None if it is unsigned."""

    checkpoint: Checkpoint
    note: Note | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note with a checkpoint, or a checkpoint's lines; `CheckpointInvalid` if it is neither."""
        if b"\n\n" in data:
            note = Note.parse(data)
            return cls(Checkpoint.parse(note.text), note)
        if len(data) > MAX_LINES_BYTES:
            raise CheckpointInvalid(
                f"a checkpoint without signatures has at most {MAX_LINES_BYTES} bytes, this one {len(data)}"
            )
        try:
            return cls(Checkpoint.parse(data.decode()))
        except UnicodeDecodeError:
            raise CheckpointInvalid("a checkpoint is UTF-8 text; this is not") from None

    def find_signers(self, verifiers: Sequence[Verifier]) -> list[Verifier]:
        """Return the `verifiers` that signed; `CheckpointInvalid` if none did, or if a signature is wrong."""
        if self.note is None:
            raise CheckpointInvalid("this checkpoint is not signed: ask for the signed one")
        return self.note.find_signers(verifiers)

    def with_signatures_of(self, other: Self) -> Self:
        """Return this head plus the signatures of `other` over the same text, one per key.

        `CheckpointInvalid` if that is too many for a note.
        """
        text = self.checkpoint.to_text()
        if other.note is None or other.note.text != text:
            return self
        own = self.note.signatures if self.note else ()
        keys = {(item.name, item.key_id) for item in own}
        others = [item for item in other.note.signatures if (item.name, item.key_id) not in keys]
        return replace(self, note=Note(text, (*own, *others)).check())

    def to_bytes(self) -> bytes:
        """Return the bytes to publish."""
        return self.note.to_bytes() if self.note else self.checkpoint.to_text().encode()

"""Tree heads as they stand in files: a checkpoint somebody signed, or its lines alone.

Only a signed head says who vouches for it. An unsigned one is still worth keeping: it shows whether the
ledger was changed since, to whoever knows where the file comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ledger.tree.checkpoint import Checkpoint, CheckpointInvalid, Note, Verifier

MAX_LINES_BYTES = 4_096


@dataclass(frozen=True)
class TreeHead:
    """A checkpoint, and the note that carries it; None where nobody has signed."""

    checkpoint: Checkpoint
    note: Note | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note that holds a checkpoint, or a checkpoint's lines; `CheckpointInvalid` if neither."""
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

    def signed_by(self, verifiers: Sequence[Verifier]) -> list[Verifier]:
        """Return who of `verifiers` has signed; `CheckpointInvalid` if none has, or one wrongly."""
        if self.note is None:
            raise CheckpointInvalid("nobody has signed this; ask for the checkpoint that was signed")
        return self.note.signed_by(verifiers)

    def with_signatures_of(self, other: Self) -> Self:
        """Return this head with the signatures that `other` has of the same text, one set for each key.

        `CheckpointInvalid` if they are too many for a note.
        """
        text = self.checkpoint.to_text()
        if other.note is None or other.note.text != text:
            return self
        own = self.note.signatures if self.note else ()
        keys = {(item.name, item.key_id) for item in own}
        others = [item for item in other.note.signatures if (item.name, item.key_id) not in keys]
        return replace(self, note=Note(text, (*own, *others)).checked())

    def to_bytes(self) -> bytes:
        """Return the bytes it is published as."""
        return self.note.to_bytes() if self.note else self.checkpoint.to_text().encode()

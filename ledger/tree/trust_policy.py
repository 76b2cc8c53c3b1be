"""Trust policies of logs in files: C2SP tlog-policy (https://c2sp.org/tlog-policy).

A policy lists the logs and witnesses that a reader trusts, and the *quorum*: the witnesses that must cosign a
checkpoint before it counts.

    log sora-ledger/01a2…+5f1e…+AQ…
    witness north north.example/w1+0a1b…+BA… https://north.example
    witness south south.example/w1+2c3d…+BA… https://south.example
    group either any north south
    quorum either

The file is read as octets: a name is any run of octets between spaces and tabs. Parsing is strict, because a
skipped line could lower the quorum.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ledger.tree.checkpoint import COSIGNATURE, ED25519, CheckpointInvalid, Signature, Verifier
from ledger.tree.head import TreeHead

MAX_POLICY_BYTES = 256 << 10
MAX_WITNESSES = 60
"""A note has at most 64 signatures, and the log signs it too."""
MAX_GROUPS = 256
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
NONE = "none"
_QUORUM_WORDS = 2
_GROUP_WORDS = 4
_WORDS_OF = {"log": (2, 3), "witness": (3, 4)}


class PolicyInvalid(ValueError):
    """The text is not a policy; the message names the line."""


class Witness(NamedTuple):
    """A witness: its name in the policy, its key, and the URL that accepts checkpoints, if any."""

    name: str
    verifier: Verifier
    url: str | None = None


class Group(NamedTuple):
    """Witnesses or groups, of which `threshold` must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class CosignatureCount:
    """The result of counting: the witnesses that cosigned, their lines, and whether the quorum is met."""

    by: Mapping[str, Signature]
    is_enough: bool


@dataclass(frozen=True)
class TrustPolicy:
    """The trusted logs and witnesses, and the quorum: a witness, a group or ``none``."""

    logs: tuple[Verifier, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> "TrustPolicy":
        """Read a policy file; `PolicyInvalid` names the line that is wrong."""
        return _Reading(data).policy()

    def is_met(self, names: set[str]) -> bool:
        """Return whether cosignatures by the witnesses `names` meet the quorum."""
        return self.quorum == NONE or self._has_cosigned(self.quorum, names)

    def _has_cosigned(self, name: str, names: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._has_cosigned(member, names) for member in group.members) >= group.threshold

    def count(self, head: TreeHead) -> CosignatureCount:
        """Count the valid cosignatures of `head`.

        `CheckpointInvalid` if a known key's signature is wrong, or no log of the policy signed.
        """
        note = head.note
        if note is None:
            raise CheckpointInvalid("this checkpoint is not signed, so no witness has cosigned it")
        origin = head.checkpoint.origin
        if self.logs and not any(log.name == origin for log in note.find_signers(self.logs)):
            raise CheckpointInvalid(
                f"signed by a log of the policy, but not under the name of its origin, {origin}: "
                "a log's key is named after its origin"
            )
        signatures = {
            name: signature
            for name, witness in self.witnesses.items()
            for signature in note.signatures
            if witness.verifier.has_signed(note.text, signature)
        }
        return CosignatureCount(signatures, self.is_met(set(signatures)))

    def rule(self) -> str:
        """Return the quorum in words, such as ``2 of north, south, east``."""
        return self._rule(self.quorum) if self.quorum != NONE else "no witness"

    def _rule(self, name: str) -> str:
        group = self.groups.get(name)
        if group is None:
            return name
        members = ", ".join(
            f"({self._rule(member)})" if member in self.groups else member for member in group.members
        )
        return f"{group.threshold} of {members}"


class _Reading:
    """A policy being read, line by line: a group may only use names that were defined before it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._number = 0
        self._logs: list[Verifier] = []
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, Group] = {}
        self._quorum: str | None = None

    def policy(self) -> TrustPolicy:
        if len(self._data) > MAX_POLICY_BYTES:
            raise PolicyInvalid(f"a policy has at most {MAX_POLICY_BYTES} bytes, this one {len(self._data)}")
        if self._data and not self._data.endswith(b"\n"):
            raise PolicyInvalid("the last line does not end with a newline: the file may be cut")
        for number, line in enumerate(self._data.split(b"\n"), 1):
            self._number = number
            self._line(line)
        if self._quorum is None:
            raise PolicyInvalid("it has no line “quorum NAME”, which says whose cosignatures are enough")
        return TrustPolicy(tuple(self._logs), self._witnesses, self._groups, self._quorum)

    def _line(self, line: bytes) -> None:
        if _CONTROL.search(line):
            raise self._wrong("a control character; lines end with a newline alone")
        words = line.decode("utf-8", "backslashreplace").replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            return
        read = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum_line,
        }
        if words[0] not in read:
            raise self._wrong(f"it begins with {words[0][:30]!r}; expected log, witness, group or quorum")
        read[words[0]](words)

    def _log(self, words: list[str]) -> None:
        self._check_words(words)
        key = self._key(words[1], ED25519, "a log's key has type 1")
        if any(key.public_key == log.public_key for log in self._logs):
            raise self._wrong("this log key is there already")
        self._logs.append(key)

    def _witness(self, words: list[str]) -> None:
        self._check_words(words)
        name = self._new_name(words[1])
        key = self._key(words[2], COSIGNATURE, "a witness's key has type 4")
        for other in self._witnesses.values():
            if other.verifier.public_key == key.public_key:
                raise self._wrong(f"{name} and {other.name} have the same key, and would count twice")
        if len(self._witnesses) == MAX_WITNESSES:
            raise self._wrong(f"more than {MAX_WITNESSES} witnesses")
        self._witnesses[name] = Witness(name, key, words[3] if len(words) > max(_WORDS_OF["log"]) else None)

    def _group(self, words: list[str]) -> None:
        if len(words) < _GROUP_WORDS:
            raise self._wrong("expected “group NAME all|any|NUMBER MEMBER…”")
        name, members = self._new_name(words[1]), tuple(words[3:])
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise self._wrong(
                    f"{member[:60]!r} is neither a witness nor a group of a line before this one"
                )
            if any(member in group.members for group in self._groups.values()) or members.count(member) > 1:
                raise self._wrong(f"{member[:60]!r} is a member already, and would count twice")
        thresholds = {"any": 1, "all": len(members)}
        number = (
            int(words[2]) if words[2].isascii() and words[2].isdigit() and len(words[2]) < _GROUP_WORDS else 0
        )
        threshold = thresholds.get(words[2], number)
        if not 1 <= threshold <= len(members):
            raise self._wrong(
                f"expected all, any or a number from 1 to {len(members)}, not {words[2][:30]!r}"
            )
        if len(self._groups) == MAX_GROUPS:
            raise self._wrong(f"more than {MAX_GROUPS} groups")
        self._groups[name] = Group(threshold, members)

    def _quorum_line(self, words: list[str]) -> None:
        if len(words) != _QUORUM_WORDS:
            raise self._wrong("expected “quorum NAME”")
        if self._quorum is not None:
            raise self._wrong("a second quorum; a policy has one")
        if words[1] != NONE and words[1] not in self._witnesses and words[1] not in self._groups:
            raise self._wrong(
                f"{words[1][:60]!r} is neither a witness nor a group of a line before this one, nor none"
            )
        self._quorum = words[1]

    def _check_words(self, words: list[str]) -> None:
        if len(words) not in _WORDS_OF[words[0]]:
            form = "log VKEY [URL]" if words[0] == "log" else "witness NAME VKEY [URL]"
            raise self._wrong(f"expected “{form}”")

    def _new_name(self, name: str) -> str:
        if name == NONE:
            raise self._wrong("none is not a name: it stands for no witness at all")
        if name in self._witnesses or name in self._groups:
            raise self._wrong(f"{name[:60]!r} has a line already")
        return name

    def _key(self, text: str, kind: bytes, expected: str) -> Verifier:
        try:
            key = Verifier.parse(text)
        except (CheckpointInvalid, UnicodeEncodeError) as error:
            raise self._wrong(str(error)) from None
        if key.kind != kind:
            raise self._wrong(f"{expected} (Ed25519), this one has type {key.kind[0]}")
        return key

    def _wrong(self, what: str) -> PolicyInvalid:
        return PolicyInvalid(f"line {self._number}: {what}".encode("utf-8", "replace").decode())

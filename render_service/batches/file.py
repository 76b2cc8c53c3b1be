"""Read a batch file: JSON objects or raw prompts, in the format of the Sora skill's ``create-batch``.

- An object has ``prompt`` and may override model, size, seconds, purpose, input_reference and out; the fields
  of a structured prompt are keys of the object or of ``fields``. It may span several lines. Instead of one
  input_reference it may list several ``input_references``.
- With ``remix_of``, a job or a video, the entry changes that video; ``declare_change`` then names the aspect.
- A line that starts neither an object nor a JSON string is a raw prompt.
- Blank lines and lines that start with ``#`` are skipped.

All problems are collected, so that the user sees them together, before anything is spent.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from decision.request.prompt import FIELDS
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput
from render_service.runtime.files import slug

OVERRIDES = ("model", "size", "seconds", "purpose", "input_reference", "input_references", "out")
REMIX_OF = "remix_of"
DECLARE_CHANGE = "declare_change"
KEYS = ("prompt", "fields", *OVERRIDES, REMIX_OF, DECLARE_CHANGE, *FIELDS)
_OF_A_VIDEO = frozenset({"remix", "source", "source_job", "source_video", "id", "video"})
"""Keys that people write for ``remix_of``."""
NO_PATH = PurePosixPath()
_NO_PROMPTS = frozenset({"null", "true", "false"})  # written by a buggy program, never meant as a prompt
MOST_CHARACTERS = 1_000_000
"""Limit for one entry, over all its lines; far above any real prompt."""
DEEPEST = 64
"""Limit for the nesting of brackets in an entry."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]')
_CONTINUES = ("{", "[", ",", ":")


@dataclass(frozen=True)
class Entry:
    """One render of a batch: its line and number (both from 1), its request, and its output file."""

    line: int
    number: int
    prompt: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Path, ...] = ()
    remix_of: str | None = None
    out: PurePosixPath = NO_PATH


@dataclass(frozen=True)
class Problem:
    """A problem with the entry that starts in `line`."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class BatchInvalid(BadInput):
    """Some entries are invalid; nothing of the batch was sent or recorded."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        lines = {problem.line for problem in problems}
        count = format_count(len(lines), "entry", "entries")
        listed = "\n".join(f"  {problem}" for problem in sorted(problems, key=lambda problem: problem.line))
        super().__init__(
            f"{name}: {count} cannot be used, so nothing was sent:\n{listed}",
            param="input",
            expected="entries that can be used",
            found=f"{count} that cannot",
        )
        self.problems = problems


@dataclass(frozen=True)
class Reading:
    """The content of a batch file: the valid entries, and the problems of the others."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()


def read_batch(text: str, folder: Path) -> Reading:
    """Read the entries of `text`; image paths are relative to `folder`."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, (line, value) in enumerate(_read_values(text), 1):
        try:
            entries.append(_entry(line, number, value, folder))
        except ValueError as error:
            problems.append(Problem(line, str(error)))
    entries, clashes = _assign_files(entries)
    return Reading(tuple(entries), (*problems, *clashes))


def _read_values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the first line of each entry, and its value or the error from parsing it."""
    lines = text.lstrip("\ufeff").split("\n")  # not splitlines: a prompt may contain other line separators
    at = 0
    while at < len(lines):
        stripped = lines[at].strip()
        begin = at + 1
        if not stripped or stripped.startswith("#"):
            at += 1
        elif stripped[0] in '{["' or stripped in _NO_PROMPTS:
            value, at = _read_document(lines, at)
            yield begin, value
        else:
            yield begin, stripped
            at += 1


def _read_document(lines: list[str], at: int) -> tuple[Any, int]:
    """Parse the JSON value that starts in ``lines[at]``; return it and the index of the line after it.

    An error is returned in place of the value.
    """
    depth = length = 0
    for end in range(at, len(lines)):
        line = lines[end]
        if end > at and line.lstrip().startswith("{") and not lines[end - 1].rstrip().endswith(_CONTINUES):
            break  # the next entry starts here, so this one is incomplete
        length += len(line) + 1
        if length > MOST_CHARACTERS:
            return ValueError(f"it has more than {MOST_CHARACTERS:,} characters"), end + 1
        depth, deepest = _nesting(line, depth)
        if deepest > DEEPEST:
            return ValueError(f"its brackets are nested deeper than {DEEPEST}"), end + 1
        if depth <= 0:  # parse only now: either it is complete, or it never will be
            return _parse(lines, at, end + 1)
    return _error_in(lines[at]), at + 1


def _nesting(line: str, depth: int) -> tuple[int, int]:
    """Return the nesting depth of brackets after `line`, and the maximum depth within it."""
    deepest = depth
    for token in _TOKENS.finditer(line):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return depth, deepest


def _parse(lines: list[str], at: int, end: int) -> tuple[Any, int]:
    try:
        return json.loads("\n".join([*lines[at:end], ""]), object_pairs_hook=_without_duplicates), end
    except json.JSONDecodeError as error:
        return (error if end == at + 1 else _error_in(lines[at])), at + 1
    except ValueError as error:
        return error, end


def _error_in(line: str) -> ValueError:
    """Return the error of an incomplete entry whose first line is `line`."""
    try:
        json.loads(f"{line}\n")
    except ValueError as error:
        return error
    return ValueError("invalid JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object for its keys and values; raise ValueError for a duplicate key."""
    keys = dict(pairs)
    if len(keys) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in keys if names.count(name) > 1)!r} appears twice")
    return keys


def _entry(line: int, number: int, value: Any, folder: Path) -> Entry:
    if isinstance(value, json.JSONDecodeError):
        where = f"column {value.colno}" if value.lineno == 1 else "where the line ends"
        raise ValueError(f"invalid JSON ({value.msg}, {where})")  # bad text
    if isinstance(value, ValueError):
        raise value
    if isinstance(value, str):
        return Entry(line, number, value)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else json.dumps(value)
        raise ValueError(f"expected an object or a prompt, found {kind}")  # bad text
    for key in value:
        _check_key(key, KEYS)
    if value.get(REMIX_OF, "") is None:  # a missing id must not pay for a new video
        raise ValueError(f"{REMIX_OF} is null: name the video to change, or leave it out for a new one")
    values = {key: item for key, item in value.items() if item is not None}
    if "prompt" not in values:
        raise ValueError("the key prompt is missing; it holds the text")
    return Entry(
        line=line,
        number=number,
        prompt=_text(values["prompt"], "prompt"),
        values={name: values[key] for key, name in _VALUES.items() if key in values},
        fields=_fields(values),
        images=tuple(folder / Path(image) for image in _images(values)),
        remix_of=_remix_of(values),
        out=_out(values.get("out")),
    )


_VALUES = {name: name for name in ("model", "size", "seconds", "purpose")} | {
    DECLARE_CHANGE: "declared_change"
}


def _remix_of(values: Mapping[str, Any]) -> str | None:
    """Return the name of the video that an entry changes; it must mean the same video in another run."""
    if REMIX_OF not in values:
        return None
    name = _text(values[REMIX_OF], REMIX_OF)
    if not name or name.startswith("@"):
        raise ValueError(f"{REMIX_OF}: expected the id of a job or of a video, found {name!r}")
    if images := [key for key in ("input_reference", "input_references") if key in values]:
        raise ValueError(f"a remix has no first frame: leave out {images[0]}, or {REMIX_OF}")
    return name


def _images(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the images of an entry: one, or several of one subject."""
    one, several = values.get("input_reference"), values.get("input_references")
    if several is None:
        return [] if one is None else [_text(one, "input_reference")]
    if one is not None:
        raise ValueError("input_reference and input_references are both there; list all in input_references")
    if not isinstance(several, list) or not several:
        raise ValueError(f"input_references: expected a list of image files, found {several!r}")  # bad text
    return [_text(name, "input_references") for name in several]


def _fields(values: Mapping[str, Any]) -> dict[str, str]:
    inner = values.get("fields", {})
    if not isinstance(inner, dict):
        raise ValueError(f"fields: expected an object, found {inner!r}")  # bad text
    for key in inner:
        _check_key(key, FIELDS)
    beside = {key: values[key] for key in FIELDS if key in values}
    return {key: _text(item, key) for key, item in {**beside, **inner}.items() if item is not None}


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected text, found {value!r}")  # bad text
    return value


def _check_key(key: str, known: tuple[str, ...]) -> None:
    if key in _OF_A_VIDEO:
        raise ValueError(f"unknown key {key!r}; the video that a remix changes is {REMIX_OF!r}")
    if key not in known:
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        raise ValueError(f"unknown key {key!r}; {hint}")


def _out(value: Any) -> PurePosixPath:
    if value is None:
        return NO_PATH
    path = PurePosixPath(_text(value, "out"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"out: expected a file name inside --out-dir, found {str(path)!r}")
    return path if path.suffix == ".json" else path.with_name(path.name + ".json")


def _assign_files(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Assign each entry a file: its own `out`, or ``NNN-<prompt-slug>.json``; report duplicates."""
    width = max(3, len(str(len(entries))))
    named: list[Entry] = []
    problems: list[Problem] = []
    taken: dict[str, int] = {}
    for entry in entries:
        default = PurePosixPath(f"{entry.number:0{width}d}-{slug(entry.prompt)}.json")
        path = entry.out if entry.out.name else default
        owner = taken.setdefault(str(path).casefold(), entry.line)
        if owner != entry.line:
            problems.append(
                Problem(entry.line, f"out {str(path)!r} is already used by the entry in line {owner}")
            )
        named.append(replace(entry, out=path))
    problems += [
        Problem(entry.line, f"out {str(entry.out)!r}: {str(folder)!r} is the file of line {taken[name]}")
        for entry in named
        for folder in entry.out.parents
        if (name := str(folder).casefold()) in taken
    ]
    return named, problems

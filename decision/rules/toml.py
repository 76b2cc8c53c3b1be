"""Documents as people write them, in TOML: each error is reported with its line; and the packaged catalog."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from decision.errors import BadDocument
from decision.rules.catalog import Catalog
from decision.rules.document import Document

D = TypeVar("D", bound=Document)
Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'[\s\S]*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DOT = re.compile(r"[ \t]*\.[ \t]*")


def key_lines(toml: str) -> Mapping[Path, int]:
    """Return the line number (from 1) of each table, key and array element, by its path."""
    lines: dict[Path, int] = {}
    for path, line in _Scan(toml).entries():
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of `path`, or of its nearest parent; None if there is none."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[part] for part in around if part in lines), None)


class _Scan:
    """One pass over the text; `at` is the current position."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.last = -1
        self.counts: dict[Path, int] = {}

    def entries(self) -> Iterator[tuple[Path, int]]:
        table: Path = ()
        while self._next():
            begun = self.at
            if self._take("[["):
                table = self._element(self._key())
                yield table, self._line()
                self._take("]]")
            elif self._take("["):
                table = self._resolve(self._key())
                yield table, self._line()
                self._take("]")
            else:
                yield from self._pair(table)
            if self.at == begun:
                return

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        path = (*table, *self._key())
        yield path, self._line()
        self._match(re.compile(r"[ \t]*=[ \t]*"))
        yield from self._value(path)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        if self._take("["):
            count = 0
            while self._has_more("]"):
                yield (*path, count), self._line()
                yield from self._value((*path, count))
                count += 1
        elif self._take("{"):
            while self._has_more("}"):
                yield from self._pair(path)
        elif not self._match(_STRING):
            self._match(_SCALAR)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            self._match(re.compile(r"[ \t]*"))
            parts.append(self._match(_STRING).strip("\"'") or self._match(_BARE))
            if not self._match(_DOT):
                return tuple(parts)

    def _element(self, key: Path) -> Path:
        """Return the path of the next table of an array of tables."""
        array = (*self._resolve(key[:-1]), key[-1])
        self.counts[array] = self.counts.get(array, -1) + 1
        return (*array, self.counts[array])

    def _resolve(self, key: Path) -> Path:
        """Return `key` with the index of the last table inserted after each array of tables."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            path = (*path, self.counts[path]) if path in self.counts else path
        return path

    def _next(self) -> bool:
        self._match(_BLANK)
        return self.at < len(self.text)

    def _has_more(self, closing: str) -> bool:
        """Return whether another element comes before `closing`; it never repeats a position, so it ends."""
        stuck = self.last == self.at
        self.last = self.at
        return self._next() and not self._take(closing) and not stuck

    def _take(self, opening: str) -> bool:
        taken = self.text.startswith(opening, self.at)
        self.at += len(opening) if taken else 0
        return taken

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return match[0] if match else ""

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1


def load_document(kind: type[D], toml: bytes) -> D:
    """Read a document from `toml` (UTF-8); `BadDocument` gives the line and key of each error."""
    title = kind.__name__.lower()
    try:
        text = toml.decode()
        content = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadDocument(
            f"{title} is not valid TOML: {error}", param=title, expected="valid TOML", found=error
        ) from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BadDocument(
            f"{title} cannot be used: {_complaints(error, text)}",
            param=title,
            expected="a document of its format",
            found=_complaints(error, text),
        ) from None


@cache
def default_catalog() -> Catalog:
    """Return the packaged catalog: the Videos API in its final state."""
    return load_document(Catalog, files("decision").joinpath("catalog.toml").read_bytes())


def _complaints(error: ValidationError, text: str) -> str:
    lines, problems = key_lines(text), error.errors(include_url=False)
    return "; ".join(
        f"{_place(problem['loc'], lines)}: {_wrong(problem)}"
        for problem in problems
        if not _follows_from_others(problem, problems)
    )


def _follows_from_others(problem: ErrorDetails, problems: Sequence[ErrorDetails]) -> bool:
    """Return whether a list counts as too short only because some of its entries are invalid."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other is not problem for other in problems
    )


def _wrong(problem: ErrorDetails) -> str:
    """Describe the error, with the value found if it is a single one."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; check its spelling"
    if problem["type"] == "tuple_type":
        return f"expected a list, in square brackets, found {problem['input']!r}"
    found = problem["input"]
    single = isinstance(found, str | int | float | bool) and problem["type"] != "value_error"
    return problem["msg"].removeprefix("Value error, ") + (f", found {found!r}" if single else "")


def _place(path: Path, lines: Mapping[Path, int]) -> str:
    line = line_of(lines, path)
    key = ".".join(str(part) for part in path) or "as a whole"
    return f"line {line}, {key}" if line else key

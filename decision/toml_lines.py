"""Where each key of a TOML document stands, which `tomllib` does not tell.

For documents `tomllib` has read already: nothing is checked here, and what is odd costs a line at most.
"""

import re
from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'[\s\S]*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DOT = re.compile(r"[ \t]*\.[ \t]*")


def key_lines(toml: str) -> Mapping[Path, int]:
    """Return the line, from 1, of each table, key and element of an array, by its path."""
    lines: dict[Path, int] = {}
    for path, line in _Scan(toml).entries():
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of `path`, or of the nearest thing around it; None where there is none."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[part] for part in around if part in lines), None)


class _Scan:
    """One pass over the text; `at` is the position that is read next."""

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
                table = self._resolved(self._key())
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
            while self._goes_on("]"):
                yield (*path, count), self._line()
                yield from self._value((*path, count))
                count += 1
        elif self._take("{"):
            while self._goes_on("}"):
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
        array = (*self._resolved(key[:-1]), key[-1])
        self.counts[array] = self.counts.get(array, -1) + 1
        return (*array, self.counts[array])

    def _resolved(self, key: Path) -> Path:
        """Return `key` with the index of the last table wherever it names an array of tables."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            path = (*path, self.counts[path]) if path in self.counts else path
        return path

    def _next(self) -> bool:
        self._match(_BLANK)
        return self.at < len(self.text)

    def _goes_on(self, closing: str) -> bool:
        """Tell whether another element comes before `closing`; never twice at one place, so it ends."""
        stuck = self.last == self.at
        self.last = self.at
        return self._next() and not self._take(closing) and not stuck

    def _take(self, opening: str) -> bool:
        taken = self.text.startswith(opening, self.at)
        self.at += len(opening) if taken else 0
        return taken

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else ""

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

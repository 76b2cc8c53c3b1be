"""Text that a terminal or rich would obey, escaped in JSON and in markup.

`render_service.runtime.printable` replaces it in text. `cli.text.output` and its console apply both to all
output, so that callers need not.
"""

import re

NOTHING = "(none)"  # under the header of an empty table
_OBEYED = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Delete, C1, direction marks, line separators and invisible characters; JSON escapes C0 by itself."""


_MARKUP = re.compile(r"(\\*)(\[[a-z#/@][^[]*?])")


def escape_controls(document: str) -> str:
    """Return the same JSON document with control characters escaped that JSON itself allows."""
    return document if document.isascii() and "\x7f" not in document else _OBEYED.sub(_escape, document)


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def escape(text: str) -> str:
    """Return `text` with everything escaped that rich would read as markup; rich itself is slow to load."""
    escaped = _MARKUP.sub(r"\1\1\\\2", text)
    odd_backslash = escaped.endswith("\\") and not escaped.endswith("\\\\")
    return escaped + "\\" if odd_backslash else escaped

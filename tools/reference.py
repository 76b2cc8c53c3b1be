"""Write docs/reference.md, the reference of the Python API, from the docstrings and signatures.

Run with ``make commands``; a test compares the page.
"""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from ledger.errors import SoraLedgerError
from render_service.api import desk, sync, values

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
HEAD = """# Reference of the Python API

Generated from the docstrings by `make commands`; [python.md](python.md) shows how to use it.
`SyncRenderDesk` has the same methods, without `await`.
"""
VALUES = (values.Decided, values.VideoPage, values.LedgerEvent, values.Spend, values.Amount)
OPTIONS = (values.CreateOptions, values.ChangeOptions)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    parts = [HEAD, f"## RenderDesk\n\n{described(desk.RenderDesk)}\n"]
    parts += [method(name, one) for name, one in methods(desk.RenderDesk).items()]
    parts.append("## Options\n")
    parts += [options(one) for one in OPTIONS]
    parts.append("## Values\n")
    parts += [value(one) for one in VALUES]
    parts.append(f"## Errors\n\n### SoraLedgerError\n\n{described(SoraLedgerError)}\n")
    parts.append(f"### NotSubmitted\n\n{described(desk.NotSubmitted)}\n")
    return "\n".join(parts)


def methods(owner: type) -> dict[str, Any]:
    """Return the public methods in the order of the code."""
    found = inspect.getmembers(owner, inspect.isfunction)
    public = [(name, one) for name, one in found if not name.startswith("_")]
    return dict(sorted(public, key=lambda item: item[1].__code__.co_firstlineno))


def unlike(name: str) -> bool:
    """Return whether the synchronous desk lacks a method."""
    return not hasattr(sync.SyncRenderDesk, name)


def method(name: str, one: Any) -> str:
    """Return the section of a method."""
    if unlike(name):
        raise SystemExit(f"SyncRenderDesk has no method {name}")
    signature = re.sub(r"\b(?:[a-z_]+\.)+([A-Z][A-Za-z]*)", r"\1", str(inspect.signature(one)))
    signature = re.sub(r"\*<class '(\w+)'>", r"Unpack[\1]", signature)
    signature = signature.replace("(self, ", "(").replace("(self)", "()").replace("NoneType", "None")
    return f"### {name}\n\n```python\n{name}{signature}\n```\n\n{described(one)}\n"


def options(one: Any) -> str:
    """Return the section of the options of a method."""
    rows = "\n".join(f"| `{name}` | `{shown(kind)}` |" for name, kind in one.__annotations__.items())
    return f"### {one.__name__}\n\n{described(one)}\n\n| option | type |\n|---|---|\n{rows}\n"


def value(one: Any) -> str:
    """Return the section of a value."""
    rows = "\n".join(f"| `{each.name}` | `{shown(each.type)}` |" for each in dataclasses.fields(one))
    return f"### {one.__name__}\n\n{described(one)}\n\n| field | type |\n|---|---|\n{rows}\n"


def shown(kind: Any) -> str:
    """Return a type in source notation."""
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"\b(?:[a-z_]+\.)+([A-Z][A-Za-z]*)", r"\1", text).replace("|", "\\|")


def described(one: Any) -> str:
    """Return a docstring as Markdown."""
    text = inspect.getdoc(one) or ""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


if __name__ == "__main__":
    main()

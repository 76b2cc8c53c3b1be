"""Build the documentation site into docs-output/site: ``make docs``.

1. Copy the pages of docs/, and the pages of the root and the skill that they link to, into docs-output/pages.
2. Generate the reference: commands from click, documents and events from their JSON Schemas, Python from its
   docstrings.
3. Point links at the copied pages; a link to a file that is not on the site becomes its path.
4. Have zensical build the site, strictly.
5. Check each page: every link and anchor leads somewhere, and nothing is loaded from another host.

`--pages` ends after 3, and needs only the product.
"""

import argparse
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click

import render_service
from cli.main import cli
from cli.schemas import DOCUMENTS, schema_of
from ledger.events import EVENT_TYPES
from tools.commands import sections_of

ROOT = Path(__file__).parents[1]
DOCS, SITE = ROOT / "docs", ROOT / "docs" / "site"
FROM_ROOT = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")
ICON = ROOT / "render_service" / "server" / "console" / "static" / "icon.svg"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]+)?\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n.*?^```$\n?", re.MULTILINE | re.DOTALL)
METHODS = ("create", "create_and_poll", "poll", "resume", "reconcile", "job", "expected", "download", "list")
METHODS_THAT_CHANGE = ("delete", "record")


def stage(folder: Path) -> None:
    """Write every page of the site into `folder`, as Markdown."""
    places = _places()
    for source, place in places.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(_linked(source, place, places), encoding="utf-8")
        else:
            shutil.copy(source, target)
    for name, text in reference().items():
        (folder / "reference" / name).parent.mkdir(exist_ok=True)
        (folder / "reference" / name).write_text(text, encoding="utf-8")


def _places() -> dict[Path, Path]:
    """Return each file to copy, with its path on the site."""
    found = {
        path: path.relative_to(DOCS)
        for path in sorted(DOCS.rglob("*"))
        if path.suffix in {".md", ".svg", ".png"}
    }
    found |= {ROOT / name: Path("project") / name for name in FROM_ROOT}
    found |= {path: path.relative_to(ROOT) for path in sorted((ROOT / "skills").rglob("*.md"))}
    if (examples := ROOT / "examples" / "README.md").exists():
        found[examples] = Path("examples/README.md")
    return found | {
        SITE / "index.md": Path("index.md"),
        SITE / "site.css": Path("site.css"),
        ICON: Path("icon.svg"),
    }


def _linked(source: Path, place: Path, places: Mapping[Path, Path]) -> str:
    """Return the text of a page with its links pointing at pages of the site."""

    def link(found: re.Match[str]) -> str:
        image, words, path, anchor = found[1], found[2], found[3], found[4] or ""
        if not path or "://" in path or path.startswith("mailto:"):
            return found[0]
        target = (source.parent / unquote(path)).resolve()
        if target == ROOT / "README.md":
            target, anchor = SITE / "index.md", ""
        if target.is_dir() and (target / "README.md") in places:
            target /= "README.md"
        if target in places:
            there = os.path.relpath(places[target], place.parent)
            return f"{image}[{words}]({there}{anchor})"
        if not target.exists():
            raise SystemExit(f"{source.relative_to(ROOT)}: expected a file at {path}, found none")
        named = f"`{target.relative_to(ROOT).as_posix()}`"
        return named if words.strip("`") == named.strip("`") else f"{words} ({named})"

    parts: list[str] = []
    text, end = MERMAID.sub("", source.read_text(encoding="utf-8")), 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, text[end:])])


def reference() -> dict[str, str]:
    """Return the generated pages, by name."""
    return {
        "README.md": _reference_index(),
        "cli.md": _cli(),
        "documents.md": _documents(),
        "events.md": _events(),
        "python.md": _python(),
    }


def _reference_index() -> str:
    return """# Reference

What exists, exactly. Four pages are generated from the program itself: [the help of every command](cli.md),
[the documents that commands print](documents.md), [the events of the record](events.md) and
[the Python classes](python.md).

| look up | page |
|---|---|
| a command | [all commands](../commands.md) in tables, or [their help](cli.md) |
| a setting | [settings](../settings.md) |
| an exit code | [exit codes](../exit-codes.md) |
| a field of `--json` output | [documents](documents.md) |
| an event and its fields | [events](events.md), and [the format](../FORMAT.md) for the bytes |
| a method of `RenderDesk` | [Python classes](python.md); [using them](../python.md) |
| what a server can do | [servers](../servers.md), [conformance](../conformance.md) |
"""


def _cli() -> str:
    parts = [
        "# Help of every command\n\nGenerated from the commands: what `sora-ledger COMMAND --help` prints.\n"
    ]
    context = click.Context(cli, info_name="sora-ledger", max_content_width=80, terminal_width=80)
    for heading, commands in sections_of(cli, context).items():
        parts.append(f"## {heading}\n")
        parts += [page for name, _ in commands for page in _help_of(cli, context, name)]
    return "\n".join(parts)


def _help_of(group: click.Group, context: click.Context, name: str) -> Iterator[str]:
    command = group.get_command(context, name)
    if command is None:
        raise LookupError(f"{context.command_path} lists {name}, which is not a command")
    inner = click.Context(command, info_name=name, parent=context, terminal_width=80, max_content_width=80)
    path = inner.command_path.removeprefix("sora-ledger ")
    yield f"### {path}\n\n```text\n{command.get_help(inner)}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(inner):
            yield from _help_of(command, inner, sub)


def _documents() -> str:
    head = (
        "# Documents\n\nGenerated from the JSON Schemas that `sora-ledger schema NAME` prints. "
        "Fields are only ever added.\n"
    )
    parts = [head]
    for name, one in DOCUMENTS.items():
        about = f"{one.title}, version {one.version}. Printed by: {one.printed_by}."
        parts.append(f"## {name}\n\n{about}\n\n{_fields(_schema(name))}")
    return "\n".join(parts)


def _events() -> str:
    head = (
        "# Events\n\nGenerated from the vocabulary: every fact that a ledger can record. "
        "[The format](../FORMAT.md) defines the bytes.\n"
    )
    parts = [head]
    for name, event in EVENT_TYPES.items():
        schema = _schema(name)
        about = _words(inspect.getdoc(event) or schema.get("description", ""))
        parts.append(f"## {name}\n\n{about}\n\nVersion {event.schema_version}.\n\n{_fields(schema)}")
    return "\n".join(parts)


def _schema(name: str) -> dict[str, Any]:
    schema = schema_of(name)
    if schema is None:
        raise LookupError(f"{name} has no schema")
    return schema


def _fields(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"| `{name}` | {_type(one)} | {'yes' if name in required else ''} | {_about(one)} |"
        for name, one in schema.get("properties", {}).items()
    ]
    if not rows:
        return f"{_type(schema)}\n"
    return "\n".join(["| field | type | required | |", "|---|---|---|---|", *rows]) + "\n"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a short name for the type that a schema describes."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _about(schema: Mapping[str, Any]) -> str:
    first, _, _ = str(schema.get("description", "")).partition("\n\n")
    return _words(first).replace("|", "\\|").replace("\n", " ")


def _words(docstring: str) -> str:
    """Return a docstring as Markdown, with single for double backticks."""
    return docstring.replace("``", "`")


def _python() -> str:
    head = (
        "# Python classes\n\nGenerated from the docstrings. "
        "[Using sora-ledger from Python](../python.md) has examples.\n"
    )
    parts = [head]
    for name in ("RenderDesk", "SyncRenderDesk", "NotSubmitted"):
        made = getattr(render_service, name)
        parts.append(f"## {name}\n\n{_words(inspect.getdoc(made) or '')}\n")
        if name == "NotSubmitted":
            continue
        parts.append(f"```python\n{_signature(name, made.__init__)}\n```\n")
        for method in (*METHODS, *METHODS_THAT_CHANGE):
            itself = getattr(made, method)
            about = inspect.getdoc(itself) or inspect.getdoc(getattr(render_service.RenderDesk, method)) or ""
            prefix = "await " if inspect.iscoroutinefunction(itself) else ""
            code = f"```python\n{prefix}{_signature(method, itself)}\n```"
            parts.append(f"### {name}.{method}\n\n{code}\n\n{_words(about)}\n")
    return "\n".join(parts)


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    shown = str(signature.replace(parameters=parameters)).replace("'", "")
    return f"{name}{re.sub(r'<[^>]*>', '…', shown).removesuffix(' -> None')}"


def navigation(folder: Path) -> list[dict[str, Any]]:
    """Return the navigation of nav.toml, plus the pages of docs/ that it omits."""
    sections = tomllib.loads((SITE / "nav.toml").read_text(encoding="utf-8"))["section"]
    named = {page for section in sections for page in [section["index"], *section["pages"]]}
    others = [path.name for path in sorted(DOCS.glob("*.md")) if path.name not in named]
    made: list[dict[str, Any]] = [{"Home": "index.md"}]
    for section in sections:
        pages = [*section["pages"], *(others if section.get("others") else [])]
        if missing := [page for page in [section["index"], *pages] if not (folder / page).exists()]:
            raise SystemExit(f"docs/site/nav.toml: expected pages, found none at {', '.join(missing)}")
        listed: list[Any] = [section["index"], *({_title(folder / page): page} for page in pages)]
        made.append({section["title"]: listed})
    return made


def _title(page: Path) -> str:
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{page.name}: expected a heading, found none")
    return re.sub(r"[`*]", "", found[1])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Page(HTMLParser):
    """Collects the anchors and links of a page, and the resources a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the ids, links and resources of the tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in {"a", "area"} and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in {"canonical", "next", "prev"}:
            self.loads.append(values.get("href", ""))
        elif tag in {"script", "img", "iframe", "source"} and values.get("src"):
            self.loads.append(values["src"])


def broken(site: Path) -> list[str]:
    """Return the broken links of a built site, one line each."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {problem}"
        for path, page in pages.items()
        if path.name != "404.html"  # its links start at the root of a host
        for problem in _problems(path, page, pages)
    ]


def _problems(path: Path, page: _Page, pages: Mapping[Path, _Page]) -> Iterator[str]:
    for link in page.loads:
        if re.match(r"(?:https?:)?//", link):
            yield f"loads {link} from another host"
    for link in [*page.links, *page.loads]:
        if re.match(r"(?:[a-z]+:|//)", link) or not link:
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name.partition("?")[0]).resolve() if name else path
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield f"{link} leads nowhere"
        elif anchor and target in pages and anchor not in pages[target].anchors:
            yield f"{link}: that page has no such section"


def main() -> None:
    """Build the site, or only its pages."""
    about, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=ROOT / "docs-output", help="the folder to write")
    parser.add_argument("--pages", action="store_true", help="write the Markdown, and build nothing")
    wanted = parser.parse_args()
    shutil.rmtree(wanted.out, ignore_errors=True)
    pages = wanted.out / "pages"
    stage(pages)
    settings = (SITE / "zensical.toml").read_text(encoding="utf-8")
    nav = f"[project]\nnav = {_toml(navigation(pages))}\n"
    (wanted.out / "zensical.toml").write_text(settings.replace("[project]\n", nav, 1), encoding="utf-8")
    if wanted.pages:
        return
    zensical = Path(sys.prefix) / "docs" / "bin" / "zensical"
    subprocess.run([zensical, "build", "--clean", "--strict"], check=True, cwd=wanted.out)
    if problems := broken((wanted.out / "site").resolve()):
        sys.exit("\n".join(problems))
    print(f"open {wanted.out / 'site' / 'index.html'}")


if __name__ == "__main__":
    main()

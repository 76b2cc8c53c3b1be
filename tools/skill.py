"""Write the generated parts of the agent skill: commands, models, prices, templates, exit codes and more.

Run it with ``make commands``. A part is between ``<!-- generated: NAME -->`` and ``<!-- end -->`` in a page
of ``skills/sora-ledger``; people write the rest of the page.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from cli.exit_codes import MEANINGS
from cli.main import PROGRAM, cli
from decision.advice.advice import GUARDRAILS
from decision.money import format_usd
from decision.request.prompt import FIELDS, LABELS
from decision.request.templates import Template, templates
from decision.rules.toml import default_catalog
from sora_adapter.profiles import profiles
from tools import commands

SKILL = Path(__file__).parents[1] / "skills" / "sora-ledger"
PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHORT_S, LONG_S = 4, 12


def updated(page: str) -> str:
    """Return the page with its generated parts regenerated."""
    return PART.sub(lambda part: f"{part[1]}\n{_made(part[2])}\n{part[3]}", page)


def pages() -> list[Path]:
    """Return the pages of the skill."""
    return sorted(SKILL.rglob("*.md"))


def _made(name: str) -> str:
    first, *words = name.split(" ")
    return PARTS[name]() if name in PARTS else PARTS_OF[first](*words)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _guardrails() -> str:
    return "\n".join(f"- **{rail.rule}** {rail.meaning}" for rail in GUARDRAILS) + "\n"


def _exit_codes() -> str:
    return _table(["code", "means"], ((str(int(code)), text) for code, text in MEANINGS.items()))


def _models() -> str:
    rows = [
        [
            f"`{model.name}`",
            size,
            ", ".join(map(str, model.seconds)),
            *(_price(model.cost_usd_micros(size, seconds)) for seconds in (1, SHORT_S, LONG_S)),
        ]
        for model in default_catalog().models
        for size in model.sizes
    ]
    return _table(["model", "size", "seconds", "one second", f"{SHORT_S} s", f"{LONG_S} s"], rows)


def _price(micros: int | None) -> str:
    return "unpriced" if micros is None else format_usd(micros)


def _extension() -> str:
    limits = default_catalog().extension
    seconds = ", ".join(map(str, limits.seconds))
    return (
        f"- {seconds} seconds at a time, at most {limits.max_times} times\n"
        f"- at most {limits.max_total_seconds} seconds in total\n"
    )


def _images() -> str:
    catalog = default_catalog()
    types = ", ".join(name.removeprefix("image/").upper() for name in catalog.image.media_types)
    return (
        f"- A first frame (`--input-reference`) is a {types} file of exactly the size of the video.\n"
        f"- A prompt has at most {catalog.prompt.max_characters:,} characters.\n"
        f"- A video shows at most {catalog.characters.max_per_video} characters (`--character-id`).\n"
    )


def _profiles() -> str:
    rows = (
        [f"`{name}`", ", ".join(sorted(profile.operations)), ", ".join(map(str, profile.variants))]
        for name, profile in profiles().items()
    )
    return _table(["profile", "offers", "files"], rows)


def _servers() -> str:
    rows = ([f"`{name}`", profile.description] for name, profile in profiles().items())
    return _table(["profile", "server"], rows)


def _fields() -> str:
    described = {option: text for option, text in _option_rows("create") if option.startswith("--")}
    rows = [["`--prompt`", LABELS["prompt"], described["--prompt TEXT"]]]
    for name in (each for each in LABELS if each in FIELDS):
        flag = f"--{name.replace('_', '-')}"
        rows.append([f"`{flag}`", LABELS[name], described[f"{flag} TEXT"]])
    return _table(["option", "line", "what it says"], rows)


def _commands() -> str:
    return commands.tables("###")


def _options(name: str) -> str:
    rows = ([f"`{option}`".replace("|", "\\|"), text] for option, text in _option_rows(name))
    return _table(["option", "what it does"], rows)


def _option_rows(name: str) -> Iterator[tuple[str, str]]:
    """Yield every option of a command as printed in its help."""
    context = click.Context(cli, info_name=PROGRAM)
    command = cli.get_command(context, name)
    if command is None:
        raise LookupError(f"{name} is not a command")
    inner = click.Context(command, info_name=name, parent=context)
    for parameter in command.params:
        record = parameter.get_help_record(inner)
        if isinstance(parameter, click.Option) and record is not None:
            yield record


def _samples(purpose: str = "") -> str:
    chosen = {name: each for name, each in templates().items() if purpose in ("", each.purpose)}
    return "\n".join(_sample(name, template) for name, template in chosen.items())


def _sample(name: str, template: Template) -> str:
    return (
        f"## {template.title} (`{name}`)\n\n{template.use_when} "
        f"Use `--size {template.size} --seconds {template.seconds} --purpose {template.purpose}`.\n\n"
        f"```text\n{template.example.text}\n```\n"
    )


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "exit codes": _exit_codes,
    "extension": _extension,
    "fields": _fields,
    "guardrails": _guardrails,
    "images": _images,
    "models": _models,
    "profiles": _profiles,
    "servers": _servers,
}
PARTS_OF: dict[str, Callable[..., str]] = {"options": _options, "samples": _samples}


if __name__ == "__main__":
    for page in pages():
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")

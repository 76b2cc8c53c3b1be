"""The lines of a structured prompt can be typed, in every form that a shell user knows."""

import json
from collections.abc import Callable

import click
import pytest

from cli.main import COMMANDS, cli
from decision.request.prompt import FIELDS, LABELS
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

SANDBOX = ("--profile", "sandbox")
FORMS = [["--text", "SALE"], ["--text=SALE"], ["--text", "--json is not an option here"], ["--text="]]


def _prompting() -> list[str]:
    context = click.Context(cli)
    found = ((name, cli.get_command(context, name)) for name in COMMANDS)
    return [name for name, each in found if each and "field_text" in {param.name for param in each.params}]


def test_the_commands_that_take_a_prompt_take_its_lines() -> None:
    assert _prompting() == ["create", "create-and-poll", "remix", "edit", "extend", "decide"]


@pytest.mark.parametrize("name", _prompting())
@pytest.mark.parametrize("field", FIELDS)
def test_each_line_takes_a_value(name: str, field: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command
    option = f"--{field.replace('_', '-')}"
    for arguments in ([option, "x"], [f"{option}=x"]):
        with command.make_context(name, [*arguments, "--format", "text"], resilient_parsing=True) as context:
            assert context.params[f"field_{field}"] == "x"


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("name", ["create", "create-and-poll"])
def test_text_on_the_screen_reaches_the_request(as_process: Sora, name: str, form: list[str]) -> None:
    ended = as_process(name, "--prompt", "A shop sign", *form, "--dry-run", *SANDBOX)
    text = form[-1].removeprefix("--text=")
    line = f'{LABELS["text"]}: "{text}"'
    assert (ended.code, line in ended.document["request"]["body"]["prompt"]) == (0, bool(text)), ended.err


@pytest.mark.parametrize("name", ["remix", "edit", "extend"])
def test_text_on_the_screen_reaches_what_is_made_of_a_video(
    sora: Sora, server: Callable[..., SandboxServer], name: str
) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "A shop sign").document["final"]["job_id"]
    length = ["--seconds", "4"] if name == "extend" else []
    ended = sora(name, source, "--prompt", "Change the sign", "--text", "OPEN", *length)
    assert ended.code == 0, ended.err
    requested = sora("log", "--job", ended.document["job_id"], "--type", "render.requested").document
    assert 'Text (verbatim): "OPEN"' in json.dumps(requested, ensure_ascii=False).replace('\\"', '"')


def test_the_decision_can_be_asked_for_with_text_on_the_screen(sora: Sora) -> None:
    assert sora("decide", "--prompt", "A shop sign", "--text", "SALE", *SANDBOX).code == 0


@pytest.mark.parametrize(("options", "begins"), [(["--format", "text"], "job "), (["--format=json"], "{")])
def test_the_format_can_be_asked_for(sora: Sora, denied: str, options: list[str], begins: str) -> None:
    assert sora("show", denied, *options).out.startswith(begins)


def test_two_formats_at_once_are_refused(sora: Sora) -> None:
    assert sora("jobs", "--json", "--format", "text").code == 2

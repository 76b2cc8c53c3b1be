"""Before a request is placed: what is missing stops it, what could be better is only said."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cli.flows import advise
from ledger.events import RenderRequested
from ledger.log.opening import open_ledger
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

CREATE = ["create", "--profile", "sandbox", "--max-cost", "0"]  # denied, so nobody is called


def logged(ended: Any, event: str) -> list[dict[str, Any]]:
    return [line for line in ended.log if line["event"] == event]


def last_request(folder: Path) -> RenderRequested:
    with open_ledger(str(folder / "ledger.db")) as ledger:
        return [r.event for r in ledger.read() if isinstance(r.event, RenderRequested)][-1]


@pytest.mark.parametrize("command", [["create"], ["create-and-poll"]])
def test_advice_goes_to_stderr_and_blocks_nothing(sora: Sora, command: list[str]) -> None:
    prompt = "A fox runs over snow. It jumps over a log and digs a hole."
    ended = sora(*command, "--profile", "sandbox", "--prompt", prompt, "--dry-run")
    assert (ended.code, ended.document["dry_run"]) == (0, True)
    assert [line["code"] for line in logged(ended, "prompt.advice")] == ["SEVERAL_ACTIONS"]


def test_advice_reads_as_a_sentence_where_a_person_reads(sora: Sora) -> None:
    dialogue = "word " * 40
    ended = sora(*CREATE, "--prompt", "a baker", "--dialogue", dialogue, "--dry-run", "--format=text")
    assert "advice: the dialogue has 40 words" in ended.error


def test_a_remix_that_does_not_say_what_stays_is_advised(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "a fox").document["final"]["job_id"]
    ended = sora("remix", source, "--prompt", "make it red")
    assert [line["code"] for line in logged(ended, "prompt.advice")] == ["NOTHING_KEPT"]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("a {product} on a table", "still has {product} in it"), ("make it nice", "who or what")],
)
def test_a_missing_detail_is_an_error_where_nobody_can_be_asked(
    sora: Sora, folder: Path, prompt: str, message: str
) -> None:
    ended = sora("create", "--profile", "sandbox", "--prompt", prompt)
    assert (ended.code, message in ended.error) == (2, True)
    assert not (folder / "ledger.db").exists()


def test_every_open_blank_is_named_at_once(sora: Sora) -> None:
    ended = sora(*CREATE, "--prompt", "a {product} on {surface}")
    assert "{product}" in ended.error
    assert "{surface}" in ended.error


def test_a_missing_detail_is_asked_for_on_a_terminal(sora: Sora, folder: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli", *CREATE, "--prompt", "a {product} on {surface}"]
    process = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"red kettle\na slate\n")
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    os.close(ours)
    assert process.wait(120) == 3
    assert b"what goes there? " in shown
    assert last_request(folder).prompt.text == "a red kettle on a slate"


@pytest.mark.parametrize("words", [("remix",), ("edit",), ("extend", "--seconds", "4")])
def test_a_question_is_asked_before_the_session_and_its_event_loop(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    server()
    made = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05").document["final"]
    loops: list[object] = []

    def answer(_: object) -> str:
        with suppress(RuntimeError):  # raised outside a loop
            loops.append(asyncio.get_running_loop())
        return "teal"

    monkeypatch.setattr(advise, "_ask", answer)
    prompt = "Same shot and framing; shift the palette to {colour}"
    ended = sora(*words, "--id", made["job_id"], "--prompt", prompt)
    assert (ended.code, loops) == (0, [])


def test_the_guardrails_are_shown_before_the_first_request_of_a_person(sora: Sora) -> None:
    first, second = (sora(*CREATE, "--prompt", "a fox") for _ in range(2))
    [shown] = logged(first, "guardrails.shown")
    assert "No real person appears" in " ".join(shown["rules"])
    assert logged(second, "guardrails.shown") == []


def test_the_guardrails_are_shown_to_each_person(sora: Sora) -> None:
    sora(*CREATE, "--prompt", "a fox")
    assert logged(sora(*CREATE, "--prompt", "a fox", "--actor", "ben"), "guardrails.shown")


def test_a_person_reads_the_guardrails_and_how_to_attest_them(sora: Sora) -> None:
    text = sora(*CREATE, "--prompt", "a fox", "--format=text").error
    assert "No real person appears or is imitated" in text
    assert "--attest records" in text


@pytest.mark.parametrize("flags", [[], ["--attest"]])
def test_an_attestation_is_recorded_with_the_request(sora: Sora, folder: Path, flags: list[str]) -> None:
    ended = sora(*CREATE, "--prompt", "a fox", *flags)
    assert last_request(folder).attested is bool(flags)
    assert bool(logged(ended, "guardrails.shown")) is not bool(flags)


def test_templates_are_listed_by_asset_type(sora: Sora) -> None:
    names = [each["name"] for each in sora("templates").document["templates"]]
    assert {"product-teaser", "social-ad", "cinematic-shot"} <= set(names)


def test_a_template_is_printed_as_a_prompt_to_save(sora: Sora) -> None:
    ended = sora("templates", "product-teaser", "--fill", "surface=slate", "--format=text")
    assert ended.out.startswith(
        "Use case: product teaser\nPrimary request: A close look at {product} on slate"
    )
    assert "to fill: product, finish," in ended.err


def test_a_template_is_filled_by_name_and_the_rest_by_example(sora: Sora) -> None:
    document = sora("templates", "product-teaser", "--fill", "product=a red kettle", "--example").document
    assert document["prompt"] == "A close look at a red kettle on a slate pedestal"
    assert document["command"].startswith("sora-ledger create --prompt 'A close look at a red kettle")


def test_a_filled_template_can_be_rendered(sora: Sora, folder: Path) -> None:
    (folder / "shot.txt").write_text(sora("templates", "social-ad", "--example", "--format=text").out)
    ended = sora("create", "--prompt-file", "shot.txt", "--profile", "sandbox", "--dry-run")
    assert ended.code == 0


def test_a_template_left_blank_is_not_rendered(sora: Sora, folder: Path) -> None:
    (folder / "shot.txt").write_text(sora("templates", "social-ad", "--format=text").out)
    assert sora("create", "--prompt-file", "shot.txt", "--profile", "sandbox", "--dry-run").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["product-teser"], "did you mean product-teaser?"),
        (["product-teaser", "--fill", "color=red"], "blank color is unknown"),
        (["product-teaser", "--fill", "red"], "expected BLANK=TEXT"),
        (["--example"], "are about one template; name it"),
    ],
)
def test_a_wrong_template_says_the_right_one(sora: Sora, arguments: list[str], message: str) -> None:
    ended = sora("templates", *arguments)
    assert (ended.code, message in ended.error) == (2, True)

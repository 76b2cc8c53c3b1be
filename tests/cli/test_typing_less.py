"""A prompt is the first word, comes through a pipe or is asked for; the nearest offer is taken on request."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Sora, Terminal
from tests.forks import Forks

FREE = ("--profile", "sandbox", "--dry-run")


def body(ended: Any) -> dict[str, Any]:
    return dict(ended.document["request"]["body"])


@pytest.mark.parametrize("command", ["create", "create-and-poll"])
def test_the_first_word_is_the_prompt(sora: Sora, command: str) -> None:
    assert body(sora(command, "a fox in snow", *FREE))["prompt"] == "Primary request: a fox in snow"
    assert sora("decide", "a fox in snow", "--profile", "sandbox").code == 0


@pytest.mark.parametrize("more", [["--prompt", "a cat"], ["--prompt-file", "prompt.txt"]])
def test_two_prompts_are_refused(sora: Sora, folder: Path, more: list[str]) -> None:
    (folder / "prompt.txt").write_text("a cat")
    ended = sora("create", "a fox", *more, *FREE)
    assert (ended.code, "give the prompt" in ended.error) == (2, True)


Piped = Callable[[list[str], bytes], tuple[int, bytes]]


@pytest.fixture
def piped(folder: Path, forks: Forks) -> Piped:
    """Pipe a text to a command; return its exit code and what it prints to stdout."""

    def run(words: list[str], text: bytes) -> tuple[int, bytes]:
        (reads, writes), out = os.pipe(), folder / "out"
        os.write(writes, text)
        os.close(writes)
        with out.open("wb") as to_out, Path(os.devnull).open("wb") as nowhere:
            where = (folder, {"SORA_LEDGER_URL": "ledger.db"})
            code = forks.start([[*words, "--json"]], *where, to_out, nowhere, stdin=reads).wait(60)
        os.close(reads)
        return code, out.read_bytes()

    return run


def test_a_pipe_is_the_prompt(piped: Piped) -> None:
    _, out = piped(["create", *FREE], "a fox in snow, naïve\n".encode())
    assert "Primary request: a fox in snow, naïve" in json.loads(out)["request"]["body"]["prompt"]


@pytest.mark.parametrize("text", [b"", b" \n", b"\xff\xfe fox"])
def test_an_empty_or_broken_pipe_is_refused(piped: Piped, text: bytes) -> None:
    code, out = piped(["create", *FREE], text)
    assert (code, b'"error"' in out) == (2, True)


def test_without_pipe_and_terminal_the_prompt_is_missing(sora: Sora) -> None:
    ended = sora("create", *FREE)
    assert (ended.code, "or through a pipe" in ended.error) == (2, True)


def test_a_person_is_asked_for_the_prompt(
    sora: Sora, terminal: Callable[..., tuple[Terminal, Terminal]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = terminal()
    monkeypatch.setattr(sys, "stdin", Keyboard("a fox in snow\n"))
    sora("create", *FREE)
    assert "What should the clip show?" in err.getvalue()
    assert "a fox in snow" in out.getvalue()


@pytest.mark.parametrize(
    ("options", "size", "seconds"),
    [
        (["--seconds", "5"], "1280x720", "4"),
        (["--duration", "10"], "1280x720", "8"),
        (["--seconds", "15"], "1280x720", "16"),
        (["--seconds", "600"], "1280x720", "20"),
        (["--width", "3840", "--height", "2160"], "1920x1080", "4"),
        (["--size", "1080x1080"], "720x1280", "4"),
        (["--size", "3840x2160", "--model", "sora-2"], "1280x720", "4"),
        (["--size", "1280x720", "--seconds", "8"], "1280x720", "8"),
    ],
)
def test_the_nearest_offer_is_taken_and_reported(
    sora: Sora, options: list[str], size: str, seconds: str
) -> None:
    ended = sora("create", "a fox in snow", *options, "--nearest", *FREE)
    assert (body(ended)["size"], body(ended)["seconds"]) == (size, seconds)
    changed = size not in options and options[0] in {"--size", "--width"}
    changed |= options[0] in {"--seconds", "--duration"}
    assert ("--nearest: " in ended.error) is changed


@pytest.mark.parametrize("options", [["--size", "huge"], ["--seconds", "long"], ["--width", "1280"]])
def test_what_is_no_size_or_length_is_refused_with_nearest_too(sora: Sora, options: list[str]) -> None:
    assert sora("create", "a fox in snow", *options, "--nearest", *FREE).code == 2


def test_an_image_is_cut_to_the_nearest_size(sora: Sora, folder: Path, picture: Callable[..., bytes]) -> None:
    (folder / "hero.png").write_bytes(picture((3840, 2160)))
    ended = sora("create", "a fox", "-i", "hero.png", "--size", "3840x2160", "--nearest", *FREE)
    assert (ended.code, "the image is cut to 1920x1080" in ended.error) == (0, True)

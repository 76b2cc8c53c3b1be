"""``check-remix``: an answer without a ledger, for one prompt or a file of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Sora

SEVERAL = "Make the sky purple and remove the trees"


def test_a_prompt_is_answered_with_every_change_its_aspect_and_its_place(sora: Sora) -> None:
    answer = sora("check-remix", "--prompt", SEVERAL).document
    assert answer["verdict"] == "multiple"
    assert answer["changes"] == [
        {"aspect": "setting", "start": 0, "end": 19, "text": "Make the sky purple"},
        {"aspect": "setting", "start": 24, "end": 40, "text": "remove the trees"},
    ]


@pytest.mark.parametrize(
    ("prompt", "verdict"),
    [
        ("Make it rain.", "single"),
        ("Same shot and framing.", "none"),
        ("Fai nevicare sulla piazza, per favore.", "ambiguous"),
    ],
)
def test_every_verdict_is_an_answer_and_no_failure(sora: Sora, prompt: str, verdict: str) -> None:
    ended = sora("check-remix", "--prompt", prompt, "--json")
    assert (ended.code, ended.document["verdict"]) == (0, verdict)


def test_a_file_is_answered_line_by_line_in_its_order(sora: Sora, folder: Path) -> None:
    lines = [{"prompt": "Make it rain."}, {"prompt": SEVERAL, "changes": "multiple"}]
    Path("prompts.jsonl").write_text("\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    answers = [json.loads(line) for line in sora("check-remix", "--file", "prompts.jsonl").out.splitlines()]
    assert [answer["verdict"] for answer in answers] == ["single", "multiple"]


def test_the_answers_on_a_file_can_be_kept_as_one_document(sora: Sora, folder: Path) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "Make it rain."}', encoding="utf-8")
    sora("check-remix", "--file", "prompts.jsonl", "--json-out", "answers.json")
    assert json.loads(Path("answers.json").read_text(encoding="utf-8"))[0]["verdict"] == "single"


@pytest.mark.parametrize(
    "line", ["{", '"Make it rain."', "{}", '{"prompt": 7}', '{"prompt": " "}', '{"prompt": "\\ud800"}']
)
def test_a_line_that_is_no_prompt_is_named_and_nothing_is_answered(
    sora: Sora, folder: Path, line: str
) -> None:
    Path("prompts.jsonl").write_text(f'{{"prompt": "Make it rain."}}\n{line}\n', encoding="utf-8")
    ended = sora("check-remix", "--file", "prompts.jsonl")
    assert (ended.code, ended.data) == (2, "")
    assert "prompts.jsonl, line 2: " in ended.error


def test_bytes_that_are_no_text_are_refused(sora: Sora, folder: Path) -> None:
    Path("prompts.jsonl").write_bytes(b'{"prompt": "\xff"}')
    ended = sora("check-remix", "--file", "prompts.jsonl")
    assert ended.code == 2
    assert "expected UTF-8" in ended.error


@pytest.mark.parametrize("arguments", [(), ("--prompt", "x", "--file", "prompts.jsonl")])
def test_one_of_prompt_and_file_is_given(sora: Sora, folder: Path, arguments: tuple[str, ...]) -> None:
    Path("prompts.jsonl").touch()
    assert sora("check-remix", *arguments).code == 2


def test_a_prompt_that_no_remix_could_have_is_refused(sora: Sora) -> None:
    assert "at most 32,000" in sora("check-remix", "--prompt", "a" * 32_001).error


def test_for_reading_each_change_has_a_line(sora: Sora) -> None:
    text = sora("check-remix", "--prompt", SEVERAL, "--format=text").out
    assert text.splitlines() == [
        f"multiple  {SEVERAL}",
        "  it changes 2 things: setting (“Make the sky purple”), setting (“remove the trees”)",
        "  setting:    Make the sky purple",
        "  setting:    remove the trees",
    ]


def test_neither_ledger_nor_server_is_touched(folder: Path) -> None:
    program = (
        "import sys; from cli.main import run; run(['check-remix', '--prompt', 'Make it rain.']);"
        " assert not {'openai', 'sqlite3'} & set(sys.modules), sys.modules.keys()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list(folder.iterdir()) == []

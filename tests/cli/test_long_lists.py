"""A long list is printed as it is read, and is the same document as a short one."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.text import output
from ledger.log.ledger import Ledger
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

MEMBER = {"text": "x" * 40_000}


def test_a_member_is_printed_before_the_last_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with output.print_list("records") as add:
        add(MEMBER)
        add(MEMBER)
        assert "xxx" in capsys.readouterr().out


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_bytes_are_those_of_the_whole_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    members = [{"a": "ä\x9b", "b": {}, "c": [1, None], "n": number} for number in range(count)]
    with output.print_list("records") as printed, output.write_list(tmp_path / "f", "records") as filed:
        for member in members:
            printed(member)
            filed(member)
    whole = output.to_json({"records": members}) + "\n"
    assert (capsys.readouterr().out, (tmp_path / "f").read_text()) == (whole, whole)
    assert json.loads(whole) == {"records": members}


def _break_off(path: Path) -> None:
    with output.write_list(path, "records") as add:
        add(MEMBER)
        add(object())  # what JSON cannot hold


def test_a_file_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        _break_off(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_log_reads_no_more_than_it_has_printed(
    sora: Sora, denied: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Ledger.read
    observed = []

    def read(self: Ledger, *args: Any, **options: Any) -> Iterator[Any]:
        for _ in range(1_000):
            yield from real(self, *args, **options)
            observed.append(len(capsys.readouterr().out))

    monkeypatch.setattr(Ledger, "read", read)
    sora("log")
    assert sum(size > 0 for size in observed) > 10


def test_a_search_over_many_jobs_reads_them_in_parts(
    sora: Sora, denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")
    whole = sora("jobs").document
    monkeypatch.setattr("ledger.log.ledger._CHUNK", 2)
    assert (sora("jobs").document, len(whole["jobs"])) == (whole, 5)
    assert len(sora("jobs", "--limit", "3").document["jobs"]) == 3


def test_jobs_as_of_a_position_have_their_own_prompts_and_times_however_many_are_read_at_once(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server()
    for prompt in ("a fox", "a hen", "an owl"):
        assert sora("create-and-poll", "--prompt", prompt, "--no-augment").code == 0
    now = {job["job_id"]: (job["prompt"], job["completed_at"]) for job in sora("jobs").document["jobs"]}
    monkeypatch.setattr("cli.commands.replay.TEXTS_AT_ONCE", 2)
    position = sora("log").document["records"][-1]["position"]
    then = sora("replay", "--as-of", str(position)).document["jobs"]
    assert {job["job_id"]: (job["prompt"], job["completed_at"]) for job in then} == now
    assert None not in {completed_at for _, completed_at in now.values()}
    assert {prompt for prompt, _ in now.values()} == {"a fox", "a hen", "an owl"}

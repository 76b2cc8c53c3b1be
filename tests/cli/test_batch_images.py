"""Images of a batch: what is sent of them, and how they are made to fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Sora

BATCH = ["create-batch", "--input", "prompts.jsonl", "--out-dir", "out", "--profile", "sandbox", "--dry-run"]


@pytest.fixture(autouse=True)
def _files(folder: Path, picture: Callable[..., bytes]) -> None:
    (folder / "small.png").write_bytes(picture((100, 100)))
    entries = [
        {"prompt": "a fox", "input_reference": "small.png"},
        {"prompt": "an owl", "input_reference": "small.png", "size": "720x1280"},
    ]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, entries)))


def test_an_image_is_made_to_fit_the_size_of_each_entry(sora: Sora) -> None:
    ended = sora(*BATCH, "--fit", "pad")
    sent = [job["request"]["files"]["input_reference"] for job in ended.document["jobs"]]
    assert (ended.code, {file["media_type"] for file in sent}) == (0, {"image/png"})
    assert sent[0]["bytes"] != sent[1]["bytes"]


def test_without_fit_every_entry_is_told_the_way_out(sora: Sora) -> None:
    ended = sora(*BATCH)
    assert ended.code == 2
    assert ended.error.count("use --fit cover") == 2


def test_a_fit_that_is_none_is_refused(sora: Sora) -> None:
    ended = sora(*BATCH, "--fit", "stretch")
    assert (ended.code, "expected one of cover, contain, pad" in ended.error) == (2, True)


def test_an_invalid_size_is_reported_with_its_line(sora: Sora, folder: Path) -> None:
    entry = {"prompt": "a fox", "input_reference": "small.png", "size": ["wide"]}
    (folder / "prompts.jsonl").write_text(json.dumps(entry))
    ended = sora(*BATCH, "--fit", "cover")
    assert (ended.code, "line 1" in ended.error) == (2, True)

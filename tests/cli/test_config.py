"""A person's own defaults: below options, variables and `.env`, for the right commands, and checked."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Sora


def body(ended: Any) -> dict[str, Any]:
    return dict(ended.document["request"]["body"])


def file_of(folder: Path) -> Path:
    assert folder.is_dir()
    return Path(os.environ["XDG_CONFIG_HOME"]) / "sora-ledger" / "config.toml"


def test_a_default_is_set_shown_and_removed(sora: Sora, folder: Path) -> None:
    assert sora("config", "set", "seconds", "8").document["path"] == str(file_of(folder))
    assert sora("config", "get", "seconds").document == {"key": "seconds", "value": "8"}
    assert sora("config", "list").document["config"]["seconds"] == "8"
    sora("config", "unset", "seconds")
    assert sora("config", "get", "seconds").document["value"] is None


def test_defaults_apply_to_a_new_render_and_options_override_them(sora: Sora) -> None:
    for key, value in (("profile", "sandbox"), ("seconds", "8"), ("size", "720x1280"), ("team", "film")):
        assert sora("config", "set", key, value).code == 0
    made = sora("create", "a fox in snow", "--dry-run")
    assert (body(made)["seconds"], body(made)["size"]) == ("8", "720x1280")
    assert made.document["decision"]["basis"]["inputs"]["team"] == "film"
    for more in (["--seconds", "4"], ["--duration", "4"]):
        assert body(sora("create", "a fox in snow", "--dry-run", *more))["seconds"] == "4"


def test_variables_override_the_file(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> None:
    sora("config", "set", "team", "film")
    monkeypatch.setenv("SORA_LEDGER_TEAM", "ads")
    made = sora("create", "a fox in snow", "--dry-run", "--profile", "sandbox")
    assert made.document["decision"]["basis"]["inputs"]["team"] == "ads"


def test_a_server_in_the_environment_is_more_than_a_habit(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    sora("config", "set", "profile", "sandbox")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    made = sora("create", "a fox in snow", "--dry-run")
    assert made.document["request"]["url"].startswith("http://127.0.0.1:9/v1")


def test_nearest_and_max_cost_can_be_defaults(sora: Sora) -> None:
    for key, value in (("profile", "sandbox"), ("nearest", "true"), ("max_cost", "0.01")):
        sora("config", "set", key, value)
    denied = sora("create", "a fox in snow", "--seconds", "5", "--dry-run")
    assert (denied.code, "--nearest: 5 seconds" in denied.error) == (3, True)


def test_filters_of_lists_have_no_defaults(sora: Sora, denied: str) -> None:
    sora("config", "set", "model", "sora-2-pro")
    assert [job["job_id"] for job in sora("jobs").document["jobs"]] == [denied]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", "5"),
        ("size", "huge"),
        ("model", "veo"),
        ("purpose", "fun"),
        ("nearest", "perhaps"),
        ("team", "Film Team"),
        ("max_cost", "much"),
        ("timeout", "-1"),
        ("actor", "ben"),
        ("OPENAI_API_KEY", "sk-1"),
    ],
)
def test_what_an_option_would_refuse_is_not_set(sora: Sora, folder: Path, key: str, value: str) -> None:
    ended = sora("config", "set", key, value)
    assert (ended.code, file_of(folder).exists()) == (2, False)


@pytest.mark.parametrize("text", ["seconds = ", "colour = 'red'\n", "seconds = [8]\n", "\xff"])
def test_a_broken_file_is_named(sora: Sora, folder: Path, text: str) -> None:
    file_of(folder).parent.mkdir(parents=True)
    file_of(folder).write_bytes(text.encode("latin-1"))
    ended = sora("create", "a fox in snow", "--dry-run", "--profile", "sandbox")
    assert (ended.code, f"config file {file_of(folder)}" in ended.error) == (2, True)


@pytest.mark.parametrize(
    ("typed", "nearest"), [("max-cost", "max_cost"), ("--Seconds", "seconds"), ("purpse", "purpose")]
)
def test_an_unknown_key_names_the_nearest(sora: Sora, folder: Path, typed: str, nearest: str) -> None:
    ended = sora("config", "set", "--", typed, "8")
    assert (ended.code, f"did you mean {nearest}?" in ended.error) == (2, True)
    file_of(folder).parent.mkdir(parents=True)
    file_of(folder).write_text(f'"{typed}" = "8"\n')
    ended = sora("config", "list")
    assert (ended.code, f"did you mean {nearest}?" in ended.error) == (2, True)

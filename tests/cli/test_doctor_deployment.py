"""The doctor of a deployment names what would hurt the people who depend on it."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from render_service.maintenance import deployment
from tests.cli.conftest import Sora

CHECKS = ["role", "user", "upstream", "answers", "files", "console", "webhooks", "signing", "limits"]
MOUNTS = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:20 / /tmp rw - tmpfs tmpfs rw
23 21 0:21 / /srv/a\\040share rw shared:1 - nfs4 host:/export rw
"""


@pytest.fixture
def found(sora: Sora) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run `doctor --deployment` and return its findings by check."""

    def look(*arguments: str) -> dict[str, dict[str, Any]]:
        ended = sora("doctor", "--deployment", "--dry-run", *arguments)
        return {finding["check"]: finding for finding in ended.document["findings"]}

    return look


def test_the_doctor_of_a_deployment_makes_its_checks_after_the_usual_ones(sora: Sora) -> None:
    ended = sora("doctor", "--deployment", "--dry-run")
    assert [finding["check"] for finding in ended.document["findings"]][-len(CHECKS) :] == CHECKS


def test_the_sandbox_is_no_server_of_a_deployment(found: Callable[..., dict[str, dict[str, Any]]]) -> None:
    upstream = found("--profile", "sandbox")["upstream"]
    assert (upstream["found"], "test clips" in upstream["says"]) == ("wrong", True)


@pytest.mark.parametrize(
    ("address", "state"),
    [
        ("https://videos.example.com/v1", "ok"),
        ("http://videos.example.com/v1", "wrong"),
        ("http://10.0.0.7:8000/v1", "ok"),
        ("http://videos:8000/v1", "ok"),
    ],
)
def test_a_key_that_crosses_the_network_in_the_clear_is_found(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, address: str, state: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert found("--profile", "custom")["upstream"]["found"] == state


def test_a_signing_key_that_others_can_read_is_found(
    found: Callable[..., dict[str, dict[str, Any]]], sora: Sora, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    sora("key", "new", "signing.key", "--name", "ledger.example")
    monkeypatch.setenv("SORA_LEDGER_KEY", "signing.key")
    assert found()["signing"]["found"] == "ok"
    (folder / "signing.key").chmod(0o644)
    assert found()["signing"]["fix"] == "chmod 600 signing.key"
    monkeypatch.setenv("SORA_LEDGER_KEY", "gone.key")
    assert found()["signing"]["says"] == "gone.key: No such file or directory"


def test_a_webhook_secret_that_checks_nothing_is_found_and_not_printed(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_WEBHOOK_SECRETS", "whsec_no-base64-at-all")
    webhooks = found("--profile", "custom")["webhooks"]
    assert (webhooks["found"], "no-base64" in str(webhooks)) == ("wrong", False)


def test_a_process_that_is_root_is_found(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert found()["user"]["found"] == "wrong"
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    assert found()["user"]["found"] == "ok"


def test_too_few_open_files_are_found(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    limits = found()["limits"]
    assert (limits["found"], limits["says"]) == ("wrong", "256 open files are too few for `serve`")


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_a_place_that_ends_with_the_container_is_found(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(deployment, "file_system_of", lambda _: kind)
    findings = found()
    assert {findings[check]["found"] for check in ("answers", "files")} == {"wrong"}


def test_a_ledger_on_a_network_file_system_is_found(
    found: Callable[..., dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "file_system_of", lambda _: "nfs4")
    role = found()["role"]
    assert (role["found"], "network file system (nfs4)" in role["says"]) == ("wrong", True)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/tmp/ledger.db", "tmpfs"), ("/srv/other", "ext4"), ("/nowhere/at/all", "ext4")],
)
def test_the_file_system_of_a_path_is_that_of_the_closest_mount(tmp_path: Path, path: str, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert deployment.file_system_of(Path(path), table) == kind
    assert deployment.file_system_of(Path(path), tmp_path / "gone") == "unknown"

"""`retry` requests again what came to nothing: from its record, once, and never what may yet be billed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

QUICK = ("--poll-interval", "0.05")
SHOT = (
    *("--prompt", "a fox runs through snow [fail]"),
    *("--seconds", "8", "--size", "720x1280", "--purpose", "client", "--deadline", "30", "--max-cost", "50"),
    *("--lighting", "low sun", "--camera", "handheld", "--team", "film", "--project", "spring", "--attest"),
)
FREE = ("--profile", "sandbox", "--max-cost", "0")


def creates(running: SandboxServer) -> int:
    return int(httpx2.get(f"{running.origin}/_sandbox/requests").json().get("creates", 0))


def request_in(sora: Sora, job: str) -> dict[str, Any]:
    """Return the recorded request of a job, texts without their salts."""
    first = sora("show", job).document["records"][0]

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return value["text"] if "commitment" in value else {k: plain(v) for k, v in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {name: plain(value) for name, value in first["payload"].items()}


def same_request(sora: Sora, before: str, after: str) -> bool:
    then, now = request_in(sora, before), request_in(sora, after)
    assert now.pop("request_key") == f"retry:{before}"
    return now == {name: value for name, value in then.items() if name != "request_key"}


def test_a_failed_render_is_requested_again_as_it_was(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    running = server()
    failed = sora("create-and-poll", *SHOT, *QUICK).document["final"]["job_id"]
    again = sora("retry", failed)
    assert (again.code, again.document["state"], again.document["retry_of"]) == (0, "running", failed)
    assert same_request(sora, failed, again.document["job_id"])
    assert creates(running) == 2
    assert sora("verify").code == 0
    assert sora("replay").code == 0


def test_the_same_retry_twice_is_one_render(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    running = server()
    failed = sora("create-and-poll", *SHOT, *QUICK).document["final"]["job_id"]
    first, second = sora("retry", failed).document, sora("retry", failed).document
    assert (second["job_id"], second["repeated"]) == (first["job_id"], True)
    assert creates(running) == 2


def test_a_retry_and_its_job_name_each_other(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    failed = sora("create-and-poll", *SHOT, *QUICK).document["final"]["job_id"]
    again = sora("retry", failed).document["job_id"]
    before, after = sora("show", failed).document, sora("show", again).document
    assert (before["retry_of"], before["retried_as"]) == (None, again)
    assert (after["retry_of"], after["retried_as"]) == (failed, None)
    assert after["records"][0]["causation_id"] == before["records"][-1]["event_id"]
    assert f"retries {failed}" in sora("show", again, "--format", "text").out


def test_images_with_their_names_are_taken_from_the_asset_store(
    sora: Sora, folder: Path, picture: Callable[..., bytes]
) -> None:
    (folder / "hero.png").write_bytes(picture((640, 480)))
    (folder / "more.png").write_bytes(picture((320, 200)))
    denied = sora("create", "--prompt", "a fox", "-i", "hero.png,more.png", "--fit", "cover", *FREE).document[
        "job_id"
    ]
    for file in folder.glob("*.png"):
        file.unlink()
    assert same_request(sora, denied, sora("retry", denied).document["job_id"])


def test_the_promoted_draft_the_seed_and_the_characters_are_requested_again(sora: Sora) -> None:
    draft = sora("create", "--prompt", "a fox", *FREE).document["job_id"]
    more = ("--promotes", draft, "--purpose", "final", "--seed", "7", "--loop", "--character-id", "char_1")
    denied = sora("create", "--prompt", "a fox", *more, *FREE).document["job_id"]
    assert same_request(sora, denied, sora("retry", denied).document["job_id"])


def test_a_remix_keeps_its_source_and_its_declared_change(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "a fox in snow", *QUICK).document["final"]["job_id"]
    command = ("remix", source, "--prompt", "Do it the other way", "--declare-change", "palette")
    denied = sora(*command, "--max-cost", "0").document["job_id"]
    again = sora("retry", denied).document["job_id"]
    assert same_request(sora, denied, again)
    inputs = sora("explain", again).document["why"]["inputs"]
    assert inputs["declared_change"] == "palette"


@pytest.mark.parametrize(
    ("command", "more"),
    [("edit", ()), ("extend", ("--seconds", "8"))],
)
def test_a_failed_edit_or_extension_is_requested_again_of_the_same_video(
    sora: Sora, server: Callable[..., SandboxServer], command: str, more: tuple[str, ...]
) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "a fox", *QUICK).document["final"]["job_id"]
    failed = sora(command, "--id", source, "--prompt", "it snows [fail]", *more).document["job_id"]
    assert sora("poll", failed, *QUICK).document["state"] == "failed"
    again = sora("retry", failed)
    assert (again.code, again.document["source_job"]) == (0, source)
    assert same_request(sora, failed, again.document["job_id"])
    assert sora("verify").code == 0


def test_a_failed_edit_of_an_upload_is_requested_again_with_the_stored_file(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    running = server()
    sora("create-and-poll", "--prompt", "a fox", *QUICK, "--download", "--out", "clip.mp4")
    failed = sora("edit", "--video", "clip.mp4", "--prompt", "it snows [fail]").document["job_id"]
    assert sora("poll", failed, *QUICK).document["state"] == "failed"
    (folder / "clip.mp4").unlink()
    again = sora("retry", failed)
    assert again.code == 0, again.error
    assert same_request(sora, failed, again.document["job_id"])
    counts = httpx2.get(f"{running.origin}/_sandbox/requests").json()
    assert counts["edits"] == 2
    for stored in (folder / "assets" / "sha256").rglob("*.mp4"):
        stored.chmod(0o600)
        stored.write_bytes(b"another film")
    sora("poll", again.document["job_id"], *QUICK)
    changed = sora("retry", again.document["job_id"])
    assert changed.code != 0
    assert httpx2.get(f"{running.origin}/_sandbox/requests").json()["edits"] == 2


def test_a_denied_request_is_allowed_once_there_is_money(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    sora("budget", "set", "all", "--limit", "0.10")
    denied = sora("create", "--prompt", "a fox in snow")
    sora("budget", "set", "all", "--limit", "5")
    again = sora("retry", denied.document["job_id"])
    assert (denied.code, again.code, again.document["state"]) == (3, 0, "running")


def test_a_retry_that_fails_is_retried_by_its_own_id(sora: Sora) -> None:
    first = sora("create", "--prompt", "a fox", *FREE).document["job_id"]
    second = sora("retry", first).document["job_id"]
    third = sora("retry", second).document["job_id"]
    assert len({first, second, third}) == 3
    assert sora("retry", first).document["job_id"] == second


@pytest.mark.parametrize(
    ("state", "step"),
    [("running", "sora-ledger poll"), ("stored", "is stored"), ("unknown", "sora-ledger reconcile")],
)
def test_what_may_be_billed_or_is_here_is_not_requested_again(
    sora: Sora, server: Callable[..., SandboxServer], state: str, step: str
) -> None:
    running = server(faults=("create=kept-but-answer-lost:1",) if state == "unknown" else ())
    job = sora("create", "--prompt", "a fox in snow", "--request-key", "a").document["job_id"]
    if state == "stored":
        sora("poll", job, *QUICK)
    made = creates(running)
    ended = sora("retry", job)
    assert (ended.code, f"is {state}" in ended.error, step in ended.error) == (1, True, True)
    assert creates(running) == made


def test_an_abandoned_render_may_still_be_billed_so_it_is_not_requested_again(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    running = server(render_seconds=9999)
    job = sora("create", "--prompt", "a fox in snow").document["job_id"]
    sora("give-up", job, "--reason", "it takes for ever")
    ended = sora("retry", job)
    assert (ended.code, "may still finish and be billed" in ended.error, creates(running)) == (1, True, 1)


def test_a_job_that_waits_for_its_submission_is_resumed_instead(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow", "--queue").document["job_id"]
    ended = sora("retry", job)
    assert (ended.code, f"sora-ledger resume {job}" in ended.error) == (1, True)


def test_a_withdrawn_job_is_requested_again(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow", "--queue").document["job_id"]
    sora("cancel", job)
    assert sora("retry", job).document["state"] == "running"


def test_an_erased_prompt_cannot_be_requested_again(sora: Sora, denied: str) -> None:
    sora("erase", denied, "--reason", "subject_request", "--yes")
    ended = sora("retry", denied)
    assert (ended.code, "the prompt was erased" in ended.error) == (2, True)


def test_an_image_that_is_gone_is_named(sora: Sora, folder: Path, picture: Callable[..., bytes]) -> None:
    (folder / "hero.png").write_bytes(picture())
    denied = sora("create", "--prompt", "a fox", "-i", "hero.png", *FREE).document["job_id"]
    for file in folder.glob("assets/sha256/**/*.png"):
        file.unlink()
    ended = sora("retry", denied)
    assert (ended.code, "the image of its request is no longer in asset storage" in ended.error) == (1, True)


def test_an_attestation_counts_only_for_the_person_who_gave_it(sora: Sora) -> None:
    job = sora("create", "--prompt", "a fox", "--attest", *FREE).document["job_id"]
    by_ben = sora("retry", job, "--actor", "ben").document["job_id"]
    assert request_in(sora, by_ben)["attested"] is False
    assert request_in(sora, sora("retry", by_ben, "--attest").document["job_id"])["attested"] is True


def test_whynot_of_a_failed_render_says_retry(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    failed = sora("create-and-poll", *SHOT, *QUICK).document["final"]["job_id"]
    ended = sora("whynot", failed)
    assert ended.document["commands"] == [f"sora-ledger retry {failed}"]
    assert "--camera handheld" in ended.document["request_again"]


def test_a_retry_that_is_rejected_too_names_no_key_that_nobody_gave(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    rejected = sora("create", "a fox runs", "--loop", "--profile", "custom").document["job_id"]
    again = sora("retry", rejected)
    assert (again.document["state"], again.code) == ("rejected", 8)
    assert "asking again changes nothing; change the request" in again.error
    assert "--request-key" not in again.error

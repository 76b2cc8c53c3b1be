"""Files belong to one ledger: no other, and no copy of it, removes them, and nothing outside is touched."""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
ERASING = ("--reason", "subject_request", "--with-assets", "--yes")


@pytest.fixture
def ana(outside: Start, person: Person) -> Person:
    return person.at(outside())


def rendered(ana: Person, prompt: str = "a fox runs", *more: str) -> Any:
    options = ("--prompt", prompt, "--no-augment", "--poll-interval", "0.05", *more)
    ended = ana("create-and-poll", *options)
    assert ended.code == 0, ended.err
    return ended.document["final"]


def videos(folder: Path) -> list[Path]:
    return sorted(folder.glob("assets/sha256/*/*"))


def age(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 100_000,) * 2)


def test_a_ledger_that_was_copied_with_its_files_shows_hands_out_and_verifies_them(ana: Person) -> None:
    job = rendered(ana)
    moved = ana.folder.with_name("moved")
    shutil.copytree(ana.folder, moved)
    shutil.rmtree(ana.folder)
    there = replace(ana, folder=moved)
    assert there("verify", "--with-assets").code == 0
    assert there("assets", "check").document["clean"]
    assert there("download", "--id", job["job_id"], "--out", "copy.mp4").code == 0
    assert there("erase", job["job_id"], *ERASING).code == 0
    assert videos(moved) == []


def test_gc_for_a_ledger_that_was_restored_beside_the_live_one_leaves_its_videos(ana: Person) -> None:
    rendered(ana, "a fox runs")
    assert ana("backup", "ledger.backup").code == 0
    second = rendered(ana, "a hare runs", "--seconds", "8")
    assert ana("restore", "ledger.backup", "drill.db").code == 0
    age(*videos(ana.folder))
    for refused in (
        ana("assets", "gc", "--ledger", "drill.db"),
        ana("erase", "--older-than", "0", *ERASING, "--ledger", "drill.db"),
    ):
        assert (refused.code, "in use by the ledger at ../ledger.db" in refused.err) == (1, True), refused.err
    assert ana("verify", "--with-assets").code == 0
    assert ana("download", "--id", second["job_id"], "--out", "copy.mp4").code == 0
    assert ana("assets", "claim", "--ledger", "drill.db").code == 0
    assert len(ana("assets", "gc", "--ledger", "drill.db").document["removed"]) == 1


def test_another_ledger_is_refused_before_anything_is_paid_for(outside: Start, person: Person) -> None:
    server = outside()
    ana = person.at(server)
    rendered(ana)
    refused = ana("create", "--prompt", "a hare", "--ledger", "other.db")
    assert (refused.code, len(server.bills())) == (1, 1)
    assert "belong to another ledger" in refused.err
    assert "SORA_LEDGER_ASSETS" in refused.err
    apart = ana.with_(SORA_LEDGER_ASSETS="apart")
    assert apart("create", "--prompt", "a hare", "--ledger", "other.db").code == 0


def test_a_worker_that_drains_leaves_videos_it_may_not_store_here_to_a_person(
    outside: Start, person: Person
) -> None:
    server = outside()
    ana = person.at(server)
    rendered(ana)
    apart = ana.with_(SORA_LEDGER_ASSETS="apart", SORA_LEDGER_URL="sqlite:///other.db")
    assert apart("create", "--prompt", "a hare", "--queue").code == 0
    taken = ana.with_(SORA_LEDGER_URL="sqlite:///other.db")
    drain = ("worker", "--drain", "--interval", "0.1")
    ended = taken(*drain)
    [left] = ended.document["left"]
    assert (ended.code, "belong to another ledger" in ended.err, len(server.bills())) == (3, True, 1)
    assert (apart(*drain).code, len(server.bills())) == (0, 2)
    assert left["job_id"] in apart("jobs").out


def test_files_from_before_places_belonged_are_claimed_only_if_all_are_named(ana: Person) -> None:
    rendered(ana)
    note = ana.folder / "assets" / "ledger.json"
    note.unlink()
    rendered(ana, "a hare")
    assert json.loads(note.read_text())["ledger"] == "../ledger.db"
    note.unlink()
    digest = hashlib.sha256(b"whose").hexdigest()
    stranger = ana.folder / "assets" / "sha256" / digest[:2] / f"{digest}.mp4"
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_bytes(b"whose")
    refused = ana("create", "--prompt", "an owl")
    assert (refused.code, "does not name 1 of the" in refused.err) == (1, True)
    assert ana("assets", "claim").code == 0
    assert ana("create", "--prompt", "an owl").code == 0


def rewrite(folder: Path, uri: str, sha256: str, size: int) -> None:
    """Make the ledger say that its video is another file."""
    with sqlite3.connect(folder / "ledger.db") as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        facts = {"storage_uri": uri, "sha256": sha256, "bytes": size}
        stored = "SELECT position, record, payload FROM events WHERE type = 'asset.stored'"
        [(position, record, payload)] = db.execute(stored).fetchall()
        forged = _canonical(json.loads(payload) | facts)
        digest = hashlib.sha256(forged).hexdigest()
        signed = _canonical(json.loads(record) | {"payload_sha256": digest})
        leaf = hashlib.sha256(b"\0" + signed).digest()
        row = (signed, forged, leaf, position)
        db.execute("UPDATE events SET record = ?, payload = ?, leaf = ? WHERE position = ?", row)
        [(job_id, body)] = db.execute("SELECT job_id, body FROM jobs").fetchall()
        job = json.loads(body)
        job["assets"]["video"].update(facts)
        db.execute("UPDATE jobs SET body = ? WHERE job_id = ?", (_canonical(job), job_id))


def _canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_hostile_ledger_has_no_file_removed_that_it_names(ana: Person) -> None:
    job = rendered(ana)
    thesis = ana.folder.with_name("thesis.docx")
    thesis.write_bytes(b"three years of work")
    digest = hashlib.sha256(thesis.read_bytes()).hexdigest()
    other = ana.folder.with_name("other") / "sha256" / digest[:2] / f"{digest}.mp4"
    other.parent.mkdir(parents=True)
    other.write_bytes(thesis.read_bytes())
    for path in (thesis, other):
        rewrite(ana.folder, path.as_uri(), digest, len(thesis.read_bytes()))
        ended = ana("erase", job["job_id"], *ERASING)
        assert ended.code == 0, ended.err
        assert path.exists()
    assert "outside" in json.dumps(ended.document["left"])


@pytest.mark.parametrize("hostile", ["/dev/zero", "pipe", "link", "shard"])
def test_a_hostile_ledger_has_nothing_opened_but_regular_files_of_the_recorded_length(
    ana: Person, hostile: str
) -> None:
    rendered(ana)
    [video] = videos(ana.folder)
    if hostile == "/dev/zero":
        rewrite(ana.folder, "file:///dev/zero", video.stem, 1)
    elif hostile == "pipe":
        video.unlink()
        os.mkfifo(video)
    elif hostile == "link":
        video.unlink()
        video.symlink_to("/dev/zero")
    else:
        video.parent.rename(ana.folder / "elsewhere")
        video.parent.symlink_to(ana.folder / "elsewhere")
    ended = ana("assets", "check")
    assert (ended.code, [found["state"] for found in ended.document["findings"]]) == (10, ["missing"])
    assert ana("verify", "--with-assets").code == 10

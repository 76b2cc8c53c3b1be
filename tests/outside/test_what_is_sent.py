"""What a server received is what the ledger committed to before it was sent."""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]


def document_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return the document of `docs/FORMAT.md`, "What is sent", from what a server received."""
    body, media_type = bytes.fromhex(request["body"]), request["headers"]["content-type"]
    fields: dict[str, Any] = {}
    files: list[dict[str, str]] = []
    if media_type == "application/json":
        fields = json.loads(body)
    else:
        form = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {media_type}\r\n\r\n".encode() + body)
        for part in form.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename() is None:
                fields[name] = content.decode()
            else:
                digest = hashlib.sha256(content).hexdigest()
                files.append({"media_type": part.get_content_type(), "name": name, "sha256": digest})
    return {
        "fields": fields,
        "files": files,
        "media_type": media_type.partition(";")[0],
        "method": request["method"],
        "target": request["path"],
    }


def commitments(person: Person) -> list[tuple[str, bytes]]:
    """Return what each intent of a ledger commits to, and the salt of it, in their order."""
    with sqlite3.connect(person.folder / "ledger.db") as db:
        rows = db.execute(
            "SELECT payload, salt FROM events JOIN private_bodies USING (position) "
            "WHERE type = 'submission.intended' AND field = 'sent_sha256' ORDER BY position"
        ).fetchall()
    db.close()
    return [(json.loads(payload)["sent_sha256"]["commitment"], salt) for payload, salt in rows]


def recorded_text(person: Person, field: str) -> str:
    with sqlite3.connect(person.folder / "ledger.db") as db:
        [(text,)] = db.execute("SELECT text FROM private_bodies WHERE field = ?", (field,)).fetchall()
    db.close()
    return str(text)


def committed(request: dict[str, Any], salt: bytes) -> str:
    document = json.dumps(
        document_of(request), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    text = b"sora-ledger/private/v1\0sent_sha256\0" + hashlib.sha256(document).hexdigest().encode()
    return hmac.new(salt, text, hashlib.sha256).hexdigest()


@pytest.fixture
def frame(person: Person) -> str:
    Image.new("RGB", (1280, 720), "teal").save(person.folder / 'a "frame" é.png')
    return 'a "frame" é.png'


def test_what_a_server_received_is_what_each_intent_committed_to(
    outside: Start, person: Person, frame: str
) -> None:
    server = outside()
    ana = person.at(server)
    ana("create", "--prompt", "a fox\r\n--runs é", "--size", "1280x720", "--input-reference", frame)
    made = ana("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05").document["create"]["job_id"]
    ends = [
        ana("remix", "--id", made, "--prompt", "same shot, at night"),
        ana("extend", "--id", made, "--prompt", "it runs on", "--seconds", "4"),
        ana("edit", "--id", made, "--prompt", "same shot, in the rain"),
    ]
    assert [end.code for end in ends] == [0, 0, 0], [end.err for end in ends]
    received, recorded = server.requests("POST"), commitments(person)
    assert len(recorded) == len(server.bills()) == 5
    assert [committed(request, salt) for request, (_, salt) in zip(received, recorded, strict=True)] == [
        commitment for commitment, _ in recorded
    ]
    assert person("verify").code == 0


def test_the_commitment_stays_and_its_digest_goes_when_a_job_is_erased(
    outside: Start, person: Person
) -> None:
    server = outside()
    job = person.at(server)("create", "--prompt", "a fox runs").document["job_id"]
    assert (person("erase", job, "--reason", "asked", "--yes").code, commitments(person)) == (0, [])
    assert person("verify").code == 0


def test_a_repeated_key_with_no_augment_is_refused_and_the_recorded_text_is_sent(
    outside: Start, person: Person
) -> None:
    server = outside()
    ana = person.at(server)
    command = ("create", "--prompt", "a fox runs", "--request-key", "k1")
    ana(*command, "--queue")
    refused = ana(*command, "--no-augment")
    assert (refused.code, server.bills()) == (2, [])
    assert "requested with other augmentation" in refused.err
    assert ana(*command).code == 0
    [bill] = server.bills()
    assert bill["prompt"] == recorded_text(person, "augmented_prompt") != "a fox runs"


def test_a_batch_resumed_with_no_augment_is_refused_before_anything_is_sent(
    outside: Start, person: Person
) -> None:
    server = outside()
    ana = person.at(server)
    Path(ana.folder, "two.jsonl").write_text('{"prompt": "a fox"}\n{"prompt": "an owl"}\n')
    batch = ("create-batch", "--input", "two.jsonl", "--out-dir", "out")
    ana(*batch, "--queue")
    refused = ana(*batch, "--resume", "--no-augment")
    assert (refused.code, server.bills(), "another augmentation" in refused.err) == (2, [], True)
    assert (ana(*batch, "--resume").code, len(server.bills())) == (0, 2)


def test_two_batches_with_one_path_and_one_ledger_are_distinguished_by_name(
    outside: Start, person: Person, tmp_path: Path
) -> None:
    server = outside()
    ana = person.at(server)
    Path(ana.folder, "one.jsonl").write_text('{"prompt": "a fox"}\n')
    batch = ("create-batch", "--input", "one.jsonl", "--out-dir", "out")
    ana(*batch)
    Path(ana.folder, "out").rename(tmp_path / "on another machine")
    refused = ana(*batch)
    assert (refused.code, "--batch NAME" in refused.err, len(server.bills())) == (2, True, 1)
    assert (ana(*batch, "--batch", "machine-2").code, len(server.bills())) == (0, 2)
    assert (ana(*batch, "--batch", "machine-2", "--resume").code, len(server.bills())) == (0, 2)

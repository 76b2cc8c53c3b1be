"""What the browser checks by itself: one record of the server, and files, without trusting the server."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from ledger.canonical import leaf_hash
from ledger.tree.checkpoint import Checkpoint
from ledger.verify.verify_bundle import root_of_path
from tests.console.conftest import Console
from tests.console.forgery import pack, unpack
from tests.console.test_log import tamper

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
KEY = "ledger.example+d39ecdc2+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
EVIDENCE = [
    GOLDEN / name for name in ("evidence.zip", "record-3.tlog-proof", "consistency.proof", "old.checkpoint")
]


def ready(page: Page) -> None:
    """Wait until the page's script runs."""
    page.wait_for_selector("[data-ready]")


def check_record(page: Page, console: Console, position: int) -> tuple[dict[str, str], str]:
    """Press the button on the page of a record; return the result of each step, and the verdict."""
    page.goto(f"{console.url}/log/{position}")
    ready(page)
    page.get_by_role("button", name="Check in this browser").click()
    verdict = page.locator("#verdict")
    verdict.wait_for()
    steps = [text.split(": ", 1) for text in page.locator("#steps .what").all_inner_texts()]
    return {name: result for result, name in steps}, verdict.inner_text()


def check_files(page: Page, console: Console, files: list[Path], key: str = "") -> dict[str, str]:
    """Choose files on the page that checks them; return what it shows about each."""
    page.goto(f"{console.url}/check")
    ready(page)
    page.get_by_label("Public keys").fill(key)
    page.get_by_label("Choose or drop").set_input_files([str(file) for file in files])
    page.locator(".result").nth(len(files) - 1).wait_for()
    cards = page.locator(".result").all_inner_texts()
    return {text.split("\n")[0]: text for text in cards}


def position_of(console: Console, type_: str, job: str) -> int:
    with console.reader("aud") as reader:
        found = reader.get(f"/log.json?type={type_}&job={console.studio.jobs[job]}").json()["records"]
    return int(found[0]["position"])


WRONG, RIGHT = "Wrong", "Right"


# --- one record ---


def test_a_record_is_right_and_the_next_check_holds_the_log_against_the_last(
    page: Page, console: Console
) -> None:
    console.sign_in(page, "aud", "/log")
    position = position_of(console, "render.requested", "coupe")
    steps, verdict = check_record(page, console, position)
    assert [name for name, result in steps.items() if result == RIGHT] == [
        "Record", "Leaf", "Payload", "Private text", "Tree", "Page",
    ]  # fmt: skip
    assert verdict == "Nothing is wrong with this record; 2 of 8 checks were not possible."
    console.studio("budget", "set", "all", "--limit", "42", "--reason", "more")
    steps, verdict = check_record(page, console, position)
    [remembered] = [result for name, result in steps.items() if name.startswith("Checkpoint of ")]
    assert remembered == RIGHT
    assert "Nothing is wrong" in verdict


def test_the_json_of_a_record_is_what_the_browser_checks(shared: Console) -> None:
    with shared.reader("aud") as reader:
        evidence = reader.get("/log/2.json?extends=1&extends=0&extends=999999&extends=x").json()
    record = base64.b64decode(evidence["record"])
    assert json.loads(record)["position"] == 2
    assert (
        hashlib.sha256(base64.b64decode(evidence["payload"])).hexdigest()
        == json.loads(record)["payload_sha256"]
    )
    path = [bytes.fromhex(item) for item in evidence["path"]]
    root = root_of_path(leaf_hash(record), 1, evidence["size"], path)
    assert Checkpoint.parse(evidence["checkpoint"]).root == root
    assert [item["old_size"] for item in evidence["extensions"]] == [1, 0]


def test_erased_text_is_shown_as_erased_and_the_record_still_checks(page: Page, console: Console) -> None:
    console.studio("erase", console.studio.jobs["coupe"], "--reason", "subject_request", "--yes")
    console.sign_in(page, "aud", "/log")
    steps, verdict = check_record(page, console, position_of(console, "render.requested", "coupe"))
    assert (steps["Private text"], "Nothing is wrong" in verdict) == (RIGHT, True)
    assert "prompt erased" in page.locator("main").inner_text()
    assert "erased or not shown" in page.locator("#steps").inner_text()
    assert "teal coupe" not in page.content()


TAMPERED = {
    "record": ('UPDATE events SET record = replace(record, \'"actor":"ana"\', \'"actor":"eve"\')', "Tree"),
    "payload": ("UPDATE events SET payload = replace(payload, '\"seconds\":4', '\"seconds\":8')", "Payload"),
    "text": ("UPDATE private_bodies SET text = replace(text, 'teal', 'blue')", "Private text"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_record_that_is_changed_under_a_running_server_fails_in_the_browser(
    page: Page, console: Console, what: str
) -> None:
    console.sign_in(page, "aud", "/log")
    position = position_of(console, "render.requested", "coupe")
    statement, step = TAMPERED[what]
    if "events" in statement:
        statement = (
            statement.replace("replace(", "CAST(replace(CAST(", 1).replace(",", " AS TEXT),", 1) + " AS BLOB)"
        )
    tamper(console.studio.folder / "ledger.db", f"{statement} WHERE position = ?", position)
    steps, verdict = check_record(page, console, position)
    assert [name for name, result in steps.items() if result == WRONG] == [step]
    assert verdict.startswith("Do not rely on this record: 1 of")


def lie(evidence: dict[str, Any], position: int) -> dict[str, Any]:
    """Return the evidence for another record, with a tree and a checkpoint that fit."""
    record = json.loads(base64.b64decode(evidence["record"])) | {"actor": "eve"}
    changed = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    path = [bytes.fromhex(item) for item in evidence["path"]]
    root = root_of_path(leaf_hash(changed), position - 1, evidence["size"], path)
    head = Checkpoint.parse(evidence["checkpoint"])
    text = Checkpoint(head.origin, head.size, root).to_text()
    shown = {"record": base64.b64encode(changed).decode(), "record_text": changed.decode()}
    return evidence | shown | {"leaf": leaf_hash(changed).hex(), "checkpoint": text, "root": root.hex()}


def begin_to_lie(page: Page, position: int) -> None:
    """Let the server lie about one record, to the page and to its script alike."""

    def answer(route: Any) -> None:
        response = route.fetch()
        if urlsplit(route.request.url).path.endswith(".json"):
            route.fulfill(response=response, json=lie(response.json(), position))
        else:
            body = response.text().replace("&#34;actor&#34;:&#34;ana&#34;", "&#34;actor&#34;:&#34;eve&#34;")
            route.fulfill(response=response, body=body)

    page.route(f"**/console/log/{position}*", answer)


def test_a_server_that_lies_consistently_is_caught_by_a_remembered_checkpoint(
    page: Page, console: Console
) -> None:
    console.sign_in(page, "aud", "/log")
    position = position_of(console, "render.requested", "coupe")
    check_record(page, console, position)
    console.studio("budget", "set", "all", "--limit", "42", "--reason", "more")
    begin_to_lie(page, position)
    steps, verdict = check_record(page, console, position)
    [failed] = [name for name, result in steps.items() if result == WRONG]
    assert failed.startswith("Checkpoint of ")
    assert verdict.startswith("Do not rely on this record: 1 of")


def test_a_signed_checkpoint_that_a_person_pins_vouches_for_a_record_and_exposes_a_lie(
    page: Page, console: Console
) -> None:
    folder = console.studio.folder
    console.studio("key", "new", "signing.key", "--name", "ledger.example")
    key = console.studio("key", "show", "signing.key")["verifier"]
    console.studio("checkpoint", "--key", "signing.key", "--publish", "pinned.checkpoint")
    console.studio("budget", "set", "all", "--limit", "42", "--reason", "more")
    console.sign_in(page, "aud", "/log")
    position = position_of(console, "render.requested", "coupe")
    shown = check_files(page, console, [folder / "pinned.checkpoint"], key)
    assert "Nothing is wrong with it." in shown["pinned.checkpoint"]
    page.get_by_role("button", name="Remember this checkpoint").click()
    page.get_by_role("button", name="Remember these keys").click()
    page.get_by_text("Remembers the key ledger.example").wait_for()
    steps, verdict = check_record(page, console, position)
    assert (steps["Signature"], WRONG in steps.values()) == (RIGHT, False), page.locator(
        "#steps"
    ).inner_text()
    assert verdict == f"Nothing is wrong with this record: all {len(steps)} checks are right."
    assert "ledger.example signed the checkpoint" in page.locator("#steps").inner_text()
    steps, _ = check_record(page, console, newest(console))
    assert steps["Signature"] == "Not checked"
    begin_to_lie(page, position)
    steps, verdict = check_record(page, console, position)
    assert WRONG in steps.values()
    assert verdict.startswith("Do not rely on this record")


def newest(console: Console) -> int:
    with console.reader("aud") as reader:
        return int(reader.get("/log.json").json()["records"][0]["position"])


# --- files ---


def test_files_are_checked_without_the_server(page: Page, shared: Console) -> None:
    shared.sign_in(page, "ana", "/log")
    page.goto(f"{shared.url}/check")
    ready(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.context.set_offline(True)
    page.get_by_label("Public keys").fill(KEY)
    page.get_by_label("Choose or drop").set_input_files([str(path) for path in EVIDENCE])
    page.locator(".result").nth(len(EVIDENCE) - 1).wait_for()
    shown = page.locator(".result").all_inner_texts()
    assert requests == []
    assert [text.count("Nothing is wrong with it.") for text in shown] == [1] * len(EVIDENCE)
    assert "The checkpoint is signed with the key that you named: ledger.example+d39ecdc2" in shown[0]
    assert "What this does not show" in shown[0]
    assert "its first 5 records are unchanged at 67" in shown[2]


def test_evidence_that_the_command_line_writes_is_checked_by_its_key(page: Page, console: Console) -> None:
    studio, job = console.studio, console.studio.jobs["coupe"]
    studio("key", "new", "signing.key", "--name", "ledger.example")
    key = studio("key", "show", "signing.key")["verifier"]
    studio("export", job, "--out", "evidence.zip", "--key", "signing.key", "--with-assets")
    studio("export", "--all", "--out", "all.zip", "--key", "signing.key")
    studio("prove", "3", "--key", "signing.key", "--out", "3.tlog-proof")
    console.sign_in(page, "ana", "/log")
    files = [studio.folder / name for name in ("evidence.zip", "all.zip", "3.tlog-proof")]
    for text in check_files(page, console, files, key).values():
        assert "Nothing is wrong with it." in text
        assert f"signed with the key that you named: {key}" in text
    other = key.replace("ledger.example", "another.example")
    page.get_by_label("Public keys").fill(other)
    page.get_by_label("Public keys").blur()
    page.get_by_text("A public key cannot be read").wait_for()


def test_a_damaged_bundle_is_refused_and_its_words_are_shown_as_text(
    page: Page, shared: Console, tmp_path: Path
) -> None:
    files = unpack((GOLDEN / "evidence.zip").read_bytes())
    payloads = files["payloads.jsonl"].replace(b'"seconds":4', b'"seconds":8', 1)
    hostile = tmp_path / "<img src=x onerror=alert(1)>.zip"
    hostile.write_bytes(pack(files | {"payloads.jsonl": payloads}))
    text = tmp_path / "notes.txt"
    text.write_text("just words")
    shared.sign_in(page, "ana", "/log")
    shown = check_files(page, shared, [hostile, text])
    assert "Do not rely on it." in shown[hostile.name]
    assert "PAYLOAD_DIGEST at position" in shown[hostile.name]
    assert "This file cannot be checked" in shown["notes.txt"]
    assert page.locator(".result img").count() == 0


def test_files_can_be_dropped_on_the_page(page: Page, shared: Console) -> None:
    shared.sign_in(page, "ana", "/log")
    page.goto(f"{shared.url}/check")
    ready(page)
    data = base64.b64encode((GOLDEN / "evidence.zip").read_bytes()).decode()
    page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const dropped = new DataTransfer();
          dropped.items.add(new File([bytes], "dropped.zip"));
          const event = new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true });
          document.getElementById("drop").dispatchEvent(event);
        }""",
        data,
    )
    page.locator(".result").wait_for()
    assert "17 records of the ledger" in page.locator(".result").inner_text()

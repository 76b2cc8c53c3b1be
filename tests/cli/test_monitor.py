"""``monitor`` follows a log that other code wrote, and raises when it is cut off, rewritten or split."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.cli.conftest import Sora
from tests.cli.foreign_log import ForeignLog, leaf, record, root

Follow = Callable[..., Any]


@pytest.fixture
def log(folder: Path) -> ForeignLog:
    """Return a log of 600 records: two full tiles and a partial one."""
    made = ForeignLog(folder / "log")
    made.grow(600)
    return made


@pytest.fixture
def follow(sora: Sora, log: ForeignLog) -> Follow:
    def run(*more: str, verifier: str = log.verifier, place: str = "log") -> Any:
        return sora("monitor", place, "--state", "state.json", "--verifier", verifier, *more)

    return run


@pytest.fixture
def http() -> Iterator[Callable[[type[BaseHTTPRequestHandler] | Any], str]]:
    """Return a function that serves with a handler, and gives the URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def lines(ended: Any) -> list[bytes]:
    return [line.encode() for line in ended.out.splitlines()]


def test_a_log_is_followed_from_its_first_record_and_from_where_it_was(
    follow: Follow, log: ForeignLog
) -> None:
    first = follow().document
    assert (first["size"], first["new"], first["signed_by"]) == (600, 600, ["studio"])
    assert first["root"] == root([leaf(each) for each in log.records]).hex()
    log.grow(300)
    assert lines(follow("--records")) == log.records[600:]
    assert follow().document["new"] == 0


def test_a_log_is_followed_over_http(
    follow: Follow, http: Callable[[type[BaseHTTPRequestHandler] | Any], str], log: ForeignLog
) -> None:
    url = http(partial(Quiet, directory=str(log.folder)))
    assert follow(place=f"{url}/").document["new"] == 600
    log.grow(1)
    assert lines(follow("--records", place=url)) == [log.records[-1]]


def test_a_partial_tile_that_is_gone_is_read_from_the_full_one(
    follow: Follow, log: ForeignLog, folder: Path
) -> None:
    checkpoint = (log.folder / "checkpoint").read_bytes()
    log.grow(200)
    for partial_tiles in log.folder.glob("tile/*/002.p"):
        shutil.rmtree(partial_tiles)
    (log.folder / "checkpoint").write_bytes(checkpoint)
    assert follow().document["size"] == 600


def test_each_way_of_contradicting_itself_is_named_and_leaves_the_state(
    follow: Follow, log: ForeignLog, folder: Path
) -> None:
    follow()
    state = (folder / "state.json").read_bytes()
    honest = list(log.records)

    def disputed(kind: str) -> None:
        ended = follow()
        assert (ended.code, f"{kind}: " in ended.error) == (10, True), ended.error
        assert (folder / "state.json").read_bytes() == state
        remaining = [
            path
            for path in folder.glob("state.json.*")
            if str(path) in ended.error or path.name in ended.error
        ]
        assert [path.read_bytes() for path in remaining] == [(log.folder / "checkpoint").read_bytes()]

    log.publish(size=599)
    disputed("rollback")
    log.records[3] = record(4, "changed")
    log.publish()
    disputed("split_view")
    log.grow(5)
    disputed("rewritten")
    log.records = [*honest, record(601)]
    log.publish(origin="example.org/other")
    disputed("other_log")
    log.publish()
    assert follow().document["new"] == 1


def test_a_record_that_is_not_the_one_of_its_hash_is_disputed(
    follow: Follow, log: ForeignLog, folder: Path
) -> None:
    bundle = log.folder / "tile/entries/001"
    content = bundle.read_bytes()
    bundle.write_bytes(content.replace(b'"position":300', b'"position":999'))
    assert (follow().code, (folder / "state.json").exists()) == (10, False)
    bundle.write_bytes(content[:-1])
    assert "cut off" in follow().error
    bundle.write_bytes(content)
    assert follow().code == 0


def test_an_entry_that_is_no_record_of_its_position_is_disputed(follow: Follow, log: ForeignLog) -> None:
    log.records[7] = record(9)
    log.publish()
    assert "the entry at position 8 is not the record of that position" in follow().error


def test_a_checkpoint_signed_by_another_key_is_disputed(follow: Follow, folder: Path) -> None:
    ended = follow(verifier=ForeignLog(folder, seed=2).verifier)
    assert (ended.code, "signature: " in ended.error) == (10, True)


def test_a_log_that_cannot_be_read_is_not_disputed(
    follow: Follow, http: Callable[[type[BaseHTTPRequestHandler] | Any], str], log: ForeignLog, folder: Path
) -> None:
    class Broken(Quiet):
        def do_GET(self) -> None:
            self.send_error(502)

    assert follow(place="http://127.0.0.1:9").code == 8
    assert "found 502" in follow(place=http(Broken)).error
    (log.folder / "tile/0/001").unlink()
    missing = follow()
    assert (missing.code, "tile/0/001" in missing.error) == (8, True)
    (log.folder / "checkpoint").write_text("<html>\n")
    assert follow().code == 8
    assert not (folder / "state.json").exists()


def test_a_state_that_was_changed_is_refused(follow: Follow, folder: Path) -> None:
    follow()
    state = folder / "state.json"
    document = json.loads(state.read_bytes())
    for changed in ("", "[]", "{}", json.dumps(document | {"edge": "00" * 128}), json.dumps(document)[:-9]):
        state.write_text(changed)
        assert (follow().code, state.read_text()) == (2, changed)


def test_what_is_wrong_is_posted_to_the_webhook(
    follow: Follow, log: ForeignLog, http: Callable[[type[BaseHTTPRequestHandler] | Any], str]
) -> None:
    received: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    follow()
    log.publish(size=10)
    assert follow("--webhook", f"{http(Receiver)}/alerts").code == 10
    [alert] = received
    assert (alert["type"], alert["kind"], alert["log"]) == ("log.disputed", "rollback", "log")


def test_a_webhook_that_does_not_answer_does_not_hide_what_is_wrong(follow: Follow, log: ForeignLog) -> None:
    follow()
    log.publish(size=10)
    ended = follow("--webhook", "http://127.0.0.1:9/")
    assert (ended.code, "rollback" in ended.error, "not accepted" in ended.err) == (10, True, True)


def test_places_and_urls_that_cannot_be_meant_are_refused(follow: Follow) -> None:
    assert "a folder of tiles" in follow(place="nowhere").error
    assert follow("--webhook", "example.org").code == 2


def test_the_tiles_that_are_exported_are_followed(sora: Sora, denied: str) -> None:
    sora("key", "new", "signing.key")
    size = sora("export", "--tiles", "public", "--key", "signing.key").document["head"]["size"]
    verifier = sora("key", "show", "signing.key").document["verifier"]
    ended = sora("monitor", "public", "--state", "state.json", "--verifier", verifier)
    assert (ended.code, ended.document["new"]) == (0, size)

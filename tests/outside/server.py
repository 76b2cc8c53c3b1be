"""A Videos server that bills: the oracle of the outside tests.

Run as a program of its own (``python server.py --folder DIR``); it prints its port and serves until killed.
It is written from the protocol's public description alone, imports nothing from the product or its sandbox,
and keeps its books in memory: one entry per video it created, whatever became of the answer.

Behaviour is a flat dictionary, set at ``POST /_behave`` (merged) and described at `DEFAULTS`. ``GET /_bills``
returns the books, ``GET /_requests`` every request that arrived, with its body as hex.
"""

import argparse
import gzip
import io
import json
import random
import re
import secrets
import socket
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

DEFAULTS: dict[str, Any] = {
    # Answers to the next creating calls, one word each, first in, first out: "ok", "lost-request" (cut off,
    # nothing created), "lost-answer" (created, then cut off), "slow@S" (created, answered after S seconds),
    # "late@S" (cut off at once, created S seconds later), "500", "500-created", "429", "400", "hang@S"
    # (nothing is created, cut off after S seconds), "wait@S" (created after S seconds, then answered). A
    # status may have an @S too (refused after S seconds). The S "held" means until ``POST /_release``.
    "creates": [],
    "create": "ok",  # when the queue is empty
    "same_id": None,  # an id that every create answers with
    "prompt": None,  # how prompts are stored: "trim", "nfc", "upper", "drop-nul", or a number of characters
    "render_s": 0.0,  # seconds until a video is completed
    "status": None,  # a status that is shown for ever, such as "in_progress"
    "failure": None,  # an error code with which every render fails
    "extra": {},  # fields added to every video shown
    "order": "asked",  # of a list: "asked", "asc", "desc", "shuffle"
    "page": 100,  # at most so many videos on a page of a list
    "has_more": True,  # whether a list says has_more
    "last_id": True,  # whether a list says first_id and last_id
    "after": True,  # whether `after` is obeyed; a list that does not shows its first page for ever
    "list_prompts": True,  # whether items of a list have a prompt
    "get_prompts": True,  # whether a retrieved video has one
    "created_at": True,  # whether videos have created_at; "ms" gives it in milliseconds
    "clock_s": 0,  # added to every created_at
    "clock_step_s": 1,  # created_at is rounded down to multiples of this
    "list_lag_s": 0.0,  # seconds until a new video is listed
    "list": True,  # whether there is a list at all
    "retrieve": [],  # HTTP statuses of the next retrievals, 0 for an ordinary one
    "replicas": 1,  # jobs are kept by one of so many processes that take turns to answer GETs
    "content": "mp4",  # what /content answers: "mp4", "garbage", "404", "url" (as JSON), "bomb", "none"
    "contents": [],  # the same for the next downloads
    "with_url": False,  # whether a completed video carries a url
    "delete": "ok",  # "ok", "404", "405", or "pretend" (says deleted, keeps it)
    "accounts": {},  # the account of a key; a key that is not named is an account of its own
    "words": "refused as asked",  # the message of every refusal
    "gzip_list_bytes": 0,  # so many bytes of padding, compressed, in every list
}

HELD_S = 60
"""So long an answer is held at most."""
VIDEO_ID = re.compile(r"/videos/(?!edits$|extensions$|characters)([^/]+)")


class Server:
    """The books, the videos and the behaviour; every access holds `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.behaviour: dict[str, Any] = json.loads(json.dumps(DEFAULTS))
        self.videos: list[dict[str, Any]] = []
        self.bills: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.releases = 0
        self.gets = 0

    def __getitem__(self, name: str) -> Any:
        with self.lock:
            return self.behaviour[name]

    def is_of(self, video: dict[str, Any], key: str) -> bool:
        """Say whether a video belongs to the account of `key`."""
        account = self["accounts"].get
        return bool(account(key, key) == account(video["_key"], video["_key"]))

    def take(self, queue: str, otherwise: Any) -> Any:
        """Take the first entry of a queue of the behaviour."""
        with self.lock:
            return self.behaviour[queue].pop(0) if self.behaviour[queue] else otherwise

    def create(self, fields: dict[str, Any], operation: str, key: str, source: str | None) -> dict[str, Any]:
        """Create a video, bill it, and return it."""
        with self.lock:
            parent = next((v for v in self.videos if v["id"] == source), None)
            number = len(self.bills) + 1
            seconds = str(fields.get("seconds") or (parent or {}).get("seconds") or "4")
            if operation == "extend" and parent:
                seconds = str(int(parent["seconds"]) + int(seconds))
            now = time.time()
            step = max(1, int(self["clock_step_s"]))
            video = {
                "id": self["same_id"] or f"video_out{number:05d}{random.getrandbits(32):08x}",
                "object": "video",
                "model": fields.get("model") or (parent or {}).get("model") or "sora-2",
                "status": "queued",
                "progress": 0,
                "created_at": int(now + self["clock_s"]) // step * step,
                "completed_at": None,
                "expires_at": None,
                "error": None,
                "prompt": self._stored(str(fields.get("prompt", ""))),
                "size": fields.get("size") or (parent or {}).get("size") or "720x1280",
                "seconds": seconds,
                "remixed_from_video_id": source if operation == "remix" else None,
                "_born": now,
                "_key": key,
                "_replica": number % max(1, int(self["replicas"])),
            }
            self.videos.append(video)
            self.bills.append(
                {
                    "id": video["id"],
                    "prompt": str(fields.get("prompt", "")),
                    "model": video["model"],
                    "seconds": seconds,
                    "size": video["size"],
                    "operation": operation,
                    "key": key,
                    "at": now,
                }
            )
            return video

    def _stored(self, prompt: str) -> str:
        how = self["prompt"]
        if how == "trim":
            return " ".join(prompt.split())
        if how == "nfc":
            return unicodedata.normalize("NFC", prompt)
        if how == "upper":
            return prompt.upper()
        if how == "drop-nul":
            return prompt.replace("\0", "")
        return prompt[:how] if isinstance(how, int) else prompt

    def show(self, video: dict[str, Any], *, prompt: bool, origin: str) -> dict[str, Any]:
        """Return `video` as an answer shows it now."""
        with self.lock:
            shown = {name: value for name, value in video.items() if not name.startswith("_")}
            age = time.time() - video["_born"]
            if self["status"]:
                shown |= {"status": self["status"], "progress": 50}
            elif age >= self["render_s"] and self["failure"]:
                error = {"code": self["failure"], "message": "it failed"}
                shown |= {"status": "failed", "error": error}
            elif age >= self["render_s"]:
                done = int(video["_born"] + self["render_s"])
                shown |= {"status": "completed", "progress": 100, "completed_at": done}
                if self["with_url"]:
                    shown["url"] = f"{origin}/files/{video['id']}.mp4"
            if not prompt:
                shown.pop("prompt")
            if not self["created_at"]:
                shown.pop("created_at")
            elif self["created_at"] == "ms":
                shown["created_at"] = shown["created_at"] * 1000 + 922
            return shown | self["extra"]

    def page(self, query: dict[str, list[str]], origin: str, key: str) -> dict[str, Any]:
        """Return one page of the list."""
        with self.lock:
            now = time.time()
            there = [v for v in self.videos if now - v["_born"] >= self["list_lag_s"] and self.is_of(v, key)]
            if self["replicas"] > 1:
                there = [v for v in there if v["_replica"] == self.gets % self["replicas"]]
            order = self["order"]
            answer = query.get("order", ["desc"])[0]
            if (order if order != "asked" else answer) != "asc":
                there = there[::-1]
            if order == "shuffle":
                random.Random(len(there)).shuffle(there)
            after = query.get("after", [""])[0]
            if after and self["after"]:
                ids = [v["id"] for v in there]
                there = there[ids.index(after) + 1 :] if after in ids else []
            limit = min(int(query.get("limit", ["20"])[0]), self["page"])
            data = [self.show(v, prompt=self["list_prompts"], origin=origin) for v in there[:limit]]
            page: dict[str, Any] = {"object": "list", "data": data}
            if self["last_id"]:
                ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
                page |= {"first_id": None, "last_id": None} | ends
            if self["has_more"]:
                page["has_more"] = len(there) > limit
            if self["gzip_list_bytes"]:
                page["padding"] = "x" * self["gzip_list_bytes"]
            return page

    def clip(self, video: dict[str, Any]) -> bytes:
        """Return a real MP4 of the size and length of `video`."""
        path = self.folder / f"{video['size']}-{video['seconds']}.mp4"
        with self.lock:
            if not path.exists():
                path.write_bytes(encode(video["size"], int(video["seconds"])))
        return path.read_bytes()


def encode(size: str, seconds: int, fps: int = 5) -> bytes:
    """Encode a grey clip."""
    import av  # noqa: PLC0415  # only once a download asks for it

    width, height = (int(side) for side in size.split("x"))
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in range(seconds * fps):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return memory.getvalue()


def read_fields(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON or multipart body; of a file its bytes."""
    if content_type.startswith("application/json"):
        return dict(json.loads(body or b"{}"))
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields: dict[str, Any] = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[str(name)] = content if part.get_filename() else content.decode()
    return fields


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server_version = "outside"
    books: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._handle(b"")

    def do_HEAD(self) -> None:
        """Answer a HEAD."""
        self._handle(b"")

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._handle(b"")

    def do_POST(self) -> None:
        """Answer a POST, with a sized or a chunked body."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the client was killed: no server creates what was asked for in part
                self.close_connection = True
                return
        self._handle(body)

    @property
    def _origin(self) -> str:
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    def _handle(self, body: bytes) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/v1")
        if path.startswith("/_"):
            self._control(path, body)
            return
        books = self.books = Handler.books
        with books.lock:
            books.gets += self.command == "GET"
            self.releases_before = books.releases
            books.requests.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body.hex(),
                    "at": time.time(),
                }
            )
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        if self.command == "POST":
            self._create(path, body, key)
        elif path == "/videos":
            self._list(parse_qs(url.query), key)
        elif path.startswith("/files/"):
            self._content(path.removeprefix("/files/").removesuffix(".mp4"), key, url_only=True)
        elif path.endswith("/content"):
            self._content(path.split("/")[2], key)
        elif path.startswith("/videos/characters/char_"):
            self._send(200, {"id": path.split("/")[3], "name": "Kite", "created_at": 1})
        elif match := VIDEO_ID.match(path):
            self._one(match[1], key)
        else:
            self._error(404, "Not Found")

    def _control(self, path: str, body: bytes) -> None:
        books = Handler.books
        with books.lock:
            if path == "/_behave":
                changes = json.loads(body)
                unknown = set(changes) - set(DEFAULTS)
                if unknown:
                    self._send(400, {"unknown": sorted(unknown)})
                    return
                books.behaviour |= changes
                self._send(200, books.behaviour)
            elif path == "/_reset":
                Handler.books = Server(books.folder)  # as if it had just been started
                books.releases += 1  # requests from before end with the books that they began with
                self._send(200, {})
            elif path == "/_release":
                books.releases += 1
                self._send(200, {})
            elif path == "/_create":  # a video that another client of the same account asked for
                fields = json.loads(body)
                made = books.create(fields, "create", fields.get("key", ""), None)
                self._send(200, books.show(made, prompt=True, origin=self._origin))
            elif path == "/_bills":
                self._send(200, {"bills": books.bills})
            elif path == "/_requests":
                self._send(200, {"requests": books.requests})
            else:
                self._error(404, "Not Found")

    def _create(self, path: str, body: bytes, key: str) -> None:
        if path == "/moderations":
            flagged = "fight" in str(json.loads(body)["input"])
            self._send(200, {"id": "modr-1", "model": "omni", "results": [{"flagged": flagged}]})
            return
        if path == "/files":
            self._send(200, {"id": "file_outside", "object": "file"})
            return
        fields = read_fields(self.headers.get("content-type", ""), body)
        operation, source = "create", None
        if path == "/videos/characters":
            self._send(200, {"id": f"char_{secrets.token_hex(8)}", "name": fields["name"], "created_at": 1})
            return
        if path.endswith("/remix"):
            operation, source = "remix", path.split("/")[2]
        elif path in ("/videos/edits", "/videos/extensions"):
            operation = {"/videos/edits": "edit", "/videos/extensions": "extend"}[path]
            video = fields.get("video")
            source = video["id"] if isinstance(video, dict) else fields.get("video[id]")
        elif path != "/videos":
            self._error(404, "Not Found")
            return
        word, _, seconds = self.books.take("creates", self.books["create"]).partition("@")
        pause = self._be_held if seconds == "held" else partial(time.sleep, float(seconds or 0))
        self._carry_out(word, pause, lambda: self.books.create(fields, operation, key, source))

    def _be_held(self) -> None:
        """Wait until answers are released after the request has arrived."""
        ends = time.monotonic() + HELD_S
        while self.books.releases == self.releases_before and time.monotonic() < ends:
            time.sleep(0.005)

    def _carry_out(self, word: str, pause: Callable[[], None], create: Callable[[], Any]) -> None:
        if word == "lost-request":
            self._cut_off()
        elif word == "lost-answer":
            create()
            self._cut_off()
        elif word == "hang":
            pause()
            self._cut_off()
        elif word == "late":
            self._cut_off()
            pause()
            create()
        elif word == "500-created":
            create()
            self._error(500, "Internal Server Error")
        elif word.isdigit():
            pause()
            self._error(int(word), self.books["words"])
        else:
            if word == "wait":
                pause()
            video = create()
            if word == "slow":
                pause()
            self._send(200, self.books.show(video, prompt=self.books["get_prompts"], origin=self._origin))

    def _list(self, query: dict[str, list[str]], key: str) -> None:
        if not self.books["list"]:
            self._error(404, "Not Found")
            return
        page = self.books.page(query, self._origin, key)
        if self.books["gzip_list_bytes"]:
            self._send_bytes(
                200, gzip.compress(json.dumps(page).encode(), 1), "application/json", encoding="gzip"
            )
        else:
            self._send(200, page)

    def _find(self, video_id: str, key: str) -> dict[str, Any] | None:
        books = self.books
        with books.lock:
            found = next((v for v in books.videos if v["id"] == video_id and books.is_of(v, key)), None)
            hidden = found and books["replicas"] > 1 and found["_replica"] != books.gets % books["replicas"]
            return None if hidden else found

    def _one(self, video_id: str, key: str) -> None:
        status = self.books.take("retrieve", 0) if self.command == "GET" else 0
        video = self._find(video_id, key)
        if status:
            self._error(status, self.books["words"])
        elif self.command == "DELETE" and self.books["delete"] in ("404", "405"):
            self._error(int(self.books["delete"]), "Not Found")
        elif video is None:
            self._error(404, f"Video {video_id} not found", code="video_not_found")
        elif self.command == "DELETE":
            if self.books["delete"] == "ok":
                with self.books.lock:
                    self.books.videos.remove(video)
            self._send(200, {"id": video_id, "object": "video.deleted", "deleted": True})
        else:
            self._send(200, self.books.show(video, prompt=self.books["get_prompts"], origin=self._origin))

    def _content(self, video_id: str, key: str, *, url_only: bool = False) -> None:
        with self.books.lock:
            same = [v for v in self.books.videos if v["id"] == video_id]
            same = [v for v in same if url_only or self.books.is_of(v, key)]
        how = "mp4" if url_only else self.books.take("contents", self.books["content"])
        if not same or how == "404":
            self._error(404, "Not Found")
        elif how == "url":
            self._send(200, {"id": video_id, "url": f"{self._origin}/files/{video_id}.mp4"})
        elif how == "garbage":
            self._send_bytes(200, b"this is no film " * 64, "video/mp4")
        elif how == "bomb":
            bomb = gzip.compress(bytes(1 << 26))
            self._send_bytes(200, bomb, "video/mp4", encoding="gzip")
        elif how == "none":
            self._cut_off()
        else:
            self._send_bytes(200, self.books.clip(same[0]), "video/mp4")

    def _error(self, status: int, message: str, code: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._send(status, {"error": error})

    def _send(self, status: int, document: Any) -> None:
        self._send_bytes(status, json.dumps(document).encode(), "application/json")

    def _send_bytes(self, status: int, body: bytes, kind: str, encoding: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if encoding:
            self.send_header("content-encoding", encoding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut_off(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Listener(ThreadingHTTPServer):
    """A thread per connection; a client that hangs up is nothing to report."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that ended."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where encoded clips are kept")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    Handler.books = Server(options.folder)
    listener = Listener(("127.0.0.1", options.port), Handler)
    print(listener.server_address[1], flush=True)  # noqa: T201  # the tests read it
    listener.serve_forever()


if __name__ == "__main__":
    main()

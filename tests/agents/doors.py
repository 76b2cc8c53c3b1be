"""The three doors of an agent, driven from outside: the command line, the gateway, and the tools over stdio.

Each door is told a call in its own words, and answers with a document. `follow` makes a call that the
document names, as it stands there, and nothing else: an agent that reads only the error has to find its way.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

PATIENCE_S = 600.0
Json = dict[str, Any]
Until = Callable[[], None]
TOOLS = {"create": "render", "remix": "remix"}
BEFORE = "ID_OF_THE_REMIX_BEFORE"
"""What a list of calls calls the result of the one before."""
SERVER_KEY = "sk-outside-0123456789"


@dataclass
class Answer:
    """What a door answered; `given_up` if the agent did not wait for it."""

    document: Json = field(default_factory=dict)
    failed: bool = False
    given_up: bool = False

    @property
    def error(self) -> Json:
        """The error in the document, if there is one."""
        found = self.document.get("error")
        return found if isinstance(found, dict) else {}


@dataclass
class Place:
    """A folder with a ledger, and the environment of its processes."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, until: Until | None = None) -> Answer:
        """Run a command; its document, or the error of its last log line if it has both.

        `until` returns when the agent loses patience, and the command is killed then.
        """
        with subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if until is not None:
                until()
                process.kill()
            out, err = process.communicate()
            if until is not None:
                return Answer(given_up=True)
        document = dict(json.loads(out)) if out.strip() else {}
        if process.returncode and not document.get("error"):
            last = [json.loads(line) for line in err.splitlines() if line.startswith("{")][-1]
            document["error"] = last
        return Answer(document, failed=process.returncode != 0)


class CommandLine:
    """An agent with a shell."""

    name = "cli"

    def __init__(self, place: Place, port: int) -> None:
        self.place = place

    def call(self, operation: str, terms: Mapping[str, Any], until: Until | None = None) -> Answer:
        """Request a render or a remix."""
        words = [operation, "--no-augment"]
        names = {"job": "--id", "request_key": "--request-key"}
        for name, value in terms.items():
            words += [names.get(name, f"--{name}"), str(value)]
        return self.place.run(*words, until=until)

    def keyless(self, terms: Mapping[str, Any]) -> Answer:
        """Request a render without the key that this door needs: that of the server."""
        words = ["create", "--no-augment", "--prompt", str(terms["prompt"])]
        del self.place.environment["OPENAI_API_KEY"]
        return self.place.run(*words)

    def with_key(self, refused: Answer) -> Answer:
        """Set the variable that the error names, and run the command that it names."""
        named = refused.error["param"]
        self.place.environment[named] = SERVER_KEY
        return self.follow(refused)

    def named(self, answer: Answer) -> list[list[str]]:
        """Return the commands that an answer names."""
        return list(answer.error.get("next") or [])

    def follow(self, answer: Answer, number: int = 0, before: str = "") -> Answer:
        """Run a command that the answer names; `before` is the result of the one before."""
        return self.place.run(*(word.replace(BEFORE, before) for word in self.named(answer)[number][1:]))

    def job(self, answer: Answer) -> str:
        """Return the job of an answer."""
        return str(answer.document["job_id"])

    def close(self) -> None:
        """Nothing runs between two commands."""


class Gateway:
    """An agent with a client of the Videos API."""

    name = "gateway"

    def __init__(self, place: Place, port: int) -> None:
        self.place, self._port = place, port
        self.key = str(place.run("access", "grant", "agent", "--role", "requester").document["key"])
        self._log = (place.folder / "serve.log").open("w")
        words = [sys.executable, "-m", "cli", "serve", "--port", str(port), "--no-console"]
        self._process = subprocess.Popen(
            words, cwd=place.folder, env=place.environment, stdout=self._log, stderr=self._log
        )
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise SystemExit(f"the gateway did not start: {(place.folder / 'serve.log').read_text()}")

    def send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
        until: Until | None = None,
    ) -> Answer:
        """Make a call of the API; the connection is cut when `until` returns."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, dict(self._headers(None) if headers is None else headers))
        try:
            if until is not None:
                until()
                return Answer(given_up=True)
            answer = connection.getresponse()
            return Answer(json.load(answer), failed=answer.status >= HTTPStatus.BAD_REQUEST)
        finally:
            connection.close()

    def call(self, operation: str, terms: Mapping[str, Any], until: Until | None = None) -> Answer:
        """Request a render or a remix."""
        body = {name: value for name, value in terms.items() if name not in {"request_key", "job"}}
        if "seconds" in body:
            body["seconds"] = str(body["seconds"])
        path = "/v1/videos" if operation == "create" else f"/v1/videos/{terms['job']}/remix"
        return self.send("POST", path, body, self._headers(terms.get("request_key")), until)

    def _headers(self, request_key: str | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        return headers | ({"Idempotency-Key": request_key} if request_key else {})

    def keyless(self, terms: Mapping[str, Any]) -> Answer:
        """Request a render without an access key."""
        headers = {"Content-Type": "application/json"}
        return self.send("POST", "/v1/videos", {"prompt": terms["prompt"]}, headers)

    def with_key(self, refused: Answer) -> Answer:
        """Have the operator run the command that the error names, and make the call with that key."""
        granted = self.place.run(*refused.error["next"][0][1:])
        self.key = str(granted.document["key"])
        return self.call("create", {"prompt": "a fox runs"})

    def named(self, answer: Answer) -> list[Any]:
        """Return the calls of the API that an answer names, or the commands of the operator."""
        return list(answer.error.get("calls") or answer.error.get("next") or [])

    def follow(self, answer: Answer, number: int = 0, before: str = "") -> Answer:
        """Make a call that the answer names, whole; `before` is the result of the one before."""
        named = self.named(answer)[number]
        if isinstance(named, list):
            return self.place.run(*named[1:])
        headers = self._headers(None) | named.get("headers", {})
        return self.send(named["method"], named["path"].replace(BEFORE, before), named.get("body"), headers)

    def job(self, answer: Answer) -> str:
        """Return the video of an answer."""
        return str(answer.document["id"])

    def close(self) -> None:
        """End the gateway."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()


class Tools:
    """An agent with the tools of `sora-ledger mcp`."""

    name = "mcp"

    def __init__(self, place: Place, port: int) -> None:
        self.place, self._number = place, 0
        self._start()

    def _start(self) -> None:
        self._answers: dict[int, Json] = {}
        self._arrived = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", "mcp"],
            cwd=self.place.folder,
            env=self.place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}}
        self._ask("initialize", hello | {"clientInfo": {"name": "eval", "version": "1"}})
        self._write({"method": "notifications/initialized", "params": {}})

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            with self._arrived:
                self._answers[message.get("id", 0)] = message.get("result") or message
                self._arrived.notify_all()

    def _write(self, message: Json) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def _ask(self, method: str, params: Json, until: Until | None = None) -> Json | None:
        with self._arrived:
            self._number += 1
            number = self._number
            self._write({"id": number, "method": method, "params": params})
        if until is not None:
            until()
            return None
        with self._arrived:
            self._arrived.wait_for(lambda: number in self._answers, PATIENCE_S)
            return self._answers[number]

    def tool(self, name: str, arguments: Mapping[str, Any], until: Until | None = None) -> Answer:
        """Call a tool; its answer is not waited for after `until` returned."""
        result = self._ask("tools/call", {"name": name, "arguments": dict(arguments)}, until)
        if result is None:
            return Answer(given_up=True)
        return Answer(result["structuredContent"], failed=bool(result["isError"]))

    def call(self, operation: str, terms: Mapping[str, Any], until: Until | None = None) -> Answer:
        """Request a render or a remix."""
        return self.tool(TOOLS[operation], {**terms, "augment": False}, until)

    def keyless(self, terms: Mapping[str, Any]) -> Answer:
        """Request a render without a request key."""
        return self.tool("render", {"prompt": terms["prompt"]})

    def with_key(self, refused: Answer) -> Answer:
        """Make the call that the error names, which has the key."""
        return self.follow(refused)

    def named(self, answer: Answer) -> list[Json]:
        """Return the calls that an answer names: of an error, or the next one of a job."""
        calls = answer.error.get("calls") or ([answer.document["next"]] if "next" in answer.document else [])
        return [call for call in calls if call["tool"]]

    def follow(self, answer: Answer, number: int = 0, before: str = "") -> Answer:
        """Call a tool that the answer names; `before` is the result of the one before."""
        named = self.named(answer)[number]
        arguments = {
            name: value.replace(BEFORE, before) if isinstance(value, str) else value
            for name, value in named["arguments"].items()
        }
        return self.tool(named["tool"], arguments)

    def job(self, answer: Answer) -> str:
        """Return the job of an answer."""
        return str(answer.document["job"])

    def disconnect(self, meanwhile: Until) -> None:
        """Close stdin in the middle of a call, as the system does when a client dies, and start again."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        meanwhile()
        self._process.wait(PATIENCE_S)
        self._start()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)


def environment(base_url: str, profiles: Path) -> dict[str, str]:
    """Return the environment of an agent's processes."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SORA_", "OPENAI_", "TRACEPARENT"))}
    return clean | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SORA_LEDGER_URL": "sqlite:///ledger.db",
        "SORA_LEDGER_PROFILES": str(profiles),
        "SORA_LEDGER_PROFILE": "outside",
        "OPENAI_API_KEY": SERVER_KEY,
        "OPENAI_BASE_URL": base_url,
    }

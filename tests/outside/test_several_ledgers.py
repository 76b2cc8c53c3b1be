"""`serve --all` and `worker --all`: several ledgers, none of which sees or disturbs another."""

import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from tests.forks import NEW_INTERPRETERS, Running
from tests.ledger.store.postgres.server import Databases
from tests.outside.conftest import Outside, Person

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

PATIENCE_S = 60.0
TOKEN = "metrics-token"
OK, SEE_OTHER, UNAUTHORIZED, NOT_FOUND, BAD_GATEWAY, UNAVAILABLE = 200, 303, 401, 404, 502, 503
BAD_INPUT = 2


class Installation:
    """A folder of ledgers behind one `serve --all`."""

    def __init__(self, person: Person) -> None:
        self.person = person.with_(SORA_LEDGER_METRICS_TOKEN=TOKEN)
        self.folder = person.folder / "all"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.process: Running | None = None

    @property
    def origin(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, name: str, **settings: str) -> None:
        """Add a ledger with settings of its own."""
        (self.folder / name).mkdir(parents=True)
        lines = "".join(f"{variable}={value}\n" for variable, value in settings.items())
        (self.folder / name / "settings.env").write_text(lines)

    def of(self, name: str, *command: str) -> Any:
        """Run a command on one of the ledgers."""
        ended = self.person(*command, "--ledger", f"all/{name}")
        assert ended.code == 0, ended.err
        return ended.document

    def key(self, name: str, *roles: str) -> str:
        """Return a new access key of one of the ledgers."""
        options = [f"--role={role}" for role in roles or ("requester",)]
        return str(self.of(name, "access", "grant", f"ana-{name}", *options)["key"])

    def start(self, *ready: str, anew: bool = False) -> None:
        """Serve; return once the ledgers `ready` can be used.

        `anew` has their processes be new interpreters: to be killed, or to serve a console below their path.
        """
        environment = {NEW_INTERPRETERS: "yes"} if anew else {}
        with (self.person.folder / "serve.err").open("ab") as err:
            self.process = self.person.forks.start(
                [("serve", "--all", "all", "--port", str(self.port), "--interval", "0.2")],
                self.person.folder,
                self.person.environment | environment,
                err,
                err,
            )
        self.wait(lambda: {name for name, one in self.ready()["ledgers"].items() if one["ready"]} == {*ready})

    def wait(self, is_true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError, http.client.HTTPException):
                if is_true():
                    return
            assert time.monotonic() < until, (self.person.folder / "serve.err").read_text()[-4000:]
            time.sleep(0.05)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """GET a path; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(
                "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self) -> Any:
        """Return what `/readyz` says."""
        return json.loads(self.get("/readyz")[1])

    def client(self, name: str, key: str) -> OpenAI:
        """Return a client of the official SDK for one of the ledgers."""
        return OpenAI(base_url=f"{self.origin}/t/{name}/v1", api_key=key, max_retries=0)

    def process_of(self, name: str) -> int:
        """Return the process id of one of the ledgers, from the log."""
        lines = (self.person.folder / "serve.err").read_text().splitlines()
        started = [json.loads(line) for line in lines if "ledger.process_started" in line]
        return int([one["pid"] for one in started if one["ledger"] == name][-1])

    def end(self) -> int:
        """Stop it as a service manager does; return its exit code."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGTERM)
        code, self.process = int(self.process.wait()), None
        return code


@pytest.fixture
def installation(person: Person) -> Iterator[Installation]:
    """Yield an empty installation, which is stopped at the end."""
    made = Installation(person)
    yield made
    if made.process is not None:
        made.end()


Start = Callable[..., Outside]


def render(installation: Installation, name: str, key: str) -> str:
    """Render a video with the official SDK; return its id once it is stored."""
    with installation.client(name, key) as client:
        video = client.videos.create(prompt=f"a boat, {name}", model="sora-2", seconds="4")
        until = time.monotonic() + PATIENCE_S
        while client.videos.retrieve(video.id).status != "completed":
            assert time.monotonic() < until
            time.sleep(0.6)  # more often than twice a second is refused
        return str(video.id)


def status_of(call: Callable[[], Any]) -> int:
    """Return the status with which a call of the SDK is refused."""
    with pytest.raises(APIStatusError) as refused:
        call()
    return refused.value.status_code


def test_ledgers_of_both_stores_are_served_apart_at_paths_of_their_own(
    installation: Installation, outside: Start, databases: Databases
) -> None:
    servers = {name: outside() for name in ("film", "games")}
    installation.add("film", OPENAI_BASE_URL=servers["film"].base_url, OPENAI_API_KEY="sk-film")
    installation.add(
        "games",
        OPENAI_BASE_URL=servers["games"].base_url,
        OPENAI_API_KEY="sk-games",
        SORA_LEDGER_URL=databases.url(),
    )
    for name in servers:
        installation.of(name, "budget", "set", "all", "--limit", "9", "--reason", "agreed")
    keys = {name: installation.key(name) for name in servers}
    installation.start(*servers, anew=True)

    videos = {name: render(installation, name, keys[name]) for name in servers}

    for name, other in (("film", "games"), ("games", "film")):
        assert [bill["prompt"] for bill in servers[name].bills()] == [f"a boat, {name}"]
        sent = {request["headers"].get("authorization") for request in servers[name].requests("POST")}
        assert sent == {f"Bearer sk-{name}"}
        with installation.client(name, keys[name]) as own, installation.client(name, keys[other]) as foreign:
            assert [video.id for video in own.videos.list()] == [videos[name]]
            assert status_of(lambda own=own, other=other: own.videos.retrieve(videos[other])) == NOT_FOUND  # type: ignore[misc]
            assert status_of(lambda foreign=foreign: foreign.videos.list()) == UNAUTHORIZED  # type: ignore[misc]
    consoles = installation.person("console", "--all", "all", "--print").document["ledgers"]
    links = {one["ledger"]: one["link"].partition("#")[0] for one in consoles}
    assert links == {name: f"{installation.origin}/t/{name}/console/sign-in" for name in servers}
    assert installation.end() == 0
    assert installation.person("verify", "--all", "all").code == 0
    assert installation.person("audit", "--all", "all").code == 0


def test_a_ledger_that_cannot_be_used_is_refused_alone_and_is_named(
    installation: Installation, outside: Start
) -> None:
    server = outside()
    for name in ("film", "broken"):
        installation.add(name, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk")
    installation.add("away", SORA_LEDGER_URL="postgresql://nobody@127.0.0.1:1/none")
    key = installation.key("film")
    (installation.folder / "broken" / "ledger.db").write_text("not a ledger")
    installation.start("film")

    assert installation.ready()["ready"] is True
    assert installation.ready()["unusable"] == ["away", "broken"]
    for name in ("away", "broken"):
        status, body = installation.get(f"/t/{name}/v1/videos", authorization=f"Bearer {key}")
        assert (status, json.loads(body)["error"]["code"]) == (UNAVAILABLE, "ledger_unavailable")
    render(installation, "film", key)
    metrics = installation.get("/metrics", authorization=f"Bearer {TOKEN}")[1]
    assert 'sora_ledger_up{ledger="away"} 0' in metrics
    assert 'sora_ledger_up{ledger="film"} 1' in metrics


def test_a_process_that_is_killed_is_started_again_and_nothing_is_billed_twice(
    installation: Installation, outside: Start
) -> None:
    server = outside(creates=["slow@held"])
    installation.add("film", OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk")
    key = installation.key("film")
    installation.start("film", anew=True)
    killed = installation.process_of("film")
    answers: list[int] = []

    def create() -> None:
        body = json.dumps({"prompt": "a boat", "model": "sora-2"})
        connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/t/film/v1/videos", body, headers)
        installation.wait(lambda: bool(server.bills()))
        os.kill(killed, signal.SIGKILL)
        answer = connection.getresponse()
        answers.append(answer.status)
        assert answer.getheader("x-should-retry") == "false"
        connection.close()

    create()
    assert answers == [BAD_GATEWAY]
    server.release()
    installation.wait(lambda: installation.process_of("film") != killed)
    installation.wait(lambda: bool(installation.ready()["ready"]))
    assert len(server.bills()) == 1


def test_nothing_of_one_ledger_is_shown_to_people_of_another(
    installation: Installation, outside: Start
) -> None:
    server = outside()
    for name in ("film", "games"):
        installation.add(name, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk")
    key = installation.key("film", "administrator", "requester")
    installation.start("film", "games", anew=True)

    assert installation.get("/metrics")[0] == UNAUTHORIZED
    assert installation.get("/t/games/metrics", authorization=f"Bearer {key}")[0] == UNAUTHORIZED
    assert "games" not in installation.get("/")[1]
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=PATIENCE_S)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/t/film/console/sign-in", f"key={key}&next=", form)
    answer = connection.getresponse()
    answer.read()
    cookies = [text.partition(";")[0] for name, text in answer.getheaders() if name == "set-cookie"]
    cookie = "; ".join(cookies)
    connection.close()
    assert "Path=/t/film/console" in str(answer.headers)
    listed = installation.get("/", cookie=cookie)[1]
    assert 'href="/t/film/console/"' in listed
    assert "games" not in listed
    assert installation.get("/t/film/console/videos", cookie=cookie)[0] == OK
    status, _ = installation.get("/t/games/console/videos", cookie=cookie)
    assert status == SEE_OTHER
    for path in (
        "/t/games/v1/videos",
        "/t/film/../games/v1/videos",
        "/t/film/%2e%2e/games/v1/videos",
        "/t/film//t/games/v1/videos",
        "/t/g%61mes/v1/videos",
        "/t/games%2fv1/videos",
        "/v1/videos",
    ):
        status, body = installation.get(path, authorization=f"Bearer {key}")
        assert status in {UNAUTHORIZED, NOT_FOUND}, (path, body)


def test_workers_of_all_ledgers_drain_their_queues_and_bill_the_server_of_each(
    installation: Installation, outside: Start
) -> None:
    servers = {name: outside() for name in ("busy", "quiet")}
    for name, server in servers.items():
        installation.add(name, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk")
    for number in range(5):
        installation.of("busy", "create", "--prompt", f"a boat {number}", "--queue")
    installation.of("quiet", "create", "--prompt", "a cat", "--queue")
    ended = installation.person("worker", "--all", "all", "--drain", "--interval", "0.2")
    assert ended.code == 0, ended.err
    assert {one["ledger"]: one["exit_code"] for one in ended.document["ledgers"]} == {"busy": 0, "quiet": 0}
    assert {name: len(server.bills()) for name, server in servers.items()} == {"busy": 5, "quiet": 1}


def test_a_server_named_for_one_ledger_gets_no_key_of_another(
    installation: Installation, outside: Start
) -> None:
    server = outside()
    installation.add("film", OPENAI_BASE_URL=server.base_url)
    installation.person = installation.person.with_(OPENAI_API_KEY="sk-of-all")
    installation.of("film", "create", "--prompt", "a boat")
    [sent] = server.requests("POST")
    assert "sk-of-all" not in json.dumps(sent)


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_folder_that_cannot_be_served_is_refused_before_anything_starts(
    person: Person, command: str
) -> None:
    folder = person.folder / "all"

    def refused(message: str) -> bool:
        ended = person(command, "--all", "all")
        return ended.code == BAD_INPUT and message in ended.err

    assert refused("expected a folder of ledgers")
    folder.mkdir()
    assert refused("expected all/NAME/ledger.db")
    (folder / "film.db").touch()
    assert refused("move it to all/film/ledger.db")
    (folder / "film.db").unlink()
    for name in ("Film", "games"):
        (folder / name).mkdir()
        (folder / name / "settings.env").touch()
    assert refused("lower-case letters")
    (folder / "Film").rename(folder / "film")
    (folder / "film" / "settings.env").write_text("SORA_LEDGER_URL=../games/ledger.db")
    assert refused("the same ledger as")
    (folder / "film" / "settings.env").write_text("SORA_LEDGER_PROFIL=sandbox")
    assert refused("did you mean SORA_LEDGER_PROFILE?")
    assert "--ledger is about one ledger" in person(command, "--all", "all", "--ledger", "x.db").err


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_copied_folder_is_refused_so_that_nothing_in_it_is_paid_for_twice(
    installation: Installation, outside: Start, command: str
) -> None:
    server = outside()
    installation.add("film", OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk")
    installation.of("film", "create", "--prompt", "a fox runs", "--queue")
    shutil.copytree(installation.folder / "film", installation.folder / "film-copy")
    ended = installation.person(command, "--all", "all")
    assert (ended.code, "it is a copy of all/film" in ended.err) == (BAD_INPUT, True), ended.err
    assert server.bills() == []


def test_settings_that_every_user_may_write_are_not_used(installation: Installation) -> None:
    installation.add("film")
    (installation.folder / "film" / "settings.env").chmod(0o666)
    ended = installation.person("worker", "--all", "all")
    assert (ended.code, "every user may write it" in ended.err) == (2, True)

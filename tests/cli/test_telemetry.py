"""What goes to an OpenTelemetry collector, as the collector has it, from commands, a worker and a server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from ledger.events import SubmissionAccepted
from ledger.log.opening import open_ledger, open_store
from ledger.record import Record
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.collector import Collector, Span, collecting
from tests.conftest import Faults
from tests.forks import Forks, Running
from tests.receiver import receiving

ROOT = Path(__file__).parents[2]
PRIVATE = "walrusprompt"
PROMPT = f"A {PRIVATE} in fog, slow push-in"
DONE = ("create-and-poll", "--profile", "sandbox", "--prompt", PROMPT, "--poll-interval", "0.05", "--json")
UPSTREAM = {"POST /videos", "GET /videos/{id}", "GET /videos/{id}/content"}
HOST = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from render_service import SyncRenderDesk

finished, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(finished))
trace.set_tracer_provider(provider)
with trace.get_tracer("host").start_as_current_span("film"):
    with SyncRenderDesk(profile="sandbox") as desk:
        job = desk.create("a fox runs")
print(json.dumps([job.trace_id, {
    span.name: [
        f"{span.context.trace_id:032x}",
        f"{span.parent.span_id:016x}" if span.parent else None,
        [f"{link.context.span_id:016x}" for link in span.links],
        f"{span.context.span_id:016x}",
    ]
    for span in finished.get_finished_spans()
}]))
"""
LOADED = """
import contextlib, io, json, sys
from cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.fixture
def collector(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Run a collector, to which the commands of this test export."""
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")
        yield running


def records() -> list[Record]:
    """Return the records of the jobs."""
    with open_ledger("sqlite:///ledger.db") as ledger:
        return [record for record in ledger.read() if record.stream.startswith("job_")]


def named(collector: Collector, name: str) -> Span:
    """Return the only span of a name."""
    [span] = [span for span in collector.spans if span.name == name]
    return span


def test_a_command_is_one_trace_with_the_ids_of_its_records(collector: Collector, sora: Sora) -> None:
    assert sora(*DONE).code == 0
    spans = collector.spans
    [recorded] = {(record.envelope.trace_id, record.envelope.span_id) for record in records()}
    root = named(collector, "sora-ledger create-and-poll")
    assert (root.trace_id, root.span_id, root.parent_id) == (*recorded, "")
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert {span.parent_id for span in spans} <= {"", *(span.span_id for span in spans)}
    ours = {"decide", "append", "generate_content sora-2", "settle", "download", "store"}
    assert {span.name for span in spans} == {root.name} | ours | UPSTREAM


def test_no_span_lasts_as_long_as_the_render(collector: Collector, sora: Sora) -> None:
    assert sora(*DONE).code == 0
    submitted = named(collector, "generate_content sora-2")
    stored = named(collector, "store")
    assert not [
        span for span in collector.spans if span.begins <= submitted.begins < stored.ends <= span.ends
    ]


def test_a_submission_has_the_attributes_of_the_conventions_for_generative_models(
    collector: Collector, sora: Sora
) -> None:
    assert sora(*DONE).code == 0
    [accepted] = [record for record in records() if isinstance(record.event, SubmissionAccepted)]
    span = named(collector, "generate_content sora-2")
    conventional = {name: value for name, value in span.attributes.items() if name.startswith("gen_ai.")}
    assert conventional == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "video",
        "gen_ai.provider.name": "sandbox",
        "gen_ai.request.model": "sora-2",
        "gen_ai.response.id": accepted.event.as_json()["video_id"],
    }
    assert span.attributes["sora_ledger.job_id"] == accepted.stream
    assert span.attributes["sora_ledger.outcome"] == "accepted"
    assert span.resource["service.name"] == "sora-ledger"


def test_the_server_is_told_the_span_of_its_request(
    collector: Collector, server: Callable[..., SandboxServer], sora: Sora
) -> None:
    running = server()
    assert sora("create", "--profile", "openai", "--even-if-retired", "--prompt", PROMPT).code == 0
    call = named(collector, "POST /videos")
    [asked] = httpx2.get(f"{running.base_url.removesuffix('/v1')}/_sandbox/jobs").json()["data"]
    assert asked["traceparent"].split("-")[1:3] == [call.trace_id, call.span_id]


@pytest.mark.parametrize("status", [400, 500])
def test_no_private_text_is_exported_wherever_it_was_written(
    collector: Collector, faulty: Faults, sora: Sora, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process,os,host")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    faulty.then(status, json.dumps({"error": {"message": f"no {PRIVATE}", "code": PRIVATE}}).encode())
    arguments = ("--profile", "custom", "--prompt", PROMPT, "--request-key", f"key-{PRIVATE}")
    assert sora("create", *arguments, "--poll-interval", "1").code != 0
    assert sora("create", *arguments).code in {6, 8}
    assert named(collector, "generate_content sora-2").failed
    assert collector.spans
    assert [path for path, body in collector.bodies if PRIVATE.encode() in body] == []


def test_the_work_of_a_worker_is_linked_to_the_request(collector: Collector, sora: Sora) -> None:
    assert sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT).code == 0
    asked = named(collector, "sora-ledger create")
    assert sora("worker", "--drain", "--interval", "0.1", "--profile", "sandbox").code == 0
    root = named(collector, "sora-ledger worker")
    assert root.trace_id != asked.trace_id
    for name in ("generate_content sora-2", "settle", "download", "store"):
        span = named(collector, name)
        assert (span.trace_id, span.links) == (root.trace_id, [(asked.trace_id, asked.span_id)])
    of_worker = {record.envelope.trace_id for record in records()} - {asked.trace_id}
    assert of_worker == {root.trace_id}
    assert collector.points["sora_ledger_events"]
    assert [body for _, body in collector.bodies if PRIVATE.encode() in body] == []


@contextmanager
def serving(folder: Path, forks: Forks, **environment: str) -> Iterator[tuple[Running, str]]:
    """Run `serve` on a free port; yields the process and its address."""
    command = ["serve", "--port", "0", "--profile", "sandbox", "--json", "--interval", "0.1"]
    process = forks.popen(command, folder, os.environ | environment)
    try:
        assert process.stdout
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr and process.stderr.read()
        yield process, json.loads("".join(lines))["serving"]
    finally:
        process.kill()
        process.communicate()


def test_a_server_exports_its_requests_its_webhooks_and_every_metric_it_shows(
    collector: Collector, sora: Sora, folder: Path, forks: Forks
) -> None:
    key = sora("access", "grant", "ana", "--role", "requester", "--json").document["key"]
    sora("budget", "set", "all", "--limit", "9", "--reason", "agreed")
    with closing(open_store("ledger.db", read_only=False)) as store:
        assert store.outbox.begin_turn("forward:lake", 0, 1)
    client_span = ("a" * 32, "b" * 16)
    headers = {"authorization": f"Bearer {key}", "traceparent": f"00-{'-'.join(client_span)}-01"}
    with (
        receiving() as receiver,
        serving(folder, forks, OTEL_METRIC_EXPORT_INTERVAL="200") as (process, url),
        closing(httpx2.Client(base_url=url, headers=headers, timeout=60)) as client,
    ):
        wanted = {"name": "ours", "url": receiver.url, "event_types": ["video.completed"]}
        assert client.post("/v1/webhook_endpoints", json=wanted).status_code == 200
        video = client.post("/v1/videos", json={"prompt": PROMPT}).json()
        receiver.wait_for(1)
        assert client.get(f"/v1/videos/{video['id']}").status_code == 200
        for path in ("v1/videos", "v1/nothing", "console", "console/shared", "console/static", "webhooks"):
            assert client.get(f"/{path}/{PRIVATE}?q={PRIVATE}").status_code >= 300
        collector.wait_for(lambda it: it.points.get("sora_ledger_render_duration_seconds"))
        families = list(parsed(client.get("/metrics").text))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    request = named(collector, "POST /v1/videos")
    asked = records()[0].envelope
    assert (request.trace_id, request.span_id, request.parent_id) == (asked.trace_id, asked.span_id, "")
    assert request.links == [client_span]
    assert request.attributes["http.response.status_code"] == 200
    assert "GET /v1/videos/{video_id}" in {span.name for span in collector.spans}
    submitted = named(collector, "generate_content sora-2")
    assert submitted.trace_id == request.trace_id
    delivered = named(collector, "webhook.deliver")
    assert delivered.links == [(asked.trace_id, asked.span_id)]
    assert delivered.attributes["sora_ledger.outcome"] == "accepted"
    shown = {one.name: one.type for one in families if not one.name.endswith("_created")}
    exported = {name: points[0].kind for name, points in collector.points.items()}
    kinds = {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}
    of_deliveries = "sora_ledger_webhook_deliveries"  # none came, so there are no points
    assert exported == {name: kinds[kind] for name, kind in shown.items() if name != of_deliveries}
    assert [body for _, body in collector.bodies if PRIVATE.encode() in body] == []


def test_a_webhook_from_the_server_is_a_span_too(collector: Collector, folder: Path, forks: Forks) -> None:
    with serving(folder, forks, SORA_LEDGER_WEBHOOK_SECRETS="whsec_" + "A" * 43 + "=") as (process, url):
        assert httpx2.post(f"{url}/webhooks/sandbox", content=PRIVATE.encode()).status_code == 400
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    received = named(collector, "webhook.receive")
    assert (received.attributes["http.response.status_code"], received.failed) == (400, False)
    [counted] = collector.points["sora_ledger_webhook_deliveries"][1:]
    assert (counted.attributes["outcome"], counted.value) == ("unsigned", 1)
    assert [body for _, body in collector.bodies if PRIVATE.encode() in body] == []


def test_a_collector_that_is_down_changes_no_result(
    sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    ended = sora(*DONE)
    assert (ended.code, ended.document["final"]["state"]) == (0, "stored")
    assert [line["event"] for line in ended.log if line["event"].startswith("telemetry")] == [
        "telemetry.trouble"
    ]


def test_a_collector_that_never_answers_does_not_keep_a_command_from_ending(
    collector: Collector, as_process: Sora
) -> None:
    ended = Event()
    collector.before = lambda: ended.wait(60)
    try:
        done = as_process(*DONE)
    finally:
        ended.set()
    assert (done.code, done.document["final"]["state"]) == (0, "stored")
    assert "telemetry.cut_off" in {line["event"] for line in done.log}


def test_a_collector_that_refuses_everything_changes_no_result(collector: Collector, sora: Sora) -> None:
    collector.status = 413
    assert sora(*DONE).code == 0


@pytest.mark.parametrize(
    ("settings", "because"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "expected http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "expected otlp or none"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318"}, "such as http://localhost:4318"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "soon"}, "expected a number of milliseconds"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_export_nothing(
    collector: Collector,
    sora: Sora,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    because: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    ended = sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT)
    [off] = [line for line in ended.log if line["event"] == "telemetry.off"]
    assert (ended.code, because in off["because"], collector.bodies) == (0, True, [])


def test_without_the_extra_a_command_says_what_to_install_and_works(
    collector: Collector, sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    ended = sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT)
    [off] = [line for line in ended.log if line["event"] == "telemetry.off"]
    assert (ended.code, "pip install 'sora-ledger[otel]'" in off["because"]) == (0, True)


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, set()),
        ({"OTEL_TRACES_EXPORTER": "none"}, {"/v1/metrics"}),
        ({"OTEL_METRICS_EXPORTER": "none"}, {"/v1/traces"}),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, {"/v1/metrics"}),
    ],
)
def test_the_standard_settings_choose_what_is_sent(
    collector: Collector,
    sora: Sora,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    sent: set[str],
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT).code == 0
    assert {path for path, _ in collector.bodies} == sent


def test_headers_compression_and_resource_are_those_of_the_standard_settings(
    collector: Collector, sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "film-desk")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    assert sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT).code == 0
    assert {headers["authorization"] for headers in collector.headers} == {"Bearer abc"}
    assert {headers["content-encoding"] for headers in collector.headers} == {"gzip"}
    resource = named(collector, "decide").resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("film-desk", "test")


def test_a_command_continues_the_trace_of_its_caller(
    collector: Collector, sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    assert sora("create", "--queue", "--profile", "sandbox", "--prompt", PROMPT).code == 0
    root = named(collector, "sora-ledger create")
    assert (root.trace_id, root.parent_id) == ("a" * 32, "b" * 16)


def test_without_settings_nothing_of_opentelemetry_or_prometheus_is_loaded(
    folder: Path,
) -> None:
    command = [sys.executable, "-c", LOADED, "create", "--queue", "--profile", "sandbox", "--prompt", PROMPT]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    code, loaded = json.loads(ran.stdout)
    unwanted = ("opentelemetry", "prometheus_client", "google.protobuf", "requests")
    assert (code, [name for name in loaded if name.startswith(unwanted)]) == (0, [])


def collector_finding(ended: Any) -> dict[str, Any] | None:
    """Return what `doctor` says of the collector; None if it says nothing."""
    found = [one for one in ended.document["findings"] if one["check"] == "otlp"]
    return found[0] if found else None


def test_doctor_asks_the_collector_and_sends_it_nothing(collector: Collector, sora: Sora) -> None:
    ended = sora("doctor", "--profile", "sandbox")
    found = collector_finding(ended)
    assert found
    assert (ended.code, found["found"]) == (0, "ok")
    assert f"{collector.url}/v1/traces and {collector.url}/v1/metrics answers" in found["says"]
    assert {body for _, body in collector.bodies} == {b""}


def test_doctor_names_a_collector_that_refuses(collector: Collector, sora: Sora) -> None:
    collector.status = 401
    ended = sora("doctor", "--profile", "sandbox")
    found = collector_finding(ended)
    assert found
    assert (ended.code, found["found"], "401" in found["says"]) == (1, "wrong", True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "Connection refused"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4318"}, "expected an address"),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "expected otlp or none"),
    ],
)
def test_doctor_names_what_is_wrong_with_the_settings(
    sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    ended = sora("doctor", "--profile", "sandbox")
    found = collector_finding(ended)
    assert found
    assert (ended.code, found["found"], says in found["says"]) == (1, "wrong", True)
    assert "renders do not depend on it" in found["fix"]


def test_doctor_says_nothing_of_a_collector_that_nobody_asked_for(sora: Sora, folder: Path) -> None:
    assert collector_finding(sora("doctor", "--profile", "sandbox", "--dry-run")) is None


def test_a_program_that_traces_itself_gets_the_spans_of_its_desk(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOST]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    recorded, spans = json.loads(ran.stdout)
    [first] = {record.envelope.span_id for record in records()}
    trace_id, parent, links, _ = spans["decide"]
    assert (trace_id, parent, links) == (recorded, first, [spans["film"][3]])
    assert {"append", "generate_content sora-2", "POST /videos"} <= spans.keys()

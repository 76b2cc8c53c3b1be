"""One invocation is one trace, in every log line; a key is in none."""

import json
import re
import sys
from pathlib import PurePosixPath

import pytest

from render_service.runtime.telemetry import Log, Trace, begin_trace, redact

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = Trace("1" * 32, "2" * 16)


def test_a_trace_of_the_environment_is_continued() -> None:
    trace = begin_trace({"TRACEPARENT": PARENT})
    assert (trace.trace_id, trace.parent_span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_a_continued_trace_has_a_span_of_its_own() -> None:
    assert begin_trace({"TRACEPARENT": PARENT}).span_id != "b7ad6b7169203331"


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        "00-short-b7ad6b7169203331-01",
        PARENT.upper(),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"{PARENT}\n",
        f"ff{PARENT[2:]}",
    ],
)
def test_a_malformed_trace_counts_as_none(malformed: str) -> None:
    trace = begin_trace({"TRACEPARENT": malformed})
    assert trace.parent_span_id is None
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)


def test_the_server_is_told_our_span() -> None:
    assert TRACE.traceparent == f"00-{'1' * 32}-{'2' * 16}-01"


def test_a_log_line_is_json_with_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    Log(TRACE).info("asset.stored", job_id="job_1", position=7)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["trace_id"], line["position"]) == ("asset.stored", "1" * 32, 7)


def test_a_value_that_json_does_not_have_is_written_as_python_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Log(TRACE).info("asset.stored", file=PurePosixPath("a/b.mp4"))
    assert json.loads(capsys.readouterr().err)["file"] == "PurePosixPath('a/b.mp4')"


def test_a_line_on_a_terminal_is_readable_and_has_no_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Log(TRACE).warning("server.said", said="the key sk-abc123DEF456")
    line = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().err)
    assert re.search(r"\[warning *\] server\.said .*said='the key sk-\[redacted\]'", line)


def test_the_log_of_another_trace_has_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(TRACE)
    log.info("http.answered")
    log.of(Trace("3" * 32, "4" * 16)).info("asset.stored")
    log.info("http.answered")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["trace_id"], line["span_id"]) for line in lines] == [
        ("1" * 32, "2" * 16),
        ("3" * 32, "4" * 16),
        ("1" * 32, "2" * 16),
    ]


def test_a_quiet_log_still_warns(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(TRACE, quiet=True)
    log.info("asset.stored")
    log.warning("asset.mismatch", field="size")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["asset.mismatch"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("said", "Incorrect API key provided: sk-abc123DEF456"),
        ("api_key", "anything"),
        ("authorization", "Bearer anything"),
        ("secret", "anything"),
    ],
)
def test_a_key_is_in_no_log_line(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    Log(TRACE).warning("server.said", **{name: value})
    text = capsys.readouterr().err
    assert "redacted" in text
    assert not re.search("abc123|anything", text)


def test_a_request_key_is_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    Log(TRACE).info("render.requested", request_key="spring-teaser")
    assert "spring-teaser" in capsys.readouterr().err


def test_no_control_character_counts_as_printable() -> None:
    letters = [chr(code) for code in range(0x3000)]
    assert [letter for letter in letters if redact(letter) != letter and letter.isprintable()] == []
    assert redact("a\u202eb\x1b[31m") == "a\ufffdb\ufffd[31m"


@pytest.mark.parametrize("letter", ["\x1b", "\x7f", "\x9b", "\u202e"])
def test_no_control_character_is_in_a_log_line(letter: str, capsys: pytest.CaptureFixture[str]) -> None:
    Log(TRACE).warning("server.said", said=f"a{letter}b")
    assert json.loads(capsys.readouterr().err)["said"] == "a\ufffdb"

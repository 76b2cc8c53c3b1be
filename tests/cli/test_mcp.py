"""``mcp`` where it cannot serve: without its package, and at a terminal."""

import sys

import pytest

from tests.cli.conftest import Sora


def test_without_its_package_the_command_says_what_to_install(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith("render_service.server.mcp"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("mcp", "mcp.server", "mcp.server.context", "mcp_types"):
        monkeypatch.setitem(sys.modules, name, None)
    ended = sora("mcp")
    assert (ended.code, ended.out) == (2, "")
    assert "pip install '.[mcp]'" in ended.err


def test_at_a_terminal_the_command_says_that_it_speaks_to_programs(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp", reason="the extra mcp")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    ended = sora("mcp")
    assert (ended.code, ended.out) == (2, "")
    assert "docs/agents.md" in ended.err

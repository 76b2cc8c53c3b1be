"""A preview decides and shows the request; it needs no key, no network, and records nothing."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from render_service.runtime.settings import Settings
from render_service.submission.preview import preview


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a preview calls nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_preview_shows_what_would_be_sent(
    settings: Settings, request_for: Callable[..., RenderRequest]
) -> None:
    request = request_for(seconds=8)
    document = preview(replace(settings, api_key=None), request).document(request)
    assert document["request"] == {
        "method": "POST",
        "url": "https://api.openai.com/v1/videos",
        "content_type": "multipart/form-data",
        "body": {"prompt": "a fox runs", "model": "sora-2", "size": "1280x720", "seconds": "8"},
        "files": {},
    }


def test_a_preview_of_a_denial_shows_no_request(
    settings: Settings, request_for: Callable[..., RenderRequest]
) -> None:
    request = request_for(max_cost_usd_micros=1)
    document = preview(settings, request).document(request)
    assert (document["request"], document["decision"]["decision"]) == (None, "DENY")


def test_a_preview_records_nothing(
    settings: Settings, request_for: Callable[..., RenderRequest], tmp_path: Path
) -> None:
    preview(settings, request_for())
    assert list(tmp_path.iterdir()) == []

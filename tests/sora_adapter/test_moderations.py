"""Asking a server to moderate a text, over real HTTP: the sandbox's answers, and those of odd servers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.client import VideosClient
from sora_adapter.errors import OperationUnsupported, ServerFailed, ServerRefused, ServerUnreadable
from sora_adapter.moderations import TextModeration, moderate_text
from sora_adapter.profiles import Profile, profile
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.sora_adapter.conftest import FaultServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[VideosClient]:
    with SandboxServer(SandboxSettings(data_dir=tmp_path)) as server:
        async with VideosClient(profile("sandbox"), server.base_url, None) as client:
            yield client


@pytest.fixture
async def client(server: FaultServer, openai_profile: Profile) -> AsyncIterator[VideosClient]:
    async with VideosClient(openai_profile, server.base_url, "sk-test") as client:
        yield client


async def test_the_sandbox_flags_the_same_words_with_the_same_scores(sandbox: VideosClient) -> None:
    model, flagged, ppm = await moderate_text(sandbox, "a gory beheading", "omni-moderation-latest")
    assert (model, flagged) == ("omni-moderation-latest", ("violence", "violence/graphic"))
    assert (ppm["violence/graphic"], ppm["sexual"], len(ppm)) == (970_000, 200, 13)
    assert await moderate_text(sandbox, "a gory beheading") == (model, flagged, ppm)


@pytest.mark.parametrize("text", ["Emma Watson walks", "Mickey Mouse dances to Thriller", "a teal coupe", ""])
async def test_the_sandbox_knows_no_people_or_characters_as_no_moderation_does(
    sandbox: VideosClient, text: str
) -> None:
    assert (await moderate_text(sandbox, text)).flagged == ()


async def test_the_text_is_sent_as_it_is_and_the_model_only_if_it_is_named(
    server: FaultServer, client: VideosClient
) -> None:
    server.answers(200, {"id": "modr-1", "model": "omni", "results": [{"flagged": False}]})
    await moderate_text(client, "é\n米")
    await moderate_text(client, "é\n米", "text-moderation-7")
    bodies = [request.body.decode() for request in server.requests]
    assert [request.path for request in server.requests] == ["/v1/moderations"] * 2
    assert "é\\n米" in bodies[0]
    assert ["text-moderation-7" in body for body in bodies] == [False, True]


ODD: list[tuple[dict[str, Any], TextModeration]] = [
    ({"flagged": True}, TextModeration("omni", ("unnamed",), {})),
    ({"flagged": True, "categories": {"Very bad!": True}}, TextModeration("omni", ("unnamed",), {})),
    (
        {"flagged": False, "categories": None, "category_scores": {"a": None}},
        TextModeration("omni", (), {}),
    ),
    (
        {"flagged": True, "categories": {"a/b": True}, "category_scores": {"a/b": 1.7, "c": -1, "D": 0.5}},
        TextModeration("omni", ("a/b",), {"a/b": 1_000_000, "c": 0}),
    ),
    (
        {"flagged": False, "category_scores": {f"c{n}": n / 1000 for n in range(100)}},
        TextModeration("omni", (), {f"c{n}": n * 1000 for n in range(99, 35, -1)}),
    ),
]


@pytest.mark.parametrize(("result", "expected"), ODD)
async def test_only_plain_names_and_whole_numbers_are_taken_over(
    server: FaultServer, client: VideosClient, result: dict[str, Any], expected: TextModeration
) -> None:
    result = {name: value for name, value in result.items() if value is not None}
    server.answers(200, {"model": "omni", "results": [result]})
    assert await moderate_text(client, "x") == expected


async def test_several_results_count_together(server: FaultServer, client: VideosClient) -> None:
    results = [
        {"flagged": False, "category_scores": {"violence": 0.1}},
        {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}},
    ]
    server.answers(200, {"model": "<script>", "results": results})
    assert await moderate_text(client, "x") == (None, ("violence",), {"violence": 900_000})


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"results": []}, 200, ServerUnreadable),
        ({"results": [{"flagged": "perhaps"}]}, 200, ServerUnreadable),
        ({"object": "list"}, 200, ServerUnreadable),
        ("<html>", 200, ServerUnreadable),
        ({"error": {"message": "no"}}, 400, ServerRefused),
        ({"error": {"message": "down"}}, 503, ServerFailed),
    ],
)
async def test_no_other_answer_is_a_moderation(
    server: FaultServer, client: VideosClient, body: Any, status: int, error: type[Exception]
) -> None:
    server.answers(status, body)
    with pytest.raises(error):
        await moderate_text(client, "x")


async def test_a_server_without_moderations_is_not_asked(server: FaultServer) -> None:
    async with VideosClient(profile("vllm-omni"), server.base_url, None) as client:
        with pytest.raises(OperationUnsupported):
            await moderate_text(client, "x")
    assert server.requests == []

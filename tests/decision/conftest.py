"""The packaged catalog and policy, and short ways to ask for something."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from decision.engine.decide import DecisionContext, decide
from decision.request.request import RenderRequest, parse_request
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy, default_policy
from decision.rules.toml import default_catalog
from ledger.events import Ruling

SOURCE = {
    "job_id": "job_0",
    "video_id": "video_0",
    "status": "completed",
    "model": "sora-2",
    "size": "1280x720",
    "seconds": 4,
}
FILE = {"name": "clip.mp4", "sha256": "0" * 64, "media_type": "video/mp4", "bytes": 9}


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return default_catalog()


@pytest.fixture(scope="session")
def policy() -> Policy:
    return default_policy()


@pytest.fixture(scope="session")
def parse(catalog: Catalog) -> Callable[..., RenderRequest]:
    def parse(**values: Any) -> RenderRequest:
        return parse_request(
            catalog=catalog, **{"operation": "create", "prompt": "A cat on a roof", **values}
        )

    return parse


@pytest.fixture(scope="session")
def remix(parse: Callable[..., RenderRequest]) -> Callable[..., RenderRequest]:
    def remix(*, source: dict[str, Any] | None = None, **values: Any) -> RenderRequest:
        values_ = {"operation": "remix", "prompt": "Make the coat red", **values}
        return parse(source={**SOURCE, **(source or {})}, **values_)

    return remix


@pytest.fixture(scope="session")
def edit(remix: Callable[..., RenderRequest]) -> Callable[..., RenderRequest]:
    return partial(remix, operation="edit")


@pytest.fixture(scope="session")
def extend(remix: Callable[..., RenderRequest]) -> Callable[..., RenderRequest]:
    return partial(remix, operation="extend", prompt="The cat jumps down", seconds=8)


@pytest.fixture(scope="session")
def edit_file(parse: Callable[..., RenderRequest]) -> Callable[..., RenderRequest]:
    def edit_file(*, source_file: dict[str, Any] | None = None, **values: Any) -> RenderRequest:
        values_ = {"operation": "edit", "prompt": "Make the coat red", **values}
        return parse(source_file={**FILE, **(source_file or {})}, **values_)

    return edit_file


@pytest.fixture(scope="session")
def ruling(catalog: Catalog, policy: Policy) -> Callable[..., Ruling]:
    def ruling(request: RenderRequest, **context: Any) -> Ruling:
        return decide(request, catalog=catalog, policy=policy, context=DecisionContext(**context))

    return ruling

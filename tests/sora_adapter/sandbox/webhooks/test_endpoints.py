"""The API of webhook endpoints, through the official SDK."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.sora_adapter.sandbox.conftest import Clock
from tests.sora_adapter.sandbox.webhooks.conftest import Receiver

Start = Callable[..., httpx2.Client]


@pytest.fixture
def sdk(start: Start) -> Iterator[openai.OpenAI]:
    base_url = str(start().base_url.join("/v1"))
    with openai.OpenAI(api_key="any", base_url=base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def create(sdk: openai.OpenAI) -> Callable[..., Any]:
    def make(name: str = "mine", url: str = "https://example.com/hook") -> Any:
        return sdk.webhooks.create(name=name, url=url, event_types=["video.completed"])

    return make


def test_a_secret_is_shown_when_the_endpoint_is_made_and_never_again(
    sdk: openai.OpenAI, create: Callable[..., Any]
) -> None:
    made = create()
    found = sdk.webhooks.retrieve(made.id)
    assert (made.signing_secret[:6], "signing_secret" in found.model_dump()) == ("whsec_", False)


def test_a_hint_recognises_the_secret(create: Callable[..., Any]) -> None:
    made = create()
    assert made.signing_secret_hint[-4:] == made.signing_secret[-4:]


def test_an_update_changes_what_it_names_and_nothing_else(
    sdk: openai.OpenAI, create: Callable[..., Any], clock: Clock
) -> None:
    made = create()
    clock.advance(5)
    changed = sdk.webhooks.update(made.id, url="https://example.com/other")
    assert (changed.name, changed.url, changed.updated_at) == (
        "mine",
        "https://example.com/other",
        made.updated_at + 5,
    )


def test_an_update_that_changes_nothing_leaves_the_time_of_the_last_change(
    sdk: openai.OpenAI, create: Callable[..., Any], clock: Clock
) -> None:
    made = create()
    clock.advance(5)
    assert sdk.webhooks.update(made.id, name="mine").updated_at == made.updated_at


def test_a_list_shows_the_newest_endpoint_first(sdk: openai.OpenAI, create: Callable[..., Any]) -> None:
    made = [create(f"number {number}").id for number in range(5)]
    assert [endpoint.id for endpoint in sdk.webhooks.list(limit=2)] == made[::-1]


def test_a_deleted_endpoint_is_gone(sdk: openai.OpenAI, create: Callable[..., Any]) -> None:
    made = create()
    assert sdk.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(made.id)


def test_every_event_type_of_the_sdk_is_on_the_list(sdk: openai.OpenAI) -> None:
    types = sdk.webhooks.event_types.list().data
    assert (len(types), {"video.completed", "video.failed"} < set(types)) == (27, True)


def test_a_rotated_secret_is_another(sdk: openai.OpenAI, create: Callable[..., Any]) -> None:
    made = create()
    assert sdk.webhooks.rotate_secret(made.id).signing_secret != made.signing_secret


@pytest.mark.parametrize(("keep", "hours", "signatures"), [(True, 23, 2), (True, 24, 1), (False, 0, 1)])
def test_an_old_secret_is_valid_for_a_day_if_it_is_kept(
    sdk: openai.OpenAI,
    create: Callable[..., Any],
    receiver: Receiver,
    clock: Clock,
    *,
    keep: bool,
    hours: int,
    signatures: int,
) -> None:
    made = create(url=receiver.url)
    sdk.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=keep)
    clock.advance(hours * 3600)
    sdk.webhooks.test(made.id, event_type="video.completed")
    received = receiver.next()
    assert len(received.headers["webhook-signature"].split()) == signatures


def test_a_test_sends_a_sample_and_tells_how_it_was_answered(
    sdk: openai.OpenAI, create: Callable[..., Any], receiver: Receiver
) -> None:
    receiver.answers.append(418)
    made = create(url=receiver.url)
    result = sdk.webhooks.test(made.id, event_type="batch.failed")
    received = receiver.next()
    sdk.webhooks.verify_signature(
        received.body, received.headers, secret=made.signing_secret, tolerance=10**10
    )
    assert (result.status_code, result.success, result.event_type) == (418, True, "batch.failed")


def test_a_test_of_a_receiver_that_is_not_there_is_refused(
    sdk: openai.OpenAI, create: Callable[..., Any]
) -> None:
    made = create(url="http://127.0.0.1:9/nobody")
    with pytest.raises(openai.BadRequestError, match="gave no answer"):
        sdk.webhooks.test(made.id, event_type="video.completed")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"name": "n", "url": "https://a"}, "event_types", "missing_required_parameter"),
        ({"event_types": [], "name": "n", "url": "https://a"}, "event_types", "empty_array"),
        ({"event_types": "all", "name": "n", "url": "https://a"}, "event_types", "invalid_type"),
        ({"event_types": ["all"], "name": "n", "url": "https://a"}, "event_types", "invalid_value"),
        ({"event_types": [7], "name": "n", "url": "https://a"}, "event_types", "invalid_type"),
        ({"event_types": ["video.failed"], "name": "", "url": "https://a"}, "name", "empty_string"),
        ({"event_types": ["video.failed"], "name": "n", "url": "https://"}, "url", "invalid_url"),
        ({"event_types": ["video.failed"], "name": "n", "url": "ftp://a"}, "url", "invalid_url"),
        ({"event_types": ["video.failed"], "name": "n", "url": "http://["}, "url", "invalid_url"),
        ({"event_types": ["video.failed"], "name": "n", "url": "http://a:99999"}, "url", "invalid_url"),
    ],
)
def test_a_refusal_names_the_parameter_and_the_reason(
    start: Start, fields: dict[str, Any], param: str, code: str
) -> None:
    error = start().post("/v1/webhook_endpoints", json=fields).json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_a_page_of_endpoints_has_at_least_one(start: Start) -> None:
    assert start().get("/v1/webhook_endpoints?limit=0").status_code == 400


def test_the_secret_of_an_endpoint_can_be_rotated_without_a_body(start: Start) -> None:
    api = start()
    wanted = {"name": "n", "url": "https://a", "event_types": ["video.failed"]}
    made = api.post("/v1/webhook_endpoints", json=wanted).json()
    assert api.post(f"/v1/webhook_endpoints/{made['id']}/rotate_secret").status_code == 200

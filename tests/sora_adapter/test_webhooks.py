"""Only who has the secret is believed, and nothing that can be sent is more than a refusal."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_adapter.errors import DeliveryRefused, SettingsUnusable
from sora_adapter.webhooks import TOLERANCE_S, Verifier, check_secret

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(KEY[::-1]).decode()
EVENT = {
    "id": "evt_1",
    "object": "event",
    "created_at": 1,
    "type": "video.completed",
    "data": {"id": "video_1"},
}


def signed(body: bytes, *, secret: str = SECRET, name: str = "wh_1", age_s: float = 0) -> dict[str, str]:
    """Return the headers of a delivery as standard-webhooks signs it."""
    at = str(int(time.time() - age_s))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{name}.{at}.".encode() + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": signature}


def body_of(**changes: Any) -> bytes:
    return json.dumps(EVENT | changes).encode()


def why(headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(DeliveryRefused) as refused:
        Verifier([SECRET]).read(headers, body)
    return refused.value.why


def test_a_well_signed_delivery_says_which_video_it_is_about() -> None:
    delivery = Verifier([SECRET]).read(signed(body_of()), body_of())
    assert delivery
    assert delivery._asdict() == {
        "webhook_event_id": "evt_1",
        "delivery_id": "wh_1",
        "webhook_type": "video.completed",
        "video_id": "video_1",
    }


def test_any_one_of_several_secrets_will_do() -> None:
    assert Verifier([OTHER, SECRET]).read(signed(body_of()), body_of())


def test_one_of_several_signatures_will_do() -> None:
    headers = signed(body_of())
    headers["webhook-signature"] = f"v1,bm9uZQ== {headers['webhook-signature']}"
    assert Verifier([SECRET]).read(headers, body_of())


@pytest.mark.parametrize("kind", ["response.completed", "video.unheard_of", "safety.alert.created"])
def test_a_signed_event_about_something_else_is_none_of_ours(kind: str) -> None:
    body = json.dumps({"id": "evt_1", "type": kind, "data": None}).encode()
    assert Verifier([SECRET]).read(signed(body), body) is None


def test_another_secret_is_a_forgery() -> None:
    assert why(signed(body_of(), secret=OTHER), body_of()) == "forged"


def test_another_body_is_a_forgery() -> None:
    assert why(signed(body_of()), body_of(id="evt_2")) == "forged"


@pytest.mark.parametrize("age_s", [TOLERANCE_S + 2, -TOLERANCE_S - 2])
def test_a_delivery_signed_long_ago_or_in_the_future_is_stale(age_s: float) -> None:
    assert why(signed(body_of(), age_s=age_s), body_of()) == "stale"


@pytest.mark.parametrize("age_s", [TOLERANCE_S - 2, 2 - TOLERANCE_S])
def test_clocks_may_differ_by_the_tolerance(age_s: float) -> None:
    assert Verifier([SECRET]).read(signed(body_of(), age_s=age_s), body_of())


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_delivery_without_one_of_the_headers_is_unsigned(missing: str) -> None:
    headers = signed(body_of())
    del headers[missing]
    assert why(headers, body_of()) == "unsigned"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"id": "evt_1"}',
        b"[" * 60_000,
        b'{"id": "\\ud800", "type": "video.completed", "data": {"id": "video_1"}}',
        json.dumps(EVENT | {"id": "evt 1"}).encode(),
        json.dumps(EVENT | {"id": "e" * 129}).encode(),
        json.dumps(EVENT | {"data": {}}).encode(),
        json.dumps(EVENT | {"data": {"id": 7}}).encode(),
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert why(signed(body), body) in {"unreadable", "unsigned"}


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
    st.binary(),
)
def test_whatever_is_sent_without_the_secret_is_refused(headers: dict[str, str], body: bytes) -> None:
    assert why(headers, body) in {"unsigned", "stale", "forged"}


@given(st.text(max_size=40))
def test_a_hostile_signature_is_refused(signature: str) -> None:
    assert why(signed(body_of()) | {"webhook-signature": signature}, body_of()) in {"unsigned", "forged"}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!!",
        "whsec_abc",
        "a secret of another kind",
        "whsec_AAAA",
        SECRET[6:],
        SECRET + "!",
    ],
)
def test_a_secret_with_which_others_could_sign_is_refused(secret: str) -> None:
    with pytest.raises(SettingsUnusable, match="anyone could sign"):
        check_secret(secret)


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsUnusable) as refused:
        check_secret("whsec_my-secret!")
    assert "my-secret" not in str(refused.value)

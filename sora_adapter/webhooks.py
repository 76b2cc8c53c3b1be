"""Check the signature of webhook deliveries, and read them.

The SDK's ``verify_signature`` checks the signature. This module closes what the SDK leaves open:

- it accepts any secret: with an empty one, or one that decodes to nothing, anyone can sign. `check_secret`
  refuses those, and `Verifier` accepts only secrets that passed it;
- it raises ValueError, TypeError and UnicodeDecodeError for malformed headers and bodies. Here every fault of
  a delivery is a `DeliveryRefused`;
- ``unwrap`` returns the wrong class for ``video.completed``: the event is read by our own model.

The SDK reads the clock itself: a delivery is fresh for `TOLERANCE_S` seconds before and after its timestamp.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, NamedTuple, TypeVar

from openai import InvalidWebhookSignatureError, OpenAI
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from sora_adapter.errors import DeliveryRefused, SettingsUnusable

TOLERANCE_S: Final = 300
LEAST_SECRET_BYTES: Final = 16
VIDEO_EVENTS: Final = ("video.completed", "video.failed")
"""The types about a video; all others are ignored."""

_PREFIX = "whsec_"
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_STALE = "timestamp is too"
_DELIVERY_ID = re.compile(r"[!-~]{1,128}")
_Id = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Event(_Document):
    id: _Id
    type: _Id


class _Subject(_Document):
    id: _Id


class _VideoEvent(_Event):
    data: _Subject


M = TypeVar("M", bound=_Document)


class Delivery(NamedTuple):
    """One correctly signed delivery about a video. The event keeps its id across repeated deliveries."""

    webhook_event_id: str
    delivery_id: str
    webhook_type: str
    video_id: str


def check_secret(secret: str) -> str:
    """Return `secret` if it is strong enough; raises `SettingsUnusable`, which does not repeat it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < LEAST_SECRET_BYTES:
        raise SettingsUnusable(
            f"expected a webhook secret, {_PREFIX} and at least {LEAST_SECRET_BYTES} bytes in base64, found "
            f"{len(secret)} characters that are not one: copy it again; with a broken one anyone could sign",
            param="webhook_secret",
            expected=f"a webhook secret, {_PREFIX} and at least {LEAST_SECRET_BYTES} bytes in base64",
            found=f"{len(secret)} characters that are not one",
        )
    return secret


class Verifier:
    """Checks deliveries signed with any of `secrets`: the current one and its predecessors."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise SettingsUnusable(
                "there is no webhook secret to check deliveries with",
                param="webhook_secret",
                expected="a webhook secret",
                found="nothing",
            )
        self._secrets = tuple(map(check_secret, secrets))
        # It makes no calls; without these arguments it would read them from the environment.
        self._sdk = OpenAI(api_key="none", base_url="http://localhost", webhook_secret=secrets[0])

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery | None:
        """Return the delivery; None if it is correctly signed but not about a video.

        Raises `DeliveryRefused` for every fault.
        """
        self._check(headers, body)
        try:
            event = _parse(_VideoEvent, body)
        except DeliveryRefused:  # an event of another type need not be about anything with an id
            if _parse(_Event, body).type in VIDEO_EVENTS:
                raise
            return None
        if event.type not in VIDEO_EVENTS:
            return None
        return Delivery(event.id, headers["webhook-id"], event.type, event.data.id)

    def _check(self, headers: Mapping[str, str], body: bytes) -> None:
        signed = {name: headers.get(name, "") for name in _SIGNED}
        if not all(value.isascii() and value.strip() for value in signed.values()):
            raise DeliveryRefused(f"expected the headers {', '.join(_SIGNED)}, in ASCII", "unsigned")
        if not _DELIVERY_ID.fullmatch(signed["webhook-id"]):
            raise DeliveryRefused("webhook-id: expected 1 to 128 visible ASCII characters", "unsigned")
        for secret in self._secrets:
            try:
                self._sdk.webhooks.verify_signature(body, signed, secret=secret, tolerance=TOLERANCE_S)
            except InvalidWebhookSignatureError as error:
                if _STALE in str(error):
                    raise DeliveryRefused(f"{error}: {TOLERANCE_S} s are allowed", "stale") from error
            except (ValueError, TypeError) as error:  # a UnicodeDecodeError is a ValueError
                raise DeliveryRefused("the body is not text that can be signed", "unsigned") from error
            else:
                return
        raise DeliveryRefused("the signature was made with no secret of this profile", "forged")


def _parse(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the body"
        message = f"expected an event as a JSON object; {where} is missing or wrong"
        raise DeliveryRefused(message, "unreadable") from error

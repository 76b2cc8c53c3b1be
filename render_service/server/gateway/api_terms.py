"""Messages written for the command line, in the terms of the API: fields in place of options."""

import re

_FLAG = re.compile(r"--([a-z][a-z-]*)")
_FIT = re.compile(r"use --fit .* to make it fit")
"""The API has no such field: a client sends an image of the right size."""
_FIELDS = {
    "max_cost": "max_cost_usd",
    "id": "video",
    "deadline": "deadline_minutes",
    "character_id": "characters",
    "input_reference_url": "input_reference.image_url",
    "input_reference_file_id": "input_reference.file_id",
    "request_key": "Idempotency-Key",
    "all_images": "input_references",
}
"""The API's names of options with different names there."""


def in_api_terms(message: str) -> str:
    """Return a message of the command line with the names of the API's fields in place of options."""
    message = _FIT.sub("send it in that size", message)
    return _FLAG.sub(lambda flag: _field(flag[1].replace("-", "_")), message)


def _field(option: str) -> str:
    return _FIELDS.get(option, option)


_PARAMS = {
    "reference": "input_reference",
    "image": "input_reference",
    "reference_url": "input_reference.image_url",
    "input_reference_url": "input_reference.image_url",
    "reference_file_id": "input_reference.file_id",
    "max_cost_usd_micros": "max_cost_usd",
    "character_id": "characters",
    "request_key": "Idempotency-Key",
}
"""Fields with other names in the API than in errors."""


def api_param(param: str) -> str:
    """Return the field of the API for the `param` of an error."""
    return _PARAMS.get(param, param)

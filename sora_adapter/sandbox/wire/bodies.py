"""Decode request bodies to plain fields: a multipart form, or JSON under any Content-Type.

`requests` interprets the fields. The SDKs write objects into forms as `name[key]` and lists of objects as
`name[][key]`; the official description would write them as JSON text; both become JSON here.
"""

import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sora_adapter.sandbox.wire.errors import ApiError

logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # its warnings become error answers

MAX_BODY_BYTES = 32 * 1024 * 1024
_JSON_FIELDS = {"input_reference": "{", "video": "{", "characters": "["}
_BRACKETS = re.compile(r"(\w+)\[(\w+)\]")
_LIST_BRACKETS = re.compile(r"(\w+)\[\d*\]\[(\w+)\]")


@dataclass(frozen=True)
class Upload:
    """A file in a form."""

    name: str
    media_type: str
    body: bytes


Fields = dict[str, Any]


async def read_fields(request: Request) -> Fields:
    """Return the fields of a request, empty if it has no body; values are JSON values or Uploads."""
    _check_length(request)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _form_fields(request)
    return _json_fields(await _limited_body(request))


def _check_length(request: Request) -> None:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()


async def _limited_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ApiError:
    message = f"The request is larger than {MAX_BODY_BYTES} bytes."
    return ApiError(message, code="request_too_large", status=413)


def _json_fields(body: bytes) -> Fields:
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        message = f"We could not parse the body as JSON ({error}). Send JSON or multipart/form-data."
        raise ApiError.invalid(message, code="invalid_json") from error
    if not isinstance(fields, dict):
        raise ApiError.wrong_type("body", "an object", type_name(fields))
    return fields


async def _form_fields(request: Request) -> Fields:
    try:
        async with request.form(max_part_size=MAX_BODY_BYTES) as form:
            return await _merged(form)
    except HTTPException as error:
        message = f"We could not parse the multipart form of your request ({error.detail})."
        raise ApiError.invalid(message, code="invalid_multipart_form") from error


async def _merged(form: FormData) -> Fields:
    """Convert the parts of a form to fields; refuse duplicates."""
    fields: Fields = {}
    for name, value in form.multi_items():
        if in_list := _LIST_BRACKETS.fullmatch(name):
            _append(fields, in_list, value)
            continue
        bracketed = _BRACKETS.fullmatch(name)
        target, key = (fields.setdefault(bracketed[1], {}), bracketed[2]) if bracketed else (fields, name)
        if not isinstance(target, dict) or key in target:
            raise ApiError.duplicate_parameter(name)
        target[key] = await _upload(value) if isinstance(value, UploadFile) else _json_or_text(name, value)
    return fields


def _append(fields: Fields, in_list: re.Match[str], value: UploadFile | str) -> None:
    """Append an object with one key to a list: no object in the API's lists has more."""
    target = fields.setdefault(in_list[1], [])
    if not isinstance(target, list) or isinstance(value, UploadFile):
        raise ApiError.duplicate_parameter(in_list[0])
    target.append({in_list[2]: value})


async def _upload(file: UploadFile) -> Upload:
    return Upload(file.filename or "", file.content_type or "application/octet-stream", await file.read())


def _json_or_text(name: str, value: str) -> Any:
    """Parse a field that is an object or a list if it is written as JSON; all others are text."""
    if name not in _JSON_FIELDS or not value.startswith(_JSON_FIELDS[name]):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def type_name(value: object) -> str:
    """Return the JSON type of a value with its article, as in the API's messages."""
    if isinstance(value, Upload):
        return "a file"
    names = {
        bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
        dict: "an object", type(None): "null",
    }  # fmt: skip
    return names[type(value)]

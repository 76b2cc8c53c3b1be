"""Decode request bodies to plain fields: a multipart form, or JSON under any Content-Type.

The SDKs write objects into forms as `name[key]` and lists of objects as `name[][key]`; the official
description would write them as JSON text; both become JSON here. Uploads are written to a temporary file
while they arrive, and a body is refused at the first byte beyond its limit.
"""

import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sora_adapter.serving.errors import ApiError

logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # its warnings become error answers

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_PARTS = 64
"""Limits on the number of fields and files in one form; no request of the API has that many."""

MAX_VALUES = 100_000
"""Limit on the number of values in a JSON body, which take up to thirty times the memory of their text."""

_JSON_FIELDS = {"input_reference": "{", "video": "{", "characters": "["}
_REPEATED = {"input_references": "input_references", "input_references[]": "input_references"}
"""Fields that a form may repeat as lists, with the name that some clients give each of them."""
_BRACKETS = re.compile(r"(\w+)\[(\w+)\]")
_LIST_BRACKETS = re.compile(r"(\w+)\[\d*\]\[(\w+)\]")


@dataclass(frozen=True)
class FilePart:
    """A file in a form, wherever its content is stored."""

    name: str
    media_type: str


@dataclass(frozen=True)
class Upload(FilePart):
    """A file in a form, in memory."""

    body: bytes


Fields = dict[str, Any]
KeepUpload = Callable[[UploadFile], Awaitable[FilePart]]
"""Preserves an upload beyond the end of the form, which deletes its temporary file."""


async def keep_in_memory(file: UploadFile) -> Upload:
    """Preserve the bytes of an upload."""
    return Upload(file.filename or "", media_type_of(file), await file.read())


def media_type_of(file: UploadFile) -> str:
    """Return the media type that the client states."""
    return file.content_type or "application/octet-stream"


async def read_fields(
    request: Request,
    *,
    keep: KeepUpload = keep_in_memory,
    max_bytes: int = MAX_BODY_BYTES,
    max_form_bytes: int | None = None,
) -> Fields:
    """Return the fields of a request, empty if it has no body; values are JSON values or preserved uploads.

    `max_form_bytes` limits a form if its limit differs from JSON's.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        limit = max_bytes if max_form_bytes is None else max_form_bytes
        _check_length(request, limit)
        return await _form_fields(request, keep, limit, max_bytes)
    _check_length(request, max_bytes)
    return _json_fields(b"".join([chunk async for chunk in _limit(request, max_bytes)]))


def _check_length(request: Request, limit: int) -> None:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)


async def _limit(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, up to `limit` bytes."""
    left = limit
    async for chunk in request.stream():
        left -= len(chunk)
        if left < 0:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> ApiError:
    message = f"The request is larger than {limit} bytes."
    return ApiError(
        message,
        code="request_too_large",
        status=413,
        param="body",
        expected=f"at most {limit} bytes",
        found="more",
    )


def _json_fields(body: bytes) -> Fields:
    if sum(body.count(sign) for sign in (b"{", b"[", b",")) > MAX_VALUES:
        raise ApiError.invalid(
            f"The body has more than {MAX_VALUES} values.",
            code="invalid_json",
            param="body",
            expected=f"at most {MAX_VALUES} values",
            found="more",
        )
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        message = f"We could not parse the body as JSON ({error}). Send JSON or multipart/form-data."
        raise ApiError.invalid(
            message, code="invalid_json", param="body", expected="JSON or multipart/form-data", found=error
        ) from error
    if not isinstance(fields, dict):
        raise ApiError.wrong_type("body", "an object", type_name(fields))
    return fields


class _Form(MultiPartParser):
    """A form that must be complete: one cut off between two parts looks like a shorter one."""

    is_whole = False

    def on_end(self) -> None:
        """Note the last boundary."""
        self.is_whole = True

    async def parse(self) -> FormData:
        """Return the parts; `MultiPartException` if the last boundary is missing."""
        form = await super().parse()
        if not self.is_whole:
            await form.close()
            raise MultiPartException("The last boundary is missing: the form was cut off.")
        return form


async def _form_fields(request: Request, keep: KeepUpload, max_bytes: int, max_field_bytes: int) -> Fields:
    parser = _Form(
        request.headers,
        _limit(request, max_bytes),
        max_files=MAX_PARTS,
        max_fields=MAX_PARTS,
        max_part_size=max_field_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:
        message = f"We could not parse the multipart form of your request ({_explain(error)})."
        raise ApiError.invalid(
            message,
            code="invalid_multipart_form",
            param="body",
            expected="a form that is whole",
            found=_explain(error),
        ) from error
    try:
        return await _merge_parts(form, keep)
    finally:
        await form.close()


def _explain(error: MultiPartException | UnicodeError) -> str:
    return error.message if isinstance(error, MultiPartException) else "its text is not in its charset"


async def _merge_parts(form: FormData, keep: KeepUpload) -> Fields:
    """Convert the parts of a form to fields; refuse duplicates."""
    fields: Fields = {}
    for name, value in form.multi_items():
        if name in _REPEATED:
            item = await keep(value) if isinstance(value, UploadFile) else value
            fields.setdefault(_REPEATED[name], []).append(item)
            continue
        if in_list := _LIST_BRACKETS.fullmatch(name):
            _append(fields, in_list, value)
            continue
        bracketed = _BRACKETS.fullmatch(name)
        target, key = (fields.setdefault(bracketed[1], {}), bracketed[2]) if bracketed else (fields, name)
        if not isinstance(target, dict) or key in target:
            raise ApiError.duplicate_parameter(name)
        target[key] = await keep(value) if isinstance(value, UploadFile) else _json_or_text(name, value)
    return fields


def _append(fields: Fields, in_list: re.Match[str], value: UploadFile | str) -> None:
    """Append an object with one key to a list; objects in the API's lists have only one."""
    target = fields.setdefault(in_list[1], [])
    if not isinstance(target, list) or isinstance(value, UploadFile):
        raise ApiError.duplicate_parameter(in_list[0])
    target.append({in_list[2]: value})


def _json_or_text(name: str, value: str) -> Any:
    """Parse a field that may be an object or a list if it is written as JSON; all others are text."""
    if name not in _JSON_FIELDS or not value.startswith(_JSON_FIELDS[name]):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def type_name(value: object) -> str:
    """Return the JSON type of a value with its article, as in the API's messages."""
    if isinstance(value, FilePart):
        return "a file"
    names = {
        bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
        dict: "an object", type(None): "null",
    }  # fmt: skip
    return names[type(value)]

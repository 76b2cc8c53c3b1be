"""Read a request of the API into the values of `parse_request`, with the API's own defaults.

Values without an API field are fields of the body (`extra_body` of an SDK) or headers ``x-sora-ledger-NAME``:
purpose, team, project, max_cost_usd, deadline_minutes, promotes, attested, declare_change.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from decision.money import micros_of
from decision.request.attachments import SERVER_OPTIONS, SEVERAL_IMAGES
from ledger.job import Job
from ledger.terms import Operation
from render_service.access.callers import Caller
from render_service.assets.fit import Frame
from render_service.assets.inputs import NOTHING, Material
from render_service.server.gateway.uploads import Uploaded, Uploads, read_film, read_frame
from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import read_text, read_text_up_to, refuse_unknown, require

MODEL, SIZE, SECONDS = "sora-2", "720x1280", "4"
"""The defaults of the API; the command line has others."""

MAX_PROMPT = 32_000
MAX_NAME = 80
MAX_IMAGES = 16

TERMS = (
    "purpose",
    "team",
    "project",
    "max_cost_usd",
    "deadline_minutes",
    "promotes",
    "attested",
    "declare_change",
)
HEADER = "x-sora-ledger-"


@dataclass(frozen=True)
class RequestInput:
    """A client's request: values for `parse_request`, files, who pays, and the name of the source.

    `profile` names the server; the default is the source's, or the one for new requests.
    """

    values: dict[str, object]
    material: Material = NOTHING
    source: str | None = None
    team: str | None = None
    project: str | None = None
    profile: str | None = None

    @property
    def character_ids(self) -> list[str]:
        """The characters that the request names."""
        return list(cast("list[str]", self.values.get("character_ids", [])))

    @property
    def file_id(self) -> str | None:
        """The file at the server that the request names as its first frame."""
        return cast("str | None", self.values.get("reference_file_id"))


Submit = Callable[[Caller, RequestInput, str], Awaitable[Job]]
"""Submits a request of a person's form, once for each key; returns its job as soon as it is recorded."""


def read_create(fields: Fields, headers: Mapping[str, str], uploads: Uploads) -> RequestInput:
    """Read ``POST /videos``; raises `ApiError`. Reads files, so it is called in a thread if there are any."""
    images = ("input_reference", SEVERAL_IMAGES)
    known = ("prompt", "model", "size", "seconds", *images, "characters", *_READ_OPTION)
    fields = _merged(fields, headers, known)
    options = {name: _READ_OPTION[name](fields, name) for name in _READ_OPTION if name in fields}
    values = _values(Operation.CREATE, fields) | {
        "model": read_text(fields, "model") if "model" in fields else MODEL,
        "size": read_text(fields, "size") if "size" in fields else SIZE,
        "seconds": _number(fields, "seconds") if "seconds" in fields else SECONDS,
        "character_ids": _character_ids(fields),
        "options": options,
    }
    reference, material = _reference(fields.get("input_reference"), uploads)
    if SEVERAL_IMAGES in fields:
        reference, material = _references(fields, uploads, reference, material)
        if reference["further_images"]:
            options[SEVERAL_IMAGES] = True
    return _request_input(fields, values | reference, material)


def read_remix(fields: Fields, headers: Mapping[str, str], source: str) -> RequestInput:
    """Read ``POST /videos/{id}/remix``."""
    fields = _merged(fields, headers, ("prompt",))
    return _request_input(fields, _values(Operation.REMIX, fields), source=source)


def read_edit(fields: Fields, headers: Mapping[str, str]) -> RequestInput:
    """Read ``POST /videos/edits``, of a video of this ledger or of an uploaded one."""
    fields = _merged(fields, headers, ("prompt", "video", "model"))
    require(fields, "video")
    values = _values(Operation.EDIT, fields)
    if not isinstance(fields["video"], Uploaded):
        wished = {"model": read_text(fields, "model")} if "model" in fields else {}
        return _request_input(fields, values | wished, source=_id_of(fields["video"], "video"))
    model = read_text(fields, "model") if "model" in fields else MODEL
    film = read_film(fields["video"])
    values |= {"model": model, "source_file": film.model_dump()}
    return _request_input(fields, values, Material(video=fields["video"].path))


def read_extension(fields: Fields, headers: Mapping[str, str]) -> RequestInput:
    """Read ``POST /videos/extensions``; only a video of this ledger can be extended."""
    fields = _merged(fields, headers, ("prompt", "video", "model", "seconds"))
    require(fields, "video")
    if isinstance(fields["video"], Uploaded):
        message = (
            "Extend a video by its id: an uploaded file cannot be extended. Edit it first (POST "
            "/videos/edits), then extend the result."
        )
        raise ApiError.invalid(
            message, code="invalid_value", param="video", expected="the id of a video", found="a file"
        )
    require(fields, "seconds")
    values = _values(Operation.EXTEND, fields) | {"seconds": _number(fields, "seconds")}
    wished = {"model": read_text(fields, "model")} if "model" in fields else {}
    return _request_input(fields, values | wished, source=_id_of(fields["video"], "video"))


def read_character(fields: Fields) -> tuple[str, Uploaded]:
    """Read ``POST /videos/characters``: the name, and the video."""
    fields = {name: value for name, value in fields.items() if value is not None}
    refuse_unknown(fields, ("name", "video"))
    name = read_text_up_to(fields, "name", MAX_NAME)
    require(fields, "video")
    if not isinstance(fields["video"], Uploaded):
        raise ApiError.wrong_type("video", "a file", type_name(fields["video"]))
    return name, fields["video"]


def _merged(fields: Fields, headers: Mapping[str, str], known: tuple[str, ...]) -> Fields:
    """Return the fields that have a value, and the terms in headers; if both are given, they must agree."""
    refuse_unknown(fields, (*known, *TERMS))
    entries = {name: value for name, value in fields.items() if value is not None}
    for name in TERMS:
        value = headers.get(HEADER + name.replace("_", "-"))
        if value is None:
            continue
        if name in entries and str(entries[name]) != value:
            message = f"'{name}' is {entries[name]} in the body and {value} in a header: send one of them."
            raise ApiError.invalid(
                message, code="invalid_value", param=name, expected=value, found=entries[name]
            )
        entries[name] = value
    return entries


def _values(operation: Operation, fields: Fields) -> dict[str, object]:
    """Return the values common to all operations: the verbatim prompt, and the terms."""
    values: dict[str, object] = {
        "operation": operation.value,
        "prompt": read_text_up_to(fields, "prompt", MAX_PROMPT),
        "augment": False,
    }
    if "purpose" in fields:
        values["purpose"] = read_text(fields, "purpose")
    if "promotes" in fields:
        values["promotes"] = read_text(fields, "promotes")
    if "deadline_minutes" in fields:
        values["deadline_minutes"] = _number(fields, "deadline_minutes")
    if "declare_change" in fields:
        values["declared_change"] = read_text(fields, "declare_change")
    if "attested" in fields:
        values["attested"] = _yes_or_no(fields, "attested")
    if "max_cost_usd" in fields:
        values["max_cost_usd_micros"] = _dollars(fields)
    return values


def _request_input(
    fields: Fields, values: dict[str, object], material: Material = NOTHING, source: str | None = None
) -> RequestInput:
    team = read_text(fields, "team") if "team" in fields else None
    project = read_text(fields, "project") if "project" in fields else None
    return RequestInput(values, material, source, team, project)


def _reference(value: Any, uploads: Uploads) -> tuple[dict[str, object], Material]:
    """Return the first frame for `parse_request`, and its bytes if it is a file or a data URL."""
    if value is None:
        return {}, NOTHING
    if isinstance(value, dict):
        key, named = _one_reference(value)
        if key == "file_id":
            return {"reference_file_id": named}, NOTHING
        if named[:5].lower() != "data:":
            return {"reference_url": named}, NOTHING
        value = uploads.keep_data_url(named, "input_reference.image_url")
    if not isinstance(value, Uploaded):
        raise ApiError.wrong_type("input_reference", "a file or an object", type_name(value))
    frame = read_frame(value)
    material = Material(reference=frame.content, original=frame.original)
    return {"input_reference": frame.image.model_dump()}, material


def _references(
    fields: Fields, uploads: Uploads, first: dict[str, object], material: Material
) -> tuple[dict[str, object], Material]:
    """Return the first frame and the further images of ``input_references``, whose first may be the frame."""
    entries = fields[SEVERAL_IMAGES]
    if not isinstance(entries, list):
        raise ApiError.wrong_type(SEVERAL_IMAGES, "an array", type_name(entries))
    if not entries or len(entries) > MAX_IMAGES:
        message = f"Invalid '{SEVERAL_IMAGES}': expected 1 to {MAX_IMAGES} images, but got {len(entries)}."
        raise ApiError.invalid(
            message,
            code="invalid_value",
            param=SEVERAL_IMAGES,
            expected=f"1 to {MAX_IMAGES} images",
            found=len(entries),
        )
    read = [_further(item, index, uploads) for index, item in enumerate(entries)]
    if not first:
        frame = read.pop(0)
        first = {"input_reference": frame.image.model_dump()}
        material = Material(reference=frame.content, original=frame.original)
    contents, originals = [frame.content for frame in read], [frame.original for frame in read]
    more = replace(material, further=tuple(contents), further_originals=tuple(originals))
    return first | {"further_images": [frame.image.model_dump() for frame in read]}, more


def _further(value: Any, index: int, uploads: Uploads) -> Frame:
    param = f"{SEVERAL_IMAGES}[{index}]"
    if isinstance(value, dict):
        key, named = _one_reference(value, param)
        if key != "image_url" or named[:5].lower() != "data:":
            message = f"Send each of several images as a file or a data URL, in '{param}'."
            raise ApiError.invalid(
                message, code="invalid_value", param=param, expected="a file or a data URL", found=key
            )
        value = uploads.keep_data_url(named, f"{param}.image_url")
    if not isinstance(value, Uploaded):
        raise ApiError.wrong_type(param, "a file or an object", type_name(value))
    return read_frame(value, param)


def _one_reference(value: dict[str, Any], param: str = "input_reference") -> tuple[str, str]:
    refuse_unknown(value, ("image_url", "file_id"), f"{param}.")
    if len(value) != 1:
        message = f"Provide exactly one of 'image_url' or 'file_id' in '{param}'."
        raise ApiError.invalid(
            message,
            code="invalid_value",
            param=param,
            expected="one of image_url and file_id",
            found=len(value),
        )
    (key,) = value
    return key, read_text(value, key, f"{param}.")


def _character_ids(fields: Fields) -> list[str]:
    entries = fields.get("characters", [])
    if not isinstance(entries, list):
        raise ApiError.wrong_type("characters", "an array", type_name(entries))
    return [_id_of(entry, f"characters[{index}]") for index, entry in enumerate(entries)]


def _id_of(value: Any, param: str) -> str:
    """Return the id of an object that contains nothing else."""
    if not isinstance(value, dict):
        raise ApiError.wrong_type(param, "an object", type_name(value))
    refuse_unknown(value, ("id",), f"{param}.")
    if "id" not in value:
        raise ApiError.missing_parameter(f"{param}.id")
    return read_text(value, "id", f"{param}.")


def _number(fields: Fields, name: str) -> int | str:
    """Return a whole number or text; `parse_request` decides which numbers are offered."""
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ApiError.wrong_type(name, "a string", type_name(value))
    return value


def _yes_or_no(fields: Fields, name: str) -> bool:
    value = fields[name]
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ApiError.wrong_type(name, "a boolean", type_name(value))
    return value


def _dollars(fields: Fields) -> int:
    value = fields["max_cost_usd"]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ApiError.wrong_type("max_cost_usd", "a number", type_name(value))
    micros = micros_of(str(value))
    if micros is None:
        message = f"Invalid 'max_cost_usd': expected dollars from 0, such as 2.50, but got {str(value)[:40]}."
        raise ApiError.invalid(
            message,
            code="invalid_value",
            param="max_cost_usd",
            expected="dollars from 0, such as 2.50",
            found=str(value)[:40],
        )
    return micros


_READ_OPTION: Mapping[str, Callable[[Fields, str], object]] = {
    name: _yes_or_no if option.example is None else _number for name, option in SERVER_OPTIONS.items()
}

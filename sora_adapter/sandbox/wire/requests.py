"""Parse requests once: the results are frozen types that contain only offered values.

The lists reflect the API's last state (guide and price list), which is newer than the official description.
In permissive mode, unknown models are accepted, and uploads that are not images or videos.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sora_adapter.sandbox.wire.media import (
    BLANK,
    Files,
    Film,
    Variant,
    check_character,
    check_source,
    read_film,
    read_reference,
)
from sora_adapter.serving.bodies import Fields, Upload, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import (
    read_choice,
    read_limit,
    read_text,
    read_text_up_to,
    refuse_unknown,
    require,
)

_SMALL = ("720x1280", "1280x720")
_LARGE = (*_SMALL, "1024x1792", "1792x1024", "1080x1920", "1920x1080")
SIZES = {
    "sora-2": _SMALL,
    "sora-2-pro": _LARGE,
    "sora-2-2025-10-06": _SMALL,
    "sora-2-pro-2025-10-06": _LARGE,
    "sora-2-2025-12-08": _SMALL,
}
SECONDS = ("4", "8", "12", "16", "20")
VARIANTS = ("video", "thumbnail", "spritesheet")
MAX_PROMPT = 32_000
PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
MAX_NAME = 80
MAX_CHARACTERS = 2

Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class CreateRequest:
    """A request for a clip made from the prompt alone, or from a decodable image of exactly `size`."""

    prompt: str
    model: str
    size: str
    seconds: str
    reference: bytes | None
    character_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemixRequest:
    """A request for a change; everything else comes from the source."""

    prompt: str


@dataclass(frozen=True)
class EditRequest:
    """A request to change a video of the sandbox (by id) or an upload; `model` is for uploads."""

    prompt: str
    source: str | Film
    model: str


@dataclass(frozen=True)
class ExtendRequest:
    """A request to extend a video; `seconds` is the added length."""

    prompt: str
    source: str | Film
    model: str
    seconds: int


@dataclass(frozen=True)
class CharacterRequest:
    """A request for a character, with a suitable video."""

    name: str


@dataclass(frozen=True)
class ListRequest:
    """A requested page; `after` is the last id of the previous page."""

    limit: int
    order: Order
    after: str | None


def _no_files(_: str) -> None:
    return None


def parse_create(fields: Fields, *, permissive: bool = False, file: Files = _no_files) -> CreateRequest:
    """Check a create request, whose image may be a `file` by id; raises ApiError."""
    refuse_unknown(fields, ("prompt", "model", "size", "seconds", "input_reference", "characters"))
    prompt = read_text_up_to(fields, "prompt", MAX_PROMPT)
    model = _model(fields, permissive=permissive)
    seconds = read_choice(fields, "seconds", SECONDS, "4")
    size = read_choice(fields, "size", _sizes(model), "720x1280")
    reference = _reference(fields, size, file, permissive=permissive)
    return CreateRequest(prompt, model, size, seconds, reference, _character_ids(fields))


def parse_file(fields: Fields) -> tuple[Upload, str]:
    """Check an upload; return the file and its purpose; raises ApiError."""
    refuse_unknown(fields, ("file", "purpose", "expires_after"))
    require(fields, "file")
    if not isinstance(fields["file"], Upload):
        raise ApiError.wrong_type("file", "a file", type_name(fields["file"]))
    require(fields, "purpose")
    return fields["file"], read_choice(fields, "purpose", PURPOSES, "")


def parse_remix(fields: Fields) -> RemixRequest:
    """Check a remix request; raises ApiError."""
    refuse_unknown(fields, ("prompt",))
    return RemixRequest(read_text_up_to(fields, "prompt", MAX_PROMPT))


def parse_edit(fields: Fields, *, permissive: bool = False) -> EditRequest:
    """Check an edit request; raises ApiError."""
    known = ("prompt", "video", "model")
    source, model = _source(fields, known, permissive=permissive)
    return EditRequest(read_text_up_to(fields, "prompt", MAX_PROMPT), source, model)


def parse_extend(fields: Fields, *, permissive: bool = False) -> ExtendRequest:
    """Check an extension request; raises ApiError."""
    known = ("prompt", "video", "model", "seconds")
    source, model = _source(fields, known, permissive=permissive)
    seconds = int(read_choice(fields, "seconds", SECONDS))
    return ExtendRequest(read_text_up_to(fields, "prompt", MAX_PROMPT), source, model, seconds)


def parse_character(fields: Fields, *, permissive: bool = False) -> CharacterRequest:
    """Check a character request; raises ApiError."""
    refuse_unknown(fields, ("name", "video"))
    name = read_text_up_to(fields, "name", MAX_NAME)
    require(fields, "video")
    film = _film(fields["video"], permissive=permissive)
    if film is not BLANK:
        check_character(film)
    return CharacterRequest(name)


def parse_list(query: Mapping[str, str]) -> ListRequest:
    """Check the query of a list; raises ApiError."""
    order = read_choice(dict(query), "order", ("asc", "desc"), "desc")
    return ListRequest(read_limit(query), "asc" if order == "asc" else "desc", query.get("after"))


def parse_variant(query: Mapping[str, str]) -> Variant:
    """Return the requested asset of a video; raises ApiError."""
    chosen = read_choice(dict(query), "variant", VARIANTS, "video")
    return next(variant for variant in _VARIANTS if variant == chosen)


_VARIANTS: tuple[Variant, ...] = ("video", "thumbnail", "spritesheet")


def _model(fields: Fields, *, permissive: bool) -> str:
    if permissive and "model" in fields:
        return read_text(fields, "model")
    return read_choice(fields, "model", SIZES, "sora-2")


def _sizes(model: str) -> Iterable[str]:
    return SIZES.get(model, _LARGE)


def _reference(fields: Fields, size: str, file: Files, *, permissive: bool) -> bytes | None:
    if "input_reference" not in fields:
        return None
    value = fields["input_reference"]
    try:
        return read_reference(value, size, file)
    except ApiError:
        if permissive and isinstance(value, Upload):
            return None
        raise


def _character_ids(fields: Fields) -> tuple[str, ...]:
    characters = fields.get("characters", [])
    if not isinstance(characters, list):
        raise ApiError.wrong_type("characters", "an array", type_name(characters))
    if len(characters) > MAX_CHARACTERS:
        message = (
            "Invalid 'characters': array too long. "
            f"Expected at most {MAX_CHARACTERS}, but got {len(characters)}."
        )
        raise ApiError.invalid(message, code="array_above_max_length", param="characters")
    return tuple(_id_of(character, f"characters[{index}]") for index, character in enumerate(characters))


def _source(fields: Fields, known: Iterable[str], *, permissive: bool) -> tuple[str | Film, str]:
    """Return the video to edit or extend, and the model of an uploaded one."""
    refuse_unknown(fields, known)
    require(fields, "video")
    if not isinstance(fields["video"], Upload):
        refuse_unknown(fields, set(known) - {"model"})  # a video of the sandbox has its own model
        return _id_of(fields["video"], "video"), ""
    model = _model(fields, permissive=permissive)
    film = _film(fields["video"], permissive=permissive)
    if film is not BLANK:
        check_source(film, _sizes(model))
    return film, model


def _film(value: Any, *, permissive: bool) -> Film:
    try:
        return read_film(value)
    except ApiError:
        if permissive:
            return BLANK
        raise


def _id_of(value: Any, param: str) -> str:
    """Return the id from an object that contains nothing else."""
    if not isinstance(value, dict):
        raise ApiError.wrong_type(param, "an object", type_name(value))
    refuse_unknown(value, ("id",), f"{param}.")
    if "id" not in value:
        raise ApiError.missing_parameter(f"{param}.id")
    return read_text(value, "id", f"{param}.")

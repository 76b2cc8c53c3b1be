"""Attachments of a request besides text: images, a source video, a video file.

These classes only describe attachments; other packages read the files and the ledger.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decision.errors import BadRequest
from decision.request import validators
from decision.rules.catalog import Catalog
from ledger.terms import Operation, Status

DEFAULT_SIZE = "1280x720"
DEFAULT_SECONDS = 4
DIGEST = r"^[0-9a-f]{64}$"


class FrozenValue(BaseModel):
    """A frozen value, validated when it is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Kind = TypeVar("_Kind", bound=FrozenValue)


class Faces(StrEnum):
    """The result of checking a reference image for faces; NOT_CHECKED if that was not possible."""

    NONE = "none"
    FOUND = "found"
    NOT_CHECKED = "not_checked"


class ReferenceImage(FrozenValue):
    """A reference image: pixels, bytes, and the digest of the file.

    `original_sha256` is set if the image was made from another file to fit the size of the video. `faces` is
    None if the image was not checked.
    """

    name: str
    sha256: str = Field(pattern=DIGEST)
    original_sha256: str | None = Field(default=None, pattern=DIGEST)
    media_type: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    bytes: int = Field(gt=0)
    faces: Faces | None = None


class SourceFile(FrozenValue):
    """A video file to be edited; `size` and `seconds` (rounded up) were read from it.

    If the file was not probed, they are a new clip's defaults, and so is the cost estimate.
    """

    name: str
    sha256: str = Field(pattern=DIGEST)
    media_type: str
    bytes: int = Field(gt=0)
    size: str = DEFAULT_SIZE
    seconds: int = Field(default=DEFAULT_SECONDS, gt=0)


class Source(FrozenValue):
    """The source video of a remix, edit or extension, as the ledger knows it.

    `status` is None if unknown. `seconds` is the total length, `extensions` the number of extensions it
    includes.
    """

    job_id: str | None = None
    video_id: str
    status: Status | None
    deleted: bool = False
    model: str
    size: str
    seconds: int = Field(gt=0)
    extensions: int = Field(default=0, ge=0)
    prompt: str | None = None


class RequestedOutput(FrozenValue):
    """Requested values that the source determines; None if not requested."""

    model: str | None = None
    size: str | None = None
    seconds: int | None = None


def read_part(kind: type[_Kind], thing: str, value: object) -> _Kind | None:
    """Return `value` as a `kind`, None for None; `BadRequest` names the first invalid field."""
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (thing, *problem["loc"]))
        raise BadRequest(
            f"{where}: {problem['msg']}, found {validators.show_value(problem['input'])}",
            param=where,
            expected=problem["msg"],
            found=validators.show_value(problem["input"]),
        ) from None


SEVERAL_IMAGES: Final = "input_references"
"""The option, and server field, for sending all images of a request rather than only the first."""


class ServerOption(NamedTuple):
    """An option of a create that only some servers take.

    It has one name in the request, in the record and in the body that is sent; its flag is derived from that
    name. `example` is the example value of a number; without one it is a switch, and off is the same as not
    requested. `advice` is the hint in a form if the server does not support it.
    """

    help: str
    advice: str
    example: int | None = None


SERVER_OPTIONS: Mapping[str, ServerOption] = {
    "seed": ServerOption(
        help="Seed for a repeatable render, if the server supports it.",
        advice="Leave out the seed, or choose a server that takes one.",
        example=42,
    ),
    "loop": ServerOption(
        help="End on the first frame, if the server supports it.",
        advice="Leave out looping, or choose a server that has it.",
    ),
}
"""The only list of these options: all code that reads, sends, shows or explains a request uses it."""

OPTIONS = (*SERVER_OPTIONS, SEVERAL_IMAGES)
"""Options that only some servers take, several images included."""


def flag_of(name: str) -> str:
    """Return the flag of a server option."""
    return f"--{name.replace('_', '-')}"


_TAKEN: Mapping[Operation, frozenset[str]] = {
    Operation.CREATE: frozenset(
        {
            "input_reference",
            "further_images",
            "reference_url",
            "reference_file_id",
            "character_ids",
            "options",
        }
    ),
    Operation.REMIX: frozenset({"source"}),
    Operation.EDIT: frozenset({"source", "source_file"}),
    Operation.EXTEND: frozenset({"source"}),
}
_CALLED: Mapping[str, str] = {
    "input_reference": "reference image",
    "further_images": "reference images",
    "reference_url": "reference image",
    "reference_file_id": "reference image",
    "character_ids": "characters",
    "options": " or ".join(SERVER_OPTIONS),
    "source_file": "video file",
}


class Material(NamedTuple):
    """All attachments, named as in `decision.request.request.RenderRequest`."""

    source: Source | None
    source_file: SourceFile | None
    input_reference: ReferenceImage | None
    further_images: tuple[ReferenceImage, ...]
    reference_url: str | None
    reference_file_id: str | None
    character_ids: tuple[str, ...]
    options: dict[str, int | bool]


def read_material(operation: Operation, values: Mapping[str, object], catalog: Catalog) -> Material:
    """Return the attachments of a request, complete and consistent for its `operation`, or `BadRequest`."""
    material = Material(
        source=read_part(Source, "source", values.get("source")),
        source_file=read_part(SourceFile, "source_file", values.get("source_file")),
        input_reference=read_part(ReferenceImage, "input_reference", values.get("input_reference")),
        further_images=_read_further_images(values.get("further_images", ())),
        reference_url=_reference_url(values.get("reference_url"), catalog),
        reference_file_id=_reference_file_id(values.get("reference_file_id")),
        character_ids=_character_ids(values.get("character_ids", ()), catalog),
        options=_options(values.get("options", {})),
    )
    _check_taken(operation, material)
    _check_one_beginning(operation, material)
    _check_one_first_frame(material)
    _check_several_images(material, catalog)
    if material.source_file:
        _check_source_file(material.source_file, catalog)
    return material


def check_first_frame(image: ReferenceImage, size: str, catalog: Catalog) -> None:
    """Raise `BadRequest` unless `image` can be the first frame of a video of `size`."""
    _check_format(image, catalog)
    found = f"{image.width}x{image.height}"
    if found != size and not catalog.image.any_size:
        other = f", or use --size {found}" if found in catalog.sizes else ""
        raise BadRequest(
            f"reference image {validators.show_value(image.name)} is {found}, the video's size is {size};"
            f" use --fit cover (or contain, or pad) to make it fit{other}",
            param="input_reference",
            expected=size,
            found=found,
        )


def _check_format(image: ReferenceImage, catalog: Catalog) -> None:
    formats = catalog.image.media_types
    if image.media_type not in formats:
        raise BadRequest(
            f"reference image {validators.show_value(image.name)} is {image.media_type}"
            f" (accepted: {', '.join(formats)}); convert it",
            param="input_reference",
            expected=", ".join(formats),
            found=image.media_type,
        )


def _read_further_images(value: object) -> tuple[ReferenceImage, ...]:
    images = (
        read_part(ReferenceImage, f"further_images.{index}", item)
        for index, item in enumerate(_require_list("further_images", value))
    )
    return tuple(image for image in images if image)


def _require_list(thing: str, value: object) -> Iterable[object]:
    if isinstance(value, list | tuple):
        return value
    raise BadRequest(
        f"{thing} must be a list, found {type(value).__name__}",
        param=thing,
        expected="a list",
        found=type(value).__name__,
    )


def _reference_url(value: object, catalog: Catalog) -> str | None:
    if value is None:
        return None
    url = validators.parse_text("reference_url", value)
    limit = catalog.image.max_url_characters
    if len(url) > limit:
        raise BadRequest(
            f"reference_url has {len(url):,} characters, at most {limit:,} are allowed;"
            " give the image as a file with --input-reference",
            param="input_reference_url",
            expected=f"at most {limit:,} characters",
            found=f"{len(url):,}",
        )
    if url[:5].lower() == "data:":
        _check_data_url(url, catalog.image.media_types)
    elif not _is_web_address(url):
        raise BadRequest(
            f"reference_url must begin with https://, http:// or data:, found {validators.show_value(url)};"
            " a file is given with --input-reference",
            param="input_reference_url",
            expected="https://, http:// or data:",
            found=validators.show_value(url),
        )
    return url


def _check_data_url(url: str, formats: tuple[str, ...]) -> None:
    head, comma, content = url[5:].partition(",")
    media_type = head.partition(";")[0].lower()
    if media_type not in formats:
        raise BadRequest(
            f"reference_url holds {validators.show_value(media_type or 'text')} "
            f"(accepted: {', '.join(formats)}); convert the image",
            param="input_reference_url",
            expected=", ".join(formats),
            found=validators.show_value(media_type or "text"),
        )
    if not (comma and content):
        raise BadRequest(
            "reference_url holds no image; expected data:image/png;base64, and the image behind it",
            param="input_reference_url",
            expected="data:image/png;base64, and the image behind it",
            found="no image",
        )


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and url.isprintable()
        and len(url.split()) == 1
    )


def _reference_file_id(value: object) -> str | None:
    return None if value is None else validators.parse_label("reference_file_id", value, "file_abc123")


def _character_ids(value: object, catalog: Catalog) -> tuple[str, ...]:
    listed = _require_list("character_ids", value)
    ids = tuple(validators.parse_label("character_id", item, "--character-id char_123") for item in listed)
    most = catalog.characters.max_per_video
    if len(set(ids)) < len(ids):
        raise BadRequest(
            "a character is named twice; each --character-id stands for another one",
            param="character_id",
            expected="each character once",
            found="one twice",
        )
    if len(ids) > most:
        raise BadRequest(
            f"{len(ids)} characters are named, at most {most} can be in a video; leave one out",
            param="character_id",
            expected=f"at most {most} characters",
            found=len(ids),
        )
    return ids


def _options(value: object) -> dict[str, int | bool]:
    """Return the requested options; a false one is the default and is omitted."""
    if not isinstance(value, Mapping):
        raise BadRequest(
            f"options must be an object, found {type(value).__name__}",
            param="options",
            expected="an object",
            found=type(value).__name__,
        )
    for key in value:
        validators.parse_word("option", key, OPTIONS)
    options: dict[str, int | bool] = {}
    for name in OPTIONS:
        example = SERVER_OPTIONS[name].example if name in SERVER_OPTIONS else None
        if value.get(name) is None:
            continue
        if example is not None:
            options[name] = validators.parse_whole_number(name, value[name], f"{flag_of(name)} {example}")
        elif validators.parse_boolean(name, value[name]):
            options[name] = True
    return options


def _check_taken(operation: Operation, material: Material) -> None:
    noun = validators.NOUNS[operation]
    for name, value in material._asdict().items():
        if not value or name in _TAKEN[operation]:
            continue
        if name == "source":
            raise BadRequest(
                f"{noun} starts from no video; to change one, use remix --id",
                param="job",
                expected="no video to start from",
                found="a video",
            )
        way_out = "use edit --video" if name == "source_file" else "use create"
        raise BadRequest(
            f"{noun} takes no {_CALLED[name]}; leave it out or {way_out}",
            param=name,
            expected=f"no {_CALLED[name]}",
            found="one",
        )


def _check_one_beginning(operation: Operation, material: Material) -> None:
    beginnings = [part for part in (material.source, material.source_file) if part]
    noun = validators.NOUNS[operation]
    if len(beginnings) > 1:
        raise BadRequest(
            f"{noun} starts from one video; name it with --id, or give the file with --video",
            param="job",
            expected="one video",
            found="two",
        )
    if not beginnings and operation is not Operation.CREATE:
        or_file = ", or give its file with --video" if operation is Operation.EDIT else ""
        raise BadRequest(
            f"{noun} needs the video it starts from; name it with --id{or_file}",
            param="job",
            expected="the video it starts from",
            found="nothing",
        )


def _check_one_first_frame(material: Material) -> None:
    frames = [
        name for name in ("input_reference", "reference_url", "reference_file_id") if getattr(material, name)
    ]
    if len(frames) > 1:
        raise BadRequest(
            f"a video has one first frame, found {' and '.join(frames)}; leave one of them out",
            param="input_reference",
            expected="one first frame",
            found=" and ".join(frames),
        )
    if material.further_images and not material.input_reference:
        raise BadRequest(
            "further_images are given without input_reference; the first image is the first frame",
            param="input_reference",
            expected="an input_reference before further_images",
            found="none",
        )


def _check_several_images(material: Material, catalog: Catalog) -> None:
    if not material.options.get(SEVERAL_IMAGES):
        return
    if not material.further_images:
        raise BadRequest(
            "input_references is about several images, found fewer than two;"
            " name them with --images 'a.png,b.png', or leave out --all-images",
            param="images",
            expected="several images",
            found="fewer than two",
        )
    for image in material.further_images:
        _check_format(image, catalog)


def _check_source_file(file: SourceFile, catalog: Catalog) -> None:
    formats = catalog.source_file.media_types
    if file.media_type not in formats:
        raise BadRequest(
            f"video {validators.show_value(file.name)} is {file.media_type}"
            f" (accepted: {', '.join(formats)}); convert it",
            param="video",
            expected=", ".join(formats),
            found=file.media_type,
        )
    if file.size not in catalog.sizes:
        raise BadRequest(
            f"video {validators.show_value(file.name)} is {validators.show_value(file.size)}, which no model "
            f"offers (offered: {', '.join(catalog.sizes)}); scale or crop it to one of these",
            param="video",
            expected=", ".join(catalog.sizes),
            found=validators.show_value(file.size),
        )

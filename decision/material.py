"""What a render starts from besides its prompt: the first frame, characters, options, a file to edit.

The first frame is one of a file, a URL and the id of a file the server has. The API takes no second image:
further ones are kept with the request and not sent, so nothing is asked of their size. Which operation
takes what is one table; what a particular server takes of it is the decision's to say (`decision.gates`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from decision import vocabulary
from decision.catalog import Catalog
from decision.errors import BadRequest
from decision.parts import ReferenceImage, Source, SourceFile, read_part
from ledger.events import Operation

OPTIONS = ("seed", "loop")
"""What some servers take besides: a number to repeat a render by, and an end that meets its beginning."""

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
    "options": "seed or loop",
    "source_file": "video file",
}


class Material(NamedTuple):
    """Everything of it, named as in `decision.request.RenderRequest`."""

    source: Source | None
    source_file: SourceFile | None
    input_reference: ReferenceImage | None
    further_images: tuple[ReferenceImage, ...]
    reference_url: str | None
    reference_file_id: str | None
    character_ids: tuple[str, ...]
    options: dict[str, int | bool]


def read_material(operation: Operation, given: Mapping[str, object], catalog: Catalog) -> Material:
    """Return the material of a request, complete and of one piece for its `operation`, or `BadRequest`."""
    material = Material(
        source=read_part(Source, "source", given.get("source")),
        source_file=read_part(SourceFile, "source_file", given.get("source_file")),
        input_reference=read_part(ReferenceImage, "input_reference", given.get("input_reference")),
        further_images=_further_images(given.get("further_images", ())),
        reference_url=_reference_url(given.get("reference_url"), catalog),
        reference_file_id=_reference_file_id(given.get("reference_file_id")),
        character_ids=_character_ids(given.get("character_ids", ()), catalog),
        options=_options(given.get("options", {})),
    )
    _check_taken(operation, material)
    _check_one_beginning(operation, material)
    _check_one_first_frame(material)
    if material.source_file:
        _check_source_file(material.source_file, catalog)
    return material


def check_first_frame(image: ReferenceImage, size: str, catalog: Catalog) -> None:
    """Raise `BadRequest` unless `image` can be the first frame of a video of `size`."""
    formats = catalog.image.media_types
    if image.media_type not in formats:
        raise BadRequest(
            f"reference image {vocabulary.shown(image.name)} is {image.media_type}"
            f" (accepted: {', '.join(formats)}); convert it"
        )
    found = f"{image.width}x{image.height}"
    if found != size and not catalog.image.any_size:
        other = f", or use --size {found}" if found in catalog.sizes else ""
        raise BadRequest(
            f"reference image {vocabulary.shown(image.name)} is {found}, the video's size is {size};"
            f" use --fit cover (or contain, or pad) to make it fit{other}"
        )


def _further_images(value: object) -> tuple[ReferenceImage, ...]:
    images = (
        read_part(ReferenceImage, f"further_images.{index}", item)
        for index, item in enumerate(_listed("further_images", value))
    )
    return tuple(image for image in images if image)


def _listed(thing: str, value: object) -> Iterable[object]:
    if isinstance(value, list | tuple):
        return value
    raise BadRequest(f"{thing} must be a list, found {type(value).__name__}")


def _reference_url(value: object, catalog: Catalog) -> str | None:
    if value is None:
        return None
    url = vocabulary.text("reference_url", value)
    limit = catalog.image.max_url_characters
    if len(url) > limit:
        raise BadRequest(
            f"reference_url has {len(url):,} characters, at most {limit:,} are allowed;"
            " give the image as a file with --input-reference"
        )
    if url[:5].lower() == "data:":
        _check_data_url(url, catalog.image.media_types)
    elif not _is_web_address(url):
        raise BadRequest(
            f"reference_url must begin with https://, http:// or data:, found {vocabulary.shown(url)};"
            " a file is given with --input-reference"
        )
    return url


def _check_data_url(url: str, formats: tuple[str, ...]) -> None:
    head, comma, content = url[5:].partition(",")
    media_type = head.partition(";")[0].lower()
    if media_type not in formats:
        raise BadRequest(
            f"reference_url holds {vocabulary.shown(media_type or 'text')} (accepted: {', '.join(formats)});"
            " convert the image"
        )
    if not (comma and content):
        raise BadRequest(
            "reference_url holds no image; expected data:image/png;base64, and the image behind it"
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
    return None if value is None else vocabulary.label("reference_file_id", value, "file_abc123")


def _character_ids(value: object, catalog: Catalog) -> tuple[str, ...]:
    listed = _listed("character_ids", value)
    ids = tuple(vocabulary.label("character_id", item, "--character-id char_123") for item in listed)
    most = catalog.characters.max_per_video
    if len(set(ids)) < len(ids):
        raise BadRequest("a character is named twice; each --character-id stands for another one")
    if len(ids) > most:
        raise BadRequest(f"{len(ids)} characters are named, at most {most} can be in a video; leave one out")
    return ids


def _options(value: object) -> dict[str, int | bool]:
    """Return what was asked for; ``loop`` false is what happens anyway, and so is not asked for."""
    if not isinstance(value, Mapping):
        raise BadRequest(f"options must be an object, found {type(value).__name__}")
    for key in value:
        vocabulary.word("option", key, OPTIONS)
    options: dict[str, int | bool] = {}
    if value.get("seed") is not None:
        options["seed"] = vocabulary.whole_number("seed", value["seed"], "--seed 42")
    if value.get("loop") is not None and vocabulary.yes_or_no("loop", value["loop"]):
        options["loop"] = True
    return options


def _check_taken(operation: Operation, material: Material) -> None:
    noun = vocabulary.NOUNS[operation]
    for name, value in material._asdict().items():
        if not value or name in _TAKEN[operation]:
            continue
        if name == "source":
            raise BadRequest(f"{noun} starts from no video; to change one, use remix --id")
        way_out = "use edit --video" if name == "source_file" else "use create"
        raise BadRequest(f"{noun} takes no {_CALLED[name]}; leave it out or {way_out}")


def _check_one_beginning(operation: Operation, material: Material) -> None:
    beginnings = [part for part in (material.source, material.source_file) if part]
    noun = vocabulary.NOUNS[operation]
    if len(beginnings) > 1:
        raise BadRequest(f"{noun} starts from one video; name it with --id, or give the file with --video")
    if not beginnings and operation is not Operation.CREATE:
        or_file = ", or give its file with --video" if operation is Operation.EDIT else ""
        raise BadRequest(f"{noun} needs the video it starts from; name it with --id{or_file}")


def _check_one_first_frame(material: Material) -> None:
    frames = [
        name for name in ("input_reference", "reference_url", "reference_file_id") if getattr(material, name)
    ]
    if len(frames) > 1:
        raise BadRequest(f"a video has one first frame, found {' and '.join(frames)}; leave one of them out")
    if material.further_images and not material.input_reference:
        raise BadRequest(
            "further_images are given without input_reference; the first image is the first frame"
        )


def _check_source_file(file: SourceFile, catalog: Catalog) -> None:
    formats = catalog.source_file.media_types
    if file.media_type not in formats:
        raise BadRequest(
            f"video {vocabulary.shown(file.name)} is {file.media_type}"
            f" (accepted: {', '.join(formats)}); convert it"
        )
    if file.size not in catalog.sizes:
        raise BadRequest(
            f"video {vocabulary.shown(file.name)} is {vocabulary.shown(file.size)}, which no model offers"
            f" (offered: {', '.join(catalog.sizes)}); scale or crop it to one of these"
        )

"""What a caller may ask for, parsed once: after `parse_request` the types are trusted.

Whatever lies outside the vocabulary of the catalog is a typing error and raises `BadRequest`; nothing of it
is recorded. Whether a well-formed request is allowed is the decision's to say (`decision.decide`).

The defaults (1280x720, 4 seconds, augmentation on) are those of the Sora skill's command line.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decision import vocabulary
from decision.catalog import Catalog
from decision.errors import BadRequest
from decision.policy import PURPOSES
from decision.prompt import FIELDS, augment
from ledger.events import Operation, Status

AUTO = "auto"
DEFAULT_SIZE = "1280x720"
DEFAULT_SECONDS = 4
REQUESTABLE = (Operation.CREATE, Operation.REMIX)
_KEY_CHARACTERS = 200


class _Parsed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Kind = TypeVar("_Kind", bound=_Parsed)


class ReferenceImage(_Parsed):
    """The image a video starts from, as it was found: pixels, bytes, and the digest of the file."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    bytes: int = Field(gt=0)


class Source(_Parsed):
    """The video a remix starts from, in the state the ledger knows; `status` None where it knows none."""

    job_id: str | None = None
    video_id: str
    status: Status | None
    deleted: bool = False
    model: str
    size: str
    seconds: int = Field(gt=0)
    prompt: str | None = None


class Wish(_Parsed):
    """What a remix asked for although its source settles it; None where nothing was said."""

    model: str | None = None
    size: str | None = None
    seconds: int | None = None


class RenderRequest(_Parsed):
    """A request that can be decided.

    `model`, `size` and `seconds` are what would be rendered: asked for in a create (`model` may be ``auto``),
    the source's in a remix, where `wished` keeps what was asked for besides.
    """

    operation: Operation
    prompt: str
    fields: dict[str, str] = Field(default_factory=dict)
    size: str = DEFAULT_SIZE
    seconds: int = DEFAULT_SECONDS
    model: str = AUTO
    purpose: str = "draft"
    profile: str = "openai"
    input_reference: ReferenceImage | None = None
    source: Source | None = None
    wished: Wish = Wish()
    request_key: str | None = None
    max_cost_usd_micros: int | None = None
    augment: bool = True

    @property
    def sent_prompt(self) -> str:
        """The prompt as it goes to the server."""
        return augment(self.prompt, self.fields) if self.augment else self.prompt

    @property
    def requested_model(self) -> str:
        """The model that was asked for, ``auto`` where the choice was left open."""
        return self.model if self.source is None else self.wished.model or AUTO


def parse_request(*, catalog: Catalog, **values: object) -> RenderRequest:
    """Return the request made of `values`, named as in `RenderRequest` without ``wished``; None is not given.

    `BadRequest` names the first value that is wrong, what was expected, what came and the next step.
    """
    given = {key: value for key, value in values.items() if value is not None}
    known = [key for key in RenderRequest.model_fields if key != "wished"]
    for key in given:
        vocabulary.word("request value", key, known)
    operation = _operation(given)
    shape = _shape(given, catalog)
    source = _part(Source, "source", given.get("source"))
    image = _part(ReferenceImage, "input_reference", given.get("input_reference"))
    _check_operation(operation, source, image)
    request = RenderRequest(
        operation=operation,
        source=source,
        input_reference=image,
        **_settled(shape, source),
        **_texts(given, catalog),
        **_terms(given),
    )
    _check_sent_prompt(request, catalog)
    if image:
        _check_image(image, request.size, catalog)
    return request


def _operation(given: Mapping[str, object]) -> Operation:
    return Operation(
        vocabulary.word("operation", given.get("operation"), [item.value for item in REQUESTABLE])
    )


def _shape(given: Mapping[str, object], catalog: Catalog) -> Wish:
    model = vocabulary.word("model", given.get("model", AUTO), (AUTO, *catalog.model_names))
    return Wish(
        model=None if model == AUTO else model,
        size=vocabulary.size(given["size"], catalog) if "size" in given else None,
        seconds=vocabulary.seconds(given["seconds"], catalog) if "seconds" in given else None,
    )


def _settled(wish: Wish, source: Source | None) -> dict[str, object]:
    if source:
        return {"model": source.model, "size": source.size, "seconds": source.seconds, "wished": wish}
    return {
        "model": wish.model or AUTO,
        "size": wish.size or DEFAULT_SIZE,
        "seconds": wish.seconds or DEFAULT_SECONDS,
    }


def _texts(given: Mapping[str, object], catalog: Catalog) -> dict[str, object]:
    prompt = vocabulary.text("prompt", given.get("prompt", ""))
    if not prompt.strip():
        raise BadRequest(
            "prompt is empty; say what the clip should show, for example --prompt 'A cat on a roof'"
        )
    _check_length("prompt", prompt, catalog)
    return {"prompt": prompt, "fields": _fields(given.get("fields", {}))}


def _fields(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise BadRequest(f"fields must be an object of texts, found {type(given).__name__}")
    texts = {
        vocabulary.word("field", key, FIELDS): vocabulary.text(f"field {key}", value)
        for key, value in given.items()
        if value is not None
    }
    return {key: texts[key].strip() for key in FIELDS if texts.get(key, "").strip()}


def _terms(given: Mapping[str, object]) -> dict[str, object]:
    terms: dict[str, object] = {
        "purpose": vocabulary.word("purpose", given.get("purpose", "draft"), PURPOSES),
        "profile": vocabulary.name("profile", given.get("profile", "openai")),
        "augment": vocabulary.yes_or_no("augment", given.get("augment", True)),
    }
    if "max_cost_usd_micros" in given:
        terms["max_cost_usd_micros"] = vocabulary.whole_number(
            "max_cost_usd_micros", given["max_cost_usd_micros"], "2000000 for 2.00 USD"
        )
    if "request_key" in given:
        terms["request_key"] = _request_key(given["request_key"])
    return terms


def _request_key(value: object) -> str:
    key = vocabulary.text("request_key", value)
    if not (key.strip() and key.isprintable() and len(key) <= _KEY_CHARACTERS):
        raise BadRequest(
            f"request_key must be 1 to {_KEY_CHARACTERS} printable characters, found {vocabulary.shown(key)};"
            " use for example --request-key spring-teaser-1"
        )
    return key


def _part(kind: type[_Kind], thing: str, value: object) -> _Kind | None:
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (thing, *problem["loc"]))
        raise BadRequest(f"{where}: {problem['msg']}, found {vocabulary.shown(problem['input'])}") from None


def _check_operation(operation: Operation, source: Source | None, image: ReferenceImage | None) -> None:
    if operation is Operation.REMIX and source is None:
        raise BadRequest("a remix needs the video it starts from; name it with --id")
    if operation is Operation.CREATE and source is not None:
        raise BadRequest("a create starts from no video; to change one, use remix --id")
    if operation is Operation.REMIX and image is not None:
        raise BadRequest(
            "a remix takes no reference image, its source is the reference; leave it out or use create"
        )


def _check_sent_prompt(request: RenderRequest, catalog: Catalog) -> None:
    if request.fields and not request.augment:
        raise BadRequest(
            f"without augmentation the fields would not be sent ({', '.join(request.fields)});"
            " leave out --no-augment, or write them into the prompt"
        )
    way_out = "" if request.fields else ", or send it as it is with --no-augment"
    _check_length("prompt with the lines around it", request.sent_prompt, catalog, way_out)


def _check_length(thing: str, prompt: str, catalog: Catalog, way_out: str = "") -> None:
    limit = catalog.prompt.max_characters
    if len(prompt) > limit:
        raise BadRequest(
            f"{thing} has {len(prompt):,} characters, at most {limit:,} are allowed;"
            f" shorten it by {len(prompt) - limit:,}{way_out}"
        )


def _check_image(image: ReferenceImage, size: str, catalog: Catalog) -> None:
    formats = catalog.image.media_types
    if image.media_type not in formats:
        raise BadRequest(
            f"reference image {vocabulary.shown(image.name)} is {image.media_type}"
            f" (accepted: {', '.join(formats)}); convert it"
        )
    found = f"{image.width}x{image.height}"
    if found != size:
        other = f", or use --size {found}" if found in catalog.sizes else ""
        raise BadRequest(
            f"reference image {vocabulary.shown(image.name)} is {found}, the video's size is {size};"
            f" crop or resize the image to {size}{other}"
        )

"""Parse requests once: after `parse_request` the types are trusted.

A value outside the vocabulary of the catalog, or one that belongs to another operation, is an invalid request
and raises `BadRequest`; nothing is recorded. Whether a valid request is allowed is decided in
`decision.engine.decide`.

The defaults (1280x720, 4 seconds, augmentation on) are those of the Sora skill's command line.
"""

from collections.abc import Mapping

from pydantic import Field

from decision.errors import BadRequest
from decision.request import validators
from decision.request.attachments import (
    DEFAULT_SECONDS,
    DEFAULT_SIZE,
    OPTIONS,
    SEVERAL_IMAGES,
    Faces,
    FrozenValue,
    Material,
    ReferenceImage,
    RequestedOutput,
    Source,
    SourceFile,
    check_first_frame,
    read_material,
)
from decision.request.dimensions import extension_seconds_of, read_size, seconds_of
from decision.request.prompt import CHANGE_ASPECTS, FIELDS, augment
from decision.rules.catalog import Catalog
from decision.rules.purpose import PURPOSES
from ledger.terms import Operation

__all__ = [
    "AUTO",
    "DEFAULT_SECONDS",
    "DEFAULT_SIZE",
    "OPTIONS",
    "ReferenceImage",
    "RenderRequest",
    "RequestedOutput",
    "Source",
    "SourceFile",
    "parse_request",
]

AUTO = "auto"


_WORST_FACES_FIRST = (Faces.FOUND, Faces.NOT_CHECKED, None, Faces.NONE)


class RenderRequest(FrozenValue):
    """A valid request.

    `model`, `size` and `seconds` are what would be rendered: as requested for a create (`model` may be
    ``auto``); the source's for a remix or edit, where `wished` keeps requested values. An extension has the
    model and size of its source, and `seconds` is the length it adds.

    The first frame is one of `input_reference`, `reference_url` and `reference_file_id`; `further_images` are
    recorded, and also sent with the option ``input_references``; other `options` are ``seed`` and ``loop``.
    `attested` says that the guardrails were confirmed. `promotes` is the job of the draft that this final
    render is based on, if it has no source video. `declared_change` is the one aspect that a remix changes,
    as the requester declares it.
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
    further_images: tuple[ReferenceImage, ...] = ()
    reference_url: str | None = None
    reference_file_id: str | None = None
    character_ids: tuple[str, ...] = ()
    options: dict[str, int | bool] = Field(default_factory=dict)
    source: Source | None = None
    source_file: SourceFile | None = None
    wished: RequestedOutput = RequestedOutput()
    request_key: str | None = None
    max_cost_usd_micros: int | None = None
    deadline_minutes: int | None = None
    promotes: str | None = None
    declared_change: str | None = None
    augment: bool = True
    attested: bool = False

    @property
    def sent_prompt(self) -> str:
        """The prompt as sent to the server."""
        return augment(self.prompt, self.fields) if self.augment else self.prompt

    @property
    def sent_images(self) -> tuple[ReferenceImage, ...]:
        """The images whose files are sent to the server, the first frame first."""
        further = self.further_images if self.options.get(SEVERAL_IMAGES) else ()
        return (self.input_reference, *further) if self.input_reference else ()

    @property
    def faces(self) -> Faces | None:
        """The findings in the images that are sent: a face in one of them, or one that was not checked."""
        counts = {image.faces for image in self.sent_images}
        return next((faces for faces in _WORST_FACES_FIRST if faces in counts), None)

    @property
    def requested_model(self) -> str:
        """The requested model, ``auto`` if the choice was left open."""
        return self.model if self.source is None else self.wished.model or AUTO

    @property
    def total_seconds(self) -> int:
        """The length of the finished video; for an extension, the source plus the added length."""
        added_to = self.source if self.operation is Operation.EXTEND else None
        return self.seconds + (added_to.seconds if added_to else 0)


def parse_request(*, catalog: Catalog, **values: object) -> RenderRequest:
    """Return the request for `values`, named as in `RenderRequest` without ``wished``; None means not given.

    `BadRequest` names the first invalid value, what was expected, what was found, and the next step.
    """
    entries = {key: value for key, value in values.items() if value is not None}
    known = [key for key in RenderRequest.model_fields if key != "wished"]
    for key in entries:
        validators.parse_word("request value", key, known)
    operation = Operation(validators.parse_word("operation", entries.get("operation"), list(Operation)))
    wish = _wish(operation, entries, catalog)
    material = read_material(operation, entries, catalog)
    request = RenderRequest(
        operation=operation,
        **material._asdict(),
        **_settle(operation, wish, material, catalog),
        **_texts(entries, catalog),
        **_terms(entries),
    )
    _check_sent_prompt(request, catalog)
    if request.input_reference:
        check_first_frame(request.input_reference, request.size, catalog)
    return request


def _wish(operation: Operation, entries: Mapping[str, object], catalog: Catalog) -> RequestedOutput:
    model = validators.parse_word("model", entries.get("model", AUTO), (AUTO, *catalog.model_names))
    read_seconds = extension_seconds_of if operation is Operation.EXTEND else seconds_of
    return RequestedOutput(
        model=None if model == AUTO else model,
        size=read_size(entries["size"], catalog, model) if "size" in entries else None,
        seconds=read_seconds(entries["seconds"], catalog) if "seconds" in entries else None,
    )


def _settle(
    operation: Operation, wish: RequestedOutput, material: Material, catalog: Catalog
) -> dict[str, object]:
    """Return the model, size and seconds to render, and the requested values that differ."""
    source, file = material.source, material.source_file
    if source and operation is Operation.EXTEND:
        wished = wish.model_copy(update={"seconds": None})
        added = _require_added_seconds(wish, catalog)
        return {"model": source.model, "size": source.size, "seconds": added, "wished": wished}
    if source:
        return {"model": source.model, "size": source.size, "seconds": source.seconds, "wished": wish}
    if file:
        return {"model": wish.model or AUTO, "size": file.size, "seconds": file.seconds, "wished": wish}
    return {
        "model": wish.model or AUTO,
        "size": wish.size or DEFAULT_SIZE,
        "seconds": wish.seconds or DEFAULT_SECONDS,
    }


def _require_added_seconds(wish: RequestedOutput, catalog: Catalog) -> int:
    if wish.seconds is None:
        offered = ", ".join(map(str, catalog.extension.seconds))
        raise BadRequest(
            f"an extension needs its length (offered: {offered}); use --seconds {DEFAULT_SECONDS}",
            param="seconds",
            expected=offered,
            found="nothing",
            instead=DEFAULT_SECONDS,
        )
    return wish.seconds


def _texts(entries: Mapping[str, object], catalog: Catalog) -> dict[str, object]:
    prompt = validators.parse_text("prompt", entries.get("prompt", ""))
    if not prompt.strip():
        raise BadRequest(
            "prompt is empty; say what the clip should show, for example --prompt 'A cat on a roof'",
            param="prompt",
            expected="what the clip should show",
            found="an empty prompt",
        )
    _check_length("prompt", prompt, catalog)
    return {"prompt": prompt, "fields": _fields(entries.get("fields", {}))}


def _fields(entries: object) -> dict[str, str]:
    if not isinstance(entries, Mapping):
        raise BadRequest(
            f"fields must be an object of texts, found {type(entries).__name__}",
            param="fields",
            expected="an object of texts",
            found=type(entries).__name__,
        )
    texts = {
        validators.parse_word("field", key, FIELDS): validators.parse_text(f"field {key}", value)
        for key, value in entries.items()
        if value is not None
    }
    return {key: texts[key].strip() for key in FIELDS if texts.get(key, "").strip()}


def _terms(entries: Mapping[str, object]) -> dict[str, object]:
    terms: dict[str, object] = {
        "purpose": validators.parse_word("purpose", entries.get("purpose", "draft"), PURPOSES),
        "profile": validators.parse_name("profile", entries.get("profile", "openai")),
        "augment": validators.parse_boolean("augment", entries.get("augment", True)),
        "attested": validators.parse_boolean("attested", entries.get("attested", False)),
    }
    if "declared_change" in entries:
        if entries["operation"] != Operation.REMIX:
            raise BadRequest(
                "declare_change is for a remix, which must change one thing; leave it out here",
                param="declare_change",
                expected="no declaration, because it is no remix",
                found="one",
            )
        terms["declared_change"] = validators.parse_word(
            "declare_change", entries["declared_change"], CHANGE_ASPECTS
        )
    terms |= {
        name: validators.parse_whole_number(name, entries[name], example)
        for name, example in _NUMBERS.items()
        if name in entries
    }
    terms |= {
        name: validators.parse_label(name, entries[name], example)
        for name, example in _LABELS.items()
        if name in entries
    }
    return terms


_NUMBERS: Mapping[str, str] = {
    "max_cost_usd_micros": "2000000 for 2.00 USD",
    "deadline_minutes": "30",
}
_LABELS: Mapping[str, str] = {
    "request_key": "--request-key spring-teaser-1",
    "promotes": "--promotes job_01a2",
}


def _check_sent_prompt(request: RenderRequest, catalog: Catalog) -> None:
    if request.fields and not request.augment:
        raise BadRequest(
            f"without augmentation the fields would not be sent ({', '.join(request.fields)});"
            " leave out --no-augment, or write them into the prompt",
            param="augment",
            expected="augmentation, or no fields",
            found="fields without augmentation",
        )
    way_out = "" if request.fields else ", or send it as it is with --no-augment"
    _check_length("prompt with the lines around it", request.sent_prompt, catalog, way_out)


def _check_length(thing: str, prompt: str, catalog: Catalog, way_out: str = "") -> None:
    limit = catalog.prompt.max_characters
    if len(prompt) > limit:
        raise BadRequest(
            f"{thing} has {len(prompt):,} characters, at most {limit:,} are allowed;"
            f" shorten it by {len(prompt) - limit:,}{way_out}",
            param="prompt",
            expected=f"at most {limit:,} characters",
            found=f"{len(prompt):,}",
        )

"""Read the form of a new request: the typed values, and the resulting request.

Each error belongs to a field, where the page shows it.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import FormData, UploadFile

from decision.money import micros_of
from decision.request.attachments import DEFAULT_SECONDS, DEFAULT_SIZE, SEVERAL_IMAGES
from decision.request.request import AUTO
from ledger.errors import SoraLedgerError
from ledger.terms import Operation
from render_service.assets.fit import Frame, first_frame, read_fit
from render_service.assets.inputs import NOTHING, Material
from render_service.runtime.errors import BadInput
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import View, Visit
from render_service.server.gateway.request_inputs import MAX_IMAGES, RequestInput

IMAGE = "input_reference"
MOST_IMAGE_BYTES = 24 * 1024 * 1024
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_NAMED = re.compile(r"(?:--)?([a-z][a-z_]*)")
_FLAG = re.compile(r"(?<![\w-])--(?=[a-z])")
_IN_THE_FORM = (
    (" with --first-image", " image"),
    ("--all-images", "several images"),
    ("use the --profile of a server", "choose a server"),
    ("use --profile with the name of a server", "choose a server"),
    (" with --attest", ""),
    (
        " or say it as --change KEY=VALUE instead of --prompt",
        " or rewrite the prompt so that it names one change",
    ),
    ("declare which: --declare-change", "choose which under Declared change:"),
)
"""The form's counterparts of actions that commands do with options."""
_FIELDS = {
    "image": IMAGE,
    "reference": IMAGE,
    "max_cost_usd_micros": "max_cost",
    "source": "remix_of",
    "declare_change": "declared_change",
}
"""The names of some form fields in messages; the others have the same name."""


class Typed(View):
    """The contents of the form, as typed."""

    key: str
    prompt: str = ""
    purpose: str = ""
    model: str = AUTO
    size: str = DEFAULT_SIZE
    seconds: str = str(DEFAULT_SECONDS)
    profile: str = ""
    fit: str = ""
    remix_of: str = ""
    promotes: str = ""
    declared_change: str = ""
    max_cost: str = ""
    attested: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any], *, key: str) -> "Typed":
        """Return the contents of `fields`; `key` is for a form without one."""
        names = set(cls.model_fields) - {"attested", "prompt"}
        fields_set = {name: text.strip() for name in names if isinstance(text := fields.get(name), str)}
        prompt = fields.get("prompt")
        text = prompt.replace("\r\n", "\n").strip() if isinstance(prompt, str) else ""
        return cls(**{"key": key, **fields_set, "prompt": text, "attested": fields.get("attested") == "yes"})


class FieldError(BadInput):
    """An error in one field of the form."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, param=field)
        self.field = field


def field_of(error: SoraLedgerError) -> str:
    """Return the form field of an error; an empty string if there is none."""
    if isinstance(error, FieldError):
        return error.field
    named = _NAMED.match(str(error))
    name = _FIELDS.get(named[1], named[1]) if named else ""
    return name if name in {*Typed.model_fields, IMAGE} else ""


def sentence(text: str) -> str:
    """Return `text` as a sentence; command-line options in it become form fields."""
    words = text
    for option, control in _IN_THE_FORM:
        words = words.replace(option, control)
    words = _FLAG.sub("", words)
    return words[:1].upper() + words[1:]


@contextmanager
def about(field: str) -> Iterator[None]:
    """Say that an error is about `field`."""
    try:
        yield
    except FieldError:
        raise
    except SoraLedgerError as error:
        raise FieldError(field, str(error)) from error


def images_in(form: Mapping[str, Any]) -> list[UploadFile]:
    """Return the images sent with a form, in the order of the list that the browser showed."""
    sent = form.getlist(IMAGE) if isinstance(form, FormData) else [form.get(IMAGE)]
    return [image for image in sent if isinstance(image, UploadFile) and image.filename]


def read_input(visit: Visit, typed: Typed, images: Sequence[UploadFile]) -> RequestInput:
    """Return the request in the form, in a thread; `FieldError` names an invalid field.

    The first of `images` is the first frame. All of several are sent if the server supports it.
    """
    if not _KEY.fullmatch(typed.key):
        raise BadInput("the form is incomplete: open the page again")
    values: dict[str, object] = {
        "operation": Operation.REMIX.value if typed.remix_of else Operation.CREATE.value,
        "prompt": typed.prompt,
        "purpose": typed.purpose or None,
        "augment": False,
        "attested": typed.attested or None,
    }
    if typed.max_cost:
        values["max_cost_usd_micros"] = _micros(typed.max_cost)
    if typed.promotes:
        with about("promotes"):
            values["promotes"] = find_job(visit, typed.promotes).job_id
    if typed.remix_of and typed.declared_change:
        values["declared_change"] = typed.declared_change
    if typed.remix_of:
        with about("remix_of"):
            source = find_job(visit, typed.remix_of).job_id
        return RequestInput(
            {name: value for name, value in values.items() if value is not None}, source=source
        )
    values |= {"model": typed.model, "size": typed.size, "seconds": _number(typed.seconds)}
    reference, material = _references(images, typed)
    values |= reference
    fields_set = {name: value for name, value in values.items() if value is not None}
    return RequestInput(fields_set, material, profile=typed.profile or None)


def _micros(dollars: str) -> int:
    micros = micros_of(dollars.removeprefix("$"))
    if micros is None:
        raise FieldError("max_cost", f"{dollars[:40]!r}: expected dollars from 0, such as 2.50")
    return micros


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise FieldError("seconds", f"{text[:40]!r}: expected whole seconds, such as 4")
    return int(text[:6])


def _references(images: Sequence[UploadFile], typed: Typed) -> tuple[dict[str, object], Material]:
    """Return the images as values of a request, and their contents; only the first is fitted to the size."""
    if not images:
        return {}, NOTHING
    if len(images) > MAX_IMAGES:
        raise FieldError(IMAGE, f"expected at most {MAX_IMAGES} images, found {len(images)}")
    first, *further = (_frame(image, typed, is_first=not index) for index, image in enumerate(images))
    values: dict[str, object] = {IMAGE: first.image.model_dump()}
    if further:
        values |= {"further_images": [frame.image.model_dump() for frame in further]}
        values |= {"options": {SEVERAL_IMAGES: True}}
    material = Material(
        reference=first.content,
        original=first.original,
        further=tuple(frame.content for frame in further),
        further_originals=tuple(frame.original for frame in further),
    )
    return values, material


def _frame(image: UploadFile, typed: Typed, *, is_first: bool) -> Frame:
    """Return an image that was sent with the form; the first frame at the size of the video."""
    name = "".join(letter for letter in str(image.filename) if letter.isprintable())[-200:] or "image"
    with TemporaryDirectory(prefix="sora-ledger-image-") as folder, about(IMAGE):
        path = Path(folder) / "image"
        image.file.seek(0)
        with path.open("wb") as target:
            shutil.copyfileobj(image.file, target)
        try:
            frame = (
                first_frame(path, typed.size, read_fit(typed.fit or None)) if is_first else first_frame(path)
            )
        except BadInput as refused:
            raise BadInput(str(refused).replace(str(path), repr(name))) from refused
    return Frame(frame.image.model_copy(update={"name": name}), frame.content, frame.original)

"""What a request may be made of besides text: images, a video to start from, a video file.

Others look into the files and ask the ledger; here it is only said what they have to find out.
"""

from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from decision import vocabulary
from decision.errors import BadRequest
from ledger.events import Status

DEFAULT_SIZE = "1280x720"
DEFAULT_SECONDS = 4
DIGEST = r"^[0-9a-f]{64}$"


class Parsed(BaseModel):
    """A value that was checked when it was made, and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Kind = TypeVar("_Kind", bound=Parsed)


class Faces(StrEnum):
    """What was found when a reference image was looked at; NOT_CHECKED where it could not be."""

    NONE = "none"
    FOUND = "found"
    NOT_CHECKED = "not_checked"


class ReferenceImage(Parsed):
    """An image as it was found: pixels, bytes, and the digest of the file.

    `original_sha256` is set where it was made from another file to fit the video's size. `faces` is None
    where nobody looked for any.
    """

    name: str
    sha256: str = Field(pattern=DIGEST)
    original_sha256: str | None = Field(default=None, pattern=DIGEST)
    media_type: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    bytes: int = Field(gt=0)
    faces: Faces | None = None


class SourceFile(Parsed):
    """A video file to be edited; `size` and `seconds` (rounded up) are what was found in it.

    Where nobody looked, they are those of a new clip, and so is the estimate of the cost.
    """

    name: str
    sha256: str = Field(pattern=DIGEST)
    media_type: str
    bytes: int = Field(gt=0)
    size: str = DEFAULT_SIZE
    seconds: int = Field(default=DEFAULT_SECONDS, gt=0)


class Source(Parsed):
    """The video a remix, edit or extension starts from, in the state the ledger knows.

    `status` is None where it knows none. `seconds` is the whole length, `extensions` how often the video was
    extended to get there.
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


class Wish(Parsed):
    """What was asked for although the source settles it; None where nothing was said."""

    model: str | None = None
    size: str | None = None
    seconds: int | None = None


def read_part(kind: type[_Kind], thing: str, value: object) -> _Kind | None:
    """Return `value` as a `kind`, None for None; `BadRequest` names the first field that is wrong."""
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (thing, *problem["loc"]))
        raise BadRequest(f"{where}: {problem['msg']}, found {vocabulary.shown(problem['input'])}") from None

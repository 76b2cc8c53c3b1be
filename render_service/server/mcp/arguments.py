"""The arguments of the tools. Agents read their JSON Schemas, so every field is described."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from decision.money import MICROS_PER_USD
from decision.request.prompt import FIELDS
from decision.rules.purpose import PURPOSES
from ledger.terms import State
from render_service.approvals.reviews import Verdict

MOST_FOUND = 100
LONGEST_WAIT_S = 600.0
DIGITS = 6

JobName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="A job id, a video id, or either end of a job id."),
]
RequestKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="Your name for this one render. The same key always returns the same job and never "
        "starts a second render, so repeat a call with the same key after a time-out. Use a new key only for "
        "a new render.",
    ),
]


class Arguments(BaseModel):
    """Arguments of a tool; unknown ones are refused, because a misspelt limit would not limit anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Arguments):
    """No arguments."""


class JobArguments(Arguments):
    """A job."""

    job: JobName


class Wording(Arguments):
    """What every request has: the prompt and the terms of the request."""

    prompt: str = Field(min_length=1, description="What the clip shows, or the change to make.")
    fields: dict[str, str] = Field(
        default={}, description=f"Parts of the prompt, each one short text: {', '.join(FIELDS)}."
    )
    augment: bool = Field(default=True, description="Write the parts as labelled lines.")
    purpose: str | None = Field(
        default=None, description=f"What it is for, which decides the model: {', '.join(PURPOSES)}."
    )
    max_cost_usd: Decimal | None = Field(
        default=None,
        ge=0,
        lt=2**53 // MICROS_PER_USD,
        decimal_places=DIGITS,
        description='Deny the request if it is estimated to cost more dollars than this, such as "1.20".',
    )
    attested: bool = Field(default=False, description="Confirm that the content rules are kept; recorded.")

    def values(self) -> dict[str, Any]:
        """Return the request values, named as `parse_request` names them."""
        values = self.model_dump(include={"prompt", "fields", "augment", "purpose", "attested"})
        if self.max_cost_usd is not None:
            values["max_cost_usd_micros"] = int(self.max_cost_usd * MICROS_PER_USD)
        return values


class Shape(Wording):
    """What a new render has in addition."""

    model: str | None = Field(default=None, description="A model; without it, the policy chooses one.")
    size: str | None = Field(default=None, description="Such as 1280x720, the default. See the tool policy.")
    seconds: int | None = Field(default=None, description="Length of the clip, by default 4.")

    def values(self) -> dict[str, Any]:
        """Return the request values, named as `parse_request` names them."""
        return super().values() | self.model_dump(include={"model", "size", "seconds"})


class DecideArguments(Shape):
    """A request to decide on, without making it."""

    operation: Literal["create", "remix", "edit", "extend"] = Field(
        default="create", description="The tool render is create."
    )
    job: JobName | None = Field(default=None, description="The video to remix, edit or extend.")


class RenderArguments(Shape):
    """A new render."""

    request_key: RequestKey
    first_frame: str | None = Field(
        default=None, description="A JPEG, PNG or WebP file of exactly the size, in the server's folder."
    )
    promotes: JobName | None = Field(default=None, description="The approved draft of this final render.")

    def values(self) -> dict[str, Any]:
        """Return the request values, named as `parse_request` names them."""
        return super().values() | {"request_key": self.request_key}


class ChangeArguments(Wording):
    """A remix or an edit of a finished video."""

    request_key: RequestKey
    job: JobName
    declare_change: str | None = Field(
        default=None,
        description="The one thing that a remix changes, if the words of the prompt do not tell; recorded.",
    )

    def values(self) -> dict[str, Any]:
        """Return the request values, named as `parse_request` names them."""
        declared = {} if self.declare_change is None else {"declared_change": self.declare_change}
        return super().values() | {"request_key": self.request_key} | declared


class ExtendArguments(ChangeArguments):
    """More seconds at the end of a finished video."""

    seconds: int = Field(description="Seconds to add.")

    def values(self) -> dict[str, Any]:
        """Return the request values, named as `parse_request` names them."""
        return super().values() | {"seconds": self.seconds}


class FindArguments(Arguments):
    """Which jobs to list."""

    states: list[State] | None = Field(default=None, description="Only jobs in these states.")
    purpose: str | None = Field(default=None, description="Only jobs for this purpose.")
    related_to: JobName | None = Field(
        default=None, description="Only this job, its sources, and what was made from it."
    )
    mine: bool = Field(default=False, description="Only jobs that you requested under this name.")
    limit: int = Field(default=20, ge=1, le=MOST_FOUND)


class CheckRemixArguments(Arguments):
    """The prompt of a remix."""

    prompt: str = Field(min_length=1)


class WaitArguments(Arguments):
    """A job to wait for."""

    job: JobName
    seconds: float | None = Field(
        default=None,
        ge=0,
        le=LONGEST_WAIT_S,
        description="How long to wait in this call; 0 asks the server once. Keep it below your own time-out.",
    )


class DownloadArguments(Arguments):
    """A file of a finished job."""

    job: JobName
    variant: Literal["video", "thumbnail", "spritesheet"] = "video"
    to: str | None = Field(
        default=None, description="A file in the server's folder; by default the video's id. Never replaced."
    )


class ReviewArguments(Arguments):
    """A review of a finished video."""

    job: JobName
    verdict: Verdict
    notes: str | None = None
    clarity: int | None = Field(default=None, ge=0, le=100)
    continuity: int | None = Field(default=None, ge=0, le=100)
    brand_fit: int | None = Field(default=None, ge=0, le=100)


class CancelArguments(Arguments):
    """A job to withdraw before it is sent."""

    job: JobName
    reason: str | None = Field(default=None, description="Why; recorded.")

"""The servers we know, read from ``profiles.toml``: the wire protocol is the contract, a server is data.

Reading a profile costs no import of `openai`. A profile carries facts and makes no decision: whether a
retired server may be called, or an unsupported operation be asked for, is decided elsewhere.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ledger.events import Status, SubmissionRejected
from sora_adapter.errors import UnknownProfile

Ability = Literal["create", "remix", "retrieve", "list", "delete", "content"]

_OUR_WORDS = {status.value: status for status in Status}


class FreeRejection(BaseModel):
    """An answer to a submission after which nothing was created and nothing is charged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_status: int
    code: str | None = None
    because: str

    def matches(self, rejection: SubmissionRejected) -> bool:
        """Whether `rejection` is of this kind; without `code`, every error code of the status is."""
        if rejection.error.http_status != self.http_status:
            return False
        return self.code is None or rejection.error.code == self.code


class Profile(BaseModel):
    """One server: where it is, what it can do, what it calls things.

    `base_url` is None where the address is only known when the client is made. `models` maps our model
    names to the server's, `status_words` the server's status words to ours. `key_variable` is the
    environment variable a person is told to set, `default_key` what is sent where nobody has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    base_url: str | None = None
    needs_key: bool
    key_variable: str
    default_key: str | None = None
    operations: frozenset[Ability]
    models: dict[str, str] = Field(default_factory=dict)
    status_words: dict[str, Status] = Field(default_factory=dict)
    free_rejections: tuple[FreeRejection, ...] = ()
    retired: date | None = None
    retired_because: str | None = None

    @model_validator(mode="after")
    def _explain_retirement(self) -> Self:
        if (self.retired is None) != (self.retired_because is None):
            raise ValueError(f"profile {self.name}: retired and retired_because belong together")
        return self

    def server_model(self, model: str) -> str:
        """Return what this server calls our `model`."""
        return self.models.get(model, model)

    def status_of(self, word: str) -> Status:
        """Return the status a server's `word` stands for; a word nobody knows is not terminal."""
        return self.status_words.get(word) or _OUR_WORDS.get(word, Status.IN_PROGRESS)

    def is_free(self, rejection: SubmissionRejected) -> bool:
        """Whether it is known that `rejection` created nothing and cost nothing."""
        return any(free.matches(rejection) for free in self.free_rejections)


@cache
def profiles() -> Mapping[str, Profile]:
    """Return every profile by name, in the order of the file."""
    text = resources.files("sora_adapter").joinpath("profiles.toml").read_text("utf-8")
    return MappingProxyType(
        {name: Profile.model_validate({"name": name, **data}) for name, data in tomllib.loads(text).items()}
    )


def profile(name: str) -> Profile:
    """Return the profile called `name`; raises `UnknownProfile`."""
    known = profiles()
    if name not in known:
        raise UnknownProfile(f"no server profile is called {name!r} (there are: {', '.join(known)})")
    return known[name]

"""What is read of a ledger: filters of records and of jobs, and the bytes by which a row is searched."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ledger.canonical import encode_valid
from ledger.terms import State, Status


@dataclass(frozen=True)
class RecordFilter:
    """Which records to read; None does not restrict. Times are RFC 3339 UTC, `until` exclusive."""

    stream: str | None = None
    type: str | None = None
    actor: str | None = None
    trace_id: str | None = None
    since: str | None = None
    until: str | None = None
    types: tuple[str, ...] | None = None
    """Only records of one of these types; not together with `type`."""
    before: int | None = None
    """Only records at positions before this one."""
    newest_first: bool = False
    """Read in the opposite order, from the newest one."""
    of_jobs: "tuple[JobFilter, ...] | None" = None
    """Only records of jobs that match one of these, which name only `of_team`, `of_actor` and `teamless`."""


CREATED_AT: Final = b'"created_at":"'
"""JSON key that precedes a job's creation time; used for byte search."""

_SOURCES: Final = (b'"source_job":"', b'"remix_video_id":"')
"""JSON keys that precede the source of a job, if it has one; used for byte search."""


class Unreviewed(StrEnum):
    """Which finished videos without a review: all of them, or those for a final purpose."""

    ALL = "all"
    FINALS = "finals"


_DAY = len("2026-11-30")
_MIDNIGHT = re.compile(r"T00:00:00(\.0+)?Z$")


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; a field that is None does not restrict.

    `model` matches the requested or the decided model. Times are RFC 3339 UTC, `until` exclusive.
    """

    states: tuple[State, ...] | None = None
    profile: str | None = None
    video_id: str | None = None
    videos: tuple[str, ...] | None = None
    """Only jobs of one of these videos."""
    id_prefix: str | None = None
    id_suffix: str | None = None
    """Only jobs whose id ends like this; every id is looked at."""
    before: str | None = None
    """Only jobs with an id before this one, to read a long list in parts."""
    after: str | None = None
    """Only jobs with an id after this one."""
    oldest_first: bool = False
    """List in the order of the ids; without it, newest first."""
    of_team: str | None = None
    of_actor: str | None = None
    teamless: bool = False
    """Whose jobs, from an index: of a team, of an actor, and with `teamless` only those of no team.

    `actor` and `team` below say the same without an index, so that ledgers of older schemas can be read.
    """
    statuses: tuple[Status, ...] | None = None
    model: str | None = None
    purpose: str | None = None
    actor: str | None = None
    team: str | None = None
    project: str | None = None
    access_key_id: str | None = None
    since: str | None = None
    until: str | None = None
    derived: bool = False
    """Only jobs that were made from another job or video."""
    source_job: str | None = None
    """Only jobs that were made from this job, from an index."""
    source_video: str | None = None
    """Only jobs that name this video as their source and no job, from an index."""

    unreviewed: Unreviewed | None = None
    """Only finished videos that nobody has reviewed, from an index."""

    def by_day(self) -> "JobFilter | None":
        """Return this filter with days instead of times; None if sums of whole days cannot answer it."""
        times = [time for time in (self.since, self.until) if time is not None and len(time) > _DAY]
        if self.states is not None or self.model is not None or not all(map(_MIDNIGHT.search, times)):
            return None
        return replace(self, since=self.since and self.since[:_DAY], until=self.until and self.until[:_DAY])

    def pieces(self) -> list[list[bytes]]:
        """Return lists of bytes; the row of a matching job contains at least one item of each list.

        A row is canonical JSON: each field and value has one spelling, and quotes within a value are
        escaped. So a byte search finds a field without a column for it and without parsing JSON.
        """
        wanted: list[list[tuple[str, str]]] = []
        if self.statuses is not None:
            wanted.append([("status", status.value) for status in self.statuses])
        if self.model is not None:
            wanted.append([("model", self.model), ("requested_model", self.model)])
        if self.purpose is not None:
            wanted.append([("purpose", self.purpose)])
        same = ("actor", "team", "project", "access_key_id", "source_job")
        wanted += [[(name, value)] for name in same if (value := getattr(self, name)) is not None]
        if self.source_video is not None:
            wanted.append([("remix_video_id", self.source_video)])
        pieces = [[encode_valid({name: value})[1:-1] for name, value in fields] for fields in wanted]
        return [*pieces, list(_SOURCES)] if self.derived else pieces


def key_range(value: str, longest: int) -> tuple[bytes, bytes]:
    """Return a range of the first `longest` bytes after a JSON key whose value is `value`, the end exclusive.

    Those bytes are the value with its closing quote, and what follows in the row if the value is shorter.
    """
    least = encode_valid({"": value})[len(b'{"":"') : -1][:longest]
    return least, least[:-1] + bytes([least[-1] + 1])


EVERY_JOB: Final = JobFilter()
ALL_JOBS: Final = (EVERY_JOB,)
"""What a caller sees who sees every job."""

"""Filters of records and jobs, and the bytes to search a row for."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ledger.canonical import encode_valid
from ledger.terms import State, Status


@dataclass(frozen=True)
class RecordFilter:
    """Records to read; None does not restrict. Times are RFC 3339 UTC, `until` exclusive."""

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
    """Only records of jobs that match one of these, which set only `of_team`, `of_actor` and `teamless`."""


CREATED_AT: Final = b'"created_at":"'
"""JSON key that precedes a job's creation time; used for byte search."""

_SOURCES: Final = (b'"source_job":"', b'"remix_video_id":"')
"""JSON keys that precede a job's source, if it has one; used for byte search."""


class Unreviewed(StrEnum):
    """Finished videos without a review: all of them, or only those for a final purpose."""

    ALL = "all"
    FINALS = "finals"


_DAY = len("2026-11-30")
_MIDNIGHT = re.compile(r"T00:00:00(\.0+)?Z$")


@dataclass(frozen=True)
class JobFilter:
    """Jobs to list; None does not restrict.

    `model` matches the requested or the decided model. Times are RFC 3339 UTC, `until` exclusive.
    """

    states: tuple[State, ...] | None = None
    profile: str | None = None
    video_id: str | None = None
    videos: tuple[str, ...] | None = None
    """Only jobs of one of these videos."""
    id_prefix: str | None = None
    id_suffix: str | None = None
    """Only jobs whose id ends like this; scans every id."""
    before: str | None = None
    """Only jobs with an id before this one, to read a long list in parts."""
    after: str | None = None
    """Only jobs with an id after this one."""
    oldest_first: bool = False
    """List by id; the default is newest first."""
    of_team: str | None = None
    of_actor: str | None = None
    teamless: bool = False
    """Whose jobs, by index: a team's, an actor's, and with `teamless` only those without a team.

    `actor` and `team` below do the same without an index, so that ledgers of older schemas can be read.
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
    """Only jobs made from this job, by index."""
    source_video: str | None = None
    """Only jobs whose source is this video and no job, by index."""

    unreviewed: Unreviewed | None = None
    """Only finished videos without a review, by index."""

    def by_day(self) -> "JobFilter | None":
        """Return this filter with days instead of times; None if whole days cannot express it."""
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

    The range has the value with its closing quote, plus the following bytes of the row if the value is
    shorter.
    """
    least = encode_valid({"": value})[len(b'{"":"') : -1][:longest]
    return least, least[:-1] + bytes([least[-1] + 1])


EVERY_JOB: Final = JobFilter()
ALL_JOBS: Final = (EVERY_JOB,)
"""The filter of a caller who sees every job."""

"""Report on publications: marked as made by AI or not, under whose responsibility, by which model, when.

For each `asset.published`, it shows the job's records up to that moment: a later review does not count. Gaps
come first:

- ``NOT_MARKED``: the file has no machine-readable marking;
- ``NOT_APPROVED``: nobody but the requester approved or reviewed it before it was published;
- ``REVIEWED_AGAINST``: the last review before was not an approval;
- ``MANIFEST_INVALID``: the file came with a manifest that does not validate;
- ``NOT_READ``: the file was never read for the server's manifest.

Whether a publication was allowed is for lawyers. The report shows what is recorded, and where.

As a page it is one HTML file: no script, no style or image from elsewhere, every text escaped.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from ledger.events import (
    AssetPublished,
    AssetStored,
    ProvenanceObserved,
    ProvenanceSigned,
    RenderDecided,
    ReviewRecorded,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.log.tiles import origin_of
from ledger.record import Entry, entries
from ledger.store.filters import RecordFilter
from ledger.terms import Variant
from render_service.approvals.reviews import last_by_person
from render_service.evidence.envelope import Subject, statement
from render_service.provenance.words import label_words
from render_service.reports.explain import people_of
from render_service.runtime.documents import ERASED, Json, format_count
from render_service.runtime.printable import printable
from render_service.session.history import JobHistory

PREDICATE_TYPE = "urn:sora-ledger:predicate:article-50:1"
GAPS = {
    "NOT_MARKED": "nothing in the file marks it as made by AI",
    "NOT_APPROVED": "nobody but the requester approved or reviewed it before",
    "REVIEWED_AGAINST": "the last review before was not an approval",
    "MANIFEST_INVALID": "the manifest that came with the file does not validate",
    "NOT_READ": "the file was not read for the manifest of its server",
}
COLUMNS = (
    "gaps",
    "published_at",
    "published_by",
    "target",
    "job_id",
    "marking",
    "label",
    "signer",
    "model",
    "purpose",
    "requested_by",
    "requested_at",
    "approved_by",
    "reviewed_by",
    "sha256",
    "position",
)


@dataclass(frozen=True)
class Report:
    """The publications from `since` until `until`, as of the tree of `size` records."""

    origin: str
    size: int
    root: str
    since: str | None
    until: str | None
    rows: tuple[Json, ...]

    def document(self) -> Json:
        """Return the report as JSON."""
        gaps = Counter(gap for row in self.rows for gap in row["gaps"])
        return {
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "since": self.since,
            "until": self.until,
            "published": len(self.rows),
            "marked": sum(row["marking"] != "none" for row in self.rows),
            "with_gaps": sum(bool(row["gaps"]) for row in self.rows),
            "gaps": {gap: gaps[gap] for gap in GAPS if gaps[gap]},
            "files": list(self.rows),
        }

    def statement(self) -> Json:
        """Return the report as an in-toto statement about the published files and the ledger's tree."""
        files = {row["sha256"]: Subject(f"{row['job_id']}.mp4", row["sha256"]) for row in self.rows}
        tree = Subject(f"{self.origin} at {self.size} records", self.root)
        return statement([tree, *files.values()], PREDICATE_TYPE, self.document())

    def table(self) -> Iterator[tuple[object, ...]]:
        """Yield the header and a row for each published file."""
        yield COLUMNS
        for row in self.rows:
            yield tuple(_cell(name, row[name]) for name in COLUMNS)


def _cell(name: str, value: Any) -> object:
    if name == "gaps":
        return " ".join(value)
    if name in ("approved_by", "reviewed_by"):
        return "; ".join(person_words(entry) for entry in value)
    return "" if value is None else value


def person_words(person: Json) -> str:
    """Return the approvers and reviewers in a few words."""
    verdict = f" {person['verdict']}" if "verdict" in person else ""
    return f"{person['by']}{verdict} {person['at'][:10]} ({person['identified_by']})"


def article_50(ledger: Ledger, since: str | None, until: str | None) -> Report:
    """Return the report on publications from `since` until `until`, gaps first."""
    edge = ledger.store.head()
    published = entries(ledger.read(RecordFilter(type=AssetPublished.type)), AssetPublished)
    rows = [
        _row(ledger, entry)
        for entry in published
        if (since is None or entry.record.recorded_at >= since)
        and (until is None or entry.record.recorded_at < until)
        and entry.record.position <= edge.size
    ]
    rows.sort(key=lambda row: (-len(row["gaps"]), row["position"]))
    return Report(origin_of(ledger), edge.size, edge.root().hex(), since, until, tuple(rows))


def _row(ledger: Ledger, published: Entry[AssetPublished]) -> Json:
    record, event = published.record, published.event
    job = ledger.job(record.stream)
    before = JobHistory(
        [earlier for earlier in ledger.history(record.stream) if earlier.position < record.position]
    )
    signed = next(
        (
            entry.event
            for entry in reversed(before.all_of(ProvenanceSigned))
            if entry.event.sha256 == event.sha256
        ),
        None,
    )
    stored = next(
        (entry for entry in reversed(before.all_of(AssetStored)) if entry.event.variant is Variant.VIDEO),
        None,
    )
    observed = _find_observation(before, stored.event.sha256 if stored else None)
    approved, reviewed = _approvals(ledger, before), _reviews(before)
    return {
        "gaps": _gaps(job, event, observed, approved, reviewed),
        "published_at": record.recorded_at,
        "published_by": record.actor,
        "identified_by": record.envelope.actor_source,
        "target": ERASED if event.target.text is None else event.target.text,
        "job_id": job.job_id,
        "sha256": event.sha256,
        "bytes": event.bytes,
        "marking": event.marking,
        "label": label_words(event.label) if event.label else None,
        "signer": None if signed is None else signed.signer.text or ERASED,
        "certificate_sha256": signed.certificate_sha256 if signed else None,
        "digital_source_type": signed.digital_source_type if signed else _source_type(observed),
        "manifest_of_server": observed.validity or observed.manifest if observed else None,
        "model": job.model or _model(before),
        "purpose": job.purpose,
        "requested_by": before.first.actor,
        "requested_at": before.first.recorded_at,
        "rendered_at": stored.record.recorded_at if stored else None,
        "approved_by": approved,
        "reviewed_by": reviewed,
        "position": record.position,
        "policy_sha256": event.policy_sha256,
    }


def _find_observation(before: JobHistory, sha256: str | None) -> ProvenanceObserved | None:
    observations = (
        entry.event for entry in reversed(before.all_of(ProvenanceObserved)) if entry.event.sha256 == sha256
    )
    return next(observations, None)


def _source_type(observed: ProvenanceObserved | None) -> str | None:
    return observed.digital_source_type or observed.xmp_digital_source_type if observed else None


def _model(before: JobHistory) -> str | None:
    decided = before.last_of(RenderDecided)
    return decided.event.model if decided else None


def _approvals(ledger: Ledger, before: JobHistory) -> list[Json]:
    return [
        {"by": person["actor"], "at": person["at"], "identified_by": person["identified_by"]}
        for person in people_of(ledger, before)
        if person["event"] == "approval.granted"
    ]


def _reviews(before: JobHistory) -> list[Json]:
    return [
        {
            "by": entry.record.actor,
            "at": entry.record.recorded_at,
            "identified_by": entry.record.envelope.actor_source,
            "verdict": entry.event.verdict,
        }
        for entry in last_by_person(before.all_of(ReviewRecorded)).values()
    ]


def _gaps(
    job: Job,
    event: AssetPublished,
    observed: ProvenanceObserved | None,
    approved: list[Json],
    reviewed: list[Json],
) -> list[str]:
    """Return the gaps in the order of `GAPS`."""
    consenting = [review for review in reviewed if review["verdict"] == "approved"]
    others = {person["by"] for person in (*approved, *consenting)} - {job.actor}
    last = max(reviewed, key=lambda review: review["at"], default=None)
    gaps = {
        "NOT_MARKED": event.marking == "none",
        "NOT_APPROVED": not others,
        "REVIEWED_AGAINST": last is not None and last["verdict"] != "approved",
        "MANIFEST_INVALID": observed is not None and observed.validity == "invalid",
        "NOT_READ": observed is None,
    }
    return [gap for gap in GAPS if gaps[gap]]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ccc; padding: .4rem .6rem; text-align: left; vertical-align: top }
td code { overflow-wrap: anywhere }
.gap { color: #9b1c1c; font-weight: 600 }
.none { color: #555 }
"""
_MARKING = {"signed": "signed by {signer}", "original": "manifest of the server", "none": "none"}


def page(report: Report) -> str:
    """Return the report as a page."""
    document = report.document()
    period = f"{report.since or 'the beginning'} to {report.until or 'now'}"
    heads = ("Published", "File", "Marking", "Model and purpose", "Responsibility", "Gaps")
    rows = (
        "".join(map(_row_of_page, report.rows))
        or f'<tr><td colspan="{len(heads)}">Nothing was published.</td></tr>'
    )
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    summary = (
        f"{format_count(document['published'], 'file')} published, {document['marked']} marked, "
        f"{document['with_gaps']} with gaps"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Published AI video</title><style>{_STYLE}</style></head><body>"
        f"<h1>Published AI video</h1><p>{_text(period)}. {_text(summary)}.</p>"
        f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>From {_text(report.origin)} at {format_count(report.size, 'record')}, "
        f"root <code>{report.root}</code>. Each line is a record of that ledger, "
        "which can be proved to be in it.</p></body></html>\n"
    )


def _row_of_page(row: Json) -> str:
    people = [f"requested by {row['requested_by']} {row['requested_at'][:10]}"]
    people += [f"approved by {person_words(person)}" for person in row["approved_by"]]
    people += [f"reviewed by {person_words(person)}" for person in row["reviewed_by"]]
    cells = (
        f"{_text(row['published_at'][:19])}Z<br>by {_text(row['published_by'])}",
        f"{_text(row['target'])}<br>{_text(row['job_id'])}<br><code>{row['sha256']}</code>",
        _text(_MARKING[row["marking"]].format(signer=row["signer"])),
        f"{_text(row['model'] or 'unknown')}<br>{_text(row['purpose'] or 'unknown')}",
        "<br>".join(map(_text, people)),
        "<br>".join(f'<span class="gap">{_text(GAPS[gap])}</span>' for gap in row["gaps"])
        or '<span class="none">none</span>',
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(value: str) -> str:
    return escape(printable(value))

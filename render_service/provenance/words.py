"""The recorded origin of a job's files, as JSON and in a line for people."""

from ledger.events import AssetPublished, ProvenanceObserved, ProvenanceSigned, VisibleLabel
from ledger.private import Private
from render_service.runtime.documents import Json, format_count
from render_service.runtime.printable import shorten
from render_service.session.history import JobHistory

AI_MADE = "trainedAlgorithmicMedia"
_VALIDITY = {
    "trusted": "valid, from a trusted signer",
    "unknown_signer": "valid, from a signer who is not on the trust list",
    "valid": "valid; no trust list was set, so the signer was not checked",
    "invalid": "NOT VALID",
}


def provenance_document(history: JobHistory) -> Json:
    """Return the records about the origin of a job's files, the newest last."""
    return {
        "observed": [_document_observed(entry.event) for entry in history.all_of(ProvenanceObserved)],
        "signed": [
            {
                "sha256": entry.event.sha256,
                "position": entry.record.position,
                "words": describe_signed(entry.event),
            }
            for entry in history.all_of(ProvenanceSigned)
        ],
        "published": [
            {
                "sha256": entry.event.sha256,
                "target": _text(entry.event.target),
                "marking": entry.event.marking,
                "label": label_words(entry.event.label) if entry.event.label else None,
                "by": entry.record.actor,
                "at": entry.record.recorded_at,
                "position": entry.record.position,
            }
            for entry in history.all_of(AssetPublished)
        ],
    }


def _document_observed(event: ProvenanceObserved) -> Json:
    return {
        "variant": event.variant.value,
        "sha256": event.sha256,
        "manifest": event.manifest,
        "validity": event.validity,
        "signer": _text(event.signer),
        "issuer": _text(event.issuer),
        "digital_source_type": event.digital_source_type,
        "xmp_digital_source_type": event.xmp_digital_source_type,
        "ingredients": [
            {
                "relationship": ingredient.relationship,
                "title": _text(ingredient.title),
                "has_manifest": ingredient.has_manifest,
            }
            for ingredient in event.ingredients
        ],
        "failures": list(event.failures),
        "trust_list_sha256": event.trust_list_sha256,
        "words": describe_observed(event),
    }


def describe_observed(event: ProvenanceObserved) -> str:
    """Return a file's claims about its origin in one line."""
    source = event.digital_source_type or event.xmp_digital_source_type
    source_words = f", source type {source}" if source else ""
    if event.manifest == "remote":
        return f"{event.variant}: its C2PA manifest is at another address, which was not loaded{source_words}"
    if event.manifest == "absent" or event.validity is None:
        return f"{event.variant}: no C2PA manifest{source_words}"
    by = f" by {shorten(_text(event.signer), 60)}" if event.signer else ""
    failures = f" ({', '.join(event.failures)})" if event.failures else ""
    made_from = f", made from {format_count(len(event.ingredients), 'file')}" if event.ingredients else ""
    return (
        f"{event.variant}: C2PA manifest{by}, {_VALIDITY[event.validity]}{failures}{source_words}{made_from}"
    )


def describe_signed(event: ProvenanceSigned) -> str:
    """Return a signed copy in one line."""
    parents = f", made from {format_count(len(event.parents), 'job')}" if event.parents else ""
    parents += f", dated {event.stamped_at[:19]}Z by an authority" if event.stamped_at else ""
    return (
        f"{event.variant} by {shorten(_text(event.signer), 60)} ({event.algorithm}), source type "
        f"{event.digital_source_type}{parents}, sha256 {event.sha256[:12]}…"
    )


def describe_published(event: AssetPublished) -> str:
    """Return a publication in one line."""
    marking = {"signed": "with our manifest", "original": "with its own manifest", "none": "NOT MARKED"}
    mark = f", {label_words(event.label)}" if event.label else ""
    return f"{event.variant} to {shorten(_text(event.target), 80)}, {marking[event.marking]}{mark}"


def label_words(label: VisibleLabel) -> str:
    """Return the visible label in a few words."""
    if label.kind == "text":
        return f"with the visible label “{shorten(_text(label.text), 60)}”"
    return "with the EU icon" if label.kind == "eu_icon" else "with a visible icon"


def _text(private: Private | None) -> str | None:
    return None if private is None else "[erased]" if private.text is None else private.text

"""The Article 50 report as one HTML page: no script, no style or image from elsewhere, every text escaped."""

from html import escape

from render_service.reports.article_50 import GAPS, Report, person_words
from render_service.runtime.documents import Json, counted
from render_service.runtime.printable import printable

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
        "".join(map(_row, report.rows)) or f'<tr><td colspan="{len(heads)}">Nothing was published.</td></tr>'
    )
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    summary = (
        f"{counted(document['published'], 'file')} published, {document['marked']} marked, "
        f"{document['with_gaps']} with gaps"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Published AI video</title><style>{_STYLE}</style></head><body>"
        f"<h1>Published AI video</h1><p>{_text(period)}. {_text(summary)}.</p>"
        f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>From {_text(report.origin)} at {counted(report.size, 'record')}, "
        f"root <code>{report.root}</code>. Each line is a record of that ledger, "
        "which can be proved to be in it.</p></body></html>\n"
    )


def _row(row: Json) -> str:
    people = [f"requested by {row['requested_by']} {row['requested_at'][:10]}"]
    people += [f"approved by {person_words(one)}" for one in row["approved_by"]]
    people += [f"reviewed by {person_words(one)}" for one in row["reviewed_by"]]
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

"""Integrity checks, recomputed from the stored bytes; shares no code and no model with the writer.

The rules that this package restates (hashing, the table of transitions, the fields of a job row) are taken
from `docs/FORMAT.md`, so that a mistake in the writer shows up as a finding instead of being repeated.
"""

from ledger.verify.checks import Snapshot, verify
from ledger.verify.report import Finding, Report

__all__ = ["Finding", "Report", "Snapshot", "verify"]

"""What `verify` folds of a job, and how it prints it."""

import json

from ledger.verify import rules


def test_a_job_nested_deeper_than_the_fast_printer_goes_is_printed_canonically() -> None:
    nested = "[" * 400 + '"é"' + "]" * 400
    job = {"size": json.loads(nested), "budgets": {}, "assets": {}}
    assert rules.encode_job(job) == b'{"assets":{},"budgets":{},"size":' + nested.encode() + b"}"

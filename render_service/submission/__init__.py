"""From a request to the answer of the paid call: decide, record, submit, retry, resume, cancel."""

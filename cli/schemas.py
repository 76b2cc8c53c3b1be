"""JSON Schemas of the documents that commands and tools print, and of the events in the ledger.

They are generated from the same models as the documents. A schema is open: fields are only ever added to a
document. Its version changes if a field is removed or changes its meaning; an event has the version of its
payload.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import schema_components
from pydantic import BaseModel

from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import EVENT_TYPES, Candidate, RenderDecided, RenderDenied, RenderHeld
from ledger.job import Job
from ledger.private import END_OF_TEXT
from render_service.rules.measurements import Duration

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
YES_NO: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
ANYTHING: Schema = {}


class DocumentSchema(NamedTuple):
    """A document: its version, its description, the commands that print it, and its schema's builder."""

    version: int
    title: str
    printed_by: str
    make: Callable[[], Schema]


def allow_null(schema: Schema) -> Schema:
    """Return the schema of the same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def object_of(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with all these fields required, except the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def describe_model(model: type[BaseModel]) -> Schema:
    """Return the schema of a model as printed, with every part inlined."""
    schema = model.model_json_schema(mode="serialization")
    parts = schema.pop("$defs", {})
    opened: Schema = _inline(schema, parts)
    return opened


def describe_struct(struct: type[Struct]) -> Schema:
    """Return the schema of an event, or of a part of one, in the same form."""
    [schema], parts = schema_components([struct], ref_template="#/$defs/{name}")
    opened: Schema = _inline(schema, {name: _convert_printed(part) for name, part in parts.items()})
    return opened


def _convert_printed(value: Any) -> Any:
    """Return a schema of msgspec in pydantic's terms."""
    if isinstance(value, list):
        return [_convert_printed(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: _convert_printed(item) for name, item in value.items()}
    if pattern := made.get("propertyNames", {}).pop("pattern", None):
        made["patternProperties"] = {pattern: made.pop("additionalProperties")}
    if made.get("required") == []:
        del made["required"]
    if "enum" in value:
        made |= {"type": "string"}
        if len(value["enum"]) == 1:
            made["const"] = made.pop("enum")[0]
    if "pattern" in value:
        made["pattern"] = value["pattern"].removesuffix(END_OF_TEXT)
    return made


def _inline(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a schema without references, closed objects and titles of fields."""
    if isinstance(value, list):
        return [_inline(item, parts) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inline(parts[value["$ref"].rpartition("/")[2]], parts)
    shown = {name: item for name, item in value.items() if name not in {"title", "discriminator", "default"}}
    if shown.get("additionalProperties") is False:
        del shown["additionalProperties"]
    if "properties" in shown:  # a field may be called title
        fields = {name: _inline(item, parts) for name, item in value["properties"].items()}
        shown = {name: item for name, item in shown.items() if name != "properties"}
        schema = _inline(shown, parts) | {"properties": fields}
        return _show_private(schema) if set(fields) == {"commitment"} else schema
    return {name: _inline(item, parts) for name, item in shown.items()}


def _show_private(private: Schema) -> Schema:
    """Return the schema of private text, which commands print next to its commitment."""
    return private | {"properties": private["properties"] | {"text": TEXT}}


def with_fields(schema: Schema, properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of the same object with more fields."""
    more = object_of(properties, optional)
    required = [*schema.get("required", []), *more["required"]]
    return schema | {"properties": schema["properties"] | more["properties"], "required": required}


# --- documents ---


def describe_job() -> Schema:
    """Return the schema of a job: a video of the API with the ledger's facts."""
    row = describe_struct(Job)
    fields = dict(row["properties"])
    video = {
        "id": fields.pop("video_id"),
        "object": {"const": "video"},
        **{name: fields.pop(name) for name in ("status", "progress", "model", "size")},
        "seconds": allow_null(TEXT),
        "created_at": allow_null(WHOLE),
        "completed_at": allow_null(WHOLE),
        "prompt": allow_null(TEXT),
        "remixed_from_video_id": fields.pop("remix_video_id"),
        "expires_at": fields.pop("expires_at"),
        "error": allow_null(object_of({"code": TEXT})),
        "begun_at": TEXT,
    }
    del fields["error_code"], fields["seconds"], fields["created_at"]
    return object_of({**video, **fields, "split": allow_null({"type": "object"})}, optional=("split",))


def describe_ruling(more: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of a decision with its explanation, and `more` fields."""
    prose = {"why": TEXTS, **(more or {})}
    denied = {"what_now": TEXTS, **prose}
    return {
        "anyOf": [
            with_fields(describe_struct(RenderDecided), prose),
            with_fields(describe_struct(RenderHeld), denied),
            with_fields(describe_struct(RenderDenied), denied),
        ]
    }


def describe_expected() -> Schema:
    """Return the schema of the durations of similar renders."""
    return object_of(dict.fromkeys(Duration._fields, WHOLE))


def describe_placed() -> Schema:
    """Return the schema of a job with the decision on it."""
    more = {
        "decision": describe_ruling(),
        "repeated": YES_NO,
        "override_refused": allow_null(TEXT),
        "expected": allow_null(describe_expected()),
    }
    return with_fields(describe_job(), more)


def describe_listed_jobs() -> Schema:
    """Return the schema of the jobs of a list, with the path of a poster if its file is stored."""
    return object_of({"jobs": list_of(with_fields(describe_job(), {"poster": allow_null(TEXT)}))})


def describe_finished() -> Schema:
    """Return the schema of a job with the copies that were made."""
    return with_fields(describe_job(), {"files": TEXTS})


OUTLOOK = {"refused": allow_null(TEXT), "assumes": allow_null(TEXT)}


def describe_candidate() -> Schema:
    """Return the schema of a candidate with the reasons against it."""
    gates = describe_struct(Candidate)["properties"]["gates_failed"]["items"]
    more = {
        "chosen": YES_NO,
        "gates_failed": list_of(with_fields(gates, {"reason": TEXT})),
        "why_not": TEXTS,
    }
    return with_fields(describe_struct(Candidate), more)


def describe_preview() -> Schema:
    """Return the schema of a dry run."""
    file = object_of({"name": TEXT, "bytes": WHOLE, "media_type": TEXT})
    request = object_of(
        {
            "method": TEXT,
            "url": TEXT,
            "content_type": TEXT,
            "body": {"type": "object"},
            "files": {"type": "object", "additionalProperties": file},
        }
    )
    return object_of(
        {"dry_run": {"const": True}, "decision": describe_ruling(), "request": allow_null(request), **OUTLOOK}
    )


def describe_decision() -> Schema:
    """Return the schema of a decision that was not recorded."""
    return describe_ruling(
        {"candidates": list_of(describe_candidate()), "expected": allow_null(describe_expected()), **OUTLOOK}
    )


def describe_one_change() -> Schema:
    """Return the schema of the verdict on the prompt of a remix."""
    change = object_of({"aspect": TEXT, "start": WHOLE, "end": WHOLE, "text": TEXT})
    verdicts = {"enum": ["single", "multiple", "none", "ambiguous"]}
    return object_of({"verdict": verdicts, "why": TEXT, "changes": list_of(change), "prompt": TEXT})


def describe_budget() -> Schema:
    """Return the schema of a budget and its remainder."""
    amounts = {
        "limit_usd_micros": allow_null(WHOLE),
        "held_usd_micros": WHOLE,
        "left_usd_micros": allow_null(WHOLE),
    }
    return object_of({"budget": TEXT, **amounts})


def describe_spending() -> Schema:
    """Return the schema of what was spent."""
    amounts = ("jobs", "reserved_usd_micros", "settled_usd_micros", "settled_estimated_usd_micros")
    spent = object_of({"name": TEXT, **dict.fromkeys(amounts, WHOLE)})
    return object_of(
        {
            "by": TEXT,
            "since": allow_null(TEXT),
            "parts": list_of(spent),
            "total": spent,
            "budgets": list_of(describe_budget()),
        }
    )


def describe_policy() -> Schema:
    """Return the schema of the rules in force."""
    known = {
        "position": WHOLE,
        "recorded_at": TEXT,
        "actor": TEXT,
        "actor_source": TEXT,
        "why": allow_null(TEXT),
    }
    return object_of(
        {
            "policy_sha256": TEXT,
            "catalog_sha256": TEXT,
            "activated": allow_null(object_of(known)),
            "warnings": TEXTS,
            "policy": describe_model(Policy) | {"required": []},
            "catalog": describe_model(Catalog) | {"required": []},
        }
    )


def describe_record() -> Schema:
    """Return the schema of a record: its envelope, and the payload that its type describes."""
    names = "actor actor_source authority event_id kind occurred_at payload_sha256 recorded_at span_id stream"
    envelope: dict[str, Schema] = dict.fromkeys(f"{names} trace_id type".split(), TEXT)
    numbers: dict[str, Schema] = dict.fromkeys(("position", "schema_version", "version"), WHOLE)
    return object_of({**envelope, **numbers, "causation_id": allow_null(TEXT), "payload": {"type": "object"}})


# --- reports ---


def describe_verified() -> Schema:
    """Return the schema of a verification."""
    finding = {
        "code": TEXT,
        "position": allow_null(WHOLE),
        **dict.fromkeys(("subject", "expected", "found"), TEXT),
    }
    return object_of(
        {
            "clean": YES_NO,
            **dict.fromkeys(("size", "jobs", "more_findings"), WHOLE),
            "root": TEXT,
            **dict.fromkeys(("since", "against", "files"), allow_null(WHOLE)),
            **dict.fromkeys(("signed_by", "cosigned_by"), TEXTS),
            "stamped_at": allow_null(TEXT),
            "findings": list_of(object_of(finding)),
        }
    )


def describe_audited() -> Schema:
    """Return the schema of an audit."""
    standings = "intended accepted rejected recovered absent unknown in_flight".split()
    attempt = dict.fromkeys(("job_id", "attempt_id", "state", "server"), TEXT) | {"age_s": WHOLE}
    server = {"profile": TEXT, "listed": allow_null(WHOLE)}
    findings = list_of(
        object_of({**dict.fromkeys(("code", "subject", "found", "do"), TEXT), "job_id": allow_null(TEXT)})
    )
    return object_of(
        {
            "clean": YES_NO,
            **dict.fromkeys(("position", "settled_usd_micros", "reserved_usd_micros"), WHOLE),
            "attempts": object_of(dict.fromkeys(standings, WHOLE)),
            "open": list_of(object_of(attempt)),
            "servers": list_of(
                object_of(server | dict.fromkeys(("because", "server", "doubt"), allow_null(TEXT)))
            ),
            "findings": findings,
            "dealt_with": findings,
        }
    )


def describe_explanation() -> Schema:
    """Return the schema of the four questions about a decision, and of the files' claims about themselves."""
    what = {**dict.fromkeys(("decision", "at", "decision_id"), TEXT), "model": allow_null(TEXT)}
    earlier = list_of(object_of({"decision": TEXT, "at": TEXT, "position": WHOLE}))
    reasons = {"reasons": TEXTS, "candidates": list_of(describe_candidate())}
    checked = {"position": WHOLE, "leaf": TEXT, "size": WHOLE, "root": TEXT, "records_checked": WHOLE}
    return object_of(
        {
            "job_id": TEXT,
            "state": TEXT,
            "decided": object_of({**what, "cost_usd_micros": allow_null(WHOLE), "earlier": earlier}),
            "why": object_of({**reasons, "inputs": {"type": "object"}, "what_now": TEXTS}),
            "authority": describe_authority(),
            "reviews": describe_reviews(),
            "provenance": describe_provenance(),
            "record": object_of({**checked, "trusted": YES_NO, "trouble": TEXTS}),
        }
    )


PERSON = {"actor": TEXT, "identified_by": TEXT, "at": TEXT, "position": WHOLE}


def describe_authority() -> Schema:
    """Return the schema of who asked, who decided under which rules, and what people answered."""
    answer = {"event": TEXT, **PERSON, "said": allow_null(TEXT)}
    more = dict.fromkeys(("key_id", "detail_code", "expires_at"), TEXT)
    rules = {"name": allow_null(TEXT), "sha256": TEXT}
    return object_of(
        {
            "requested_by": object_of(PERSON),
            "decided_by": object_of({**PERSON, "authority": TEXT}),
            "policy": object_of(
                {**rules, "activated": allow_null(object_of({**PERSON, "why": allow_null(TEXT)}))}
            ),
            "catalog": object_of(rules),
            "engine": TEXT,
            "people": list_of(object_of({**answer, **more}, optional=tuple(more))),
        }
    )


def describe_reviews() -> Schema:
    """Return the schema of the reviews of a video, and their agreement."""
    note = object_of({"at_ms": WHOLE, "text": TEXT})
    members = {
        **{("reviewer" if name == "actor" else name): schema for name, schema in PERSON.items()},
        "verdict": TEXT,
        "scores": {"type": "object", "additionalProperties": WHOLE},
        "notes": allow_null(TEXT),
        "timed_notes": list_of(note),
    }
    agreement = {
        "reviewers": WHOLE,
        "verdicts": {"type": "object", "additionalProperties": WHOLE},
        "unanimous": YES_NO,
        "scores": {"type": "object"},
        "words": TEXT,
    }
    return object_of({"given": list_of(object_of(members)), "agreement": object_of(agreement)})


def describe_provenance() -> Schema:
    """Return the schema of the recorded origin of a job's files."""
    ingredient = {"relationship": TEXT, "title": allow_null(TEXT), "has_manifest": YES_NO}
    texts = "validity signer issuer digital_source_type xmp_digital_source_type trust_list_sha256".split()
    observed = {
        **dict.fromkeys(("variant", "sha256", "manifest", "words"), TEXT),
        **dict.fromkeys(texts, allow_null(TEXT)),
        "ingredients": list_of(object_of(ingredient)),
        "failures": TEXTS,
    }
    signed = {"sha256": TEXT, "position": WHOLE, "words": TEXT}
    published = {**dict.fromkeys(("sha256", "target", "marking", "by", "at"), TEXT), "position": WHOLE}
    return object_of(
        {
            "observed": list_of(object_of(observed)),
            "signed": list_of(object_of(signed)),
            "published": list_of(object_of(published)),
        }
    )


def describe_diagnosis() -> Schema:
    """Return the schema of the checks of a setup."""
    finding = {
        "check": TEXT,
        "found": {"enum": ["ok", "wrong", "skipped"]},
        "says": TEXT,
        "fix": allow_null(TEXT),
    }
    return object_of({"healthy": YES_NO, "dry_run": YES_NO, "findings": list_of(object_of(finding))})


HEAD: Schema = object_of({"origin": TEXT, "size": WHOLE, "root": TEXT, "signed": YES_NO, "checkpoint": TEXT})


def describe_checkpoint() -> Schema:
    """Return the schema of a tree head, where it was published, and what its witnesses answered."""
    witness = object_of({"witness": TEXT, "cosigned": YES_NO, "problem": allow_null(TEXT)})
    more = {"published": allow_null(TEXT), "witnesses": list_of(witness), "stamped_at": allow_null(TEXT)}
    return with_fields(HEAD, more)


def describe_comparison() -> Schema:
    """Return the schema of a comparison of the ledger with a checkpoint."""
    return object_of(
        {
            **dict.fromkeys(("extends", "signature_checked", "split_view"), YES_NO),
            **dict.fromkeys(("signed_by", "cosigned_by", "trouble", "proof"), TEXTS),
            "stamped_at": allow_null(TEXT),
            "given": HEAD,
            "now": HEAD,
        }
    )


def describe_exported() -> Schema:
    """Return the schema of a bundle that was written."""
    scope = {"kind": {"enum": ["job", "range", "all"]}, "job_id": TEXT, "from": WHOLE, "to": WHOLE}
    return object_of(
        {
            "bundle": TEXT,
            "scope": object_of(scope, optional=("job_id", "from", "to")),
            **dict.fromkeys(("bytes", "records", "texts", "documents", "assets"), WHOLE),
            "assets_absent": TEXTS,
            **dict.fromkeys(("manifests", "copies_absent"), WHOLE),
            "head": HEAD,
        }
    )


def describe_checked_bundle() -> Schema:
    """Return the schema of the check of a bundle."""
    finding = describe_verified()["properties"]["findings"]
    return object_of(
        {
            "clean": YES_NO,
            **dict.fromkeys(("title", "origin", "root"), TEXT),
            **dict.fromkeys(("size", "records", "texts", "texts_absent", "more_findings"), WHOLE),
            **dict.fromkeys(("signed_by", "cosigned_by", "timestamps", "shows", "shows_not"), TEXTS),
            "build": {"type": "object"},
            "findings": finding,
        }
    )


def describe_replayed() -> Schema:
    """Return the schema of a replay."""
    drift = object_of(
        {"job_id": TEXT, "fields": {"type": "object", "additionalProperties": list_of(ANYTHING)}}
    )
    span = object_of({"after": WHOLE, "by": WHOLE, "until": allow_null(WHOLE)})
    digests = object_of({"compared": WHOLE, "not_compared": WHOLE, "drifted": list_of(span)})
    row = allow_null(list_of(ANYTHING))
    lists = object_of({"table": TEXT, "row": TEXT, "live": row, "expected": row})
    return object_of(
        {
            **dict.fromkeys(("position", "jobs"), WHOLE),
            "drift": list_of(drift),
            "lists": list_of(lists),
            "recorded_digests": digests,
        }
    )


def describe_monitored() -> Schema:
    """Return the schema of one check of a log from outside."""
    return object_of(
        {
            **dict.fromkeys(("log", "origin", "root"), TEXT),
            **dict.fromkeys(("size", "new"), WHOLE),
            "signed_by": TEXTS,
        }
    )


# --- errors, and the answers of tools ---


ERROR: Mapping[str, Schema] = {
    "code": TEXT,
    "message": TEXT,
    "param": allow_null(TEXT),
    "expected": allow_null(TEXT),
    "found": allow_null(TEXT),
    "next": list_of(TEXTS),
    "retry": {"enum": ["never", "after_s", "same_key"]},
    "retry_after_s": WHOLE,
}
"""The common fields of every error."""


def describe_error() -> Schema:
    """Return the schema of a failure."""
    facts = {
        "exit_code": WHOLE,
        "traceback": TEXT,
    }
    return object_of({"error": object_of({**ERROR, **facts}, optional=("traceback", "retry_after_s"))})


def describe_tool_error() -> Schema:
    """Return the schema of the error of a tool."""
    call = object_of({"tool": TEXT, "arguments": {"type": "object"}})
    facts = {"calls": list_of(call), "person": TEXTS}
    return object_of({"error": object_of({**ERROR, **facts}, optional=("retry_after_s",))})


def describe_api_error() -> Schema:
    """Return the schema of a gateway error: the envelope of the API, and the common fields."""
    call = object_of(
        {"method": TEXT, "path": TEXT, "headers": {"type": "object"}, "body": {"type": "object"}},
        optional=("headers", "body"),
    )
    more = {"type": TEXT, "code": allow_null(TEXT), "calls": list_of(call)}
    envelope = object_of({**ERROR, **more}, optional=("retry_after_s",))
    return object_of({"error": envelope, "denial_trace": {"type": "object"}}, optional=("denial_trace",))


def describe_tool_job() -> Schema:
    """Return the schema of a tool's answer about a job."""
    facts = describe_struct(Job)["properties"]
    same = (
        "state",
        "status",
        "progress",
        "operation",
        "request_key",
        "model",
        "size",
        "seconds",
        "error_code",
    )
    decision = object_of({"decision": TEXT, "why": TEXTS, "what_now": TEXTS}, optional=("what_now",))
    following = {"tool": allow_null(TEXT), "arguments": {"type": "object"}, "because": TEXT, "person": TEXTS}
    more = {
        "repeated": YES_NO,
        "timed_out": YES_NO,
        "recovery": TEXT,
        "person": TEXTS,
        "trouble": TEXT,
        "verdict": TEXT,
        "file": object_of(
            {"path": TEXT, "url": TEXT, "sha256": TEXT, "bytes": WHOLE}, optional=("path", "url")
        ),
        "error": describe_tool_error()["properties"]["error"],
    }
    always = {
        "summary": TEXT,
        "job": TEXT,
        **{name: facts[name] for name in same},
        "cost": object_of(dict.fromkeys(("estimated_usd", "reserved_usd", "so_far_usd"), TEXT)),
        "decision": allow_null(decision),
        "files": {"type": "object", "additionalProperties": TEXT},
        "next": object_of(following),
    }
    return object_of({**always, **more}, optional=tuple(more))


DOCUMENTS: Mapping[str, DocumentSchema] = {
    "error": DocumentSchema(2, "A failure", "any command that fails before it has a result", describe_error),
    "job": DocumentSchema(1, "A job", "status, cancel, review", describe_job),
    "jobs": DocumentSchema(1, "Jobs", "jobs", describe_listed_jobs),
    "placed": DocumentSchema(
        1, "A job and its decision", "create, remix, edit, extend, resume", describe_placed
    ),
    "finished": DocumentSchema(1, "A job and the copies of its files", "poll, download", describe_finished),
    "created": DocumentSchema(
        1,
        "A request and its result",
        "create-and-poll",
        lambda: object_of({"create": describe_placed(), "final": describe_finished()}),
    ),
    "preview": DocumentSchema(
        1, "What a request would do", "create, remix, edit, extend with --dry-run", describe_preview
    ),
    "decision": DocumentSchema(
        1,
        "A decision",
        "decide",
        describe_decision,
    ),
    "one-change": DocumentSchema(
        1, "Whether a prompt asks for one change", "check-remix", describe_one_change
    ),
    "budgets": DocumentSchema(
        1, "Budgets", "budget list", lambda: object_of({"budgets": list_of(describe_budget())})
    ),
    "spending": DocumentSchema(1, "What was spent", "spend", describe_spending),
    "policy": DocumentSchema(1, "The rules in force", "policy show, policy check", describe_policy),
    "records": DocumentSchema(
        1, "Records", "log", lambda: object_of({"records": list_of(describe_record())})
    ),
    "verified": DocumentSchema(1, "A verification", "verify", describe_verified),
    "audited": DocumentSchema(1, "An audit", "audit", describe_audited),
    "explanation": DocumentSchema(1, "A decision, explained", "explain", describe_explanation),
    "diagnosis": DocumentSchema(1, "The checks of a setup", "doctor", describe_diagnosis),
    "replayed": DocumentSchema(1, "A replay", "replay", describe_replayed),
    "checkpoint": DocumentSchema(1, "A tree head", "checkpoint", describe_checkpoint),
    "comparison": DocumentSchema(
        1, "The ledger beside a checkpoint", "checkpoint --check", describe_comparison
    ),
    "exported": DocumentSchema(1, "A bundle that was written", "export", describe_exported),
    "tiles": DocumentSchema(
        1,
        "Tiles that were written",
        "export --tiles",
        lambda: object_of({"tiles": TEXT, "old_size": WHOLE, "written": WHOLE, "head": HEAD}),
    ),
    "checked-bundle": DocumentSchema(1, "The check of a bundle", "verify-bundle", describe_checked_bundle),
    "monitored": DocumentSchema(1, "A look at a log from outside", "monitor", describe_monitored),
    "tool-job": DocumentSchema(2, "A tool's answer about a job", "mcp", describe_tool_job),
    "tool-error": DocumentSchema(2, "The error of a tool", "mcp", describe_tool_error),
    "api-error": DocumentSchema(2, "An error of the gateway", "serve", describe_api_error),
}


def schema_of(name: str) -> Schema | None:
    """Return the schema of a document or of an event's payload; None if there is none of this name."""
    if name in DOCUMENTS:
        described = DOCUMENTS[name]
        return _add_header("document", name, described.version, described.title) | described.make()
    if name in EVENT_TYPES:
        model = EVENT_TYPES[name]
        made = describe_struct(model)
        return made | _add_header("event", name, model.schema_version, made.get("description", name))
    return None


def _add_header(kind: str, name: str, version: int, title: str) -> Schema:
    title = title.partition("\n")[0]
    return {"$schema": DIALECT, "$id": f"urn:sora-ledger:{kind}:{name}:{version}", "title": title}

"""JSON Schemas of the documents that commands and tools print, and of the events in the ledger.

They are made from the models that the documents are made from. A schema is open: fields are only ever added
to a document. Its version changes if a field is removed or means something else; an event has the version of
its payload.
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


class Described(NamedTuple):
    """A document: its version, what it is, which commands print it, and how its schema is made."""

    version: int
    title: str
    printed_by: str
    make: Callable[[], Schema]


def or_null(schema: Schema) -> Schema:
    """Return the schema of the same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def a_list(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def an_object(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object whose fields are all there, but for `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def of_model(model: type[BaseModel]) -> Schema:
    """Return the schema of a model as it is printed, with every part written where it is used."""
    schema = model.model_json_schema(mode="serialization")
    parts = schema.pop("$defs", {})
    opened: Schema = _inlined(schema, parts)
    return opened


def of_struct(struct: type[Struct]) -> Schema:
    """Return the schema of an event, or of a part of one, in the same form."""
    [schema], parts = schema_components([struct], ref_template="#/$defs/{name}")
    opened: Schema = _inlined(schema, {name: _printed(part) for name, part in parts.items()})
    return opened


def _printed(value: Any) -> Any:
    """Return a schema of msgspec in the words of pydantic."""
    if isinstance(value, list):
        return [_printed(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: _printed(item) for name, item in value.items()}
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


def _inlined(value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a schema without references, closed objects and titles of fields."""
    if isinstance(value, list):
        return [_inlined(item, parts) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(parts[value["$ref"].rpartition("/")[2]], parts)
    shown = {name: item for name, item in value.items() if name not in {"title", "discriminator", "default"}}
    if shown.get("additionalProperties") is False:
        del shown["additionalProperties"]
    if "properties" in shown:  # a field may be called title
        fields = {name: _inlined(item, parts) for name, item in value["properties"].items()}
        shown = {name: item for name, item in shown.items() if name != "properties"}
        schema = _inlined(shown, parts) | {"properties": fields}
        return _shown(schema) if set(fields) == {"commitment"} else schema
    return {name: _inlined(item, parts) for name, item in shown.items()}


def _shown(private: Schema) -> Schema:
    """Return the schema of private text, which commands print beside its commitment."""
    return private | {"properties": private["properties"] | {"text": TEXT}}


def with_fields(schema: Schema, properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of the same object with more fields."""
    more = an_object(properties, optional)
    required = [*schema.get("required", []), *more["required"]]
    return schema | {"properties": schema["properties"] | more["properties"], "required": required}


# --- documents ---


def job() -> Schema:
    """Return the schema of a job: a video of the API with what the ledger knows."""
    row = of_struct(Job)
    fields = dict(row["properties"])
    video = {
        "id": fields.pop("video_id"),
        "object": {"const": "video"},
        **{name: fields.pop(name) for name in ("status", "progress", "model", "size")},
        "seconds": or_null(TEXT),
        "created_at": or_null(WHOLE),
        "completed_at": or_null(WHOLE),
        "prompt": or_null(TEXT),
        "remixed_from_video_id": fields.pop("remix_video_id"),
        "expires_at": fields.pop("expires_at"),
        "error": or_null(an_object({"code": TEXT})),
        "begun_at": TEXT,
    }
    del fields["error_code"], fields["seconds"], fields["created_at"]
    return an_object({**video, **fields, "split": or_null({"type": "object"})}, optional=("split",))


def ruling(more: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of a decision with its explanation, and `more` fields."""
    prose = {"why": TEXTS, **(more or {})}
    denied = {"what_now": TEXTS, **prose}
    return {
        "anyOf": [
            with_fields(of_struct(RenderDecided), prose),
            with_fields(of_struct(RenderHeld), denied),
            with_fields(of_struct(RenderDenied), denied),
        ]
    }


def expected() -> Schema:
    """Return the schema of how long such renders took."""
    return an_object(dict.fromkeys(Duration._fields, WHOLE))


def placed() -> Schema:
    """Return the schema of a job with the decision on it."""
    more = {
        "decision": ruling(),
        "repeated": YES_NO,
        "override_refused": or_null(TEXT),
        "expected": or_null(expected()),
    }
    return with_fields(job(), more)


def listed_jobs() -> Schema:
    """Return the schema of the jobs of a list, with the path of a poster where its file is stored."""
    return an_object({"jobs": a_list(with_fields(job(), {"poster": or_null(TEXT)}))})


def finished() -> Schema:
    """Return the schema of a job with the copies that were made."""
    return with_fields(job(), {"files": TEXTS})


OUTLOOK = {"refused": or_null(TEXT), "assumes": or_null(TEXT)}


def candidate() -> Schema:
    """Return the schema of a candidate with the reasons against it."""
    gates = of_struct(Candidate)["properties"]["gates_failed"]["items"]
    more = {
        "chosen": YES_NO,
        "gates_failed": a_list(with_fields(gates, {"reason": TEXT})),
        "why_not": TEXTS,
    }
    return with_fields(of_struct(Candidate), more)


def preview() -> Schema:
    """Return the schema of a dry run."""
    file = an_object({"name": TEXT, "bytes": WHOLE, "media_type": TEXT})
    request = an_object(
        {
            "method": TEXT,
            "url": TEXT,
            "content_type": TEXT,
            "body": {"type": "object"},
            "files": {"type": "object", "additionalProperties": file},
        }
    )
    return an_object(
        {"dry_run": {"const": True}, "decision": ruling(), "request": or_null(request), **OUTLOOK}
    )


def decision() -> Schema:
    """Return the schema of a decision that was not recorded."""
    return ruling({"candidates": a_list(candidate()), "expected": or_null(expected()), **OUTLOOK})


def one_change() -> Schema:
    """Return the schema of the verdict on the prompt of a remix."""
    change = an_object({"aspect": TEXT, "start": WHOLE, "end": WHOLE, "text": TEXT})
    verdicts = {"enum": ["single", "multiple", "none", "ambiguous"]}
    return an_object({"verdict": verdicts, "why": TEXT, "changes": a_list(change), "prompt": TEXT})


def budget() -> Schema:
    """Return the schema of a budget and what is left of it."""
    amounts = {
        "limit_usd_micros": or_null(WHOLE),
        "held_usd_micros": WHOLE,
        "left_usd_micros": or_null(WHOLE),
    }
    return an_object({"budget": TEXT, **amounts})


def spending() -> Schema:
    """Return the schema of what was spent."""
    amounts = ("jobs", "reserved_usd_micros", "settled_usd_micros", "settled_estimated_usd_micros")
    spent = an_object({"name": TEXT, **dict.fromkeys(amounts, WHOLE)})
    return an_object(
        {
            "by": TEXT,
            "since": or_null(TEXT),
            "parts": a_list(spent),
            "total": spent,
            "budgets": a_list(budget()),
        }
    )


def policy() -> Schema:
    """Return the schema of the rules in force."""
    known = {
        "position": WHOLE,
        "recorded_at": TEXT,
        "actor": TEXT,
        "actor_source": TEXT,
        "why": or_null(TEXT),
    }
    return an_object(
        {
            "policy_sha256": TEXT,
            "catalog_sha256": TEXT,
            "activated": or_null(an_object(known)),
            "warnings": TEXTS,
            "policy": of_model(Policy) | {"required": []},
            "catalog": of_model(Catalog) | {"required": []},
        }
    )


def record() -> Schema:
    """Return the schema of a record: its envelope, and the payload that its type describes."""
    names = "actor actor_source authority event_id kind occurred_at payload_sha256 recorded_at span_id stream"
    envelope: dict[str, Schema] = dict.fromkeys(f"{names} trace_id type".split(), TEXT)
    numbers: dict[str, Schema] = dict.fromkeys(("position", "schema_version", "version"), WHOLE)
    return an_object({**envelope, **numbers, "causation_id": or_null(TEXT), "payload": {"type": "object"}})


# --- reports ---


def verified() -> Schema:
    """Return the schema of a verification."""
    finding = {
        "code": TEXT,
        "position": or_null(WHOLE),
        **dict.fromkeys(("subject", "expected", "found"), TEXT),
    }
    return an_object(
        {
            "clean": YES_NO,
            **dict.fromkeys(("size", "jobs", "more_findings"), WHOLE),
            "root": TEXT,
            **dict.fromkeys(("since", "against", "files"), or_null(WHOLE)),
            **dict.fromkeys(("signed_by", "cosigned_by"), TEXTS),
            "stamped_at": or_null(TEXT),
            "findings": a_list(an_object(finding)),
        }
    )


def audited() -> Schema:
    """Return the schema of an audit."""
    standings = "intended accepted rejected recovered absent unknown in_flight".split()
    attempt = dict.fromkeys(("job_id", "attempt_id", "state", "server"), TEXT) | {"age_s": WHOLE}
    server = {"profile": TEXT, "listed": or_null(WHOLE)}
    findings = a_list(
        an_object({**dict.fromkeys(("code", "subject", "found", "do"), TEXT), "job_id": or_null(TEXT)})
    )
    return an_object(
        {
            "clean": YES_NO,
            **dict.fromkeys(("position", "settled_usd_micros", "reserved_usd_micros"), WHOLE),
            "attempts": an_object(dict.fromkeys(standings, WHOLE)),
            "open": a_list(an_object(attempt)),
            "servers": a_list(
                an_object(server | dict.fromkeys(("because", "server", "doubt"), or_null(TEXT)))
            ),
            "findings": findings,
            "dealt_with": findings,
        }
    )


def explanation() -> Schema:
    """Return the schema of the four questions about a decision, and of what the files say of themselves."""
    what = {**dict.fromkeys(("decision", "at", "decision_id"), TEXT), "model": or_null(TEXT)}
    earlier = a_list(an_object({"decision": TEXT, "at": TEXT, "position": WHOLE}))
    reasons = {"reasons": TEXTS, "candidates": a_list(candidate())}
    checked = {"position": WHOLE, "leaf": TEXT, "size": WHOLE, "root": TEXT, "records_checked": WHOLE}
    return an_object(
        {
            "job_id": TEXT,
            "state": TEXT,
            "decided": an_object({**what, "cost_usd_micros": or_null(WHOLE), "earlier": earlier}),
            "why": an_object({**reasons, "inputs": {"type": "object"}, "what_now": TEXTS}),
            "authority": authority(),
            "reviews": reviews(),
            "provenance": provenance(),
            "record": an_object({**checked, "trusted": YES_NO, "trouble": TEXTS}),
        }
    )


PERSON = {"actor": TEXT, "identified_by": TEXT, "at": TEXT, "position": WHOLE}


def authority() -> Schema:
    """Return the schema of who asked, who decided under which rules, and what people answered."""
    answer = {"event": TEXT, **PERSON, "said": or_null(TEXT)}
    more = dict.fromkeys(("key_id", "detail_code", "expires_at"), TEXT)
    rules = {"name": or_null(TEXT), "sha256": TEXT}
    return an_object(
        {
            "requested_by": an_object(PERSON),
            "decided_by": an_object({**PERSON, "authority": TEXT}),
            "policy": an_object({**rules, "activated": or_null(an_object({**PERSON, "why": or_null(TEXT)}))}),
            "catalog": an_object(rules),
            "engine": TEXT,
            "people": a_list(an_object({**answer, **more}, optional=tuple(more))),
        }
    )


def reviews() -> Schema:
    """Return the schema of the reviews of a video, and how far they agree."""
    note = an_object({"at_ms": WHOLE, "text": TEXT})
    members = {
        **{("reviewer" if name == "actor" else name): schema for name, schema in PERSON.items()},
        "verdict": TEXT,
        "scores": {"type": "object", "additionalProperties": WHOLE},
        "notes": or_null(TEXT),
        "timed_notes": a_list(note),
    }
    agreement = {
        "reviewers": WHOLE,
        "verdicts": {"type": "object", "additionalProperties": WHOLE},
        "unanimous": YES_NO,
        "scores": {"type": "object"},
        "words": TEXT,
    }
    return an_object({"given": a_list(an_object(members)), "agreement": an_object(agreement)})


def provenance() -> Schema:
    """Return the schema of what is recorded about the origin of a job's files."""
    ingredient = {"relationship": TEXT, "title": or_null(TEXT), "has_manifest": YES_NO}
    texts = "validity signer issuer digital_source_type xmp_digital_source_type trust_list_sha256".split()
    observed = {
        **dict.fromkeys(("variant", "sha256", "manifest", "words"), TEXT),
        **dict.fromkeys(texts, or_null(TEXT)),
        "ingredients": a_list(an_object(ingredient)),
        "failures": TEXTS,
    }
    signed = {"sha256": TEXT, "position": WHOLE, "words": TEXT}
    published = {**dict.fromkeys(("sha256", "target", "marking", "by", "at"), TEXT), "position": WHOLE}
    return an_object(
        {
            "observed": a_list(an_object(observed)),
            "signed": a_list(an_object(signed)),
            "published": a_list(an_object(published)),
        }
    )


def diagnosis() -> Schema:
    """Return the schema of the checks of a setup."""
    finding = {
        "check": TEXT,
        "found": {"enum": ["ok", "wrong", "skipped"]},
        "says": TEXT,
        "fix": or_null(TEXT),
    }
    return an_object({"healthy": YES_NO, "dry_run": YES_NO, "findings": a_list(an_object(finding))})


HEAD: Schema = an_object({"origin": TEXT, "size": WHOLE, "root": TEXT, "signed": YES_NO, "checkpoint": TEXT})


def checkpoint() -> Schema:
    """Return the schema of a tree head, where it was published, and what its witnesses answered."""
    witness = an_object({"witness": TEXT, "cosigned": YES_NO, "problem": or_null(TEXT)})
    more = {"published": or_null(TEXT), "witnesses": a_list(witness), "stamped_at": or_null(TEXT)}
    return with_fields(HEAD, more)


def comparison() -> Schema:
    """Return the schema of a comparison of the ledger with a checkpoint."""
    return an_object(
        {
            **dict.fromkeys(("extends", "signature_checked", "split_view"), YES_NO),
            **dict.fromkeys(("signed_by", "cosigned_by", "trouble", "proof"), TEXTS),
            "stamped_at": or_null(TEXT),
            "given": HEAD,
            "now": HEAD,
        }
    )


def exported() -> Schema:
    """Return the schema of a bundle that was written."""
    scope = {"kind": {"enum": ["job", "range", "all"]}, "job_id": TEXT, "from": WHOLE, "to": WHOLE}
    return an_object(
        {
            "bundle": TEXT,
            "scope": an_object(scope, optional=("job_id", "from", "to")),
            **dict.fromkeys(("bytes", "records", "texts", "documents", "assets"), WHOLE),
            "assets_absent": TEXTS,
            **dict.fromkeys(("manifests", "copies_absent"), WHOLE),
            "head": HEAD,
        }
    )


def checked_bundle() -> Schema:
    """Return the schema of the check of a bundle."""
    finding = verified()["properties"]["findings"]
    return an_object(
        {
            "clean": YES_NO,
            **dict.fromkeys(("title", "origin", "root"), TEXT),
            **dict.fromkeys(("size", "records", "texts", "texts_absent", "more_findings"), WHOLE),
            **dict.fromkeys(("signed_by", "cosigned_by", "timestamps", "shows", "shows_not"), TEXTS),
            "build": {"type": "object"},
            "findings": finding,
        }
    )


def replayed() -> Schema:
    """Return the schema of a replay."""
    drift = an_object(
        {"job_id": TEXT, "fields": {"type": "object", "additionalProperties": a_list(ANYTHING)}}
    )
    span = an_object({"after": WHOLE, "by": WHOLE, "until": or_null(WHOLE)})
    digests = an_object({"compared": WHOLE, "not_compared": WHOLE, "drifted": a_list(span)})
    row = or_null(a_list(ANYTHING))
    lists = an_object({"table": TEXT, "row": TEXT, "live": row, "expected": row})
    return an_object(
        {
            **dict.fromkeys(("position", "jobs"), WHOLE),
            "drift": a_list(drift),
            "lists": a_list(lists),
            "recorded_digests": digests,
        }
    )


def monitored() -> Schema:
    """Return the schema of a look at a log from outside."""
    return an_object(
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
    "param": or_null(TEXT),
    "expected": or_null(TEXT),
    "found": or_null(TEXT),
    "next": a_list(TEXTS),
    "retry": {"enum": ["never", "after_s", "same_key"]},
    "retry_after_s": WHOLE,
}
"""What every error says, whatever was called."""


def error() -> Schema:
    """Return the schema of a failure."""
    facts = {
        "exit_code": WHOLE,
        "traceback": TEXT,
    }
    return an_object({"error": an_object({**ERROR, **facts}, optional=("traceback", "retry_after_s"))})


def tool_error() -> Schema:
    """Return the schema of the error of a tool."""
    call = an_object({"tool": TEXT, "arguments": {"type": "object"}})
    facts = {"calls": a_list(call), "person": TEXTS}
    return an_object({"error": an_object({**ERROR, **facts}, optional=("retry_after_s",))})


def api_error() -> Schema:
    """Return the schema of an error of the gateway: the envelope of the API, and what every error says."""
    call = an_object(
        {"method": TEXT, "path": TEXT, "headers": {"type": "object"}, "body": {"type": "object"}},
        optional=("headers", "body"),
    )
    more = {"type": TEXT, "code": or_null(TEXT), "calls": a_list(call)}
    envelope = an_object({**ERROR, **more}, optional=("retry_after_s",))
    return an_object({"error": envelope, "denial_trace": {"type": "object"}}, optional=("denial_trace",))


def tool_job() -> Schema:
    """Return the schema of a tool's answer about a job."""
    facts = of_struct(Job)["properties"]
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
    decision = an_object({"decision": TEXT, "why": TEXTS, "what_now": TEXTS}, optional=("what_now",))
    following = {"tool": or_null(TEXT), "arguments": {"type": "object"}, "because": TEXT, "person": TEXTS}
    more = {
        "repeated": YES_NO,
        "timed_out": YES_NO,
        "recovery": TEXT,
        "person": TEXTS,
        "trouble": TEXT,
        "verdict": TEXT,
        "file": an_object(
            {"path": TEXT, "url": TEXT, "sha256": TEXT, "bytes": WHOLE}, optional=("path", "url")
        ),
        "error": tool_error()["properties"]["error"],
    }
    always = {
        "summary": TEXT,
        "job": TEXT,
        **{name: facts[name] for name in same},
        "cost": an_object(dict.fromkeys(("estimated_usd", "reserved_usd", "so_far_usd"), TEXT)),
        "decision": or_null(decision),
        "files": {"type": "object", "additionalProperties": TEXT},
        "next": an_object(following),
    }
    return an_object({**always, **more}, optional=tuple(more))


DOCUMENTS: Mapping[str, Described] = {
    "error": Described(2, "A failure", "any command that fails before it has a result", error),
    "job": Described(1, "A job", "status, cancel, review", job),
    "jobs": Described(1, "Jobs", "jobs", listed_jobs),
    "placed": Described(1, "A job and its decision", "create, remix, edit, extend, resume", placed),
    "finished": Described(1, "A job and the copies of its files", "poll, download", finished),
    "created": Described(
        1,
        "A request and its result",
        "create-and-poll",
        lambda: an_object({"create": placed(), "final": finished()}),
    ),
    "preview": Described(1, "What a request would do", "create, remix, edit, extend with --dry-run", preview),
    "decision": Described(
        1,
        "A decision",
        "decide",
        decision,
    ),
    "one-change": Described(1, "Whether a prompt asks for one change", "check-remix", one_change),
    "budgets": Described(1, "Budgets", "budget list", lambda: an_object({"budgets": a_list(budget())})),
    "spending": Described(1, "What was spent", "spend", spending),
    "policy": Described(1, "The rules in force", "policy show, policy check", policy),
    "records": Described(1, "Records", "log", lambda: an_object({"records": a_list(record())})),
    "verified": Described(1, "A verification", "verify", verified),
    "audited": Described(1, "An audit", "audit", audited),
    "explanation": Described(1, "A decision, explained", "explain", explanation),
    "diagnosis": Described(1, "The checks of a setup", "doctor", diagnosis),
    "replayed": Described(1, "A replay", "replay", replayed),
    "checkpoint": Described(1, "A tree head", "checkpoint", checkpoint),
    "comparison": Described(1, "The ledger beside a checkpoint", "checkpoint --check", comparison),
    "exported": Described(1, "A bundle that was written", "export", exported),
    "tiles": Described(
        1,
        "Tiles that were written",
        "export --tiles",
        lambda: an_object({"tiles": TEXT, "old_size": WHOLE, "written": WHOLE, "head": HEAD}),
    ),
    "checked-bundle": Described(1, "The check of a bundle", "verify-bundle", checked_bundle),
    "monitored": Described(1, "A look at a log from outside", "monitor", monitored),
    "tool-job": Described(2, "A tool's answer about a job", "mcp", tool_job),
    "tool-error": Described(2, "The error of a tool", "mcp", tool_error),
    "api-error": Described(2, "An error of the gateway", "serve", api_error),
}


def schema_of(name: str) -> Schema | None:
    """Return the schema of a document or of an event's payload; None if there is none of this name."""
    if name in DOCUMENTS:
        described = DOCUMENTS[name]
        return _headed("document", name, described.version, described.title) | described.make()
    if name in EVENT_TYPES:
        model = EVENT_TYPES[name]
        made = of_struct(model)
        return made | _headed("event", name, model.schema_version, made.get("description", name))
    return None


def _headed(kind: str, name: str, version: int, title: str) -> Schema:
    title = title.partition("\n")[0]
    return {"$schema": DIALECT, "$id": f"urn:sora-ledger:{kind}:{name}:{version}", "title": title}

"""The browser's own checker, in a real browser: it agrees with `verify_bundle.py` and published vectors."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ledger.log.bundle import Scope
from ledger.verify import verify_bundle as vb
from render_service.server import console
from tests.console.forgery import (
    SIGNER,
    Files,
    bundle_of,
    canonical,
    line_edits,
    made_anew,
    pack,
    sample,
    unpack,
    with_line,
)
from tests.ledger.office import JOB, MARIA, SIGNED, Office, policy
from tests.ledger.scribe import Scribe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route
else:
    Browser = Page = Route = Any

STATIC = Path(console.__file__).parent / "static"
GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
VECTORS = Path(__file__).parents[1] / "ledger" / "data"
KEY = str(SIGNER.verifier)
HOST = "http://localhost"
CHECKS = """
import * as verify from "/verify.js";
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
window.verify = verify;
window.bytes = bytes;
window.checkAll = async ({ files, keys, held }) => {
  const named = await Promise.all(keys.map(verify.readKey));
  const checkpoint = held && verify.readCheckpoint(bytes(held));
  return Promise.all(files.map(async (file) => {
    try {
      const outcome = await verify.checkFile(new Blob([bytes(file)]), { keys: named, held: checkpoint });
      const codes = outcome.findings.map((item) => [item.code, item.position]);
      return { codes, vouched: outcome.vouchedFor, shows: outcome.shows, not: outcome.showsNot };
    } catch (error) {
      if (!(error instanceof verify.Unreadable || error instanceof verify.Invalid)) throw error;
      return { unreadable: error.message };
    }
  }));
};
window.ready = true;
"""
PAGES = {"/": ("text/html", "<!doctype html><script type=module src=/checks.js></script>")}


@pytest.fixture(scope="module")
def checker(browser: Browser) -> Iterator[Page]:
    """Yield a page that has loaded `verify.js` and nothing of a server's."""
    page = browser.new_page()

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(HOST)
        files = PAGES | {
            "/checks.js": ("text/javascript", CHECKS),
            "/verify.js": ("text/javascript", (STATIC / "verify.js").read_text(encoding="utf-8")),
        }
        kind, body = files.get(name, ("text/plain", ""))
        route.fulfill(content_type=kind, body=body)

    page.route("**/*", serve)
    page.goto(f"{HOST}/")
    page.wait_for_function("window.ready")
    yield page
    page.close()


def check_all(
    page: Page, files: list[bytes], *, keys: tuple[str, ...] = (), held: bytes | None = None
) -> Any:
    encoded = [base64.b64encode(data).decode() for data in files]
    values = {"files": encoded, "keys": list(keys), "held": held and base64.b64encode(held).decode()}
    return page.evaluate("(given) => checkAll(given)", values)


def check_here(tmp_path: Path, data: bytes, keys: tuple[str, ...] = ()) -> list[list[Any]] | None:
    """Return code and position of what `verify_bundle.py` finds, None if it says that this is no bundle."""
    path = tmp_path / "b.zip"
    path.write_bytes(data)
    try:
        outcome = vb.check_bundle(str(path), [vb.read_key(key) for key in keys])
    except vb.NotABundle:
        return None
    return [[item.code, item.position] for item in outcome.findings]


def check_alike(page: Page, tmp_path: Path, bundles: list[bytes], keys: tuple[str, ...] = ()) -> set[str]:
    """Assert that both checkers find the same in each of `bundles`; return the codes found."""
    found: set[str] = set()
    for number, (data, theirs) in enumerate(zip(bundles, check_all(page, bundles, keys=keys), strict=True)):
        ours = check_here(tmp_path, data, keys)
        assert theirs.get("codes") == ours, f"bundle {number}: {theirs}"
        found |= {code for code, _ in ours or ()}
    return found


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return bundles of the frozen ledger: one job, a range, everything; the first was exported once."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "job": (GOLDEN / "evidence.zip").read_bytes(),
        "range": bundle_of(GOLDEN / "ledger.db", folder, Scope(first=5, last=20)),
        "all": bundle_of(GOLDEN / "ledger.db", folder, Scope()),
    }


def test_published_inclusion_proofs_lead_to_the_root_or_do_not(checker: Page) -> None:
    cases = {
        name: json.loads((VECTORS / f"inclusion-{name}.json").read_text(encoding="utf-8"))
        for name in ("valid", "invalid")
    }
    results = checker.evaluate(
        """async (cases) => Promise.all(cases.map(async (item) => {
          const path = (item.inclusion_path ?? []).map(bytes);
          try {
            const leaf = bytes(item.leaf_hash);
            const root = await verify.rootOfPath(leaf, item.leaf_index, item.tree_size, path);
            return verify.toHex(root) === verify.toHex(bytes(item.root_hash));
          } catch (error) {
            if (!(error instanceof verify.Invalid)) throw error;
            return false;
          }
        }))""",
        cases["valid"] + cases["invalid"],
    )
    assert results == [True] * len(cases["valid"]) + [False] * len(cases["invalid"])


def test_published_consistency_proofs_hold_or_do_not(checker: Page) -> None:
    cases = {
        name: json.loads((VECTORS / f"consistency-{name}.json").read_text(encoding="utf-8"))
        for name in ("valid", "invalid")
    }
    results = checker.evaluate(
        """async (cases) => Promise.all(cases.map(async (item) => {
          const path = (item.consistency_path ?? []).map(bytes);
          const [old, now] = [bytes(item.old_root), bytes(item.new_root)];
          try {
            await verify.checkConsistency(item.old_size, item.new_size, old, now, path);
            return true;
          } catch (error) {
            if (!(error instanceof verify.Invalid)) throw error;
            return false;
          }
        }))""",
        cases["valid"] + cases["invalid"],
    )
    assert results == [True] * len(cases["valid"]) + [False] * len(cases["invalid"])


def test_frozen_evidence_is_accepted(checker: Page, golden: dict[str, bytes]) -> None:
    files = [
        *golden.values(),
        *((GOLDEN / name).read_bytes() for name in ("checkpoint", "record-3.tlog-proof")),
    ]
    for result in check_all(checker, files, keys=(KEY,)):
        assert (result["codes"], result["vouched"]) == ([], True)
    old = (GOLDEN / "old.checkpoint").read_bytes()
    [result] = check_all(checker, [(GOLDEN / "consistency.proof").read_bytes()], keys=(KEY,), held=old)
    assert (result["codes"], result["vouched"]) == ([], True)


def test_a_bundle_says_who_does_not_vouch_for_it(checker: Page, golden: dict[str, bytes]) -> None:
    [result] = check_all(checker, [golden["job"]])
    assert (result["codes"], result["vouched"]) == ([], False)
    assert any("Whose key that is" in text for text in result["not"])


def test_a_key_that_did_not_sign_is_found(checker: Page, tmp_path: Path, golden: dict[str, bytes]) -> None:
    assert check_alike(checker, tmp_path, list(golden.values()), (str(MARIA.verifier),)) == {
        "CHECKPOINT_SIGNATURE"
    }


@pytest.mark.parametrize("kind", ["job", "range", "all"])
def test_any_changed_line_is_found_alike(
    checker: Page, tmp_path: Path, golden: dict[str, bytes], kind: str
) -> None:
    files = unpack(golden[kind])
    bundles = [
        pack(with_line(files, name, number, canonical(line)))
        for name in LINES
        if name in files
        for number, line in sample(line_edits(files[name]), 6)
    ]
    found = check_alike(checker, tmp_path, bundles, (KEY,))
    assert "PAYLOAD_DIGEST" in found


LINES = ("records.jsonl", "payloads.jsonl", "proofs.jsonl", "bodies.jsonl")


def odd_files(data: bytes) -> Iterator[bytes]:
    """Yield a file with a line left out, a line twice, and text that is not canonical."""
    lines = data.splitlines(keepends=True)
    yield from (
        b"".join(lines[1:]),
        b"".join(lines[:-1]),
        data + lines[-1],
        data[:-1],
        b"",
        b"\xef\xbb\xbf" + data,
    )
    for wrong, right in ((b": ", b":"), (b"01", b"1"), (b"1e0", b"1"), (b"\\u0065", b"e"), (b"\xff", b"a")):
        yield data.replace(right, wrong, 1)


@pytest.mark.parametrize("name", [*LINES, "checkpoint"])
def test_lines_that_are_missing_twice_or_not_canonical_are_found_alike(
    checker: Page, tmp_path: Path, golden: dict[str, bytes], name: str
) -> None:
    files = unpack(golden["job"])
    bundles = [pack(files | {name: odd}) for odd in odd_files(files[name])]
    bundles.append(pack({other: data for other, data in files.items() if other != name}))
    assert check_alike(checker, tmp_path, bundles)


JUDGED = ("render.decided", "render.held", "approval.", "request.signed", "change.", "policy.", "budget.")


def made_anew_in_many_ways(files: Files, count: int) -> list[bytes]:
    """Return whole ledgers whose makers changed one field of what permissions follow from, evenly spread."""
    types = [json.loads(line)["type"] for line in files["records.jsonl"].splitlines()]
    edits = [
        (number, payload)
        for number, payload in line_edits(files["payloads.jsonl"])
        if types[number].startswith(JUDGED)
    ]
    return [pack(made_anew(files, number, payload)) for number, payload in sample(edits, count)]


def test_a_ledger_made_anew_with_another_payload_is_judged_alike(
    checker: Page, tmp_path: Path, golden: dict[str, bytes]
) -> None:
    found = check_alike(checker, tmp_path, made_anew_in_many_ways(unpack(golden["all"]), 15))
    assert "PAYLOAD_FIELDS" in found


def approved(path: Path, scribe: Scribe, vocabulary: ModuleType) -> None:
    """Record a signed request, its approval and decision, and a policy that was changed with approval."""
    with scribe.ledger(path) as ledger:
        office = Office(ledger, scribe, vocabulary)
        rules = [
            {"code": "FINALS", "people": 1, "purposes": ["final"], "signed": True},
            {"code": "RULES", "people": 1, "operations": ["policy.activate", "budget.set"]},
        ]
        office.activate(policy(approvals=rules, requester="identified"))
        office.ask(**SIGNED)
        office.sign_request()
        office.hold()
        office.answer(MARIA)
        office.decide()
        following = policy(approvals=rules, name="next")
        office.propose(
            policy_sha256=following.sha256, catalog_sha256=office.vocabulary.basis().catalog_sha256
        )
        office.answer(MARIA)
        office.apply()
        office.activate(following, causation_id=office.cause)


def test_signatures_and_permissions_that_a_forger_changed_are_judged_alike(
    checker: Page, tmp_path: Path, scribe: Scribe, vocabulary: ModuleType
) -> None:
    ledger = tmp_path / "ledger.db"
    approved(ledger, scribe, vocabulary)
    files = unpack(bundle_of(ledger, tmp_path, Scope()))
    bundles = [pack(files), bundle_of(ledger, tmp_path, Scope(job_id=JOB))]
    bundles += made_anew_in_many_ways(files, 40)
    found = check_alike(checker, tmp_path, bundles)
    wanted = {"REQUEST_SIGNATURE", "APPROVAL_SIGNATURE", "DECISION_NOT_PERMITTED", "CHANGE_NOT_PERMITTED"}
    assert wanted <= found


def test_a_render_that_a_guardrail_holds_is_judged_alike(
    checker: Page, tmp_path: Path, scribe: Scribe, vocabulary: ModuleType
) -> None:
    bundles = []
    for number, codes in enumerate(["NAMES", "ABC,OTHERS", "NAME", "", None]):
        with scribe.ledger(tmp_path / f"{number}.db") as ledger:
            office = Office(ledger, scribe, vocabulary)
            rule = {"code": "NAMES", "people": 1, "guardrails": ["NAMES", "OTHERS"]}
            office.activate(policy(approvals=[rule]))
            office.ask()
            office.decide(approved=None, guardrails=codes)
        bundles.append(bundle_of(tmp_path / f"{number}.db", tmp_path, Scope()))
    assert check_alike(checker, tmp_path, bundles[:2]) == {"DECISION_NOT_PERMITTED"}
    assert check_alike(checker, tmp_path, bundles[2:]) == set()


def test_no_flipped_byte_is_accepted_that_the_program_refuses(
    checker: Page, tmp_path: Path, golden: dict[str, bytes]
) -> None:
    data = golden["job"]
    bundles = [
        data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        for at in range(3, len(data), len(data) // 40)
    ]
    bundles += [data[: len(data) * part // 20] for part in range(0, 20, 3)]
    directory = data.rindex(b"PK\5\6") - 16 * 60
    bundles += [data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :] for at in range(directory, len(data), 17)]
    for bundle, theirs in zip(bundles, check_all(checker, bundles), strict=True):
        ours = check_here(tmp_path, bundle)
        assert (theirs.get("codes") == []) <= (ours == []), theirs  # accepted there, so accepted here
        if ours == [] and theirs.get("codes") != []:  # some readers of zip files do not look for this
            assert theirs["codes"] == [["BUNDLE_FILE", None]], theirs


def test_hostile_text_is_shown_without_what_could_mislead_a_reader(checker: Page) -> None:
    assert checker.evaluate(r"verify.shown('a\u202eb\u0000<b>\u200b ' + 'x'.repeat(500)).length") == 201
    assert checker.evaluate(r"verify.shown('a\u202eb\u0000 ')") == "a\ufffdb\ufffd "


JSON = [
    b"[]", b"", b"{", b'{"a":1.0}', b'{"a":NaN}', b'{"a":-0}', b'{"a":1e3}', b'{"a":9007199254740992}',
    b'{"a":-9007199254740991}', b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a": 1}', b'{"a":"\xff"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0041"}', b'{"a":"\\u001f"}', b'{"a":"\\u001F"}', b'{"a":"\\u0008"}', b'{"a":"\\b\\n\\/"}',
    b'{"a":"\\b\\n\\"\\\\"}', b'{"a":' * 65 + b"1" + b"}" * 65, b'{"a":' * 64 + b"1" + b"}" * 64,
    b'{"a":[[[]],{},"",null,true,false]}', b'{"10":1,"9":1}', b'{"9":1,"10":1}', b'{"__proto__":{"a":1}}',
    '{"\uffee":1,"\U0001f600":1}'.encode(), '{"\U0001f600":1,"\uffee":1}'.encode(),
    b'{"a":"\x7f\xe2\x80\xa8"}',
    b'{"a":tru}', b'{"a":nullx}', b'{"a":1}\n', b"\xef\xbb\xbf{}", b'{"a":01}', b'{"a":+1}',
    b'{"a":[1,]}', b"{,}",
]  # fmt: skip


def test_json_is_canonical_or_not_alike(checker: Page) -> None:
    def reads(data: bytes) -> bool:
        try:
            vb.strict_json(data)
        except ValueError:
            return False
        return True

    results = checker.evaluate(
        """(lines) => lines.map((line) => {
          try {
            verify.strictJson(bytes(line));
            return true;
          } catch (error) {
            if (!(error instanceof verify.Invalid)) throw error;
            return false;
          }
        })""",
        [base64.b64encode(data).decode() for data in JSON],
    )
    assert dict(zip(JSON, results, strict=True)) == {data: reads(data) for data in JSON}


def test_checkpoints_and_keys_are_read_or_refused_alike(checker: Page) -> None:
    note = (GOLDEN / "checkpoint").read_bytes()
    texts = [
        note[:at] + odd + note[at + 1 :] for at in range(0, len(note), 3) for odd in (b"", b"x", b"\n", b"+")
    ]

    def read(data: bytes) -> Any:
        try:
            head = vb.read_head(data)
            return [head.origin, str(head.size), head.root.hex(), vb.signers(head, [vb.read_key(KEY)])]
        except ValueError:
            return None

    results = checker.evaluate(
        """async ([texts, key]) => {
          const read = await verify.readKey(key);
          return Promise.all(texts.map(async (text) => {
            try {
              const head = verify.readCheckpoint(bytes(text));
              const signers = await verify.signersOf(head, [read]);
              return [head.origin, String(head.size), verify.toHex(head.root), signers];
            } catch (error) {
              if (!(error instanceof verify.Invalid)) throw error;
              return null;
            }
          }));
        }""",
        [[base64.b64encode(text).decode() for text in texts], KEY],
    )
    for text, theirs in zip(texts, results, strict=True):
        assert theirs == read(text), text

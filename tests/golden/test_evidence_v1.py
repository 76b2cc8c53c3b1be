"""Evidence that was given out once: every later version accepts it, and it goes on checking itself."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from ledger.log.opening import open_ledger
from ledger.tree.checkpoint import Verifier
from ledger.tree.head import TreeHead
from ledger.tree.proof import ConsistencyProof, InclusionProof
from ledger.verify import verify_bundle as vb
from render_service.evidence.checkpoints import compare

V1 = Path(__file__).parent / "v1"
EXPECTED: dict[str, Any] = json.loads((V1 / "expected.json").read_text(encoding="utf-8"))
KEY = "ledger.example+d39ecdc2+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"


def test_the_checkpoint_is_the_ledgers_and_signed() -> None:
    head = TreeHead.parse((V1 / "checkpoint").read_bytes())
    head.find_signers([Verifier.parse(KEY)])
    assert (head.checkpoint.size, head.checkpoint.root.hex()) == (EXPECTED["size"], EXPECTED["root"])


@pytest.mark.parametrize("name", ["checkpoint", "old.checkpoint"])
def test_the_ledger_goes_on_from_what_was_given_out(tmp_path: Path, name: str) -> None:
    copyfile(V1 / "ledger.db", tmp_path / "ledger.db")
    with open_ledger(str(tmp_path / "ledger.db")) as ledger:
        found = compare(ledger, TreeHead.parse((V1 / name).read_bytes()), [Verifier.parse(KEY)])
    assert (found.trouble, found.signed_by) == ([], ["ledger.example"])


def test_the_proof_of_a_record_shows_it() -> None:
    proof = InclusionProof.parse((V1 / "record-3.tlog-proof").read_bytes())
    assert proof.record
    proof.verify(proof.record)
    assert json.loads(proof.record)["position"] == 3


def test_the_consistency_proof_shows_that_the_ledger_grew() -> None:
    old = TreeHead.parse((V1 / "old.checkpoint").read_bytes())
    ConsistencyProof.parse((V1 / "consistency.proof").read_bytes()).verify(old.checkpoint.root)


def test_the_bundle_checks() -> None:
    held = vb.read_head((V1 / "checkpoint").read_bytes())
    outcome = vb.check_bundle(str(V1 / "evidence.zip"), [vb.read_key(KEY)], held)
    assert (outcome.findings, outcome.signed_by, outcome.texts > 0) == ([], ["ledger.example"], True)


def test_the_bundle_is_checked_by_the_program_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(V1 / "evidence.zip") as packed:
        (tmp_path / "verify_bundle.py").write_bytes(packed.read("verify_bundle.py"))
    command = [sys.executable, "-I", "-S", "verify_bundle.py", str(V1 / "evidence.zip"), "--verifier", KEY]
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")

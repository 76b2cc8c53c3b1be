"""How the evidence beside the frozen ledger was made: once, with the first release that exports it.

Not run again: what lies in `v1` is what was given out. Kept to show what it is.
"""

import shutil
import tempfile
from pathlib import Path

from ledger.log.bundle import Scope, Wish, write_bundle
from ledger.log.opening import open_ledger
from ledger.log.tiles import head_of
from ledger.terms import State
from ledger.tree.checkpoint import Signer
from ledger.tree.proof import ConsistencyProof, InclusionProof

V1 = Path(__file__).parent / "v1"
SIGNER = Signer("ledger.example", bytes(range(32)))
POSITION, OLD_SIZE = 3, 5


def make() -> None:
    """Write checkpoint, proofs and a bundle of a stored job."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        shutil.copyfile(V1 / "ledger.db", path)
        with open_ledger(str(path)) as ledger:
            head = head_of(ledger, [SIGNER])
            record = next(ledger.read(after=POSITION - 1)).record
            inclusion = InclusionProof.make(ledger.store, POSITION - 1, head, record)
            consistency = ConsistencyProof.make(ledger.store, OLD_SIZE, head)
            job = next(job for job in ledger.jobs() if job.state is State.STORED)
            wish = Wish(verifier=str(SIGNER.verifier), build={"sora_ledger": "0.1.0"})
            with (V1 / "evidence.zip").open("wb") as file:
                write_bundle(file, "evidence.zip", ledger, Scope(job_id=job.job_id), head, wish)
            (V1 / "old.checkpoint").write_bytes(head_of(ledger, [SIGNER], OLD_SIZE).to_bytes())
    (V1 / "checkpoint").write_bytes(head.to_bytes())
    (V1 / "record-3.tlog-proof").write_bytes(inclusion.to_bytes())
    (V1 / "consistency.proof").write_bytes(consistency.to_bytes())


if __name__ == "__main__":
    make()

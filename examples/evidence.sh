#!/bin/sh
# Export what proves a render, and check it as a person would who has neither sora-ledger nor the ledger.
set -eu
export SORA_LEDGER_URL=sqlite:///renders.db SORA_LEDGER_PROFILE=sandbox

sora-ledger key new signing.key --name ledger.example
sora-ledger key show signing.key --format text > verifier.txt
sora-ledger create-and-poll "A steaming cup of coffee" --seconds 4
sora-ledger export @last --out evidence.zip --key signing.key --with-assets

# The other side gets evidence.zip, and verifier.txt by another way.
python -m zipfile -e evidence.zip evidence
python -I evidence/verify_bundle.py evidence.zip --verifier "$(cat verifier.txt)"

#!/bin/sh
# A draft is reviewed, and the final that it is promoted to waits for a second person's signature.
set -eu
export SORA_LEDGER_URL=sqlite:///renders.db SORA_LEDGER_PROFILE=sandbox

sora-ledger key new ana.key --name ana
sora-ledger key new maria.key --name maria
sora-ledger policy show --packaged policy --format text > policy.toml
cat >> policy.toml <<END
[[approvals]]
code = "FINALS"
purposes = ["final"]
signed_by = ["maria"]

[approvers]
maria = ["$(sora-ledger key show maria.key --format text)"]

[requesters]
ana = ["$(sora-ledger key show ana.key --format text)"]
END
sora-ledger policy activate policy.toml --reason "finals need a second person"

sora-ledger create-and-poll "A lighthouse at dawn, slow push-in" --seconds 4
sora-ledger review @last --verdict approved --clarity 90 --notes "the light is right"

if sora-ledger create "A lighthouse at dawn, slow push-in" --seconds 4 --purpose final --promotes @last \
  --key ana.key --json-out held.json
then
  echo "expected the final to be held" >&2
  exit 1
fi
job=$(python -c 'import json; print(json.load(open("held.json"))["job_id"])')
sora-ledger approve "$job" --key maria.key --reason "within the budget of the pitch"
sora-ledger poll "$job"
sora-ledger explain "$job" --format text

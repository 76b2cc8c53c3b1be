"""The demo's policies: one that requires Maria's signature on finals, and one to try out."""

from importlib.resources import files
from pathlib import Path

from render_service.evidence.keys import read_verifier

MARIA, ANA = "maria", "ana"
RULE = """
# Finals on sora-2-pro need Maria's signature.
[[approvals]]
code = "PRO_FINALS"
models = ["sora-2-pro"]
purposes = ["final"]
signed_by = ["maria"]

[approvers]
maria = ["{maria}"]

[requesters]
ana = ["{ana}"]
"""
DEAR_DRAFTS = 'draft = [{ model = "sora-2", fit = 40 }, { model = "sora-2-pro", fit = 100 }]'


def write_team_policy(path: Path, maria: Path, ana: Path) -> None:
    """Write the packaged policy with an approval rule for finals and the keys of both people."""
    named = _packaged().replace('name = "default"', 'name = "team"')
    path.write_text(
        named + RULE.format(maria=read_verifier(str(maria)), ana=read_verifier(str(ana))), encoding="utf-8"
    )


def write_dear_policy(path: Path) -> None:
    """Write the packaged policy with drafts on the more expensive model."""
    lines = (DEAR_DRAFTS if line.startswith("draft =") else line for line in _packaged().splitlines())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _packaged() -> str:
    return files("decision").joinpath("policy.toml").read_text(encoding="utf-8")

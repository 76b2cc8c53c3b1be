"""Content rules for every server, shown by the command line and confirmed by people.

Servers enforce them too, but only after the request was sent and perhaps charged. Prompts are not searched
for words: that would be a guess. A person confirms the rules (``--attest``); a policy can require it
(`decision.rules.policy`).
"""

from typing import NamedTuple


class Guardrail(NamedTuple):
    """One rule: a stable code, the rule in one line, and what it means in practice."""

    code: str
    rule: str
    meaning: str


GUARDRAILS = (
    Guardrail(
        code="SUITABLE_UNDER_18",
        rule="Everything shown and said is suitable for people under 18.",
        meaning="No sexual content, no gore, nothing that teaches harm; when in doubt, leave it out.",
    ),
    Guardrail(
        code="NO_REAL_PEOPLE",
        rule="No real person appears or is imitated, and no public figure either.",
        meaning="Describe a role and a look, not a name: 'a cellist in her sixties', 'a tired courier'.",
    ),
    Guardrail(
        code="NO_PROTECTED_CHARACTERS",
        rule="No character that belongs to someone else.",
        meaning="Figures from films, games, comics or brands need their owner's permission; invent your own.",
    ),
    Guardrail(
        code="NO_PROTECTED_MUSIC",
        rule="No music that belongs to someone else.",
        meaning="Name a mood, tempo or instrument, not a song, a lyric or 'in the voice of' a performer.",
    ),
    Guardrail(
        code="NO_FACES_IN_IMAGES",
        rule="No human face in a reference image.",
        meaning="Servers reject such images. Crop the face out, or describe the person in the prompt.",
    ),
)
"""In display order."""

ATTESTATION = "I have read the guardrails, and what I ask for keeps to them."
"""The statement behind ``--attest``."""

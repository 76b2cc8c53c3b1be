"""The purposes of a render: a closed vocabulary that every policy covers."""

PURPOSES = ("draft", "concept", "iteration", "social", "review", "final", "marketing", "cinematic", "client")

FINAL_PURPOSES = ("final", "marketing", "cinematic", "client")
"""The purposes to which a draft is promoted."""

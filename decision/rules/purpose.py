"""What a render can be for: a closed vocabulary, which every policy covers."""

PURPOSES = ("draft", "concept", "iteration", "social", "review", "final", "marketing", "cinematic", "client")

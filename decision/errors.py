"""The errors of this package, drawn as a tree. A denial is none of them: it is an event.

ValueError
└── DecisionError
    ├── BadRequest    outside the vocabulary of the catalog, or no request at all: nothing is recorded
    └── BadDocument   a catalog or policy file that does not hold together
"""


class DecisionError(ValueError):
    """Whatever this package raises on purpose."""


class BadRequest(DecisionError):
    """A typing error: the message names the thing, what was expected, what came and the next step."""


class BadDocument(DecisionError):
    """A catalog or policy that cannot be used; the message names document, key and what was expected."""

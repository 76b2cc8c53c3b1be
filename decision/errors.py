"""The errors of this package, drawn as a tree. A denial is not an error: it is an event.

ValueError
└── DecisionError
    ├── BadRequest    outside the vocabulary of the catalog, or malformed: nothing is recorded
    └── BadDocument   an inconsistent catalog or policy file
"""

from ledger.errors import SoraLedgerError


class DecisionError(SoraLedgerError, ValueError):
    """Base class of the errors of this package."""


class BadRequest(DecisionError):
    """An invalid request; the message has the value, what was expected, what was found, and the next step."""


class BadDocument(DecisionError):
    """An unusable catalog or policy; the message names the document, the key and what was expected."""

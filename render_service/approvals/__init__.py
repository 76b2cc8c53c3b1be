"""Approvals by another person: identities, signatures, held renders, proposed changes, and reviews."""

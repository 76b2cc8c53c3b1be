"""The data that decisions follow: the catalogue of models and prices, the policy, approvals, purposes."""

"""Videos and characters that were made without this ledger, taken into its record."""

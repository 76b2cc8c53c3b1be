"""Create, check, back up, restore and copy a ledger, and erase private text."""

"""Stores of the record: one interface, one module per database."""

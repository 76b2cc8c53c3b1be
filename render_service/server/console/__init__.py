"""The console: pages for people without a terminal, rendered here and served under ``/console``."""

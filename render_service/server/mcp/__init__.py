"""The MCP server: tools for AI agents.

An agent decides, renders, waits and downloads by the same use cases as the command line. It cannot approve,
change the policy or budgets, erase, or make keys: there are no tools for that.
"""

"""Who may use the gateway: access keys, their grants, roles and limits."""

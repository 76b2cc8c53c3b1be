"""Write the addresses of the project into what is built, where the address is known.

GitHub Actions names the repository that it builds, and another builder can set SORA_LEDGER_REPOSITORY_URL. A
build without either has no addresses rather than wrong ones. A wheel that is built from an sdist has those of
the sdist.
"""

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Addresses(MetadataHookInterface):
    """The hook that `[tool.hatch.metadata.hooks.custom]` in pyproject.toml names."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `[project.urls]`."""
        server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
        found = os.environ.get("SORA_LEDGER_REPOSITORY_URL") or (
            f"{server}/{repository}" if server and repository else ""
        )
        if not found:
            metadata["urls"] = {}
            return
        if not found.startswith("https://"):
            raise ValueError(f"SORA_LEDGER_REPOSITORY_URL: expected https://…, found {found}")
        url = found.rstrip("/")
        metadata["urls"] = {
            "Source": url,
            "Documentation": f"{url}/tree/main/docs",
            "Changelog": f"{url}/blob/main/CHANGELOG.md",
            "Issues": f"{url}/issues",
            "Security": f"{url}/security/policy",
        }

"""Where media comes from: read C2PA manifests, sign copies, publish them, and follow a copy to its record."""

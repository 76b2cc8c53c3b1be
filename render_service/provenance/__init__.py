"""Origin of media: read C2PA manifests, sign copies, publish them, and trace a copy to its record."""

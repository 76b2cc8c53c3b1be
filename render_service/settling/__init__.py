"""From running to stored: look, download, check, close."""

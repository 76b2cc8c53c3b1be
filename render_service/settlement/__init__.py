"""Take an accepted job to its stored file: observe, download, settle, give up."""

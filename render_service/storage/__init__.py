"""Where stored files are kept: a folder, or a bucket. `render_service.assets` is what everybody else uses."""

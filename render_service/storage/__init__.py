"""Where stored files are kept: a folder, or a bucket. Everybody else uses `assets`, which reads both."""

"""What goes along with a request: images, videos, and the videos it starts from."""

"""From a recipe to files: scenes drawn in Pillow, encoded by PyAV; independent of HTTP and jobs."""

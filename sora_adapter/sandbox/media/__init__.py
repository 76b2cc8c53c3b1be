"""From a recipe to files: scenes drawn in Pillow, encoded by PyAV; knows nothing of HTTP or jobs."""

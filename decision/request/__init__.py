"""A render request as data: prompt, size, length, attached images, and the allowed values."""

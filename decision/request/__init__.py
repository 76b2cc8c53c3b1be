"""A render request as data: prompt, size, length, attached images, and what each may be."""

"""Locatability and scene elements of a dataset's images, asked of a vision model."""

"""Samples: how they are read, made and turned into training rows."""

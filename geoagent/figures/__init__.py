"""Figures: maps, and the style of all."""

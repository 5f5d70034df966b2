"""Schedules the points of a sweep: which run directory makes which stage, and what is missing."""

"""Sweeps: many points of the configuration from one YAML, and the table that comes out.

This package knows what the points mean and what came out of them; `jobs` schedules them.
"""

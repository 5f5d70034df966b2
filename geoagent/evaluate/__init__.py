"""Prediction, metrics and the table that compares the stages."""

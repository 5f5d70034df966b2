"""Runs stages on a scheduler or on this machine; knows nothing of geography."""

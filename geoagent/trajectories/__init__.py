"""Trajectories with tools, played by a vision model over a dataset's pictures."""

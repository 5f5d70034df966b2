"""Rewards: one file each, pure functions of a batch, under one name everywhere."""

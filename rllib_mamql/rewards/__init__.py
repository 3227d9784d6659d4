"""Rewards that explain policies: recovered, scored, read, and learned from anew."""

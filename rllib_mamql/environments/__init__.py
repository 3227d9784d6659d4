"""Environments by name, what their agents see and do, and RLlib's view of them."""

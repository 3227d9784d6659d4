"""Policies and rewards for use without Ray."""

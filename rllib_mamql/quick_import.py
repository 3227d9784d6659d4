"""Imports RLlib and Tune without garbage collection; a module that needs them imports this one before anything else."""

from __future__ import annotations

from rllib_mamql.collection import collection_paused

with collection_paused(freeze=True):
    import ray.rllib
    import ray.tune  # noqa: F401

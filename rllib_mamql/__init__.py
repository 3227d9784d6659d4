"""Multi-agent inverse reinforcement learning from demonstrations, as an RLlib algorithm."""

__version__ = "0.1.0"

"""MAMQL: Multi-Agent Marginal Q-Learning from Demonstrations (arXiv 2503.04679)."""

"""IQ-Learn for several agents: inverse soft Q-learning (arXiv 2106.12142) of each agent by itself."""

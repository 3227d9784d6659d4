"""MIFQ: inverse soft Q-learning of a team, whose values are mixed from those of its agents (arXiv 2310.06801)."""

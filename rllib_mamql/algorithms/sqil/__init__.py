"""SQIL: soft Q-learning that is paid 1 on demonstrations and 0 on its own play (arXiv 1905.11108)."""

"""Adversarial imitation: discriminators pay RLlib's PPO (MAGAIL, arXiv 1807.09936; MA-AIRL, arXiv 1907.13220)."""

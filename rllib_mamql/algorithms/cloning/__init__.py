"""Behaviour cloning: maximum likelihood of the demonstrated actions, the rival that everybody tries first."""

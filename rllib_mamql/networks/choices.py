"""Words that name networks of rewards in settings; here, since settings and the command line load no torch."""

from __future__ import annotations

REWARD_INPUTS = ("joint", "state_action", "state")
REWARD_NETWORKS = ("plain", "entity_additive")
NO_GAUGE = "none"
REWARD_GAUGES = (NO_GAUGE, "sparse", "rare", "state_only")
MEMORY = "for memory set history: k, which shows agents their last k observations and own actions (history_encoder)"
"""What to use in place of RLlib's recurrent networks."""

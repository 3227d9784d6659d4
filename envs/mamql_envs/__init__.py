"""PettingZoo environments and their scripted experts; imports neither ray nor rllib_mamql."""

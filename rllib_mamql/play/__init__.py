"""Playing environments: rollouts in columns, actors, returns."""

"""Networks that every algorithm may use: encoders, heads, rewards, and equal ones evaluated together."""

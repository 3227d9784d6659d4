"""Expert data: its schema, reading and writing, and RLlib's offline input."""

"""Playing and judging policies, recording demonstrations, filming."""

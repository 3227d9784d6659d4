"""The ``rllib`` command line."""

"""``python -m rllib_mamql`` is the ``rllib`` command."""

from rllib_mamql.cli.main import main

if __name__ == "__main__":
    main()

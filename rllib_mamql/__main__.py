"""``python -m rllib_mamql`` is the ``rllib`` command."""

import os
import sys
from pathlib import Path

# Python puts the current folder before all else: a file called click.py there would take the library's place. It stays
# where this package itself is found in it.
if sys.path[:1] in ([""], [os.getcwd()]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from rllib_mamql.cli.main import main

if __name__ == "__main__":
    main()

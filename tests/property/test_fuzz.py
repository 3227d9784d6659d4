"""Anything at all as input: nothing but the errors meant for users comes out, quickly.

``RLLIB_MAMQL_FUZZ_S`` is how long each of the kinds of input is tried, in seconds; three by default.
``python tests/benchmarks/fuzz.py`` tries the same inputs in processes that are watched: memory, what is executed and
what is left behind.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from rllib_mamql.errors import UserError
from tests.support.malformed_kinds import KINDS, in_silence

SECONDS = float(os.environ.get("RLLIB_MAMQL_FUZZ_S", "3"))
SLOWEST_S = 10.0
SEED = 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_malformed_inputs(kind: str, toy_dataset: Path, toy_checkpoint_folder: Path, tmp_path: Path) -> None:
    make = KINDS[kind](tmp_path, toy_dataset, toy_checkpoint_folder)
    tried, refused, until = 0, 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        again = f"python tests/benchmarks/fuzz.py --kind '{kind}' --only {tried} --seed {SEED}"
        call, begun = make(random.Random(f"{SEED} {kind} {tried}")), time.monotonic()
        try:
            with in_silence():
                call()
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).encode(), again
        except BaseException as error:
            # Inputs may hold characters that cannot be encoded, which a report sent by pytest-xdist does not survive.
            raise AssertionError(ascii(f"{type(error).__name__}: {error}: {again}")[:4000]) from None
        assert time.monotonic() - begun < SLOWEST_S, again
        tried += 1
    print(f"{kind}: {tried} tried, {refused} refused")
    assert refused  # how many is a matter of time

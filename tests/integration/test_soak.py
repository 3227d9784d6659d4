"""Five minutes of training whose runners are killed all the time, by the script that runs an hour of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import ROOT

WITHIN = 1.05
"""Growth of what lasts, from the second sixth of the time to the last."""
LASTING = "all that last but the log monitor"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_whose_runners_are_killed_all_the_time_loses_and_leaks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    words = ("--seconds", "300", "--kill-every", "20", "--episodes", "20", "--json", str(out))
    done = subprocess.run(
        [sys.executable, "tests/benchmarks/soak.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=840,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["status"] == "finished" and found["kills"] >= 4, found["kills"]
    assert found["updates"] * 4 == found["env_steps"] > 2000
    assert found["return_mean"] > 3.0, "random play returns 0.2, the expert 13"
    assert found["left behind"] == 0
    grown = found["growth"]
    for what in ("MB", "open files", "threads"):
        early, late, _ = grown[f"{LASTING}, {what}"]
        assert late <= WITHIN * early, (what, grown)
    assert grown["session folders"][2] == 1 and grown["processes"][2] <= grown["processes"][0] + 1, grown

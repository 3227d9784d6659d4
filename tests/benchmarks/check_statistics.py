"""The benchmark's statistics beside rliable's: ``python tests/benchmarks/check_statistics.py``.

rliable cannot be installed beside pandas 3, so that the script makes a venv of its own, in a folder that is thrown away
(``--venv DIR`` keeps it). Values must be equal; ends of bootstrap intervals, which are drawn, may differ a little.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rllib_mamql.evaluation.benchmark_statistics import aggregate, improvement, profile  # noqa: E402

RUNS, PROBLEMS, RESAMPLES = 8, 5, 5000
THRESHOLDS = [0.2, 0.5, 0.8, 1.0, 1.2]
WITHIN = 0.02
"""By how much the ends of intervals may differ: of two draws of 5,000 resamples."""
ONE_RUN = 1.0 / (RUNS * PROBLEMS) + 1e-9
"""Allowed difference of the bounds of a profile."""

THEIRS = """
import json, sys
import numpy as np
from rliable import library, metrics
asked = json.load(sys.stdin)
scores = {name: np.array(values) for name, values in asked["scores"].items()}
pairs = {"a,b": (scores["a"], scores["b"]), "b,c": (scores["b"], scores["c"])}
iqm = lambda x: np.array([metrics.aggregate_iqm(x)])
value, ends = library.get_interval_estimates(scores, iqm, reps=asked["reps"])
found = {f"interquartile mean of {k}": [value[k].item(), *np.ravel(ends[k]).tolist()] for k in scores}
value, ends = library.get_interval_estimates(pairs, metrics.probability_of_improvement, reps=asked["reps"])
found |= {f"improvement of {k}": [np.ravel(value[k])[0].item(), *np.ravel(ends[k]).tolist()] for k in pairs}
taus = np.array(asked["thresholds"])
value, ends = library.create_performance_profile(scores, taus, reps=asked["reps"])
for k in scores:
    for t, tau in enumerate(taus):
        found[f"profile of {k} at {tau}"] = [value[k][t].item(), *ends[k][:, t].tolist()]
print(json.dumps(found))
"""


def rliable(scores: dict[str, Any], folder: pathlib.Path) -> dict[str, list[float]]:
    """What rliable says, in a venv of its own."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "rliable==1.2.0", "pandas<3"], check=True)
    asked = {"scores": {k: v.tolist() for k, v in scores.items()}, "reps": RESAMPLES, "thresholds": THRESHOLDS}
    done = subprocess.run([python, "-c", THEIRS], input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ours(scores: dict[str, Any]) -> dict[str, list[float]]:
    """What the benchmark says of the same scores."""
    by_problem = {name: list(values.T) for name, values in scores.items()}
    found = {}
    for name, runs in by_problem.items():
        each = aggregate(runs, RESAMPLES)
        found[f"interquartile mean of {name}"] = [each.value, each.low, each.high]
    for pair in (("a", "b"), ("b", "c")):
        each = improvement(by_problem[pair[0]], by_problem[pair[1]], RESAMPLES)
        found[f"improvement of {','.join(pair)}"] = [each.value, each.low, each.high]
    for name, runs in by_problem.items():
        shares, low, high = profile(runs, np.array(THRESHOLDS), RESAMPLES)
        for place, threshold in enumerate(THRESHOLDS):
            found[f"profile of {name} at {threshold}"] = [shares[place], low[place], high[place]]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, help="a folder that is kept")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    # Runs of three methods on problems of different difficulty; the last has many equal scores.
    difficulty = rng.uniform(0.4, 1.0, PROBLEMS)
    scores = {name: difficulty + rng.normal(shift, 0.2, (RUNS, PROBLEMS)) for name, shift in (("a", 0.1), ("b", 0.0))}
    scores["c"] = np.round(difficulty + rng.normal(0, 0.2, (RUNS, PROBLEMS)), 1)
    with tempfile.TemporaryDirectory() as folder:
        theirs = rliable(scores, arguments.venv or pathlib.Path(folder))
    mine, wrong = ours(scores), 0
    for name, values in theirs.items():
        same = abs(values[0] - mine[name][0]) < 1e-9
        near = max(abs(a - b) for a, b in zip(values[1:], mine[name][1:], strict=True))
        # Bounds of a profile are shares of the runs: draws of their own may lead to the neighbouring one.
        agrees = same and near < (ONE_RUN if name.startswith("profile") else WITHIN)
        wrong += not agrees
        shown = [" ".join(f"{value:.4f}" for value in each) for each in (values, mine[name])]
        print(f"{name}: rliable {shown[0]}, here {shown[1]}{'' if agrees else '  DIFFERS'}")
    print("all equal" if not wrong else f"{wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What `rllib export` writes is used by a fresh process that has neither Ray nor any environment package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rllib_mamql.algorithms.mamql.others import joint_marginal
from rllib_mamql.algorithms.registry import read_checkpoint
from tests.support.command_line import Rllib

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "offline_data" / "gems" / "soft_expert"

# Everything that the package depends on but numpy, torch and what torch itself needs.
USER = """
import sys

class Absent:
    names = {"ray", "gymnasium", "pettingzoo", "highway_env", "overcooked_ai_py", "pyarrow", "yaml", "click", "rich",
             "pydantic", "rapidfuzz", "scipy", "matplotlib", "imageio", "pandas", "tree"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
for name in ("ray", "gymnasium", "pettingzoo"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"{name} was imported")

import numpy as np
from rllib_mamql.export.read import ExportError, load

folder, file, out = sys.argv[1:]
try:
    exported = load(folder)
except ExportError as error:
    sys.exit(str(error))
given, results = np.load(file), {}
for agent in exported.agents:
    for rows in (1, 7):
        seen = {other: given[f"obs.{other}"][:rows] for other in exported.agents}
        policy, reward = exported.policies[agent], exported.rewards[agent]
        results[f"policy.{agent}.{rows}"] = policy.probabilities(seen[agent])
        results[f"reward.{agent}.{rows}"] = reward(seen[agent], given[f"others.{agent}"][:rows])
        results[f"marginal.{agent}.{rows}"] = reward.marginal(seen)
        assert policy.act(seen[agent], np.random.default_rng(0)).shape == (rows,)
assert not {name.partition(".")[0] for name in sys.modules} & Absent.names
np.savez(out, **results)
"""


def use(folder: Path, given: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", USER, folder, given, out], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def rows_of_play(stored: Any) -> dict[str, np.ndarray]:
    """Observations and actions of the others, seven joint steps of random play."""
    rng = np.random.default_rng(0)
    from rllib_mamql.rewards.exploration import explore

    columns = explore(stored, steps=30, share=1.0, seed=0)
    rows = rng.permutation(30)[:7]
    given = {f"obs.{agent}": np.asarray(columns[f"obs.{agent}"])[rows] for agent in stored.module_of}
    return given | {
        f"others.{agent}": rng.integers(0, 5, size=(7, len(stored.module_of) - 1)) for agent in stored.module_of
    }


def expected(stored: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rationality = float(stored.settings["rationality"])
    results = {}
    for agent, module_id in stored.module_of.items():
        module = stored.modules[module_id]
        for rows in (1, 7):
            seen = {other: torch.from_numpy(given[f"obs.{other}"][:rows].copy()) for other in stored.module_of}
            logits = {other: stored.modules[m].average(seen[other]) for other, m in stored.module_of.items()}
            others = [torch.softmax(rationality * logits[o], -1) for o in stored.module_of if o != agent]
            policy = torch.softmax(module.evaluation_rationality * logits[agent], -1)
            reward = module.reward(seen[agent], torch.from_numpy(given[f"others.{agent}"][:rows]))
            results[f"policy.{agent}.{rows}"] = policy
            results[f"reward.{agent}.{rows}"] = reward
            results[f"marginal.{agent}.{rows}"] = joint_marginal(module.reward, seen[agent], others, samples=None)
    return {name: values.detach().numpy() for name, values in results.items()}


def test_a_shipped_checkpoint_without_ray(tmp_path: Path, rllib: Rllib) -> None:
    folder, given_file, out = tmp_path / "exported", tmp_path / "given.npz", tmp_path / "out.npz"
    done = rllib("export", CHECKPOINT, "--out", folder)
    assert done.status == 0 and "metadata.json" in done.out
    stored = read_checkpoint(CHECKPOINT)
    given = rows_of_play(stored)
    np.savez(given_file, **given)
    done = use(folder, given_file, out)
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        wanted = expected(stored, given)
        assert set(found.files) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5, err_msg=name)

    # The folder that is there is not written over, and what was damaged is not used.
    refused = rllib("export", CHECKPOINT, "--out", folder)
    assert refused.status == 2 and "exists and is not an empty folder" in refused.err
    metadata = json.loads((folder / "metadata.json").read_text())
    name = metadata["modules"]["shared"]["reward"]["program"]
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    done = use(folder, given_file, out)
    assert done.returncode == 1 and f"{name} is damaged: its SHA-256 is" in done.stderr

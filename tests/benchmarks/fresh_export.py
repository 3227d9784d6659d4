"""Exports in a fresh virtual environment without Ray: ``python tests/benchmarks/fresh_export.py CHECKPOINT``.

Exports the checkpoint, installs numpy, torch and this package alone (``pip install --no-deps``) into an empty virtual
environment, and compares what the loader computes there with what the checkpoint's own modules say here. Fails beyond
1e-5.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import venv

import numpy as np
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.rewards.store import read_with_rewards

ROOT = pathlib.Path(__file__).parents[2]
ROWS, TOLERANCE = 64, 1e-5

THERE = """
import importlib.util, sys
import numpy as np
from rllib_mamql.export.read import load
exported = load(sys.argv[1])
assert importlib.util.find_spec("ray") is None and importlib.util.find_spec("gymnasium") is None
probe = np.load(sys.argv[2])
for agent in exported.agents:
    policy = exported.policies[agent].probabilities(probe[f"obs/{agent}"])
    reward = exported.rewards[agent](probe[f"obs/{agent}"], probe[f"others/{agent}"])
    for name, found in (("policy", policy), ("reward", reward)):
        print(f"{agent} {name}: largest difference {np.abs(found - probe[f'{name}/{agent}']).max():.1e}")
        np.testing.assert_allclose(found, probe[f"{name}/{agent}"], rtol=0, atol=float(sys.argv[3]))
"""


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=pathlib.Path)
    arguments = parser.parse_args()
    stored, _ = read_with_rewards(arguments.checkpoint)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        export_checkpoint(arguments.checkpoint, folder / "export")
        probe = {}
        for agent, module_id in stored.module_of.items():
            module = stored.modules[module_id]
            obs = rng.random((ROWS, *module.observation_space.shape), dtype=np.float32)
            sizes = [int(stored.modules[m].action_space.n) for a, m in stored.module_of.items() if a != agent]
            others = np.stack([rng.integers(size, size=ROWS) for size in sizes], axis=-1)
            logits = objective.log_policy(module.average(torch.from_numpy(obs)), module.evaluation_rationality)
            reward = module.reward(torch.from_numpy(obs), torch.from_numpy(others))
            probe |= {f"obs/{agent}": obs, f"others/{agent}": others}
            probe |= {f"policy/{agent}": logits.exp().numpy(), f"reward/{agent}": reward.numpy()}
        np.savez(folder / "probe.npz", **probe)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", ROOT / "constraints.txt", "numpy", "torch"], check=True)
        subprocess.run([*pip, "--no-deps", ROOT], check=True)
        words = [python, "-I", "-c", THERE, folder / "export", folder / "probe.npz", str(TOLERANCE)]
        return subprocess.run(words, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())

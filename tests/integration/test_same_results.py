"""A change of the code's structure changes no result: weights after the first updates, and files written long ago."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.export.read import load
from rllib_mamql.rewards.store import read_with_rewards
from tests.support.first_updates import RECORDED, SETTINGS, first_updates, machine

BEFORE = pathlib.Path(__file__).parents[1] / "support" / "written_before"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_updates_give_the_recorded_weights(ray_session: None, name: str) -> None:
    """Bit for bit where the machine is the one that they were recorded on, elsewhere up to rounding."""
    recorded = json.loads(RECORDED.read_text())
    threads = torch.get_num_threads()
    try:
        found = first_updates(name)
    finally:
        torch.set_num_threads(threads)
    expected = recorded["weights"][name]
    assert found.keys() == expected.keys()
    for parameter, values in expected.items():
        if recorded["machine"] == machine():
            assert found[parameter]["sha256"] == values["sha256"], parameter
        # Twenty updates with Adam magnify rounding, which depends on the processor, by the learning rate at most.
        assert found[parameter]["sum"] == pytest.approx(values["sum"], abs=2e-3 * max(values["size"], 1.0)), parameter
        assert found[parameter]["size"] == pytest.approx(values["size"], rel=2e-3, abs=1e-6), parameter


def test_a_checkpoint_written_before_acts_and_pays_as_it_did() -> None:
    expected = np.load(BEFORE / "expected.npz")
    stored, how = read_with_rewards(BEFORE / "checkpoint")
    assert stored.algorithm == "MAMQL" and how is not None and how["settings"]["gauge"] == "sparse"
    seen, others = (torch.from_numpy(expected[name]) for name in ("obs", "others"))
    with torch.no_grad():
        for agent, module_id in stored.module_of.items():
            module = stored.modules[module_id]
            policy = objective.log_policy(module.average(seen), module.evaluation_rationality).exp()
            found = {
                "policy": policy,
                "reward": module.reward(seen, others),
                "potential": stored.potentials[module_id](seen),
            }
            for kind, values in found.items():
                np.testing.assert_allclose(values.numpy(), expected[f"{kind}.{agent}"], atol=1e-6)


def test_an_export_written_before_reads_as_it_did() -> None:
    expected = np.load(BEFORE / "expected.npz")
    exported = load(BEFORE / "export")
    for agent in exported.agents:
        policy = exported.policies[agent].probabilities(expected["obs"])
        reward = exported.rewards[agent](expected["obs"], expected["others"])
        np.testing.assert_allclose(policy, expected[f"export.policy.{agent}"], atol=1e-6)
        np.testing.assert_allclose(reward, expected[f"export.reward.{agent}"], atol=1e-6)

"""Play in batches that a reward source pays, for PPO."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core.columns import Columns

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import ACTIONS, ALIVE, NEXT_OBS, OBS, REWARDS, TERMINATEDS, JointColumns, column, num_rows
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import random_actor
from rllib_mamql.play.named import named_rollout
from rllib_mamql.rewards import relearn
from rllib_mamql.rewards.paid_play import PaidEnvRunner
from rllib_mamql.rewards.settings import RelearnSettings
from rllib_mamql.rewards.sources import JointStep, reward_source
from tests.support.toy_data import TOY


@pytest.fixture(scope="module")
def stored(toy_checkpoint_folder: Path) -> Checkpoint:
    read = read_checkpoint(toy_checkpoint_folder)
    return dataclasses.replace(read, potentials={"shared": lambda observations: observations @ torch.arange(8.0)})


@pytest.fixture(scope="module")
def columns() -> JointColumns:
    """Random play in which agents end one by one."""
    rollout = named_rollout(TOY, {"mixed_end": True, "steps": 9}, 4, seed=0)
    actor = random_actor({agent: 3 for agent in rollout.agents}, np.random.default_rng(0), rollout.observation_spaces)
    played, _ = rollout.run(actor, num_steps=160)
    assert any(played[column(TERMINATEDS, agent)].any() for agent in rollout.agents)
    return played


def unsure(agent: str, observations: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(observations[:, :3], -1)


@pytest.mark.parametrize(
    ("kind", "shaped"), [("recovered", False), ("recovered", True), ("implied", False), ("cloning", False)]
)
def test_columns_are_paid_what_their_steps_are_paid(
    stored: Checkpoint, columns: JointColumns, kind: str, shaped: bool
) -> None:
    source = reward_source(stored, kind, unsure, shaped)
    paid = source.paid(columns)
    for row in range(num_rows(columns)):
        alive = [agent for agent in stored.module_of if columns[column(ALIVE, agent)][row]]
        shown = [{a: columns[column(name, a)][row] for a in stored.module_of} for name in (OBS, NEXT_OBS)]
        step = JointStep(
            shown[0],
            {agent: int(columns[column(ACTIONS, agent)][row]) for agent in alive},
            shown[1],
            {agent: bool(columns[column(TERMINATEDS, agent)][row]) for agent in alive},
        )
        assert {agent: float(paid[agent][row]) for agent in alive} == pytest.approx(source.rewards(step), abs=1e-5)


def test_the_true_reward_is_the_environments(stored: Checkpoint, columns: JointColumns) -> None:
    paid = reward_source(stored, "true").paid(columns)
    assert all(np.array_equal(paid[agent], columns[column(REWARDS, agent)]) for agent in stored.module_of)


def test_ppo_gets_episodes_with_the_sources_rewards_and_its_own_policy(stored: Checkpoint) -> None:
    source = reward_source(stored, "recovered")
    settings = RelearnSettings(env_config={"steps": 6}, seed=3, algorithm={"num_envs_per_env_runner": 4})
    runner = PaidEnvRunner(config=relearn._config(stored, source, PPO, settings))
    try:
        first, second = (runner.sample(num_timesteps=40) for _ in range(2))
    finally:
        runner.stop()
    assert sum(len(episode) for episode in first) == sum(len(episode) for episode in second) == 2 * 40
    for episode in first:
        observations = torch.as_tensor(np.stack(episode.get_observations()))
        actions = torch.as_tensor(np.asarray(episode.get_actions())).long()
        logits = torch.as_tensor(np.stack(episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS)))
        played = runner.module[str(episode.module_id)].forward_exploration({Columns.OBS: observations[:-1]})
        expected = torch.log_softmax(played[Columns.ACTION_DIST_INPUTS].detach(), -1)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0.0)
        taken = torch.as_tensor(np.asarray(episode.get_extra_model_outputs(Columns.ACTION_LOGP)))
        torch.testing.assert_close(taken, expected.gather(1, actions[:, None])[:, 0], atol=1e-5, rtol=0.0)
    # Both see the same steps: each one's partner is the other episode of the same place.
    of = {agent: [e for e in first if e.agent_id == agent] for agent in stored.module_of}
    for own, other in zip(of["agent_0"], of["agent_1"], strict=True):
        with torch.no_grad():
            values = stored.modules["shared"].reward(
                torch.as_tensor(np.stack(own.get_observations())[:-1]),
                torch.as_tensor(np.asarray(other.get_actions())).long()[:, None],
            )
        chosen = torch.as_tensor(np.asarray(own.get_actions())).long()[:, None]
        np.testing.assert_allclose(own.get_rewards(), values.gather(1, chosen)[:, 0].numpy(), atol=1e-5)
    # Six steps end an episode, and what is under way goes on in the next sample.
    assert {len(episode) for episode in first} == {6, 4} and {len(episode) for episode in second} == {2, 6}


@pytest.mark.parametrize(
    ("changes", "batched"),
    [({}, True), ({"sticky_actions": 0.2}, False), ({"algorithm": {"batch_mode": "complete_episodes"}}, False)],
    ids=str,
)
def test_rllibs_own_runner_plays_where_something_is_wrapped_or_asked_for(
    stored: Checkpoint, changes: dict[str, object], batched: bool
) -> None:
    config = relearn._config(stored, reward_source(stored, "recovered"), PPO, RelearnSettings(**changes))  # type: ignore[arg-type]
    assert (config.env_runner_cls is PaidEnvRunner) is batched


def test_the_clone_pays_nothing_where_it_knows_nothing(stored: Checkpoint, columns: JointColumns) -> None:
    def uniform(agent: str, observations: torch.Tensor) -> torch.Tensor:
        return torch.full((len(observations), 3), -math.log(3.0))

    paid = reward_source(stored, "cloning", uniform).paid(columns)
    assert all(np.allclose(paid[agent], 0.0, atol=1e-6) for agent in stored.module_of)

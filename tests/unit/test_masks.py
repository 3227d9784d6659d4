"""Action masks: what is illegal is never taken, never counted, and changes nothing where everything is legal."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from rllib_mamql.algorithms.iq_learn.config import IQLearnMAConfig
from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.others import joint_marginal
from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.columns import ACTIONS, ALIVE, MASK, NEXT_MASK, NEXT_OBS, OBS, JointColumns, column
from rllib_mamql.data.masks import MaskedBox
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.schema import AgentSpaces
from rllib_mamql.environments.registry import make_env
from rllib_mamql.environments.spaces import check_dataset, environment_spaces
from rllib_mamql.errors import ConfigError, DatasetError, EnvironmentFault
from rllib_mamql.evaluation.record import record_dataset
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.metrics import explained
from rllib_mamql.networks.heads import JointHead, MarginalCritic
from rllib_mamql.networks.masks import ILLEGAL, WithoutMask, mean_over_legal
from rllib_mamql.play.actors import module_actor, random_actor
from rllib_mamql.play.rollout import ColumnarRollout
from rllib_mamql.rewards.exploration import exploring_actor
from rllib_mamql.rewards.scoring import over_legal
from rllib_mamql.solvable import all_rows, random_game
from rllib_mamql.solvable.equilibrium import backup, boltzmann
from rllib_mamql.solvable.fitting import CHI_SQUARE_SCALE, agent_rows, loss_of_tables, minimise
from tests.support.command_line import Rllib
from tests.support.random_checkpoint import MODULE_OF, SPACES, add_rewards, write_checkpoint
from tests.support.toy_data import TOY, parquet_file

MASKED = "pettingzoo:tests.support.masked_env"
AGENTS = ("agent_0", "agent_1")


# -- environments ------------------------------------------------------------------------------------------------


def play(form: str = "pettingzoo", seed: int = 0, steps: int = 80, **config: Any) -> JointColumns:
    rollout = ColumnarRollout(lambda: make_env(MASKED, {"form": form, **config}), 2, seed)
    actor = random_actor({agent: 3 for agent in AGENTS}, np.random.default_rng(seed), rollout.observation_spaces)
    return rollout.run(actor, num_steps=steps)[0]


@pytest.mark.parametrize("start", [0, 5])
def test_every_form_of_mask_is_read_alike(start: int) -> None:
    known = play()
    for form in ("rllib", "info"):
        found = play(form, start=start)
        assert known.keys() == found.keys()
        assert all(np.array_equal(values, found[name]) for name, values in known.items())
    space = environment_spaces(MASKED, {})["agent_0"][0]
    assert isinstance(space, MaskedBox)
    seen, legal = space.split(known["obs.agent_0"])
    assert seen.shape[1:] == (8,)
    assert np.array_equal(legal[:, 1], seen[:, 0] == 0), "nobody steps left from the first state"


def test_observations_keep_their_shape_and_number_format() -> None:
    space = MaskedBox(gym.spaces.Box(0, 255, (4, 3, 2), np.uint8), 5)
    rng = np.random.default_rng(0)
    pictures, legal = rng.integers(0, 256, (6, 4, 3, 2), dtype=np.uint8), rng.random((6, 5)) < 0.5
    joined = space.join(pictures, legal)
    assert joined.dtype == np.uint8 and joined.shape == (6, 29) and space.contains(joined[0])
    found = space.split(joined)
    assert np.array_equal(found[0], pictures) and np.array_equal(found[1], legal)
    assert space != gym.spaces.Box(space.low, space.high, dtype=np.uint8)


def test_infos_are_looked_at_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    env, looked = make_env(MASKED, {"form": "info"}), []
    look = env._infos
    monkeypatch.setattr(env, "_infos", lambda infos, agents: looked.append(agents) or look(infos, agents))
    env.reset(seed=0)
    env.step({agent: 0 for agent in AGENTS})
    assert looked == [list(AGENTS), list(AGENTS)]


def test_whoever_may_do_nothing_is_named() -> None:
    with pytest.raises(EnvironmentFault, match=r"step 2 .*'agent_0' comes with an action_mask that allows no action"):
        play(rule="none")


class WithSpaces:
    """An environment of which nothing but the spaces is looked at."""

    possible_agents = ("one",)
    metadata: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, actions: gym.Space[Any], size: int) -> None:
        mask = gym.spaces.Box(0, 1, (size,), np.int8)
        seen = gym.spaces.Dict({"observation": gym.spaces.Box(0, 1, (2,)), "action_mask": mask})
        self.observation_space, self.action_space = lambda agent: seen, lambda agent: actions
        self.step = None


@pytest.mark.parametrize(
    ("actions", "size", "expected"),
    [
        (gym.spaces.MultiDiscrete([2, 2]), 4, "masks are read of Discrete actions"),
        (gym.spaces.Discrete(4), 3, r"action_mask has shape \(3,\), but there are 4 actions"),
    ],
)
def test_masks_that_cannot_be_read_are_refused(actions: Any, size: int, expected: str) -> None:
    from rllib_mamql.environments.standard import StandardEnv

    with pytest.raises(ConfigError, match=expected):
        StandardEnv(WithSpaces(actions, size), "odd")  # type: ignore[arg-type]


# -- data --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("masks") / "data"
    record_dataset(MASKED, {"start": 2}, "random", 60, 0, out)
    return out


def rewrite(folder: Path, out: Path, change: Any) -> Path:
    """The dataset with its columns, as lists, changed."""
    table = pq.read_table(parquet_file(folder))
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    change(columns)
    out.mkdir()
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), out / "part.parquet")
    return out


def test_inspect_says_where_not_every_action_is_legal(dataset: Path, rllib: Rllib) -> None:
    assert rllib("inspect", dataset).out.count("3 masked actions") == len(AGENTS)


def test_masks_are_columns_of_files_and_a_part_of_observations_in_memory(dataset: Path, tmp_path: Path) -> None:
    names = pq.read_schema(parquet_file(dataset)).names
    assert {column(MASK, agent) for agent in AGENTS} | {column(NEXT_MASK, agent) for agent in AGENTS} <= set(names)
    found = read_dataset(str(dataset))
    space = found.metadata.spaces["agent_0"].observation
    assert isinstance(space, MaskedBox) and space.observation.shape == (8,)
    taken = found.columns["actions.agent_0"][:, None]
    assert np.take_along_axis(space.legal(found.columns["obs.agent_0"]), taken, 1).all()
    check_dataset(found.metadata, MASKED, {"start": 2})
    # Whoever writes files by hand need not announce masks in the metadata.
    plain = rewrite(dataset, tmp_path / "plain", lambda columns: None)
    again = read_dataset(str(plain)).columns
    assert all(np.array_equal(values, again[name]) for name, values in found.columns.items())


def forbid_what_was_done(columns: dict[str, Any]) -> None:
    columns["mask.agent_1"][7][columns["actions.agent_1"][7] - 2] = False
    columns["mask.agent_1"][7][columns["actions.agent_1"][7] - 3] = True


def forbid_everything(columns: dict[str, Any]) -> None:
    columns["mask.agent_0"][4] = [False] * 3


def forbid_what_follows(columns: dict[str, Any]) -> None:
    columns["next_mask.agent_0"][4] = [False] * 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (forbid_what_was_done, r"t=7: action of 'agent_1' is \d, which is illegal there \('mask.agent_1' allows \["),
        (forbid_everything, "t=4: 'agent_0' acts, but 'mask.agent_0' allows no action"),
        (forbid_what_follows, "t=4: 'agent_0' acts next, but 'next_mask.agent_0' allows no action"),
        (lambda columns: columns.pop("next_mask.agent_0"), r"columns \['next_mask.agent_0'\] are missing"),
        (lambda columns: columns["mask.agent_0"][3].pop(), "cells of different lengths"),
    ],
)
def test_demonstrations_of_illegal_actions_are_refused(
    dataset: Path, tmp_path: Path, change: Any, expected: str
) -> None:
    with pytest.raises(DatasetError, match=expected) as error:
        read_dataset(str(rewrite(dataset, tmp_path / "changed", change)))
    assert "\n" not in str(error.value)


def test_a_single_row_is_read(dataset: Path, tmp_path: Path) -> None:
    """What a column holds is what agents see; masks have columns of their own."""

    def keep_one(columns: dict[str, Any]) -> None:
        for name in columns:
            columns[name] = columns[name][:1]
            if name.startswith("truncateds."):
                columns[name] = [True]

    assert len(read_dataset(str(rewrite(dataset, tmp_path / "one", keep_one))).columns["t"]) == 1


def test_masks_of_data_and_environment_go_together(dataset: Path, toy_dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"says what 'agent_0' may do .an action mask., the dataset does not"):
        check_dataset(replace(read_dataset(str(toy_dataset)).metadata, env=None), MASKED, {})
    found = read_dataset(str(dataset)).metadata
    with pytest.raises(DatasetError, match="the dataset says what 'agent_0' may do"):
        check_dataset(replace(found, env=None), TOY, {})


# -- the mathematics ---------------------------------------------------------------------------------------------


class Identity(nn.Module):
    """An encoder that shows states as they are."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_features = features

    def forward(self, observations: Tensor) -> Tensor:
        return observations


def tabular_critic(legal: np.ndarray) -> tuple[MarginalCritic, Tensor]:
    """A critic that is a table, behind its masks; and the observation of every state."""
    states, actions = legal.shape
    space = MaskedBox(gym.spaces.Box(0.0, 1.0, (states,), np.float64), actions)
    critic = MarginalCritic(WithoutMask(Identity(states), space), states, actions).double()
    return critic, torch.from_numpy(space.join(np.eye(states), legal))


def masked_equilibrium(game: Any, legal: list[np.ndarray]) -> list[np.ndarray]:
    """Action values of the soft equilibrium among legal actions, by damped iteration."""
    q = [np.where(mask, 0.0, ILLEGAL) for mask in legal]
    for _ in range(600):
        after = backup(game, q)
        q = [np.where(mask, 0.5 * old + 0.5 * new, ILLEGAL) for mask, old, new in zip(legal, q, after, strict=True)]
    residual = max(
        np.abs(np.where(mask, new - old, 0.0)).max() for mask, old, new in zip(legal, q, backup(game, q), strict=True)
    )
    assert residual < 1e-9
    return q


@pytest.mark.parametrize("seed", [0, 1])
def test_mamql_finds_the_policies_of_a_game_in_which_some_actions_are_illegal(seed: int) -> None:
    game = random_game(seed, actions=(3, 4))
    rng = np.random.default_rng(seed)
    legal = [rng.random((game.states, count)) < 0.6 for count in game.actions]
    for mask in legal:
        mask[np.arange(game.states), rng.integers(mask.shape[1], size=game.states)] = True
    assert not all(mask.all() for mask in legal)
    policies = [boltzmann(q, game.rationality) for q in masked_equilibrium(game, legal)]
    steps = all_rows(game, policies)
    for agent, mask in enumerate(legal):
        critic, seen = tabular_critic(mask)
        rows = agent_rows(game, steps, agent)

        def loss(critic: Any = critic, seen: Tensor = seen, rows: Any = rows) -> Tensor:
            q = critic(seen)
            found: Tensor = loss_of_tables(q[rows.states], q[rows.next_states], rows, game, CHI_SQUARE_SCALE).total
            return found

        minimise(loss, list(critic.parameters()))
        q = critic(seen).detach()
        learned = objective.log_policy(q, game.rationality).exp().numpy()
        assert (learned[~mask] == 0.0).all()
        assert 0.5 * np.abs(learned - policies[agent]).sum(-1).max() < 0.01
        # Soft values are those of the legal actions: what the critic implies explains its policy, and nothing else.
        value = objective.soft_value(q, game.rationality).numpy()
        table = np.where(mask, q.numpy(), -np.inf)
        expected = np.log(np.exp(game.rationality * table).sum(-1)) / game.rationality
        np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("samples", [None, 40])
def test_others_are_marginalised_over_what_they_may_do(samples: int | None) -> None:
    torch.manual_seed(0)
    head = JointHead(Identity(4), 4, 3, (3,))
    seen = torch.randn(6, 4)
    q = torch.where(torch.rand(6, 3) < 0.5, torch.randn(6, 3), ILLEGAL)
    q[:, 0] = 0.3
    policy = objective.log_policy(q, 2.0).exp()
    values = head(seen, torch.arange(3).view(1, 3, 1).expand(6, -1, -1)).detach()
    # Values of illegal actions may be anything.
    poisoned = torch.where((q == ILLEGAL).unsqueeze(-1), 1e6, values)

    def network(observations: Tensor, others: Tensor) -> Tensor:
        return poisoned.gather(1, others.expand(6, -1, 1).expand(-1, -1, 3))

    found = joint_marginal(network, seen, [policy], samples=samples, generator=torch.Generator().manual_seed(0))
    assert found.abs().max() < 100
    if samples is None:
        torch.testing.assert_close(found, (policy.unsqueeze(-1) * values).sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_scores_of_illegal_actions_are_finite_and_count_for_nothing(dtype: torch.dtype) -> None:
    space = MaskedBox(gym.spaces.Box(-1.0, 1.0, (2,), np.float16), 4)
    critic = MarginalCritic(WithoutMask(Identity(2), space), 2, 4).to(dtype)
    legal = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    seen = torch.from_numpy(space.join(np.full((3, 2), 0.5, np.float16), legal)).to(dtype)
    q = critic(seen).float()
    assert torch.isfinite(q).all()
    policy = objective.log_policy(50.0 * q, 20.0).exp()
    assert (policy[:2] > 0).int().tolist() == legal[:2].tolist()
    assert (policy[2] > 0).all(), "nobody acts where nothing is legal: all values are kept"
    terms = explained(objective.log_policy(q, 3.0), torch.tensor([0, 3, 1]), torch.tensor([1.0, 1.0, 0.0]))
    assert all(torch.isfinite(term) for term in terms.values())
    torch.testing.assert_close(mean_over_legal(q[None, :1]), (q[:1, 0] + q[:1, 2]) / 2)
    (gradient,) = torch.autograd.grad(objective.soft_value(critic(seen[:2]).float(), 1.0).sum(), critic.head.bias)
    torch.testing.assert_close(gradient.float().sum(), torch.tensor(2.0), atol=0.02, rtol=0.0)
    assert gradient[1] == 0.0


def test_means_over_actions_are_over_legal_ones() -> None:
    values, legal = np.array([[1.0, 2.0, ILLEGAL]]), np.array([[True, True, False]])
    assert over_legal(values, legal).tolist() == [[1.0, 2.0, 1.5]]


# -- learning ----------------------------------------------------------------------------------------------------


def learner(algorithm: str, env: str, columns: JointColumns, **settings: Any) -> Any:
    from rllib_mamql.algorithms.registry import algorithm_class

    config = algorithm_class(algorithm).get_default_config()
    config.environment(env, env_config={"rule": "all"} if env == MASKED else {}).offline_data(input_="unused")
    rows = {"expert_batch_size": 16, "rollout_batch_size": 8}
    config.training(**rows, **settings).debugging(seed=3)
    config.rl_module(model_config={"fcnet_hiddens": [8]})
    config.validate()
    of = config.module_of
    spaces = {of[agent]: pair for agent, pair in environment_spaces(env, dict(config.env_config)).items()}
    torch.manual_seed(0)
    made = config.learner_class(config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces))
    made.build()
    made.set_expert(of, columns)
    return made


LEARNERS = [
    ("MAMQL", {"reward_interval": 1, "learn_reward": True}),
    ("MAMQL", {"critic": "joint", "reward_interval": 1}),
    ("MAMQL", {"critic": "joint", "marginal_samples": 4, "parameter_sharing": "all"}),
    ("MAMQL", {"critic": "mean_field", "reward_interval": 1}),
    ("IQLearnMA", {}),
    ("SQIL", {}),
    ("MABC", {}),
    ("MIFQ", {}),
]


@pytest.mark.parametrize(("algorithm", "settings"), LEARNERS, ids=str)
def test_masks_that_allow_everything_change_no_bit(algorithm: str, settings: dict[str, Any]) -> None:
    masked = play(rule="all", steps=60)
    space = environment_spaces(MASKED, {})["agent_0"][0]
    assert isinstance(space, MaskedBox)
    plain = {
        name: space.split(values)[0].copy() if name.startswith((OBS, NEXT_OBS)) else values
        for name, values in masked.items()
    }
    found = []
    for env, columns in ((MASKED, masked), (TOY, plain)):
        made = learner(algorithm, env, columns, **settings)
        made.replay.add(columns)
        losses = []
        for _ in range(3):
            losses.append([loss.item() for loss in made._update(made._minibatch())[1].values()])
        found.append((losses, [p.detach().clone() for p in made._params.values()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[0][1], found[1][1], strict=True))


@pytest.mark.parametrize(("algorithm", "settings"), [LEARNERS[1], LEARNERS[6]], ids=str)
def test_learners_stay_finite_and_legal(algorithm: str, settings: dict[str, Any]) -> None:
    columns = play(steps=60)
    made = learner(algorithm, MASKED, columns, **settings)
    made.replay.add(columns)
    for step in range(3):
        made._report = step == 2
        losses = made._update(made._minibatch())[1]
        assert all(abs(loss.item()) < 100 for loss in losses.values())
    assert all(abs(value) < 100 for values in made.losses.metrics().values() for value in values.values())
    modules = {module: made.network(module) for module in made.agents_of}
    actor = module_actor(modules, made._module_of, torch.Generator().manual_seed(0))
    rollout = ColumnarRollout(lambda: make_env(MASKED), 2, 0)
    exploring = exploring_actor(actor, {agent: 3 for agent in AGENTS}, 0.5, 0, rollout.observation_spaces)
    rollout.run(exploring, num_steps=60)  # The environment fails where an action is illegal.


def test_a_critic_of_joint_actions_is_refused() -> None:
    config = IQLearnMAConfig().environment(MASKED).offline_data(input_="unused").training(critic="joint")
    with pytest.raises(ConfigError, match=r"does not see what others may do .*use 'independent'"):
        config.validate()


def indifferent() -> Any:
    """A checkpoint whose policies play all legal actions alike."""
    config = MAMQLConfig().environment(MASKED).offline_data(input_="unused")
    config.rl_module(model_config={"fcnet_hiddens": [8]}).validate()
    of = config.module_of
    spaces = {of[agent]: pair for agent, pair in environment_spaces(MASKED, {}).items()}
    modules = {
        name: spec.build() for name, spec in config.get_multi_rl_module_spec(spaces=spaces).rl_module_specs.items()
    }
    for module in modules.values():
        nn.init.zeros_(module.average.head.weight)
    settings = {"rationality": 3.0, "gamma": 0.9, "chi_square_scale": 1.0}
    return type("Stored", (), {"modules": modules, "module_of": of, "settings": settings})()


def test_values_of_illegal_actions_are_no_part_of_the_examination() -> None:
    from rllib_mamql.columns import Q_SHARE
    from rllib_mamql.evaluation.health import _shares

    shares = _shares(indifferent(), "agent_0", play(steps=60))
    assert shares is not None and shares[Q_SHARE] < 1.0


def test_random_play_that_likelihoods_are_compared_with_is_legal_too() -> None:
    from rllib_mamql.evaluation.likelihood import likelihood_of

    found = likelihood_of(indifferent(), play(steps=60))
    assert found.mean == pytest.approx(found.uniform, abs=1e-6)


def test_the_zero_reward_explains_uniform_play_among_legal_actions() -> None:
    from rllib_mamql.rewards.explanation import Explanation
    from rllib_mamql.rewards.settings import RecoverySettings
    from rllib_mamql.rewards.transitions import transitions_of

    stored, columns = indifferent(), play(steps=60)
    modules, of = stored.modules, stored.module_of
    rows = transitions_of(stored, columns, seed=0)[of["agent_0"]]
    explanation = Explanation(modules[of["agent_0"]], rows.other_actions, 0.9, RecoverySettings())
    nn.init.zeros_(explanation.critic.head.weight)
    nn.init.zeros_(explanation.critic.head.bias)
    with torch.no_grad():
        found = explanation(rows, torch.arange(len(rows.now)))
    for values in (found.reward, found.value, found.error, found.kept):
        assert float(values.abs().max()) == pytest.approx(0.0, abs=1e-5)


# -- export ------------------------------------------------------------------------------------------------------


@functools.cache
def masked_spaces() -> dict[str, AgentSpaces]:
    return {agent: spaces.with_masks() for agent, spaces in SPACES.items()}


def test_exported_policies_ask_for_masks_and_follow_them(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "checkpoint", MODULE_OF, masked_spaces())
    stored = read_checkpoint(path)
    add_rewards(path, stored)
    exported = load(export_checkpoint(path, tmp_path / "out"))
    policy, rng = exported.policies["one"], np.random.default_rng(0)
    seen, legal = rng.random((50, 4, 5), np.float32), rng.random((50, 3)) < 0.5
    legal[:, 1] = True
    module = stored.modules["walkers"]
    with torch.no_grad():
        expected = module.average(torch.from_numpy(module.observation_space.join(seen, legal)))
    np.testing.assert_allclose(policy.q(seen, legal), expected, rtol=1e-5)
    for greedy in (False, True):
        chosen = policy.act(seen, rng, greedy=greedy, action_mask=legal)
        assert legal[np.arange(50), chosen].all()
    with pytest.raises(ValueError, match="asks for what is legal: give action_mask"):
        policy.act(seen, rng)
    with pytest.raises(ValueError, match=r"action_mask of 'one' has shape \(50, 2\), expected \(50, 3\)"):
        policy.act(seen, rng, action_mask=legal[:, :2])
    reward = exported.rewards["one"]
    others = np.zeros((50, 2), np.int64)
    assert reward(seen, others).shape == (50, 3)
    masks = {"two": legal, "it/self": np.tile([True, False], (50, 1))}
    marginal = reward.marginal({"one": seen, "two": seen}, action_masks=masks)
    assert np.isfinite(marginal).all() and np.abs(marginal).max() < 100


def test_dead_agents_cells_mean_nothing() -> None:
    columns = play(steps=40)
    columns[column(ALIVE, "agent_0")] = np.zeros(40, np.bool_)
    columns[column(OBS, "agent_0")] = np.zeros_like(columns[column(OBS, "agent_0")])
    columns[column(ACTIONS, "agent_0")] = np.zeros(40, np.int64)
    made = learner("MAMQL", MASKED, columns)
    losses = made._update(made._minibatch())[1]
    assert all(abs(loss.item()) < 100 for loss in losses.values())

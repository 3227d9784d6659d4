"""An RLlib env runner that steps PettingZoo parallel environments in a batch and returns columns."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)
from ray.rllib.utils.typing import ResultDict, StateDict

from rllib_mamql.columns import ALIVE, JointColumns, column, num_rows
from rllib_mamql.environments.patience import PATIENCE
from rllib_mamql.environments.registry import opposed_teams
from rllib_mamql.learning.metrics import RETURN_MEAN
from rllib_mamql.play.actors import module_actor, random_actor
from rllib_mamql.play.named import named_rollout
from rllib_mamql.play.returns import episode_return, return_aggregation
from rllib_mamql.play.rollout import Actor, ColumnarRollout, Episode

EPISODE_EVENTS_MEAN = "episode_events_mean"
"""Metric: reward events an episode, by kind."""


class JointRollout:
    """Joint steps as RLlib hands them around: a leaf object around columns.

    A plain dict would be taken apart on the way (RLlib flattens what it gets from object references).
    """

    def __init__(self, columns: JointColumns, agents: list[str]) -> None:
        self.columns = columns
        self._agents = agents

    def __len__(self) -> int:
        return num_rows(self.columns)

    def share(self, rank: int, shares: int) -> JointRollout:
        """Every ``shares``-th joint step from ``rank`` on: rows are self-contained, so any rows will do."""
        if shares == 1:
            return self
        return JointRollout({name: values[rank::shares] for name, values in self.columns.items()}, self._agents)

    def env_steps(self) -> int:
        """Number of joint steps."""
        return len(self)

    def agent_steps(self) -> int:
        """Number of steps of single agents that were alive."""
        return int(sum(self.columns[column(ALIVE, agent)].sum() for agent in self._agents))


class ColumnarEnvRunner(EnvRunner, Checkpointable):
    """Samples joint steps from a batch of parallel environments.

    One forward pass per module serves all its agents and environments; transitions stay in columns. Acts with the
    Boltzmann policy: at the training rationality when exploring, else at the evaluation rationality.
    """

    def __init__(self, config: AlgorithmConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.spaces: dict[str, Any] = kwargs.get("spaces") or {}
        self._callbacks = [cls() for cls in _as_list(self.config.callbacks_class)]
        self._device = get_device(self.config, 0 if not self.worker_index else self.config.num_gpus_per_env_runner)
        if self.worker_index and self._device.type == "cpu":
            # Several runners share the machine: one intra-op thread each is what Ray reserved for them.
            torch.set_num_threads(1)
        self.module: Any = None
        self.env: ColumnarRollout | None = None
        self.num_envs = 0
        self._module_of: dict[str, str] = {}
        self._actors: dict[bool, tuple[list[Any], Actor]] = {}
        self._finished: list[Episode] = []
        self._weights_seq_no = 0
        PATIENCE.limit_s = float(self.config.env_step_timeout_s)
        PATIENCE.expendable = bool(self.worker_index)
        seed = self._seed if self._seed is not None else int.from_bytes(os.urandom(4), "little") >> 1
        self._generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._env_seed = environment_seed(seed)
        self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """(Re)creates the batch of environments and resets at the next sample; does nothing without an environment."""
        if self.env is not None:
            self.env.close()
        if not self.config.env:
            self._module_of = self.config.module_of
            return
        context = EnvContext(
            self.config.env_config, worker_index=self.worker_index or 0, num_workers=self.num_workers or 0
        )
        self.env = named_rollout(
            str(self.config.env),
            dict(context),
            self.config.num_envs_per_env_runner,
            self._env_seed,
            history=self.config.history,
            # Ids must differ between workers: streams from all of them meet in one buffer.
            name=f"w{self.worker_index or 0}",
            on_reset=self._on_episode_start if self._listens("on_episode_start") else None,
        )
        self.num_envs = self.env.num_envs
        self._aggregation = return_aggregation(self.env.envs[0])
        self._opposed = bool(opposed_teams(str(self.config.env), self.env.agents))
        self._module_of = {agent: self.config.policy_mapping_fn(agent, None) for agent in self.env.agents}
        self._call("on_environment_created", env=self.env, env_context=context)

    def replace_env(self) -> None:
        """Builds the environments anew and leaves the old ones to themselves, since one of them hangs."""
        self.env = None
        self.make_env()

    def make_module(self) -> None:
        """Builds the inference-only modules."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        # It only acts: in evaluation mode for good, between which and training mode RLlib else switches at every step.
        self.module.foreach_module(lambda _, module: module.to(self._device).eval())
        self._actors.clear()

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of the environment and of each module, as RLlib wants them."""
        if self.env is None:
            spaces = self.config.agent_spaces()
        else:
            spaces = {a: (self.env.observation_spaces[a], self.env.action_spaces[a]) for a in self.env.agents}
        observations = gym.spaces.Dict({agent: seen for agent, (seen, _) in spaces.items()})
        actions = gym.spaces.Dict({agent: chosen for agent, (_, chosen) in spaces.items()})
        by_module = {self._module_of[agent]: pair for agent, pair in spaces.items()}
        return {
            INPUT_ENV_SPACES: (observations, actions),
            INPUT_ENV_SINGLE_SPACES: (observations, actions),
            **by_module,
        }

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[JointRollout]:
        """Samples ``num_timesteps`` joint steps (rounded up to whole batches) or ``num_episodes`` episodes.

        Args:
            num_timesteps: Joint steps over all environments of this runner.
            num_episodes: Episodes over all environments; all start anew.
            explore: True: training rationality; False: evaluation rationality; None: as configured.
            random_actions: Plays uniformly at random.
            force_reset: Starts new episodes first.
            **kwargs: Ignored.

        Returns:
            A list of one rollout.
        """
        assert self.env is not None
        if explore is None:
            explore = bool(self.config.explore)
        if num_timesteps is None and num_episodes is None:
            num_timesteps = self.config.get_rollout_fragment_length(self.worker_index or 0) * self.num_envs
        if force_reset:
            self.env.reset()
        if random_actions:
            sizes = {agent: int(space.n) for agent, space in self.env.action_spaces.items()}
            actor = random_actor(sizes, self._rng, self.env.observation_spaces)
        else:
            actor = self._actor(explore)
        columns, episodes = self._run(actor, num_timesteps, num_episodes)
        rollout = JointRollout(columns, self.env.agents)
        self._finished.extend(episodes)
        self._count(rollout, episodes)
        for episode in episodes:
            self._call(
                "on_episode_end",
                episode=episode,
                prev_episode_chunks=[],
                env=self.env,
                env_index=0,
                rl_module=self.module,
            )
        self._call("on_sample_end", samples=[rollout])
        return [rollout]

    def _actor(self, explore: bool) -> Actor:
        """The modules' actor, kept between samples: building one takes as long as several steps."""
        modules = [self.module[name] for name in dict.fromkeys(self._module_of.values())]
        kept = self._actors.get(explore)
        if kept is None or any(now is not then for now, then in zip(modules, kept[0], strict=True)):
            actor = module_actor(self.module, self._module_of, self._generator, explore=explore, device=self._device)
            kept = self._actors[explore] = (modules, actor)
        return kept[1]

    def _run(self, actor: Actor, steps: int | None, episodes: int | None) -> tuple[JointColumns, list[Episode]]:
        assert self.env is not None
        try:
            return self.env.run(actor, num_steps=steps, num_episodes=episodes)
        except Exception:
            if not self.config.restart_failed_sub_environments:
                raise
            # The failed batch is lost as a whole: half an episode must not be mistaken for one.
            self.make_env()
            return self.env.run(actor, num_steps=steps, num_episodes=episodes)

    def _count(self, rollout: JointRollout, episodes: list[Episode]) -> None:
        assert self.env is not None
        steps = len(rollout)
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        self.metrics.log_value(NUM_EPISODES, len(episodes), reduce="sum")
        self.metrics.log_value(NUM_EPISODES_LIFETIME, len(episodes), reduce="lifetime_sum")
        for agent, module in self._module_of.items():
            alive = int(rollout.columns[column(ALIVE, agent)].sum())
            self.metrics.log_value((NUM_AGENT_STEPS_SAMPLED, agent), alive, reduce="sum")
            self.metrics.log_value((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), alive, reduce="lifetime_sum")
            self.metrics.log_value((NUM_MODULE_STEPS_SAMPLED, module), alive, reduce="sum")
            self.metrics.log_value((NUM_MODULE_STEPS_SAMPLED_LIFETIME, module), alive, reduce="lifetime_sum")
        self.num_env_steps_sampled_lifetime += steps

    def get_metrics(self) -> ResultDict:
        """Reduced metrics, with the episodes that ended since the last call."""
        window = max(1, math.ceil(self.config.metrics_num_episodes_for_smoothing / (self.config.num_env_runners or 1)))
        for episode in self._finished:
            modules: dict[str, float] = {}
            for agent, value in episode.returns.items():
                module = self._module_of[agent]
                modules[module] = modules.get(module, 0.0) + value
            total, length = episode.get_return(), float(episode.length)
            # Value by value: log_dict walks through its argument several times, which is felt where episodes are short.
            for key, value in (
                (EPISODE_LEN_MEAN, length),
                (EPISODE_RETURN_MEAN, total),
                # A mean over opponents says nothing: there is none to be shown, or to compare trials by.
                *([] if self._opposed else [(RETURN_MEAN, episode_return(episode.returns, self._aggregation))]),
                *(((EPISODE_AGENT_RETURN_MEAN, agent), value) for agent, value in episode.returns.items()),
                *(((EPISODE_MODULE_RETURN_MEAN, module), value) for module, value in modules.items()),
                *(((EPISODE_EVENTS_MEAN, kind), float(count)) for kind, count in episode.events.items()),
            ):
                self.metrics.log_value(key, value, window=window)
            for key, value, reduce in (
                (EPISODE_LEN_MIN, length, "min"),
                (EPISODE_RETURN_MIN, total, "min"),
                (EPISODE_LEN_MAX, length, "max"),
                (EPISODE_RETURN_MAX, total, "max"),
            ):
                self.metrics.log_value(key, value, reduce=reduce, window=window)
        self._finished.clear()
        return self.metrics.reduce()

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> StateDict:
        """Counters and (unless excluded) module weights: what RLlib sends from one runner to all others."""
        state: StateDict = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime,
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: StateDict) -> None:
        """Restores :meth:`get_state`, also to weights that are older, as those of a checkpoint may be."""
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            # A new actor reads the weights anew, however they were written.
            self._actors.clear()
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0) or self._weights_seq_no
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        # So it stood in checkpoints before runners told where they are; RLlib sends this state to all of them.
        if "env" in state and state.get("worker_index") == (self.worker_index or 0):
            self.go_on_from({self.worker_index or 0: state})

    def whereabouts(self) -> tuple[int, dict[str, Any]]:
        """This runner's number, and where its environments and random numbers are; plain values."""
        if self.env is None:
            return self.worker_index or 0, {}
        generator = self._generator.get_state().numpy()
        random_play = self._rng.bit_generator.state
        return self.worker_index or 0, {"env": self.env.get_state(), "generator": generator, "random_play": random_play}

    def go_on_from(self, runners: Mapping[int, Mapping[str, Any]]) -> None:
        """Goes on from where the runner of the same number was, if there was one.

        Args:
            runners: By number, as :meth:`whereabouts` gives them.
        """
        state = runners.get(self.worker_index or 0)
        if self.env is None or not state:
            return
        self.env.set_state(state["env"])
        self._generator.set_state(torch.as_tensor(np.asarray(state["generator"])))
        if "random_play" in state:
            self._rng.bit_generator.state = state["random_play"]

    def act_at(self, rationality: Mapping[str, float]) -> None:
        """Lets policies act as decidedly, where they do not explore, as was chosen for each module."""
        for module_id, value in rationality.items():
            self.module[module_id].evaluation_rationality = value
        self._actors.clear()

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Constructor arguments, for RLlib's checkpoints."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """Fails unless environments, if there are any, and modules are there."""
        assert (self.env is not None or not self.config.env) and self.module is not None

    def stop(self) -> None:
        """Closes the environments."""
        if self.env is not None:
            self.env.close()

    def _on_episode_start(self, index: int, env: ParallelEnv, seed: int) -> None:
        self._call("on_episode_start", episode=None, env=env, env_index=index, rl_module=self.module)

    def _listens(self, which: str) -> bool:
        """Whether a callback of this name does anything: episodes may start thousands of times a second."""
        nothing = getattr(RLlibCallback, which)
        own = any(getattr(type(callbacks), which) is not nothing for callbacks in self._callbacks)
        return own or bool(getattr(self.config, f"callbacks_{which}", None))

    def _call(self, which: str, **kwargs: Any) -> None:
        make_callback(
            which,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{which}", None),
            kwargs={"env_runner": self, "metrics_logger": self.metrics, **kwargs},
        )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def environment_seed(seed: int) -> int:
    """Seed of a runner's environments.

    Another one than the runner's own, from which a recording at that seed drew the starts of its episodes: training on
    starts that were demonstrated is not what a user's other seeds do.
    """
    return int(np.random.SeedSequence((seed, 1)).generate_state(1)[0])

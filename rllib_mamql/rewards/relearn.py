"""Trains new agents from scratch on recovered rewards, by RLlib's own algorithms; the true return scores them."""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pettingzoo import ParallelEnv

from rllib_mamql.columns import JointColumns
from rllib_mamql.data.schema import DatasetMetadata, ReturnSummary
from rllib_mamql.environments.registry import make_env, opposed_teams, resolve_env_config
from rllib_mamql.environments.wrappers import StickyActionsEnv
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.named import named_rollout
from rllib_mamql.play.returns import TeamReturn, normalised_score, return_aggregation, summarise_returns, team_returns
from rllib_mamql.play.rollout import Actor, ColumnarRollout, Episode
from rllib_mamql.rewards.environment import RecoveredRewardEnv
from rllib_mamql.rewards.refits import Refits
from rllib_mamql.rewards.settings import RelearnSettings
from rllib_mamql.rewards.sources import RewardSource

ENV = "recovered-reward"
LINE_EVERY_S = 5.0
"""Time between two lines on how far it is, beside those on the true return."""
PLAYED_TOGETHER = 50
"""Environments in which a learner plays for a recovery."""
RUNNER_SETTINGS = {"batch_mode", "env_runner_cls", "env_to_module_connector", "module_to_env_connector"}
"""Settings that speak of RLlib's own env runner: with one of them it is what plays."""
LOOKS = 10
"""How often the true return is looked at while training."""

PPO_SETTINGS: dict[str, Any] = {
    "num_env_runners": 0,
    "num_envs_per_env_runner": 16,
    "train_batch_size_per_learner": 4000,
    "minibatch_size": 500,
    "shuffle_batch_per_epoch": True,
    "num_epochs": 4,
    "lr": 1e-3,
    "lambda_": 0.95,
    "use_kl_loss": False,
    "vf_clip_param": float("inf"),
    "grad_clip": 0.5,
    "entropy_coeff": 0.01,
}
"""Where relearning departs from the defaults of RLlib's PPO."""


@dataclass(frozen=True)
class Relearned:
    """What came of it.

    Attributes:
        returns: True returns of the new policies.
        normalised_score: Of it, against the expert and random play of the reference; None where unknown, or where
            the environment is not that of the reference.
        curve: True mean return while training, ``[{"env_steps", "train_time_s", "return_mean"}]``; where agents have
            opponents, ``return_mean_<team>`` of each side.
        env_steps: Joint steps of training.
        train_time_s: Wall seconds of training.
        checkpoint: RLlib's checkpoint.
        teams: Where agents have opponents, how each side did; the mean of ``returns`` then says nothing.
    """

    returns: ReturnSummary
    normalised_score: float | None
    curve: list[dict[str, float]]
    env_steps: int
    train_time_s: float
    checkpoint: pathlib.Path
    teams: dict[str, TeamReturn] = field(default_factory=dict)


def env_configs(stored: Checkpoint, settings: RelearnSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of the environment to learn in, and of the one in which the true return is measured."""
    inside = {**stored.env_config, **settings.env_config}
    return inside, {**inside, **settings.judged_in}


def check_environments(stored: Checkpoint, settings: RelearnSettings, algorithm: type[Any] | None = None) -> None:
    """Builds both environments once.

    Args:
        stored: The checkpoint.
        settings: What they are made by.
        algorithm: RLlib's, which is to learn there; None is not looked at.

    Raises:
        ConfigError: If one refuses its keywords, or the algorithm cannot keep the checkpoint's history.
    """
    if stored.history and algorithm is not None:
        from ray.rllib.algorithms.ppo import PPO

        if not issubclass(algorithm, PPO):
            raise ConfigError(
                f"{stored.path} learned with a history of {stored.history}, which checkpoints of "
                f"{algorithm.__name__} do not keep: use PPO"
            )
    if stored.history and settings.sticky_actions:
        raise ConfigError(
            f"sticky_actions is {settings.sticky_actions}, but {stored.path} learned with a history of "
            f"{stored.history}, which holds the actions that agents chose: leave sticky_actions out"
        )
    for config in env_configs(stored, settings):
        build_env(stored.env, config, settings.sticky_actions, None, stored.history).close()


def build_env(
    env: str, env_config: Mapping[str, Any], sticky_actions: float, source: RewardSource | None, history: int = 0
) -> ParallelEnv[str, Any, Any]:
    """The environment to learn in: changed dynamics inside, replaced rewards outside, agents that see so far back."""
    built = make_env(env, env_config, history=history)
    if sticky_actions:
        built = StickyActionsEnv(built, sticky_actions)
    return built if source is None else RecoveredRewardEnv(built, source)


def relearn(
    stored: Checkpoint,
    source: RewardSource,
    algorithm: type[Any],
    settings: RelearnSettings,
    out: pathlib.Path,
    report: Callable[[str], None] = print,
    reference: DatasetMetadata | None = None,
    refits: Refits | None = None,
) -> Relearned:
    """Trains from scratch on a source's rewards.

    Args:
        stored: Says the environment and which agents share a policy.
        source: The rewards.
        algorithm: RLlib's Algorithm class, such as PPO.
        settings: How.
        out: Folder for the checkpoint.
        report: Takes a line of progress.
        reference: Whose expert and random play the score is normalised by; None: the checkpoint's demonstrations.
        refits: Fits the source's rewards anew between rounds; where there are several, it is needed.

    Raises:
        ConfigError: If it is not there.
    """
    if settings.rounds > 1 and refits is None:
        raise ConfigError(f"rounds is {settings.rounds}, but nothing fits rewards anew: give refits")
    _, judged = env_configs(stored, settings)
    outside = functools.partial(build_env, stored.env, judged, settings.sticky_actions, history=stored.history)
    learner, checkpoint = _Learner(stored, source, algorithm, settings, outside, report), out / "checkpoint"
    try:
        for one in range(1, settings.rounds + 1):
            learner.train_until(settings.iterations * one // settings.rounds)
            if refits is not None and one < settings.rounds:
                seconds = refits(functools.partial(learner.play, one))
                refits.write(out)
                report(f"round {one} of {settings.rounds}: rewards fitted to this play too, {seconds:.0f} s")
                learner.go_on(checkpoint)
        learner.trainer.save_to_path(str(checkpoint.resolve()))
        judged_by = _true_returns(learner.actor(), outside, settings.episodes, settings.seed + 1)
    finally:
        learner.trainer.stop()
    played_in = stored.env_config if reference is None else dict(reference.env_config or {})
    reference = stored.metadata if reference is None else reference
    resolved = [resolve_env_config(stored.env, config) for config in (judged, played_in)]
    same = not settings.sticky_actions and resolved[0] == resolved[1]
    expert, random = reference.expert_return, reference.random_return
    returns = summarise_returns(*judged_by)
    sides = team_returns(*judged_by, learner.teams, *((expert, random) if same else ()))
    score = normalised_score(returns.mean, expert.mean if expert else None, random.mean if random else None)
    return Relearned(
        returns, score if same and not sides else None, learner.curve, learner.steps, learner.spent, checkpoint, sides
    )


class _Learner:
    """RLlib's algorithm, learning from a source's rewards.

    Attributes:
        trainer: The algorithm.
        teams: Of agents that have opponents.
        curve: True returns so far; see ``Relearned``.
        steps: Joint steps so far.
        spent: Wall seconds of training.
    """

    def __init__(
        self,
        stored: Checkpoint,
        source: RewardSource,
        algorithm: type[Any],
        settings: RelearnSettings,
        outside: Callable[[None], Any],
        report: Callable[[str], None],
    ) -> None:
        self._stored, self._source, self._algorithm, self._settings = stored, source, algorithm, settings
        self._outside, self._report = outside, report
        self.teams = opposed_teams(stored.env, list(stored.module_of))
        self.curve: list[dict[str, float]] = []
        self.steps, self.spent = 0, 0.0
        self._iteration, self._said = 0, time.monotonic()
        self.trainer = self._built()

    def _built(self) -> Any:
        return _config(self._stored, self._source, self._algorithm, self._settings).build_algo()

    def go_on(self, checkpoint: pathlib.Path) -> None:
        """Learns from the source's rewards as they are now, wherever it runs.

        Args:
            checkpoint: Where the trainer may be written, to be built anew from.
        """
        from rllib_mamql.rewards.paid_play import PaidEnvRunner

        runner = self.trainer.env_runner
        if isinstance(runner, PaidEnvRunner) and not self.trainer.config.num_env_runners:
            runner.source = self._source
            return
        self.trainer.save_to_path(str(checkpoint.resolve()))
        self.trainer.stop()
        self.trainer = self._built()
        self.trainer.restore_from_path(str(checkpoint.resolve()))

    def actor(self) -> Actor:
        """Plays as it has learned so far."""
        return _actor(self.trainer, self._stored, self._settings.seed)

    def play(self, part: int, steps: int) -> JointColumns:
        """Joint steps in the environment that it learns in, in episodes named after the part of the training."""
        stored, seed = self._stored, self._settings.seed + part
        inside, _ = env_configs(stored, self._settings)
        rollout = named_rollout(
            stored.env, inside, min(PLAYED_TOGETHER, steps), seed, history=stored.history, name=f"learner{part}"
        )
        try:
            return rollout.run(self.actor(), num_steps=steps)[0]
        finally:
            rollout.close()

    def train_until(self, iteration: int) -> None:
        """Trains up to an iteration."""
        while self._iteration < iteration:
            self._iteration += 1
            started = time.monotonic()
            result = self.trainer.train()
            self.spent += time.monotonic() - started
            self.steps = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
            self._tell()

    def _tell(self) -> None:
        iteration, settings = self._iteration, self._settings
        last = iteration == settings.iterations
        if iteration % max(1, settings.iterations // LOOKS) == 0 and not last:
            played = _true_returns(self.actor(), self._outside, 50, settings.seed)
            means = {team: one.mean for team, one in team_returns(*played, self.teams).items()}
            means = means or {"": summarise_returns(*played).mean}
            point = {f"return_mean{team and f'_{team}'}": mean for team, mean in means.items()}
            self.curve.append({"env_steps": self.steps, "train_time_s": self.spent, **point})
            told = ", ".join(f"true return {team and f'of {team} '}{mean:.2f}" for team, mean in means.items())
            self._report(f"{_how_far(iteration, settings.iterations, self.spent)}: {told}")
        elif time.monotonic() - self._said > LINE_EVERY_S or last:
            self._report(_how_far(iteration, settings.iterations, self.spent))
        else:
            return
        self._said = time.monotonic()


def _how_far(iteration: int, iterations: int, seconds: float) -> str:
    left = seconds * (iterations - iteration) / iteration
    return f"relearning: {iteration / iterations:.0%}, {left:.0f} s left" if left else "relearning: 100%"


def _config(stored: Checkpoint, source: RewardSource, algorithm: type[Any], settings: RelearnSettings) -> Any:
    from ray.rllib.algorithms.ppo import PPO
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.policy.policy import PolicySpec

    from rllib_mamql.networks.actor_critic import ActorCritic

    mapping = functools.partial(_policy_of, module_of=dict(stored.module_of))
    config = _playing(stored, source, algorithm, settings).debugging(seed=settings.seed)
    config.multi_agent(policies={name: PolicySpec() for name in stored.modules}, policy_mapping_fn=mapping)
    changes = {"gamma": float(stored.settings["gamma"])}
    if issubclass(algorithm, PPO):
        changes |= PPO_SETTINGS
        model = {key: value for key, value in next(iter(stored.modules.values())).model_config.items()}
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=ActorCritic, model_config=model))
    config.update_from_dict({**changes, **settings.algorithm})
    return config


def _playing(stored: Checkpoint, source: RewardSource, algorithm: type[Any], settings: RelearnSettings) -> Any:
    """The algorithm's config with its environment: a batch of them for PPO, where nothing is wrapped around each."""
    from ray import tune
    from ray.rllib.algorithms.ppo import PPO

    from rllib_mamql.environments.adapter import PettingZooAdapter
    from rllib_mamql.rewards.paid_play import PaidPPOConfig

    inside, _ = env_configs(stored, settings)
    if algorithm is PPO and not settings.sticky_actions and not RUNNER_SETTINGS & set(settings.algorithm):
        batched = PaidPPOConfig()
        batched.source, batched.history = source, stored.history
        return batched.environment(stored.env, env_config=inside, disable_env_checking=True)
    build = functools.partial(build_env, stored.env, inside, settings.sticky_actions, source, history=stored.history)
    tune.register_env(ENV, lambda _: PettingZooAdapter(build()))
    return algorithm.get_default_config().environment(ENV, disable_env_checking=True)


def _policy_of(agent: str, episode: Any = None, *, module_of: Mapping[str, str], **kwargs: Any) -> str:
    return module_of[agent]


def _actor(trainer: Any, stored: Checkpoint, seed: int) -> Actor:
    import torch

    from rllib_mamql.play.actors import module_actor

    modules = {name: trainer.get_module(name) for name in stored.modules}
    return module_actor(modules, stored.module_of, torch.Generator().manual_seed(seed), explore=True)


def _true_returns(
    actor: Actor, build: Callable[[None], Any], episodes: int, seed: int
) -> tuple[Sequence[Episode], str]:
    """Episodes without replaced rewards, and how their returns combine."""
    rollout = ColumnarRollout(lambda: build(None), min(episodes, 25), seed)
    try:
        _, finished = rollout.run(actor, num_episodes=episodes, keep=False)
        return finished, return_aggregation(rollout.envs[0])
    finally:
        rollout.close()

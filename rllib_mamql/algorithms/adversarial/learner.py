"""The adversarial learner: gradient steps of the discriminators, then a round of PPO on what they pay."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.distributed as dist
from ray.rllib.core import COMPONENT_OPTIMIZER
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.typing import ResultDict
from torch import Tensor

from rllib_mamql.algorithms.adversarial.generator import GeneratorLearner
from rllib_mamql.algorithms.adversarial.losses import AdversarialLosses, terminations
from rllib_mamql.algorithms.adversarial.objective import absorbing_logit, payment
from rllib_mamql.columns import ALIVE, OBS, TERMINATEDS, JointColumns, column, concatenate, num_rows
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.episodes import paid_episodes
from rllib_mamql.learning.learner import ImitationLearner
from rllib_mamql.learning.replay import TensorColumns, to_tensors
from rllib_mamql.learning.soft_q import log_policy
from rllib_mamql.networks.tensors import in_parts

GENERATOR = "generator"
"""Key of the state: what PPO's learner has beside the modules."""


class AdversarialLearner(ImitationLearner):
    """Trains every agent's discriminator, and its policy and value by RLlib's PPO on the discriminator's rewards.

    A round's rollouts go to both: the discriminators draw rows of them beside the demonstrations, then PPO goes through
    them as episodes. The gradient steps of :class:`ImitationLearner` are the discriminators'.
    """

    RATE: ClassVar[str] = "discriminator_lr"

    losses: AdversarialLosses

    def build(self) -> None:
        """Builds modules and the discriminators' optimisers, and PPO's learner on the same modules."""
        super().build()
        self.ppo = GeneratorLearner(config=self.config, module=self.module)
        self.ppo.build()

    def build_losses(self) -> AdversarialLosses:
        """The discriminators' loss."""
        modules = {name: self.network(name) for name in self.agents_of}
        return AdversarialLosses(self.config, modules, self.agents_of, self.precision)

    def update(
        self,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        num_updates: int = 1,
        _no_metrics_reduce: bool = False,
        **kwargs: Any,
    ) -> ResultDict | None:
        """The base's update, of the discriminators, then a round of PPO; arguments and result are the base's."""
        super().update(training_data, timesteps=timesteps, num_updates=num_updates, _no_metrics_reduce=True)
        rollouts = [] if training_data is None else training_data.episodes or []
        columns = concatenate([rollout.columns for rollout in rollouts])
        if columns:
            self.ppo.train_on(self.paid(columns), num_rows(columns), timesteps or {})
            for key, value in self.ppo.reported().items():
                self.metrics.log_value(key, value, window=1)
            for module_id in self.agents_of:
                self.network(module_id).update_average(0.0)
        return None if _no_metrics_reduce else self.metrics.reduce()

    @torch.no_grad()
    def paid(self, columns: JointColumns) -> list[SingleAgentEpisode]:
        """Rollouts of the present policies as the episodes of single agents, paid by their discriminators."""
        steps, episodes = to_tensors(columns, self._device), []
        logits = self.absorbing(steps) if self.config.absorbing_states else {}
        for module_id, agents in self.agents_of.items():
            policies = [self._log_policies(module_id, steps[column(OBS, agent)]) for agent in agents]
            rewards = [
                self.losses.rewards(steps, agent, chosen) for agent, chosen in zip(agents, policies, strict=True)
            ]
            absorbing: Tensor | float = 0.0
            living: Tensor | float = 0.0
            if module_id in logits:
                discriminator, logit = self.network(module_id).discriminator, logits[module_id]
                absorbing = discriminator.reward(logit) - discriminator.reward(torch.zeros_like(logit))
                living = self.living(steps, agents, rewards)
            for agent, found, log_policies in zip(agents, rewards, policies, strict=True):
                alive = steps[column(ALIVE, agent)].bool()
                if alive.any():
                    self.metrics.log_value((module_id, agent, "reward_mean"), float(found[alive].mean()), window=1)
                paid = payment(found, steps[column(TERMINATEDS, agent)], self.config.gamma, absorbing, living)
                episodes += paid_episodes(columns, agent, module_id, paid.cpu().numpy(), log_policies.cpu().numpy())
        return episodes

    def living(self, steps: TensorColumns, agents: list[str], rewards: list[Tensor]) -> Tensor:
        """Mean reward of a step in which an agent is alive, over some agents and all learners, scalar."""
        alive = torch.stack([steps[column(ALIVE, agent)].bool() for agent in agents])
        sums = torch.stack([torch.stack(rewards).where(alive, 0.0).sum(), alive.sum()])
        if self.config.num_learners > 1:
            dist.all_reduce(sums)
        return sums[0] / sums[1].clamp_min(1.0)

    def absorbing(self, steps: TensorColumns) -> dict[str, Tensor]:
        """The absorbing state's logit of each module, by how often its agents terminate here and in demonstrations."""
        if not self.expert.columns:
            raise ConfigError(
                "absorbing_states is true, but the demonstrations are streamed and their ends are not at hand to be "
                "counted: use expert_in_memory true, or absorbing_states false"
            )
        groups = list(self.agents_of.values())
        counts = torch.stack(
            [torch.stack([terminations(rows, agents) for agents in groups]) for rows in (self.expert.columns, steps)]
        )
        if self.config.num_learners > 1:
            dist.all_reduce(counts)
        ended, rows = counts.permute(2, 1, 0).unbind()
        return dict(zip(self.agents_of, absorbing_logit(ended, rows).unbind(), strict=True))

    def _log_policies(self, module_id: str, observations: Tensor) -> Tensor:
        network = self.network(module_id).trained
        return in_parts(lambda some: log_policy(network(some), self.config.rationality), observations)

    # -- plumbing -----------------------------------------------------------------------------------------------

    def get_parameters(self, module: RLModule) -> list[Any]:
        """The discriminator's; policy and value are PPO's to train."""
        return list(module.unwrapped().discriminator.parameters())

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state of the discriminators' learner, and of PPO's where optimisers are asked for."""
        state = super().get_state(*args, **kwargs)
        if COMPONENT_OPTIMIZER in state:
            state[GENERATOR] = self.ppo.own_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        super().set_state(state)
        if GENERATOR in state:
            self.ppo.set_own_state(state[GENERATOR])

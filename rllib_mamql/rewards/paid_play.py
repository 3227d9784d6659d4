"""RLlib's PPO on play that a reward source pays: environments step in a batch, rewards are asked for once a round."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import PPO, PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_mamql.columns import OBS, Array, column
from rllib_mamql.environments.patience import STEP_TIMEOUT_S
from rllib_mamql.learning.env_runner import ColumnarEnvRunner
from rllib_mamql.learning.episodes import paid_episodes
from rllib_mamql.networks.tensors import in_parts
from rllib_mamql.rewards.sources import RewardSource


class PaidPPOConfig(PPOConfig):
    """RLlib's PPO, sampling by :class:`PaidEnvRunner`.

    Attributes:
        source: What pays; to be set.
        history: How many steps back agents see.
        env_step_timeout_s: Seconds > 0 that a reset or step of the environments may take.
    """

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or PPO)
        self.source: RewardSource | None = None
        self.history = 0
        self.env_step_timeout_s = STEP_TIMEOUT_S
        self.env_runner_cls = PaidEnvRunner

    @property
    def module_of(self) -> dict[str, str]:
        """``{agent: module}``, agents in the environment's order."""
        assert self.source is not None
        return dict(self.source.module_of)


class PaidEnvRunner(ColumnarEnvRunner):
    """Samples as :class:`ColumnarEnvRunner` does, and gives RLlib's episodes of single agents, paid by the source.

    Attributes:
        source: What pays.
    """

    def __init__(self, config: PaidPPOConfig, **kwargs: Any) -> None:
        assert config.source is not None
        self.source: RewardSource = config.source
        super().__init__(config=config, **kwargs)

    def sample(self, **kwargs: Any) -> list[SingleAgentEpisode]:
        """The same joint steps as episodes with rewards, and with what PPO asks of the policy that played.

        Args:
            **kwargs: As of :class:`ColumnarEnvRunner`.
        """
        episodes = []
        for rollout in super().sample(**kwargs):
            paid = self.source.paid(rollout.columns)
            for agent, module_id in self._module_of.items():
                chosen = self._log_policy(module_id, rollout.columns[column(OBS, agent)])
                episodes += paid_episodes(rollout.columns, agent, module_id, paid[agent], chosen)
        return episodes

    def _log_policy(self, module_id: str, observations: Array) -> Array:
        module = self.module[module_id]

        def of(part: torch.Tensor) -> torch.Tensor:
            logits = module.forward_exploration({Columns.OBS: part.to(self._device)})[Columns.ACTION_DIST_INPUTS]
            return torch.log_softmax(logits, -1).cpu()

        return in_parts(of, observations).numpy()

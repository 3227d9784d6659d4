"""The generators' learner: RLlib's PPO, on modules that the discriminators' learner owns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_KL_KEY, LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import COMPONENT_OPTIMIZER
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_mamql.learning.optimise import average_over_learners

TERMS = (POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY, LEARNER_RESULTS_KL_KEY, LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY)
"""What RLlib's PPO reports of a module that says how it does."""
KL = "kl_coefficients"
"""Key of the state: RLlib's PPO adapts these, and forgets them in its own checkpoints."""


class GeneratorLearner(PPOTorchLearner):
    """RLlib's PPO: its connectors, its GAE, its losses and its minibatches, on policy and value networks alone."""

    def train_on(self, episodes: list[SingleAgentEpisode], joint_steps: int, timesteps: dict[str, Any]) -> None:
        """A round of PPO: ``num_epochs`` times through the episodes, which are used up.

        Args:
            episodes: With the rewards to learn from, one agent's each.
            joint_steps: Of this learner's share of the rollouts; the same for all learners.
            timesteps: RLlib's lifetime counters, for schedules.
        """
        config = self.config
        # Learners exchange gradients: they make as many steps, however many rows agents that died left to each.
        steps = max(1, config.num_epochs * joint_steps // config.minibatch_size) if config.num_learners > 1 else 0
        self.update(
            training_data=TrainingData(episodes=episodes),
            timesteps=timesteps,
            num_total_minibatches=steps,
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
            shuffle_batch_per_epoch=config.shuffle_batch_per_epoch,
            _no_metrics_reduce=True,
        )

    def reported(self) -> dict[tuple[str, str], float]:
        """``{(module, metric): value}`` of the last round; RLlib's counts of rows and steps are left behind."""
        found = {
            (name, term): self.metrics.peek((name, term), default=None) for name in self.module.keys() for term in TERMS
        }
        self.metrics.reduce()
        return {key: float(torch.as_tensor(value).detach()) for key, value in found.items() if value is not None}

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        """RLlib's gradient step, through the unwrapped modules and with this package's exchange of gradients."""
        fwd_out = {name: self.module[name].unwrapped().forward_train(part) for name, part in batch.items()}
        losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        gradients = self.compute_gradients(losses)
        for parameter, gradient in gradients.items():
            if gradient is None:  # Its agents are dead in all of this learner's rows.
                parameter.grad = gradients[parameter] = torch.zeros_like(parameter)
        average_over_learners(list(gradients), self.config.num_learners)
        self.apply_gradients(self.postprocess_gradients(gradients))
        return fwd_out, losses, {}

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, with the package's decoupled weight decay."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.AdamW(parameters, weight_decay=self.config.weight_decay),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def get_parameters(self, module: Any) -> Sequence[Any]:
        """Policy and value; discriminators have a learner of their own."""
        return module.unwrapped().generator()

    def _make_modules_ddp_if_necessary(self) -> None:
        """Nothing to do: the modules' owner wrapped them."""

    def own_state(self) -> dict[str, Any]:
        """Optimisers and KL coefficients; the modules are their owner's to save."""
        state = self.get_state(components=[COMPONENT_OPTIMIZER])
        return {
            COMPONENT_OPTIMIZER: state[COMPONENT_OPTIMIZER],
            KL: {name: float(value) for name, value in self.curr_kl_coeffs_per_module.items()},
        }

    def set_own_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`own_state`."""
        self.set_state({COMPONENT_OPTIMIZER: state[COMPONENT_OPTIMIZER]})
        for name, value in state[KL].items():
            self.curr_kl_coeffs_per_module[name].data.fill_(value)

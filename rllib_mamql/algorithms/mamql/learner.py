"""The learner: unpacks joint batches, calls the objective, logs its terms.

Each learner keeps the joint replay buffer and its share of the expert data as tensors on its own device and makes
many gradient steps in one :meth:`MAMQLLearner.update` call; nothing crosses a process in between but, with
several learners, one all-reduce of the gradients a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME
from ray.rllib.utils.typing import ResultDict
from torch import Tensor

from rllib_mamql.algorithms.mamql import objective
from rllib_mamql.algorithms.mamql.losses import ActionValues, AgentRows, JointTerms, critic_terms
from rllib_mamql.algorithms.mamql.metrics import (
    NUM_GRADIENT_STEPS,
    NUM_GRADIENT_STEPS_LIFETIME,
    AgentTerms,
    summarise,
)
from rllib_mamql.algorithms.mamql.module import MARGINAL_Q, MAMQLModule
from rllib_mamql.algorithms.mamql.objective import implied_bounds
from rllib_mamql.algorithms.mamql.rationality import fit_policies
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.learning.minibatch import ExpertSource, Minibatch, draw_minibatch
from rllib_mamql.learning.optimise import TogetherStep, average_over_learners, clip_norms
from rllib_mamql.learning.replay import JointReplayBuffer
from rllib_mamql.networks.precision import Precision
from rllib_mamql.networks.together_learning import CriticStack, compiler
from rllib_mamql.play.actors import agents_by_module

JOINT = "joint_batch"
"""Key under which the first module's batch carries what belongs to no module."""


class MAMQLLearner(TorchLearner):
    """Trains every agent's critic on the objective and its reward network by regression."""

    def build(self) -> None:
        """Builds modules and optimisers; data arrives later."""
        super().build()
        config = self.config
        seed = 0 if config.seed is None else int(config.seed)
        self.generator = torch.Generator().manual_seed(seed * 1_000_003 + self._rank())
        self.replay = JointReplayBuffer(config.replay_capacity, self._device)
        self._precision = Precision(config.autocast, self._device)
        self.updates = 0
        self.expert = ExpertSource(None, None, self._device)
        self._module_of: dict[str, str] = {}
        self._agents: list[str] = []
        self._agents_of: dict[str, list[str]] = {}
        self._alike: list[list[str]] = []
        self._terms: dict[tuple[str, ...], AgentTerms] = {}
        self._losses: dict[str, Tensor] = {}
        self._initial_q: dict[str, Tensor] = {}
        self._joint_step: TogetherStep | None = None

    # -- data ---------------------------------------------------------------------------------------------------

    def set_expert(
        self,
        module_of: Mapping[str, str],
        columns: JointColumns | None,
        stream: Iterator[JointColumns] | None = None,
    ) -> None:
        """Gives this learner its share of the expert data.

        Args:
            module_of: Which module learns for each agent, agents in the dataset's order.
            columns: Joint steps to hold in memory, or None to stream.
            stream: Endless batches of joint steps, each of ``expert_batch_size`` rows, where ``columns`` is None.
        """
        self._module_of = dict(module_of)
        self._agents = list(module_of)
        self._agents_of = agents_by_module(module_of)
        self._critics = CriticStack(
            {module_id: self._unwrapped(module_id) for module_id in self._agents_of},
            self.config.stack_networks,
            compiler(self.config),
        )
        by_actions: dict[int, list[str]] = {}
        for module_id in self._agents_of:
            by_actions.setdefault(int(self._unwrapped(module_id).action_space.n), []).append(module_id)
        self._alike = list(by_actions.values())
        self._joint_terms = JointTerms(
            self._agents,
            self.config.rationality,
            self.config.marginal_samples,
            self.generator,
            self._precision,
        )
        self.expert = ExpertSource(columns, stream, self._device)

    def _minibatch(self) -> dict[str, Any]:
        """A minibatch, and by module what its networks must score."""
        config = self.config
        joint = draw_minibatch(
            self.expert,
            self.replay if config.uses_rollouts else None,
            self._agents,
            expert_rows=config.expert_batch_size,
            rollout_rows=config.rollout_batch_size,
            with_starts=config.value_term == "initial",
            generator=self.generator,
        )
        batch: dict[str, Any] = {
            module_id: {Columns.OBS: joint.observations(agents)} for module_id, agents in self._agents_of.items()
        }
        next(iter(batch.values()))[JOINT] = joint
        return batch

    # -- update -------------------------------------------------------------------------------------------------

    def update(
        self,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        num_updates: int = 1,
        _no_metrics_reduce: bool = False,
        **kwargs: Any,
    ) -> ResultDict | None:
        """Stores new rollouts, then makes ``num_updates`` gradient steps.

        Args:
            training_data: ``episodes`` or ``episodes_refs`` with ``JointRollout``s.
            timesteps: RLlib's lifetime counters, for schedules.
            num_updates: Gradient steps on freshly drawn minibatches.
            _no_metrics_reduce: RLlib's switch: leave metrics for a later call.
            **kwargs: Ignored.

        Returns:
            Reduced metrics.
        """
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        if training_data is not None:
            training_data.solve_refs()
            for rollout in training_data.episodes or []:
                self.replay.add(rollout.columns)
        self._weights_seq_no += 1
        for step in range(num_updates):
            self._log_this_step = step >= num_updates - self.config.reward_interval
            self._update(self._minibatch())
        self._log_terms()
        rows = num_updates * (
            self.config.expert_batch_size + (self.config.rollout_batch_size if self.config.uses_rollouts else 0)
        )
        for key, reduce in (
            (NUM_ENV_STEPS_TRAINED, "sum"),
            (NUM_ENV_STEPS_TRAINED_LIFETIME, "lifetime_sum"),
        ):
            self.metrics.log_value((ALL_MODULES, key), rows, reduce=reduce)
        # Learners step in lockstep on shared gradients: gradient steps are counted once, not summed over learners.
        self.metrics.log_value((ALL_MODULES, NUM_GRADIENT_STEPS), num_updates, reduce="max", window=1)
        self.metrics.log_value((ALL_MODULES, NUM_GRADIENT_STEPS_LIFETIME), self.updates, reduce="max", window=1)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return None if _no_metrics_reduce else self.metrics.reduce()

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        fwd_out = self._forward(batch)
        losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        parameters = [p for parameters in self._optimizer_parameters.values() for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        average_over_learners(parameters, self.config.num_learners)
        self._clip_and_step()
        self.updates += 1
        decay = self._average_decay()
        for module_id in self._agents_of:
            self._unwrapped(module_id).update_average(decay)
        self._losses = losses
        return fwd_out, losses, {}

    def _forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        # Not forward_train of each module: it switches the whole module to training mode again at every call.
        with self._precision.context():
            scores = self._critics({module_id: part[Columns.OBS] for module_id, part in batch.items()})
        return {module_id: {MARGINAL_Q: self._precision.widen(values)} for module_id, values in scores.items()}

    def _log_terms(self) -> None:
        """Logs what the last gradient steps of a call left behind."""
        for agents, terms in self._terms.items():
            for agent, values in zip(agents, summarise(terms), strict=True):
                self.metrics.log_dict(values, key=(self._module_of[agent], agent), window=1)
        for module_id, loss in self._losses.items():
            self.metrics.log_value((module_id, self.TOTAL_LOSS_KEY), loss.item(), window=1)
        self._terms, self._losses = {}, {}

    def _clip_and_step(self) -> None:
        of_module = [self.get_optimizers_for_module(module_id) for module_id in self._agents_of]
        optimizers = [optimizer for pairs in of_module for _, optimizer in pairs]
        if self.config.grad_clip is not None:
            clip_norms([self._optimizer_parameters[optimizer] for optimizer in optimizers], self.config.grad_clip)
        if self._joint_step is None or self._joint_step.optimizers != optimizers:
            self._joint_step = TogetherStep(optimizers)
        self._joint_step.step()

    def _average_decay(self) -> float:
        # Early on the average would lag at the initial weights: its horizon grows with the updates made.
        return min(float(self.config.weight_average), (1.0 + self.updates) / (10.0 + self.updates))

    # -- losses -------------------------------------------------------------------------------------------------

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of all modules at once, since marginalising needs the others' policies.

        Args:
            fwd_out: ``{module: {"marginal_q": (R, A)}}``, rows stacked as :meth:`_minibatch` does.
            batch: The minibatch.

        Returns:
            ``{module: scalar}``.
        """
        joint: Minibatch = next(iter(batch.values()))[JOINT]
        scores = {
            module_id: joint.by_agent(fwd_out[module_id][MARGINAL_Q], agents)
            for module_id, agents in self._agents_of.items()
        }
        q: dict[str, tuple[Tensor, ...]] = {}
        if self.config.critic == "joint":
            for module_id, agents in self._agents_of.items():
                places = joint.places(scores[module_id])
                q.update({agent: tuple(place[index] for place in places) for index, agent in enumerate(agents)})
        by_agent: dict[str, Tensor] = {}
        for modules in self._alike:
            agents = [agent for module_id in modules for agent in self._agents_of[module_id]]
            values = torch.cat([scores[module_id] for module_id in modules])
            by_agent.update(zip(agents, self._losses_of(agents, values, joint, q).unbind(), strict=True))
        return {
            module_id: self.compute_loss_for_module(
                module_id=module_id,
                config=self.config,
                batch=joint,
                fwd_out={agent: by_agent[agent] for agent in agents},
            )
            for module_id, agents in self._agents_of.items()
        }

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Minibatch, fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Loss of one module: the sum of the losses of the agents that it learns for.

        Args:
            module_id: The module.
            config: The algorithm's config.
            batch: The minibatch.
            fwd_out: ``{agent: scalar}``, from :meth:`compute_losses`.

        Returns:
            Scalar.
        """
        return torch.stack(list(fwd_out.values())).sum()

    def _losses_of(self, agents: list[str], scores: Tensor, batch: Minibatch, q: ActionValues) -> Tensor:
        """Critic and reward losses ``(n,)`` of agents with equally many actions.

        Args:
            agents: The agents.
            scores: Their marginal critics ``(n, 2 R + S, A)`` on the minibatch.
            batch: The minibatch.
            q: Everyone's marginal critic, where the critics are joint.
        """
        config, rows = self.config, AgentRows.of(batch, agents)
        distillation = None
        values = batch.places(scores)
        if config.critic == "joint":
            pairs = [self._joint_terms.critic_values(self._network(agent), agent, batch, q) for agent in agents]
            values = tuple(torch.stack(place) for place in zip(*(marginal for marginal, _ in pairs), strict=True))
            distillation = torch.stack([distance for _, distance in pairs])
        critic, implied = critic_terms(values, rows, config)
        total = critic.total if distillation is None else critic.total + distillation
        reward = None
        if config.learn_reward and self.updates % config.reward_interval == 0:
            predictions = [
                self._joint_terms.marginal_reward(self._network(agent), agent, batch, q)
                if config.critic == "joint"
                else self._joint_terms.sampled_reward(self._network(agent), agent, batch)
                for agent in agents
            ]
            reward = objective.reward_loss(torch.stack(predictions), implied, rows.weights, config.reward_shrinkage)
            total = total + reward.total
        if self._log_this_step:
            q_now = values[0].detach()
            for agent, mean in zip(agents, q_now.mean((1, 2)), strict=True):
                self._initial_q.setdefault(agent, mean)
            before = self._terms.get(tuple(agents))
            reward_bound, q_bound = implied_bounds(config.chi_square_scale, config.gamma)
            self._terms[tuple(agents)] = AgentTerms(
                critic=critic,
                # Not every step has a reward regression: the last one of this call is reported.
                reward=reward if reward is not None or before is None else before.reward,
                distillation=distillation,
                q=q_now,
                implied_reward=implied.detach(),
                expert_actions=rows.actions[:, : rows.expert_rows],
                expert_weights=rows.weights[:, : rows.expert_rows],
                rationality=config.rationality,
                initial_q=torch.stack([self._initial_q[agent].to(q_now.device) for agent in agents]),
                reward_bound=reward_bound,
                q_bound=q_bound,
            )
        return total

    # -- plumbing -----------------------------------------------------------------------------------------------

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW in its fused form: with small networks the optimiser's many small operations cost most."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.AdamW(parameters, fused=True, weight_decay=self.config.weight_decay),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def get_parameters(self, module: RLModule) -> list[Any]:
        """Trainable parameters only: the averaged critic follows, it is not optimised."""
        return [p for p in super().get_parameters(module) if p.requires_grad]

    def _network(self, agent: str) -> MAMQLModule:
        return self._unwrapped(self._module_of[agent])

    def _unwrapped(self, module_id: str) -> MAMQLModule:
        return self.module[module_id].unwrapped()

    def _rank(self) -> int:
        return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state (networks, optimisers, metrics) and the number of updates made."""
        state = super().get_state(*args, **kwargs)
        state["updates"] = self.updates
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        super().set_state(state)
        self.updates = int(state.get("updates", self.updates))

    @torch.no_grad()
    def fit_rationality(self, columns: JointColumns) -> tuple[dict[str, float], dict[str, float]]:
        """Fits each acting network's rationality to expert steps it was not trained on.

        Args:
            columns: Held-out joint steps.

        Returns:
            Rationality and mean log-likelihood by module, from ``rationality.fit_policies``.
        """
        held = ExpertSource(columns, None, self._device).columns
        scored: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for module_id, agents in self._agents_of.items():
            for agent in agents:
                alive = held[column(ALIVE, agent)].bool()
                q = self._unwrapped(module_id).average(held[column(OBS, agent)][alive])
                scored.setdefault(module_id, []).append((q, held[column(ACTIONS, agent)][alive]))
        return fit_policies(scored, self.config.rationality)

    def describe(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Model configs and network weights (numpy) by module, for a checkpoint that needs no Ray to act."""
        configs, weights = {}, {}
        for module_id in self._agents_of:
            module = self._unwrapped(module_id)
            configs[module_id] = dict(module.model_config)
            weights[module_id] = module.get_state()
        return configs, weights

    def get_data_state(self) -> dict[str, Any]:
        """Replay buffer and random state of this very learner; kept out of ``get_state``, which syncs weights."""
        initial = {agent: float(value) for agent, value in self._initial_q.items()}
        return {
            "replay": self.replay.get_state(),
            "generator": self.generator.get_state().numpy(),
            "initial_q": initial,
        }

    def set_data_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_data_state`."""
        self.replay.set_state(state["replay"])
        self.generator.set_state(torch.as_tensor(np.asarray(state["generator"])))
        self._initial_q = {agent: torch.tensor(value) for agent, value in state["initial_q"].items()}

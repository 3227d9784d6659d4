"""The learner of every algorithm from demonstrations: draws minibatches, asks for losses, makes the gradient steps.

Each learner keeps the joint replay buffer and its share of the expert data as tensors on its own device and makes
many gradient steps in one :meth:`ImitationLearner.update` call; nothing crosses a process in between but, with
several learners, one all-reduce of the gradients a step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

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

from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.environments.symmetry import symmetries_of
from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.augment import Augmentation
from rllib_mamql.learning.device_steps import DeviceSteps
from rllib_mamql.learning.graphs import CudaRecorder, Recorder, detached
from rllib_mamql.learning.losses import Losses
from rllib_mamql.learning.metrics import NUM_GRADIENT_STEPS, NUM_GRADIENT_STEPS_LIFETIME
from rllib_mamql.learning.minibatch import ExpertSource, Minibatch, draw_minibatch
from rllib_mamql.learning.optimise import TogetherStep, average_over_learners, clip_norms
from rllib_mamql.learning.replay import JointReplayBuffer
from rllib_mamql.networks.module import SCORES, BoltzmannModule
from rllib_mamql.networks.precision import Precision
from rllib_mamql.networks.tensors import rows_at_once
from rllib_mamql.networks.together_learning import NetworkStack, compiler
from rllib_mamql.play.actors import agents_by_module

logger = logging.getLogger(__name__)

JOINT = "joint_batch"
"""Key under which the first module's batch carries what belongs to no module."""


class ImitationLearner(TorchLearner):
    """Trains the modules of an algorithm that learns from demonstrations; a subclass says by which losses."""

    RATE: ClassVar[str] = "lr"
    """Name of the setting that is the learning rate."""

    losses: Losses

    def build_losses(self) -> Losses:
        """The algorithm's losses; called once the agents are known (``self.agents_of``)."""
        raise NotImplementedError

    def build(self) -> None:
        """Builds modules and optimisers; data arrives later."""
        super().build()
        config = self.config
        seed = 0 if config.seed is None else int(config.seed)
        self._seed = seed * 1_000_003 + self._rank()
        self.generator = torch.Generator().manual_seed(self._seed)
        self.draws = self.generator
        """Source of a minibatch's rows: on the device where :attr:`recorder` is set, else the host's."""
        self.recorder: Recorder | None = None
        if reason := self._no_graphs():
            self._refuse_graphs(reason)
        else:
            self.draws = torch.Generator(self._device).manual_seed(self._seed)
            self.recorder = CudaRecorder(self._device, self.draws)
        self.replay = JointReplayBuffer(config.replay_capacity, self._device)
        self.precision = Precision(config.autocast, self._device)
        self.updates = 0
        self.expert = ExpertSource(None, None, self._device)
        self.agents: list[str] = []
        self.agents_of: dict[str, list[str]] = {}
        self._module_of: dict[str, str] = {}
        self.augment: Augmentation | None = None
        self._losses: dict[str, Tensor] = {}
        self._report = False
        self._step: TogetherStep | None = None
        self._fit: tuple[int, int] | None = None
        self._device_steps: DeviceSteps | None = None

    def _no_graphs(self) -> str:
        """Why gradient steps cannot be made on the device alone; nothing where they can."""
        if self._device.type != "cuda":
            return f"the learner's device is {self._device.type}"
        if self.config.num_learners > 1:
            return f"there are {self.config.num_learners} learners, which exchange gradients"
        if not all(type(each) is torch.optim.AdamW and each.defaults["fused"] for each in self._optimizer_parameters):
            return "an optimiser is not AdamW in its fused form"
        return "it is false" if self.config.cuda_graphs is False else ""

    def _refuse_graphs(self, reason: str) -> None:
        if self.config.cuda_graphs is True:
            raise ConfigError(f"cuda_graphs is true, but {reason}: use 'auto' or false")
        if self._device.type == "cuda" and self.config.cuda_graphs is not False:
            logger.warning("cuda_graphs: gradient steps are made one operation at a time, slower: %s", reason)

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
        self.agents = list(module_of)
        self.agents_of = agents_by_module(module_of)
        if columns is None and self.recorder is not None:
            self.recorder, self.draws = None, self.generator
            self._refuse_graphs("the demonstrations are streamed (expert_in_memory)")
        compiled = compiler(self.config)
        self._networks = NetworkStack(
            {module_id: self.network(module_id) for module_id in self.agents_of},
            self.config.stack_networks,
            # Steps on the device alone are compiled as a whole.
            compiled if compiled is None or self.recorder is None else lambda network: network,
        )
        self.losses = self.build_losses()
        config = self.config
        found = symmetries_of(config.env or "", config.env_config, config.history) if config.symmetries else None
        self.augment = None if found is None else Augmentation(found, self._device)
        self.expert = ExpertSource(columns, stream, self._device)
        self._device_steps = None if self.recorder is None else DeviceSteps(self, self.recorder)

    def _minibatch(self) -> dict[str, Any]:
        """A minibatch drawn by the host, as :meth:`batch_of` gives it."""
        config = self.config
        joint = draw_minibatch(
            self.expert,
            self.replay if self._rollout_rows(self.updates) else None,
            self.agents,
            expert_rows=config.expert_batch_size,
            rollout_rows=config.rollout_batch_size,
            with_next=self.losses.needs_next,
            with_starts=self.losses.needs_starts,
            generator=self.generator,
            apart=() if self.losses.joint else list(self.agents_of.values()),
        )
        return self.batch_of(joint)

    def _rollout_rows(self, update: int) -> int:
        """Rollout rows of a gradient step before which so many were made."""
        # Steps on the device alone have rows of one number.
        wanted = self._device_steps is not None or self.losses.needs_rollouts(update)
        return self.config.rollout_batch_size if self.config.uses_rollouts and wanted else 0

    def batch_of(self, joint: Minibatch) -> dict[str, Any]:
        """By module, what its networks must score of a minibatch, which the first module's part carries.

        Where the environment has symmetries, its rows have gone through some of them.
        """
        if self.augment is not None:
            joint = self.augment(joint, self.draws)
        batch: dict[str, Any] = {
            module_id: {Columns.OBS: joint.observations(agents)} for module_id, agents in self.agents_of.items()
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
        if self._device_steps is not None:
            self._losses = self._device_steps.run(num_updates)
        else:
            for step in range(num_updates):
                self._report = step >= num_updates - self.losses.report_last
                self._update(self._minibatch())
        self._log(num_updates)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return None if _no_metrics_reduce else self.metrics.reduce()

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        """One gradient step: scores, losses, gradients, clipping, optimisers, averages."""
        fwd_out = self._forward(batch)
        losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        parameters = [p for parameters in self._optimizer_parameters.values() for p in parameters]
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        average_over_learners(parameters, self.config.num_learners)
        self._clip_and_step()
        self.updates += 1
        decay = self.average_decay(self.updates)
        for module_id in self.agents_of:
            self.network(module_id).update_average(decay)
        self._losses = losses
        terms, self.losses.terms = self.losses.terms, {}
        if terms:
            self.losses.keep(terms)
        return fwd_out, losses, {}

    def scored(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses by module of a minibatch as :meth:`batch_of` gives it; the losses leave their terms."""
        self._report = True
        losses = self.compute_losses(fwd_out=self._forward(batch), batch=batch)
        self.losses.terms = detached(self.losses.terms)
        return losses

    def _forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        # Not forward_train of each module: it switches the whole module to training mode again at every call.
        with self.precision.context():
            scores = self._networks({module_id: part[Columns.OBS] for module_id, part in batch.items()})
        return {module_id: {SCORES: self.precision.widen(values)} for module_id, values in scores.items()}

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of all modules at once: an agent's may depend on the others' policies.

        Args:
            fwd_out: ``{module: {"scores": (rows, A)}}``, rows stacked as :meth:`_minibatch` does.
            batch: The minibatch.

        Returns:
            ``{module: scalar}``.
        """
        joint: Minibatch = next(iter(batch.values()))[JOINT]
        scores = {
            module_id: joint.by_agent(fwd_out[module_id][SCORES], agents)
            for module_id, agents in self.agents_of.items()
        }
        by_agent = self.losses(joint, scores, update=self.updates, report=self._report)
        return {
            module_id: self.compute_loss_for_module(
                module_id=module_id,
                config=self.config,
                batch=joint,
                fwd_out={agent: by_agent[agent] for agent in agents},
            )
            for module_id, agents in self.agents_of.items()
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

    def begin_fit(self, updates: int, made: int = 0) -> None:
        """Begins anew: other weights, no momentum, and a learning rate that falls to zero within so many updates.

        Args:
            updates: Gradient steps of the fit.
            made: So many of them were made already, by a learner whose state this one has: nothing is drawn anew.
        """
        self._fit = (self.updates - made, updates)
        if made:
            return
        # The same weights in all learners.
        torch.manual_seed(self.config.seed or 0)
        for module_id in self.agents_of:
            self.network(module_id).restart()
            for _, optimizer in self.get_optimizers_for_module(module_id):
                optimizer.state.clear()

    def learning_rate(self) -> float | None:
        """The next gradient step's, where it changes from step to step; None leaves it to RLlib's schedule."""
        if self._fit is None:
            return None
        first, total = self._fit
        return float(self.config.lr) * max(0.0, 1.0 - (self.updates - first) / total)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All modules' optimisers."""
        of_module = [self.get_optimizers_for_module(module_id) for module_id in self.agents_of]
        return [optimizer for pairs in of_module for _, optimizer in pairs]

    def clip(self) -> None:
        """Clips the gradients of each module, where the config says so."""
        if self.config.grad_clip is not None:
            groups = [self._optimizer_parameters[optimizer] for optimizer in self.optimizers()]
            clip_norms(groups, self.config.grad_clip)

    def set_learning_rate(self, rate: float) -> None:
        """Sets it in all optimisers."""
        for optimizer in self.optimizers():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _clip_and_step(self) -> None:
        self.clip()
        rate, optimizers = self.learning_rate(), self.optimizers()
        if rate is not None:
            self.set_learning_rate(rate)
        if self._step is None or self._step.optimizers != optimizers:
            self._step = TogetherStep(optimizers)
        self._step.step()

    def average_decay(self, updates: int) -> float:
        """Decay of the averaged networks after so many gradient steps.

        Early on the average would lag at the initial weights: its horizon grows with the updates made.
        """
        return min(float(self.config.weight_average), (1.0 + updates) / (10.0 + updates))

    def _log(self, num_updates: int) -> None:
        """Logs the losses and terms of the last gradient steps of a call, and counts."""
        for agent, values in self.losses.metrics().items():
            self.metrics.log_dict(values, key=(self._module_of[agent], agent), window=1)
        for module_id, loss in self._losses.items():
            self.metrics.log_value((module_id, self.TOTAL_LOSS_KEY), loss.item(), window=1)
        self._losses = {}
        steps = range(self.updates - num_updates, self.updates)
        rows = sum(self.config.expert_batch_size + self._rollout_rows(step) for step in steps)
        for key, reduce in (
            (NUM_ENV_STEPS_TRAINED, "sum"),
            (NUM_ENV_STEPS_TRAINED_LIFETIME, "lifetime_sum"),
        ):
            self.metrics.log_value((ALL_MODULES, key), rows, reduce=reduce)
        # Learners step in lockstep on shared gradients: gradient steps are counted once, not summed over learners.
        self.metrics.log_value((ALL_MODULES, NUM_GRADIENT_STEPS), num_updates, reduce="max", window=1)
        self.metrics.log_value((ALL_MODULES, NUM_GRADIENT_STEPS_LIFETIME), self.updates, reduce="max", window=1)

    @torch.no_grad()
    def negative_log_likelihood(self, columns: JointColumns, acting: bool = False) -> float:
        """How well policies explain demonstrations, in nats an agent's step; the lower, the better.

        Args:
            columns: Joint steps.
            acting: Whether those of the averaged networks, which act, in place of the trained ones.
        """
        steps = ExpertSource(columns, None, self._device).columns
        total, count = 0.0, 0
        for agent, module_id in self._module_of.items():
            alive = steps[column(ALIVE, agent)].bool()
            observations, actions = (steps[column(name, agent)][alive] for name in (OBS, ACTIONS))
            size = rows_at_once(observations)
            for some, taken in zip(torch.split(observations, size), torch.split(actions, size), strict=True):
                network = self.network(module_id)
                logits = self.config.rationality * (network.average if acting else network.trained)(some)
                total += float(torch.nn.functional.cross_entropy(logits, taken.long(), reduction="sum"))
            count += len(actions)
        return total / max(count, 1)

    def act_at(self, rationality: Mapping[str, float]) -> None:
        """Lets policies act as decidedly, where they do not explore, as was chosen for each module."""
        for module_id, value in rationality.items():
            self.network(module_id).evaluation_rationality = value

    # -- plumbing -----------------------------------------------------------------------------------------------

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW in its fused form: with small networks the optimiser's many small operations cost most."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.AdamW(parameters, fused=True, weight_decay=self.config.weight_decay),
            params=parameters,
            lr_or_lr_schedule=getattr(config, self.RATE),
        )

    def get_parameters(self, module: RLModule) -> list[Any]:
        """Trainable parameters only: the averaged network follows, it is not optimised."""
        return [p for p in super().get_parameters(module) if p.requires_grad]

    def network(self, module_id: str) -> BoltzmannModule:
        """A module by its id, without the wrapper that RLlib puts around it where there are several learners."""
        module: BoltzmannModule = self.module[module_id].unwrapped()
        return module

    def _rank(self) -> int:
        return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0

    # -- state --------------------------------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state (networks, optimisers, metrics) and the number of updates made."""
        state = super().get_state(*args, **kwargs)
        state["updates"] = self.updates
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores :meth:`get_state`."""
        super().set_state(state)
        self.updates = int(state.get("updates", self.updates))
        for module_id in self.agents_of:
            given = getattr(self.config.get_config_for_module(module_id), self.RATE)
            if isinstance(given, int | float) and self._fit is None:
                # The optimisers' state has the rate that it was saved with; a search may have changed it since.
                for _, optimizer in self.get_optimizers_for_module(module_id):
                    for group in optimizer.param_groups:
                        if float(group["lr"]) != float(given):
                            group["lr"] = float(given)

    def describe(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Model configs and network weights (numpy) by module, for a checkpoint that needs no Ray to act."""
        configs, weights = {}, {}
        for module_id in self.agents_of:
            module = self.network(module_id)
            configs[module_id] = dict(module.model_config)
            weights[module_id] = module.get_state()
        return configs, weights

    def get_data_state(self) -> dict[str, Any]:
        """Replay buffer and random state of this very learner; kept out of ``get_state``, which syncs weights."""
        state = {
            "replay": self.replay.get_state(),
            "generator": self.generator.get_state().numpy(),
            "losses": self.losses.get_state(),
        }
        if self.draws is not self.generator:
            state["device_generator"] = self.draws.get_state().numpy()
        return state

    def set_data_state(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`get_data_state`."""
        self.replay.set_state(state["replay"])
        self.generator.set_state(torch.as_tensor(np.asarray(state["generator"])))
        if self.draws is not self.generator:
            draws = state.get("device_generator")
            if draws is None:  # Written where the host drew; not the numbers again that a new learner begins with.
                self.draws.manual_seed(self._seed + self.updates + 1)
            else:
                self.draws.set_state(torch.as_tensor(np.asarray(draws)))
        self.losses.set_state(state["losses"])

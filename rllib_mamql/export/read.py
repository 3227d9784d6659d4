"""Uses exported policies and rewards: numpy and torch only, no Ray, no Gymnasium, no PettingZoo.

``rllib export CHECKPOINT --out DIR`` writes such a folder; then::

    from rllib_mamql.export.read import load

    exported = load("DIR")
    actions = exported.policies["agent_0"].act(observations, np.random.default_rng(0))  # (B,)
    rewards = exported.rewards["agent_0"](observations, actions_of_others)  # (B, A)

Policies that were trained with a history see rows that hold it; ``policy.memory()`` makes them of observations.

``metadata.json`` describes the folder and carries the SHA-256 of every file and of itself. Networks are programs of
named operators (:mod:`rllib_mamql.export.programs`): nothing is unpickled or evaluated. With ``backend="onnx"``
onnxruntime runs them, from the ``.onnx`` files that ``rllib export --onnx`` adds.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_mamql.data.memory import Memory, width
from rllib_mamql.errors import one_line
from rllib_mamql.export.files import (
    DAMAGE,
    METADATA,
    Array,
    ExportError,
    Network,
    above_zero,
    check_sizes,
    open_onnx,
    open_program,
    read_file,
    read_metadata,
)

__all__ = ["BACKENDS", "MAX_JOINT_ACTIONS", "ExportError", "Exported", "Policy", "Reward", "load"]

BACKENDS = ("torch", "onnx")
MAX_JOINT_ACTIONS = 100_000
"""Most joint actions of the others that :meth:`Reward.marginal` enumerates."""
_CELLS = 65_536
"""Joint actions scored in one call of a network."""


@dataclass(frozen=True)
class Policy:
    """One agent's Boltzmann policy, ``pi(a | s) = softmax(rationality Q(s, .))``.

    Attributes:
        agent: Its name.
        shape: Shape of one row that the policy sees.
        dtype: Dtype that observations are converted to.
        num_actions: A.
        masked: Whether the policy asks for an ``action_mask``, ``(B, A)``, True where an action is legal: it takes no
            other. The methods below have it as their last argument.
        rationality: Inverse temperature > 0 at which the checkpoint is evaluated; the default of acting.
        training_rationality: That of training; the default of :meth:`Reward.marginal`.
        history: How many steps back the policy sees; with 0 a row is one observation, else see :meth:`memory`.
        seen: Shape of one observation of the environment.
    """

    agent: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    num_actions: int
    rationality: float
    training_rationality: float
    _network: Network
    masked: bool = False
    history: int = 0
    seen: tuple[int, ...] = ()

    def memory(self, num_envs: int = 1) -> Memory:
        """What keeps the policy's history while it plays in some environments at once, and makes rows of observations.

        ``memory.see(observations)`` gives the rows for :meth:`act`, ``memory.did(actions)`` takes what was done, and
        ``memory.begin()`` forgets it at the start of an episode.

        Raises:
            ValueError: If the policy has none.
        """
        if not self.history:
            raise ValueError(f"the policy of {self.agent!r} was trained without a history: give it observations")
        return Memory(self.history, self.seen, self.num_actions, self.dtype, num_envs)

    def q(self, observations: npt.ArrayLike, action_mask: npt.ArrayLike | None = None) -> Array:
        """Action values, the policy's logits at rationality 1.

        Args:
            observations: ``(B, *shape)``.
            action_mask: ``(B, A)``, where the policy is :attr:`masked`; of illegal actions the values are -1e30.

        Returns:
            ``(B, A)``, float64.

        Raises:
            ValueError: If observations or masks have another shape, or a mask is missing or one too many.
        """
        batch = _batch(observations, self)
        if not self.masked and action_mask is not None:
            raise ValueError(f"the policy of {self.agent!r} was trained without action masks: leave action_mask out")
        inputs = (batch, self._mask(action_mask, len(batch))) if self.masked else (batch,)
        return _checked(self._network(*inputs), (len(batch), self.num_actions), self.agent)

    def _mask(self, given: npt.ArrayLike | None, rows: int) -> Array:
        if given is None:
            raise ValueError(f"the policy of {self.agent!r} asks for what is legal: give action_mask, (B, actions)")
        mask = np.asarray(given) != 0
        if mask.shape != (rows, self.num_actions):
            raise ValueError(
                f"action_mask of {self.agent!r} has shape {mask.shape}, expected {(rows, self.num_actions)}"
            )
        return mask

    def log_probabilities(
        self,
        observations: npt.ArrayLike,
        rationality: float | None = None,
        action_mask: npt.ArrayLike | None = None,
    ) -> Array:
        """Logarithms of :meth:`probabilities`, ``(B, A)`` in nats."""
        logits = self._rationality(rationality) * self.q(observations, action_mask)
        shifted: Array = logits - logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    def probabilities(
        self,
        observations: npt.ArrayLike,
        rationality: float | None = None,
        action_mask: npt.ArrayLike | None = None,
    ) -> Array:
        """Probabilities of all actions.

        Args:
            observations: ``(B, *shape)``.
            rationality: Inverse temperature > 0; None: that of evaluation.
            action_mask: As in :meth:`q`.

        Returns:
            ``(B, A)``, float64; rows sum to 1.

        Raises:
            ValueError: If observations have another shape, or the rationality is not above 0.
        """
        return np.exp(self.log_probabilities(observations, rationality, action_mask))

    def act(
        self,
        observations: npt.ArrayLike,
        rng: np.random.Generator,
        greedy: bool = False,
        rationality: float | None = None,
        action_mask: npt.ArrayLike | None = None,
    ) -> Array:
        """Draws actions.

        Args:
            observations: ``(B, *shape)``.
            rng: Source of the draws; not used by greedy play.
            greedy: Takes the most likely action.
            rationality: As in :meth:`probabilities`.
            action_mask: As in :meth:`q`.

        Returns:
            ``(B,)``, int64 in ``[0, A)``.

        Raises:
            ValueError: As :meth:`probabilities`.
        """
        scores = self.log_probabilities(observations, rationality, action_mask)
        if not greedy:
            scores = scores + rng.gumbel(size=scores.shape)  # Gumbel-max: the largest is a draw from the policy
        return scores.argmax(-1).astype(np.int64)

    def _rationality(self, value: float | None) -> float:
        chosen = self.rationality if value is None else value
        if not (chosen > 0 and math.isfinite(chosen)):
            raise ValueError(f"rationality is {chosen!r}: it must be a number above 0")
        return chosen


@dataclass(frozen=True)
class Reward:
    """One agent's recovered reward ``R_i(s, a_i, a_-i)``, in nats divided by the training rationality.

    Attributes:
        agent: Its name.
        others: The other agents, in the order of their actions.
    """

    agent: str
    others: tuple[str, ...]
    _policies: Mapping[str, Policy]
    _network: Network

    def __call__(self, observations: npt.ArrayLike, actions_of_others: npt.ArrayLike) -> Array:
        """Rewards of all own actions, given the others'.

        Args:
            observations: ``(B, *shape)``.
            actions_of_others: Whole numbers ``(B, m)``, columns in the order of ``others``; or ``(B, K, m)``, for K
                joint actions at each observation.

        Returns:
            ``(B, A)``, or ``(B, K, A)``; float64.

        Raises:
            ValueError: If a shape does not fit, or an action is out of range.
        """
        batch = _batch(observations, self._policies[self.agent])
        actions = np.asarray(actions_of_others)
        if actions.ndim == 2:
            return self._score(batch, self._check(actions, batch)[:, None])[:, 0]
        return self._score(batch, self._check(actions, batch))

    def marginal(
        self,
        observations: Mapping[str, npt.ArrayLike],
        rationality: Mapping[str, float] | float | None = None,
        action_masks: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Array:
        """Expected rewards of own actions over the others' exported policies, ``E_{a_-i}[ R_i(s, ., a_-i) ]``.

        Args:
            observations: ``{agent: (B, *shape)}``. An agent that is left out has left the episode: it counts as playing
                action 0, as it did in training.
            rationality: Of the others; None: that of training, under which the reward was recovered. Or by agent.
            action_masks: ``{agent: (B, A)}`` of the others, where their policies ask for them.

        Returns:
            ``(B, A)``, float64.

        Raises:
            ValueError: If the agent's own observations are missing, a name is unknown, or a shape does not fit.
            ExportError: If the others have more than ``MAX_JOINT_ACTIONS`` joint actions.
        """
        unknown = sorted(set(observations) - set(self._policies))
        if unknown or self.agent not in observations:
            raise ValueError(
                f"observations are of agents {sorted(observations)}: give those of {self.agent!r}, and of any of "
                f"{list(self.others)}"
            )
        batch = _batch(observations[self.agent], self._policies[self.agent])
        sizes = [self._policies[other].num_actions for other in self.others]
        joint = math.prod(sizes)
        if joint > MAX_JOINT_ACTIONS:
            raise ExportError(
                f"the other agents have {joint} joint actions, more than {MAX_JOINT_ACTIONS}: draw some with "
                f"policies[...].act and average rewards[{self.agent!r}](observations, draws (B, K, m)) over K"
            )
        grid = np.indices(sizes).reshape(len(sizes), joint).T if sizes else np.zeros((1, 0), np.int64)
        weights = np.ones((len(batch), joint))
        for column, other in enumerate(self.others):
            mask = (action_masks or {}).get(other)
            policy = self._other_policy(other, observations, rationality, len(batch), mask)
            weights *= policy[:, grid[:, column]]
        rows = max(1, _CELLS // joint)
        parts = [np.zeros((0, self._policies[self.agent].num_actions))]
        for start in range(0, len(batch), rows):
            part = batch[start : start + rows]
            values = self._score(part, np.broadcast_to(grid, (len(part), *grid.shape)))
            parts.append(np.einsum("bk,bka->ba", weights[start : start + rows], values))
        return np.concatenate(parts)

    def _other_policy(
        self,
        other: str,
        observations: Mapping[str, npt.ArrayLike],
        rationality: Any,
        rows: int,
        mask: npt.ArrayLike | None,
    ) -> Array:
        policy = self._policies[other]
        if other not in observations:
            return np.eye(1, policy.num_actions).repeat(rows, axis=0)
        chosen = rationality.get(other) if isinstance(rationality, Mapping) else rationality
        chosen = policy.training_rationality if chosen is None else chosen
        values = policy.probabilities(observations[other], chosen, mask)
        if len(values) != rows:
            raise ValueError(f"{len(values)} observations of {other!r}, {rows} of {self.agent!r}: give equally many")
        return values

    def _check(self, actions: Array, batch: Array) -> Array:
        sizes = [self._policies[other].num_actions for other in self.others]
        if actions.ndim not in (2, 3) or actions.shape[0] != len(batch) or actions.shape[-1] != len(sizes):
            raise ValueError(
                f"actions of the others have shape {actions.shape}: expected ({len(batch)}, {len(sizes)}) or "
                f"({len(batch)}, K, {len(sizes)}), columns {list(self.others)}"
            )
        if actions.size and (actions.dtype.kind not in "iu" or actions.min() < 0 or (actions >= sizes).any()):
            raise ValueError(
                f"actions of the others are {actions.dtype} from {actions.min()} to {actions.max()}: expected whole "
                f"numbers from 0 to below {sizes}"
            )
        return actions

    def _score(self, batch: Array, actions: Array) -> Array:
        """``(B, K, A)`` of ``(B, K, m)``; without others, each observation is scored once."""
        given = actions if self.others else actions[:, :1]
        expected = (*given.shape[:2], self._policies[self.agent].num_actions)
        values = _checked(self._network(batch, given.astype(np.int64)), expected, self.agent)
        return np.broadcast_to(values, (*actions.shape[:2], values.shape[-1]))


@dataclass(frozen=True)
class Exported:
    """A folder read back.

    Attributes:
        path: The folder.
        agents: All agents, in the environment's order.
        policies: ``{agent: policy}``.
        rewards: ``{agent: reward}``.
        metadata: All of ``metadata.json``: environment, spaces, discount, gauge of the rewards, versions, checksums.
    """

    path: pathlib.Path
    agents: tuple[str, ...]
    policies: Mapping[str, Policy]
    rewards: Mapping[str, Reward]
    metadata: Mapping[str, Any]


def load(path: str | pathlib.Path, backend: str = "torch") -> Exported:
    """Reads an exported folder; every file is checked against its SHA-256 first.

    Args:
        path: The folder that ``rllib export`` wrote.
        backend: ``torch``, or ``onnx`` (onnxruntime, and a folder written with ``--onnx``).

    Raises:
        ExportError: If the folder is missing, incomplete, damaged or of another schema version, or cannot serve the
            backend.
    """
    if backend not in BACKENDS:
        raise ExportError(f"backend is {backend!r}: use one of {', '.join(BACKENDS)}")
    folder = pathlib.Path(path)
    metadata = read_metadata(folder)
    try:
        # Every file is checked, also those that this backend does not read: a damaged folder is not to be passed on.
        contents = {name: read_file(folder, name, digest) for name, digest in metadata["files"].items()}
        open_network = open_program if backend == "torch" else open_onnx
        networks: dict[str, dict[str, Network]] = {}
        for module, entry in metadata["modules"].items():
            kinds = ("policy", "reward") if "reward" in entry else ("policy",)
            networks[module] = {kind: open_network(folder, entry[kind], contents) for kind in kinds}
        return _assemble(folder, metadata, networks)
    except ExportError:
        raise
    except DAMAGE as error:
        what = f"{type(error).__name__}: {one_line(error)[:300]}"
        raise ExportError(f"{folder / METADATA} is not as `rllib export` writes it ({what}): export anew") from error


def _assemble(
    folder: pathlib.Path, metadata: Mapping[str, Any], networks: Mapping[str, Mapping[str, Network]]
) -> Exported:
    policies = {}
    for agent, module in metadata["module_of"].items():
        spaces, steps = metadata["spaces"][agent], metadata["modules"][module].get("history", 0)
        seen, actions = tuple(spaces["observation"]["shape"]), spaces["action"]["n"]
        check_sizes(agent, seen, actions, steps)
        policies[agent] = Policy(
            agent=agent,
            shape=(width(math.prod(seen), actions, steps),) if steps else seen,
            dtype=np.dtype(spaces["observation"]["dtype"]),
            num_actions=actions,
            rationality=above_zero(metadata["modules"][module]["evaluation_rationality"]),
            training_rationality=above_zero(metadata["modules"][module]["rationality"]),
            _network=networks[module]["policy"],
            masked=spaces.get("action_mask") is True,
            history=steps,
            seen=seen,
        )
    rewards = {
        agent: Reward(agent, tuple(metadata["others"][agent]), policies, networks[module]["reward"])
        for agent, module in metadata["module_of"].items()
        if "reward" in networks[module]
    }
    if sorted(metadata["agents"]) != sorted(policies) or any(
        set(each.others) - set(policies) for each in rewards.values()
    ):
        raise ValueError("its agents are not those that have policies")
    return Exported(folder, tuple(metadata["agents"]), policies, rewards, metadata)


def _checked(values: Array, shape: tuple[int, ...], agent: str) -> Array:
    """What a network gave, as float64, or that it is none of this agent's."""
    if values.shape != shape or values.dtype.kind not in "biuf":
        raise ExportError(f"a network of {agent!r} gives {values.dtype} {values.shape}, not {shape}: export anew")
    return values.astype(np.float64)


def _batch(observations: npt.ArrayLike, policy: Policy) -> Array:
    batch = np.ascontiguousarray(observations, dtype=policy.dtype)
    if batch.shape[1:] != policy.shape or batch.ndim != len(policy.shape) + 1:
        raise ValueError(
            f"observations of {policy.agent!r} have shape {batch.shape}, expected (B, "
            f"{', '.join(map(str, policy.shape))}): give a batch, one observation with observation[None]"
        )
    return batch

"""How decidedly trained policies act: chosen from their own play, without a look at rewards.

A policy that acts at a higher rationality than it was trained at errs less than its expert did, until it is so decided
that it gets stuck: two chefs in each other's way who insist. Play that is stuck comes back to the same states.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rllib_mamql.algorithms.mamql.chosen import COMING_BACK, DEMONSTRATED, MULTIPLE
from rllib_mamql.algorithms.mamql.coverage import bin_widths, state_codes
from rllib_mamql.columns import EPS_ID, OBS, JointColumns, column
from rllib_mamql.data.history_rows import without_history
from rllib_mamql.evaluation.evaluate import checkpoint_returns
from rllib_mamql.learning.checkpoint import Checkpoint, act_at
from rllib_mamql.learning.config import AUTO
from rllib_mamql.learning.demonstrations import find_demonstrations
from rllib_mamql.networks.tensors import to_tensor
from rllib_mamql.play.actors import checkpoint_actor, most_steps
from rllib_mamql.play.named import checkpoint_rollout

MULTIPLES = (3.0, 2.0, 1.5)
"""Multiples of the training rationality that are tried, one after the other, until play at one is not stuck."""
ALLOWED = 0.1
"""By how much the share of states that play comes back to may exceed that of the demonstrations or of training."""
STEPS, ENVS = 1600, 16
"""Joint steps of play at each multiple, and the environments that are stepped together."""
MOST_BYTES, KEPT_BYTES = 2**30, 2**28
"""Of the observations in that play, and of those that are kept at a time: of large images fewer steps are played."""


@dataclass(frozen=True)
class Decided:
    """How decidedly to act, and why.

    Attributes:
        multiple: Of the training rationality.
        coming_back: For each multiple that was tried, the share of states in [0, 1] in which the episode was before.
        demonstrated: That share in the demonstrations; None where they are not at hand.
    """

    multiple: float
    coming_back: Mapping[float, float]
    demonstrated: float | None


def decide(stored: Checkpoint, demonstrations: JointColumns | None, *, seed: int = 0) -> Decided:
    """The first of ``MULTIPLES`` of the training rationality at which play is not stuck, or that of training itself.

    Args:
        stored: The checkpoint.
        demonstrations: Those of training; None where they are gone.
        seed: Of environments and actions.
    """
    agents = list(stored.module_of)
    if demonstrations is not None:
        demonstrations = _as_shown(stored, demonstrations)
    as_trained = _play(stored, 1.0, seed)
    first = next(as_trained)
    widths = widths_of(first if demonstrations is None else demonstrations, agents)
    shown = None if demonstrations is None else coming_back([demonstrations], agents, widths)
    shares = {1.0: coming_back(itertools.chain([first], as_trained), agents, widths)}
    most = max(shares[1.0], shown or 0.0) + ALLOWED
    for multiple in MULTIPLES:
        shares[multiple] = coming_back(_play(stored, multiple, seed), agents, widths)
        if shares[multiple] <= most:
            return Decided(multiple, shares, shown)
    return Decided(1.0, shares, shown)


def is_left_open(stored: Checkpoint) -> bool:
    """Whether a checkpoint leaves it to :func:`act_decidedly` how decidedly to act."""
    return bool(stored.settings.get("evaluation_rationality") == AUTO)


def act_decidedly(stored: Checkpoint, *, seed: int = 0) -> Decided:
    """Makes a checkpoint act as :func:`decide` finds, and records why.

    Args:
        stored: The checkpoint; its folder is written to.
        seed: Of environments and actions.
    """
    found = decide(stored, find_demonstrations(stored), seed=seed)
    rationality = found.multiple * float(stored.settings["rationality"])
    why = {MULTIPLE: found.multiple, COMING_BACK: found.coming_back[found.multiple], DEMONSTRATED: found.demonstrated}
    act_at(stored.path, found.multiple, {"evaluation_rationality": rationality, **why})
    return found


def coming_back(parts: Iterable[JointColumns], agents: Sequence[str], widths: Mapping[str, Tensor]) -> float:
    """Share of joint states, in [0, 1], in which their episode was before.

    Args:
        parts: Joint steps, some at a time.
        agents: All agents: a state is what all of them observe.
        widths: By agent, widths ``(F,)`` of the bins of its observation's numbers, from ``coverage.bin_widths``.
    """
    codes, names = [], []
    for columns in parts:
        codes.append(state_codes(_observations(columns, agents), agents, widths).numpy())
        names.append(columns[EPS_ID].astype(str))
    _, episodes = np.unique(np.concatenate(names), return_inverse=True)
    return 1.0 - len(np.unique(np.stack([episodes, np.concatenate(codes)], 1), axis=0)) / len(episodes)


def widths_of(columns: JointColumns, agents: Sequence[str]) -> dict[str, Tensor]:
    """Widths of bins, for :func:`coming_back`, from the spread of joint steps."""
    return bin_widths(_observations(columns, agents), agents)


def _observations(columns: JointColumns, agents: Sequence[str]) -> dict[str, Tensor]:
    return {name: to_tensor(columns[name]) for name in (column(OBS, agent) for agent in agents)}


def _play(stored: Checkpoint, multiple: float, seed: int) -> Iterator[JointColumns]:
    steps, part = (max(ENVS, min(STEPS, most_steps(stored, most))) for most in (MOST_BYTES, KEPT_BYTES))
    rollout = checkpoint_rollout(stored, ENVS, seed + 2)
    try:
        with acting_at(stored, multiple):
            actor = checkpoint_actor(stored, seed + 2)
            for first in range(0, steps, part):
                yield _as_shown(stored, rollout.run(actor, num_steps=min(part, steps - first))[0])
    finally:
        rollout.close()


def _as_shown(stored: Checkpoint, columns: JointColumns) -> JointColumns:
    """Joint steps as the environment shows them: states come back whatever was seen before."""
    spaces = {agent: stored.modules[module].observation_space for agent, module in stored.module_of.items()}
    return without_history(columns, spaces)[0]


@contextlib.contextmanager
def acting_at(stored: Checkpoint, multiple: float) -> Iterator[None]:
    """Within, the policies act at a multiple of their training rationality."""
    before = {module: module.evaluation_rationality for module in stored.modules.values()}
    for module in before:
        module.evaluation_rationality = multiple * module.rationality
    try:
        yield
    finally:
        for module, rationality in before.items():
            module.evaluation_rationality = rationality


def return_as_trained(stored: Checkpoint, *, episodes: int, seed: int = 0) -> float:
    """Mean return of play at the rationality of training.

    Args:
        stored: The checkpoint.
        episodes: How many to play, >= 1.
        seed: Of environments and actions.
    """
    with acting_at(stored, 1.0):
        return checkpoint_returns(stored, episodes=episodes, seed=seed).mean

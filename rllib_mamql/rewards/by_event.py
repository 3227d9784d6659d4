"""What a recovered reward pays for, told from play: its mean at each kind of reward event and at no event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rllib_mamql.columns import ACTIONS, ALIVE, EPS_ID, OBS, JointColumns, column, concatenate, pour_together
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.networks.tensors import rows_at_once, to_tensor
from rllib_mamql.play.actors import checkpoint_actor
from rllib_mamql.play.named import single_rollout
from rllib_mamql.rewards.determined import even_agents, indifferent_agents, unscaled_agents
from rllib_mamql.rewards.paid import NO_EVENT, best_kind, in_words
from rllib_mamql.rewards.store import cut_short, has_reward

EPISODES = 10


@torch.no_grad()
def recovered_reward(stored: Checkpoint, agent: str, columns: JointColumns) -> np.ndarray:
    """``R_i(s, a_i, a_-i)`` of joint steps, ``(N,)``; rows in which the agent was not alive mean nothing."""
    module = stored.modules[stored.module_of[agent]]
    others = [other for other in stored.module_of if other != agent]
    observations = to_tensor(columns[column(OBS, agent)])
    taken = np.stack([columns[column(ACTIONS, other)] for other in others], axis=-1) if others else None
    joint = torch.zeros(len(observations), 0, dtype=torch.long) if taken is None else torch.as_tensor(taken)
    rewards = module.reward(observations, joint)
    actions = torch.as_tensor(columns[column(ACTIONS, agent)])
    return rewards.gather(-1, actions.unsqueeze(-1)).squeeze(-1).numpy()


class _Rewards:
    """Recovered rewards of play, row by row; what agents saw is kept no longer than that takes."""

    def __init__(self, stored: Checkpoint, agents: Sequence[str]) -> None:
        self._stored, self._agents = stored, agents
        self._waiting: list[JointColumns] = []
        self._told: list[JointColumns] = []
        self._paid: list[JointColumns] = []

    def see(self, columns: JointColumns) -> None:
        """Takes the joint steps of a batched step."""
        kept = [EPS_ID, *(column(what, agent) for agent in self._agents for what in (OBS, ACTIONS, ALIVE))]
        self._waiting.append({name: columns[name] for name in kept})
        rows = len(columns[EPS_ID])
        if (len(self._waiting) + 1) * rows > min(rows_at_once(columns[column(OBS, agent)]) for agent in self._agents):
            self._score()

    def _score(self) -> None:
        columns = pour_together(self._waiting)
        self._paid.append({agent: recovered_reward(self._stored, agent, columns) for agent in self._agents})
        self._told.append({name: values for name, values in columns.items() if not name.startswith(f"{OBS}.")})

    def all(self) -> tuple[JointColumns, JointColumns]:
        """By agent, its reward in every row ``(N,)``; and the columns of the rows, but for observations."""
        if self._waiting:
            self._score()
        return concatenate(self._paid), concatenate(self._told)


def reward_by_event(
    stored: Checkpoint, *, episodes: int = EPISODES, seed: int = 0, greedy: bool = False
) -> dict[str, dict[str, Any]]:
    """Mean recovered reward at each kind of event of the environment, and where there was none.

    The events are the environment's own (deliveries, gems taken, ...): they serve to read the reward, the reward was
    learned without them. It is known up to potential shaping only.

    Args:
        stored: The checkpoint.
        episodes: Episodes to play.
        seed: Seed of environment and actions.
        greedy: Plays the most likely actions.

    Returns:
        ``{agent: {kind: {"mean": recovered reward, "sd": its standard deviation, "steps": how many, "an_episode": how
        often}}}``, kinds by falling mean; empty where the checkpoint holds no rewards. Where there
        is no event also "beyond": how often that is paid more than the kind that is paid most.
    """
    if not all(has_reward(module) for module in stored.modules.values()):
        return {}
    rollout = single_rollout(stored, min(episodes, 8), seed)
    happened: dict[str, list[Mapping[str, int]]] = {agent: [] for agent in rollout.agents}
    rollout.on_step = lambda agent, events: happened[agent].append(events)
    try:
        paid = _Rewards(stored, rollout.agents)
        actor = checkpoint_actor(stored, seed, greedy=greedy)
        _, finished = rollout.run(actor, num_episodes=episodes, keep=False, show=paid.see)
        rewards_of, columns = paid.all()
    finally:
        rollout.close()
    # Environments that finish early go on with episodes that nobody asked for.
    asked = np.isin(columns[EPS_ID].astype(str), [episode.eps_id for episode in finished])
    result: dict[str, dict[str, Any]] = {}
    for agent in rollout.agents:
        alive = columns[column(ALIVE, agent)].astype(bool)
        rewards = rewards_of[agent][alive & asked]
        events = [kinds for kinds, wanted in zip(happened[agent], asked[alive], strict=True) if wanted]
        rows: dict[str, list[float]] = {}
        for value, kinds in zip(rewards, events, strict=True):
            for kind in [kind for kind, count in kinds.items() if count] or [NO_EVENT]:
                rows.setdefault(kind, []).append(float(value))
        summary = {
            kind: {
                "mean": float(np.mean(values)),
                "sd": float(np.std(values)),
                "steps": len(values),
                "an_episode": len(values) / len(finished),
            }
            for kind, values in rows.items()
        }
        best = best_kind(summary)
        if best is not None and NO_EVENT in rows:
            above = int(np.count_nonzero(np.asarray(rows[NO_EVENT]) > summary[best]["mean"]))
            summary[NO_EVENT]["beyond"] = above / len(finished)
        result[agent] = dict(sorted(summary.items(), key=lambda item: -item[1]["mean"]))
    return result


def told_rewards(
    stored: Checkpoint,
    how: Mapping[str, Any] | None,
    demonstrations: JointColumns | None,
    episodes: int,
    seed: int,
    greedy: bool = False,
) -> dict[str, Any]:
    """What a checkpoint's rewards pay for, and what of that its demonstrations do not determine.

    Args:
        stored: The checkpoint.
        how: The document of its recovered rewards; None: they are those that its critics imply.
        demonstrations: Those of training; None where they are gone.
        episodes: Episodes to play.
        seed: Seed of environment and actions.
        greedy: Plays the most likely actions.

    Returns:
        The fields of an ``EvaluationResult`` that speak of rewards; none where there are no rewards.
    """
    paid = reward_by_event(stored, episodes=episodes, seed=seed, greedy=greedy)
    if not paid:
        return {}
    gauge = "none" if how is None else str(how["settings"]["gauge"])
    unscaled = [] if demonstrations is None else unscaled_agents(stored, demonstrations)
    indifferent = [] if demonstrations is None else indifferent_agents(stored, demonstrations)
    even = [] if demonstrations is None else even_agents(stored, demonstrations)
    said = in_words(unscaled, indifferent, paid, even)
    if cut := cut_short(how):
        said.append(f"the recovery of {', '.join(cut)} was ended by its budget: `rllib recover` has no limit")
    return {
        "recovered_rewards": paid,
        "reward_gauge": gauge,
        "undetermined": said,
        "unscaled": list(dict.fromkeys([*unscaled, *indifferent, *even])),
    }

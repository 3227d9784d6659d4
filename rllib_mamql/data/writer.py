"""Writes demonstrations step by step, as they happen, or episode by episode."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rllib_mamql.columns import ALL_AGENTS, JointColumns, concatenate, has_rewards, num_rows
from rllib_mamql.data.about import metadata_of
from rllib_mamql.data.episodes import AgentEpisode, Episode, joint_steps
from rllib_mamql.data.metadata import ReturnSummary
from rllib_mamql.data.writing import free_folder, write_dataset
from rllib_mamql.errors import DatasetError

Flags = Mapping[str, bool] | bool | None


@dataclass
class _Track:
    """What an agent saw and did so far in the episode under way."""

    start: int
    observations: list[Any]
    actions: list[Any] = field(default_factory=list)
    rewards: list[Any] = field(default_factory=list)
    terminated: bool = False
    ended: bool = False


class DemonstrationWriter:
    """Writes demonstrations as a dataset that ``input_``, `rllib inspect` and the other commands read.

    ::

        with DemonstrationWriter(env, "my_data") as writer:
            for _ in range(100):
                observations, _ = env.reset()
                writer.reset(observations)
                while env.agents:
                    actions = expert(observations)
                    observations, rewards, terminateds, truncateds, _ = env.step(actions)
                    writer.step(actions, observations, rewards, terminateds, truncateds)

    The dataset appears whole when the writer is closed, or not at all: not where the ``with`` block fails. Agents may
    enter late, by acting for the first time, and leave early, by a flag at their last step. An episode that is not
    over when the next begins, or when the writer closes, counts as cut there.

    Args:
        env: A PettingZoo parallel environment (or one of RLlib's), or ``{agent: (observation space, action space)}``.
        path: Folder to create; may exist if it is empty.
        name: Name of the environment, as in ``env:`` of an experiment; training then refuses another one.
        env_config: Its keywords.
        expert: Who plays, for the metadata.
        seed: Seed of the play, for the metadata.
        licence: Licence of the data, for the metadata.
        command: What makes the dataset, for the metadata.
        random_return: Return of random play, for the metadata: the lower end of normalised scores.

    Raises:
        DatasetError: If the spaces are not Box and Discrete, or the folder holds something.
    """

    def __init__(
        self,
        env: Any,
        path: str | pathlib.Path,
        *,
        name: str | None = None,
        env_config: Mapping[str, Any] | None = None,
        expert: str | None = None,
        seed: int | None = None,
        licence: str | None = None,
        command: str | None = None,
        random_return: ReturnSummary | None = None,
    ) -> None:
        about: dict[str, Any] = {"expert": expert, "seed": seed, "licence": licence, "command": command}
        self.metadata = metadata_of(env, name=name, env_config=env_config, random_return=random_return, **about)
        self.path = free_folder(path)
        self._parts: list[JointColumns] = []
        self._names: set[str] = set()
        self._tracks: dict[str, _Track] = {}
        self._seen: dict[str, Any] = {}
        self._t: int | None = None
        self._paid: bool | None = None
        self._closed = False

    @property
    def steps(self) -> int:
        """Joint steps so far."""
        return sum(map(num_rows, self._parts)) + (self._t or 0)

    def reset(self, observations: Mapping[str, Any]) -> None:
        """Begins an episode.

        Args:
            observations: What each agent sees, ``{agent: (*obs)}``; agents that enter later may be left out.
        """
        self._check_open()
        self._finish()
        self._t, self._seen = 0, dict(observations)

    def step(
        self,
        actions: Mapping[str, Any],
        observations: Mapping[str, Any],
        rewards: Mapping[str, Any] | None = None,
        terminateds: Flags = None,
        truncateds: Flags = None,
    ) -> None:
        """Adds a joint step; the order of the arguments is that of an environment's ``step``.

        Args:
            actions: What each agent did, ``{agent: number}``.
            observations: What each agent sees after it.
            rewards: ``{agent: number}``; None where there are none, and then for the whole dataset.
            terminateds: For whom the task is over, ``{agent: bool}``, or one bool for all.
            truncateds: For whom the recording is cut.

        Raises:
            DatasetError: If no episode was begun, or an agent acts that has not seen anything or has ended, or one that
                is under way does not act or sees nothing afterwards.
        """
        self._check_open()
        if self._t is None:
            raise DatasetError("step() before reset(): call reset(observations) where an episode begins")
        if not actions:
            raise DatasetError(f"nobody acts at t={self._t}: give {{agent: action}}, or call reset() if all have ended")
        for agent, track in self._tracks.items():
            if not track.ended and agent not in actions:
                raise DatasetError(
                    f"'{agent}' does not act at t={self._t}, but its part is not over: give its action, or flag it "
                    "as terminated or truncated at its last step"
                )
        for agent, action in actions.items():
            self._add(agent, action, observations, rewards, terminateds, truncateds)
        self._seen.update(observations)
        self._t += 1

    def _add(
        self,
        agent: str,
        action: Any,
        observations: Mapping[str, Any],
        rewards: Mapping[str, Any] | None,
        terminateds: Flags,
        truncateds: Flags,
    ) -> None:
        assert self._t is not None
        where = f"'{agent}' acts at t={self._t}"
        if agent not in self._tracks:
            if agent not in self._seen:
                raise DatasetError(f"{where} without an observation before: give it to reset(), or to the last step()")
            self._tracks[agent] = _Track(self._t, [self._seen[agent]])
        track = self._tracks[agent]
        if track.ended:
            raise DatasetError(f"{where} after its end: an agent takes part once, call reset() for the next episode")
        track.terminated = _flag(terminateds, agent)
        track.ended = track.terminated or _flag(truncateds, agent)
        if agent in observations:
            track.observations.append(observations[agent])
        elif track.terminated:  # What follows a terminal state counts for nothing.
            track.observations.append(track.observations[-1])
        else:
            raise DatasetError(f"{where} and sees nothing afterwards: give its observation, also where it is cut")
        if rewards is not None:
            if agent not in rewards:
                raise DatasetError(f"{where}, but the rewards are of {sorted(rewards)}: give all of them, or none")
            track.rewards.append(rewards[agent])
        track.actions.append(action)

    def add_episode(self, episode: Episode, eps_id: str | None = None) -> None:
        """Adds a whole episode.

        Args:
            episode: ``{agent: AgentEpisode}``.
            eps_id: Its name, unlike any other's; None numbers it.

        Raises:
            DatasetError: If arrays do not fit together, or the spaces.
        """
        self._check_open()
        self._finish()
        self._append(episode, eps_id)

    def _append(self, episode: Episode, eps_id: str | None = None) -> None:
        eps_id = f"eps-{len(self._parts):06d}" if eps_id is None else str(eps_id)
        if eps_id in self._names:
            raise DatasetError(f"episode '{eps_id}' was written before: give every episode its own name")
        columns = joint_steps(eps_id, episode, self.metadata)
        if not num_rows(columns):
            return
        paid = has_rewards(columns, self.metadata.agents)
        if self._paid not in (None, paid):
            raise DatasetError(
                f"episode '{eps_id}' has {'' if paid else 'no '}rewards, unlike those before: give them always or never"
            )
        self._paid = paid
        self._names.add(eps_id)
        self._parts.append(columns)

    def _finish(self) -> None:
        """Keeps the episode under way, if there is one."""
        tracks, self._tracks, self._seen, self._t = self._tracks, {}, {}, None
        episode = {}
        for agent, track in tracks.items():
            if track.rewards and len(track.rewards) < len(track.actions):
                raise DatasetError(f"'{agent}' has rewards at {len(track.rewards)} of {len(track.actions)} steps only")
            episode[agent] = AgentEpisode(
                track.observations, track.actions, track.rewards or None, track.terminated, track.start
            )
        if episode:
            self._append(episode)

    def close(self) -> None:
        """Writes the dataset; does nothing the second time.

        Raises:
            DatasetError: If there are no steps, values are not finite or out of range, or it cannot be written.
        """
        if self._closed:
            return
        self._finish()
        self._closed = True
        if not self._parts:
            raise DatasetError(f"no step was recorded for {self.path}: nothing is written")
        write_dataset(concatenate(self._parts), self.metadata, self.path)

    def _check_open(self) -> None:
        if self._closed:
            raise DatasetError(f"the writer of {self.path} is closed: open another one, with another path")

    def __enter__(self) -> DemonstrationWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._closed = True


def _flag(flags: Flags, agent: str) -> bool:
    if isinstance(flags, Mapping):
        return bool(flags.get(agent, False) or flags.get(ALL_AGENTS, False))
    return bool(flags)

"""Refuses columns that do not hold together, and datasets that do not fit an environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from rllib_mamql.columns import (
    ACTIONS,
    AGENT_PREFIXES,
    ALIVE,
    EPS_ID,
    MASK,
    NEXT_MASK,
    NEXT_OBS,
    OBS,
    REWARDS,
    TERMINATEDS,
    TRUNCATEDS,
    WEIGHT,
    Array,
    T,
    column,
    num_rows,
)
from rllib_mamql.data.bounds import Bounds
from rllib_mamql.data.masks import MaskedBox, is_masked, seen_space
from rllib_mamql.data.metadata import DatasetMetadata, _plain
from rllib_mamql.errors import DatasetError, nearest

Locate = Callable[[int], str]
"""Names the file of a row, for messages."""

IGNORED_ENV_CONFIG = frozenset({"render_mode", "horizon"})
"""Keywords that change neither observations nor dynamics in any environment: a dataset fits whatever their value."""

_DTYPES = {ACTIONS: np.int64, REWARDS: np.float32, TERMINATEDS: np.bool_, TRUNCATEDS: np.bool_, ALIVE: np.bool_}


def validate_columns(columns: Mapping[str, Array], metadata: DatasetMetadata, locate: Locate | None = None) -> None:
    """Checks names, shapes, dtypes, values and episodes; the order of the rows does not matter.

    Args:
        columns: Joint steps, see :mod:`rllib_mamql.columns`.
        metadata: What the columns should be.
        locate: Names the file of a row; messages then start with it.

    Raises:
        DatasetError: With what is wrong, where, what was expected and what to do.
    """
    check_form(columns, metadata)
    check_values(columns, metadata, locate)
    check_episodes(columns, metadata.agents, locate)


def check_form(columns: Mapping[str, Array], metadata: DatasetMetadata) -> None:
    """Checks that exactly the columns of the schema are there, with the right shapes and dtypes.

    Raises:
        DatasetError: If not.
    """
    required = [EPS_ID, T, *(column(p, agent) for agent in metadata.agents for p in AGENT_PREFIXES if p != REWARDS)]
    paid = [column(REWARDS, agent) for agent in metadata.agents]
    check_names(list(columns), required, [WEIGHT, *paid], metadata.agents)
    check_rewards(list(columns), metadata.agents)
    rows = num_rows(columns)
    if rows == 0:
        raise DatasetError("the dataset has no rows, expected at least one joint step: record it again")

    def check(name: str, shape: tuple[int, ...], ok: bool, expected: str) -> None:
        values = columns[name]
        if values.shape != (rows, *shape):
            raise DatasetError(
                f"column '{name}' has shape {values.shape}, expected {(rows, *shape)} (rows first): "
                "fix the array or the spaces in the metadata"
            )
        if not ok:
            raise DatasetError(f"column '{name}' has dtype {values.dtype}, expected {expected}: cast it")

    check(EPS_ID, (), columns[EPS_ID].dtype.kind in "UOT", "str")
    check(T, (), columns[T].dtype.kind in "iu", "an integer")
    if WEIGHT in columns:
        check(WEIGHT, (), columns[WEIGHT].dtype == np.float32, "float32")
    for agent in metadata.agents:
        space = metadata.spaces[agent].observation
        for prefix in AGENT_PREFIXES:
            name = column(prefix, agent)
            if prefix == REWARDS and name not in columns:
                continue
            is_obs = prefix in (OBS, NEXT_OBS)
            dtype = np.dtype(space.dtype if is_obs else _DTYPES[prefix])
            check(name, space.shape if is_obs else (), columns[name].dtype == dtype, str(dtype))


def check_names(found: Sequence[str], required: Sequence[str], optional: Sequence[str], agents: Sequence[str]) -> None:
    """Checks that ``found`` is ``required`` plus some of ``optional``.

    Raises:
        DatasetError: If a column is missing or one too many, with the nearest name.
    """
    missing = [name for name in required if name not in found]
    extra = [name for name in found if name not in required and name not in optional]
    if missing:
        hint = f"; found instead {extra}" if extra else ""
        raise DatasetError(f"columns {missing} are missing (agents {list(agents)}){hint}: add them")
    if extra:
        raise DatasetError(
            f"column '{extra[0]}' is not part of the schema (agents {list(agents)}), "
            # A name as short as t is near to everything.
            f"rename or drop it; {nearest(extra[0], [name for name in (*required, *optional) if len(name) > 1])}"
        )


def check_rewards(found: Sequence[str], agents: Sequence[str]) -> None:
    """Checks that all agents have rewards, or none.

    Raises:
        DatasetError: If some have none.
    """
    without = [name for agent in agents if (name := column(REWARDS, agent)) not in found]
    if 0 < len(without) < len(agents):
        raise DatasetError(
            f"columns {without} are missing, while other agents (of {list(agents)}) have rewards: "
            "add them, or leave out every agent's rewards"
        )


def check_values(columns: Mapping[str, Array], metadata: DatasetMetadata, locate: Locate | None = None) -> None:
    """Checks the values of each row on its own: action range, NaN or infinity, bounds of observations, weights.

    Cells of an agent that is not alive mean nothing and are not looked at.

    Raises:
        DatasetError: Naming the first bad row.
    """
    for agent in metadata.agents:
        alive = columns[column(ALIVE, agent)].astype(bool)
        spaces = metadata.spaces[agent]
        first, last = spaces.start, spaces.start + int(spaces.action.n) - 1
        actions = columns[column(ACTIONS, agent)]
        bad = alive & ((actions < first) | (actions > last))  # type: ignore[operator]
        if bad.any():
            row = int(bad.argmax())
            raise DatasetError(
                f"{where(columns, row, locate)}: action of '{agent}' is {actions[row]}, expected {first} to {last} "
                f"({spaces.action}): record it with the same action space, or fix the metadata"
            )
        for prefix in (OBS, NEXT_OBS, REWARDS):
            values = columns.get(column(prefix, agent))
            if values is None or values.dtype.kind != "f":
                continue
            bad = alive & ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if bad.any():
                row = int(bad.argmax())
                cell = np.asarray(values[row]).ravel()
                raise DatasetError(
                    f"{where(columns, row, locate)}: '{column(prefix, agent)}' holds "
                    f"{cell[~np.isfinite(cell)][0]}, expected finite numbers: drop the episode or record it again"
                )
        _check_bounds(columns, agent, spaces.observation, alive, locate)
        if isinstance(spaces.observation, MaskedBox):
            _check_masks(columns, agent, spaces.observation, alive, first, locate)
    if WEIGHT in columns:
        weight = columns[WEIGHT]
        bad = ~np.isfinite(weight) | (weight < 0)  # type: ignore[operator]
        if bad.any():
            row = int(bad.argmax())
            raise DatasetError(
                f"{where(columns, row, locate)}: weight is {weight[row]}, expected a finite number >= 0: "
                "0 leaves a row out, 1 is the default"
            )


def _check_bounds(
    columns: Mapping[str, Array], agent: str, space: Box, alive: npt.NDArray[np.bool_], locate: Locate | None
) -> None:
    bounds = Bounds(space)
    for prefix in (OBS, NEXT_OBS):
        values = columns[column(prefix, agent)]
        if bounds.hold(values):
            continue
        bad = alive & bounds.unsound(values)
        if bad.any():
            row = int(bad.argmax())
            raise DatasetError(
                f"{where(columns, row, locate)}: '{column(prefix, agent)}' holds {bounds.describe(values[row])}: drop "
                "the episode, or widen low and high in the metadata and in the environment's space"
            )


def _check_masks(
    columns: Mapping[str, Array],
    agent: str,
    space: MaskedBox,
    alive: npt.NDArray[np.bool_],
    first: int,
    locate: Locate | None,
) -> None:
    """Checks that a living agent may do something, and did what it may."""
    legal = space.legal(columns[column(OBS, agent)])
    bad = alive & ~legal.any(-1)
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{where(columns, row, locate)}: '{agent}' acts, but '{column(MASK, agent)}' allows no action: allow at "
            "least the one that it took"
        )
    numbers = np.where(alive, columns[column(ACTIONS, agent)] - first, 0)
    bad = alive & ~np.take_along_axis(legal, numbers[:, None], axis=1)[:, 0]
    if bad.any():
        row = int(bad.argmax())
        allowed = (np.flatnonzero(legal[row]) + first).tolist()
        raise DatasetError(
            f"{where(columns, row, locate)}: action of '{agent}' is {numbers[row] + first}, which is illegal there "
            f"('{column(MASK, agent)}' allows {allowed[:20]}): drop the episode or record it again"
        )
    ended = columns[column(TERMINATEDS, agent)] | columns[column(TRUNCATEDS, agent)]  # type: ignore[operator]
    bad = alive & ~ended.astype(bool) & ~space.legal(columns[column(NEXT_OBS, agent)]).any(-1)
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{where(columns, row, locate)}: '{agent}' acts next, but '{column(NEXT_MASK, agent)}' allows no action: "
            "write down what it may do"
        )


def episode_order(columns: Mapping[str, Array]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Groups rows by episode and sorts them by time.

    Returns:
        ``order`` (N,): row numbers sorted by episode and t; ``episode`` (N,): number of the episode of each
        row in that order.
    """
    _, episode = np.unique(columns[EPS_ID].astype(str), return_inverse=True)
    order = np.lexsort((columns[T], episode))
    return order, episode[order]


def check_episodes(columns: Mapping[str, Array], agents: Sequence[str], locate: Locate | None = None) -> None:
    """Checks that every episode counts t from 0 without gaps and ends properly for each agent.

    Needs only eps_id, t and each agent's terminateds, truncateds and alive.

    Raises:
        DatasetError: Naming the first bad row.
    """
    order, episode = episode_order(columns)
    t = columns[T][order].astype(np.int64)
    first = np.append(True, episode[1:] != episode[:-1])
    last = np.append(first[1:], True)
    expected = np.where(first, 0, np.append(0, t[:-1] + 1))
    bad = t != expected
    if bad.any():
        at = int(bad.argmax())
        if first[at]:
            what = f"the episode starts at t={t[at]}, expected 0: record its first steps or count t from 0"
        elif t[at] == t[at - 1]:
            what = f"t={t[at]} appears twice in the episode, expected once: give every episode its own eps_id"
        else:
            what = f"t jumps from {t[at - 1]} to {t[at]}, expected {expected[at]}: drop the episode or record it again"
        raise DatasetError(f"{where(columns, order[at], locate)}: {what}")
    for agent in agents:
        alive = columns[column(ALIVE, agent)][order].astype(bool)
        ended = columns[column(TERMINATEDS, agent)] | columns[column(TRUNCATEDS, agent)]  # type: ignore[operator]
        ended = ended[order].astype(bool) & alive
        next_alive = np.append(alive[1:], False) & ~last
        _check_end(columns, agent, order, alive & ~ended & ~next_alive, last, locate)
        revived = ended & next_alive
        # An agent may be born late, but never twice: born again without an end in between is the same gap.
        if revived.any():
            at = int(revived.argmax())
            raise DatasetError(
                f"{where(columns, order[at + 1], locate)}: '{agent}' is alive after it terminated or was truncated "
                f"at t={t[at]}, expected alive=False to the end of the episode: set it, or fix the flags"
            )
        born = alive & np.append(True, ~alive[:-1]) | (alive & first)
        births = np.bincount(episode[born], minlength=1)
        if (births > 1).any():
            number = int(births.argmax())
            at = int(np.flatnonzero(born & (episode == number))[1])
            raise DatasetError(
                f"{where(columns, order[at], locate)}: '{agent}' is alive again after its end, expected "
                "alive=False to the end of the episode: start a new eps_id"
            )


def _check_end(
    columns: Mapping[str, Array],
    agent: str,
    order: npt.NDArray[np.intp],
    unended: npt.NDArray[np.bool_],
    last: npt.NDArray[np.bool_],
    locate: Locate | None,
) -> None:
    if not unended.any():
        return
    at = int(unended.argmax())
    what = "the episode ends" if last[at] else "alive becomes False"
    raise DatasetError(
        f"{where(columns, order[at], locate)}: {what} here but '{agent}' is neither terminated nor truncated, "
        "expected one of both at its last step: set truncateds where a recording was cut"
    )


def where(columns: Mapping[str, Array], row: int | np.integer[Any], locate: Locate | None = None) -> str:
    """Names a row for a message: file if known, eps_id and t."""
    prefix = f"{locate(int(row))}: " if locate else ""
    return f"{prefix}eps_id '{columns[EPS_ID][row]}', t={columns[T][row]}"


def check_environment(
    metadata: DatasetMetadata,
    agents: Sequence[str],
    observation_spaces: Mapping[str, gym.Space[Any]],
    action_spaces: Mapping[str, gym.Space[Any]],
    env: str | None = None,
    env_config: Mapping[str, Any] | None = None,
    ignored: Collection[str] = (),
) -> None:
    """Checks that a dataset fits an environment.

    Keywords in ``env_config`` are compared where both sides have them; pass the environment's resolved keywords
    to catch a dataset of another default. Where spaces were inferred from the data only shapes are compared,
    and the number of actions may be larger than was seen.

    Args:
        metadata: What the dataset says about itself.
        agents: The environment's agents, in any order.
        observation_spaces: Space by agent.
        action_spaces: Space by agent.
        env: Registered name of the environment wanted.
        env_config: Its keywords.
        ignored: Keywords that may differ, beside ``IGNORED_ENV_CONFIG``.

    Raises:
        DatasetError: If agents, shapes, dtypes, actions, environment or keywords differ.
    """
    if env and metadata.env and env != metadata.env:
        raise DatasetError(
            f"the dataset was recorded in env '{metadata.env}', but env '{env}' is wanted: "
            "choose the other dataset or the other env"
        )
    if env_config and metadata.env_config:
        for key in sorted((set(env_config) & set(metadata.env_config)) - IGNORED_ENV_CONFIG - set(ignored)):
            mine, its = _canonical(env_config[key]), _canonical(metadata.env_config[key])
            if mine != its:
                raise DatasetError(
                    f"the dataset was recorded with {key} {its}, but {key} {mine} is wanted: "
                    "choose the other dataset or change env_config"
                )
    if set(agents) != set(metadata.agents):
        raise DatasetError(
            f"the dataset has agents {list(metadata.agents)}, the environment has {list(agents)}: "
            "record the dataset in this environment"
        )
    for agent in agents:
        spaces, observation, action = metadata.spaces[agent], observation_spaces[agent], action_spaces[agent]
        if spaces.masked != is_masked(observation):
            raise DatasetError(
                f"the environment says what '{agent}' may do (an action mask), the dataset does not: record it in this "
                f"environment, or add '{column(MASK, agent)}' and '{column(NEXT_MASK, agent)}'"
                if not spaces.masked
                else f"the dataset says what '{agent}' may do ('{column(MASK, agent)}'), the environment does not: "
                "give it an action mask (docs/your_environment.md#action-masks), or drop the columns"
            )
        observation, recorded = seen_space(observation), seen_space(spaces.observation)
        mine_obs = (recorded.shape, np.dtype(recorded.dtype))
        env_obs = (observation.shape, None if observation.dtype is None else np.dtype(observation.dtype))
        same = mine_obs[0] == env_obs[0] if metadata.spaces_inferred else mine_obs == env_obs
        if not same:
            raise DatasetError(
                f"observations of '{agent}' have shape {mine_obs[0]} and dtype {mine_obs[1]} in the dataset, "
                f"{env_obs[0]} and {env_obs[1]} in the environment: set env_config (for example observation) as "
                "the dataset was recorded, or record it again"
            )
        n, env_n = int(spaces.action.n), getattr(action, "n", None)
        if env_n is None or (env_n < n if metadata.spaces_inferred else env_n != n):
            raise DatasetError(
                f"'{agent}' has {n} actions in the dataset, {env_n or action} in the environment: "
                "set env_config as the dataset was recorded, or record it again"
            )


def _canonical(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=_plain)
    except TypeError:
        return repr(value)

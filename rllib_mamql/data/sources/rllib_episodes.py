"""Episodes of RLlib, live or as its recorder writes them.

An episode is read through its state, a dictionary of plain values, so that neither Ray nor a pickle is needed. RLlib's
recorder packs such states with msgpack into a column ``item`` (``output_write_episodes``). Its other form, a row for
each step, is a long table; there observations must not be compressed (``output_compress_columns=[]``), since what RLlib
compresses are pickles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from rllib_mamql.columns import ONLY_AGENT
from rllib_mamql.data.episodes import AgentEpisode, Episode, begun_at_zero
from rllib_mamql.data.frames import import_optional
from rllib_mamql.data.sources.found import Found
from rllib_mamql.errors import DatasetError

ITEM = "item"
"""Column of packed episodes."""
SKIPPED = "S"
"""RLlib's mark of a step at which an agent does not take part."""


def is_packed(schema: pa.Schema) -> bool:
    """Whether a table holds packed episodes."""
    if ITEM not in schema.names:
        return False
    kind = schema.field(ITEM).type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def unpack_episodes(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    """States of packed episodes.

    Raises:
        DatasetError: If a cell is damaged or holds objects.
    """
    msgpack = import_optional("msgpack", "reading RLlib's packed episodes")
    for row, packed in enumerate(table.column(ITEM).to_pylist()):
        try:
            state = msgpack.unpackb(packed, object_hook=_array, strict_map_key=False)
        except DatasetError as error:
            raise DatasetError(f"row {row}: {error}") from error
        except Exception as error:  # msgpack has errors of its own for every damage.
            raise DatasetError(f"row {row} is no packed episode ({type(error).__name__}): record it again") from error
        if not isinstance(state, Mapping):
            raise DatasetError(f"row {row} holds a {type(state).__name__}, expected the state of an episode")
        yield state


def _array(document: dict[Any, Any]) -> Any:
    """An array as msgpack-numpy writes it; its arrays of objects are pickles, and refused."""
    if b"nd" not in document:
        return document
    kind = document[b"type"]
    if not isinstance(kind, str) or document.get(b"kind") == b"O" or np.dtype(kind).kind not in "fiub":
        return None  # Infos, for example; where it would be of use, what reads it misses it.
    values = np.frombuffer(document[b"data"], np.dtype(kind))
    return values.reshape(document[b"shape"]) if document[b"nd"] else values[0]


def from_rllib(episodes: Iterable[Any]) -> Found:
    """Episodes of RLlib's ``MultiAgentEpisode`` or ``SingleAgentEpisode``, or their states.

    Pieces of one episode, cut by RLlib, are put together where they follow each other.

    Raises:
        DatasetError: If an agent skips a step between others, observations are no arrays, or an episode has steps that
            the agents did not finish.
    """
    whole: dict[str, Episode] = {}
    for episode in episodes:
        state = episode if isinstance(episode, Mapping) else _state(episode)
        eps_id = str(state["id_"])
        try:
            found = _multi(state) if "agent_episodes" in state else _single(state)
            whole[eps_id] = _joined(whole.get(eps_id, {}), found)
        except DatasetError as error:
            raise DatasetError(f"episode '{eps_id}': {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"episode '{eps_id}' is none of RLlib's ({error!r}): record it with Ray 2.60") from error
    return Found([(eps_id, begun_at_zero(episode)) for eps_id, episode in whole.items() if episode])


def _state(episode: Any) -> Mapping[str, Any]:
    if not hasattr(episode, "get_state") or not hasattr(episode, "id_"):
        raise DatasetError(
            f"an episode is a {type(episode).__name__}, expected one of RLlib's, or {{agent: AgentEpisode}}"
        )
    return episode.get_state()


def _single(state: Mapping[str, Any]) -> Episode:
    agent = str(state["agent_id"] or ONLY_AGENT)
    part = _agent(agent, state, int(state["t_started"]))
    return {} if part is None else {agent: part}


def _multi(state: Mapping[str, Any]) -> Episode:
    begun = int(state["env_t_started"])
    result = {}
    for agent, own in state["agent_episodes"]:
        steps = _buffer(state["env_t_to_agent_t"][agent])
        taken = [t for t, step in enumerate(steps) if step != SKIPPED]
        if taken and taken != list(range(taken[0], taken[-1] + 1)):
            gap = next(t for t in range(taken[0], taken[-1]) if t not in taken)
            raise DatasetError(
                f"'{agent}' skips the step t={begun + gap} and goes on: agents that take turns have no joint steps, "
                "let the environment ask all of them at each"
            )
        part = _agent(str(agent), own, begun + (taken[0] if taken else 0))
        if agent in state["_hanging_actions_end"]:
            raise DatasetError(f"'{agent}' acted and saw nothing afterwards: record episodes to their end")
        if part is not None:
            result[str(agent)] = part
    return result


def _agent(agent: str, state: Mapping[str, Any], start: int) -> AgentEpisode | None:
    observations, actions, rewards = (_buffer(state[name]) for name in ("observations", "actions", "rewards"))
    if not len(actions):
        return None
    if isinstance(observations, Mapping) or (len(observations) and isinstance(observations[0], Mapping | tuple)):
        raise DatasetError(f"observations of '{agent}' are no arrays: flatten them to a Box")
    seen, chosen, paid = (np.asarray(values) for values in (observations, actions, rewards))
    return AgentEpisode(seen, chosen, paid, bool(state["is_terminated"]), start)


def _buffer(state: Any) -> Any:
    """The data of RLlib's buffer, live or as its state, without what it looks back on."""
    data, lookback = (state["data"], state["lookback"]) if isinstance(state, Mapping) else (state.data, state.lookback)
    return data[lookback:]


def _joined(before: Episode, found: Episode) -> Episode:
    """An episode with a piece more, which must follow it."""
    result = dict(before)
    for agent, part in found.items():
        known = before.get(agent)
        if known is None:
            result[agent] = part
            continue
        end = known.start + len(known.actions)
        if part.start != end:
            raise DatasetError(
                f"a piece begins at t={part.start} where '{agent}' has come to t={end}: give all pieces, in order"
            )
        result[agent] = AgentEpisode(
            np.concatenate([known.observations[:-1], part.observations]),
            np.concatenate([known.actions, part.actions]),
            np.concatenate([known.rewards, part.rewards]),
            part.terminated,
            known.start,
        )
    return result

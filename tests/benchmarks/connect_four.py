"""How a learned pair plays connect four: no illegal move, and how often it wins against random play.

docs/your_environment.md has the experiment file. ::

    rllib train --file connect_four.yaml
    python tests/benchmarks/connect_four.py results/connect-four-mamql --games 1000

Plays so many games of the pair against itself, and as many against random legal play, half of them as either player.
It ends with status 1 where a move is illegal, or fewer than ``--least`` of the games against random play are won.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "envs")]

from rllib_mamql.algorithms.registry import read_checkpoint  # noqa: E402
from rllib_mamql.cli.paths import newest_checkpoint  # noqa: E402
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, Array, JointColumns, column  # noqa: E402
from rllib_mamql.environments.registry import make_env  # noqa: E402
from rllib_mamql.play.actors import checkpoint_actor, random_actor  # noqa: E402
from rllib_mamql.play.rollout import Actor, ColumnarRollout, Episode  # noqa: E402

BATCH = 50
"""Games played side by side."""


@dataclass(frozen=True)
class Play:
    """What came of some games.

    Attributes:
        games: How many.
        moves: Of the learned players, waiting left out.
        illegal: How many of these were illegal.
        won: Games that the learned player won; of the pair against itself, that the first player won.
        lost: Likewise.
    """

    games: int
    moves: int
    illegal: int
    won: int
    lost: int


def judge(columns: JointColumns, episodes: list[Episode], spaces: Mapping[str, Any], learned: list[str]) -> Play:
    """Counts moves, illegal ones among them, and results, of the learned players."""
    moves = illegal = 0
    for agent in learned:
        legal = spaces[agent].legal(columns[column(OBS, agent)])
        acts = columns[column(ALIVE, agent)].astype(bool) & ~legal[:, -1]
        taken = np.take_along_axis(legal, columns[column(ACTIONS, agent)][:, None].astype(np.int64), 1)[:, 0]
        moves, illegal = moves + int(acts.sum()), illegal + int((acts & ~taken).sum())
    results = [episode.returns[learned[0]] for episode in episodes]
    return Play(len(episodes), moves, illegal, sum(r > 0 for r in results), sum(r < 0 for r in results))


def play(stored: Any, learned: list[str], games: int, seed: int, greedy: bool) -> Play:
    """Plays games in which some agents follow the checkpoint and the others play at random."""
    rollout = ColumnarRollout(lambda: make_env(stored.env, stored.env_config), min(BATCH, games), seed)
    sizes = {agent: int(space.n) for agent, space in rollout.action_spaces.items()}
    ours = checkpoint_actor(stored, seed, greedy=greedy)
    theirs: Actor = random_actor(sizes, np.random.default_rng(seed), rollout.observation_spaces)

    def act(observations: Mapping[str, Array], alive: Mapping[str, Array]) -> dict[str, Array]:
        chosen, at_random = ours(observations, alive), theirs(observations, alive)
        return {agent: (chosen if agent in learned else at_random)[agent] for agent in sizes}

    try:
        columns, episodes = rollout.run(act, num_episodes=games)
        return judge(columns, episodes, rollout.observation_spaces, learned)
    finally:
        rollout.close()


def main() -> int:
    """Plays and prints; gives the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a checkpoint, or a folder of results")
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--greedy", action="store_true", help="take the most likely move")
    parser.add_argument("--least", type=float, default=0.8, help="share of games against random play to be won")
    options = parser.parse_args()
    stored = read_checkpoint(newest_checkpoint(pathlib.Path(options.checkpoint)))
    first, second = stored.module_of
    half = options.games // 2
    found = {
        "itself": play(stored, [first, second], options.games, options.seed, options.greedy),
        f"random, as {first}": play(stored, [first], half, options.seed + 1, options.greedy),
        f"random, as {second}": play(stored, [second], options.games - half, options.seed + 2, options.greedy),
    }
    for against, result in found.items():
        print(f"against {against}: {json.dumps(asdict(result))}", flush=True)
    against_random = [result for against, result in found.items() if against != "itself"]
    share = sum(result.won for result in against_random) / sum(result.games for result in against_random)
    illegal = sum(result.illegal for result in found.values())
    print(f"won {share:.1%} against random play; {illegal} illegal moves")
    return int(illegal > 0 or share < options.least)


if __name__ == "__main__":
    sys.exit(main())

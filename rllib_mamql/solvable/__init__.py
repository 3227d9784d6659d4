"""Small Markov games whose soft equilibria are known exactly: the ground that learned rewards are held against.

``game`` defines them, ``equilibrium`` solves them by enumeration, ``examples`` holds random and structured ones.
``anonymous`` defines and solves games of up to dozens of agents by counts, ``crowds`` holds examples, and ``estimates``
says what samples of the others' actions make of soft values. ``exploitability`` says what best responses would gain.
``sampling`` draws expert steps, ``fitting`` fits tabular critics by MAMQL's objective, ``gauge`` chooses one of the
rewards that explain a policy, and ``identification`` says how many there are and what several environments add.
Nothing here needs Ray; only ``fitting`` needs torch.
"""

from rllib_mamql.solvable.anonymous import AnonymousGame, anonymous_equilibrium
from rllib_mamql.solvable.crowds import CROWDS
from rllib_mamql.solvable.equilibrium import (
    ConvergenceError,
    Equilibrium,
    best_response,
    joint_values,
    marginals,
    occupancy,
    soft_equilibrium,
)
from rllib_mamql.solvable.examples import (
    EXAMPLES,
    another_law,
    congestion,
    coordination,
    front,
    pursuit,
    random_game,
    with_rewards,
)
from rllib_mamql.solvable.exploitability import exploitability, gains
from rllib_mamql.solvable.game import Game, marginalise
from rllib_mamql.solvable.gauge import Gauged, implied_reward, remove_shaping, shape, sparsest, state_only
from rllib_mamql.solvable.identification import Evidence, Identified, estimated_evidence, evidence, identify
from rllib_mamql.solvable.sampling import Steps, all_rows, estimate, sample_steps

__all__ = [
    "CROWDS",
    "EXAMPLES",
    "AnonymousGame",
    "ConvergenceError",
    "Equilibrium",
    "Evidence",
    "Game",
    "Gauged",
    "Identified",
    "Steps",
    "all_rows",
    "anonymous_equilibrium",
    "another_law",
    "best_response",
    "congestion",
    "coordination",
    "estimate",
    "estimated_evidence",
    "evidence",
    "exploitability",
    "front",
    "gains",
    "identify",
    "implied_reward",
    "joint_values",
    "marginalise",
    "marginals",
    "occupancy",
    "pursuit",
    "random_game",
    "remove_shaping",
    "sample_steps",
    "shape",
    "soft_equilibrium",
    "sparsest",
    "state_only",
    "with_rewards",
]

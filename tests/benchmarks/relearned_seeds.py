"""What PPO learns from recovered rewards, by seed: ``python tests/benchmarks/relearned_seeds.py gems --work DIR``.

For each seed: ``rllib train`` of an example, ``rllib recover`` without the limit of time that training sets (what a
regression that was cut short pays by mistake, PPO finds), then ``rllib relearn`` from scratch on each kind of reward,
without a potential. Stages whose results are in ``--work`` already are not run again, and ``<out>.json`` and
``<out>.md`` are written anew after each run, so that it may be ended and started again at any time.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.rewards import ROOT, SAME, checkpoint, relearn

ROUNDS = 10
KINDS = {
    "rounds": ("recovered", f"--rounds {ROUNDS}"),
    "recovered": ("recovered", "--rounds 1"),
    "implied": ("implied", ""),
    "clone": ("cloning", ""),
}
"""The reward that PPO is paid, and further words of ``rllib relearn``."""


@dataclass(frozen=True)
class Study:
    """What is learned.

    Attributes:
        example: A file under tuned_examples, without .yaml.
        sets: ``--set`` of ``rllib train``.
        recovering: Words of ``rllib recover``.
        relearning: Words of ``rllib relearn``.
        iterations: Of PPO.
        data: What clones learn from.
    """

    example: str
    sets: tuple[str, ...]
    recovering: str
    relearning: str
    iterations: int
    data: tuple[str, ...]


STUDIES = {
    "gems": Study(
        "gems_soft", ("expert_steps=1000",), "--gauge rare --seed {seed}", "", 30,
        ("--data", "offline_data/gems/soft_optimal", "--clone-steps", "1000"),
    ),
    "cramped_room": Study(
        "overcooked_soft", (),
        "--gauge rare --seed {seed} --strength 0.3 --steps 150000 --explore 0.6 --regression 2000",
        "--env-config horizon=400 --env-config random_starts=0.5 --judged-in random_starts=0 --reference "
        "offline_data/overcooked/soft_pair --set lambda_=0.9 --set train_batch_size_per_learner=2000 "
        "--set entropy_coeff=[[0,0.3],[200000,0.1],[400000,0.02]] --set lr=[[0,0.001],[200000,0.001],[400000,0.0001]]",
        200, ("--data", "offline_data/overcooked/soft_starts", "--clone-updates", "12000"),
    ),
}  # fmt: skip


def page(name: str, rows: list[dict[str, Any]], out: str) -> str:
    """The page."""
    study = STUDIES[name]
    lines = [
        f"# PPO from scratch on rewards recovered from `{study.example}`, by seed",
        "",
        f"`python tests/benchmarks/relearned_seeds.py {name} --work DIR --seeds 10 --out docs/results/{out}` writes "
        f"this page and its JSON after each run. Trained with `{' '.join(study.sets) or 'nothing changed'}`, recovered "
        f"with `{study.recovering}`, {study.iterations} iterations of PPO on the bare reward, without its potential. "
        f"`rounds`: with `--rounds {ROUNDS}`, which fits the rewards anew to the learner's play in between.",
        "",
        "True return of the new agents, as a share of the demonstrators' (random play is 0).",
        "",
        "| reward | seeds | mean [95% interval of three and more] | lowest | each |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        found = [row["score"] for row in sorted(rows, key=lambda row: row["seed"]) if row["kind"] == kind]
        if found:
            mean = f"{statistics.mean(found):.2f}"
            if len(found) > 2:
                half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
                mean += f" [{statistics.mean(found) - half:.2f}, {statistics.mean(found) + half:.2f}]"
            each = ", ".join(f"{score:.2f}" for score in found)
            lines.append(f"| {kind} | {len(found)} | {mean} | {min(found):.2f} | {each} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed: parts may run side by side in one --work")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "docs" / "results" / f"relearned_{arguments.study}"
    study, rows = STUDIES[arguments.study], []
    for kind in arguments.kinds:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            work = arguments.work.resolve() / str(seed)
            work.mkdir(parents=True, exist_ok=True)
            folder = checkpoint(work, study.example, seed, list(study.sets), study.recovering)
            reward, words = KINDS[kind]
            (work / kind).mkdir(exist_ok=True)
            found = relearn(
                work / kind,
                folder,
                reward,
                seed,
                SAME,
                study.iterations,
                list(study.data),
                f"{study.relearning} {words}",
            )
            rows.append(
                {"seed": seed, "kind": kind, "return": found["return_mean"], "score": found["normalised_score"]}
            )
            out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
            out.with_suffix(".md").write_text(page(arguments.study, rows, out.name))
            print(f"{kind}, seed {seed}: {rows[-1]['return']:.2f}, {rows[-1]['score']:.2f}", flush=True)


if __name__ == "__main__":
    main()

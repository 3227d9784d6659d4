"""Recovered rewards, scored and reused: ``python tests/benchmarks/rewards.py gems_soft --work DIR --out FILE``.

For each seed: ``rllib train``, ``recover``, ``reward``, then ``relearn`` by PPO from scratch on each kind of reward,
in the dynamics of the demonstrations and in others. Stages whose results are in ``--work`` already are not
run again. Writes ``<out>.json``, ``<out>.md`` and ``<out>.png``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from typing import Any

import yaml

from rllib_mamql.rewards.settings import RecoverySettings

ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("recovered", "implied", "cloning", "true")
SHAPED = "shaped"
"""The recovered reward with its potential, beside ``KINDS``."""
SEED = "{seed}"
"""In words for `rllib recover`: the seed in question, which is 0 else."""
SAME = "demonstrated"
"""The dynamics of the demonstrations."""
STATES = ("policy", "exploring", "expert")
CHANGED = ("recovered", SHAPED, "implied")
"""Rewards that are compared where the dynamics differ from those of the demonstrations."""
METRICS = ("pearson", "spearman", "epic", "ranking_accuracy")


def rllib(log: pathlib.Path, *words: object) -> str:
    print("rllib", *words, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "rllib_mamql", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=ROOT,
    )  # fmt: skip
    log.write_text(done.stdout)
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout


def gauge_of(example: str) -> str:
    """The gauge in which a tuned example recovers its rewards."""
    (body,) = yaml.safe_load((ROOT / "tuned_examples" / f"{example}.yaml").read_text()).values()
    return str(body["config"].get("reward_gauge", RecoverySettings.gauge))


def checkpoint(work: pathlib.Path, example: str, seed: int, sets: list[str], recovering: str) -> pathlib.Path:
    """Trains, and recovers with further words of the command line."""
    result = work / "train.json"
    if not result.exists():
        # Rewards are recovered by a command of its own, with words of its own.
        words = [word for text in [*sets, "reward_gauge=none"] for word in ("--set", text)]
        rllib(
            work / "train.log", "train", "--file", f"tuned_examples/{example}.yaml", "--seed", seed,
            "--storage-path", work / "results", "--json", result, "--eval-episodes", 500, *words,
        )  # fmt: skip
    folder = pathlib.Path(json.loads(result.read_text())["trials"][0]["checkpoint"])
    if not (folder / "rewards.npz").exists():
        rllib(work / "recover.log", "recover", folder, *shlex.split(recovering.replace(SEED, str(seed))))
    return folder


def scores(work: pathlib.Path, folder: pathlib.Path, cloning: list[str]) -> dict[str, Any]:
    out = work / "reward.json"
    if not out.exists():
        rllib(work / "reward.log", "reward", folder, *cloning, "--json", out, "--plot", work / "reward.png")
    return json.loads(out.read_text())


def relearn(
    work: pathlib.Path,
    folder: pathlib.Path,
    kind: str,
    seed: int,
    dynamics: str,
    iterations: int,
    cloning: list[str],
    relearning: str,
) -> dict[str, Any]:
    name = f"relearn_{kind}_{dynamics}"
    out = work / f"{name}.json"
    if not out.exists():
        words = cloning if kind == "cloning" else ["--shaped"] if kind == SHAPED else []
        if dynamics.startswith("sticky="):
            words = [*words, "--sticky-actions", dynamics.removeprefix("sticky=")]
        elif dynamics != SAME:
            words = [*words, "--env-config", dynamics]
        rllib(
            work / f"{name}.log", "relearn", folder, "--reward", "recovered" if kind == SHAPED else kind, *words,
            *shlex.split(relearning), "--iterations", iterations, "--seed", seed, "--out", work / name, "--json", out,
        )  # fmt: skip
    return {**json.loads(out.read_text()), "dynamics": dynamics, "reward": kind}


def mean_of(reports: list[dict[str, Any]], states: str, predictor: str, metric: str) -> float | None:
    values = [
        scored[predictor][metric] for report in reports for scored in report["states"].get(states, {}).values()
        if predictor in scored
    ]  # fmt: skip
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def paid_table(reports: list[dict[str, Any]]) -> list[str]:
    """Mean recovered reward by what the environment paid, a row a kind of state."""
    kinds = list(next(iter(reports[0]["mean_where_paid"]["policy"].values())))
    lines = ["| states | " + " | ".join(kinds) + " |", "| --- " * (len(kinds) + 1) + "|"]
    for states in STATES:
        agents = [paid for report in reports for paid in report["mean_where_paid"].get(states, {}).values()]
        cells = [[paid[kind] for paid in agents if kind in paid] for kind in kinds]
        shown = [f"{statistics.mean(cell):.2f} ({min(cell):.2f} to {max(cell):.2f})" if cell else "-" for cell in cells]
        lines.append(f"| {states} | " + " | ".join(shown) + " |")
    return lines


def page(
    arguments: argparse.Namespace, reports: list[dict[str, Any]], learned: list[dict[str, Any]], trained: list[Any]
) -> str:
    name = arguments.example
    lines = [
        f"# Rewards recovered on `{name}`: scores and reuse",
        "",
        f"`{command(arguments)}` writes this page, its JSON and its plot.",
        f"Means over {len(reports)} seed(s) and all agents; expert {trained[0]['expert_return']:.2f}, random "
        f"{trained[0]['random_return']:.2f}, policies after training "
        + ", ".join(f"{trial['return_mean']:.2f}" for trial in trained)
        + ".",
        "",
        "## Against the true marginal reward, on held-out play",
        "",
        "| states | reward | " + " | ".join(METRICS) + " |",
        "| --- " * (len(METRICS) + 2) + "|",
    ]
    for states in STATES:
        for predictor in ("recovered", "implied", "cloning", "constant", "zero"):
            cells = [mean_of(reports, states, predictor, metric) for metric in METRICS]
            if any(cell is not None for cell in cells):
                shown = " | ".join("-" if cell is None else f"{cell:.2f}" for cell in cells)
                lines.append(f"| {states} | {predictor} | {shown} |")
    lines += [
        "",
        "Mean recovered reward of the actions taken, by what the environment paid for them:",
        "",
        *paid_table(reports),
    ]
    if not learned:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        f"## PPO from scratch on each reward, {arguments.iterations} iterations",
        "",
        f"True return at the end, a number a seed; the demonstrators return {_expert(learned, trained):.2f}. "
        "Normalised where the dynamics are those of the demonstrations.",
        "",
        *([f"Options of `rllib relearn`: `{arguments.relearn}`.", ""] if arguments.relearn else []),
        "| dynamics | reward | true return | mean | normalised |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dynamics in arguments.dynamics:
        for kind in arguments.kinds:
            runs = [run for run in learned if (run["reward"], run["dynamics"]) == (kind, dynamics)]
            if runs:
                returns = ", ".join(f"{run['return_mean']:.2f}" for run in runs)
                mean = statistics.mean(run["return_mean"] for run in runs)
                normal = [run["normalised_score"] for run in runs if run["normalised_score"] is not None]
                shown = f"{statistics.mean(normal):.2f}" if normal else "-"
                lines.append(f"| {dynamics} | {kind} | {returns} | {mean:.2f} | {shown} |")
    lines += ["", f"![true return while PPO learns]({arguments.out.with_suffix('.png').name})"]
    return "\n".join(lines) + "\n"


def _expert(learned: list[dict[str, Any]], trained: list[Any]) -> float:
    """The return that the score of what was learned anew is normalised by."""
    return float(
        next((run["expert_return"] for run in learned if run.get("expert_return")), trained[0]["expert_return"])
    )


def plot(learned: list[dict[str, Any]], arguments: argparse.Namespace, expert: float, file: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = arguments.dynamics
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 3.6), squeeze=False, layout="constrained"
    )
    for axis, dynamics in zip(axes[0], panels, strict=True):
        for index, kind in enumerate(arguments.kinds):
            runs = [run for run in learned if (run["reward"], run["dynamics"]) == (kind, dynamics)]
            for number, run in enumerate(runs):
                points = [*run["curve"], {"env_steps": run["env_steps"], "return_mean": run["return_mean"]}]
                steps = [point["env_steps"] / 1000 for point in points]
                label = kind if number == 0 else None
                axis.plot(steps, [point["return_mean"] for point in points], color=f"C{index}", label=label)
        if dynamics == SAME:
            axis.axhline(expert, color="grey", linestyle=":", label="expert")
        axis.set(title=dynamics, xlabel="thousand joint steps of PPO", ylabel="true return")
    axes[0][0].legend(fontsize=8, title="PPO is paid")
    figure.savefig(file, dpi=110)


def command(arguments: argparse.Namespace) -> str:
    words = ["python tests/benchmarks/rewards.py", arguments.example, f"--seeds {arguments.seeds}"]
    words += [
        f"--iterations {arguments.iterations}",
        f"--set {' --set '.join(arguments.sets)}" if arguments.sets else "",
    ]
    words += ["--dynamics " + " ".join(arguments.dynamics) if arguments.dynamics else "--dynamics"]
    words += ["--kinds " + " ".join(arguments.kinds)] if arguments.dynamics else []
    words += [f"--{name} {shlex.quote(w)}" for name in ("recover", "relearn") if (w := getattr(arguments, name))]
    words += [f"--clone-updates {arguments.clone_updates}"] if arguments.clone_updates else []
    words += ["--work DIR", f"--out docs/results/{arguments.out.name}"]
    return " ".join(word for word in words if word)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", help="a file under tuned_examples, without .yaml")
    parser.add_argument("--data", help="demonstrations, for cloning; the example's own by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument(
        "--dynamics",
        nargs="*",
        default=[SAME],
        metavar="WHAT",
        help="demonstrated, sticky=0.25, or a key=value of the env",
    )
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=[*KINDS, SHAPED])
    parser.add_argument(
        "--recover", default="", metavar="WORDS", help="more words for `rllib recover`; {seed} is the seed"
    )
    parser.add_argument("--relearn", default="", metavar="WORDS", help="more words for `rllib relearn`")
    parser.add_argument("--clone-updates", type=int, help="gradient steps of the clone, if not as many as help")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="seeds and kinds side by side; the cores are shared out")
    parser.add_argument("--collect", action="store_true", help="no more runs of PPO: a page of those in --work")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="written with the endings .json, .md and .png")
    arguments = parser.parse_args()
    cloning = ["--data", arguments.data or example_data(arguments.example)]
    if arguments.clone_updates:
        cloning += ["--clone-updates", str(arguments.clone_updates)]
    for text in arguments.sets:  # the clone learns from as many demonstrations
        if text.startswith("expert_steps="):
            cloning += ["--clone-steps", text.removeprefix("expert_steps=")]
    works = [arguments.work.resolve() / str(seed) for seed in range(arguments.seeds)]

    def recovered(seed: int) -> tuple[pathlib.Path, dict[str, Any]]:
        works[seed].mkdir(parents=True, exist_ok=True)
        folder = checkpoint(works[seed], arguments.example, seed, arguments.sets, arguments.recover)
        return folder, scores(works[seed], folder, cloning)

    def relearned(dynamics: str, seed: int, kind: str) -> dict[str, Any]:
        # The rewards as they were recovered.
        words = (dynamics, arguments.iterations, cloning, f"--rounds 1 {arguments.relearn}")
        run = relearn(works[seed], folders[seed], kind, seed, *words)
        print(f"{kind}, {dynamics}, seed {seed}: {run['return_mean']:.2f}", flush=True)
        return run

    if arguments.jobs > 1:  # or each of them takes all cores
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // arguments.jobs))
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        folders, reports = zip(*pool.map(recovered, range(arguments.seeds)), strict=True)
        trained = [json.loads((work / "train.json").read_text())["trials"][0] for work in works]
        runs = [
            (dynamics, seed, kind)
            for dynamics in arguments.dynamics
            for seed in range(arguments.seeds)
            for kind in arguments.kinds
            if dynamics == SAME or kind in CHANGED
            if not arguments.collect or (works[seed] / f"relearn_{kind}_{dynamics}.json").exists()
        ]
        learned = list(pool.map(lambda run: relearned(*run), runs))
    keep = ("seed", "return_mean", "return_ci95", "expert_return", "random_return", "normalised_score", "train_time_s")
    document = {
        "command": command(arguments),
        "trained": [{key: trial[key] for key in keep} for trial in trained],
        "rewards": [{"seed": seed, "states": report["states"]} for seed, report in enumerate(reports)],
        "relearned": [{key: value for key, value in run.items() if key != "checkpoint"} for run in learned],
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(page(arguments, reports, learned, trained))
    if learned:
        plot(learned, arguments, _expert(learned, trained), arguments.out.with_suffix(".png"))
    return 0


def example_data(example: str) -> str:
    from rllib_mamql.cli.yaml_loader import read_yaml

    document = read_yaml(ROOT / "tuned_examples" / f"{example}.yaml")
    return str(ROOT / next(iter(document.values()))["config"]["input_"])


if __name__ == "__main__":
    raise SystemExit(main())

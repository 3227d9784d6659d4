"""What commands print on terminals of 80 and of 120 columns, as recordings: nothing that matters is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rllib_mamql.cli.report import TrialReport
from rllib_mamql.cli.trial_lines import TrialLines
from rllib_mamql.cli.trial_tables import print_trials
from rllib_mamql.evaluation.evaluate import EvaluationResult
from tests.support.command_line import Rllib
from tests.support.terminal import check_recording, masked, screen
from tests.support.toy_data import TOY

AGENTS = [f"agent_{index}" for index in range(6)]


@pytest.fixture(params=[80, 120])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("COLUMNS", str(request.param))
    # How long a step takes depends on the machine.
    monkeypatch.setattr("rllib_mamql.cli.working.LINE_AFTER_S", 1e6)
    yield request.param


@pytest.fixture
def terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rich believes that it writes to a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    return columns


def result(iteration: int, mean: float, steps: int) -> dict[str, Any]:
    return {
        "training_iteration": iteration,
        "env_runners": {"num_env_steps_sampled_lifetime": steps, "return_mean": mean},
        "learners": {"a": {"a": {"expert_log_likelihood": -0.4123}, "num_gradient_steps_lifetime": steps // 2}},
    }


@pytest.mark.parametrize(
    ("name", "stop"),
    [("overcooked-mamql", 12), ("overcooked-asymmetric-advantages-with-a-joint-critic", 1200)],
    ids=["short", "long"],
)
def test_progress(name: str, stop: int, terminal: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = TrialLines({"training_iteration": stop})
    lines.start("a_00000", f"{name} 00000")
    lines.start("a_00001", f"{name} 00001")
    lines.show("a_00000", f"{name} 00000", result(stop // 2, 143.2, 24_000), 62.0, None)
    lines.show("a_00001", f"{name} 00001", result(stop // 3, -1143.25, 18_000), 4062.0, None)
    lines.show("a_00001", f"{name} 00001", result(stop, -1143.25, 18_000), 4062.0, None, final="done")
    lines.start("a_00002", f"{name} 00002")
    lines.close()
    shown = screen(capsys.readouterr().err)
    assert max(map(len, shown.splitlines())) <= terminal
    for text in (f"iteration {stop // 2:,} of {stop:,}", "return 143.20", "1:02 left", "00000"):
        assert text in shown, shown
    first, *running = shown.splitlines()
    assert f"iteration {stop:,} of {stop:,}, return -1143.25" in first and first.endswith("done") and "00001" in first
    assert len(running) == 2 and "starting" in running[1]
    # The mark that turns is another one each time.
    check_recording(f"progress_{'short' if stop == 12 else 'long'}_{terminal}", re.sub("[\u2800-\u28ff]", "*", shown))


def report(trial: str, mean: float | None, **more: Any) -> TrialReport:
    blank = TrialReport(
        experiment="overcooked-search", trial=f"1a2b3_{trial}", seed=0, status="finished", config={}, return_mean=mean,
        return_ci95=None, per_agent={}, expert_return=188.0, random_return=0.25, normalised_score=None, env_steps=0,
        updates=0, train_time_s=0.0, wall_time_s=3723.0, checkpoint=None,
    )  # fmt: skip
    interval = None if mean is None else (mean - 3.21, mean + 3.21)
    return replace(blank, return_ci95=interval, normalised_score=None if mean is None else mean / 188, **more)


def search(settings: list[dict[str, Any]]) -> list[TrialReport]:
    folder = "/home/somebody/with/a/long/path/results/overcooked-search"
    returns = [143.2, 198.31, None]
    reports = [
        report(f"0000{index}", mean, config=config, checkpoint=f"{folder}/trial_1a2b3_0000{index}/checkpoint_000011")
        for index, (mean, config) in enumerate(zip(returns, settings, strict=True))
    ]
    reports[1] = replace(
        reports[1], settings=f"{folder}/best.yaml", fresh_return_mean=191.5, fresh_return_ci95=(188.0, 195.0)
    )
    reports[2] = replace(reports[2], error="RuntimeError: the kitchen is on fire in /a/long/path/to/some/kitchen.py")
    return reports


FEW = [{"lr": lr, "model_config": {"fcnet_hiddens": [64, 64]}} for lr in (0.0003, 0.001, 0.003)]
MANY = [
    {
        "lr": lr, "rationality": 3.0 + lr, "chi_square_scale": 0.5 * lr, "updates_per_step": int(1 + 1000 * lr),
        "env_config": {"layout": f"asymmetric_advantages_{lr}"},
    }
    for lr in (0.0003, 0.001, 0.003)
]  # fmt: skip


@pytest.mark.parametrize("settings", [FEW, MANY], ids=["few", "many"])
def test_a_search_ends_with_its_table(
    settings: list[dict[str, Any]], columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = search(settings)
    print_trials(reports)
    shown = capsys.readouterr().out
    assert shown.index("198.31 [195.10, 201.52]") < shown.index("143.20 [139.99, 146.41]")
    assert "best: overcooked-search 00001" in shown and "best.yaml" in shown
    for each in reports:
        assert f": {each.checkpoint}\n" in shown, "a path is broken"
    for value in ("0.0003", "0.001", "0.003", "1:02:03", "1.055", "0.762", "188.00"):
        assert value in shown, value
    check_recording(f"search_{'few' if settings is FEW else 'many'}_{columns}", shown)


def test_an_evaluation_of_six_agents(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    from rllib_mamql.cli.tables import print_evaluation

    kinds = {"arrived": -0.3, "crashed": -12.345, "no event": 0.004}
    print_evaluation(
        EvaluationResult(
            env="intersection", env_config={}, episodes=100, policy="boltzmann", return_mean=1.92,
            return_ci95=(1.871, 1.969), per_agent={agent: {"mean": 1.9, "ci95": [1.8, 2.0]} for agent in AGENTS},
            events={"arrived": 5.8, "crashed": 0.02}, normalised_score=0.967, expert_return=2.0, random_return=-0.5,
            reward_gauge="sparse", recovered_rewards={
                agent: {kind: {"mean": mean, "an_episode": 12.3} for kind, mean in kinds.items()} for agent in AGENTS
            },
            expert_events={agent: {"arrived": 1.0} for agent in AGENTS},
            event_ratio={"arrived": 0.967, "crashed": None}, metrics={"speed": 7.31}, rationality={"shared": 3.0},
            warnings=["play leaves the demonstrations: 61% of the states of agent_0 are farther from the expert's than "
                      "95% of the expert's own"],
        )
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert shown.count("-12.35 (x 12.3)") == 6
    check_recording(f"evaluation_{columns}", shown)


def test_record_and_inspect(columns: int, rllib: Rllib, tmp_path: Path) -> None:
    done = rllib("record", "--env", TOY, "--expert", "random", "--steps", 60, "--out", tmp_path / "demonstrations")
    assert done.status == 0, done
    inspected = rllib("inspect", tmp_path / "demonstrations")
    assert inspected.status == 0, inspected
    path = (str(tmp_path), "/tmp/folder")
    check_recording(f"record_{columns}", masked(done.out + done.err, path))
    check_recording(f"inspect_{columns}", masked(inspected.out + inspected.err, path))


def test_evaluate(columns: int, rllib: Rllib, toy_checkpoint_folder: Path) -> None:
    done = rllib("evaluate", toy_checkpoint_folder, "--episodes", 8)
    assert done.status == 0, done
    check_recording(f"evaluate_{columns}", masked(done.out + done.err, (str(toy_checkpoint_folder), "checkpoint")))

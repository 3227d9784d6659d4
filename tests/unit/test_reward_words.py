"""What a reader is told of rewards: verdicts, what they pay for, what is not determined, and how far a command is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.tables import print_rewards, print_verdicts
from rllib_mamql.cli.working import how_far
from rllib_mamql.columns import ACTIONS, ALIVE, OBS, JointColumns, column
from rllib_mamql.evaluation.evaluate import EvaluationResult
from rllib_mamql.rewards.determined import even_agents, indifferent_agents, unscaled_agents
from rllib_mamql.rewards.metrics import METRICS, Metric
from rllib_mamql.rewards.paid import NO_EVENT, best_kind, in_words, paid_or_not
from rllib_mamql.rewards.plots import plot_scores
from rllib_mamql.rewards.scoring import PREDICTORS
from rllib_mamql.rewards.settings import RecoverySettings
from rllib_mamql.rewards.verdict import HIGHER, Scores, sentence

AGENTS = ("agent_0", "agent_1")
GEMS = {
    "shared_gem": {"mean": 0.7234, "sd": 0.2, "steps": 49, "an_episode": 4.9},
    "own_gem": {"mean": 0.0812, "sd": 0.1, "steps": 9, "an_episode": 0.9},
    "no event": {"mean": 0.0089, "sd": 0.05, "steps": 420, "an_episode": 42.0},
}


def scores(**pearson: float | None) -> Scores:
    """Scores of predictors by their correlations; those not named have none."""
    return {
        name: {metric: Metric(pearson.get(name), (0.79, 0.88) if name == "recovered" else None) for metric in METRICS}
        for name in PREDICTORS
    }


def told(**pearson: float | None) -> str:
    paid = {"policy": {"reward 0": 0.0, "reward 6": 0.7}, "exploring": {"reward 0": 0.0, "reward 6": 0.6}}
    by_states = {"policy": scores(**pearson), "exploring": scores(recovered=0.67)}
    return sentence("agent_0", by_states, paid, 2000)


@pytest.mark.parametrize(
    ("pearson", "said"),
    [
        (
            {"recovered": 0.84, "implied": 0.33, "cloning": 0.34},
            "agent_0: agrees with the true reward: Pearson 0.84 [0.79, 0.88] on policy states (0.67 on exploring "
            "states), far better than the implied one (0.33); best of 5 predictors",
        ),
        (
            {"recovered": 0.44, "implied": 0.35, "cloning": 0.5},
            "agent_0: agrees in part with the true reward: Pearson 0.44 [0.79, 0.88] on policy states (0.67 on "
            "exploring states), better than the implied one (0.35); second of 5 predictors, behind cloning (0.50)",
        ),
        (
            {"recovered": -0.2, "implied": 0.1},
            "agent_0: does not agree with the true reward: Pearson -0.20 [0.79, 0.88] on policy states (0.67 on "
            "exploring states), worse than the implied one (0.10); second of 5 predictors, behind implied (0.10)",
        ),
        ({}, "agent_0: the recovered reward is the same at every step of policy states: it says nothing"),
    ],
)
def test_a_verdict_is_a_sentence(pearson: dict[str, float | None], said: str) -> None:
    assert told(**pearson) == said


def test_a_verdict_asks_for_more_play_where_nothing_was_paid() -> None:
    by_states = {"policy": scores(recovered=None), "expert": scores(recovered=0.8)}
    nothing = {"policy": {"reward 0": 0.1}, "expert": {"reward 0": 0.2}}
    said = "agent_1: no true reward occurred in 200 steps: play more (--steps)"
    assert sentence("agent_1", by_states, nothing, 200) == said
    # Where the expert's play was paid for, that is what the verdict is about.
    paid = {"policy": {"reward 0": 0.1}, "expert": {"reward 0": 0.2, "reward 20": 0.9}}
    assert "Pearson 0.80 [0.79, 0.88] on expert states" in sentence("agent_1", by_states, paid, 200)


def test_verdicts_say_which_way_is_better(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_verdicts([told(recovered=0.84, implied=0.33)])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert set(HIGHER) == set(METRICS) and all(metric in shown for metric in METRICS)


def test_the_plot_of_scores_leaves_out_what_is_undefined(tmp_path: Path) -> None:
    values = {
        name: {m: v for metric in METRICS for m, v in ((metric, None), (f"{metric}_ci95", None))} for name in PREDICTORS
    }
    plot_scores({"policy": dict.fromkeys(AGENTS, values)}, tmp_path / "nothing.png")
    some = {**values, "recovered": {**values["recovered"], "pearson": 0.8, "pearson_ci95": [0.7, 0.9]}}
    plot_scores({"policy": {"agent_0": some, "agent_1": values}}, tmp_path / "some.png")
    assert all((tmp_path / name).stat().st_size > 5_000 for name in ("nothing.png", "some.png"))


def result(**more: object) -> EvaluationResult:
    blank = EvaluationResult(
        env="gems", env_config={}, episodes=10, policy="boltzmann", return_mean=1.0, return_ci95=(0.0, 2.0),
        per_agent={}, events={}, normalised_score=None, expert_return=None, random_return=None,
    )  # fmt: skip
    return replace(blank, **more)  # type: ignore[arg-type]


def printed(found: EvaluationResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_rewards(found)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_amounts_are_told_where_they_are_determined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(recovered_rewards=dict.fromkeys(AGENTS, GEMS), reward_gauge="sparse")
    assert printed(found, monkeypatch, capsys) == [
        "What the recovered rewards pay for",
        "  at steps with          agent_0          agent_1",
        " ─────────────────────────────────────────────────",
        "  shared_gem       +0.72 (x 4.9)    +0.72 (x 4.9)",
        "  own_gem          +0.08 (x 0.9)    +0.08 (x 0.9)",
        "  no event        +0.01 (x 42.0)   +0.01 (x 42.0)",
        "mean reward (x how often an episode), known up to potential shaping",
    ]


def test_words_take_the_place_of_amounts_that_are_not_determined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {**GEMS, "own_gem": {**GEMS["own_gem"], "steps": 3}}
    paid = {"agent_0": GEMS, "agent_1": few}
    found = result(
        recovered_rewards=paid, reward_gauge="sparse", unscaled=list(AGENTS),
        undetermined=in_words(list(AGENTS), [], paid),
    )  # fmt: skip
    assert printed(found, monkeypatch, capsys) == [
        "What the recovered rewards pay for",
        "  at steps with        agent_0                      agent_1",
        " ───────────────────────────────────────────────────────────",
        "  shared_gem      paid (x 4.9)                 paid (x 4.9)",
        "  own_gem         paid (x 0.9)   too seldom to tell (x 0.9)",
        "  no event          - (x 42.0)                   - (x 42.0)",
        "(x how often an episode)",
        "note: the demonstrations do not determine the scale of the rewards of agent_0,",
        "agent_1, nor how much own_gem and shared_gem are worth beside each other: they",
        "hardly ever err, and rewards twice as large explain them as well; demonstrators",
        "that err more when it costs less would tell",
        "note: too seldom in this play to tell what agent_1 is paid for it: own_gem (x 3)",
    ]


def test_what_is_paid_more_than_any_event_and_has_no_name_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = {**GEMS, NO_EVENT: {**GEMS[NO_EVENT], "beyond": 7.2}}
    seldom = {**GEMS, NO_EVENT: {**GEMS[NO_EVENT], "beyond": 4.8}}
    paid = {"agent_0": hidden, "agent_1": seldom}
    found = result(recovered_rewards=paid, reward_gauge="rare", undetermined=in_words([], [], paid))
    assert printed(found, monkeypatch, capsys)[-3:] == [
        "note: some steps without an event are paid more than shared_gem, an episode:",
        "agent_0 (x 7); something pays there that this environment reports no event for,",
        "and `rllib map` draws what",
    ]
    assert best_kind(hidden) == "shared_gem" and best_kind({NO_EVENT: hidden[NO_EVENT]}) is None
    assert in_words(["agent_0"], [], {"agent_0": hidden})[1:] == [], "amounts that mean nothing are not compared"


def test_errors_that_are_all_alike_tell_no_amounts(
    toy_checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = read_checkpoint(toy_checkpoint_folder)
    eye = torch.eye(4)
    places = torch.stack([torch.cat([a, b]) for a in eye for b in eye])
    columns = {
        column(name, agent): values.numpy()
        for agent in AGENTS
        for name, values in ((OBS, places), (ACTIONS, torch.zeros(16).long()), (ALIVE, torch.ones(16).bool()))
    }
    best = stored.modules["shared"].average(places).argmax(-1)
    # A fifth of the actions are random, whatever that costs; and some noise of a fit.
    noisy = 0.5 * torch.nn.functional.one_hot(best, 3) + 0.02 * torch.rand(16, 3)
    monkeypatch.setattr(stored.modules["shared"].average, "forward", lambda observations: noisy)
    assert even_agents(stored, columns) == list(AGENTS) and indifferent_agents(stored, columns) == []

    paid = dict.fromkeys(AGENTS, GEMS)
    found = result(
        recovered_rewards=paid, reward_gauge="rare", unscaled=list(AGENTS), undetermined=in_words([], [], paid, AGENTS)
    )
    assert printed(found, monkeypatch, capsys)[-4:] == [
        "note: the demonstrations do not determine how much own_gem and shared_gem are",
        "worth beside each other to agent_0, agent_1: they err about as often where it",
        "costs much as where it costs little; demonstrators that err more when it costs",
        "less would tell",
    ]


def test_an_environment_without_events_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(recovered_rewards={"agent_0": {"no event": GEMS["no event"]}}, reward_gauge="sparse")
    assert printed(found, monkeypatch, capsys) == [
        "the environment reports no events in its infos, so that there is no telling what the recovered rewards pay "
        "for; `rllib map` shows what they depend on"
    ]


def test_what_is_paid_is_told_from_steps_without_an_event() -> None:
    nothing = {"mean": 0.1, "sd": 0.2, "steps": 400}
    kinds = [{"mean": mean, "sd": 0.1, "steps": 9} for mean in (0.5, 0.2, -0.5)]
    assert [paid_or_not(kind, nothing) for kind in kinds] == ["paid", "not told from no event", "costs"]
    assert paid_or_not(kinds[0], None) == "nothing to compare with"


def test_demonstrations_say_what_they_do_not_determine(toy_checkpoint_folder: Path) -> None:
    stored = read_checkpoint(toy_checkpoint_folder)
    eye = np.eye(4, dtype=np.float32)
    places = np.array([np.concatenate([a, b]) for a in eye for b in eye] * 40)
    q = stored.modules["shared"].average(torch.as_tensor(places)) * float(stored.settings["rationality"])
    played = {
        "as they play": torch.distributions.Categorical(logits=q).sample().numpy(),
        "never erring": q.argmax(-1).numpy(),
    }
    columns: JointColumns = {}
    for how, actions in played.items():
        columns = {
            column(name, agent): values
            for agent in AGENTS
            for name, values in ((OBS, places), (ACTIONS, actions), (ALIVE, np.ones(len(places), dtype=bool)))
        }
        assert unscaled_agents(stored, columns) == (list(AGENTS) if how == "never erring" else [])
        assert indifferent_agents(stored, columns) == even_agents(stored, columns) == []
    head = stored.modules["shared"].average.head
    head.load_state_dict({name: torch.zeros_like(values) for name, values in head.state_dict().items()})
    assert indifferent_agents(stored, columns) == list(AGENTS)


def test_how_far_a_command_is() -> None:
    assert how_far(40, 100, 8.0) == "40%, 12 s left"
    assert how_far(1, 100, 10.0) == "1%, 16:30 left"
    assert how_far(100, 100, 8.0) == "100%" and how_far(0, 100, 8.0) == "0%"
    assert how_far(1200, None, 61.0) == "1,200, 1:01"


def test_a_recovery_that_fails_costs_the_rewards_alone(
    toy_checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rllib_mamql.cli.trial_reports import RECOVERY_BUDGET_S, recover_rewards

    asked = []

    def fail(stored: object, settings: RecoverySettings, watch: object) -> None:
        asked.append(settings)
        raise RuntimeError("the kitchen\nis on fire")

    monkeypatch.setattr("rllib_mamql.rewards.recover.recover_checkpoint", fail)
    assert not recover_rewards(experiment_of("MAMQL"), toy_checkpoint_folder, {"reward_gauge": "sparse", "seed": 3})
    assert [(each.gauge, each.seed, each.budget_s) for each in asked] == [("sparse", 3, RECOVERY_BUDGET_S)]
    said = capsys.readouterr().err
    assert "rewards are not recovered: the kitchen is on fire; `rllib recover" in said and said.count("\n") == 1
    # Nothing is asked for, or there is nothing to ask of.
    assert recover_rewards(experiment_of("MAMQL"), toy_checkpoint_folder, {"reward_gauge": "none"})
    assert recover_rewards(experiment_of("SQIL"), toy_checkpoint_folder, {})
    assert len(asked) == 1


def test_the_gauge_is_the_algorithms_default_where_the_config_says_nothing() -> None:
    from rllib_mamql.cli.trial_reports import wanted_gauge

    assert wanted_gauge(experiment_of("MAMQL"), {"lr": 0.1}) == "sparse"
    assert wanted_gauge(experiment_of("MAMQL"), {"reward_gauge": "none"}) == "none"
    assert wanted_gauge(experiment_of("SQIL"), {}) == "none"


def experiment_of(algorithm: str) -> Any:
    from rllib_mamql.algorithms.registry import algorithm_class
    from rllib_mamql.cli.settings import Prepared

    return Prepared(None, algorithm_class(algorithm), {}, 1, None)  # type: ignore[arg-type]

"""Demonstrations of one's own: step by step, by episodes, and read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rllib_mamql import AgentEpisode, DemonstrationWriter, read_demonstrations, write_demonstrations
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.summary import summarise
from rllib_mamql.errors import DatasetError
from tests.toy_env import ToyEnv

BOX, THREE = Box(-1.0, 1.0, (2,), np.float32), Discrete(3)
SPACES = {"ann": (BOX, THREE), "bob": (BOX, THREE)}


def seen(*names: str, value: float = 0.0) -> dict[str, np.ndarray]:
    return {name: np.full(2, value, np.float32) for name in names}


def lived(steps: int, **about: Any) -> AgentEpisode:
    walk = np.linspace(0, 1, 2 * (steps + 1)).reshape(steps + 1, 2)
    return AgentEpisode(walk, np.arange(steps) % 3, **about)


def test_an_environment_is_recorded_step_by_step(tmp_path: Path) -> None:
    env, rng = ToyEnv(steps=5, mixed_end=True), np.random.default_rng(0)
    returns: list[float] = []
    played: list[int] = []
    with DemonstrationWriter(env, tmp_path / "data", name="pettingzoo:tests.toy_env", licence="CC0-1.0") as writer:
        for _ in range(3):
            writer.reset(env.reset()[0])
            returns.append(0.0)
            while env.agents:
                actions = {agent: int(rng.integers(3)) for agent in env.agents}
                played.append(actions["agent_1"])
                observations, rewards, *flags, _ = env.step(actions)
                returns[-1] += rewards["agent_1"]
                writer.step(actions, observations, rewards, *flags)
        assert not (tmp_path / "data").exists(), "the dataset appears when the writer closes"
    dataset = read_dataset(str(tmp_path / "data"))
    assert dataset.metadata.licence == "CC0-1.0" and dataset.metadata.env == "pettingzoo:tests.toy_env"
    assert dataset.metadata.expert_return is not None
    assert dataset.metadata.expert_return.per_agent["agent_1"]["mean"] == pytest.approx(np.mean(returns))
    columns = dataset.columns
    assert columns["actions.agent_1"].tolist() == played and len(played) == 15
    assert columns["terminateds.agent_0"].sum() == 3 == columns["truncateds.agent_1"].sum()
    same = columns["t"][1:] > 0
    np.testing.assert_array_equal(columns["next_obs.agent_0"][:-1][same], columns["obs.agent_0"][1:][same])


def test_agents_enter_late_and_leave_early(tmp_path: Path) -> None:
    with DemonstrationWriter(SPACES, tmp_path / "data") as writer:
        writer.reset(seen("ann"))
        writer.step({"ann": 1}, seen("ann", "bob", value=0.1))
        writer.step({"ann": 2, "bob": 0}, seen("bob", value=0.2), terminateds={"ann": True})
        writer.step({"bob": 1}, seen("bob", value=0.3))  # cut here, by the next episode
        writer.reset(seen("ann", "bob"))
        writer.step({"ann": 0, "bob": 0}, seen("ann", "bob"), truncateds=True)
    columns = read_demonstrations(str(tmp_path / "data"))
    assert columns["alive.ann"].tolist() == [True, True, False, True]
    assert columns["alive.bob"].tolist() == [False, True, True, True]
    assert columns["terminateds.ann"].tolist() == [False, True, False, False]
    assert columns["truncateds.bob"].tolist() == [False, False, True, True]
    assert columns["obs.bob"][1, 0] == pytest.approx(0.1) and columns["next_obs.bob"][2, 0] == pytest.approx(0.3)
    np.testing.assert_array_equal(columns["next_obs.ann"][1], columns["obs.ann"][1])
    assert "rewards.ann" not in columns
    summary = summarise(read_dataset(str(tmp_path / "data")))
    assert summary["presence"]["ann"] == {"absent": 0, "late": 0, "early": 1}
    assert summary["presence"]["bob"] == {"absent": 0, "late": 1, "early": 0}
    assert summary["episode_lengths"] == {"min": 1, "mean": 2.0, "max": 3}
    assert summary["return_mean"] is None


def test_whole_episodes_are_written_and_padded(tmp_path: Path) -> None:
    episodes = [
        {"ann": lived(4, terminated=True), "bob": lived(2, start=1)},
        {"bob": lived(3, terminated=True)},
    ]
    write_demonstrations(tmp_path / "data", episodes, SPACES, expert="two friends")
    dataset = read_dataset(str(tmp_path / "data"))
    assert dataset.metadata.expert == "two friends" and dataset.metadata.expert_return is None
    columns = dataset.columns
    assert columns["actions.ann"][:4].tolist() == [0, 1, 2, 0]
    assert columns["actions.bob"].tolist() == [0, 0, 1, 0, 0, 1, 2]
    assert columns["alive.ann"].tolist() == [True] * 4 + [False] * 3
    np.testing.assert_allclose(columns["next_obs.bob"][2], lived(2).observations[2])
    assert summarise(dataset)["presence"]["ann"]["absent"] == 1


@pytest.mark.parametrize("form", ["pandas", "polars"])
def test_data_frames_hold_what_the_arrays_hold(form: str, tmp_path: Path) -> None:
    pytest.importorskip(form)
    folder = write_demonstrations(tmp_path / "data", [{"ann": lived(4), "bob": lived(3)}], SPACES)
    columns, frame = read_demonstrations(str(folder)), read_demonstrations(str(folder), form)
    assert list(frame.columns) == list(columns)
    for name, values in columns.items():
        found = frame[name].to_numpy() if form == "polars" else np.stack(frame[name].to_numpy().tolist())
        np.testing.assert_array_equal(found, values, err_msg=name)


def test_a_failing_block_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), DemonstrationWriter(SPACES, tmp_path / "data") as writer:
        writer.reset(seen("ann", "bob"))
        writer.step({"ann": 0, "bob": 0}, seen("ann", "bob"))
        raise RuntimeError("the expert fell asleep")
    assert list(tmp_path.iterdir()) == []


def test_misuse_is_named(tmp_path: Path) -> None:
    def writer() -> DemonstrationWriter:
        made = DemonstrationWriter(SPACES, tmp_path / "data")
        made.reset(seen("ann"))
        return made

    with pytest.raises(DatasetError, match=r"before reset\(\)"):
        DemonstrationWriter(SPACES, tmp_path / "data").step({"ann": 0}, seen("ann"))
    with pytest.raises(DatasetError, match="'bob' acts at t=0 without an observation before"):
        writer().step({"ann": 0, "bob": 0}, seen("ann", "bob"))
    with pytest.raises(DatasetError, match="'ann' acts at t=0 and sees nothing afterwards"):
        writer().step({"ann": 0}, {})
    with pytest.raises(DatasetError, match="rewards are of"):
        writer().step({"ann": 0}, seen("ann"), {"bob": 1.0})
    with pytest.raises(DatasetError, match="no step was recorded"):
        writer().close()
    with pytest.raises(DatasetError, match="expected one with possible_agents"):
        DemonstrationWriter(3, tmp_path / "data")
    waiting = writer()
    waiting.step({"ann": 0}, seen("ann"), terminateds={"__all__": True})
    with pytest.raises(DatasetError, match="'ann' acts at t=1 after its end"):
        waiting.step({"ann": 0}, seen("ann"))
    idle = writer()
    idle.step({"ann": 0}, seen("ann", "bob"))
    with pytest.raises(DatasetError, match="'ann' does not act at t=1, but its part is not over"):
        idle.step({"bob": 0}, seen("bob"))


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        ({"eve": lived(2)}, "agent 'eve' is not among"),
        ({"ann": AgentEpisode(np.zeros((3, 2)), [0, 1, 2])}, r"shape \(3, 2\), expected \(4, 2\)"),
        ({"ann": AgentEpisode(np.zeros((3, 2)), [0, 1.5])}, "actions of 'ann' holds 1.5"),
        ({"ann": lived(2, rewards=[1.0])}, r"rewards of 'ann' have shape \(1,\)"),
        ({"ann": lived(2, rewards=[1.0, 0.0]), "bob": lived(2)}, r"\['bob'\] have no rewards and other agents have"),
        ({"ann": lived(2, start=1)}, "no agent acts at t=0"),
        ({"ann": AgentEpisode([[0, 0], ["a", "b"]], [0])}, "expected numbers"),
    ],
)
def test_episodes_that_do_not_fit_are_refused(episode: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        write_demonstrations(tmp_path / "data", [episode], SPACES)
    assert list(tmp_path.iterdir()) == []


def test_actions_out_of_range_are_refused_when_it_closes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="action of 'ann' is 7, expected 0 to 2"):
        write_demonstrations(tmp_path / "data", [{"ann": AgentEpisode(np.zeros((2, 2)), [7])}], SPACES)


def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "your_data.md").read_text()
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```python\n(.*?)^```", page, re.S | re.M):
        exec(compile(block, "your_data.md", "exec"), names)
    first = read_demonstrations("my_data")
    assert first["actions.bob"].tolist() == [2, 2] and first["truncateds.ann"].tolist() == [False, True]
    assert read_demonstrations("episodes")["alive.bob"].tolist() == [False] * 3 + [True] * 2
    assert read_demonstrations("other_data.parquet")["actions.ann"].tolist() == [0, 2]
    assert len(names["late"]) == 3
    assert names["act"]({"ann": np.zeros(2)}, np.random.default_rng(0)) == {"ann": 0}

"""The people's play that overcooked-ai ships: read without trust, replayed, and left out where it disagrees."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mamql_envs import overcooked_human
from mamql_envs.overcooked_batch import OvercookedBatch
from mamql_envs.overcooked_compat import human_data_folder
from mamql_envs.overcooked_human import LAYOUTS, TRIALS, read_human_play
from mamql_envs.overcooked_human_frame import FrameError, read_frame
from mamql_envs.overcooked_v0 import parallel_env
from rllib_mamql.data.reading import read_dataset
from tests.support.command_line import Rllib

Frame = dict[str, Any]
TRAIN = human_data_folder() / "clean_train_trials.pickle"


@pytest.fixture(scope="module")
def whole() -> Frame:
    return read_frame(TRAIN)


@pytest.fixture
def frame(whole: Frame, monkeypatch: pytest.MonkeyPatch) -> Frame:
    """The first 500 steps of forced_coordination, to be changed; readers see it in place of the file."""
    rows = np.flatnonzero([name == "random0" for name in whole["layout_name"]])[:500]
    part = {name: values[rows].copy() for name, values in whole.items()}
    monkeypatch.setattr(overcooked_human, "read_frame", lambda path: part)
    return part


def test_the_frame_is_what_pandas_would_give(whole: Frame) -> None:
    assert len(whole) == 23 and {len(values) for values in whole.values()} == {46_729}
    names, counts = np.unique(whole["layout_name"].astype(str), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "asymmetric_advantages": 10_768, "coordination_ring": 9_619, "cramped_room": 9_564, "random0": 7_151,
        "random3": 9_627,
    }  # fmt: skip
    assert set(whole["reward"].tolist()) == {0.0, 5.0}


def test_a_stretch_is_what_the_environment_plays(frame: Frame) -> None:
    play = read_human_play("forced_coordination", observation="entities")
    assert (play.trials, play.recorded, play.dropped, len(play.stretches)) == (1, 500, 0, 1)
    (stretch,) = play.stretches
    assert stretch.rewards.sum() == 4 * frame["reward"].sum() > 0
    env = parallel_env("forced_coordination", 500, observation="entities", auto_cook=True)
    observations, _ = env.reset()  # Here people began where the layout has cooks begin today.
    for t in range(500):
        np.testing.assert_array_equal(stretch.observations["agent_1"][t], observations["agent_1"])
        observations, rewards, *_ = env.step({agent: chosen[t] for agent, chosen in stretch.actions.items()})
        assert rewards["agent_0"] == stretch.rewards[t]
    np.testing.assert_array_equal(stretch.observations["agent_0"][500], observations["agent_0"])


def test_what_is_not_replayed_is_left_out_and_counted(frame: Frame) -> None:
    sound = read_human_play("forced_coordination").stretches[0]
    frame["next_state"][100] = frame["next_state"][300]  # leads elsewhere
    frame["reward"][200] = 5.0 - frame["reward"][200]  # is paid otherwise
    frame["state"][301] = "{'players': 'gone'}"  # cannot be read
    frame["joint_action"][401] = "[[0, 0], 'JUMP']"
    play = read_human_play("forced_coordination")
    assert (play.recorded, play.dropped) == (500, 4)
    lengths = [len(stretch.rewards) for stretch in play.stretches]
    assert lengths == [100, 99, 100, 99, 98]
    np.testing.assert_array_equal(play.stretches[1].observations["agent_0"], sound.observations["agent_0"][101:201])
    assert len({stretch.name for stretch in play.stretches}) == 5
    assert play.return_per_400 == pytest.approx(400 * sum(s.rewards.sum() for s in play.stretches) / 496)


def test_todays_game_would_not_replay_them(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    def lit_by_cooks(num_envs: int, **config: Any) -> OvercookedBatch:
        return OvercookedBatch(num_envs, **{**config, "auto_cook": False})

    monkeypatch.setattr(overcooked_human, "OvercookedBatch", lit_by_cooks)
    assert read_human_play("forced_coordination").dropped > 0


def test_another_kitchen_is_refused(frame: Frame) -> None:
    frame["layout"][:] = frame["layout"][0].replace("S", "X")
    with pytest.raises(FrameError, match="recorded in another kitchen than today's forced_coordination"):
        read_human_play("forced_coordination")


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickles_of_anything_else_are_refused_and_nothing_is_called(tmp_path: Path) -> None:
    out = tmp_path / "unpickled"
    for name, value in (
        ("bomb", Bomb(out)), ("getattr", getattr), ("array", np.zeros(3)), ("text", "a frame"), ("list", [Bomb(out)]),
    ):  # fmt: skip
        file = tmp_path / name
        file.write_bytes(pickle.dumps(value))
        with pytest.raises(FrameError, match=r"is not the data frame that overcooked-ai ships|is damaged") as raised:
            read_frame(file)
        assert "\n" not in str(raised.value)
    assert not out.exists()
    (tmp_path / "half").write_bytes(TRAIN.read_bytes()[:5000])
    with pytest.raises(FrameError, match="is damaged"):
        read_frame(tmp_path / "half")
    with pytest.raises(FrameError, match="is missing"):
        read_frame(tmp_path / "nothing")


def test_a_name_that_is_known_calls_a_record_and_nothing_of_pandas(tmp_path: Path) -> None:
    """A frame that names what pickle itself would find in numpy gets records, whatever they are called with."""
    stream = io.BytesIO()
    stream.write(b"cnumpy\ndtype\n(Vos.system\ntR.")
    (tmp_path / "file").write_bytes(stream.getvalue())
    with pytest.raises(FrameError, match="it holds a _NumberFormat"):
        read_frame(tmp_path / "file")


def test_the_command_converts_them(frame: Frame, tmp_path: Path, rllib: Rllib) -> None:
    frame["reward"][100] = 5.0
    words = ("convert", "overcooked-human", "--env-config", "layout=forced_coordination", "--random-episodes", 0)
    done = rllib(*words, "--out", tmp_path / "data")
    assert done.status == 0 and "499 joint steps, 2 episodes" in done.out, done.err
    assert "1 of 500 transitions are not replayed, and left out" in done.err
    dataset = read_dataset(str(tmp_path / "data"))
    metadata = dataset.metadata
    assert metadata.env == "overcooked" and metadata.env_config is not None
    assert metadata.env_config["auto_cook"] is True and "not to be passed on" in str(metadata.licence)
    sound = read_human_play("forced_coordination").stretches[1]
    np.testing.assert_array_equal(dataset.columns["actions.agent_1"][100:], sound.actions["agent_1"])
    np.testing.assert_array_equal(dataset.columns["obs.agent_0"][100:], sound.observations["agent_0"][:-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--env-config", "layout=counter_circuit"), "did you mean 'counter_circuit_o_1order'?"),
        (("--env-config", "auto_cook=false"), "auto_cook is False, but people played with True"),
        (("--env-config", "reward=shaped"), "reward is 'shaped', but people played with 'sparse'"),
        (("--env", "gems"), "--env is 'gems', but overcooked-human was played in 'overcooked'"),
    ],
)
def test_what_cannot_be_asked_of_them(words: tuple[str, ...], message: str, tmp_path: Path, rllib: Rllib) -> None:
    done = rllib("convert", "overcooked-human", "--out", tmp_path / "data", *words)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err


@pytest.mark.slow
@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_trial_is_replayed(layout: str, trials: str) -> None:
    play = read_human_play(layout, trials)
    assert play.dropped == 0 and len(play.stretches) == play.trials
    expected = {
        "cramped_room": 117.1, "asymmetric_advantages": 173.8, "coordination_ring": 101.5, "forced_coordination": 113.0,
        "counter_circuit_o_1order": 79.8,
    }  # fmt: skip
    if trials == "train":
        assert play.return_per_400 == pytest.approx(expected[layout], abs=0.05)

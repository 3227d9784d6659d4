"""Demonstrations from tables, arrays, RLlib's episodes and Minari: built by their own libraries, compared exactly."""

from __future__ import annotations

import pathlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium.spaces import Box, Discrete

from rllib_mamql import AgentEpisode, read_demonstrations, write_demonstrations
from rllib_mamql.columns import JointColumns, column
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.errors import DatasetError
from tests.support.command_line import Rllib
from tests.support.joint_data import assert_equal

AGENTS = ("ann", "bob")
SPACES = {agent: (Box(-2.0, 2.0, (2,), np.float32), Discrete(3)) for agent in AGENTS}
Played = list[dict[str, AgentEpisode]]


def played(*, rewards: bool = True, late: bool = True) -> Played:
    """Three episodes: bob enters the second one late, and leaves the third one early, at an end of his own."""
    rng = np.random.default_rng(0)

    def lived(steps: int, start: int = 0, terminated: bool = False) -> AgentEpisode:
        walk = np.round(rng.normal(size=(steps + 1, 2)), 3).clip(-2, 2)
        return AgentEpisode(
            walk, rng.integers(3, size=steps), rng.integers(5, size=steps) / 4 if rewards else None, terminated, start
        )

    return [
        {"ann": lived(4, terminated=True), "bob": lived(4, terminated=True)},
        {"ann": lived(5), "bob": lived(3, start=2 if late else 0)},
        {"ann": lived(6), "bob": lived(2, terminated=True)},
    ]


def expected(folder: Path, episodes: Played) -> JointColumns:
    return read_demonstrations(str(write_demonstrations(folder, episodes, SPACES)))


def long_frame(episodes: Played) -> pd.DataFrame:
    """A row for each step of an agent, and one more, without an action, for what it saw at last."""
    rows = []
    for number, episode in enumerate(episodes):
        for agent, part in episode.items():
            for step, (x, y) in enumerate(part.observations):
                last = step == len(part.actions)
                row = {"game": number, "player": agent, "step": part.start + step, "x": x, "y": y}
                row |= {"move": None if last else part.actions[step], "over": last and part.terminated}
                if part.rewards is not None:
                    row["paid"] = None if last else part.rewards[step]
                rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype({"move": "Int64"}).sample(frac=1.0, random_state=0)


COLUMNS = {
    "eps_id": "game", "agent_id": "player", "t": "step", "obs": "x,y", "actions": "move", "rewards": "paid",
    "terminateds": "over",
}  # fmt: skip


def same(left: JointColumns, right: JointColumns) -> None:
    """Equal but for the names of episodes, and their order."""

    def ordered(columns: JointColumns) -> JointColumns:
        key = [
            tuple(np.concatenate([columns["actions.ann"][rows], columns["obs.ann"][rows, 0]]).tolist())
            for rows in (columns["eps_id"] == name for name in columns["eps_id"])
        ]
        order = sorted(range(len(key)), key=lambda row: (key[row], columns["t"][row]))
        names = np.unique(columns["eps_id"])
        kept = {name: values[order] for name, values in columns.items() if name != "eps_id"}
        return kept | {"episodes": np.full(len(order), len(names))}

    assert_equal(ordered(left), ordered(right), AGENTS)


# -- tables --------------------------------------------------------------------------------------------------------


def test_a_csv_file(tmp_path: Path, rllib: Rllib) -> None:
    episodes = played()
    long_frame(episodes).to_csv(tmp_path / "games.csv", index=False)
    words = [word for ours, theirs in COLUMNS.items() for word in ("--column", f"{ours}={theirs}")]
    done = rllib("convert", tmp_path / "games.csv", "--out", tmp_path / "data", *words, "--licence", "CC0-1.0")
    assert done.status == 0 and "15 joint steps, 3 episodes, mean return" in done.out
    dataset = read_dataset(str(tmp_path / "data"))
    same(dataset.columns, expected(tmp_path / "same", episodes))
    assert dataset.metadata.spaces_inferred and dataset.metadata.licence == "CC0-1.0"
    assert "games.csv" in str(dataset.metadata.command) and "give --env" in done.err


@pytest.mark.parametrize("rewards", [True, False])
@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars", "duckdb"])
def test_data_frames(library: str, rewards: bool, tmp_path: Path) -> None:
    package = pytest.importorskip(library)
    episodes = played(rewards=rewards)
    frame: Any = long_frame(episodes)
    columns = {ours: theirs for ours, theirs in COLUMNS.items() if rewards or ours != "rewards"}
    if library == "pyarrow":
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    elif library == "polars":
        frame = package.from_pandas(frame)
    elif library == "duckdb":
        frame = package.sql("SELECT * FROM frame")
    write_demonstrations(tmp_path / "data", frame, SPACES, columns=columns)
    same(read_demonstrations(str(tmp_path / "data")), expected(tmp_path / "same", episodes))


def test_a_parquet_table_with_lists_and_names_of_its_own(tmp_path: Path, rllib: Rllib) -> None:
    episodes = played()
    frame = long_frame(episodes).rename(columns={theirs: ours for ours, theirs in COLUMNS.items()})
    frame["obs"] = [list(pair) for pair in zip(frame.pop("x"), frame.pop("y"), strict=True)]
    frame["agent_id"] = frame["agent_id"].map({"ann": "1", "bob": "2"})
    frame.to_parquet(tmp_path / "games.parquet")
    done = rllib(
        "convert", tmp_path / "games.parquet", "--out", tmp_path / "data", "--agent", "ann=1", "--agent", "bob=2",
    )  # fmt: skip
    assert done.status == 0, done.err
    same(read_demonstrations(str(tmp_path / "data")), expected(tmp_path / "same", episodes))


def test_what_is_read_can_be_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = expected(tmp_path / "data", played())
    write_demonstrations(tmp_path / "arrays", columns | {"weight": np.ones(len(columns["t"]), np.float32)}, SPACES)
    assert "'weight' is left out" in caplog.text
    same(read_demonstrations(str(tmp_path / "arrays")), columns)
    frame = read_demonstrations(str(tmp_path / "data"), "pandas")
    write_demonstrations(tmp_path / "again", frame[frame["eps_id"] != "eps-000001"], SPACES)
    kept = columns["eps_id"] != "eps-000001"
    same(read_demonstrations(str(tmp_path / "again")), {name: values[kept] for name, values in columns.items()})


def test_a_cut_episode_without_its_last_observation_loses_a_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"obs": [0.0, 0.1, 0.2, 0.3], "actions": [0, 1, 2, 1], "eps_id": [0, 0, 0, 1]}
    write_demonstrations(tmp_path / "data", pa.table(table))
    columns = read_demonstrations(str(tmp_path / "data"))
    assert columns["actions.agent_0"].tolist() == [0, 1] and columns["truncateds.agent_0"].tolist() == [False, True]
    assert "last step is left out (2 times)" in caplog.text
    write_demonstrations(tmp_path / "ended", pa.table(table | {"terminateds": [False, False, True, True]}))
    assert read_demonstrations(str(tmp_path / "ended"))["actions.agent_0"].tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": None}, "no column 'obs' of 'ann'"),
        ({"t": [0, 2, 0, 1]}, "eps_id 'eps-0', agent 'ann': t jumps from 0 to 2"),
        ({"t": [0, 0, 0, 1]}, "t=0 has two rows, expected one"),
        ({"t": [0.0, 0.5, 0.0, 0.5]}, "column 't' holds 0.5, which does not fit in int64"),
        ({"actions": [None, 1, 1, 1]}, "there is no action at t=0, only an episode's last row"),
        ({"actions": ["left", "left", "up", "up"]}, r"column 'actions' holds texts such as \['left'"),
        ({"actions": [0, 9, 1, 1]}, "action of 'ann' is 9, expected 0 to 2"),
        ({"rewards": [0.0, None, 1.0, 1.0]}, "'rewards' of 'ann' is empty in row 1"),
        ({"obs": [0.0, None, 1.0, 1.0]}, "'obs' of 'ann' is empty in row 1"),
        (
            {"terminateds": [True, False, False, False]},
            "'terminateds' is set at t=0, but the agent's rows go on to t=1",
        ),
        ({"agent_id": ["ann", "ann", "eve", "eve"]}, "agent 'eve' is not among"),
    ],
)
def test_damaged_tables_are_refused_in_a_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    table = {
        "agent_id": ["ann", "ann", "bob", "bob"], "t": [0, 1, 0, 1], "obs": [0.0, 0.1, 0.2, 0.3],
        "next_obs": [0.1, 0.2, 0.3, 0.4], "actions": [0, 1, 2, 1],
    }  # fmt: skip
    table = {name: values for name, values in (table | change).items() if values is not None}
    spaces = {agent: (Box(-2.0, 2.0, (), np.float32), Discrete(3)) for agent in AGENTS}
    with pytest.raises(DatasetError, match=message) as raised:
        write_demonstrations(tmp_path / "data", pa.table(table), spaces)
    assert "\n" not in str(raised.value) and not (tmp_path / "data").exists()


def test_columns_that_are_misnamed(tmp_path: Path) -> None:
    table = pa.table({"obs": [0.0], "action": [0]})
    for columns, message in (
        ({"action": "action"}, "'action', which is no meaning: did you mean 'actions'"),
        ({"actions": "actoin"}, "no column 'actoin'; did you mean 'action'"),
        ({"actions": "obs,action"}, "expected one: only obs may be of several"),
    ):
        with pytest.raises(DatasetError, match=message):
            write_demonstrations(tmp_path / "data", table, columns=columns)


# -- arrays --------------------------------------------------------------------------------------------------------


def test_an_archive_of_arrays_by_agent(tmp_path: Path, rllib: Rllib) -> None:
    columns = expected(tmp_path / "same", played())
    np.savez(tmp_path / "games.npz", **columns)
    done = rllib("convert", tmp_path / "games.npz", "--out", tmp_path / "data")
    assert done.status == 0, done.err
    same(read_demonstrations(str(tmp_path / "data")), columns)


def test_an_archive_with_an_axis_of_agents(tmp_path: Path, rllib: Rllib) -> None:
    columns = expected(tmp_path / "same", played()[:1])
    arrays = {
        name: np.stack([columns[column(name, agent)] for agent in AGENTS], axis=1)
        for name in ("obs", "next_obs", "actions", "rewards")
    }
    arrays["observations"] = arrays.pop("obs")
    np.savez(tmp_path / "games.npz", **arrays, terminateds=columns["terminateds.ann"], agents=np.array(AGENTS))
    done = rllib("convert", tmp_path / "games.npz", "--out", tmp_path / "data", "--column", "obs=observations")
    assert done.status == 0, done.err
    same(read_demonstrations(str(tmp_path / "data")), columns)


def test_archives_that_hold_objects_or_are_damaged(tmp_path: Path, rllib: Rllib) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pathlib.Path.touch, (tmp_path / "unpickled",)

    np.savez(tmp_path / "bomb.npz", obs=np.array([Bomb()]), actions=np.zeros(1, np.int64))
    (tmp_path / "half.npz").write_bytes((tmp_path / "bomb.npz").read_bytes()[:90])
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps([Bomb()]))
    for name in ("bomb", "half", "pickle", "missing"):
        done = rllib("convert", tmp_path / f"{name}.npz", "--out", tmp_path / "data")
        assert done.status == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "unpickled").exists() and not (tmp_path / "data").exists()


# -- RLlib ---------------------------------------------------------------------------------------------------------


def rllib_episodes(episodes: Played) -> list[Any]:
    """The same as RLlib's own episodes, step by step."""
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

    result = []
    for number, agents in enumerate(episodes):
        length = max(part.start + len(part.actions) for part in agents.values())
        made = MultiAgentEpisode(id_=f"e{number}")
        made.add_env_reset(
            observations={a: part.observations[0].astype(np.float32) for a, part in agents.items() if part.start == 0}
        )
        for t in range(length):
            acting = {a: part for a, part in agents.items() if 0 <= t - part.start < len(part.actions)}
            seen = {a: part.observations[t + 1 - part.start] for a, part in acting.items()}
            seen |= {a: part.observations[0] for a, part in agents.items() if part.start == t + 1}
            ends = {a: part.terminated and t + 1 == part.start + len(part.actions) for a, part in acting.items()}
            last = t + 1 == length
            everybody = last and all(part.terminated for part in agents.values())
            made.add_env_step(
                observations={a: values.astype(np.float32) for a, values in seen.items()},
                actions={a: part.actions[t - part.start] for a, part in acting.items()},
                rewards={a: part.rewards[t - part.start] for a, part in acting.items()},
                terminateds=ends | {"__all__": everybody},
                truncateds={"__all__": last and not everybody},
            )
        result.append(made)
    return result


@pytest.mark.parametrize("numpy", [False, True])
def test_episodes_of_rllib(numpy: bool, tmp_path: Path) -> None:
    episodes = played()
    made = rllib_episodes(episodes)
    if numpy:
        made = [episode.to_numpy() for episode in made]
    write_demonstrations(tmp_path / "data", made, SPACES)
    columns = read_demonstrations(str(tmp_path / "data"))
    same(columns, expected(tmp_path / "same", episodes))
    for agent in AGENTS:
        paid = sum(float(np.sum(episode[agent].rewards)) for episode in episodes)
        assert columns[column("rewards", agent)][columns[column("alive", agent)]].sum() == pytest.approx(paid)


def test_an_episode_that_rllib_cut_is_put_together(tmp_path: Path) -> None:
    episodes = played()[1:2]
    whole = rllib_episodes(episodes)[0]
    first, second = whole[:3], whole[3:]
    first.id_ = second.id_ = "one"
    write_demonstrations(tmp_path / "data", [first, second], SPACES)
    same(read_demonstrations(str(tmp_path / "data")), expected(tmp_path / "same", episodes))
    with pytest.raises(
        DatasetError, match=r"a piece begins at t=[02] where '(ann|bob)' has come to t=5: give all pieces"
    ):
        write_demonstrations(tmp_path / "other", [second, first], SPACES)


def test_agents_that_take_turns_are_refused(tmp_path: Path) -> None:
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

    made = MultiAgentEpisode(id_="turns")
    made.add_env_reset(observations={"ann": np.zeros(2, np.float32)})
    for agent, other in (("ann", "bob"), ("bob", "ann"), ("ann", "bob")):
        made.add_env_step(
            observations={other: np.zeros(2, np.float32)}, actions={agent: 0}, rewards={agent: 0.0}, infos={},
        )  # fmt: skip
    with pytest.raises(DatasetError, match="episode 'turns': 'ann' skips the step t=1 and goes on"):
        write_demonstrations(tmp_path / "data", [made], SPACES)


def test_what_rllibs_recorder_packs(tmp_path: Path, rllib: Rllib) -> None:
    msgpack, packing = pytest.importorskip("msgpack"), pytest.importorskip("msgpack_numpy")
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode

    walk, actions = np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2), [2, 0, 1]
    made = SingleAgentEpisode(id_="one", observations=[walk[0]], observation_space=SPACES["ann"][0])
    for t, action in enumerate(actions):
        made.add_env_step(walk[t + 1], action, 0.5 * t, terminated=t == 2)
    # As OfflineSingleAgentEnvRunner.sample does.
    packed = msgpack.packb(made.get_state(), default=packing.encode)
    folder = tmp_path / "recorded" / "env" / "run-000001-00001"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"item": pa.array([packed], pa.binary())}), folder / "0.parquet")
    done = rllib("convert", tmp_path / "recorded", "--out", tmp_path / "data")
    assert done.status == 0, done.err
    columns = read_demonstrations(str(tmp_path / "data"))
    assert columns["actions.agent_0"].tolist() == actions and columns["terminateds.agent_0"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(columns["obs.agent_0"], walk[:-1])
    assert columns["rewards.agent_0"].tolist() == [0.0, 0.5, 1.0]
    pq.write_table(pa.table({"item": pa.array([packed[:50]], pa.binary())}), folder / "0.parquet")
    done = rllib("convert", tmp_path / "recorded", "--out", tmp_path / "other")
    assert done.status == 2 and "row 0 is no packed episode" in done.err


def test_what_rllibs_recorder_writes_by_rows(tmp_path: Path) -> None:
    from ray.rllib.utils.compression import pack

    walk = np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2)
    rows: dict[str, Any] = {
        "eps_id": ["a"] * 3, "agent_id": pa.nulls(3), "module_id": pa.nulls(3), "obs": walk[:-1].tolist(),
        "actions": [0, 1, 2], "rewards": [0.0, 1.0, 0.0], "new_obs": walk[1:].tolist(), "terminateds": [False] * 3,
        "truncateds": [False, False, True],
    }  # fmt: skip
    write_demonstrations(tmp_path / "data", pa.table(rows))
    columns = read_demonstrations(str(tmp_path / "data"))
    np.testing.assert_array_equal(columns["next_obs.agent_0"], walk[1:])
    rows["obs"] = [pack(step) for step in walk[:-1]]
    with pytest.raises(DatasetError, match=r"nothing is decoded or unpickled.*output_compress_columns=\[\]"):
        write_demonstrations(tmp_path / "other", pa.table(rows))


# -- Minari --------------------------------------------------------------------------------------------------------


def test_minaris_datasets(tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    from minari.data_collector import EpisodeBuffer

    episodes = played(late=False)
    for agent in AGENTS:
        buffers = [
            EpisodeBuffer(
                id=number,
                observations=list(episode[agent].observations.astype(np.float32)),
                actions=list(episode[agent].actions),
                rewards=list(episode[agent].rewards),
                terminations=[False] * (len(episode[agent].actions) - 1) + [episode[agent].terminated],
                truncations=[False] * (len(episode[agent].actions) - 1) + [not episode[agent].terminated],
            )
            for number, episode in enumerate(episodes)
        ]
        box, discrete = SPACES[agent]
        minari.create_dataset_from_buffers(
            f"walk/{agent}-v0", buffers, observation_space=box, action_space=discrete, eval_env=None,
            algorithm_name="random", author="nobody", author_email="nobody@example.org", code_permalink="none",
            description="a walk",
        )  # fmt: skip
    done = rllib("convert", "ann=walk/ann-v0", "bob=walk/bob-v0", "--out", tmp_path / "data")
    assert done.status == 0, done.err
    dataset = read_dataset(str(tmp_path / "data"))
    same(dataset.columns, expected(tmp_path / "same", episodes))
    assert dataset.metadata.spaces["ann"].observation == SPACES["ann"][0] and not dataset.metadata.spaces_inferred
    done = rllib("convert", "ann=walk/eve-v0", "--out", tmp_path / "other")
    assert done.status == 2 and "Minari has no dataset 'walk/eve-v0' here" in done.err


def test_a_missing_minari_is_named(tmp_path: Path, rllib: Rllib, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    done = rllib("convert", "ann=walk/ann-v0", "--out", tmp_path / "data")
    assert done.status == 2 and "needs the package minari: pip install minari" in done.err

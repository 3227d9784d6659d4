"""What the schema refuses, and that it says where and why."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from rllib_mamql.columns import JointColumns
from rllib_mamql.data.schema import (
    AgentSpaces,
    DatasetMetadata,
    ReturnSummary,
    check_environment,
    spaces_from_gym,
    validate_columns,
)
from rllib_mamql.data.tables import count_from_start, count_from_zero
from rllib_mamql.errors import DatasetError
from tests.support.joint_data import make_columns, make_metadata


def test_no_ray_nor_torch_is_imported() -> None:
    code = "import sys, rllib_mamql.data.schema, rllib_mamql.data.reading, rllib_mamql.data.writing; " + (
        "print([name for name in ('ray', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "box",
    [
        Box(-np.inf, np.inf, (3,)),
        Box(0, 255, (2, 2), np.uint8),
        Box(np.array([-np.inf, 0.1]), np.array([1.0, np.inf]), dtype=np.float64),
        Box(-(2**31), 2**31 - 1, (1,), np.int32),
        Box(0, 1, (), np.float32),
    ],
)
def test_spaces_survive_json(box: Box) -> None:
    spaces = AgentSpaces(box, Discrete(4))
    text = json.dumps(spaces.to_json(), allow_nan=False)
    assert AgentSpaces.from_json(json.loads(text), "a") == spaces


def test_bounds_may_be_null_or_absent() -> None:
    document = {"observation": {"shape": [2], "dtype": "float32", "low": None}, "action": {"n": 2}}
    assert AgentSpaces.from_json(document, "a").observation == Box(-np.inf, np.inf, (2,))


def test_metadata_survive_json() -> None:
    summary = ReturnSummary(1.0, (0.5, 1.5), {"agent_0": {"mean": 1.0, "ci95": (0.5, 1.5)}}, 10)
    metadata = make_metadata(
        env="overcooked",
        env_config={"layout": "cramped_room"},
        expert="scripted",
        seed=3,
        licence="Apache-2.0",
        expert_return=summary,
        random_return=summary,
        command="make data",
    )
    assert DatasetMetadata.from_json(metadata.to_json()) == metadata


def change(**changes: object) -> str:
    document = json.loads(make_metadata().to_json()) | changes
    return json.dumps({key: value for key, value in document.items() if value != "drop"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "lacks"),
        (change(agents="drop"), "agents"),
        (change(schema_version=99), "99"),
        (change(spaces={}), "spaces for"),
        (change(agents=["agent_0", "agent_0"]), "distinct"),
        (change(spaces={"agent_0": {}, "agent_1": {}}), "agent_0"),
        (change(env_config=3), "env_config"),
        (change(expert_return={"mean": 1}), "return"),
    ],
)
def test_bad_metadata_are_refused(text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        DatasetMetadata.from_json(text)


def test_other_spaces_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"agent 'a'.*Discrete"):
        spaces_from_gym(["a"], {"a": Box(0, 1, (2,))}, {"a": MultiDiscrete([2, 2])})
    with pytest.raises(DatasetError, match="number the combinations"):
        AgentSpaces(Box(0, 1, (2,)), MultiDiscrete([2, 2]))


def test_actions_that_start_elsewhere_are_kept_in_files_and_counted_from_zero_in_memory() -> None:
    spaces = AgentSpaces(Box(0, 1, (2,)), Discrete(3, start=-1))
    document = spaces.to_json()
    assert document["action"] == {"type": "Discrete", "n": 3, "start": -1}
    assert AgentSpaces.from_json(document, "a") == spaces
    counted = DatasetMetadata(agents=("a",), spaces={"a": spaces}).counted_from_zero()
    assert counted.spaces["a"].action == Discrete(3)
    columns = {"alive.a": np.array([True, True, False]), "actions.a": np.array([1, -1, -1])}
    given = DatasetMetadata(agents=("a",), spaces={"a": spaces})
    assert count_from_zero(columns, given)["actions.a"].tolist() == [2, 0, 0]
    assert count_from_start(count_from_zero(columns, given), given)["actions.a"].tolist() == [1, -1, -1]


def drop(columns: JointColumns) -> None:
    del columns["obs.agent_1"]


def add(columns: JointColumns) -> None:
    columns["weigth"] = np.ones(10, np.float32)


def put(name: str, row: int, value: object):
    def mutate(columns: JointColumns) -> None:
        columns[name][row] = value

    return mutate


def cast(name: str, dtype: type):
    def mutate(columns: JointColumns) -> None:
        columns[name] = columns[name].astype(dtype)

    return mutate


def remove_rows(*rows: int):
    def mutate(columns: JointColumns) -> None:
        keep = ~np.isin(np.arange(len(columns["t"])), rows)
        columns |= {name: values[keep] for name, values in columns.items()}

    return mutate


def negative_weight(columns: JointColumns) -> None:
    columns["weight"] = np.ones(10, np.float32)
    columns["weight"][4] = -1


@pytest.mark.parametrize(
    ("mutate", "says"),
    [
        (drop, r"obs\.agent_1.*missing"),
        (add, "weigth.*did you mean 'weight'"),
        (lambda c: c.update({"obs.agent_0": c["obs.agent_0"][:, :1]}), r"\(10, 1, 3\), expected \(10, 2, 3\)"),
        (cast("obs.agent_0", np.float64), "float64, expected float32"),
        (cast("actions.agent_0", np.int32), "int32, expected int64"),
        (put("actions.agent_1", 5, 7), r"'e1', t=1: action of 'agent_1' is 7, expected 0 to 2"),
        (put("actions.agent_1", 5, -1), "is -1"),
        (put("obs.agent_0", 2, np.nan), r"'e0', t=2: 'obs\.agent_0' holds nan"),
        (put("next_obs.agent_0", 2, np.inf), "holds inf"),
        (put("rewards.agent_0", 9, np.nan), r"'e1', t=5: 'rewards\.agent_0' holds nan"),
        (negative_weight, "'e1', t=0: weight is -1"),
        (remove_rows(6), "'e1', t=3: t jumps from 1 to 3, expected 2"),
        (remove_rows(0), "'e0', t=1: the episode starts at t=1"),
        (remove_rows(9), "'e1', t=4: the episode ends here but 'agent_0' is neither"),
        (put("t", 5, 0), "'e1', t=0: t=0 appears twice"),
        (put("terminateds.agent_1", 1, True), "'e0', t=2: 'agent_1' is alive after"),
        (put("alive.agent_1", 6, False), "'e1', t=1: alive becomes False here but 'agent_1'"),
        (remove_rows(*range(10)), "no rows"),
    ],
)
def test_faults_are_named(mutate, says: str) -> None:
    columns = make_columns()
    mutate(columns)
    with pytest.raises(DatasetError, match=says) as error:
        validate_columns(columns, make_metadata())
    assert "\n" not in str(error.value)


def test_the_order_of_rows_is_free() -> None:
    columns = make_columns((3, 5, 2), early_end=True)
    order = np.random.default_rng(0).permutation(10)
    validate_columns({name: values[order] for name, values in columns.items()}, make_metadata())


def test_cells_of_dead_agents_mean_nothing() -> None:
    columns = make_columns(early_end=True)
    columns["obs.agent_1"][3] = np.nan
    columns["actions.agent_1"][3] = -1
    validate_columns(columns, make_metadata())


def test_an_agent_may_not_come_back() -> None:
    columns = make_columns((6,))
    columns["truncateds.agent_1"][1] = True
    columns["alive.agent_1"][2:4] = False
    with pytest.raises(DatasetError, match="t=4: 'agent_1' is alive again"):
        validate_columns(columns, make_metadata())


OBSERVATION = {agent: Box(-np.inf, 1.0, (2, 3)) for agent in ("agent_0", "agent_1")}
ACTION = {agent: Discrete(3) for agent in ("agent_0", "agent_1")}


def test_an_environment_that_fits() -> None:
    metadata = make_metadata(env="overcooked", env_config={"layout": "a", "horizon": 400, "only_here": 1})
    config = {"layout": "a", "horizon": 10, "elsewhere": 2}
    check_environment(metadata, ["agent_1", "agent_0"], OBSERVATION, ACTION, "overcooked", config)
    config["layout"] = "b"
    check_environment(metadata, ["agent_0", "agent_1"], OBSERVATION, ACTION, "overcooked", config, ignored=["layout"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env": "gems"}, "'overcooked'.*'gems'"),
        ({"env_config": {"layout": "b"}}, 'layout "a".*layout "b"'),
        ({"agents": ["agent_0"]}, "agents"),
        ({"observation_spaces": dict.fromkeys(OBSERVATION, Box(0, 1, (6,)))}, r"\(2, 3\).*\(6,\)"),
        ({"observation_spaces": dict.fromkeys(OBSERVATION, Box(0, 1, (2, 3), np.float64))}, "float64"),
        ({"action_spaces": dict.fromkeys(ACTION, Discrete(5))}, "3 actions.*5"),
    ],
)
def test_an_environment_that_does_not_fit(changes: dict[str, object], says: str) -> None:
    wanted = {
        "agents": ["agent_0", "agent_1"],
        "observation_spaces": OBSERVATION,
        "action_spaces": ACTION,
        "env": "overcooked",
        "env_config": {"layout": "a"},
    }
    metadata = make_metadata(env="overcooked", env_config={"layout": "a"})
    with pytest.raises(DatasetError, match=says):
        check_environment(metadata, **(wanted | changes))  # type: ignore[arg-type]

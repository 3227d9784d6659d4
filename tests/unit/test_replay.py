"""The joint replay buffer keeps rows whole, forgets the oldest, and survives a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.replay import JointReplayBuffer, memory_of


def rows(start: int, count: int) -> dict[str, np.ndarray]:
    values = np.arange(start, start + count)
    return {
        "eps_id": np.array([f"e{v}" for v in values], dtype=object),
        "obs.agent_0": np.stack([values, values], -1).astype(np.float32),
        "obs.agent_1": np.stack([-values, -values], -1).astype(np.float32),
        "actions.agent_0": values,
    }


def held(buffer: JointReplayBuffer) -> set[int]:
    return set(buffer.sample(2000, torch.Generator().manual_seed(0))["actions.agent_0"].tolist())


def test_rows_stay_aligned() -> None:
    buffer = JointReplayBuffer(8)
    for start in range(0, 30, 3):
        buffer.add(rows(start, 3))
    batch = buffer.sample(100, torch.Generator().manual_seed(1))
    assert (batch["obs.agent_0"] == -batch["obs.agent_1"]).all()
    assert (batch["obs.agent_0"][:, 0] == batch["actions.agent_0"]).all()
    assert "eps_id" not in batch


def test_the_oldest_are_overwritten() -> None:
    buffer = JointReplayBuffer(5)
    buffer.add(rows(0, 3))
    assert len(buffer) == 3 and held(buffer) == {0, 1, 2}
    buffer.add(rows(3, 4))
    assert len(buffer) == 5 and held(buffer) == {2, 3, 4, 5, 6}
    buffer.add(rows(10, 12))
    assert held(buffer) == set(range(17, 22))


@pytest.mark.parametrize("count", [3, 5, 8])
def test_state_round_trip_goes_on_the_same(count: int) -> None:
    buffer = JointReplayBuffer(5)
    buffer.add(rows(0, count))
    other = JointReplayBuffer(5)
    other.set_state(buffer.get_state())
    assert held(other) == held(buffer)
    for each in (buffer, other):
        each.add(rows(100, 3))
    assert held(other) == held(buffer)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        JointReplayBuffer(0)
    with pytest.raises(ValueError, match="empty"):
        JointReplayBuffer(3).sample(1, torch.Generator())


def test_a_buffer_that_cannot_be_filled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_mamql.learning.replay.memory_of", lambda device: 4 * 24 * 100)
    JointReplayBuffer(400).add(rows(0, 3))
    with pytest.raises(ConfigError, match=r"replay_capacity is 401 joint steps of 24 bytes.* lower it to 100, or"):
        JointReplayBuffer(401).add(rows(0, 3))
    assert memory_of(torch.device("cpu")) > 2**28

"""Scouts, which tell when to stop, and the watch over what they find."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_mamql.algorithms.mamql import stopping
from rllib_mamql.algorithms.mamql.chosen import chosen, in_words
from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.learner import MAMQLLearner
from rllib_mamql.algorithms.mamql.stopping import BEST_UPDATES, STOPPED, Watch
from rllib_mamql.columns import EPS_ID, JointColumns, nbytes, num_rows, take
from rllib_mamql.errors import ConfigError
from tests.unit.test_graphs import assert_equal
from tests.unit.test_learner import TOY, learner, play


@pytest.fixture(scope="module")
def demonstrations() -> JointColumns:
    return play()


def scouted(demonstrations: JointColumns) -> MAMQLLearner:
    made = learner(mode="offline", value_term=None)
    made.send_scouts(demonstrations)
    return made


def test_a_watch_ends_at_twice_the_updates_of_the_lowest_loss() -> None:
    watch = Watch()
    assert not watch.over, "nothing was seen yet"
    seen = {100: 1.5, 200: 1.2, 300: 1.1, 400: 1.3, 500: 1.2}
    for pair in seen.items():
        watch.see(*pair)
    assert (watch.updates, watch.loss, watch.over) == (300, 1.1, False)
    watch.see(600, 1.4)
    assert watch.over


def test_a_loss_that_is_no_number_is_never_the_lowest() -> None:
    watch = Watch()
    watch.see(100, float("nan"))
    assert watch.updates == 0
    watch.see(200, 1.0)
    assert watch.updates == 200


def test_each_scout_learns_from_all_but_what_it_is_judged_on(demonstrations: JointColumns) -> None:
    scouts = scouted(demonstrations).scouts
    assert scouts is not None and len(scouts._scouts) == 3, "a tenth of 200 steps is little: three hold out others"
    held = []
    for scout, judged in scouts._scouts:
        assert len(scout.expert) + num_rows(judged) == num_rows(demonstrations)
        assert 0 < num_rows(judged) < num_rows(demonstrations) / 2
        held.append(tuple(np.unique(judged[EPS_ID].astype(str))))
    assert len(set(held)) > 1
    one_episode = take(demonstrations, np.flatnonzero(demonstrations[EPS_ID] == demonstrations[EPS_ID][0]))
    made = learner(mode="offline", value_term=None)
    made.send_scouts(one_episode)
    assert made.scouts is not None and num_rows(made.scouts._scouts[0][1]) > 0, "blocks of time, of one episode"


def test_the_learner_learns_as_it_does_without_scouts(demonstrations: JointColumns) -> None:
    made, alone = scouted(demonstrations), learner(mode="offline", value_term=None)
    for _ in range(2):
        for each in (made, alone):
            each.update(num_updates=5)
        assert made.scouts is not None
        made.scouts.follow({})
    assert [scout.updates for scout, _ in made.scouts._scouts] == [10, 10, 10]
    assert_equal(made, alone)


def test_scouts_go_on_where_they_were(demonstrations: JointColumns) -> None:
    made, other = scouted(demonstrations), scouted(demonstrations)
    assert made.scouts is not None and other.scouts is not None
    made.update(num_updates=10)
    made.scouts.follow({})
    other.set_state(made.get_state())
    other.set_data_state(made.get_data_state())
    other.scouts.set_state(made.scouts.get_state())
    found = []
    for each in (made, other):
        each.update(num_updates=10)
        assert each.scouts is not None
        found.append(each.scouts.follow({}))
    assert found[0] == found[1]
    assert_equal(made, other)


def test_scouts_leave_rollouts_and_rewards_to_the_learner(demonstrations: JointColumns) -> None:
    made = learner(rollout_share=0.0)
    assert made.leaves_rollouts_out and not learner(rollout_share=None).leaves_rollouts_out
    assert learner().leaves_rollouts_out, "nothing is known of them yet"
    made.replay.add(play(seed=7))
    made.send_scouts(demonstrations)
    made.update(num_updates=3)
    assert made.scouts is not None and made.scouts.follow({}) > 0.0
    scout = made.scouts._scouts[0][0]
    assert not scout.config.learn_reward and not scout.config.uses_rollouts and scout.config.value_term == "expert"
    made.call_scouts_back()
    assert made.scouts is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"early_stopping": "sometimes"}, "early_stopping is 'sometimes'"),
        ({"early_stopping": 1}, "early_stopping is 1"),
        ({"early_stopping": True, "expert_in_memory": False}, "expert_in_memory is False: it needs one learner"),
    ],
)
def test_refuses_what_cannot_be(settings: dict[str, object], words: str) -> None:
    config = MAMQLConfig().environment(TOY).offline_data(input_="unused").training(**settings)
    with pytest.raises(ConfigError, match=words):
        config.validate()
    with pytest.raises(ConfigError, match="num_learners is 2: it needs one learner"):
        MAMQLConfig().environment(TOY).offline_data(input_="unused").training(early_stopping=True).learners(
            num_learners=2
        ).validate()


def test_says_when_it_stopped() -> None:
    found = chosen({STOPPED: 1400, BEST_UPDATES: 600, "gamma": 0.9})
    assert in_words(found) == ["chosen: 1,400 updates, for held-out steps were likeliest after 600"]
    assert all(len(line) <= 80 for line in in_words(found))


def test_of_large_images_there_are_fewer_scouts(demonstrations: JointColumns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "MOST_BYTES", 2 * nbytes(demonstrations))
    scouts = scouted(demonstrations).scouts
    assert scouts is not None and len(scouts._scouts) == 2
    monkeypatch.setattr(stopping, "MOST_BYTES", 1)
    scouts = scouted(demonstrations).scouts
    assert scouts is not None and len(scouts._scouts) == 1

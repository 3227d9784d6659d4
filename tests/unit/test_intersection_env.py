import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # Importing PettingZoo's own tests warns about PettingZoo's own games.
    warnings.simplefilter("ignore")
    from pettingzoo.test import parallel_api_test, parallel_seed_test

from mamql_envs.intersection_features import EntityFeatures
from mamql_envs.intersection_paths import path_between, paths, zones
from mamql_envs.intersection_sim import REAR_GAP, REAR_GAP_RANGE
from mamql_envs.intersection_v0 import FASTER, IDLE, SLOWER, parallel_env

ROUNDING = 1 / 2048
COLUMN = {name: i for i, name in enumerate(EntityFeatures.COLUMNS)}

# Prints a digest of two episodes with random actions, of a picture, and whether a display was opened.
CHILD = """
import hashlib, json
import numpy as np
from mamql_envs.intersection_v0 import parallel_env
from mamql_envs.intersection_compat import pygame

digest = hashlib.sha256()
env = parallel_env(vehicles=6, traffic=True, challenger=True, observation="entities", render_mode="rgb_array")
for seed in (3, 4):
    rng = np.random.default_rng(seed)
    observations, infos = env.reset(seed=seed)
    while env.agents:
        actions = {agent: int(rng.integers(3)) for agent in env.agents}
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        digest.update(repr((list(observations), rewards, terminateds, truncateds, infos)).encode())
        for observation in observations.values():
            digest.update(observation.tobytes())
digest.update(env.render().tobytes())
print(json.dumps({"digest": digest.hexdigest(), "display": bool(pygame.display.get_init())}))
"""


def play(env, seed, choose):
    """Plays an episode; returns what `step` returned at each step, and the first observations."""
    first, _ = env.reset(seed=seed)
    steps = []
    while env.agents:
        steps.append(env.step({agent: choose(agent) for agent in env.agents}))
    return first, steps


def random_play(env, seed):
    rng = np.random.default_rng(seed)
    return play(env, seed, lambda agent: int(rng.integers(3)))


def find(env, happened, seeds=range(60)):
    """The first random episode in which something happened."""
    for seed in seeds:
        _, steps = random_play(env, seed)
        if happened(steps):
            return steps
    raise AssertionError("it never happened")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"vehicles": 8, "observation": "entities"},
        {"vehicles": 2, "traffic": True, "challenger": True, "shared_destination": True},
        {"counting": "published"},
        {"vehicles": 6, "crash_ends_all": False},
    ],
)
def test_follows_the_parallel_api(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env(**settings), num_cycles=60)
        parallel_seed_test(lambda: parallel_env(**settings), 25)


def test_a_seed_gives_the_same_episode_in_any_process_and_opens_no_display():
    found = []
    for hash_seed in ("1", "2"):
        child_env = {k: v for k, v in os.environ.items() if k not in ("SDL_VIDEODRIVER", "DISPLAY")}
        child_env["PYTHONHASHSEED"] = hash_seed
        done = subprocess.run(
            [sys.executable, "-c", CHILD], env=child_env, capture_output=True, text=True, check=True, timeout=120
        )
        found.append(json.loads(done.stdout))  # Also: nothing else is printed.
    assert found[0] == found[1]
    assert not found[0]["display"]


def test_a_seed_settles_the_start_and_the_stream_goes_on_without_one():
    env = parallel_env()
    one, _ = env.reset(seed=1)
    other, _ = env.reset()
    again, _ = env.reset(seed=1)
    assert not np.array_equal(one["agent_0"], other["agent_0"])
    np.testing.assert_array_equal(one["agent_0"], again["agent_0"])


@pytest.mark.parametrize("vehicles", [6, 8])
def test_vehicles_on_one_approach_start_apart(vehicles):
    env = parallel_env(vehicles=vehicles)
    for seed in range(50):
        env.reset(seed=seed)
        places = [env.place(env.vehicle(agent)) for agent in env.agents]
        for i in range(4, vehicles):
            assert places[i][0].approach == places[i - 4][0].approach
            assert REAR_GAP - 1e-6 <= places[i - 4][1] - places[i][1] <= REAR_GAP + REAR_GAP_RANGE + 1e-6
            assert places[i][1] > -places[i][0].approach_length


def test_destinations_are_other_roads_than_the_own():
    env = parallel_env(vehicles=8)
    exits = {}
    for seed in range(60):
        env.reset(seed=seed)
        for agent in env.agents:
            path, _ = env.place(env.vehicle(agent))
            exits.setdefault(path.approach, set()).add(path.exit)
    assert exits == {a: {b for b in range(4) if b != a} for a in range(4)}


def test_nobody_but_agents_drives_by_default():
    env = parallel_env()
    env.reset(seed=0)
    assert len(env.sim.road.vehicles) == 4
    # The challenger and the traffic make room where an agent starts: not all of them stay.
    for settings in ({"challenger": True}, {"traffic": True}):
        env = parallel_env(vehicles=2, **settings)
        most = 0
        for seed in range(8):
            env.reset(seed=seed)
            most = max(most, len(env.sim.road.vehicles))
        assert most > 2


def test_an_arrival_counts_once_and_the_vehicle_leaves():
    # To one road from two sides, at full speed: they never meet.
    env = parallel_env(vehicles=2, shared_destination=True)
    _, steps = play(env, 1, lambda agent: FASTER)
    for agent in env.possible_agents:
        rewards = [step[1][agent] for step in steps if agent in step[1]]
        assert sum(rewards) == 2.0 and rewards[-1] == 2.0
        last = next(step for step in reversed(steps) if agent in step[1])
        assert last[2][agent] and not last[3][agent]
        assert last[4][agent]["events"] == {"arrival": 1}
        assert agent in last[0]


def test_the_published_count_pays_an_arrived_vehicle_until_the_end():
    once, published = parallel_env(vehicles=2), parallel_env(vehicles=2, counting="published")
    speeds = {"agent_0": FASTER, "agent_1": SLOWER}  # agent_1 never arrives.
    _, short = play(once, 0, speeds.get)
    _, long = play(published, 0, speeds.get)
    assert len(short) == len(long) == 30
    arrived = next(t for t, step in enumerate(short) if step[2]["agent_0"])
    total = sum(step[1]["agent_0"] for step in long)
    assert total == 2.0 * (30 - arrived)
    assert sum(step[1].get("agent_0", 0.0) for step in short) == 2.0
    # The scores beside it agree, though agent_0 is gone in one of the two.
    assert short[-1][4]["agent_1"]["published_return"] == long[-1][4]["agent_1"]["published_return"] == total / 2
    assert not any(long[-1][2].values()) and all(long[-1][3].values())
    assert sum(step[4]["agent_0"]["events"].get("arrival", 0) for step in long) == 1


def test_a_crash_terminates_those_in_it_and_truncates_the_others():
    env = parallel_env()
    steps = find(
        env, lambda steps: 0 < sum(steps[-1][2].values()) < len(steps[-1][2]) and -4.0 in steps[-1][1].values()
    )
    _, rewards, terminated, truncated, infos = steps[-1]
    for agent in rewards:
        crashed = infos[agent]["events"] == {"collision": 1}
        assert crashed == (rewards[agent] == -4.0)
        assert terminated[agent] == (crashed or infos[agent]["events"] == {"arrival": 1})
        assert truncated[agent] != terminated[agent]
    assert env.agents == []


def test_others_drive_on_past_a_wreck_if_told_so():
    env = parallel_env(crash_ends_all=False)

    def crashed_early(steps):
        return any("collision" in info["events"] for step in steps[:-1] for info in step[4].values())

    steps = find(env, crashed_early)
    t = next(t for t, step in enumerate(steps) if -4.0 in step[1].values())
    survivors = set(steps[t + 1][1])
    assert survivors and survivors == {agent for agent, ended in steps[t][2].items() if not ended}


def test_time_runs_out_for_all():
    env = parallel_env(horizon=3)
    _, steps = play(env, 0, lambda agent: SLOWER)
    assert len(steps) == 3
    assert all(steps[-1][3].values()) and not any(steps[-1][2].values())


def test_a_departed_vehicle_drives_off_and_leaves_the_road():
    env = parallel_env(vehicles=2, horizon=40)
    env.reset(seed=0)
    gone = False
    while env.agents:
        env.step({"agent_0": FASTER, "agent_1": SLOWER} if len(env.agents) == 2 else {"agent_1": SLOWER})
        gone = gone or len(env.sim.road.vehicles) == 1
    assert gone


def test_observations_lie_in_their_space_and_padding_is_zero():
    for settings in ({}, {"vehicles": 8}, {"traffic": True, "challenger": True}):
        env = parallel_env(observation="entities", **settings)
        for seed in range(3):
            _, steps = random_play(env, seed)
            for step in steps:
                for agent, seen in step[0].items():
                    assert env.observation_space(agent).contains(seen)
                    present = seen[:, COLUMN["present"]] > 0
                    assert present[0] and seen[0, COLUMN["self"]] == 1
                    assert not seen[~present].any()
                    distance = np.hypot(seen[present, COLUMN["x"]], seen[present, COLUMN["y"]])
                    assert (np.diff(distance) >= -4 * ROUNDING).all()


def test_the_vector_is_the_entities_in_a_row():
    flat, rows = parallel_env(vehicles=6), parallel_env(vehicles=6, observation="entities")
    for (one, *_), (other, *_) in zip(random_play(flat, 5)[1], random_play(rows, 5)[1], strict=True):
        for agent in one:
            np.testing.assert_array_equal(one[agent], other[agent].reshape(-1))


def test_an_observation_says_where_the_others_are():
    env = parallel_env(vehicles=4, observation="entities")
    seen, _ = env.reset(seed=2)
    # agent_0 comes from the south, agent_1 from the west: to its left, ahead.
    own, others = seen["agent_0"][0], seen["agent_0"][1:]
    place = env.place(env.vehicle("agent_0"))
    assert own[COLUMN["to_crossing"]] == pytest.approx(-place[1] / 50, abs=ROUNDING)
    assert own[COLUMN["speed"]] == pytest.approx(1.0, abs=ROUNDING) and own[COLUMN["target_speed"]] == pytest.approx(
        0.9, abs=ROUNDING
    )
    assert own[COLUMN["left"] + place[0].turn] == 1
    headings = {(round(float(row[COLUMN["cos_h"]])), round(float(row[COLUMN["sin_h"]]))): row for row in others}
    west = headings[0, 1]
    assert west[COLUMN["x"]] > 0 > west[COLUMN["y"]]
    assert west[COLUMN["vy"]] == pytest.approx(1.0, abs=ROUNDING) and west[COLUMN["vx"]] == pytest.approx(
        -1.0, abs=ROUNDING
    )
    north = headings[-1, 0]
    assert north[COLUMN["x"]] > 0 and north[COLUMN["vx"]] == pytest.approx(-2.0, abs=ROUNDING)
    assert not others[:, COLUMN["target_speed"]].any()


def test_paths_meet_where_they_should():
    assert len(paths()) == 12
    for path in paths():
        assert path_between(path.approach, path.exit) is path

    def meet(first, second):
        return not np.isnan(zones()[path_between(*first).index, path_between(*second).index, 0])

    assert meet((0, 2), (1, 3)) and meet((0, 1), (2, 0)) and meet((0, 1), (3, 1))
    assert not meet((0, 2), (2, 0)) and not meet((0, 3), (2, 1)) and not meet((0, 1), (2, 3))
    meeting = np.isfinite(np.nan_to_num(zones(), posinf=0, neginf=0, nan=np.nan)).all(axis=-1)
    np.testing.assert_array_equal(meeting, meeting.T)


def test_speeds_follow_the_actions():
    env = parallel_env(vehicles=2)
    env.reset(seed=0)
    speeds = []
    for action in (SLOWER, SLOWER, IDLE, FASTER, FASTER):
        env.step({agent: action for agent in env.agents})
        speeds.append(env.vehicle("agent_0").target_speed)
    assert speeds == [4.5, 0.0, 0.0, 4.5, 9.0]


def test_draws_every_vehicle():
    assert parallel_env().render() is None
    env = parallel_env(render_mode="rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (600, 600, 3) and image.dtype == np.uint8
    env.sim.road.vehicles = []
    empty = env.render()
    assert 100 < (image != empty).any(axis=-1).sum() < 5000


def test_both_renderers_share_a_process():
    from mamql_envs.overcooked_v0 import parallel_env as kitchen_env

    crossing, kitchen = parallel_env(render_mode="rgb_array"), kitchen_env(render_mode="rgb_array")
    crossing.reset(seed=0)
    kitchen.reset(seed=0)
    before, meal = crossing.render(), kitchen.render()
    crossing.close()
    kitchen.close()
    np.testing.assert_array_equal(crossing.render(), before)
    np.testing.assert_array_equal(kitchen.render(), meal)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vehicles": 3}, "vehicles=3 is not known; known: 2, 4, 6, 8"),
        ({"vehicles": True}, "vehicles=True"),
        ({"vehicles": "four"}, "vehicles='four'"),
        ({"horizon": 0}, "horizon=0"),
        ({"traffic": "yes"}, "traffic='yes' is neither true nor false"),
        ({"observation": "vectors"}, "did you mean 'vector'"),
        ({"counting": "twice"}, "counting='twice'"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ],
)
def test_says_what_is_wrong_with_a_setting(settings, message):
    with pytest.raises(ValueError, match=message):
        parallel_env(**settings)


def test_says_what_is_wrong_with_actions():
    env = parallel_env(vehicles=2)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="no action for agent_1"):
        env.step({"agent_0": 1})
    with pytest.raises(ValueError, match="action 3 of agent_0"):
        env.step({"agent_0": 3, "agent_1": 1})

"""Overcooked from many processes at once, on an install folder that must not be touched."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROCESSES = 8

# Runs in each process. The hook sees every file opened for writing and every class that is unpickled.
CHILD = """
import sys, os
package = sys.argv[1]
violations = []
def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        path, writes = os.fspath(args[0]), args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = os.fsdecode(path)
        if path.startswith(package) and (writes or path.endswith((".pkl", ".pickle"))):
            violations.append(f"{event} {path}")
    elif event == "pickle.find_class":
        violations.append(f"{event} {args}")
    elif event in ("os.mkdir", "os.rename", "os.remove") and str(args[0]).startswith(package):
        violations.append(f"{event} {args}")
sys.addaudithook(watch)

import hashlib, json
import numpy as np
numpy_names = set(vars(np))
random_state = repr(np.random.get_state())

import mamql_envs.overcooked_compat as compat
layout = compat.load_layout("cramped_room")
image = compat.render_rgb(layout, layout.start_state(), score=0)

from mamql_envs.overcooked_expert import ScriptedExpert
from mamql_envs.overcooked_v0 import parallel_env

digest = hashlib.sha256(image.tobytes())
total = 0.0
env = parallel_env("cramped_room", observation="entities")
expert = ScriptedExpert()
observations, _ = env.reset(seed=5)
expert.reset(env, 5)
while env.agents:
    actions = expert.act(env, observations)
    observations, rewards, _, _, infos = env.step(actions)
    digest.update(repr((actions, rewards, infos)).encode())
    for observation in observations.values():
        digest.update(observation.tobytes())
    total += rewards["agent_0"]

rng = np.random.default_rng(5)
env = parallel_env("tutorial_2", horizon=300, reward="shaped", reward_split="agent")  # takes any recipe
observations, _ = env.reset(seed=5)
while env.agents:
    observations, rewards, _, _, infos = env.step({agent: int(rng.integers(6)) for agent in env.agents})
    digest.update(repr((rewards, infos)).encode())
    for observation in observations.values():
        digest.update(observation.tobytes())

import overcooked_ai_py
print(json.dumps({
    "package": os.path.dirname(overcooked_ai_py.__file__),
    "gym": sorted(name for name in sys.modules if name == "gym" or name.startswith("gym.")),
    "numpy": sorted(name for name in set(vars(np)) ^ numpy_names if name in ("Inf", "int", "bool", "float")),
    "random": repr(np.random.get_state()) == random_state,
    "environ": [name for name in os.environ if name.startswith("SDL_VIDEO")],
    "violations": violations,
    "digest": digest.hexdigest(),
    "return": total,
}))
"""

# If anything unpickles this, the process ends on the spot with a status of its own.
POISON = b"cos\n_exit\n(I77\ntR."


def listing(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def package(tmp_path):
    """A read-only copy of the package, with planners in its folder that must not be read."""
    source = Path(find_spec("overcooked_ai_py").submodule_search_locations[0])
    copy = tmp_path / "site" / "overcooked_ai_py"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "human_data"))
    for kind in ("am", "mp"):
        for layout in ("cramped_room", "tutorial_2"):
            (copy / "data" / "planners" / f"{layout}_{kind}.pkl").write_bytes(POISON)
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield copy
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.slow
def test_many_processes_at_once_agree_and_leave_the_install_alone(package):
    before = listing(package)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYGAME", "SDL"))}
    environ["PYTHONPATH"] = os.pathsep.join([str(package.parent), str(Path(find_spec("mamql_envs").origin).parents[1])])
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(package)],
            env={**environ, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    finished = [(*process.communicate(timeout=120), process.returncode) for process in running]
    for stdout, stderr, status in finished:
        assert (stderr, status) == ("", 0)
        assert stdout.count("\n") == 1
    results = [json.loads(stdout) for stdout, _, _ in finished]
    for result in results:
        assert result["package"] == str(package)
        assert result["violations"] == []
        assert result["gym"] == result["numpy"] == result["environ"] == []
        assert result["random"]
        assert 160 <= result["return"] <= 200
    assert len({result["digest"] for result in results}) == 1
    assert listing(package) == before

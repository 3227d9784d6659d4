"""How long it takes until training goes on after a failure, and what is lost: ``python tests/benchmarks/recovery.py``.

Injects faults into real processes, several times each, on the toy environment, where everything but the recovery takes
next to no time: a runner is killed, an environment hangs, a learner fails, a trial's process is killed, the command is
killed and resumed. Takes minutes, and is no part of ``make bench``. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import psutil

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.evaluation.record import record_dataset
from tests.benchmarks.measuring import ROOT
from tests.support.toy_data import TOY

FILE = f"""
toy:
  run: MAMQL
  env: {TOY}
  stop: {{training_iteration: 1000000}}
  checkpoint_freq: 1
  config:
    input_: data
    env_config: {{slow: 0.005}}
    num_envs_per_env_runner: 2
    rollout_fragment_length: 10
    min_sample_timesteps_per_iteration: 100
    model_config: {{fcnet_hiddens: [8]}}
    reward_gauge: none
    evaluation_rationality: null
"""
Found = dict[str, list[float]]
"""Seconds until training goes on, and iterations that are made anew, of each time."""


def algorithm(data: pathlib.Path, **settings: Any) -> MAMQLConfig:
    """A small MAMQL."""
    made = MAMQLConfig().environment(TOY).offline_data(input_=str(data)).debugging(seed=1)
    made.training(expert_batch_size=8, rollout_batch_size=8, **settings)
    made.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=5, num_cpus_per_env_runner=0.25)
    made.learners(num_cpus_per_learner=0.25)
    return made.rl_module(model_config={"fcnet_hiddens": [8]}).reporting(min_sample_timesteps_per_iteration=20)


def killed_runner(data: pathlib.Path, times: int) -> Found:
    """One of two runners is killed: until there are two again."""
    made = algorithm(data).env_runners(num_env_runners=2).build_algo()
    group, seconds = made.env_runner_group, []
    try:
        for _ in range(times):
            made.train()
            pids = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
            os.kill(pids[0], signal.SIGKILL)
            began, whole = time.monotonic(), False
            while not whole:
                made.train()
                whole = group.num_healthy_remote_env_runners() == 2
            seconds.append(time.monotonic() - began)
    finally:
        made.stop()
    return {"seconds": seconds, "iterations": [0.0] * times}


def hanging_environment(data: pathlib.Path, times: int) -> Found:
    """A step does not come back: until the iteration ends, beyond ``env_step_timeout_s``."""
    limit = 0.5
    made = algorithm(data, env_step_timeout_s=limit).env_runners(num_env_runners=1).build_algo()
    seconds = []

    def hang(runner: Any) -> None:
        runner.env.envs[0].env.step = lambda actions: time.sleep(60.0)

    try:
        for _ in range(times):
            made.train()
            made.env_runner_group.foreach_env_runner(hang, local_env_runner=False)
            began = time.monotonic()
            assert made.train()["incidents"]
            seconds.append(time.monotonic() - began - limit)
    finally:
        made.stop()
    return {"seconds": seconds, "iterations": [0.0] * times}


def failing_learner(data: pathlib.Path, times: int) -> Found:
    """One of two learners fails in an update: until its error ends the update of both."""
    seconds = []

    def fail(learner: Any) -> None:
        def broken() -> Any:
            raise LookupError("this learner broke")

        learner._minibatch = broken

    for _ in range(times):
        made = algorithm(data).learners(num_learners=2).build_algo()
        try:
            made.on_learner(1, fail)
            began = time.monotonic()
            try:
                made.learn(3)
            except Exception as error:
                assert "this learner broke" in str(error)
            seconds.append(time.monotonic() - began)
        finally:
            made.stop()
    return {"seconds": seconds, "iterations": [0.0] * times}


class Command:
    """``rllib train`` in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "file.yaml").write_text(FILE)
        self.start()

    def start(self, *options: str) -> None:
        """Starts it and waits for nothing."""
        words = [sys.executable, "-c", "from rllib_mamql.cli.main import main; main()", "train", "--file", "file.yaml"]
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}", "TUNE_GLOBAL_CHECKPOINT_S": "1"}
        environ["XDG_CONFIG_HOME"] = str(self.folder)  # What it trains with is remembered for this run alone.
        self.running = subprocess.Popen(
            [*words, *options], cwd=self.folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def results(self) -> list[dict[str, Any]]:
        """All that the trial has logged."""
        lines = [line for log in self.folder.glob("results/toy/trial_*/result.json") for line in log.open()]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait(self, more: Callable[[], bool]) -> None:
        """Waits until something is so."""
        until = time.monotonic() + 180.0
        while not more():
            assert self.running.poll() is None and time.monotonic() < until, "it does not go on"
            time.sleep(0.05)

    def goes_on(self, before: int, began: float) -> tuple[float, float]:
        """Waits for the next result; gives the seconds since, and how many iterations are made anew."""
        last = self.results()[before - 1]["training_iteration"]
        self.wait(lambda: len(self.results()) > before)
        return time.monotonic() - began, float(last + 1 - self.results()[before]["training_iteration"])

    def end(self) -> None:
        """Ends it and all of its processes."""
        if self.running.poll() is not None:
            return
        processes = [psutil.Process(self.running.pid), *psutil.Process(self.running.pid).children(recursive=True)]
        for process in processes:
            process.kill()
        self.running.wait()
        psutil.wait_procs(processes, 10.0)


def killed_trial(command: Command, times: int) -> Found:
    """The trial's process is killed: until it has restarted from its checkpoint and reports again."""
    seconds, iterations = [], []
    for _ in range(times):
        count = len(command.results())
        command.wait(lambda count=count: len(command.results()) > count + 3)  # type: ignore[misc]
        children = psutil.Process(command.running.pid).children(recursive=True)
        (trial,) = [process for process in children if "ray::MAMQL" in " ".join(process.cmdline())]
        trial.kill()
        began = time.monotonic()
        time.sleep(0.2)
        found = command.goes_on(len(command.results()), began)
        seconds.append(found[0])
        iterations.append(found[1])
    return {"seconds": seconds, "iterations": iterations}


def killed_command(command: Command, times: int) -> Found:
    """The command and all of Ray are killed: until ``--resume``, just typed, reports again."""
    seconds, iterations = [], []
    for _ in range(times):
        count = len(command.results())
        command.wait(lambda count=count: len(command.results()) > count + 3)  # type: ignore[misc]
        command.end()
        before, began = len(command.results()), time.monotonic()
        command.start("--resume")
        found = command.goes_on(before, began)
        seconds.append(found[0])
        iterations.append(found[1])
    return {"seconds": seconds, "iterations": iterations}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="of each fault; at most 2 of the trial's restarts")
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    arguments = parser.parse_args()
    found: dict[str, Found] = {}

    def tell(name: str, figures: Found) -> None:
        found[name] = figures
        seconds, anew = figures["seconds"], [int(number) for number in figures["iterations"]]
        spread = f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
        print(f"{name}: {len(seconds)} times, {spread}, iterations made anew: {anew}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        record_dataset(TOY, {}, "random", 60, 0, data)
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        tell("a runner is killed", killed_runner(data, arguments.times))
        tell("an environment hangs", hanging_environment(data, arguments.times))
        tell("a learner fails", failing_learner(data, arguments.times))
        ray.shutdown()
        command = Command(pathlib.Path(folder))
        try:
            # As often as `max_failures` lets it start again.
            tell("a trial's process is killed", killed_trial(command, min(arguments.times, 2)))
            tell("the command is killed", killed_command(command, arguments.times))
        finally:
            command.end()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

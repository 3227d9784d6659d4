"""One cell of a benchmark as a Ray Tune trial: it trains, evaluates its last iterate, and gives a row of results."""

from __future__ import annotations

import rllib_mamql.startup  # noqa: F401

# isort: split
import datetime
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from rllib_mamql import ray_internals
from rllib_mamql.algorithms.registry import ALGORITHMS, read_checkpoint
from rllib_mamql.data.metadata import package_versions
from rllib_mamql.data.schema import ReturnSummary
from rllib_mamql.errors import EnvironmentFault
from rllib_mamql.evaluation.benchmark_cells import Job
from rllib_mamql.evaluation.benchmark_table import Row
from rllib_mamql.evaluation.decided import act_decidedly, is_left_open, return_as_trained
from rllib_mamql.evaluation.evaluate import checkpoint_returns
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.learning.counts import env_steps, updates
from rllib_mamql.learning.metrics import ENVIRONMENT_FAULT
from rllib_mamql.play.returns import normalised_score

NUMBER, ROW, CURVE = "number", "row", "curve"
"""Key of a trial's config: which of the jobs it is. Keys of its last result."""
ITERATIONS = "iterations_of_cell"
"""Key of its other results: training iterations, those before it was killed included."""
EVALUATION_SEEDS = 1000
"""Added to a cell's seed for the episodes that judge it: others than those that it trained on."""
SAVE_EVERY_S = 60.0
"""A half-done cell is saved at least this often, at the next iteration's end."""
PROGRESS = "benchmark.json"


class CellTrial(Trainable):
    """Trains one cell, one iteration a step; its last result has the row and the points of the curve.

    What a killed run had done of a cell is found again in ``Job.half_done``.
    """

    def setup(self, config: dict[str, Any], jobs: Sequence[Job] = ()) -> None:
        """Builds the algorithm of job ``config[NUMBER]``, and goes on where the cell was left."""
        self._began = time.monotonic()
        self.job = jobs[config[NUMBER]]
        ALGORITHMS.setdefault(self.job.run, self.job.entry)
        made = self.job.algorithm.get_default_config().update_from_dict(dict(self.job.overrides))
        self.algorithm = self.job.algorithm(config=made, storage=ray_internals.storage_of(self))
        self.curve: list[Row] = []
        self.iterations, self.train_s, self.wall_before_s = 0, 0.0, 0.0
        self.half_done = Path(self.job.half_done) / self.job.cell.folder_name
        self._go_on()
        self._saved = time.monotonic()

    def step(self) -> dict[str, Any]:
        """One training iteration; the last also evaluates."""
        began = time.monotonic()
        result = self.algorithm.train()
        self.train_s += time.monotonic() - began
        if ENVIRONMENT_FAULT in result:
            raise EnvironmentFault(result[ENVIRONMENT_FAULT])
        self.iterations += 1
        if result.get("done") or self.iterations == self.job.iterations:
            return {ROW: self._row(result), CURVE: self.curve, "done": True}
        if self.iterations in self.job.evaluated_at:
            with tempfile.TemporaryDirectory() as folder:
                stored = self._played_from(folder)
                mean = return_as_trained(stored, episodes=self.job.curve_episodes, seed=self._seed)
                self._point(result, stored, mean)
        if time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._keep()
        return {"done": False, ITERATIONS: self.iterations}

    def cleanup(self) -> None:
        """Ends the algorithm's parts."""
        self.algorithm.stop()

    # -- evaluation ---------------------------------------------------------------------------------------------

    @property
    def _seed(self) -> int:
        return self.job.cell.seed + EVALUATION_SEEDS

    def _played_from(self, folder: str) -> Checkpoint:
        self.algorithm.save_networks(Path(folder))
        return read_checkpoint(folder)

    def _point(self, result: Mapping[str, Any], stored: Checkpoint, mean: float) -> None:
        self.curve.append(
            {
                "iteration": self.iterations,
                "env_steps": env_steps(result),
                "updates": updates(result),
                "train_s": round(self.train_s, 2),
                "return_mean": mean,
                "score": _score(stored, mean),
            }
        )

    def _row(self, result: Mapping[str, Any]) -> Row:
        """The cell's row: play as the method acts when it is used, and as it acted in training."""
        job = self.job
        with tempfile.TemporaryDirectory() as folder:
            stored = self._played_from(folder)
            if is_left_open(stored):
                act_decidedly(stored, seed=job.cell.seed)
                stored = read_checkpoint(folder)
            multiple = max(module.evaluation_rationality / module.rationality for module in stored.modules.values())
            played: ReturnSummary = checkpoint_returns(stored, episodes=job.episodes, seed=self._seed)
            as_trained = played.mean
            if multiple != 1.0:
                as_trained = return_as_trained(stored, episodes=job.episodes, seed=self._seed)
        self._point(result, stored, as_trained)
        cell, known = job.cell, stored.metadata
        return {
            "problem": cell.problem,
            "expert_steps": cell.expert_steps,
            "method": cell.method,
            "seed": cell.seed,
            "run": job.run,
            "env": stored.env,
            "agents": len(stored.module_of),
            "return_mean": played.mean,
            "return_low": played.ci95[0],
            "return_high": played.ci95[1],
            "score": _score(stored, played.mean),
            "return_as_trained": as_trained,
            "score_as_trained": _score(stored, as_trained),
            "acts_at": multiple,
            "expert_return": known.expert_return.mean if known.expert_return else None,
            "random_return": known.random_return.mean if known.random_return else None,
            "episodes": job.episodes,
            "env_steps": env_steps(result),
            "updates": updates(result),
            "train_s": round(self.train_s, 2),
            "wall_s": round(self.wall_before_s + time.monotonic() - self._began, 2),
            "settings": cell.settings,
            "versions": json.dumps(package_versions()),
            "day": datetime.date.today().isoformat(),
        }

    # -- half-done cells ----------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Saves the cell, whole or not at all."""
        partial = self.half_done.with_name(f"{self.half_done.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.algorithm.save_checkpoint(str(partial))
        wall_s = self.wall_before_s + time.monotonic() - self._began
        progress = {
            "settings": self.job.cell.settings,
            "iterations": self.iterations,
            "curve": self.curve,
            "train_s": self.train_s,
            "wall_s": wall_s,
        }
        (partial / PROGRESS).write_text(json.dumps(progress))
        shutil.rmtree(self.half_done, ignore_errors=True)
        partial.rename(self.half_done)
        self._saved = time.monotonic()

    def _go_on(self) -> None:
        """Restores what :meth:`_keep` saved of the same cell with the same settings."""
        try:
            progress = json.loads((self.half_done / PROGRESS).read_text())
        except OSError:
            return
        if progress["settings"] != self.job.cell.settings:
            return
        self.algorithm.load_checkpoint(str(self.half_done))
        self.iterations, self.curve = progress["iterations"], progress["curve"]
        self.train_s, self.wall_before_s = progress["train_s"], progress["wall_s"]


def _score(stored: Checkpoint, mean: float) -> float | None:
    expert, random = stored.metadata.expert_return, stored.metadata.random_return
    return normalised_score(mean, expert.mean if expert else None, random.mean if random else None)

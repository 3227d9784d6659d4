"""Anything at all as input: nothing but the errors meant for users comes out, quickly, and nothing is executed.

``RLLIB_MAMQL_FUZZ_S`` is how long each of the kinds of input is tried, in seconds; three by default.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.cli.settings import check_keys
from rllib_mamql.data.metadata import METADATA_KEY
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.untrusted import StoredArrays
from rllib_mamql.errors import UserError
from tests.support.toy_data import parquet_file

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("RLLIB_MAMQL_FUZZ_S", "3"))
SLOWEST_S = 10.0
fuzz = settings(
    verbosity=Verbosity.quiet,
    derandomize="RLLIB_MAMQL_FUZZ_S" not in os.environ,  # CI tries the same inputs every time
    max_examples=10**9,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)

numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, -1, 1, 2**31, 2**63, 10**9, 10**12, 1e400, -1e12, 0.5])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


class TimeIsUp(Exception):
    """The budget of a kind of input is used up."""


class Tally:
    """Counts inputs of one kind until the time is up; any error that is not a user's ends the test."""

    def __init__(self, kind: str) -> None:
        self.kind, self.tried, self.refused, self.slowest = kind, 0, 0, 0.0
        self.until: float | None = None

    def __call__(self, call: Callable[[], Any]) -> None:
        begun = time.monotonic()
        if self.until is None:  # the time runs from the first input: what hypothesis prepares before takes seconds
            self.until = begun + SECONDS
        if begun > self.until:
            raise TimeIsUp
        try:
            call()
        except UserError as error:
            self.refused += 1
            assert "\n" not in str(error), str(error)
        self.tried += 1
        taken = time.monotonic() - begun
        self.slowest = max(self.slowest, taken)
        assert taken < SLOWEST_S

    def run(self, test: Callable[[], None]) -> None:
        try:
            test()
        except TimeIsUp:
            pass
        except Exception as error:
            # Inputs may hold characters that cannot be encoded, which a report sent by pytest-xdist does not survive.
            notes = getattr(error, "__notes__", [])
            raise AssertionError(ascii("; ".join([f"{type(error).__name__}: {error}", *notes]))[:4000]) from None
        print(f"{self.kind}: {self.tried} tried, {self.refused} refused, slowest {self.slowest:.2f} s")
        assert self.tried > 0  # how many is a matter of time


def changed(document: Any, data: st.DataObject, depth: int = 0) -> Any:
    """A document with one part replaced, dropped or added, anywhere in it."""
    if isinstance(document, dict) and document and depth < 6:
        what = data.draw(st.sampled_from(["inside", "inside", "inside", "drop", "replace", "add"]))
        key = data.draw(st.sampled_from(sorted(document)))
        rest = dict(document)
        if what == "inside":
            rest[key] = changed(rest[key], data, depth + 1)
        elif what == "drop":
            del rest[key]
        elif what == "replace":
            rest[key] = data.draw(values)
        else:
            rest[data.draw(st.text(max_size=6))] = data.draw(values)
        return rest
    if isinstance(document, list) and document and depth < 6:
        index = data.draw(st.integers(0, len(document) - 1))
        return [*document[:index], changed(document[index], data, depth + 1), *document[index + 1 :]]
    return data.draw(values)


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Bytes of which some are others, or gone."""
    where = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 40))
    return content[:where] + data.draw(st.binary(max_size=40)) + content[where + length :]


def test_metadata_of_datasets(toy_dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(parquet_file(toy_dataset))
    document = json.loads(table.schema.metadata[METADATA_KEY.encode()])
    tally, file = Tally("metadata"), str(tmp_path / "odd.parquet")

    @fuzz
    @given(st.data())
    def test(data: st.DataObject) -> None:
        text = json.dumps(changed(document, data))
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), file)
        tally(lambda: read_dataset(file))

    tally.run(test)


def test_bytes_and_columns_of_datasets(toy_dataset: Path, tmp_path: Path) -> None:
    content = parquet_file(toy_dataset).read_bytes()
    table = pq.read_table(parquet_file(toy_dataset))
    tally, file = Tally("datasets"), tmp_path / "odd.parquet"

    @fuzz
    @given(st.data())
    def test(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            file.write_bytes(damaged(content, data))
        else:
            name = data.draw(st.sampled_from(table.column_names))
            odd = st.one_of(
                st.lists(scalars, min_size=len(table), max_size=len(table)), st.just([None] * len(table)),
                st.just([[1.0]] * len(table)), st.just(["x"] * len(table)),
            )  # fmt: skip
            try:
                column = pa.array(data.draw(odd))
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                return
            pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), file)
        tally(lambda: read_dataset(str(file)))

    tally.run(test)


def test_experiment_files_and_settings(tmp_path: Path) -> None:
    from rllib_mamql import MAMQLConfig

    defaults = MAMQLConfig()
    keys = [
        "lr",
        "seed",
        "num_learners",
        "env_config",
        "input_",
        "model_config",
        "gamma",
        "env_config.x",
        "tune",
        "stop",
    ]
    tally, file = Tally("YAML and --set"), tmp_path / "odd.yaml"
    document = {
        "toy": {
            "run": "MAMQL", "env": "gems", "stop": {"training_iteration": 2}, "num_samples": 2,
            "tune": {"scheduler": "asha", "scheduler_options": {"max_t": 3}},
            "config": {"lr": {"grid_search": [1, 2]}, "env_config": {"x": 1}, "model_config": {"fcnet_hiddens": [3]}},
        }
    }  # fmt: skip
    text = json.dumps(document)

    def load(assignment: str) -> None:
        for experiment in load_experiments(file, Overrides(sets=(assignment,), stops=("training_iteration=1",))):
            check_keys(experiment.settings.config, defaults)

    @fuzz
    @given(st.data())
    def test(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["text", "bytes", "structure"]))
        if kind == "structure":
            file.write_text(json.dumps(changed(document, data)), encoding="utf-8", errors="replace")
        elif kind == "bytes":
            file.write_bytes(damaged(text.encode(), data))
        else:
            file.write_text(text)
        value = data.draw(st.one_of(values.map(json.dumps), st.text(max_size=30)))
        tally(lambda: load(f"{data.draw(st.sampled_from(keys))}={value}"))

    tally.run(test)


def test_checkpoints(toy_checkpoint_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint"))
    document = json.loads((folder / "mamql.json").read_text())
    networks = (folder / "networks.npz").read_bytes()
    arrays = StoredArrays(folder / "networks.npz").read()
    tally = Tally("checkpoints")

    @fuzz
    @given(st.data())
    def test(data: st.DataObject) -> None:
        (folder / "mamql.json").write_text(json.dumps(document))
        (folder / "networks.npz").write_bytes(networks)
        kind = data.draw(st.sampled_from(["document", "bytes", "arrays"]))
        if kind == "document":
            (folder / "mamql.json").write_text(json.dumps(changed(document, data)))
        elif kind == "bytes":
            (folder / "networks.npz").write_bytes(damaged(networks, data))
        else:
            name = data.draw(st.sampled_from(sorted(arrays)))
            shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
            np.savez(folder / "networks.npz", **{**arrays, name: np.zeros(shape)})  # type: ignore[arg-type]
        tally(lambda: read_checkpoint(folder))

    tally.run(test)

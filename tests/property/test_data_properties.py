"""Round trips, free row order and nested subsets, for any episodes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_mamql.columns import take
from rllib_mamql.data.reading import read_dataset, select_steps
from rllib_mamql.data.validation import validate_columns
from rllib_mamql.data.writing import write_dataset
from rllib_mamql.errors import DatasetError
from tests.support.joint_data import assert_equal, long_rows, make_columns, make_metadata

LENGTHS = st.lists(st.integers(2, 7), min_size=1, max_size=6)
AGENTS = st.lists(st.sampled_from(["a", "b.c", "agent_0", "östlich"]), min_size=1, max_size=3, unique=True)
SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
EXAMPLES = settings(max_examples=25, deadline=None)


@EXAMPLES
@given(lengths=LENGTHS, agents=AGENTS, shape=SHAPES, early_end=st.booleans(), seed=st.integers(0, 99))
def test_what_is_written_is_read(lengths, agents, shape, early_end, seed) -> None:
    columns = make_columns(lengths, shape, agents, seed, early_end)
    columns["weight"] = np.random.default_rng(seed).random(sum(lengths), np.float32)
    order = np.random.default_rng(seed).permutation(sum(lengths))
    shuffled = take(columns, order)
    with tempfile.TemporaryDirectory() as folder:
        read = read_dataset(str(write_dataset(shuffled, make_metadata(shape, agents), Path(folder) / "d")))
    assert_equal(read.columns, shuffled, agents)
    assert read.metadata.spaces == make_metadata(shape, agents).spaces


@EXAMPLES
@given(lengths=LENGTHS, early_end=st.booleans(), seed=st.integers(0, 99), data=st.data())
def test_order_matters_neither_to_sound_nor_to_broken_columns(lengths, early_end, seed, data) -> None:
    columns, metadata = make_columns(lengths, seed=seed, early_end=early_end), make_metadata()
    order = np.random.default_rng(seed).permutation(sum(lengths))
    validate_columns(take(columns, order), metadata)
    gone = data.draw(st.integers(0, sum(lengths) - 1))
    kept = order[order != gone]
    with pytest.raises(DatasetError):
        # Without one of its steps an episode has a gap, no start or no end; a whole episode may be missing.
        validate_columns(take(columns, kept), metadata)


@EXAMPLES
@given(lengths=LENGTHS, seed=st.integers(0, 99), data=st.data())
def test_subsets_are_exact_reproducible_and_nested(lengths, seed, data) -> None:
    columns = make_columns(lengths)
    total = sum(lengths)
    small, large = sorted(data.draw(st.lists(st.integers(1, total), min_size=2, max_size=2)))
    order = np.random.default_rng(seed).permutation(total)
    chosen, more = select_steps(columns, small, seed), select_steps(columns, large, seed)
    assert (len(chosen["t"]), len(more["t"])) == (small, large)
    assert_equal(select_steps(take(columns, order), small, seed), chosen)
    assert_equal(take(more, np.arange(small)), chosen)
    partial = [
        name
        for name, count in zip(*np.unique(chosen["eps_id"], return_counts=True), strict=True)
        if count < (columns["eps_id"] == name).sum()
    ]
    assert len(partial) <= 1


@EXAMPLES
@given(lengths=LENGTHS, early_end=st.booleans(), seed=st.integers(0, 99))
def test_the_long_layout_holds_the_same_steps(lengths, early_end, seed) -> None:
    columns, metadata = make_columns(lengths, seed=seed, early_end=early_end), make_metadata()
    # The joint row in which agent 1 has ended exists because of agent 0 alone.
    rows = long_rows(columns)
    order = np.random.default_rng(seed).permutation(len(rows["t"]))
    table = pa.table({name: pa.array(values) for name, values in rows.items()}).take(order)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table.replace_schema_metadata({"rllib_mamql": metadata.to_json()}), f"{folder}/long.parquet")
        read = read_dataset(folder).columns
    assert_equal(columns, read)

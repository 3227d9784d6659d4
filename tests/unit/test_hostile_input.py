"""Files and settings that anybody may have written end in one short line, before memory is taken for them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rllib_mamql.algorithms.registry import read_checkpoint
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.cli.settings import check_keys
from rllib_mamql.cli.yaml_loader import LARGEST_FILE, parse_yaml, read_yaml
from rllib_mamql.data.metadata import METADATA_KEY, DatasetMetadata
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.untrusted import StoredArrays
from rllib_mamql.errors import ConfigError, DatasetError, UserError, printable, shortened
from tests.support.command_line import Rllib
from tests.support.toy_data import parquet_file


def rewritten(data: Path, out: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """The dataset with a changed document; ``edit`` changes it in place, or gives the text itself."""
    table = pq.read_table(parquet_file(data))
    document = json.loads(table.schema.metadata[METADATA_KEY.encode()])
    text = edit(document)
    text = text if isinstance(text, str) else json.dumps(document)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), out)
    return out


def observation(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spaces"]["agent_0"]["observation"]
    return found


RETURN = {"mean": 1, "ci95": [0, 2], "per_agent": {}}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: observation(d).update(shape=[10**9], low=None, high=None), "1000000008 numbers a joint step"),
        (lambda d: observation(d).update(shape=[4000, 4000], low=None, high=None), "the metadata says (4000, 4000)"),
        (lambda d: observation(d).update(shape=[-5], low=None, high=None), "shape is [-5]"),
        (lambda d: d["spaces"]["agent_1"]["action"].update(n=10**9), "n is 1000000000"),
        (lambda d: "[" * 20_000 + "]" * 20_000, "nested too deeply"),
        (lambda d: d["spaces"]["agent_0"]["action"].update(n="many"), "agent_0"),
        (lambda d: d.update(expert_return={**RETURN, "episodes": float("inf")}), "a return in the metadata is wrong"),
    ],
)
def test_declared_sizes_are_held_against_the_columns(
    toy_dataset: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], Any], says: str
) -> None:
    with pytest.raises(DatasetError) as error:
        read_dataset(str(rewritten(toy_dataset, tmp_path / "odd.parquet", edit)))
    assert says in str(error.value)


def test_many_agents_cannot_declare_more_together_than_one_may() -> None:
    space = {"observation": {"shape": [2**24], "dtype": "float32"}, "action": {"n": 2}}
    agents = [f"agent_{k}" for k in range(50)]
    document = {"schema_version": 1, "agents": agents, "spaces": dict.fromkeys(agents, space)}
    with pytest.raises(DatasetError, match="numbers a joint step"):
        DatasetMetadata.from_json(json.dumps(document))


def test_what_a_file_says_is_neither_markup_nor_a_command_to_the_terminal(
    rllib: Rllib, toy_dataset: Path, tmp_path: Path
) -> None:
    odd = rewritten(
        toy_dataset, tmp_path / "odd.parquet", lambda d: d.update(licence="[/b]\x1b]0;owned\x07\x1b[31mred")
    )
    done = rllib("inspect", odd)
    assert done.status == 0, done
    assert "\x1b" not in done.out and "\x07" not in done.out
    assert r"[/b]\x1b]0;owned\x07" in done.out.replace("\n", "")


def laughs(levels: int) -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for level in range(levels):
        here, below = chr(98 + level), chr(97 + level)
        lines.append(f"{here}: &{here} [{', '.join([f'*{below}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (laughs(8), "aliases stand for over 100,000 values"),
        ("a: &a [*a]", "an alias stands for what it is part of"),
        ("[" * 5_000 + "]" * 5_000, "nested over 50 levels deep"),
        ("day: 2024-99-99", "a value cannot be read"),
        ("day: !!timestamp soon", "a value cannot be read"),
        ("on: !!bool maybe", "a value cannot be read"),
        ("number: !!int ''", "a value cannot be read"),
        ("? [a, b]\n: c\n? {d: e}\n: f", "must be a plain word"),
    ],
)
def test_yaml_that_means_more_than_it_says_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_yaml(text, "file.yaml")


def test_yaml_with_a_few_aliases_is_read_as_ever(tmp_path: Path) -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: 1e-3", "file.yaml") == {"a": [1, 2], "b": [1, 2], "c": 0.001}
    assert parse_yaml("", "file.yaml") is None
    large = tmp_path / "large.yaml"
    large.write_text("#" * (LARGEST_FILE + 1))
    with pytest.raises(ConfigError, match="bytes"):
        read_yaml(large)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"num_learners": 1e12}, "give a whole number"),
        ({"num_env_runners": 10**12}, "give at most 10,000"),
        ({"num_envs_per_env_runner": 10**12}, "give at most"),
        ({"env_config": {"randint": [0.5, 2]}}, "give a mapping of keys"),
        ({"seed": -5}, "give a whole number from 0"),
        ({"seed": float("inf")}, "give a whole number from 0"),
    ],
)
def test_counts_that_no_machine_has_are_refused(config: dict[str, Any], says: str) -> None:
    from rllib_mamql import MAMQLConfig

    with pytest.raises(ConfigError, match=says):
        check_keys(config, MAMQLConfig())


@pytest.mark.parametrize("text", ["stop=5", "tune=5", "tune.scheduler=5", "max_failures=x"])
def test_set_cannot_take_the_place_of_a_mapping(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("toy: {run: MAMQL, env: gems}")
    with pytest.raises(ConfigError):
        load_experiments(file, Overrides(sets=(text,), stops=("training_iteration=1",), config={"seed": 1}))


def test_round_lengths_and_shares_are_refused(toy_dataset: Path) -> None:
    from rllib_mamql import MAMQLConfig

    config = MAMQLConfig().environment("gems").offline_data(input_=[str(toy_dataset)])
    with pytest.raises(ConfigError, match="rollout_fragment_length is -3"):
        config.rollout_fragment_length = -3  # As Tune sets it.
        config.validate()
    with pytest.raises(ConfigError, match="too few for num_learners 2"):
        config.env_runners(rollout_fragment_length=5).learners(num_learners=2).training(expert_steps=1).validate()


# -- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(toy_checkpoint_folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(toy_checkpoint_folder, tmp_path / "checkpoint"))


def test_arrays_that_nobody_asked_for_stay_unread(checkpoint: Path) -> None:
    file = checkpoint / "networks.npz"
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("unused.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (2**23,)})
        for _ in range(2**5):
            member.write(bytes(2**20))
    read: list[str] = []
    whole = StoredArrays.read

    def noted(self: StoredArrays, wanted: Callable[[str], bool]) -> Any:
        arrays = whole(self, wanted)
        read.extend(arrays)
        return arrays

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredArrays, "read", noted)
        read_checkpoint(checkpoint)
    assert read and "unused" not in read


def test_arrays_that_declare_more_than_they_have_are_refused(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint / "networks.npz", "a") as archive, archive.open("more.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(UserError, match="declares 4000000000000 bytes"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '", b"(" * 200, b"\xff" * 20])
def test_arrays_whose_headers_are_no_python_are_refused(checkpoint: Path, header: bytes) -> None:
    with zipfile.ZipFile(checkpoint / "networks.npz", "a") as archive:
        archive.writestr("more.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: next(iter(d["model_configs"].values())).update(fcnet_hiddens=[10**6, 10**6]), "is 1000000"),
        (lambda d: d.update(module_of=[]), "damaged"),
        (lambda d: d.update(model_configs=5), "damaged"),
        (lambda d: d["spaces"].pop("agent_0"), "damaged"),
    ],
)
def test_documents_that_do_not_fit_are_refused(
    checkpoint: Path, edit: Callable[[dict[str, Any]], Any], says: str
) -> None:
    document = json.loads((checkpoint / "mamql.json").read_text())
    edit(document)
    (checkpoint / "mamql.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=says):
        read_checkpoint(checkpoint)


def test_missing_weights_are_refused(checkpoint: Path) -> None:
    np.savez(checkpoint / "networks.npz")
    with pytest.raises(UserError, match="does not fit"):
        read_checkpoint(checkpoint)


# -- the net --------------------------------------------------------------------------------------------------------


def test_what_no_check_has_foreseen_is_a_line(rllib: Rllib, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise LookupError("\x1b[31mno such thing " + "x" * 10_000)

    monkeypatch.setattr("rllib_mamql.cli.status.runs_in", fails)
    done = rllib("status", tmp_path)
    assert done.status == 2 and done.err.count("\n") == 1 and "Traceback" not in done.err
    assert done.err.startswith(r"error: LookupError: \x1b[31mno such thing") and len(done.err) < 2_000
    monkeypatch.setenv("RLLIB_MAMQL_TRACEBACK", "1")
    with pytest.raises(LookupError):
        rllib("status", tmp_path)


def test_a_full_disk_is_no_fault_of_the_input(rllib: Rllib, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("failed") from OSError(28, "No space left on device", "results/x")

    monkeypatch.setattr("rllib_mamql.cli.status.runs_in", full)
    done = rllib("status", tmp_path)
    assert done.status == 1 and done.err.startswith("error: the disk is full at results/x: ")


def test_messages_fit_a_screen() -> None:
    assert printable("plain, accents: é") == "plain, accents: é"
    assert printable("\x07\x1b[0m‮") == r"\x07\x1b[0m\u202e"
    assert shortened("a" * 500) == "a" * 500
    assert shortened("a" + "b" * 9_999 + "c").startswith("ab") and shortened("b" * 9_999 + "c").endswith("bc")


def test_a_dataset_of_null_observations_says_so(toy_dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(parquet_file(toy_dataset))
    index = table.schema.get_field_index("obs.agent_0")
    table = table.set_column(index, "obs.agent_0", pa.array([None] * len(table), pa.list_(pa.float32())))
    pq.write_table(table, tmp_path / "null.parquet")
    with pytest.raises(DatasetError):
        read_dataset(str(tmp_path / "null.parquet"))


def test_names_of_columns_that_are_no_text_say_so(toy_dataset: Path, tmp_path: Path) -> None:
    content, odd = parquet_file(toy_dataset).read_bytes(), tmp_path / "odd.parquet"
    odd.write_bytes(content.replace(b"obs.agent_0", b"obs.agent_\xff"))
    with pytest.raises(DatasetError, match="is corrupt"):
        read_dataset(str(odd))


def test_cells_that_are_declared_and_not_there_take_no_memory(toy_dataset: Path, tmp_path: Path) -> None:
    odd = rewritten(
        toy_dataset, tmp_path / "odd.parquet", lambda d: observation(d).update(shape=[4000, 4000], low=None, high=None)
    )
    table = pq.read_table(odd)
    for name in ("obs.agent_0", "next_obs.agent_0"):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.nulls(len(table), pa.list_(pa.float32())))
    pq.write_table(table, odd)
    with pytest.raises(DatasetError, match=r"has 0 numbers in all, but its metadata declares 60 rows of shape"):
        read_dataset(str(odd))


def test_a_damaged_footer_does_not_end_the_process(tmp_path: Path) -> None:
    """Its columns' histograms have another size than they should: who asks pyarrow for one is gone, without a word."""
    content = base64.b85decode((Path(__file__).parents[1] / "support" / "damaged_footer.b85").read_text().strip())
    (tmp_path / "odd.parquet").write_bytes(zlib.decompress(content))
    code = "from rllib_mamql.data.reading import read_dataset; import sys; read_dataset(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "DatasetError" in done.stderr, done


def test_names_of_episodes_that_are_no_text_say_so(toy_dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(parquet_file(toy_dataset))
    offsets, odd = pa.array(range(len(table) + 1), pa.int32()).buffers()[1], pa.py_buffer(b"\xb1" * len(table))
    names = pa.StringArray.from_buffers(len(table), offsets, odd)
    index = table.schema.get_field_index("eps_id")
    pq.write_table(table.set_column(index, "eps_id", names), tmp_path / "odd.parquet")
    with pytest.raises(DatasetError, match="holds what is no text"):
        read_dataset(str(tmp_path / "odd.parquet"))

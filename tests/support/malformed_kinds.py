"""The kinds of input that anybody may have written: what makes one malformed, and what the package does with it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.cli.experiment import Overrides, load_experiments
from rllib_mamql.cli.paths import newest_checkpoint
from rllib_mamql.cli.report import document as json_document
from rllib_mamql.cli.report import to_json
from rllib_mamql.cli.runs import read_trial, runs_in, trials_of
from rllib_mamql.cli.settings import check_keys
from rllib_mamql.cli.trial_tables import print_runs, run_to_json
from rllib_mamql.data.files import find_files
from rllib_mamql.data.metadata import METADATA_KEY
from rllib_mamql.data.reading import read_dataset, read_structure, size_of_files
from rllib_mamql.data.untrusted import StoredArrays
from rllib_mamql.export.files import METADATA, metadata_digest
from rllib_mamql.export.programs import OPERATORS, PLAIN
from rllib_mamql.export.read import load
from rllib_mamql.export.write import export_checkpoint
from rllib_mamql.learning.checkpoint import DOCUMENT, NETWORKS
from rllib_mamql.rewards.store import REWARDS, read_with_rewards
from tests.support.joint_data import long_rows, make_columns, make_metadata
from tests.support.malformed import CANARY, as_json, changed, damaged, odd_table, scalar, value
from tests.support.toy_data import parquet_file

Call = Callable[[], Any]
Maker = Callable[[random.Random], Call]
"""Makes an input and gives what reads it."""


class Bomb:
    """A pickle that imports the canary."""

    def __reduce__(self) -> Any:
        return (__import__, (CANARY,))


def parquet(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """Datasets: their document, their bytes, their columns and rows."""
    source = parquet_file(data)
    content, table = source.read_bytes(), pq.read_table(source)
    document, file = json.loads(table.schema.metadata[METADATA_KEY.encode()]), folder / "odd.parquet"

    def make(rng: random.Random) -> Call:
        kind = rng.randrange(4)
        if kind == 0:
            file.write_bytes(damaged(content, rng))
        elif kind == 1:
            text = as_json(changed(document, rng), rng)
            pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), file)
        else:
            odd = odd_table(table, rng)
            if kind == 3:
                text = as_json(changed(document, rng), rng)
                odd = odd.replace_schema_metadata({METADATA_KEY: text})
            pq.write_table(odd, file)
        if rng.random() < 0.1:
            return lambda: streamed(file)
        return lambda: read_dataset(str(file))

    return make


def streamed(file: Path) -> None:
    """What streaming reads of a dataset before training."""
    files = find_files(str(file))
    size_of_files(files)
    read_structure(files)


def long_layout(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """RLlib's long layout, with and without a document."""
    plain = {name: pa.array(values) for name, values in long_rows(make_columns((4, 6), shape=(6,))).items()}
    table, file = pa.table(plain), folder / "long.parquet"
    document = json.loads(make_metadata((6,)).to_json())
    named = table.replace_schema_metadata({METADATA_KEY: json.dumps(document)})
    pq.write_table(named, file)
    content = file.read_bytes()

    def make(rng: random.Random) -> Call:
        kind = rng.randrange(5)
        if kind == 0:
            file.write_bytes(damaged(content, rng))
            return lambda: read_dataset(str(file))
        odd = rng.choice((table, named))
        for _ in range(rng.choice((1, 1, 2))):
            odd = odd_table(odd, rng)
        if kind == 1:
            odd = odd.replace_schema_metadata({METADATA_KEY: as_json(changed(document, rng), rng)})
        if kind > 2 and len(odd) and "agent_id" in odd.column_names:
            index = odd.column_names.index("agent_id")
            names = ("agent_0", "agent_1", "agent_1", str(scalar(rng)).encode("utf-8", "replace").decode(), "")
            odd = odd.set_column(index, "agent_id", pa.array([rng.choice(names) for _ in range(len(odd))]))
        pq.write_table(odd, file)
        return lambda: read_dataset(str(file))

    return make


NAMES = (
    "a.parquet", "b.pq", "c.PARQUET", ".hidden.parquet", "_metadata.parquet", "d.parquet.gz", "e.pkl", "f.json",
    "[x].parquet", "a*b.parquet", "sp ace.parquet", "new\nline.parquet", "esc\x1b[31m.parquet", "\u202eabc.parquet",
    "é.parquet", "%2e.parquet", "checkpoint_000000", "trial_x_00000", "result.json", "mamql.json", "error.txt",
    "evaluation.json",
)  # fmt: skip
PATTERNS = (
    "*", "**", "**/", "**/*", "*.parquet", "?.parquet", "[a-c].parquet", "[!a]*", "[z-a]*", "[", "[]", "[!]",
    "[[]x[]].parquet", "{a,b}.parquet", "*" * 40, "**/" * 12 + "x", "*a" * 12 + "z", "(?i)x*", "a.parquet",
    "nothing.parquet", "..", "../*", "/", "/*", "//", "./.", "a.parquet/", "a.parquet/*", "~nobody/*", "~", "\x00",
    "x" * 300, "*" + "x" * 300,
)  # fmt: skip
SCHEMES = (
    "file://", "file:", "memory://", "nothing://", "://", "file:///", "file://host/", "FILE://", "local://", "data:",
    "zip://", "dir::", "python://", "mock://", "tar://",
)  # fmt: skip
"""None that would ask the network."""


def folders(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """Folders of datasets and of runs, and what may be written in place of one: globs, links, URIs."""
    whole = parquet_file(data).read_bytes()
    place = folder / "tree"

    def fill(where: Path, rng: random.Random, depth: int) -> None:
        where.mkdir(parents=True, exist_ok=True)
        for _ in range(rng.randrange(5)):
            target, kind = where / rng.choice(NAMES), rng.randrange(10)
            if target.exists() or target.is_symlink():
                continue
            if kind < 3:
                target.write_bytes(whole)
            elif kind == 3:
                target.write_bytes(damaged(whole, rng))
            elif kind == 4:
                target.write_bytes(rng.choice((b"", b"PAR1", b"PAR1PAR1PAR1", pickle.dumps(Bomb()), b"\x1f\x8b")))
            elif kind == 5:
                target.symlink_to(rng.choice((".", "..", "nowhere", target.name, "/dev/null", "/proc/self/fd", place)))
            elif kind == 6:
                line = {
                    "training_iteration": 1,
                    "done": True,
                    "return_mean": 1.0,
                    "env_runners": {"episode_return_mean": 2},
                }
                target.write_text(as_json(changed(line, rng), rng) + rng.choice(("", "\n")), errors="replace")
            elif depth < 3:
                fill(target, rng, depth + 1)

    def make(rng: random.Random) -> Call:
        shutil.rmtree(place, ignore_errors=True)
        fill(place, rng, 0)
        kind = rng.randrange(8)
        if kind < 2:
            return lambda: read_dataset(str(place))
        if kind < 4:
            path = f"{place}/{rng.choice(PATTERNS)}{rng.choice(('', '', '/*', '.parquet'))}"
            return lambda: read_dataset(path)
        if kind == 4:
            written = f"{rng.choice(SCHEMES)}{rng.choice((str(place), str(scalar(rng)), ''))}{rng.choice(('', '/*'))}"
            return lambda: read_dataset(written)
        if kind == 5:
            several = [str(place), rng.choice((str(scalar(rng)), f"{place}/*", ""))]
            return lambda: read_dataset(several)
        if kind == 6:
            return lambda: newest_checkpoint(place)
        return lambda: status(place)

    return make


def status(place: Path) -> None:
    """What ``rllib status`` reads and says."""
    trials = [(run.name, read_trial(path)) for run in runs_in(place) for path in trials_of(run)]
    print_runs(trials)
    to_json(json_document("status", path=place, trials=[run_to_json(*each) for each in trials]))


KEYS = (
    "lr", "seed", "num_learners", "env_config", "input_", "model_config", "gamma", "env_config.x", "tune", "stop",
    "env", "run", "tune.search", "num_samples", "callbacks", "model_config.history", "a.b.c", "", "config",
    "config.lr", "policies", "explore",
)  # fmt: skip
FRAGMENTS = (
    ": ", "\n  ", "- ", "{", "}", "[", "]", "&a ", "*a", "!!python/object/apply:os.system ['touch canary']",
    "!!binary ", "!!set ", "!!timestamp ", "2024-99-99", "<<: ", "? ", "|", ">", "%YAML 9.9\n", "---\n", "...\n",
    "\t", "\ufeff", "'", '"', "#", "@", "`", "0x", "0o", "1_0", "1:30:00", "-.inf", ".nan", "~", "&b [*b]", "\x85",
    "\u2028", "!<tag:x> ",
)  # fmt: skip


def experiment_files(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """Experiment files and ``--set``."""
    defaults, file = MAMQLConfig(), folder / "odd.yaml"
    document = {
        "toy": {
            "run": "MAMQL", "env": "gems", "stop": {"training_iteration": 2}, "num_samples": 2,
            "tune": {"scheduler": "asha", "scheduler_options": {"max_t": 3}, "search": "random", "seed": 1},
            "config": {
                "lr": {"grid_search": [1, 2]}, "gamma": {"uniform": [0.1, 0.9]}, "env_config": {"x": 1},
                "model_config": {"fcnet_hiddens": [3]},
            },
        }
    }  # fmt: skip
    import yaml

    text = yaml.safe_dump(document)

    def read(overrides: Overrides) -> None:
        for experiment in load_experiments(file, overrides):
            check_keys(experiment.settings.config, defaults)

    def make(rng: random.Random) -> Call:
        kind = rng.randrange(4)
        if kind == 0:
            file.write_text(as_json(changed(document, rng), rng), encoding="utf-8", errors="replace")
        elif kind == 1:
            file.write_bytes(damaged(text.encode(), rng))
        elif kind == 2:
            where = rng.randrange(len(text))
            inserted = "".join(rng.choice(FRAGMENTS) for _ in range(rng.choice((1, 2, 5))))
            file.write_text(text[:where] + inserted + text[where:], encoding="utf-8")
        else:
            file.write_text(text)
        given = rng.choice((lambda: json.dumps(value(rng)), lambda: str(scalar(rng)), lambda: rng.choice(FRAGMENTS)))()
        sets = (f"{rng.choice(KEYS)}={given}",) if kind == 3 or rng.random() < 0.3 else ()
        stops = (f"training_iteration={scalar(rng)}",) if rng.random() < 0.1 else ()
        return lambda: read(Overrides(sets=sets, stops=stops))

    return make


def odd_arrays(file: Path, arrays: dict[str, Any], rng: random.Random) -> None:
    """Writes arrays of which one is another, gone or new."""
    name, rest = rng.choice(sorted(arrays)), dict(arrays)
    kind = rng.randrange(9)
    shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
    if kind < 3:
        rest[name] = np.zeros(shape, rng.choice((np.float32, np.float64, np.int64, np.bool_, np.complex64, "S3", "U3")))
    elif kind == 3:
        rest[name] = np.full_like(rest[name], rng.choice((0, 1, 255))) if rest[name].dtype.kind in "fiu" else rest[name]
    elif kind == 4:
        del rest[name]
    elif kind == 5:
        rest[f"{name}{rng.choice(('x', '/x', '/../x'))}"] = np.zeros(3)
    elif kind == 6:
        rest[name] = np.array([Bomb()], dtype=object)
    np.savez(file, **rest)  # type: ignore[arg-type]
    if kind > 6:
        declare(file, name, rng)


def declare(file: Path, name: str, rng: random.Random) -> None:
    """Makes an array declare more than it holds, or hold zeros without end, which take no room in the file."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    shape: Any = rng.choice(((10**12,), (2**31, 2**31), (2**28,), (-1,), (0, 10**9), (2**62,), ()))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            if member == f"{name}.npy":
                header = io.BytesIO()
                kind = rng.choice(("<f4", "|O", "<U9", "|V8", "f0"))
                np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
                content = header.getvalue() + bytes(rng.choice((0, 100, 2**22)))
            archive.writestr(member, content)


def checkpoints(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """Checkpoints, with rewards that were recovered."""
    copy = Path(shutil.copytree(checkpoint, folder / "checkpoint"))
    add_rewards(copy)
    document = json.loads((copy / DOCUMENT).read_text())
    files = {name: (copy / name).read_bytes() for name in (NETWORKS, REWARDS)}
    arrays = {name: StoredArrays(copy / name).read() for name in files}
    told = json.loads(arrays[REWARDS]["document"].tobytes())

    def make(rng: random.Random) -> Call:
        (copy / DOCUMENT).write_text(json.dumps(document))
        for name, content in files.items():
            (copy / name).write_bytes(content)
        kind, name = rng.randrange(7), rng.choice((NETWORKS, NETWORKS, REWARDS))
        if kind < 3:
            (copy / DOCUMENT).write_text(as_json(changed(document, rng), rng))
        elif kind == 3:
            (copy / DOCUMENT).write_bytes(damaged(json.dumps(document).encode(), rng))
        elif kind == 4:
            (copy / name).write_bytes(damaged(files[name], rng))
        elif kind == 5:
            odd_arrays(copy / name, arrays[name], rng)
        else:
            text = as_json(changed(told, rng), rng).encode()
            np.savez(copy / REWARDS, **{**arrays[REWARDS], "document": np.frombuffer(text, np.uint8)})  # type: ignore[arg-type]
        return lambda: read_with_rewards(copy)

    return make


def add_rewards(folder: Path) -> None:
    """Recovered rewards of random weights."""
    from tests.support.random_checkpoint import add_rewards as add

    stored, _ = read_with_rewards(folder)
    add(folder, stored, gauge="state_only", strength=0.3, network="plain", inputs="joint")


def exports(folder: Path, data: Path, checkpoint: Path) -> Maker:
    """Exported folders, whose checksums are right more often than not: who writes a file can write its checksum."""
    out = export_checkpoint(checkpoint, folder / "export")
    files = {file.name: file.read_bytes() for file in out.iterdir()}
    metadata = json.loads(files[METADATA])
    networks = sorted(name for name in files if name.endswith(".npz"))
    arrays = {name: StoredArrays(out / name).read() for name in networks}
    programs = {name: json.loads(arrays[name].pop("document").tobytes()) for name in networks}
    seen = np.zeros((1, *load(out).policies["agent_0"].shape), np.float32)

    def write_program(name: str, program: bytes, rng: random.Random) -> None:
        held = {**arrays[name], "document": np.frombuffer(program, np.uint8)}
        if rng.random() < 0.3:
            odd_arrays(out / name, held, rng)
        else:
            np.savez(out / name, **held)  # type: ignore[arg-type]

    def make(rng: random.Random) -> Call:
        for file, content in files.items():
            (out / file).write_bytes(content)
        kind, name, described = rng.randrange(8), rng.choice(networks), json.loads(json.dumps(metadata))
        if kind < 2:
            described = changed(metadata, rng)
        elif kind == 2:
            (out / name).write_bytes(damaged(files[name], rng))
        elif kind == 3:
            (out / METADATA).write_bytes(damaged(files[METADATA], rng))
            return lambda: used(out, seen)
        elif kind < 6:
            write_program(name, as_json(changed(programs[name], rng), rng).encode(), rng)
        else:
            write_program(name, json.dumps(odd_program(programs[name], rng)).encode(), rng)
        if isinstance(described, dict) and rng.random() < 0.95:
            if isinstance(described.get("files"), dict) and name in described["files"]:
                described["files"][name] = hashlib.sha256((out / name).read_bytes()).hexdigest()
            described["metadata_sha256"] = metadata_digest(described)
        (out / METADATA).write_text(as_json(described, rng))
        return lambda: used(out, seen)

    return make


def odd_program(program: Any, rng: random.Random) -> Any:
    """A program in which an operator is another, or has other arguments, or works on its own results once more."""
    program = json.loads(json.dumps(program))
    node = rng.choice(program["nodes"])
    kind = rng.randrange(5)
    if kind == 0:
        node["operator"] = rng.choice((*sorted(OPERATORS), *PLAIN, "aten.from_file.default", "aten.save.default"))
    elif kind == 1:
        node["args"] = changed(node["args"], rng)
    elif kind == 2:
        node["kwargs"] = changed(node["kwargs"], rng) if node["kwargs"] else {str(scalar(rng)): value(rng)}
    else:
        size = rng.choice((10, 10**5, 10**9, 2**40, 2**62, -1))
        last = {"node": program["output"]}
        grown: Any = rng.choice((
            ("aten.full.default", [[size], 1.0]), ("aten.arange.default", [size]), ("aten.zeros.default", [[size, 64]]),
            ("aten.repeat.default", [last, [size, 64]]), ("mul", [[0], size]), ("mul", ["x", size]),
            ("mul", [size, size]),
            ("aten.pad.default", [last, [0, size]]), ("aten.expand.default", [last, [size, *[-1] * 2]]),
        ))  # fmt: skip
        program["nodes"].append({"name": "grown", "operator": grown[0], "args": grown[1], "kwargs": {}})
        if kind == 4:
            program["nodes"].append({"name": "more", "operator": "mul", "args": [{"node": "grown"}] * 2, "kwargs": {}})
        program["output"] = program["nodes"][-1]["name"]
    return program


def used(folder: Path, seen: Any) -> None:
    """Loads an export, acts by its policies and asks for its rewards."""
    exported = load(folder)
    for policy in exported.policies.values():
        policy.probabilities(seen)
    for reward in exported.rewards.values():
        reward(seen, np.zeros((1, len(reward.others)), np.int64))


KINDS: dict[str, Callable[[Path, Path, Path], Maker]] = {
    "Parquet bytes and structure": parquet,
    "long layout": long_layout,
    "folders, globs and runs": folders,
    "YAML and --set": experiment_files,
    "checkpoints": checkpoints,
    "exports": exports,
}
"""By name: gives what makes inputs, from an empty folder, a dataset and a checkpoint of the toy environment."""


@contextmanager
def in_silence() -> Iterator[None]:
    """What is printed goes nowhere."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield

"""Exports that anybody may have written end in one short line, before memory is taken for them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_mamql.export import programs
from rllib_mamql.export.files import METADATA, metadata_digest
from rllib_mamql.export.programs import DOCUMENT
from rllib_mamql.export.read import ExportError, load
from rllib_mamql.export.sizes import at_most
from rllib_mamql.export.write import export_checkpoint
from tests.support.random_checkpoint import SPACES, observations, write_checkpoint

NETWORK = "policy-walkers.npz"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return export_checkpoint(write_checkpoint(folder / "checkpoint"), folder / "exported")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def sign(folder: Path, edit: Callable[[dict[str, Any]], Any] = lambda metadata: None) -> None:
    """Changes the metadata, with checksums as anybody can write them."""
    metadata = json.loads((folder / METADATA).read_text())
    metadata["files"][NETWORK] = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    edit(metadata)
    metadata["metadata_sha256"] = metadata_digest(metadata)
    (folder / METADATA).write_text(json.dumps(metadata))


def reprogram(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    with np.load(folder / NETWORK) as stored:
        arrays = dict(stored)
    document = json.loads(arrays[DOCUMENT].tobytes())
    text = edit(document)
    text = text if isinstance(text, str) else json.dumps(document)
    arrays[DOCUMENT] = np.frombuffer(text.encode(), np.uint8)
    np.savez(folder / NETWORK, **arrays)
    sign(folder)


def use(folder: Path) -> None:
    seen = observations(SPACES, 2)
    for agent, policy in load(folder).policies.items():
        policy.probabilities(seen[agent])


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        ("aten.full.default", [[10**6, 10**6], 1.0]),
        ("aten.arange.default", [10**13]),
        ("aten.zeros.default", [[2**40]]),
        ("aten.repeat.default", [{"node": "it"}, [10**12, 1]]),
        ("aten.expand.default", [{"node": "it"}, [10**13, -1, -1]]),
        ("aten.pad.default", [{"node": "it"}, [0, 10**13]]),
        ("mul", [[0], 10**12]),
        ("mul", ["x", 10**12]),
        ("mul", [2**40, 2**41]),
        ("getitem", [{"node": "it"}, 0]),
    ],
)
def test_what_a_program_asks_for_is_held_against_its_inputs(folder: Path, operator: str, args: list[Any]) -> None:
    def edit(document: dict[str, Any]) -> None:
        named = [{"node": document["output"]} if value == {"node": "it"} else value for value in args]
        document["nodes"].append({"name": "grown", "operator": operator, "args": named, "kwargs": {}})
        document["output"] = "grown"

    reprogram(folder, edit)
    with pytest.raises(ExportError, match="cannot be run") as error:
        use(folder)
    assert "\n" not in str(error.value)


def test_many_small_results_are_counted_together(folder: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for number in range(300):
            document["nodes"].append(
                {"name": f"n{number}", "operator": "aten.zeros.default", "args": [[2**20]], "kwargs": {}}
            )

    reprogram(folder, edit)
    with pytest.raises(ExportError, match="for inputs this small"):
        use(folder)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: "[" * 20_000, "nested too deeply"),
        (lambda d: d["nodes"].extend(d["nodes"] * 5_000), "at most 10000 may be"),
        (lambda d: d["nodes"][0]["kwargs"].update(device="cuda"), "which is not for files to say"),
        (lambda d: d["nodes"][0].update(args=[]), "cannot be run"),
        (lambda d: d["nodes"].append({**d["nodes"][0], "args": [{"node": d["output"]}] * 9}), "cannot be run"),
        (lambda d: d.update(output=d["inputs"][0]), "not \\(2, 3\\)"),
    ],
)
def test_programs_that_do_not_fit_are_refused(folder: Path, edit: Callable[[dict[str, Any]], Any], says: str) -> None:
    reprogram(folder, edit)
    with pytest.raises(ExportError, match=says) as error:
        use(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: d["spaces"]["one"]["action"].update(n=10**9), "larger than may be"),
        (lambda d: d["spaces"]["one"]["observation"].update(shape=[10**6, 10**6]), "larger than may be"),
        (lambda d: d["spaces"]["one"]["observation"].update(shape=["4", 5]), "not whole numbers"),
        (lambda d: d["modules"]["walkers"].update(history=10**9), "larger than may be"),
        (lambda d: d["modules"]["walkers"].update(rationality=-1), "not a number above 0"),
        (lambda d: d["modules"]["walkers"].update(rationality="much"), "could not convert"),
        (lambda d: d["others"].update(one=[True, "it/self"]), "not those that have policies"),
        (lambda d: d.update(agents=["one"]), "not those that have policies"),
        (lambda d: d["files"].update({"esc\x1b[31m.npz": "0"}), "not in the folder itself"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(folder: Path, edit: Callable[[dict[str, Any]], Any], says: str) -> None:
    sign(folder, edit)
    with pytest.raises(ExportError, match=says) as error:
        load(folder)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_metadata_nested_too_deeply_are_refused(folder: Path) -> None:
    (folder / METADATA).write_text("[" * 50_000)
    with pytest.raises(ExportError, match="nested too deeply"):
        load(folder)


@pytest.mark.parametrize(("size", "held"), [(10**12, 100), (2**28, 2**28 * 4)])
def test_arrays_out_of_all_proportion_to_their_file_stay_unread(folder: Path, size: int, held: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (size,)})
    with (
        zipfile.ZipFile(folder / NETWORK, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("array/more.npy", "w") as member,
    ):
        member.write(header.getvalue())
        for _ in range(0, held, 2**20):
            member.write(bytes(min(held, 2**20)))
    sign(folder)
    with pytest.raises(ExportError, match="holds no program"):
        load(folder)


def test_no_network_gives_more_than_was_told_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, real, function_of = list[int](), list[int](), programs._function

    def noted(operator: str, args: Any, kwargs: Any) -> int:
        told.append(at_most(operator, args, kwargs))
        return told[-1]

    def measured(operator: str) -> Callable[..., Any]:
        function = function_of(operator)

        def run(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            real.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

        return function if operator in programs.PLAIN else run

    monkeypatch.setattr(programs, "at_most", noted)
    monkeypatch.setattr(programs, "_function", measured)
    seen, exported = observations(SPACES, 3), load(folder)
    for agent, reward in exported.rewards.items():
        exported.policies[agent].q(seen[agent])
        reward(seen[agent], np.zeros((3, 4, len(reward.others)), np.int64))
    assert len(real) == len(told) > 20
    assert all(numbers <= bound for numbers, bound in zip(real, told, strict=True))


TENSOR = torch.zeros(4, 6, 8)


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        ("aten.matmul.default", [TENSOR, torch.zeros(8, 5)]),
        ("aten.matmul.default", [TENSOR, torch.zeros(3, 1, 8, 5)]),
        ("aten.mm.default", [torch.zeros(1000, 1), torch.zeros(1, 1000)]),
        ("aten.bmm.default", [TENSOR, torch.zeros(4, 8, 9)]),
        ("aten.addmm.default", [torch.zeros(5), torch.zeros(3, 4), torch.zeros(4, 5)]),
        ("aten.linear.default", [TENSOR, torch.zeros(50, 8)]),
        ("aten.add.Tensor", [torch.zeros(100, 1), torch.zeros(1, 100)]),
        ("aten.conv2d.default", [torch.zeros(2, 3, 6, 6), torch.zeros(16, 3, 3, 3), None, [1, 1], [9, 9]]),
        ("aten.conv2d.padding", [torch.zeros(2, 3, 6, 6), torch.zeros(16, 3, 3, 3), None, [1, 1], "same"]),
        ("aten.conv1d.default", [torch.zeros(3, 6), torch.zeros(16, 3, 3)]),
        ("aten.adaptive_avg_pool2d.default", [torch.zeros(1, 2, 4, 4), [50, 60]]),
        ("aten.max_pool2d.default", [torch.zeros(1, 2, 4, 4), [2, 2], [1, 1], [1, 1]]),
        ("aten.pad.default", [TENSOR, [3, 4, -1, 2]]),
        ("aten.embedding.default", [torch.zeros(5, 7), torch.zeros(40, dtype=torch.int64)]),
        ("aten.index_select.default", [TENSOR, 1, torch.zeros(40, dtype=torch.int64)]),
        ("aten.gather.default", [TENSOR, 1, torch.zeros(4, 40, 8, dtype=torch.int64)]),
        ("aten.cat.default", [[TENSOR, TENSOR], 1]),
        ("aten.stack.default", [[TENSOR, TENSOR, TENSOR], 0]),
        ("aten.arange.start", [3, 90]),
        ("aten.full.default", [[3, 40], 1.0]),
        ("aten.full_like.default", [TENSOR, 1.0]),
        ("aten.expand.default", [torch.zeros(4, 1, 8), [2, -1, 60, -1]]),
        ("aten.expand_as.default", [torch.zeros(1), TENSOR]),
        ("aten.repeat.default", [TENSOR, [2, 1, 3, 1]]),
        ("aten.where.self", [torch.zeros(50, 1) > 0, torch.zeros(1, 50), torch.zeros(1)]),
        ("aten.sum.dim_IntList", [TENSOR, [1]]),
        ("aten.unsqueeze.default", [TENSOR, 0]),
        ("aten.logsumexp.default", [TENSOR, [-1]]),
    ],
)
def test_bounds_hold(operator: str, args: list[Any]) -> None:
    _, function, overload = operator.split(".")
    result = getattr(getattr(torch.ops.aten, function), overload)(*args)
    assert result.numel() <= at_most(operator, args, {}) <= 40 * result.numel()

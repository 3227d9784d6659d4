"""Every shipped dataset is sound, and remade byte for byte by the command in its provenance."""

from __future__ import annotations

import hashlib
import pathlib
import shlex
import subprocess
import sys

import pytest

from rllib_mamql.data.reading import read_dataset

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = sorted({path.parent.relative_to(ROOT) for path in (ROOT / "offline_data").rglob("*.parquet")})


def digests(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_remade_by_its_command(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    metadata = read_dataset(str(ROOT / folder)).metadata
    assert metadata.licence and metadata.expert_return and metadata.random_return
    command = metadata.command
    assert command is not None and command.endswith("--out DIR")
    words = shlex.split(command)
    assert words[:2] == ["rllib", "record"]
    words = [str(tmp_path / "again") if word == "DIR" else word for word in words[1:]]
    subprocess.run([sys.executable, "-m", "rllib_mamql", *words], check=True, cwd=ROOT, capture_output=True)
    assert digests(tmp_path / "again") == digests(ROOT / folder)

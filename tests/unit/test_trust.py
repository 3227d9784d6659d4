"""What a checkpoint can make the program import: nothing that its user has not named, allowed or trained with."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from rllib_mamql.environments import trust
from rllib_mamql.environments.registry import make_batch, make_env
from rllib_mamql.environments.trust import UntrustedImport, allow_import, named_by_the_user, out_of_a_file, remember
from rllib_mamql.errors import UnknownEnvironmentError
from rllib_mamql.ray_internals import FOLDER
from tests.support.command_line import Rllib

MODULE = "ring_of_somebody"
NAME = f"pettingzoo:{MODULE}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that leaves a trace when it is imported; the command is started there."""
    (tmp_path / f"{MODULE}.py").write_text(
        f"from tests.toy_env import parallel_env\nopen({str(tmp_path / 'imported')!r}, 'w').close()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv(trust.VARIABLE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("_NAMED", "_OUT_OF_FILES"):
        monkeypatch.setattr(trust, name, set())
    monkeypatch.setattr(trust, "_IMPORTED", {})
    yield tmp_path  # type: ignore[misc]
    sys.modules.pop(MODULE, None)


def named_in(checkpoint: Path, env: str, at: Path) -> Path:
    """A copy of a checkpoint that names another environment."""
    shutil.copytree(checkpoint, at)
    document = json.loads((at / "mamql.json").read_text())
    (at / "mamql.json").write_text(json.dumps(document | {"env": env}))
    return at


def test_a_checkpoint_imports_what_was_allowed_only(folder: Path, toy_checkpoint_folder: Path, rllib: Rllib) -> None:
    checkpoint = named_in(toy_checkpoint_folder, NAME, folder / "checkpoint_000000")
    done = rllib("evaluate", checkpoint, "--episodes", 1)
    assert done.status == 2 and not (folder / "imported").exists()
    assert f"importing '{MODULE}' would run its code" in done.err and f"--allow-import {MODULE}" in done.err
    # What does not play needs no environment.
    assert rllib("export", checkpoint, "--out", folder / "policies").status == 0
    done = rllib("evaluate", checkpoint, "--episodes", 1, "--allow-import", MODULE)
    assert done.status == 0 and (folder / "imported").exists(), done.err


def test_every_kind_of_name_is_asked_about(folder: Path) -> None:
    for name in (NAME, f"{MODULE}:parallel_env", f"{MODULE}.parallel_env", f"{MODULE}:Ring-v0"):
        out_of_a_file(name)
        with pytest.raises(UntrustedImport, match=f"--allow-import {MODULE}, or set RLLIB_MAMQL_ALLOW_IMPORT"):
            make_env(name)
    assert not (folder / "imported").exists()


def test_what_is_no_environment_is_not_called(folder: Path) -> None:
    """However harmless its module is, or loaded already."""
    for name, config in {
        "os:system": {"command": f"touch {folder / 'ran'}"},
        "subprocess:Popen": {"args": ["touch", str(folder / "ran")]},
        "gymnasium:make": {"id": f"{MODULE}:Ring-v0"},
        "pettingzoo:os": {},
    }.items():
        out_of_a_file(name)
        with pytest.raises(UnknownEnvironmentError):
            make_env(name, config)
    assert not (folder / "ran").exists() and not (folder / "imported").exists()
    for name in ("gems", "pettingzoo:mpe2.simple_spread_v3", "pettingzoo.classic.tictactoe_v3:env", "CartPole-v1"):
        out_of_a_file(name)
        make_env(name).close()
    assert make_batch("gems", {}, 2) is not None


def test_a_module_that_is_not_here_is_said_to_be_missing(folder: Path) -> None:
    out_of_a_file("pettingzoo:left_at_home")
    with pytest.raises(UnknownEnvironmentError, match="no module 'left_at_home' here: start the command in the folder"):
        make_env("pettingzoo:left_at_home")


def test_packages_that_are_installed_to_be_edited_are_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found by finders of their own, not by sys.path."""
    (folder / "src").mkdir()
    (folder / f"{MODULE}.py").rename(folder / "src" / f"{MODULE}.py")

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            file = folder / "src" / f"{name}.py"
            return importlib.util.spec_from_file_location(name, file) if file.exists() else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    named_by_the_user(NAME)
    make_env(NAME).close()
    remember(NAME)
    assert trust._remembered() == [f"{MODULE} {folder / 'src' / MODULE}.py"]
    sys.modules.pop(MODULE)
    trust._NAMED.clear()
    out_of_a_file(NAME)
    make_env(NAME).close()


def test_well_known_packages_are_imported_where_they_are_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mpe2"]:
        monkeypatch.delitem(sys.modules, name)
    trust.check_import("pettingzoo:pettingzoo.sisl.never_v0", "pettingzoo.sisl.never_v0")
    out_of_a_file("pettingzoo:mpe2.never_v0")
    trust.check_import("pettingzoo:mpe2.never_v0", "mpe2.never_v0")
    # A file of that name in the current folder is not the package.
    (folder / "mpe2.py").write_text("")
    monkey = [str(folder)]
    sys.path[:0] = monkey
    with pytest.raises(UntrustedImport):
        trust.check_import("pettingzoo:mpe2.never_v0", "mpe2.never_v0")


def test_what_the_user_trained_with_is_remembered_by_its_file(folder: Path) -> None:
    named_by_the_user(NAME)
    make_env(NAME).close()
    remember(NAME)
    assert (folder / "settings" / "rllib-mamql" / "imports").read_text() == f"{MODULE} {folder / MODULE}.py\n"
    sys.modules.pop(MODULE)
    trust._NAMED.clear()
    out_of_a_file(NAME)
    make_env(NAME).close()
    # Another file of the same name is another module.
    sys.modules.pop(MODULE)
    (folder / "elsewhere").mkdir()
    shutil.move(folder / f"{MODULE}.py", folder / "elsewhere")
    sys.path.append(str(folder / "elsewhere"))
    with pytest.raises(UntrustedImport):
        make_env(NAME)


def test_a_name_that_the_user_gave_needs_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_a_file(NAME)
    named_by_the_user(NAME)
    make_env(NAME).close()
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    remember(NAME)
    allow_import(["one", "two"])
    allow_import(["two.three"])
    assert trust._allowed() == ["one", "two", "two.three"]

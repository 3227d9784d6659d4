"""Imports point one way; the maths, the schema and the environments know nothing of Ray."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "rllib_mamql"


def imports(file: pathlib.Path) -> set[str]:
    """Modules that a file imports at its top level (lazy imports inside functions are allowed to point anywhere)."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


# A module may not import those to its right in the chain.
CHAIN = ["objective", "learner", "mamql", "cli"]


@pytest.mark.parametrize("position", range(len(CHAIN)))
def test_the_chain_points_one_way(position: int) -> None:
    later = {f"rllib_mamql.{name}" for name in CHAIN[position + 1 :]}
    found = imports(PACKAGE / f"{CHAIN[position]}.py") if CHAIN[position] != "cli" else set()
    assert not found & later


@pytest.mark.parametrize(
    "name", ["rl_module", "encoders", "replay", "marginal", "data/schema", "data/reading", "rollout"]
)
def test_low_parts_do_not_import_high_ones(name: str) -> None:
    high = {f"rllib_mamql.{part}" for part in ("learner", "mamql", "config", "cli", "evaluation", "registration")}
    assert not imports(PACKAGE / f"{name}.py") & high


def test_only_registration_names_the_environments() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.name != "registration.py":
            assert "mamql_envs" not in file.read_text(), file


@pytest.mark.parametrize(
    "module",
    [
        "rllib_mamql.algorithms.mamql.objective",
        "rllib_mamql.export.read",
        "rllib_mamql.data.schema",
        "mamql_envs.overcooked_v0",
        "mamql_envs.gems_v0",
    ],
)
def test_imports_no_ray(module: str) -> None:
    code = f"import sys, {module}; assert not any(m == 'ray' or m.startswith('ray.') for m in sys.modules)"
    if module.startswith("mamql_envs"):
        code += "; assert not any(m.startswith('rllib_mamql') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

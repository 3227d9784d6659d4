"""The house's rules, over all files: imports point one way, in no circle, and what needs no Ray loads without it."""

from __future__ import annotations

import ast
import importlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rllib_mamql.algorithms.registry import ALGORITHMS

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "rllib_mamql"

TOP = {"__init__", "__main__", "ray_internals", "errors", "columns", "startup"}
"""The only modules beside the packages."""
ORDER = (
    "data", "environments", "networks", "play", "learning", "algorithms", "rewards", "evaluation", "export", "cli",
)  # fmt: skip
"""A package may import those before it."""
SOLVABLE_SEES = ("rllib_mamql.algorithms.mamql.objective", "rllib_mamql.rewards.metrics", "rllib_mamql.rewards.epic")
LAZY_PAIRS = ("config", "algorithm")
"""An algorithm's config names its algorithm lazily, as RLlib's configs do: the only circle."""
ENTRY_POINTS = {"rllib_mamql", "rllib_mamql.__main__"}
"""May import anything: the lazy package itself and the command."""


def module_name(file: pathlib.Path, root: pathlib.Path) -> str:
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(source: str, name: str, known: set[str]) -> Iterator[str]:
    """Modules of ``known`` that a source imports, at any depth: inside functions and for type checkers as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in found:
            while full and full not in known:
                full = full.rpartition(".")[0]
            if full and full != name:
                yield full


def house(root: pathlib.Path = ROOT, package: str = "rllib_mamql") -> dict[str, set[str]]:
    """``{module: modules of the package that it imports}``."""
    files = {module_name(file, root): file for file in sorted((root / package).rglob("*.py"))}
    known = set(files)
    return {name: set(imports(file.read_text(), name, known)) for name, file in files.items()}


def place(module: str) -> str:
    """The package that a module is in; ``""`` at the top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def wrong_directions(graph: dict[str, set[str]]) -> list[str]:
    """Imports that point from a package to one below it."""
    wrong = []
    for module, found in graph.items():
        if module in ENTRY_POINTS:
            continue
        here = place(module)
        for target in sorted(found):
            there = place(target)
            if target == "rllib_mamql" or not there or here == there:
                continue
            if here == "solvable":
                allowed = target.startswith(SOLVABLE_SEES)
            elif there == "solvable" or not here:
                allowed = False
            else:
                allowed = ORDER.index(there) < ORDER.index(here)
            if not allowed:
                wrong.append(f"{module} imports {target}")
    return wrong


def sibling_algorithms(graph: dict[str, set[str]]) -> list[str]:
    """Imports from one algorithm to another, and from the base to any."""
    wrong = []
    for module, found in graph.items():
        if place(module) != "algorithms" or module.count(".") < 3:
            continue
        own = module.rpartition(".")[0]
        wrong += [
            f"{module} imports {target}"
            for target in sorted(found)
            if place(target) == "algorithms" and not target.startswith(own)
        ]
    return wrong


def is_lazy_pair(module: str, target: str) -> bool:
    return (
        module.rpartition(".")[0] == target.rpartition(".")[0]
        and (module.rpartition(".")[2], target.rpartition(".")[2]) == LAZY_PAIRS
        and place(module) == "algorithms"
    )


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Import circles, without the lazy half of config and algorithm and without packages' own names."""
    edges = {
        module: {t for t in found if t != "rllib_mamql" and not is_lazy_pair(module, t)}
        for module, found in graph.items()
        if module not in ENTRY_POINTS
    }
    done: set[str] = set()
    found: list[list[str]] = []

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for target in sorted(edges.get(module, ())):
            walk(target, [*path, module])
        done.add(module)

    for module in edges:
        walk(module, [])
    return found


GRAPH = house()


def test_nothing_stands_beside_the_packages_but_what_the_house_names() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == TOP
    folders = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert folders == {*ORDER, "solvable"}


def test_imports_point_one_way() -> None:
    assert wrong_directions(GRAPH) == []


def test_no_algorithm_imports_another() -> None:
    assert sibling_algorithms(GRAPH) == []


def test_no_circle_but_config_and_algorithm() -> None:
    assert circles(GRAPH) == []
    # The exception is used, and by nothing else.
    lazy = [(module, t) for module, found in GRAPH.items() for t in found if is_lazy_pair(module, t)]
    assert {module.split(".")[2] for module, _ in lazy} == {
        "mamql",
        "cloning",
        "iq_learn",
        "sqil",
        "mifq",
        "adversarial",
    }


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_only_the_registry_names_algorithms(name: str) -> None:
    """Class names such as MAMQLConfig are fine within an algorithm's own folder; the bare name is the registry's."""
    for file in PACKAGE.rglob("*.py"):
        inside = [part for part in ("registry.py", "__init__.py") if file.name == part]
        if inside or file.parent.parent.name == "algorithms":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            compared = isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Constant) and side.value == name for side in (node.left, *node.comparators)
            )
            assert not compared, f"{file} line {node.lineno} compares with {name!r}"


def test_only_environments_imports_the_environments() -> None:
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name != "environments":
            assert "mamql_envs" not in file.read_text(), file


def test_the_environments_know_neither_ray_nor_the_plugin() -> None:
    for file in (ROOT / "envs" / "mamql_envs").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("ray", "rllib_mamql")], file


LOADS_WITHOUT = [
    ("mamql_envs.gems_v0", "ray rllib_mamql"),
    ("mamql_envs.overcooked_v0", "ray rllib_mamql"),
    ("rllib_mamql", "ray torch"),
    ("rllib_mamql.data.schema", "ray torch"),
    ("rllib_mamql.data.reading", "ray torch"),
    ("rllib_mamql.data.writing", "ray torch"),
    ("rllib_mamql.data.sources.convert", "ray torch"),
    ("rllib_mamql.data.sources.minari_datasets", "ray torch"),
    ("rllib_mamql.cli.main", "ray torch"),
    ("rllib_mamql.learning.soft_q", "ray"),
    ("rllib_mamql.algorithms.mamql.objective", "ray"),
    ("rllib_mamql.solvable", "ray"),
    ("rllib_mamql.solvable.fitting", "ray"),
    ("rllib_mamql.export.read", "ray"),
    ("rllib_mamql.rewards.metrics", "ray"),
]
"""In one process, in this order."""


def test_loads_without() -> None:
    code = (
        "import gc, importlib, sys\n"
        f"for module, absent in {LOADS_WITHOUT!r}:\n"
        "    importlib.import_module(module)\n"
        "    found = {name.split('.')[0] for name in sys.modules} & set(absent.split())\n"
        "    assert not found, f'{module} loads {found}'\n"
        "    assert gc.get_freeze_count() == 0, f'{module} freezes'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- the rules themselves fail where they are broken ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "target", "rule"),
    [
        ("rllib_mamql.networks.encoders", "rllib_mamql.learning.learner", wrong_directions),
        ("rllib_mamql.data.tables", "rllib_mamql.networks.heads", wrong_directions),
        ("rllib_mamql.learning.checkpoint", "rllib_mamql.algorithms.mamql.module", wrong_directions),
        ("rllib_mamql.solvable.game", "rllib_mamql.play.rollout", wrong_directions),
        ("rllib_mamql.errors", "rllib_mamql.data.schema", wrong_directions),
        ("rllib_mamql.algorithms.cloning.losses", "rllib_mamql.algorithms.mamql.objective", sibling_algorithms),
        ("rllib_mamql.networks.encoders", "rllib_mamql.networks.together_acting", circles),
        ("rllib_mamql.algorithms.mamql.losses", "rllib_mamql.algorithms.mamql.config", circles),
    ],
)
def test_a_broken_rule_is_found(module: str, target: str, rule: object) -> None:
    broken = {name: set(found) for name, found in GRAPH.items()}
    assert module in broken and target in broken
    broken[module].add(target)
    assert rule(broken), f"{module} -> {target} went unseen"  # type: ignore[operator]


def test_imports_inside_functions_are_seen() -> None:
    source = "def f():\n    from rllib_mamql.learning import learner\n    import rllib_mamql.errors\n"
    known = {"rllib_mamql.learning", "rllib_mamql.learning.learner", "rllib_mamql.errors"}
    assert set(imports(source, "x", known)) == {"rllib_mamql.learning.learner", "rllib_mamql.errors"}


def test_every_name_that_tests_and_benchmarks_import_exists() -> None:
    """Benchmarks are not run by the tests: a name that moved would go unseen until somebody measures."""
    missing = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != "rllib_mamql":
                continue
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                try:
                    found = hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
                except ImportError:
                    found = False
                if not found:
                    missing.append(f"{file.relative_to(ROOT)} line {node.lineno}: {node.module}.{alias.name}")
    assert missing == []

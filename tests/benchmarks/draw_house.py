"""Draws the packages of rllib_mamql and which imports which: ``python tests/benchmarks/draw_house.py``.

Writes ``docs/house.png`` from the files as they are. Imports inside functions count. An arrow that follows from others
is left out: where cli imports evaluation and evaluation imports play, there is no arrow from cli to play.
"""

from __future__ import annotations

import argparse
import ast
import json
import pathlib
import textwrap
from collections.abc import Iterator, Mapping

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = "rllib_mamql"
OUT = ROOT / "docs" / "house.png"
FILES = "files at the top"
"""The modules that are in no package."""

Imports = Mapping[str, set[str]]


def modules(package: pathlib.Path) -> dict[str, list[str]]:
    """``{package: its modules}``; sub-packages stand with a slash. What only starts Python is left out."""
    found: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        *folders, name = file.relative_to(package).with_suffix("").parts
        if len(folders) > 1:
            label = f"{folders[1]}/"
        elif name in ("__init__", "__main__"):
            continue
        else:
            label = name
        known = found.setdefault(folders[0] if folders else FILES, [])
        if label not in known:
            known.append(label)
    return found


def imported(file: pathlib.Path) -> Iterator[str]:
    """Full names of what a file imports of this package, wherever in the file it does."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (f"{PACKAGE}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imports(package: pathlib.Path) -> dict[str, set[str]]:
    """``{package: packages that it imports}``."""
    found: dict[str, set[str]] = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package).parts
        if parts[0] in ("__init__.py", "__main__.py"):
            continue
        here = parts[0] if len(parts) > 1 else FILES
        targets = found.setdefault(here, set())
        for name in imported(file):
            root, _, rest = name.partition(".")
            if root == PACKAGE and rest:
                first = rest.partition(".")[0]
                targets.add(first if (package / first).is_dir() else FILES)
    return {name: targets - {name} for name, targets in found.items()}


def levels(graph: Imports) -> dict[str, int]:
    """How far below the top each package stands: one more than the lowest that it imports.

    Raises:
        ValueError: If packages import each other in a circle.
    """
    found: dict[str, int] = {}
    while len(found) < len(graph):
        ready = [name for name in graph if name not in found and graph[name] <= set(found)]
        if not ready:
            raise ValueError(f"packages import each other in a circle: {sorted(set(graph) - set(found))}")
        found |= {name: 1 + max((found[other] for other in graph[name]), default=-1) for name in ready}
    return found


def necessary(graph: Imports) -> set[tuple[str, str]]:
    """Pairs (package, imported) that do not follow from others."""
    order = sorted(graph, key=levels(graph).__getitem__)
    reach: dict[str, set[str]] = {}
    for name in order:
        reach[name] = set().union(*(reach[other] | {other} for other in graph[name])) if graph[name] else set()
    return {
        (name, other)
        for name in graph
        for other in graph[name]
        if not any(other in reach[between] for between in graph[name] - {other})
    }


def description(package: pathlib.Path) -> str:
    """What the picture shows, as text that it carries along: a test compares it with the files."""
    graph = imports(package)
    return json.dumps({"modules": modules(package), "arrows": sorted(necessary(graph))}, sort_keys=True)


def draw(package: pathlib.Path, out: pathlib.Path) -> None:
    """Draws the house: what is imported stands above."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import FancyBboxPatch

    inside, graph = modules(package), imports(package)
    rows: dict[int, list[str]] = {}
    for name, level in levels(graph).items():
        rows.setdefault(level, []).append(name)
    width, gap = 3.2, 0.45
    texts = {name: textwrap.fill(", ".join(inside.get(name, [])), 42) for name in graph}
    # A row is as high as its longest text: an inch is a unit here, and a line 0.15 of it.
    heights = {name: 0.5 + 0.15 * max(texts[other].count("\n") + 1 for other in rows[level])
               for level, names in rows.items() for name in names}  # fmt: skip
    tops, down = {}, 0.0
    for level, names in sorted(rows.items()):
        tops[level], down = down, down - heights[names[0]] - gap
    figure, axes = pyplot.subplots(figsize=(11, -down), layout="constrained")
    place: dict[str, tuple[float, float]] = {}
    above = {name: [other for below, other in necessary(graph) if below == name] for name in graph}
    for level, names in sorted(rows.items()):
        for index, name in enumerate(sorted(names)):
            # Alone in its row, a package stands below what it imports, so that arrows pass it by.
            alone = len(names) == 1 and above[name]
            x = sum(place[other][0] for other in above[name]) / len(above[name]) if alone else 0.0
            place[name] = (x + (index - (len(names) - 1) / 2) * (width + 0.5), tops[level] - heights[name] / 2)
    for name, (x, y) in place.items():
        height = heights[name]
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(
            FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.08", fc="#f4f1ea", ec="#555")
        )
        axes.text(x, y + height / 2 - 0.18, name, ha="center", va="center", fontsize=12, weight="bold")
        axes.text(x, y - 0.13, texts[name], ha="center", va="center", fontsize=8.5, color="#333")
    for name, other in necessary(graph):
        (x, y), (above_x, above_y) = place[name], place[other]
        axes.annotate(
            "",
            xy=(above_x + 0.3 * (x - above_x) / (width + 0.5), above_y - heights[other] / 2),
            xytext=(x + 0.3 * (above_x - x) / (width + 0.5), y + heights[name] / 2),
            arrowprops={"arrowstyle": "-|>", "color": "#4a6fa5", "lw": 1.3, "shrinkA": 0, "shrinkB": 0},
            zorder=0,
        )
    xs = [x for x, _ in place.values()]
    axes.set(xlim=(min(xs) - width / 2 - 0.1, max(xs) + width / 2 + 0.1), ylim=(down + gap - 0.1, 0.1))
    axes.set_axis_off()
    figure.savefig(out, dpi=90, metadata={"Description": description(package)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    draw(ROOT / PACKAGE, arguments.out)
    print(arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

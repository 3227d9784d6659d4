"""All benchmarks: ``make bench`` writes ``docs/results/benchmarks.json`` and ``.png``; ``make bench-check`` compares.

``--check`` runs quickly and compares each ratio with the committed one: worse by more than 20% fails with status 1,
after a second look at the script in question. Ratios that vary too much for that are printed only.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.measuring import ROOT, Ratio, ratios_of

SCRIPTS = ("runner", "update", "growth", "data", "start")
CHECKED = ("runner", "update", "growth", "data")
DOCUMENT = ROOT / "docs" / "results" / "benchmarks.json"
TOLERANCE = 0.2
SCHEMA_VERSION = 1


def run_script(name: str, quick: bool) -> dict[str, Any]:
    """What a script finds, in a process of its own; its table is printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        script = pathlib.Path(__file__).parent / f"bench_{name}.py"
        command = [sys.executable, "-W", "ignore", str(script), "--json", str(out), *(["--quick"] if quick else [])]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        document: dict[str, Any] = json.loads(out.read_text())
    return document


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    modules = {name: importlib.import_module(name) for name in ("ray", "torch", "numpy", "pyarrow")}
    return {"python": platform.python_version(), **{name: str(module.__version__) for name, module in modules.items()}}


def worse(now: Mapping[str, Ratio], before: Mapping[str, Ratio]) -> list[str]:
    """Names of checked ratios that got worse by more than the tolerance."""
    return [
        name
        for name, ratio in now.items()
        if name in before and before[name].checked and ratio.worse_than(before[name], TOLERANCE)
    ]


def check(names: Iterable[str]) -> int:
    """Compares quick runs with the committed document."""
    if not DOCUMENT.exists():
        print(f"there is no {DOCUMENT.relative_to(ROOT)} to compare with: run `make bench` first", file=sys.stderr)
        return 2
    committed = json.loads(DOCUMENT.read_text())["results"]
    failures = []
    for name in names:
        before = ratios_of(committed[name])
        now = ratios_of(run_script(name, quick=True))
        suspects = worse(now, before)
        if suspects:
            print(f"measuring {name} again: {', '.join(suspects)} got worse", flush=True)
            again = ratios_of(run_script(name, quick=True))
            suspects = [suspect for suspect in worse(again, before) if suspect in suspects]
            now |= {suspect: again[suspect] for suspect in suspects}
        failures += [f"{key}: {now[key].value:.3g}, committed {before[key].value:.3g}" for key in suspects]
    for failure in failures:
        print(f"worse by more than {TOLERANCE:.0%}: {failure}")
    if not failures:
        print(f"no ratio is worse than the committed one by more than {TOLERANCE:.0%}")
    return 1 if failures else 0


def plot(results: Mapping[str, Mapping[str, Any]], out: pathlib.Path) -> None:
    """One bar a ratio with the range of its repetitions, and a line at its target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels: dict[str, tuple[str, dict[str, Ratio]]] = {}  # one for each kind of ratio
    for result in results.values():
        for key, ratio in reversed(ratios_of(result).items()):
            kind, _, label = key.partition("/")
            panels.setdefault(kind, (result["title"], {}))[1][label] = ratio
    heights = [1.2 + 0.28 * len(ratios) for _, ratios in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels), figsize=(8, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, (kind, (title, ratios)) in zip(axes[:, 0], panels.items(), strict=True):
        values = [ratio.value for ratio in ratios.values()]
        spread = [
            [ratio.value - ratio.low for ratio in ratios.values()],
            [ratio.high - ratio.value for ratio in ratios.values()],
        ]
        axis.barh(list(ratios), values, xerr=spread, color="tab:blue", alpha=0.7, ecolor="black", capsize=2)
        for position, ratio in enumerate(ratios.values()):
            if ratio.target is not None:
                axis.plot([ratio.target] * 2, [position - 0.45, position + 0.45], color="tab:red")
        better = "higher" if next(iter(ratios.values())).higher_is_better else "lower"
        axis.set_title(f"{title} ({AXES.get(kind, kind)}; {better} is better)", fontsize=8, loc="left")
        axis.tick_params(labelsize=8)
    figure.savefig(out, dpi=120)


AXES = {
    "runner": "ours / RLlib's",
    "runner share of loop": "ours / a loop over single environments",
    "update": "ours / bare torch",
    "growth": "exponent",
    "data": "ours / bare pyarrow",
    "start": "ours / bare start",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios; write nothing")
    parser.add_argument("--quick", action="store_true", help="fewer cases and repetitions")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, metavar="SCRIPT", help=", ".join(SCRIPTS))
    parser.add_argument("--json", type=pathlib.Path, default=DOCUMENT, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.only or CHECKED)
    document = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    # What is not measured now stays as it was.
    results: dict[str, Any] = document.get("results", {})
    for name in arguments.only or SCRIPTS:
        results[name] = run_script(name, arguments.quick)
        arguments.json.write_text(
            json.dumps({"schema_version": SCHEMA_VERSION, "versions": versions(), "results": results}, indent=1) + "\n"
        )
    plot(results, arguments.json.with_suffix(".png"))
    missed = [
        name for result in results.values() for name, ratio in ratios_of(result).items() if not ratio.meets_target
    ]
    print(f"targets missed: {', '.join(missed) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

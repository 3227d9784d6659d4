"""How much of people's play in Overcooked our rules replay: ``python tests/benchmarks/human_play.py``.

Converts the trials that overcooked-ai ships, for five layouts and both files, and writes docs/results/human_play.md and
human_play.json. Nothing of the trials is kept.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from mamql_envs.overcooked_human import LAYOUTS, TRIALS
from rllib_mamql.data.reading import read_dataset
from rllib_mamql.data.returns import recorded_return
from rllib_mamql.data.sources.convert import write_found
from rllib_mamql.environments.human_play import ENVIRONMENT, human_trials
from rllib_mamql.environments.registry import make_env

OUT = pathlib.Path(__file__).parents[2] / "docs" / "results"

TEXT = """# People's play in Overcooked

Pairs of people played five kitchens in 2019, three minutes a trial. The package overcooked-ai ships their trials, in a
train and a test file; nothing of them is in this repository. `rllib convert overcooked-human` plays each trial again,
from each recorded state by the recorded actions, and compares the state and the payment that follow. What differs is
left out and counted.

`auto_cook: true` is their game: a pot with three onions cooks by itself. A soup paid 5 then, and pays 20 here.

| file | layout | trials | joint steps | replayed | left out | return in 400 steps |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

`return in 400 steps` is 400 times what the team was paid, over all the steps that are left. {total:,} steps in all, of
which {share:.2%} are replayed. `python tests/benchmarks/human_play.py` makes this page and `human_play.json` again, in
about a minute. How to train on this play: [your_data.md](../your_data.md#peoples-play-in-overcooked).
"""


def measure(layout: str, trials: str, folder: pathlib.Path) -> dict[str, Any]:
    """Converts the trials of a layout, and reads the dataset back."""
    played = human_trials({"layout": layout}, trials)
    write_found(played.found, folder, make_env(ENVIRONMENT, played.env_config))
    columns = read_dataset(str(folder)).columns
    summary = recorded_return(columns, ["agent_0", "agent_1"])
    assert summary is not None
    steps = len(columns["t"])
    return {
        "trials": trials,
        "layout": layout,
        "pairs": played.trials,
        "steps": played.recorded,
        "kept": steps,
        "dropped": played.dropped,
        "replayed": 1 - played.dropped / played.recorded,
        "return_per_400": 400 * summary.mean * summary.episodes / steps,
    }


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of results."""
    lines = [
        f"| {row['trials']} | `{row['layout']}` | {row['pairs']} | {row['steps']:,} | {row['replayed']:.2%} | "
        f"{row['dropped']} | {row['return_per_400']:.1f} |"
        for row in rows
    ]
    total = sum(row["steps"] for row in rows)
    kept = sum(row["steps"] - row["dropped"] for row in rows)
    return TEXT.format(rows="\n".join(lines), total=total, share=kept / total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=OUT, help="folder of human_play.md and human_play.json")
    out = parser.parse_args().out
    rows = []
    for trials in TRIALS:
        for layout in LAYOUTS:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(layout, trials, pathlib.Path(folder) / "data"))
            print(rows[-1], flush=True)
    (out / "human_play.json").write_text(json.dumps(rows, indent=1) + "\n")
    (out / "human_play.md").write_text(page(rows))


if __name__ == "__main__":
    main()

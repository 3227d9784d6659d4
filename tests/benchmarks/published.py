"""What was published of MAMQL on Gems beside what is measured here: ``python tests/benchmarks/published.py``.

Writes docs/results/published.md from the rows of docs/results/paper, which ``rllib benchmark`` makes (``COMMAND``).
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from rllib_mamql.evaluation.benchmark_groups import Groups
from rllib_mamql.evaluation.benchmark_page import plain, table, text
from rllib_mamql.evaluation.benchmark_statistics import aggregate
from rllib_mamql.evaluation.benchmark_table import Results
from tests.benchmarks.measuring import ROOT

FOLDER = ROOT / "docs/results/paper"
PAGE = ROOT / "docs/results/published.md"
COMMAND = """rllib benchmark --suite tuned_examples/suites/paper.yaml \\
    --problem gems-published --out docs/results/paper"""
PROBLEM = "gems-published"
EXPERT, RANDOM = 13.17, 0.4
GEMS = {
    "MAMQL": {1000: 8.6, 10000: 12.8, 20000: 13.05},
    "IQLearnMA-joint": {1000: 2.4, 10000: 7.3, 20000: 11.45},
}
"""Mean returns an agent, read off the plots that accompany arXiv 2503.04679 (+-0.1), by steps of demonstration; its
multi-agent IQ-Learn has critics of joint actions."""

HEAD = f"""# Published figures, measured again

```sh
{COMMAND}
```

makes the cells that [paper/results.parquet](paper/README.md) lacks, and
`python tests/benchmarks/published.py` this page. Gems by the published rules
(`env_config: {{rules: published}}`), 500 episodes a seed.

Published figures are read off plots, to within 0.1; over how many seeds is not
known here. What is not the same:

- The demonstrations are by this package's scripted expert, whose return is
  EXPERT; theirs was {EXPERT}. A score, (return - random) / (expert - random),
  puts each beside its own expert.
- The network is this package's: attention over gems and players as entities,
  one for both agents, and every move mirrored and turned as the board allows.
  What of the difference is the network's and what the algorithm's is not told
  apart here.
- Training takes 4,800 environment steps and 1,200 updates at most; from 500
  demonstrated steps it ended after 1,600 to 4,800.
- 10,000 steps (published: 12.8) were not run, and for 500 nothing was published.

Measured is the interquartile mean over seeds with its 95% bootstrap interval.
*As trained* acts at the rationality of training, and is what scores are of;
*decided* acts as MAMQL does when it is used ([why](decided.md)), which was not
published."""


def rows_of(groups: Groups) -> tuple[list[list[str]], list[str]]:
    """Rows of the table, and where a published figure lies above the interval of what was measured."""
    rows, below = [], []
    for method in groups.shown_methods():
        for task in groups.tasks():
            decided = groups.values(task, method)
            if task[0] != PROBLEM or not len(decided):
                continue
            trained = aggregate([groups.values(task, method, "return_as_trained")])
            score = aggregate([groups.values(task, method, "score_as_trained")])
            claim = GEMS.get(method, {}).get(task[1])
            claimed = ["", ""] if claim is None else [f"{claim:g}", plain((claim - RANDOM) / (EXPERT - RANDOM))]
            cells = [claimed[0], text(trained), text(aggregate([decided])), claimed[1], plain(score.value)]
            rows.append([method, f"{task[1]:,}", *cells, str(len(decided))])
            if claim is not None and trained.high < claim:
                below.append(f"{method} from {task[1]:,} steps ({trained.value:.2f} for {claim:g})")
    return rows, below


def main() -> None:
    """Writes the page."""
    results = Results(FOLDER)
    groups = Groups(results.rows, results.curves, [PROBLEM], ["MAMQL", "IQLearnMA-joint", "IQLearnMA", "MABC"])
    expert = next(row["expert_return"] for row in results.rows if row["problem"] == PROBLEM)
    rows, below = rows_of(groups)
    heads = ["method", "steps", "published", "as trained", "decided", "pub. score", "score", "seeds"]
    parts = [HEAD.replace("EXPERT", plain(expert)), table(heads, rows)]
    if below:
        parts.append("As trained, below what was published: " + "; ".join(below) + ".")
    PAGE.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()

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

    {COMMAND}

makes the cells that [paper/results.parquet](paper/README.md) lacks, and
`python tests/benchmarks/published.py` this page. Gems by the published rules
(`env_config: {{rules: published}}`), 500 episodes a seed.

Published figures are read off plots, to within 0.1; over how many seeds is not
known here. Two things differ, so that returns alone do not compare:

- The demonstrations are by this package's scripted expert, whose return is
  EXPERT here; theirs was 13.17. A score, (return - random) / (expert - random),
  puts each beside its own expert.
- The network is this package's: attention over gems and players as entities,
  one for both agents, and every move mirrored and turned as the board allows.

Measured is the interquartile mean over seeds with its 95% bootstrap interval.
*As trained* acts at the rationality of training, as the published policies do;
*decided* as MAMQL acts when it is used ([why](decided.md))."""


def lines(groups: Groups) -> list[list[str]]:
    """Rows of the table: each method at each size that was measured, or published."""
    found = []
    for method in groups.shown_methods():
        published = GEMS.get(method, {})
        for task in groups.tasks():
            returns = groups.values(task, method)
            if task[0] != PROBLEM or not len(returns):
                continue
            claimed = published.get(task[1])
            score = None if claimed is None else (claimed - RANDOM) / (EXPERT - RANDOM)
            trained, scores = (groups.values(task, method, f"{name}_as_trained") for name in ("return", "score"))
            measured = [text(aggregate([values])) for values in (trained, returns)]
            cells = [plain(claimed), *measured, plain(score), plain(aggregate([scores]).value), str(len(returns))]
            found.append([method, f"{task[1]:,}", *cells])
    return found


def main() -> None:
    """Writes the page."""
    results = Results(FOLDER)
    groups = Groups(results.rows, results.curves, [PROBLEM], ["MAMQL", "IQLearnMA-joint", "IQLearnMA", "MABC"])
    expert = next(row["expert_return"] for row in results.rows if row["problem"] == PROBLEM)
    heads = ["method", "steps", "published", "as trained", "decided", "published score", "score", "seeds"]
    PAGE.write_text(HEAD.replace("EXPERT", plain(expert)) + "\n\n" + table(heads, lines(groups)) + "\n")


if __name__ == "__main__":
    main()

"""Writes a benchmark's page and pictures from its Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rllib_mamql.errors import ConfigError
from rllib_mamql.evaluation.benchmark_groups import Groups
from rllib_mamql.evaluation.benchmark_page import page
from rllib_mamql.evaluation.benchmark_plots import draw
from rllib_mamql.evaluation.benchmark_table import Results

PAGE = "README.md"


def write_report(folder: Path, name: str, command: str, problems: Sequence[str], methods: Sequence[str]) -> Path:
    """Writes README.md and PNG pictures into the folder of the results.

    Args:
        folder: Where results.parquet lies.
        name: The suite's.
        command: What makes the missing cells, for the page.
        problems: In the order in which they are shown.
        methods: In the order in which they are shown.

    Returns:
        The page's file.

    Raises:
        ConfigError: If there is no result yet.
    """
    results = Results(folder)
    if not results.rows:
        raise ConfigError(f"{folder} has no results yet: run the suite without --page first, or correct --out")
    groups = Groups(results.rows, results.curves, problems, methods)
    file = folder / PAGE
    file.write_text(page(groups, name, command, draw(groups, folder)), encoding="utf-8")
    return file

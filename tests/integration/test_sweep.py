"""The cheap half of the sweep over environments from elsewhere: each row of the page still holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.all_the_way import ROOT, Row, cases, read_rows, run
from tests.support.command_line import Rllib

KEPT = read_rows(ROOT / "docs/results/environments.jsonl")


def kept(kind: str, *suites: str) -> list[Row]:
    return [row for row in KEPT.values() if row.kind == kind and row.case.suite in suites]


def test_every_environment_has_a_row_and_none_ends_in_a_traceback() -> None:
    assert {case.key for case in cases()} <= set(KEPT)
    assert [row for row in KEPT.values() if row.kind == "fault"] == []
    works = [row for row in KEPT.values() if row.kind == "works"]
    assert len(works) >= len(KEPT) // 3
    assert all(row.phases == ["record", "inspect", "train", "evaluate", "recover", "export"] for row in works)


@pytest.mark.slow
def test_what_is_refused_is_refused_in_the_same_line(rllib: Rllib) -> None:
    def call(words: list[str]) -> tuple[Any, str]:
        done = rllib(*words)
        return done.status, f"{done.out}\n{done.err}"

    rows = kept("refused", "actions", "observations", "habits", "gymnasium")
    assert len(rows) > 20
    for row in rows:
        found = run(row.case, call)
        assert (found.kind, found.phases, found.line) == (row.kind, row.phases, row.line)


@pytest.mark.slow
def test_a_game_in_turns_goes_all_the_way(rllib_on_ray: Rllib) -> None:
    def call(words: list[str]) -> tuple[Any, str]:
        done = rllib_on_ray(*words)
        return done.status, f"{done.out}\n{done.err}"

    (row,) = (row for row in kept("works", "masks and turns") if row.case.name == "turns of RLlib")
    found = run(row.case, call)
    assert found.kind == "works", found

"""The garbage collector is away for imports and back after them."""

import gc

import pytest

from rllib_mamql.startup import collection_paused


def test_collection_is_off_inside_and_on_again_after() -> None:
    assert gc.isenabled()
    with collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_comes_back_after_an_error() -> None:
    with pytest.raises(ImportError), collection_paused(freeze=True):
        raise ImportError
    assert gc.isenabled()


def test_what_an_import_leaves_is_frozen_where_asked() -> None:
    before = gc.get_freeze_count()
    try:
        with collection_paused():
            made = [[] for _ in range(1000)]
        assert gc.get_freeze_count() == before
        with collection_paused(freeze=True):
            pass
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_who_had_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

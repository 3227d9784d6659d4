"""Gradient steps recorded as CUDA graphs and replayed: one launch in place of hundreds, made one by one from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Steps of each kind that are made one operation at a time before the kind is recorded."""
LAUNCH = 4
"""Steps in a row that one launch makes, where all of their kinds are warm."""
MOST_RECORDINGS = 16
"""Rows of steps that are recorded; kinds that follow each other irregularly are launched step by step beyond it."""


class Recording(Protocol):
    """Work on the device that can be repeated."""

    outputs: Any
    """What the recorded function gave; each replay writes into the same tensors."""

    def replay(self) -> None:
        """Does the work once more."""


class Recorder(Protocol):
    """Records work on the device."""

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Where steps are made, recorded or not; what was launched before is waited for, and the other way round."""

    def record(self, function: Callable[[], Any]) -> Recording:
        """Records what ``function`` launches, without doing it."""

    def renew(self) -> None:
        """Earlier recordings will not be replayed any more."""

    def recover(self) -> None:
        """Makes the device usable again after a recording that failed."""


class _CudaRecording:
    def __init__(self, graph: torch.cuda.CUDAGraph, outputs: Any) -> None:
        self.graph, self.outputs = graph, outputs

    def replay(self) -> None:
        self.graph.replay()


class CudaRecorder:
    """Records CUDA graphs, all in one pool of memory and on one stream.

    The pool is shared because graphs are replayed one after the other: what one leaves there, the next may overwrite.

    Args:
        device: The GPU.
        generator: What steps draw from; each replay draws anew.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device, self._generator = device, generator
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """A stream of its own: a recording must not meet what autograd left on the default one."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, function: Callable[[], Any]) -> _CudaRecording:
        """Records a graph; see :class:`Recorder`."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # Other threads (Ray's, a profiler's) may allocate in the meantime: only this one's calls count.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outputs = function()
        return _CudaRecording(graph, outputs)

    def renew(self) -> None:
        """Begins another pool: a pool whose graphs are all gone cannot be used again."""
        self._pool = torch.cuda.graph_pool_handle()

    def recover(self) -> None:
        """Takes allocator and random generators out of the state of being recorded, in which a failure leaves them."""
        torch.cuda.synchronize(self._device)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        with contextlib.suppress(Exception):
            torch._C._cuda_endAllocateToPool(index, self._pool)
        for generator in (self._generator, torch.cuda.default_generators[index]):
            generator.graphsafe_set_state(generator.clone_state())


class StepGraphs:
    """Makes gradient steps, after a warm-up by replaying recordings of them.

    Args:
        step: Makes a step of a kind on tensors that stay where they are, and gives tensors.
        recorder: How steps are recorded; None makes each step one operation at a time.

    Attributes:
        recorder: As given, or None after a recording failed.
        recordings: By the kinds of the steps in a row that each makes.
    """

    def __init__(self, step: Callable[[Hashable], Any], recorder: Recorder | None) -> None:
        self._step, self.recorder = step, recorder
        self.recordings: dict[tuple[Hashable, ...], Recording] = {}
        self._made: dict[Hashable, int] = {}

    def forget(self) -> None:
        """Records anew, after another warm-up: tensors that steps work on are elsewhere, or settings have changed."""
        self.recordings.clear()
        self._made.clear()
        if self.recorder is not None:
            self.recorder.renew()

    def run(self, kinds: Sequence[Hashable], first: int, reported: int) -> list[Any]:
        """Makes steps.

        Args:
            kinds: Kind of each.
            first: Number of the first among all steps made: rows of steps begin at multiples of their length.
            reported: So many of the last steps' tensors are given back.

        Returns:
            What those steps gave, copied.
        """
        found: list[Any] = []
        done, keep_from = 0, len(kinds) - reported
        while done < len(kinds):
            length = LAUNCH if (first + done) % LAUNCH == 0 else 1
            outputs = self._make(tuple(kinds[done : done + length])) if length > 1 else None
            if outputs is None:
                length = 1
                outputs = self._make((kinds[done],)) or [self._eager(kinds[done])]
            done += length
            if done > keep_from:
                # The next launch may overwrite them.
                found += copied(outputs[max(0, keep_from - (done - length)) :])
        return found

    def _eager(self, kind: Hashable) -> Any:
        self._made[kind] = self._made.get(kind, 0) + 1
        return self._step(kind)

    def _make(self, row: tuple[Hashable, ...]) -> list[Any] | None:
        """Makes steps of these kinds by one launch; None where they cannot be, or not yet."""
        recording = self.recordings.get(row) or self._record(row)
        if recording is None:
            return None
        recording.replay()
        outputs: list[Any] = recording.outputs
        return outputs

    def _record(self, row: tuple[Hashable, ...]) -> Recording | None:
        if self.recorder is None or any(self._made.get(kind, 0) < WARM_UP for kind in row):
            return None
        if len(row) > 1 and (len(row) < LAUNCH or len(self.recordings) >= MOST_RECORDINGS):
            return None
        try:
            recording = self.recorder.record(lambda: [self._step(kind) for kind in row])
        except Exception as error:  # Whatever a user's networks or losses do there: training goes on without.
            self._give_up(error)
            return None
        self.recordings[row] = recording
        return recording

    def _give_up(self, error: Exception) -> None:
        assert self.recorder is not None
        self.recordings.clear()
        recorder, self.recorder = self.recorder, None
        recorder.recover()
        cause = error.__context__ or error
        reason = " ".join(str(cause).split())[:300]
        logger.warning(
            "cuda_graphs: gradient steps cannot be recorded and are made one operation at a time, slower (%s: %s)",
            type(cause).__name__,
            reason,
        )


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Applies a function to all tensors in dicts, lists, tuples and dataclasses."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: mapped(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(function, item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: mapped(function, getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def copied(value: Any) -> Any:
    """The same, with copies of the tensors."""
    return mapped(lambda tensor: tensor.detach().clone(), value)


def detached(value: Any) -> Any:
    """The same without autograd's graph, which would keep what it was built on alive."""
    return mapped(Tensor.detach, value)

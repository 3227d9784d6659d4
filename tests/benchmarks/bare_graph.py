"""The bare loop of ``bench_update`` captured as a CUDA graph, losses compiled or not: the aim of ``bench_gpu``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.bench_update import AGENTS, BareLoop


class GraphedBareLoop(BareLoop):
    """Draws, losses, clipping, AdamW and averages on the device, one graph for each of the two kinds of step.

    Args:
        learner: Whose networks (copied), data and settings to take.
        compiled: Whether the losses are compiled.
    """

    def __init__(self, learner: Any, *, compiled: bool = False) -> None:
        super().__init__(learner)
        device = self.parameters[0][0].device
        self.device = device
        self.expert, self.replay = (
            {name: values.contiguous() for name, values in columns.items()} for columns in (self.expert, self.replay)
        )
        self.draws = torch.Generator(device)
        self.draws.manual_seed(0)
        rate = torch.tensor(float(learner.config.lr), device=device)
        self.optimizers = [
            torch.optim.AdamW(
                parameters, lr=rate, weight_decay=learner.config.weight_decay, fused=True, capturable=True
            )
            for parameters in self.parameters
        ]
        self.made = torch.zeros((), device=device)
        self.losses = torch.compile(self._both) if compiled else self._both
        self.graphs: dict[bool, torch.cuda.CUDAGraph] = {}
        self.stream = torch.cuda.Stream()

    def draw(self) -> dict[str, Tensor]:
        """As before, by the device."""
        from_expert, from_replay = (
            torch.randint(size, (rows,), generator=self.draws, device=self.device)
            for size, rows in ((self.expert_size, self.expert_rows), (self.replay_size, self.rollout_rows))
        )
        names = [f"{what}.{agent}" for agent in AGENTS for what in ("obs", "next_obs", "actions", "terminateds")]
        return {name: torch.cat([self.expert[name][from_expert], self.replay[name][from_replay]]) for name in names}

    def _both(self, rows: dict[str, Tensor], with_reward: bool) -> Tensor:
        return self.loss(0, rows, with_reward) + self.loss(1, rows, with_reward)

    def _step(self, with_reward: bool) -> None:
        rows = self.draw()
        for parameters in self.parameters:
            for parameter in parameters:
                parameter.grad = None
        torch.autograd.backward(self.losses(rows, with_reward))
        for optimizer, parameters in zip(self.optimizers, self.parameters, strict=True):
            nn.utils.clip_grad_norm_(parameters, self.clip)
            optimizer.step()
        self.made += 1
        weight = 1 - ((1 + self.made) / (10 + self.made)).clamp(max=self.decay)
        with torch.no_grad():
            for average, critic in self.average_pairs:
                steps = torch._foreach_sub(critic, average)
                torch._foreach_mul_(steps, weight)
                torch._foreach_add_(average, steps)

    def capture(self) -> None:
        """Warms up and captures both kinds of step."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                for with_reward in (True, False):
                    self._step(with_reward)
        torch.cuda.synchronize()
        pool = torch.cuda.graph_pool_handle()
        for with_reward in (True, False):
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self.draws)
            with torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                self._step(with_reward)
            self.graphs[with_reward] = graph

    def update(self, updates: int) -> None:
        """Makes so many gradient steps."""
        if not self.graphs:
            self.capture()
        for _ in range(updates):
            self.graphs[self.updates % self.interval == 0].replay()
            self.updates += 1

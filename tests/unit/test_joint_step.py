"""One clip and one step for all modules do what each module's own would."""

from __future__ import annotations

import itertools

import pytest
import torch

from rllib_mamql.learning.optimise import TogetherStep, clip_norms

Groups = list[list[torch.nn.Parameter]]
SIZES = ((3, 4), (4,), (2, 3))


def parameters(seed: int = 0) -> Groups:
    torch.manual_seed(seed)
    return [[torch.nn.Parameter(torch.randn(size)) for size in SIZES[: 1 + index]] for index in range(3)]


def flat(groups: Groups) -> list[torch.nn.Parameter]:
    return list(itertools.chain.from_iterable(groups))


def adam(groups: Groups, rates: tuple[float, ...] = (0.1, 0.1, 0.01)) -> list[torch.optim.AdamW]:
    return [
        torch.optim.AdamW(group, lr=lr, weight_decay=0.1, fused=True) for group, lr in zip(groups, rates, strict=True)
    ]


def draw_gradients(groups: Groups, seed: int) -> None:
    """The last parameter of a module has none in every other step, as a reward network's have not."""
    torch.manual_seed(seed)
    for group in groups:
        for position, parameter in enumerate(group):
            gradient = torch.randn_like(parameter) * 10.0 ** torch.randint(-2, 3, ()).item()
            parameter.grad = None if position and position == len(group) - 1 and seed % 2 else gradient


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e4])
def test_norms_are_clipped_module_by_module(limit: float) -> None:
    ours, theirs = parameters(), parameters()
    for seed in range(4):
        for groups in (ours, theirs):
            draw_gradients(groups, seed)
        clip_norms(ours, limit)
        for group in theirs:
            torch.nn.utils.clip_grad_norm_(group, limit)
        for a, b in zip(flat(ours), flat(theirs), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
    clip_norms([], limit)
    clip_norms([[torch.nn.Parameter(torch.zeros(2))]], limit)


def test_steps_follow_rates_states_and_missing_gradients() -> None:
    ours, theirs = parameters(), parameters()
    ours_optimizers, their_optimizers = adam(ours), adam(theirs)
    joint = TogetherStep(ours_optimizers)
    for seed in range(9):
        for groups, optimizers in ((ours, ours_optimizers), (theirs, their_optimizers)):
            draw_gradients(groups, seed)
            if seed == 3:
                optimizers[1].param_groups[0]["lr"] = 0.03
            if seed == 5:
                optimizers[0].load_state_dict(optimizers[0].state_dict())
            if seed == 7:  # As a checkpoint of other moments does.
                state = optimizers[2].state_dict()
                for values in state["state"].values():
                    values["exp_avg"] = values["exp_avg"] + 1.0
                optimizers[2].load_state_dict(state)
        joint.step()
        for optimizer in their_optimizers:
            optimizer.step()
        for a, b in zip(flat(ours), flat(theirs), strict=True):
            torch.testing.assert_close(a, b)
        for a, b in zip(ours_optimizers, their_optimizers, strict=True):
            assert a.state_dict()["state"].keys() == b.state_dict()["state"].keys()
            for key, values in a.state_dict()["state"].items():
                for name, value in values.items():
                    torch.testing.assert_close(value, b.state_dict()["state"][key][name])


def test_other_optimisers_step_by_themselves() -> None:
    (group,) = parameters()[:1]
    before = group[0].detach().clone()
    group[0].grad = torch.ones_like(group[0])
    TogetherStep([torch.optim.SGD(group, lr=0.5)]).step()
    torch.testing.assert_close(group[0].detach(), before - 0.5)

"""Critics that are evaluated together give the values and gradients that each gives alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rllib_mamql.algorithms.mamql.module import MAMQLModule
from rllib_mamql.networks.forms import IN_PLACE, plain_layers
from rllib_mamql.networks.heads import JointHead, OtherActions
from rllib_mamql.networks.together_learning import NetworkStack
from tests.unit.test_learner import learner, play

MANY = "pettingzoo:tests.benchmarks.many_agents"
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((6,), {"fcnet_hiddens": [16, 12]}),
    "tanh": ((6,), {"fcnet_hiddens": [16], "fcnet_activation": "tanh"}),
    "entities": ((4, 5), {"entity_dim": 8, "entity_key_dim": 4}),
    "image": ((12, 12, 2), {"conv_filters": [[4, 4, 2], [4, 3, 2]]}),
}


def modules(network: str, agents: int = 3) -> dict[str, MAMQLModule]:
    shape, model_config = NETWORKS[network]
    from rllib_mamql.algorithms.mamql.config import MAMQLConfig
    from rllib_mamql.environments.spaces import environment_spaces

    env_config = {"agents": agents, "shape": list(shape)}
    config = MAMQLConfig().environment(MANY, env_config=env_config).offline_data(input_="unused")
    config.rl_module(model_config=model_config)
    config.validate()
    torch.manual_seed(0)
    built = config.get_multi_rl_module_spec(spaces=environment_spaces(MANY, env_config)).build()
    return {f"agent_{index}": built[f"agent_{index}"] for index in range(agents)}


@pytest.mark.parametrize("network", NETWORKS)
def test_values_and_gradients_are_those_of_each_critic_alone(network: str) -> None:
    built = modules(network)
    torch.manual_seed(1)
    observations = {name: torch.rand(7, *NETWORKS[network][0]) for name in built}
    weights = {name: torch.randn(7, 5) for name in built}

    def evaluate(stack: bool) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        values = NetworkStack(built, stack)(observations)
        loss = torch.stack([(weights[name] * values[name].square()).sum() for name in built]).sum()
        parameters = [p for module in built.values() for p in module.critic.parameters()]
        return values, list(torch.autograd.grad(loss, parameters))

    alone, together = evaluate(False), evaluate(True)
    for name in built:
        torch.testing.assert_close(together[0][name], alone[0][name], rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_is_plain() -> None:
    assert plain_layers(modules("plain")["agent_0"].critic) is not None
    assert plain_layers(modules("entities")["agent_0"].critic) is None
    assert plain_layers(modules("image")["agent_0"].critic) is None


@pytest.mark.parametrize("kind", IN_PLACE)
def test_activations_in_place_are_the_layers(kind: type[nn.Module]) -> None:
    inputs = torch.linspace(-3.0, 3.0, 50)
    expected = kind()(inputs)
    assert IN_PLACE[kind](inputs) is inputs and torch.equal(inputs, expected)


@pytest.mark.slow
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("network", ["plain", "entities"])
def test_compiled_critics_give_the_same(network: str, stack: bool) -> None:
    torch._dynamo.reset()
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    built = modules(network, agents=10)
    critics = NetworkStack(built, stack, lambda function: torch.compile(function, backend=backend))
    for rows in (7, 9):
        observations = {name: torch.rand(rows, *NETWORKS[network][0]) for name in built}
        values = critics(observations)
        for name, module in built.items():
            torch.testing.assert_close(values[name], module.critic(observations[name]), rtol=1e-5, atol=1e-5)
    assert 1 <= len(graphs) <= 2, "once, and once for changing sizes, whatever the number of agents"


def test_auto_stacks_small_plain_networks_only() -> None:
    def calls(network: str, rows: int, agents: int = 4) -> int:
        built, alone = modules(network, agents), []
        for module in built.values():
            module.critic.register_forward_hook(lambda *args: alone.append(1))
        NetworkStack(built, "auto")({name: torch.rand(rows, *NETWORKS[network][0]) for name in built})
        return len(alone)

    assert calls("plain", 8) == 0
    assert calls("plain", 8, agents=3) == 3
    assert calls("plain", 4096) == 4
    assert calls("entities", 8) == 4


def test_critics_that_differ_or_have_other_numbers_of_rows_are_evaluated_alone() -> None:
    built = modules("plain")
    built["agent_1"].critic.encoder.net.net.mlp[1] = nn.Tanh()
    observations = {name: torch.rand(8 + (name == "agent_2"), 6) for name in built}
    values = NetworkStack(built, True)(observations)
    for name, module in built.items():
        torch.testing.assert_close(values[name], module.critic(observations[name]))


@pytest.mark.parametrize("settings", [{}, {"critic": "joint"}, {"value_term": "initial", "grad_clip": 0.01}], ids=str)
def test_training_goes_the_same_way(settings: dict[str, Any]) -> None:
    made, other = learner(stack_networks=True, **settings), learner(stack_networks=False, **settings)
    for each in (made, other):
        each.replay.add(play(seed=9))
        each.update(num_updates=5)
    for a, b in zip(made._params.values(), other._params.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-2 * made.config.lr)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 2), (3, 2, 4, 1)], ids=str)
def test_other_agents_actions_are_embedded_as_a_sum(sizes: tuple[int, ...]) -> None:
    embed = OtherActions(sizes, 6)
    others = torch.stack([torch.randint(n, (9,)) for n in sizes], -1) if sizes else torch.zeros(9, 0, dtype=torch.long)
    each = [embedding.weight[others[:, index]] for index, embedding in enumerate(embed)]
    expected = torch.stack(each).sum(0) if each else torch.zeros(())
    torch.testing.assert_close(torch.as_tensor(embed(others)), expected)
    torch.testing.assert_close(torch.as_tensor(embed(others.unsqueeze(1))).reshape(expected.shape), expected)
    assert set(embed.state_dict()) == {f"{index}.weight" for index in range(len(sizes))}


def test_joint_actions_that_are_the_same_for_all_rows_are_embedded_once() -> None:
    head = JointHead(torch.nn.Identity(), 6, 3, (3, 2))
    observations, grid = torch.randn(5, 6), torch.cartesian_prod(torch.arange(3), torch.arange(2)).unsqueeze(0)
    expanded = grid.expand(5, -1, -1)
    assert torch.as_tensor(head.from_others(expanded)).shape == (1, 6, 6)
    torch.testing.assert_close(head(observations, expanded), head(observations, expanded.contiguous()))

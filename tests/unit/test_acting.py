"""Acting: modules of one shape together or one by one, the same actions either way, and never with old weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.columns import IDLE_ACTION
from rllib_mamql.environments.spaces import environment_spaces
from rllib_mamql.networks.convolutions import ConvolutionalCritics
from rllib_mamql.networks.together_acting import StackedCritics, stack_critics, stackable
from rllib_mamql.play import actors as acting
from rllib_mamql.play.actors import ScriptedActor, module_actor
from tests.support.toy_data import TOY

AGENTS = ("agent_0", "agent_1")


def make_modules(sharing: str = "none", env: str = TOY, env_config: dict[str, Any] | None = None, **model: Any) -> Any:
    config = MAMQLConfig().update_from_dict({"env": env, "input_": "none", "parameter_sharing": sharing})
    config.environment(env_config=env_config or {})
    config.rl_module(model_config={"fcnet_hiddens": [24, 16], **model})
    config.validate()
    spaces = environment_spaces(env, env_config or {})
    of = config.module_of
    torch.manual_seed(0)
    return config.get_multi_rl_module_spec(spaces={of[a]: pair for a, pair in spaces.items()}).build(), of


def observations(modules: Any, of: dict[str, str], envs: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = {
        agent: rng.normal(size=(envs, *modules[of[agent]].observation_space.shape)).astype(np.float32) for agent in of
    }
    for part in seen.values():
        if part.ndim == 3:
            part[0, :, 0] = 0.0  # no entity is present
    return seen


def alive(envs: int = 5) -> dict[str, np.ndarray]:
    return {agent: np.ones(envs, bool) for agent in AGENTS}


GEMS = {"env": "gems", "env_config": {"observation": "entities"}, "entity_dim": 12, "entity_key_dim": 4}
PICTURES = {"env": "gems", "conv_filters": [[4, [3, 3], 1], [4, [3, 3], 2]]}
NETWORKS = (
    ([[4, [3, 3], 1], [6, [3, 3], 2]], "relu"),
    ([[4, [2, 2], 1]], "elu"),  # padded on one side
    ([[4, [3, 2], 1, "valid"], [5, [4, 4], [2, 1]]], "linear"),
)


@pytest.mark.parametrize(
    "settings",
    [
        *({"fcnet_activation": activation} for activation in ("relu", "tanh", "silu", "elu")),
        *({**GEMS, "entity_layers": layers} for layers in (0, 1, 2)),
        *({"env": "gems", "conv_filters": filters, "conv_activation": activation} for filters, activation in NETWORKS),
    ],
    ids=str,
)
def test_stacked_critics_equal_each_by_itself(settings: dict[str, Any]) -> None:
    modules, of = make_modules(**settings)
    critics = [modules[of[agent]].average for agent in AGENTS]
    stacked = stack_critics(critics)
    assert isinstance(stacked, ConvolutionalCritics if "conv_filters" in settings else StackedCritics)
    for envs in (1, 8, 40):
        seen = observations(modules, of, envs)
        joined = torch.as_tensor(np.stack([seen[agent] for agent in AGENTS]))
        kept = joined.clone()
        found = stacked(joined)
        for values, critic, part in zip(found, critics, joined, strict=True):
            torch.testing.assert_close(values, critic(part), rtol=1e-5, atol=1e-6)
        assert torch.equal(joined, kept) and not found.requires_grad


def test_what_is_no_plain_network_is_not_stacked() -> None:
    modules, of = make_modules()
    plain = modules[of["agent_0"]].average
    other, of_other = make_modules(fcnet_hiddens=[24, 17])
    assert stackable(plain)
    assert stack_critics([plain, other[of_other["agent_0"]].average]) is None
    entities, of_entities = make_modules(**GEMS)
    assert stack_critics([plain, entities[of_entities["agent_0"]].average]) is None
    images, of_images = make_modules(env="gems", conv_filters=[[4, [3, 3], 2]])
    picture = images[of_images["agent_0"]].average
    assert stack_critics([picture]) is not None
    assert stack_critics([picture, plain]) is None
    picture.encoder.net.net[0].cnn[1].groups = 4
    assert stack_critics([picture]) is None
    normal, of_normal = make_modules(env="gems", conv_filters=[[4, [3, 3], 2]], fcnet_hiddens=[8])
    assert stack_critics([images[of_images["agent_1"]].average, normal[of_normal["agent_1"]].average]) is not None
    elus, of_elus = make_modules(fcnet_activation="elu")
    first, second = (elus[of_elus[agent]].average for agent in AGENTS)
    assert stack_critics([first, second]) is not None
    second.encoder.layers[1].alpha = 2.0
    assert stack_critics([first, second]) is None
    wrapped = torch.nn.Sequential(plain)
    assert stack_critics([wrapped]) is None and stack_critics([]) is None
    plain.head = torch.nn.Linear(16, 3, bias=False)
    assert stack_critics([plain]) is None


def replace_parameter(critic: Any, state: dict[str, torch.Tensor]) -> None:
    critic.head.weight = torch.nn.Parameter(state["head.weight"])
    critic.head.bias = torch.nn.Parameter(state["head.bias"])


def set_data(critic: Any, state: dict[str, torch.Tensor]) -> None:
    for name, parameter in critic.named_parameters():
        parameter.data = state[name].clone()


def copy_in_place(critic: Any, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in critic.named_parameters():
            parameter.copy_(state[name])


def copy_in_inference_mode(critic: Any, state: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        critic.head.bias.add_(1.0)


def average(critic: Any, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(critic.parameters()), [state[name] for name, _ in critic.named_parameters()], 0.5)


def optimise(critic: Any, state: dict[str, torch.Tensor]) -> None:
    critic.requires_grad_(True)
    adam = torch.optim.Adam(critic.parameters(), lr=0.1)
    for parameter in critic.parameters():
        parameter.grad = torch.randn_like(parameter)
    adam.step()
    critic.requires_grad_(False)


def load(critic: Any, state: dict[str, torch.Tensor]) -> None:
    critic.load_state_dict(state)


def load_and_assign(critic: Any, state: dict[str, torch.Tensor]) -> None:
    critic.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)


CHANGES = (
    *(load, load_and_assign, copy_in_place, copy_in_inference_mode),
    *(average, optimise, set_data, replace_parameter),
)


@pytest.mark.parametrize("settings", [{}, GEMS, PICTURES], ids=["perceptron", "attention", "convolutions"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_stacked_weights_are_never_old(
    change: Callable[[Any, dict[str, torch.Tensor]], None], settings: dict[str, Any]
) -> None:
    modules, of = make_modules(**settings)
    critics = [modules[of[agent]].average for agent in AGENTS]
    stacked = stack_critics(critics)
    assert stacked is not None
    seen = torch.as_tensor(np.stack(list(observations(modules, of).values())))
    before = stacked(seen)
    for round_ in range(3):
        for critic in critics:
            state = {name: torch.randn_like(value) for name, value in critic.state_dict().items()}
            change(critic, state)
            found = stacked(seen)
            for values, other, part in zip(found, critics, seen, strict=True):
                torch.testing.assert_close(values, other(part), rtol=1e-4, atol=1e-5)
            assert not torch.equal(found, before), f"round {round_}: nothing changed"
            before = found


def test_weights_set_as_rllib_does_are_seen_at_once() -> None:
    modules, of = make_modules()
    actor = module_actor(modules, of, torch.Generator(), greedy=True)
    seen = observations(modules, of, 50)
    actor(seen, alive(50))
    other, _ = make_modules()
    for agent in AGENTS:
        critic = other[of[agent]].average
        critic.load_state_dict({name: torch.randn_like(value) for name, value in critic.state_dict().items()})
    modules.set_state(other.get_state())
    chosen = actor(seen, alive(50))
    for agent in AGENTS:
        best = other[of[agent]].average(torch.as_tensor(seen[agent])).argmax(-1)
        assert chosen[agent].tolist() == best.tolist() and len(set(chosen[agent])) > 1


@pytest.mark.parametrize("settings", [{}, GEMS, PICTURES], ids=["perceptron", "attention", "convolutions"])
@pytest.mark.parametrize("sharing", ["none", "all"])
@pytest.mark.parametrize("explore", [True, False])
def test_the_same_actions_stacked_or_not(
    monkeypatch: pytest.MonkeyPatch, sharing: str, explore: bool, settings: dict[str, Any]
) -> None:
    modules, of = make_modules(sharing, **settings)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    actors = [module_actor(modules, of, generators[0], explore=explore)]
    monkeypatch.setattr(acting, "stack_critics", lambda critics: None)
    actors.append(module_actor(modules, of, generators[1], explore=explore))
    taken = set()
    for seed in range(40):
        seen = observations(modules, of, seed=seed)
        first, second = (actor(seen, alive()) for actor in actors)
        for agent in AGENTS:
            assert first[agent].tolist() == second[agent].tolist() and first[agent].shape == (5,)
            taken.update(first[agent].tolist())
    assert torch.equal(generators[0].get_state(), generators[1].get_state()) and len(taken) > 1


def test_draws_follow_the_boltzmann_policy() -> None:
    modules, of = make_modules()
    seen = {agent: np.repeat(part, 4000, axis=0) for agent, part in observations(modules, of, 1).items()}
    for agent in AGENTS:
        modules[of[agent]].rationality = 20.0
    actor = module_actor(modules, of, torch.Generator().manual_seed(0))
    chosen = actor(seen, alive(4000))
    for agent in AGENTS:
        logits = modules[of[agent]].logits(torch.as_tensor(seen[agent][:1]), True)
        shares = np.bincount(chosen[agent], minlength=logits.shape[-1]) / 4000
        np.testing.assert_allclose(shares, torch.softmax(logits, -1)[0], atol=0.03)
    # The rationality is read at each call.
    for agent in AGENTS:
        modules[of[agent]].rationality = 1e6
    chosen = actor(seen, alive(4000))
    assert all(len(set(actions.tolist())) == 1 for actions in chosen.values())


def test_unequal_shares_of_agents_act_one_module_at_a_time() -> None:
    modules, of = make_modules("all")
    (name,) = set(of.values())
    alone, of_alone = make_modules()
    both = {name: modules[name], "own": alone[of_alone["agent_0"]]}
    three = {"agent_0": name, "agent_1": name, "agent_2": "own"}
    seen = observations(both, three)
    chosen = module_actor(both, three, torch.Generator(), greedy=True)(seen, alive())
    for agent, module in three.items():
        best = both[module].average(torch.as_tensor(seen[agent])).argmax(-1)
        assert chosen[agent].tolist() == best.tolist()
    assert isinstance(modules[name].observation_space, gym.spaces.Box)


def test_a_scripted_actor_asks_its_expert_about_the_living_only() -> None:
    class Expert:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def reset(self, env: object, seed: int) -> None:
            self.seen.append((env, seed))

        def act(self, env: object, observations: dict[str, np.ndarray]) -> dict[str, int]:
            self.seen.append((env, {agent: values.tolist() for agent, values in observations.items()}))
            return dict.fromkeys(observations, 2)

    expert = Expert()
    actor = ScriptedActor(expert)
    actor.on_reset(0, "the environment", 7)  # type: ignore[arg-type]
    observations = {"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0, 4.0]])}
    chosen = actor(observations, {"a": np.array([False]), "b": np.array([True])})
    assert {agent: actions.tolist() for agent, actions in chosen.items()} == {"a": [IDLE_ACTION], "b": [2]}
    assert expert.seen == [("the environment", 7), ("the environment", {"b": [3.0, 4.0]})]

"""Every range and cross-field rule of the settings, and modules taken from the environment."""

from __future__ import annotations

from typing import Any

import pytest
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.offline.offline_data import OfflineData

from rllib_mamql.algorithms.mamql.config import MAMQLConfig
from rllib_mamql.algorithms.mamql.rules import check_enumeration
from rllib_mamql.errors import ConfigError, nearest
from rllib_mamql.learning.config import modules_of

TOY = "pettingzoo:tests.toy_env"


def config(**settings: Any) -> MAMQLConfig:
    return MAMQLConfig().environment(TOY).offline_data(input_="somewhere").training(**settings)


@pytest.mark.parametrize(
    ("misspelt", "right"), [("rationalty", "rationality"), ("chi_squared_scale", "chi_square_scale"), ("gama", "gamma")]
)
def test_a_misspelt_argument_is_told_the_right_word(misspelt: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{misspelt}'; did you mean '{right}'"):
        MAMQLConfig().training(**{misspelt: 1.0})


def test_what_cannot_be_enumerated_names_the_setting_that_samples() -> None:
    check_enumeration({f"agent_{k}": 4 for k in range(7)})
    with pytest.raises(ConfigError, match=r"177,147 for agent 'agent_0'.*marginal_samples"):
        check_enumeration({f"agent_{k}": 3 for k in range(12)})


def test_defaults_are_valid_and_modules_come_from_the_environment() -> None:
    made = config()
    made.validate()
    assert list(made.policies) == ["agent_0", "agent_1"]
    assert made.policy_mapping_fn("agent_1", None) == "agent_1"
    assert made.is_multi_agent and made.value_term == "rollout+expert"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gamma": 1.2}, ("gamma", "1.2", "below 1")),
        ({"gamma": -0.1}, ("gamma", "-0.1")),
        ({"rationality": 0}, ("rationality", "above 0")),
        ({"rationality": float("nan")}, ("rationality", "nan")),
        ({"reward_shrinkage": -1e-3}, ("reward_shrinkage", "-0.001", "at least 0")),
        ({"chi_square_scale": 0.0}, ("chi_square_scale",)),
        ({"weight_average": 1.0}, ("weight_average", "below 1")),
        ({"updates_per_step": 0}, ("updates_per_step",)),
        ({"rollout_staleness": 2}, ("rollout_staleness", "2", "0, 1, auto")),
        ({"rollout_staleness": True}, ("rollout_staleness", "True")),
        ({"reward_gauge": "sparce"}, ("reward_gauge", "'sparse'")),
        ({"reward_inputs": "states"}, ("reward_inputs", "'state'")),
        ({"reward_network": "entity"}, ("reward_network", "entity_additive")),
        ({"reward_gauge_strength": -1}, ("reward_gauge_strength", "-1")),
        ({"expert_batch_size": 0}, ("expert_batch_size", "at least 1")),
        ({"expert_batch_size": 12.5}, ("expert_batch_size", "12.5")),
        ({"marginal_samples": 0}, ("marginal_samples",)),
        ({"rollout_share": 1.5}, ("rollout_share", "1.5", "at most 1")),
        ({"rollout_share": 0.5, "value_term": "expert"}, ("rollout_share", "'expert'", "rollout+expert")),
        ({"rollout_share": 0.5, "mode": "offline"}, ("rollout_share", "no rollouts")),
        ({"reward_hiddens": []}, ("reward_hiddens",)),
        ({"critic": "mean_field", "marginal_samples": 5}, ("marginal_samples is 5", "mean_field")),
        ({"critic": "joined"}, ("critic", "'joint'")),
        ({"value_term": "rollouts"}, ("value_term", "'rollout'")),
        ({"chi_square_states": "all"}, ("chi_square_states", "expert, mixture")),
        ({"mode": "off"}, ("mode", "'offline'")),
        ({"mode": "offline", "value_term": "rollout"}, ("value_term", "offline", "'expert'")),
        ({"parameter_sharing": "some"}, ("parameter_sharing",)),
        ({"parameter_sharing": {"g": ["agent_7"]}}, ("agent_7", "agent_0")),
        ({"expert_in_memory": "maybe"}, ("expert_in_memory", "auto")),
        ({"lr": -1.0}, ("lr", "-1.0")),
        ({"stack_networks": "yes"}, ("stack_networks", "'yes'", "'auto'")),
        ({"stack_networks": 1}, ("stack_networks", "1", "'auto'")),
        ({"autocast": "float16"}, ("autocast", "'float16'", "none, bfloat16")),
        ({"autocast": None}, ("autocast", "None")),
        ({"grad_clip_by": "value"}, ("grad_clip_by", "'value'", "global_norm")),
    ],
)
def test_impossible_settings_say_what_was_found_and_what_is_allowed(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as error:
        config(**settings).validate()
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_evaluation_rationality_is_an_evaluation_setting_as_rllib_takes_its_name_to_be() -> None:
    made = config()
    made.update_from_dict({"evaluation_rationality": 4.5, "evaluation_interval": 3})
    assert made.evaluation_rationality == 4.5 and made.evaluation_interval == 3
    with pytest.raises(ConfigError, match="evaluation_rationality is -1"):
        config().evaluation(evaluation_rationality=-1).validate()


def test_missing_parts() -> None:
    with pytest.raises(ConfigError, match="input_ is not set"):
        MAMQLConfig().environment(TOY).validate()
    with pytest.raises(ConfigError, match="env is not set"):
        MAMQLConfig().offline_data(input_="x").validate()


@pytest.mark.parametrize("name", ["env_to_module_connector", "module_to_env_connector"])
def test_connectors_are_refused_rather_than_ignored(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        config().env_runners(**{name: lambda *args, **kwargs: []}).validate()


def test_learner_connectors_are_refused_rather_than_ignored() -> None:
    made = config(learner_connector=lambda *args: [])
    with pytest.raises(ConfigError, match="learner_connector"):
        made.validate()


def test_offline_needs_no_value_term() -> None:
    made = config(mode="offline")
    made.validate()
    assert made.value_term == "expert" and not made.uses_rollouts


def test_sharing() -> None:
    agents = ["a", "b", "c"]
    assert modules_of(agents, "none") == {"a": "a", "b": "b", "c": "c"}
    assert set(modules_of(agents, "all").values()) == {"shared"}
    assert modules_of(agents, {"pair": ["a", "c"]}) == {"a": "pair", "b": "b", "c": "pair"}
    with pytest.raises(ConfigError, match="twice"):
        modules_of(agents, {"x": ["a"], "y": ["a"]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"torch_compile_worker": True}, ("torch_compile_worker", "leave it false")),
        ({"torch_skip_nan_gradients": True}, ("torch_skip_nan_gradients", "leave it false")),
        (
            {"torch_compile_learner": True, "torch_compile_learner_what_to_compile": "complete_update"},
            ("torch_compile_learner_what_to_compile", "'complete_update'", "forward_train"),
        ),
        (
            {"torch_compile_learner": True, "torch_compile_learner_dynamo_backend": "inducter"},
            ("torch_compile_learner_dynamo_backend", "'inductor'"),
        ),
    ],
)
def test_what_is_not_compiled_is_refused_rather_than_ignored(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    made = config()
    made.framework(**settings)
    with pytest.raises(ConfigError) as error:
        made.validate()
    for word in words:
        assert word in str(error.value)


def test_compiling_as_rllib_names_it_is_accepted() -> None:
    made = config()
    made.framework(torch_compile_learner=True)
    made.validate()


def test_a_hint_fits_on_a_screen() -> None:
    many = [f"setting_{k}" for k in range(200)]
    assert nearest("setting_7", many) == "did you mean 'setting_7'?"
    assert nearest("chi", many) == "nothing known is near it"
    assert nearest("chi", ["one", "two"]) == "known: one, two"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"policies_to_train": ["agent_0"]}, "all modules learn"),
        ({"num_epochs": 3}, "updates_per_step online"),
        ({"minibatch_size": 64}, "expert_batch_size"),
        ({"train_batch_size_per_learner": 64}, "train_batch_size_per_learner is 64"),
        ({"clip_rewards": True}, "environment's rewards"),
        ({"observation_filter": "MeanStdFilter"}, "wrap the environment"),
        ({"shuffle_batch_per_epoch": True}, "at random always"),
        ({"compress_observations": True}, "stay in columns"),
        ({"batch_mode": "complete_episodes"}, "self-contained"),
        ({"count_steps_by": "agent_steps"}, "joint steps"),
        ({"output": "somewhere"}, "rllib record"),
        ({"shuffle_buffer_size": 100}, "at random always"),
        ({"materialize_data": True}, "use expert_in_memory"),
        ({"offline_evaluation_interval": 1}, "use evaluation_interval"),
        ({"enable_rl_module_and_learner": False}, "new API stack"),
        ({"env_runner_cls": EnvRunner}, "env_runner_cls is EnvRunner.*learning.env_runner.ColumnarEnvRunner"),
        ({"_learner_class": Learner}, "learner_class is Learner.*mamql.learner.MAMQLLearner"),
        ({"offline_data_class": OfflineData}, "offline_data_class is OfflineData.*JointOfflineData"),
        ({"_rl_module_spec": RLModuleSpec(RLModule)}, "module_class is RLModule.*mamql.module.MAMQLModule"),
        ({"algorithm_config_overrides_per_module": {"agent_0": {"gamma": 0.5}}}, "'gamma' of module 'agent_0'"),
        ({"policy_mapping_fn": lambda agent, episode: "agent_0"}, "maps 'agent_1' to 'agent_0'.*says 'agent_1'"),
        ({"policy_mapping_fn": lambda agent: agent}, "policy_mapping_fn fails at agent 'agent_0'"),
        ({"policies": {"a": None}}, "parameter_sharing"),
        ({"_model_config": {"head_fcnet_hiddens": [8]}}, "one linear head"),
        ({"_model_config": {"vf_share_layers": False}}, "no value network"),
        ({"_model_config": {"free_log_std": True}}, "continuous actions"),
        ({"_model_config": {"use_lstm": True}}, "set history: k"),
        ({"_model_config": {"use_attention": True}}, "set history: k"),
        ({"_model_config": {"history": -1}}, "history is -1"),
        ({"_model_config": {"history": 2, "history_encoder": "lstm"}}, "one of stack, gru, attention"),
        ({"_model_config": {"history_encoder": "gru"}}, "no history to read"),
        ({"_model_config": {"history": 2}, "expert_in_memory": False}, "which a stream does not hold"),
        ({"_model_config": {"conv_filters": [[4, 3, 1]]}}, r"no images.*\(8,\)"),
        ({"_model_config": {"fcnet_activation": "rellu"}}, "did you mean 'relu'"),
        ({"_model_config": {"fcnet_hiddens": []}}, r"fcnet_hiddens is \[\]: give a list"),
        ({"_model_config": {"fcnet_hiddens": "big"}}, "fcnet_hiddens is 'big'"),
        ({"_model_config": {"fcnet_hiddens": [8, 0]}}, r"fcnet_hiddens is \[8, 0\]"),
        ({"_model_config": {"fcnet_kernel_initializer": "no_such_"}}, "no network of module 'agent_0' can be built"),
    ],
)
def test_what_would_change_nothing_or_build_nothing_is_refused(settings: dict[str, Any], says: str) -> None:
    made = config()
    for name, value in settings.items():
        setattr(made, name, value)
    with pytest.raises(ConfigError, match=says):
        made.validate()


def test_modules_may_follow_from_another_sharing_than_before() -> None:
    made = config()
    made.validate()
    made.training(parameter_sharing="all").validate()
    assert list(made.policies) == ["shared"]
    made.training(parameter_sharing={"one": ["agent_0"], "two": ["agent_1"]}).validate()
    made.training(parameter_sharing={"one": ["agent_1"], "two": ["agent_0"]}).validate()
    assert [made.policy_mapping_fn(agent, None) for agent in ("agent_0", "agent_1")] == ["two", "one"]


def test_policies_and_a_mapping_that_say_what_follows_are_taken() -> None:
    made = config()
    made.multi_agent(policies={"agent_0", "agent_1"}).validate()
    assert made.policy_mapping_fn("agent_1", None) == "agent_1"
    made.multi_agent(policy_mapping_fn=lambda agent, episode: agent).validate()
    made.rl_module(algorithm_config_overrides_per_module={"agent_0": {"lr": 0.01}}).validate()
    assert made.get_config_for_module("agent_0").lr == 0.01

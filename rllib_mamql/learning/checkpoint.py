"""What a checkpoint holds beside RLlib's own files: all that acting, scoring and going on need, without a pickle.

==================  ===================================================================================
``mamql.json``      environment, agents, modules and their settings, the dataset's metadata
``networks.npz``    weights, one array each, named ``<module>/<parameter>``
``data_<rank>.npz`` replay buffer and random state of one learner
==================  ===================================================================================
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from rllib_mamql.data.checksums import renew_checksum
from rllib_mamql.data.history import remembering
from rllib_mamql.data.places import located
from rllib_mamql.data.schema import AgentSpaces, DatasetMetadata
from rllib_mamql.data.untrusted import StoredArrays, parse_json
from rllib_mamql.environments.trust import out_of_a_file
from rllib_mamql.errors import UserError, one_line
from rllib_mamql.networks.history import check_history, history_steps
from rllib_mamql.networks.module import EVALUATION_RATIONALITY, RATIONALITY

FORMAT_VERSION = 1
DOCUMENT = "mamql.json"
NETWORKS = "networks.npz"
TRAINING_ITERATION = "training_iteration"
"""Key of the document: after which iteration the checkpoint was written."""
LARGEST_SETTING = 4096
"""Up to here a number in the networks' settings need not be the size of any array."""
FIRST_ALGORITHM = "MAMQL"
"""What wrote documents that name no algorithm."""


DAMAGE = (
    KeyError, ValueError, TypeError, AttributeError, IndexError, OSError, EOFError, StopIteration, RuntimeError,
    AssertionError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What json, zipfile, numpy, Gymnasium and torch raise at documents and arrays that are not as they were written."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete or of another format."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back: enough to build the environment and the modules.

    Attributes:
        path: Its folder.
        algorithm: Name of the algorithm that wrote it.
        env: Name of the environment.
        env_config: Keywords of the environment.
        module_of: ``{agent: module}``, agents in order.
        modules: RLModules by id, ready to act (``BoltzmannModule``).
        metadata: The expert dataset's metadata.
        settings: The algorithm's own settings, as written.
        potentials: Of rewards in a gauge, by module, where there are any; see ``reward_store``.
    """

    path: pathlib.Path
    algorithm: str
    env: str
    env_config: dict[str, Any]
    module_of: dict[str, str]
    modules: dict[str, Any]
    metadata: DatasetMetadata
    settings: dict[str, Any]
    potentials: dict[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> int:
        """How many steps back its policies see."""
        return max(history_steps(module.model_config) for module in self.modules.values())


def write_networks(
    path: pathlib.Path,
    config: Any,
    metadata: DatasetMetadata,
    model_configs: Mapping[str, Mapping[str, Any]],
    weights: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    iteration: int = 0,
) -> None:
    """Writes ``mamql.json`` and ``networks.npz`` into a checkpoint folder; ``settings`` are for its readers."""
    spaces = config.agent_spaces()
    document = {
        "format_version": FORMAT_VERSION,
        "algorithm": config.NAME,
        "env": config.env,
        "env_config": dict(config.env_config),
        "module_of": config.module_of,
        "model_configs": {module: _jsonable(dict(values)) for module, values in model_configs.items()},
        "spaces": {
            agent: AgentSpaces(observation, action).to_json() for agent, (observation, action) in spaces.items()
        },
        "dataset": json.loads(metadata.to_json()),
        "settings": dict(settings),
        TRAINING_ITERATION: iteration,
    }
    (path / DOCUMENT).write_text(json.dumps(document, indent=1))
    arrays = {
        f"{module}/{name}": np.asarray(value) for module, states in weights.items() for name, value in states.items()
    }
    _save_arrays(path / NETWORKS, arrays)


def act_at(path: pathlib.Path, multiple: float, settings: Mapping[str, Any]) -> None:
    """Makes a checkpoint's policies act at a multiple of their training rationality.

    Its document is replaced as a whole; RLlib's own part of the checkpoint, from which training goes on, stays.

    Args:
        path: The checkpoint folder.
        multiple: Of each module's training rationality, > 0.
        settings: What to add to the recorded settings.
    """
    document = json.loads((path / DOCUMENT).read_text())
    for config in document["model_configs"].values():
        config[EVALUATION_RATIONALITY] = multiple * config[RATIONALITY]
    document["settings"] |= dict(settings)
    draft = path / f".{DOCUMENT}.{os.getpid()}"
    draft.write_text(json.dumps(document, indent=1))
    os.replace(draft, path / DOCUMENT)
    renew_checksum(path, DOCUMENT)


def acting_rationality(path: pathlib.Path) -> dict[str, float]:
    """Inverse temperature at which each module of a checkpoint acts without exploration; empty without a document."""
    if not (path / DOCUMENT).is_file():
        return {}
    configs = json.loads((path / DOCUMENT).read_text())["model_configs"]
    return {module_id: float(config[EVALUATION_RATIONALITY]) for module_id, config in configs.items()}


@contextlib.contextmanager
def written_to(path: str, filesystem: Any = None) -> Iterator[pathlib.Path]:
    """A folder of this machine to write into; what it holds in the end is at the path, wherever that is.

    Args:
        path: A folder, or a URI of one (``s3://...``).
        filesystem: pyarrow's, where ``path`` is one of its paths.
    """
    filesystem, there = located(path, filesystem)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield pathlib.Path(there)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)
        pafs.copy_files(folder, there, destination_filesystem=filesystem)


@contextlib.contextmanager
def read_from(path: str, filesystem: Any = None) -> Iterator[pathlib.Path]:
    """A folder of this machine that holds what is at a path; arguments are those of :func:`written_to`."""
    filesystem, there = located(path, filesystem)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield pathlib.Path(there)
        return
    with tempfile.TemporaryDirectory() as folder:
        pafs.copy_files(there, folder, source_filesystem=filesystem)
        yield pathlib.Path(folder)


def read_checkpoint(path: str | pathlib.Path, module_class: Callable[[str], type[Any]]) -> Checkpoint:
    """Reads a checkpoint's networks and document; nothing is unpickled.

    Args:
        path: Its folder.
        module_class: Gives an algorithm's class of modules by the algorithm's name.

    Raises:
        CheckpointError: If the folder is no such checkpoint, or of a newer format.
        ConfigError: If the algorithm that wrote it is not known here, or its history is none.
    """
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    folder = pathlib.Path(path)
    if not (folder / DOCUMENT).is_file() or not (folder / NETWORKS).is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint of this package: it holds no {DOCUMENT} and {NETWORKS}; "
            "name the checkpoint folder that `rllib train` printed"
        )
    try:
        document = parse_json((folder / DOCUMENT).read_text())
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder / DOCUMENT} has format version {version}, this package reads {FORMAT_VERSION}: "
                "use the release that wrote it"
            )
        stored = StoredArrays(folder / NETWORKS)
        # Earlier files are all of the one algorithm that there was.
        algorithm = str(document.get("algorithm", FIRST_ALGORITHM))
        module_of = dict(document["module_of"])
        modules = {}
        for module_id, model_config in document["model_configs"].items():
            agent = next(agent for agent, module in module_of.items() if module == module_id)
            spaces = AgentSpaces.from_json(document["spaces"][agent], agent)
            _check_size(model_config, stored, folder / NETWORKS)
            check_history(model_config)
            spec = RLModuleSpec(
                module_class=module_class(algorithm),
                observation_space=remembering(spaces.observation, int(spaces.action.n), history_steps(model_config)),
                action_space=spaces.action,
                model_config=model_config,
            )
            module = spec.build()
            _check_weights(module, module_id, stored.shapes, folder / NETWORKS)
            prefix = f"{module_id}/"
            module.set_state(_below(prefix, stored.read(functools.partial(_begins, prefix))))
            module.eval()
            modules[module_id] = module
        out_of_a_file(document["env"] or "")
        return Checkpoint(
            path=folder,
            algorithm=algorithm,
            env=document["env"] or "",
            env_config=dict(document["env_config"]),
            module_of=module_of,
            modules=modules,
            metadata=DatasetMetadata.from_json(json.dumps(document["dataset"])),
            settings=dict(document["settings"]),
        )
    except UserError:
        raise
    except DAMAGE as error:
        raise _damaged(folder, error) from error


def _damaged(folder: pathlib.Path, error: BaseException) -> CheckpointError:
    text = one_line(error)[:300]
    return CheckpointError(f"{folder} is damaged ({type(error).__name__}: {text}): use another checkpoint of the trial")


def _check_weights(module: Any, module_id: str, shapes: Mapping[str, tuple[int, ...]], file: pathlib.Path) -> None:
    """Refuses weights that are missing, which RLlib would leave as they were drawn, or too many, or of other shapes."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = _below(f"{module_id}/", shapes)
    if wanted != found:
        odd = min(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        what = f"module {module_id!r} wants {odd!r} of shape {wanted.get(odd, 'none')}, found {found.get(odd, 'none')}"
        raise CheckpointError(f"{file} does not fit its {DOCUMENT}: {what}; use another checkpoint of the same trial")


def _check_size(model_config: Any, stored: StoredArrays, file: pathlib.Path) -> None:
    """Refuses networks with a layer wider than any array of the file: memory is taken for what is declared."""
    widest = max((size for shape in stored.shapes.values() for size in shape), default=0)
    for size in _numbers_in(model_config):
        if size > max(widest, LARGEST_SETTING):
            raise CheckpointError(
                f"{file} does not fit its {DOCUMENT}: a setting of the networks is {size}, the largest size of an "
                f"array is {widest}; use another checkpoint of the same trial"
            )


def _numbers_in(value: Any) -> Iterator[int]:
    """Whole numbers in a document, at any depth."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(item)


def write_learner_data(path: pathlib.Path, rank: int, state: Mapping[str, Any]) -> None:
    """Writes one learner's replay buffer and random state."""
    replay = state["replay"]
    arrays = {f"replay/{name}": values for name, values in replay["columns"].items()}
    arrays["replay_position"] = np.array([replay["next"], replay["size"]], dtype=np.int64)
    arrays |= {name: state[name] for name in _GENERATORS if name in state}
    arrays |= {name: np.float64(value) for name, value in state["losses"].items()}
    _save_arrays(path / f"data_{rank}.npz", arrays)


def read_learner_data(path: pathlib.Path, rank: int) -> dict[str, Any] | None:
    """Reads what :func:`write_learner_data` wrote; None if this learner wrote nothing (there were fewer)."""
    file = path / f"data_{rank}.npz"
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    position = arrays["replay_position"]
    return {
        "replay": {
            "columns": _below("replay/", arrays),
            "next": int(position[0]),
            "size": int(position[1]),
        },
        **{name: arrays[name] for name in _GENERATORS if name in arrays},
        "losses": {name: float(value) for name, value in arrays.items() if not name.startswith(_LEARNERS_OWN)},
    }


_GENERATORS = ("generator", "device_generator")
"""States of the host's random generator, and of the device's where a learner draws there."""
_LEARNERS_OWN = ("replay/", "replay_position", *_GENERATORS)
"""Names in a learner's file that are not of its losses."""


def _begins(prefix: str, name: str) -> bool:
    return name.startswith(prefix)


def _save_arrays(file: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    np.savez(file, **{name: np.asarray(values) for name, values in arrays.items()})  # type: ignore[arg-type]


def _below(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}


def _jsonable(value: Any) -> Any:
    """Tuples become lists; what JSON cannot hold (a callable initialiser) is left to the default."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value

"""YAML as people mean it: duplicate keys are refused, and 1e-3 is a number."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from rllib_mamql.errors import ConfigError, one_line

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


LARGEST_FILE = 2**20
"""Bytes of an experiment file."""
DEEPEST = 50
"""Levels of lists and mappings in each other."""
MOST_VALUES = 100_000
"""Values of an experiment file, those that aliases stand for counted each time."""


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses what PyYAML would silently take another way."""

    # PyYAML's own table is shared by all safe loaders.
    yaml_implicit_resolvers = {  # noqa: RUF012
        key: list(resolvers) for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ConfigError(f"it is nested over {DEEPEST} levels deep; write fewer levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key == "<<":
                continue
            if not isinstance(key, Hashable):
                raise ConfigError(f"line {key_node.start_mark.line + 1}: a key must be a plain word")
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: duplicate key {key!r}; remove one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 wants a dot and a signed exponent, so that PyYAML reads 1e-3 as a string.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str, where: str) -> Any:
    """Parses one YAML document.

    Args:
        text: The document.
        where: What the text is, for the error message.

    Raises:
        ConfigError: If the text is not YAML, or a mapping has a key twice.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _written_out(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (ValueError, OverflowError, AttributeError, LookupError, TypeError) as error:
        raise ConfigError(f"{where}: a value cannot be read ({one_line(error)}); put words in quotes") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or one_line(error)
        raise ConfigError(f"{where}:{line} not valid YAML ({problem})") from None


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Values of a node, those that aliases stand for counted each time.

    Args:
        node: The node.
        known: Those counted before, by id; 0 while a node is being counted.

    Raises:
        ConfigError: If there are too many, or a node holds itself.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise ConfigError(f"line {node.start_mark.line + 1}: an alias stands for what it is part of; remove it")
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_written_out(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        total += sum(_written_out(key, known) + _written_out(value, known) for key, value in node.value)
    if total > MOST_VALUES:
        raise ConfigError(
            f"line {node.start_mark.line + 1}: its aliases stand for over {MOST_VALUES:,} values; use fewer aliases"
        )
    known[id(node)] = total
    return total


def read_yaml(path: Path) -> Any:
    """Parses a YAML file; see ``parse_yaml``."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ConfigError(f"{path} has {size:,} bytes, an experiment file at most {LARGEST_FILE:,}; give another")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; give the path of a YAML experiment file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({one_line(error)})") from None
    return parse_yaml(text, str(path))


def parse_assignment(text: str, option: str) -> tuple[str, Any]:
    """Splits ``key=value``; the value is read as YAML, so that numbers, lists and null work.

    Raises:
        ConfigError: If there is no ``=`` or no key.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"{option} {text!r}: write {option} key=value")
    return key, parse_yaml(value, f"{option} {text!r}")


def parse_assignments(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Reads ``key=value`` texts into a mapping; see :func:`parse_assignment`."""
    return dict(parse_assignment(text, option) for text in texts)

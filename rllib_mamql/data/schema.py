"""The dataset's schema: what a file says about itself, and what its columns must satisfy.

Import from here; :mod:`~rllib_mamql.data.agent_spaces`, :mod:`~rllib_mamql.data.metadata` and
:mod:`~rllib_mamql.data.validation` hold the parts. None imports ray.
"""

from rllib_mamql.data.agent_spaces import AgentSpaces, spaces_from_gym
from rllib_mamql.data.metadata import (
    METADATA_KEY,
    SCHEMA_VERSION,
    DatasetMetadata,
    ReturnSummary,
    merge_metadata,
)
from rllib_mamql.data.validation import check_environment, validate_columns

__all__ = [
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "AgentSpaces",
    "DatasetMetadata",
    "ReturnSummary",
    "check_environment",
    "merge_metadata",
    "spaces_from_gym",
    "validate_columns",
]

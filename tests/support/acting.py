"""Checkpoints that act more or less decidedly than they were told to: that is settled after training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rllib_mamql.learning.checkpoint import DOCUMENT


def acting_at(rationality: float, checkpoint: str | Path, folder: Path) -> Path:
    """A copy, in the new folder ``folder``, of a checkpoint as it would be with this ``evaluation_rationality``."""
    copy = Path(shutil.copytree(checkpoint, folder))
    document = json.loads((copy / DOCUMENT).read_text())
    for config in document["model_configs"].values():
        config["evaluation_rationality"] = rationality
    (copy / DOCUMENT).write_text(json.dumps(document))
    return copy

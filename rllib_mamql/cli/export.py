"""``rllib export``: policies and rewards for use without Ray."""

from __future__ import annotations

from pathlib import Path

from rllib_mamql.cli.tools import newest_checkpoint


def export(checkpoint: Path, out: Path, onnx: bool) -> None:
    """Writes a checkpoint's policies and rewards into a folder of their own."""
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.train import quiet
    from rllib_mamql.export.write import export_checkpoint

    quiet(verbose=False)
    written = export_checkpoint(folder, out, onnx=onnx)
    names = sorted(file.name for file in written.iterdir())
    print(f"{out}: {folder} for use without Ray ({', '.join(names)})")
    print(f'read it with rllib_mamql.export.read.load("{out}")')

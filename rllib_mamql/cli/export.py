"""``rllib export``: policies and rewards for use without Ray."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.options import checkpoint_argument, out_option
from rllib_mamql.cli.paths import newest_checkpoint


@click.command()
@checkpoint_argument
@out_option
@click.option("--onnx", is_flag=True, help="Write ONNX files too; needs rllib-mamql[onnx].")
def export(checkpoint: Path, out: Path, onnx: bool) -> None:
    """Write policies and recovered rewards for use without Ray."""
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.session import quiet
    from rllib_mamql.export.write import export_checkpoint

    quiet(verbose=False)
    written = export_checkpoint(folder, out, onnx=onnx)
    names = sorted(file.name for file in written.iterdir())
    print(f"{out}: {folder} for use without Ray ({', '.join(names)})")
    print(f'read it with rllib_mamql.export.read.load("{out}")')

"""``rllib export``: policies and rewards for use without Ray."""

from __future__ import annotations

from pathlib import Path

import click

from rllib_mamql.cli.messages import next_step
from rllib_mamql.cli.options import checkpoint_argument, out_option
from rllib_mamql.cli.paths import newest_checkpoint, shown
from rllib_mamql.cli.working import working


@click.command()
@checkpoint_argument
@out_option
@click.option("--onnx", is_flag=True, help="Write ONNX files too; needs rllib-mamql[onnx].")
def export(checkpoint: str | Path, out: Path, onnx: bool) -> None:
    """Write policies and recovered rewards for use without Ray."""
    folder = newest_checkpoint(checkpoint)
    from rllib_mamql.cli.session import quiet
    from rllib_mamql.export.write import export_checkpoint

    quiet(verbose=False)
    with working(f"exporting {shown(folder)}"):
        written = export_checkpoint(folder, out, onnx=onnx)
    names = sorted(file.name for file in written.iterdir())
    print(f"{out}: {shown(folder)} for use without Ray ({', '.join(names)})")
    next_step(f"""python -c 'from rllib_mamql.export.read import load; print(load("{out}").policies)'""", "reads it")

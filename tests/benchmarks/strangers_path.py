"""A stranger's path, timed: the complete example of docs/your_environment.md, from its files to explained policies.

Writes the page's environment, demonstrations and experiment file into an empty folder, and runs the page's commands
there as they stand, each in a process of its own. ::

    python tests/benchmarks/strangers_path.py --out docs/results/strangers_path.json
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your_environment.md"
COMMANDS = (
    "python meeting_play.py",
    "rllib inspect meeting_data",
    "rllib train --file meeting.yaml",
    "rllib evaluate results/meeting-mamql --episodes 20",
    "rllib recover results/meeting-mamql",
    "rllib reward results/meeting-mamql --data meeting_data",
)
"""The page's, but for PPO, which is the other way to demonstrations."""
OURS = ("rllib_mamql", "DemonstrationWriter", "writer.")
"""What tells a line of the demonstrations' script that is about this package; of the experiment file every line is."""


def blocks(language: str, *words: str) -> str:
    """The page's only block in a language that holds all words."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    (block,) = [text for text in found if all(word in text for word in words)]
    return block


def commands() -> list[str]:
    """The page's commands that count, in its order; all of them must be there."""
    lines = {line.split("  #")[0].strip() for text in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.S | re.M)
             for line in text.splitlines()}  # fmt: skip
    missing = set(COMMANDS) - lines
    assert not missing, f"the page no longer has {missing}"
    return list(COMMANDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    files = {
        "meeting.py": blocks("python", "class Meeting("),
        "meeting_play.py": blocks("python", "from meeting import", "DemonstrationWriter"),
        "meeting.yaml": blocks("yaml", "meeting-mamql"),
    }
    ours = [line for line in files["meeting_play.py"].splitlines() if any(word in line for word in OURS)]
    ours += files["meeting.yaml"].splitlines()
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (pathlib.Path(folder) / name).write_text(text)
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        for command in commands():
            words = command.split()
            program = [sys.executable, "-m", "rllib_mamql"] if words[0] == "rllib" else [sys.executable]
            begun = time.monotonic()
            print(f"$ {command}", flush=True)
            subprocess.run([*program, *words[1:]], cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True)
            taken[command] = round(time.monotonic() - begun, 1)
    found = {
        "environment_lines": len(files["meeting.py"].splitlines()),
        "lines_about_this_package": len(ours),
        "seconds": taken,
        "minutes": round(sum(taken.values()) / 60, 1),
    }
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

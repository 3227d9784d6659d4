"""What stands on a terminal after a program has written to it, and recordings that tests compare with."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"

CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")

MASKS = (
    (r"(?<![\w/])/(?:[\w.+-]+/)+[\w.+-]+", "PATH"),
    (r"\btrial_[0-9a-f]{5}_", "trial_XXXXX_"),
    (r"\b\d+:\d\d(?::\d\d)?\b", "0:00"),
    (r"\(\d+ s\)", "(0 s)"),
)
"""Paths, random names and times."""


def run_in_terminal(words: list[str], columns: int, folder: Path, **environ: str) -> tuple[int, str]:
    """Runs a command on a terminal of its own; gives its status and all that it wrote."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    environment = {**plain, "TERM": "xterm", **environ}
    process = subprocess.Popen(words, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its, close_fds=True)
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # Linux says so that the other end is closed.
        pass
    os.close(ours)
    return process.wait(timeout=60), written.decode()


def screen(written: str) -> str:
    """The lines that stand on a terminal in the end: progress bars go up again and erase lines."""
    lines, row, column, at = [""], 0, 0, 0
    while at < len(written):
        control = CONTROL.match(written, at)
        if control:
            count = int(control[1]) if control[1].isdigit() else 1
            if control[2] == "A":
                row = max(0, row - count)
            elif control[2] == "K":
                lines[row] = "" if control[1] == "2" else lines[row][:column]
            at = control.end()
            continue
        letter = written[at]
        at += 1
        if letter == "\r":
            column = 0
        elif letter == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + letter + lines[row][column + 1 :]
            column += 1
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def masked(text: str, *more: tuple[str, str]) -> str:
    """A text without what differs from run to run."""
    for pattern, put in (*more, *MASKS):
        text = re.sub(pattern, put, text)
    return text


def without_numbers(text: str) -> str:
    """A masked text of a real run: left out is what follows from its numbers, column widths and warnings too."""
    text = masked(
        text,
        (r"trial_[0-9a-f]{5}_\d+", "TRIAL"),
        (r"(?<![\w.])-?\d[\d,]*(\.\d+)?\b", "#"),
        ("[\u2800-\u28ff]", "*"),
        ("[━╺╸]+", "━"),
        ("─+", "─"),
        (r"(?<=\S) +", " "),
        (r"(?m)^ +", " "),
        (r"(?m) +$", ""),
    )
    text = re.sub(r"(?m)^note: .*\n", "", text)
    text = re.sub(r"(?m)^warning: .*\n(?:(?!What ).*\n)*", "", text)
    return re.sub(r"chosen: .*", "chosen: ...", text)


def check_recording(name: str, text: str) -> None:
    """Compares with a recording in ``tests/golden``; with the environment variable RECORD set, writes it anew."""
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("RECORD"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file} says otherwise; RECORD=1 writes it anew"

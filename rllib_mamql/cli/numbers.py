"""How numbers are written for people."""

from __future__ import annotations


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table, ``-`` where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(mean: float | None, ci95: tuple[float, float] | None) -> str:
    """A mean with its 95% interval, ``12.30 [11.90, 12.70]``."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" if ci95 is None else f"{mean:.2f} [{ci95[0]:.2f}, {ci95[1]:.2f}]"


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

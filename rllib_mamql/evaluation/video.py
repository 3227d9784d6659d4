"""Films an episode."""

from __future__ import annotations

import pathlib

import imageio.v3 as imageio
import numpy as np

from rllib_mamql.errors import ConfigError
from rllib_mamql.learning.checkpoint import Checkpoint
from rllib_mamql.play.actors import checkpoint_actor
from rllib_mamql.play.named import single_rollout

FRAMES_PER_SECOND = 8


def film(stored: Checkpoint, file: pathlib.Path, *, seed: int, greedy: bool = False, frames: int = 400) -> None:
    """Films one episode of a checkpoint's policies.

    Args:
        stored: The checkpoint.
        file: ``.gif`` or ``.mp4``; ``.png`` gets six frames of the episode side by side.
        seed: Seed of environment and actions.
        greedy: Most likely actions instead of sampled ones.
        frames: Longest film, in frames.

    Raises:
        ConfigError: If the environment cannot render.
    """
    rollout = single_rollout(stored, 1, seed, render_mode="rgb_array")
    images: list[np.ndarray] = []

    def shoot(ended: object = None) -> None:
        if len(images) < frames:
            image = rollout.envs[0].render()
            if image is None:
                raise ConfigError(f"environment {stored.env!r} renders no rgb_array: leave out --video")
            images.append(np.asarray(image, dtype=np.uint8))

    try:
        rollout.run(
            checkpoint_actor(stored, seed, greedy=greedy),
            num_episodes=1,
            keep=False,
            after_step=shoot,
        )
    finally:
        rollout.close()
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".png":
        picks = [images[i] for i in np.linspace(0, len(images) - 1, 6).astype(int)]
        rows = [np.concatenate(picks[:3], axis=1), np.concatenate(picks[3:], axis=1)]
        imageio.imwrite(file, np.concatenate(rows))
    elif file.suffix == ".gif":
        imageio.imwrite(file, np.stack(images), duration=1000 / FRAMES_PER_SECOND, loop=0)
    else:
        imageio.imwrite(file, _even(np.stack(images)), fps=FRAMES_PER_SECOND, codec="libx264")


def _even(images: np.ndarray) -> np.ndarray:
    """The video codec wants even sizes."""
    height, width = images.shape[1:3]
    return np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")

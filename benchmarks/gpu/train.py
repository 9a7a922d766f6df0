"""Train on a packed set for so many seconds, and keep what was learnt at every minute.

    python train.py SET.tar.bz2 START OUT --seconds 400 --config TRAINING.toml

SET is what training_set.py packed, START the weights to begin with.  OUT gets the weights, their
card and curve at the end, and before it the running mean of the weights at every minute.  The
state from which a killed training goes on lies there too, in training.checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN = time.monotonic()
LAST_SECONDS = 12.0  # for the last validation and the files


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--config", type=Path, required=True, help="settings of `supervised`")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        train(unpacked(options.set, Path(folder)), options)
    return 0


def train(files: Sequence[Path], options: argparse.Namespace) -> None:
    """Train and write what was learnt."""
    from bids_sr.sr.contract.weights import Weights
    from bids_sr.sr.recipes.base import make_recipe
    from bids_sr.sr.recipes.registry import RECIPES

    checkpoint = options.out / "training.checkpoint"
    settings = tomllib.loads(options.config.read_text(encoding="utf-8"))
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
    }
    spent = time.monotonic() - BEGIN + preparation_seconds(files)
    settings["time_budget"] = max(options.seconds - spent - LAST_SECONDS, 1.0)
    recipe = make_recipe(RECIPES, "supervised", settings)
    keeper = Keeper(checkpoint, options.out / "mean.safetensors")
    weights = recipe.train(
        files,
        start=Weights.load(options.start),
        checkpoint=checkpoint,
        progress=keeper.take_note,
    )
    weights.save(options.out / "weights.safetensors")
    text = json.dumps(weights.card.to_dict(), indent=1)
    (options.out / "card.json").write_text(text + "\n", encoding="utf-8")
    keeper.path.unlink(missing_ok=True)
    for point in weights.card.curve.to_rows():
        print(json.dumps(point))
    print(f"{weights.card.steps} steps, {weights.card.stop_reason}", flush=True)
    print(json.dumps(dict(weights.card.validation), indent=1), flush=True)


def unpacked(archive: Path, folder: Path) -> list[Path]:
    """Unpack the images."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    files = sorted(folder.glob("*.nii"))
    print(f"{len(files)} images after {time.monotonic() - BEGIN:.1f} s", flush=True)
    return files


def preparation_seconds(files: Sequence[Path]) -> float:
    """Estimate how long it takes to look for where there is much to learn."""
    return sum(file.stat().st_size for file in files) / 10e6


class Keeper:
    """Show how far the training is, and keep its running mean whenever it saves its state."""

    def __init__(self, checkpoint: Path, path: Path) -> None:
        self.checkpoint, self.path = checkpoint, path
        self.seen, self.said = 0.0, 0.0

    def take_note(self, step: int, total: int, message: str) -> None:
        """Take note of a step."""
        now = time.monotonic()
        if now - self.said < 5:
            return
        self.said = now
        print(f"step {step}, {now - BEGIN:.0f} s, {message}", flush=True)
        if self.checkpoint.exists() and self.checkpoint.stat().st_mtime > self.seen:
            self.seen = self.checkpoint.stat().st_mtime
            self.keep()

    def keep(self) -> None:
        """Write the running mean, for a machine that is taken away."""
        import torch
        from safetensors.torch import save_file

        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        tensors = {name: part.contiguous() for name, part in state["averaged"].items()}
        unfinished = self.path.with_name(f".{self.path.name}")
        save_file(tensors, unfinished)
        unfinished.replace(self.path)


if __name__ == "__main__":
    sys.exit(main())

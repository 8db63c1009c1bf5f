"""Where the time of a training step goes: what is spent on pictures, and what on the network.

    python benchmarks/train_step.py --recipe train/recipes/fusion_compact.yaml --train_data_dir photos/

Takes the trainer's own flags (and --steps N) and trains on the recipe's first pictures. Two measures:
- parts: the time to fetch a batch and to make views, Lab and hints of it, beside that of forward and backward and
  that of the optimizer, each waited for;
- throughput: images/s of whole steps, beside the same step on one batch that is there already.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import argparse  # noqa: E402
import itertools  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402

import torch  # noqa: E402

from colorizer.errors import ColorizerError  # noqa: E402
from train.recipe import parse_recipe  # noqa: E402
from train.runs import run_script  # noqa: E402
from train.train import Training  # noqa: E402

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=20)
    arguments, flags = parser.parse_known_args()
    if arguments.steps < 1:
        raise ColorizerError(f"--steps must be 1 or more, not {arguments.steps}.")
    with tempfile.TemporaryDirectory() as folder:
        recipe = parse_recipe([*flags, "--output_dir", folder, "--report_to", "none"], description=__doc__)
        training = Training(recipe)
        training.say_what_runs()
        training.trainee.train()
        resolution = max(recipe.resolutions.values())
        measure_parts(training, arguments.steps, resolution)
        measure_throughput(training, arguments.steps, resolution)


def measure_parts(training: Training, steps: int, resolution: int) -> None:
    """Prints the mean seconds of a step's parts."""
    seconds = {"batch": 0.0, "views, Lab, hints": 0.0, "forward, backward": 0.0, "optimizer, average": 0.0}
    batches = training.batches()
    for step in range(WARM_UP + steps):
        times = [now()]
        batch = next(batches)
        times.append(now())
        inputs = training.see(*batch, resolution)
        times.append(now())
        training.learn(inputs, 1, None)
        times.append(now())
        training.update(None)
        times.append(now())
        if step >= WARM_UP:
            for name, (start, end) in zip(seconds, itertools.pairwise(times), strict=True):
                seconds[name] += (end - start) / steps
    whole = sum(seconds.values())
    print(f"\n| part of a step at {resolution} pixels, batch {training.recipe.train_batch_size} | seconds | share |")
    print("|---|---:|---:|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.4f} | {value / whole:.1%} |")


def measure_throughput(training: Training, steps: int, resolution: int) -> None:
    """Prints images/s of whole steps and of the same steps on one batch that stays where it is."""
    batches = training.batches()
    fixed = training.see(*next(batches), resolution)

    def run(inputs) -> float:
        for _ in range(WARM_UP):
            training.learn(inputs(), 1, None), training.update(None)
        start = now()
        for _ in range(steps):
            training.learn(inputs(), 1, None), training.update(None)
        return steps * training.recipe.train_batch_size / (now() - start)

    real, synthetic = run(lambda: training.see(*next(batches), resolution)), run(lambda: fixed)
    print(f"\n{real:.1f} images/s with pictures, {synthetic:.1f} without: {real / synthetic:.3f} of it")


def now() -> float:
    """Seconds, when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    run_script("train_step.py", main)

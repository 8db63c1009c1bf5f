"""A recipe: everything that makes a training run, from one YAML file and flags of the same names."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import yaml

from colorizer.errors import ColorizerError


@dataclasses.dataclass
class Recipe:
    """The keys of a recipe, and their defaults. They are named as in diffusers' examples where those have the same."""

    model: dict[str, Any]  # name: a registered architecture; the rest are its constructor's arguments
    train_data_dir: list[str]  # folders of pictures, or of tar files of pictures
    output_dir: str = "runs/run"
    validation_share: float = 0.02  # of the pictures, never trained on
    short_side: int = 192  # pictures are kept in memory with at most this short side, in pixels
    resolutions: dict[float, int] = dataclasses.field(default_factory=lambda: {0.0: 128})  # from this share of the run
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)  # the dials written to config.json

    rebalancing_mix: float = 0.5  # of the uniform distribution into the prior; 1: none
    label_loss: float = 0.0  # weight of the embedder's class loss (Iizuka et al. 2016)
    hint_share: float = 0.0  # of the views that carry simulated hints (Zhang et al. 2017)

    train_batch_size: int = 48  # per process
    max_train_steps: int = 1000
    max_train_minutes: float | None = None  # ends the run, and its schedule, earlier: for machines that are shared
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    lr_warmup_steps: int = 200
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    freeze_norm_from: float = 1.0  # share of the run after which batch norm keeps its statistics
    mixed_precision: str = "no"
    dataloader_num_workers: int = 0
    seed: int = 0

    save_minutes: float = 10.0  # between saves of a loadable model folder and a checkpoint
    resume_from_checkpoint: str | None = None  # "latest" or a folder


def parse_recipe(arguments: list[str] | None = None, description: str | None = None) -> Recipe:
    """The recipe that the command line names, with its flags laid over it. ColorizerError for what it cannot be."""
    fields = dataclasses.fields(Recipe)
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", help="a YAML file, such as train/recipes/fusion_compact.yaml")
    for field in fields:
        several = {"nargs": "+"} if field.name == "train_data_dir" else {}
        parser.add_argument(f"--{field.name}", help=f"overrides the recipe's ({field.type})", **several)
    flags = vars(parser.parse_args(arguments))

    values = _read(flags.pop("recipe"))
    for name, text in flags.items():
        if text is not None:
            values[name] = text if isinstance(text, list) else yaml.safe_load(text)
    known = {field.name for field in fields}
    if unknown := sorted(set(values) - known):
        raise ColorizerError(f"The recipe has no key {unknown[0]!r}; its keys are {', '.join(sorted(known))}.")
    for field in fields:
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ColorizerError(f"The recipe needs {field.name!r}: put it into the file, or give --{field.name}.")
    recipe = Recipe(**values)
    _check(recipe)
    return recipe


def _read(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ColorizerError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ColorizerError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise ColorizerError(f"The recipe {path} must be a list of `key: value` lines.")
    return values


def _check(recipe: Recipe) -> None:
    """Refuses values of the wrong kind before anything starts."""
    kinds = {"int": int, "float": (int, float), "str": str, "dict[str, Any]": dict, "dict[float, int]": dict}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        kind = kinds.get(field.type.removesuffix(" | None"))
        if kind and not (value is None and field.type.endswith("None")) and not isinstance(value, kind):
            raise ColorizerError(f"The recipe's {field.name} must be of type {field.type}, not {value!r}.")
    if isinstance(recipe.train_data_dir, str):
        recipe.train_data_dir = [recipe.train_data_dir]
    if "name" not in recipe.model:
        raise ColorizerError("The recipe's model needs a name, such as `model: {name: fusion}`.")
    if recipe.mixed_precision not in ("no", "fp16", "bf16"):
        raise ColorizerError(f"mixed_precision must be no, fp16 or bf16, not {recipe.mixed_precision!r}.")
    if min(recipe.resolutions, default=1) != 0:
        raise ColorizerError("resolutions must map shares of the run to pixels, beginning with 0, as in {0: 128}.")

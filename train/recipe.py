"""A recipe: everything that makes a training run, from one YAML file and flags of the same names."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from pathlib import Path
from typing import Any

import yaml

from colorizer.errors import ColorizerError
from train.sources import DatasetSpec

COLOR_OBJECTIVES = ("mse", "l1", "smooth_l1", "rebalanced_cross_entropy")
OBJECTIVES = (*COLOR_OBJECTIVES, "chroma", "perceptual", "colorfulness", "labels", "adversarial")


@dataclasses.dataclass
class Recipe:
    """The keys of a recipe, and their defaults. They are named as in diffusers' examples where those have the same."""

    # The model
    model: dict[str, Any] | None = None  # name: a registered architecture; the rest are its constructor's arguments
    pretrained_model_name_or_path: str | None = None  # start from these weights: a bundled name, a folder, a Hub id
    embedder_weights: str = "none"  # pretrained (timm's), none, or the path of a safetensors file or a model's folder
    freeze_embedder: bool = False  # keep the embedder as it is, in eval mode
    freeze_second_embedder: bool = False  # the same of the second one (train/grow.py)
    second_embedder_stages: int | None = None  # so many of its last stages learn; the rest and the statistics stay
    second_embedder_rate: float = 1.0  # the second embedder's learning rate, as a share of the others'
    learning_parts: list[str] = dataclasses.field(default_factory=list)  # attention, say; all others stay; none: all
    embedding_dropout: float = 0.0  # share of the channels of what the embedders tell that a view does without
    cache_embeddings: bool = False  # of a frozen embedder, when nothing is augmented
    decoder_weights: str | None = None  # a model: start with its decoder (models/two_stage.py)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)  # the dials written to config.json

    # The data: one of train_data_dir, dataset_name, train_shards
    train_data_dir: list[str] = dataclasses.field(default_factory=list)  # trees of pictures, tar files, CIFAR, MNIST
    dataset_name: str | None = None  # a dataset of the Hub, a folder of parquet files, or a pattern of them
    dataset_config_name: str | None = None
    dataset_split: str = "train"
    dataset_revision: str | None = None
    image_column: str | None = None  # found by its type when left out
    label_column: str | None = None
    streaming: bool = False  # read dataset_name while training, and keep nothing of it
    train_shards: list[str] = dataclasses.field(default_factory=list)  # webdataset tar files: paths, patterns, URLs
    validation_data_dir: list[str] = dataclasses.field(default_factory=list)  # instead of a part of the training data
    validation_share: float = 0.02  # of the pictures, never trained on; 0: validate on those trained on, to overfit
    max_validation_pictures: int = 1000
    max_train_samples: int | None = None  # so many pictures of the data, drawn with the seed
    min_colorfulness: float = 15.0  # less colorful pictures (Hasler and Suesstrunk) are dropped; 0 keeps all
    min_side: int = 32  # pixels; smaller pictures are dropped
    min_class_size: int = 20  # classes of fewer pictures count as no class
    picture_size: int = 192  # pixels a side that a decoded picture is kept with
    cache: str = "ram"  # where the decoded pictures are: ram, device, or none to decode them again for every view
    dataloader_num_workers: int = 0

    # The views
    resolutions: dict[float, int] = dataclasses.field(default_factory=lambda: {0.0: 128})  # from this share of the run
    augment: bool = True  # by `augmentation`; without, the center square of each picture
    augmentation: str = "crops"  # random crops and flips; flips: those alone; shifts: moved and turned a little
    hint_share: float = 0.0  # of the views that carry simulated hints (Zhang et al. 2017)
    recolored: float = 0.0  # of the views where what the first hint tells is another color than in the picture
    aging: float = 0.0  # share of the views whose lightness is made to look like an old photograph's
    documents: float = 0.0  # share of the views that show drawn documents instead, which are to stay gray
    levels: bool = False  # stretch each view's levels where they are flat, as the pipeline does with what it colors

    # The objective
    objectives: dict[str, float] = dataclasses.field(default_factory=lambda: {"rebalanced_cross_entropy": 1.0})
    rebalancing_mix: float = 0.5  # of the uniform distribution into the prior; 1: none
    teacher: list[str] = dataclasses.field(default_factory=list)  # trained colorizers, named as models to start from
    teacher_share: float = 0.5  # of the cross-entropy's target: the mean of what the teachers predict
    perceptual_network: str = "vgg16"  # a timm architecture
    perceptual_weights: str = "pretrained"  # as embedder_weights, but none makes no sense
    adversarial_from: float = 0.8  # share of the run after which the critic comes in
    critic_warmup_steps: int = 200  # in which it learns and does not judge yet
    critic_learning_rate: float = 2e-4

    # The schedule
    train_batch_size: int = 48  # per process
    gradient_accumulation_steps: int = 1
    max_train_steps: int | None = None  # optimizer steps; goes before num_train_epochs
    num_train_epochs: float | None = None
    optimizer: str = "adamw"  # or muon, adam, rmsprop
    learning_rate: float = 2e-3
    lr_scheduler: str = "cosine"  # or constant; both after lr_warmup_steps
    lr_warmup_steps: int = 0
    weight_decay: float = 0.02
    max_grad_norm: float | None = 1.0
    ema_decay: float = 0.999  # of the averaged weights, which are what is evaluated and saved; 0: none
    freeze_norm_from: float = 1.0  # share of the run after which batch norm keeps its statistics
    seed: int = 0

    # The machine
    mixed_precision: str = "no"  # no, fp16, bf16
    channels_last: bool = True
    torch_compile: bool = False
    gradient_checkpointing: bool = False

    # The run's folder
    output_dir: str = "runs/run"
    checkpointing_steps: int | None = 500  # null, as in the next two: once an epoch
    checkpoints_total_limit: int | None = 3
    resume_from_checkpoint: str | None = None  # "latest" or a folder
    validation_steps: int | None = 500  # between validations and sample sheets
    logging_steps: int | None = 50
    report_to: str = "tensorboard"  # or wandb or none; tensorboard is left out where it is not installed
    dry_run: bool = False  # two steps of each kind, a checkpoint, and how long the run would take

    # The Hub
    push_to_hub: bool = False
    hub_model_id: str | None = None
    hub_private_repo: bool | None = None  # of a new repository; null: as the account's or organization's setting is
    push_checkpoints: bool = False  # each one as it is made, to a branch of its name
    push_samples: bool = False  # the last sample sheet: it shows people's photos

    @property
    def dataset(self) -> DatasetSpec | None:
        """The dataset that dataset_name and its companions describe."""
        if self.dataset_name is None:
            return None
        return DatasetSpec(
            name=self.dataset_name,
            config=self.dataset_config_name,
            split=self.dataset_split,
            image_column=self.image_column,
            label_column=self.label_column,
            revision=self.dataset_revision,
        )

    @property
    def changes_embedders(self) -> bool:
        """Whether a key asks for an embedder, or another part, to be trained otherwise than the rest."""
        freezes = self.freeze_embedder or self.freeze_second_embedder or self.second_embedder_stages
        return bool(freezes or self.learning_parts or self.embedding_dropout) or self.second_embedder_rate != 1

    @property
    def is_streamed(self) -> bool:
        """Whether the pictures are read while training, so that nobody knows how many there are."""
        return bool(self.train_shards) or self.streaming

    def resolution_at(self, share: float) -> int:
        """Pixels a side of the views when `share` (0..1) of the run is done."""
        return self.resolutions[max(start for start in self.resolutions if start <= share)]


POSITIVE = (
    "train_batch_size", "gradient_accumulation_steps", "picture_size", "checkpointing_steps", "validation_steps",
    "logging_steps", "learning_rate", "max_train_steps", "num_train_epochs", "checkpoints_total_limit",
    "max_train_samples", "max_validation_pictures", "max_grad_norm", "critic_learning_rate", "min_class_size",
    "second_embedder_stages", "second_embedder_rate",
)  # fmt: skip
NOT_NEGATIVE = (
    "seed", "dataloader_num_workers", "weight_decay", "lr_warmup_steps", "min_colorfulness", "min_side",
    "critic_warmup_steps",
)  # fmt: skip
SHARES = (
    "hint_share", "recolored", "aging", "documents", "validation_share", "rebalancing_mix", "teacher_share",
    "adversarial_from", "freeze_norm_from", "second_embedder_rate", "embedding_dropout",
)  # fmt: skip
FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one sentence, without the usage of all keys
        raise ColorizerError(f"{message[:1].upper()}{message[1:]}.")


def parse_recipe(arguments: list[str] | None = None, description: str | None = None) -> Recipe:
    """The recipe that the command line names, with its flags laid over it. ColorizerError for what it cannot be."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--recipe", help="a YAML file, such as train/recipes/fusion_compact.yaml")
    for name, field in FIELDS.items():
        # A flag that stands alone is true; lists take several values.
        values = {"list[str]": {"nargs": "+"}, "bool": {"nargs": "?", "const": "true"}}.get(
            field.type.removesuffix(" | None"), {}
        )
        parser.add_argument(f"--{name}", help=f"overrides the recipe's ({field.type})", **values)
    flags, unknown = parser.parse_known_args(arguments)
    flags = vars(flags)
    for word in unknown:
        name = word.partition("=")[0].removeprefix("--")
        raise _no_key(name) if word.startswith("--") else ColorizerError(f"{word!r} belongs to no flag.")

    values = read_recipe(flags.pop("recipe"))
    for name, text in flags.items():
        if text is not None:
            kind = FIELDS[name].type
            is_text = kind in ("str", "list[str]") or (kind == "str | None" and text != "null")
            values[name] = text if is_text else _parse(name, text)
    if flags["num_train_epochs"] is not None and flags["max_train_steps"] is None and values["num_train_epochs"]:
        values["max_train_steps"] = None  # the file's would go before the flag
    return make_recipe(values)


def make_recipe(values: dict[str, Any]) -> Recipe:
    """A checked recipe of these keys; ColorizerError, in one sentence, for what it cannot be."""
    for name in values:
        if name not in FIELDS:
            raise _no_key(name)
    recipe = Recipe(**{name: _coerce(name, value) for name, value in values.items()})
    _check(recipe)
    return recipe


def _no_key(name: Any) -> ColorizerError:
    close = difflib.get_close_matches(str(name), FIELDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"its keys are {', '.join(FIELDS)}."
    return ColorizerError(f"The recipe has no key {name!r}: {hint}")


def read_recipe(path: str | Path | None) -> dict[str, Any]:
    """The keys and values of a YAML file."""
    if path is None:
        return {}
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ColorizerError(f"The recipe {path} cannot be read: {getattr(error, 'strerror', error)}.") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter of a date that is none
        raise ColorizerError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise ColorizerError(f"The recipe {path} must be a list of `key: value` lines.")
    return values


def _parse(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ColorizerError(f"--{name} must be of type {FIELDS[name].type}, not {text!r}.") from None


def _coerce(name: str, value: Any) -> Any:
    """A value in the type of its key. ColorizerError where it is of another."""
    wanted = FIELDS[name].type
    kinds = wanted.split(" | ")
    kind = kinds[0].partition("[")[0]
    if value is None and "None" in kinds:
        return None
    if kind == "str" and value is False:
        return "no"  # how YAML reads a bare no
    if kind == "list" and isinstance(value, str):
        return [value]
    if kind == "float" and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except ValueError:
            pass
    fits = type(value).__name__ == kind
    if fits and kind in ("list", "dict"):  # both are of texts, but for the shares of resolutions
        fits = name == "resolutions" or all(isinstance(item, str) for item in value)
    if not fits:
        raise ColorizerError(f"The recipe's {name} must be of type {wanted}, not {value!r}.")
    return value


def _check(recipe: Recipe) -> None:
    """Refuses, in one sentence, values and combinations that cannot be, before anything starts."""

    def require(condition: Any, sentence: str) -> None:
        if not condition:
            raise ColorizerError(sentence)

    for name, choices in {
        "mixed_precision": ("no", "fp16", "bf16"),
        "cache": ("ram", "device", "none"),
        "optimizer": ("adamw", "muon", "adam", "rmsprop"),
        "augmentation": ("crops", "flips", "shifts"),
        "lr_scheduler": ("cosine", "constant"),
        "report_to": ("tensorboard", "wandb", "none"),
    }.items():
        value = getattr(recipe, name)
        require(value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    for name in POSITIVE:
        value = getattr(recipe, name)
        require(value is None or 0 < value < math.inf, f"{name} must be more than 0, and finite, not {value}.")
    for name in NOT_NEGATIVE:
        value = getattr(recipe, name)
        require(value >= 0, f"{name} must be 0 or more, not {value}.")
    require(recipe.seed < 2**32, f"seed must be less than 2 to the 32nd, not {recipe.seed}.")
    for name in SHARES:
        value = getattr(recipe, name)
        require(0 <= value <= 1, f"{name} is a share and must be from 0 to 1, not {value}.")
    require(
        recipe.rebalancing_mix > 0, "rebalancing_mix must be more than 0: without it, absent colors weigh infinitely."
    )
    require(recipe.embedding_dropout < 1, "embedding_dropout must be less than 1: all channels would be left out.")
    require(0 <= recipe.ema_decay < 1, f"ema_decay must be from 0 up to less than 1, not {recipe.ema_decay}.")

    require(
        recipe.model or recipe.pretrained_model_name_or_path,
        "The recipe needs a model, such as `model: {name: fusion}`, or pretrained_model_name_or_path.",
    )
    require(not recipe.model or "name" in recipe.model, "The recipe's model needs a name: `model: {name: fusion}`.")
    sources = [name for name in ("train_data_dir", "dataset_name", "train_shards") if getattr(recipe, name)]
    require(
        len(sources) == 1,
        f"A training reads from one of train_data_dir, dataset_name and train_shards; {len(sources)} are given.",
    )
    require(not recipe.streaming or recipe.dataset_name, "streaming belongs to dataset_name, which is not given.")
    require(recipe.max_train_steps or recipe.num_train_epochs, "The recipe needs max_train_steps or num_train_epochs.")
    if recipe.is_streamed:
        require(recipe.max_train_steps, "A stream has no end that is known: give max_train_steps.")
        require(not recipe.max_train_samples, "Nobody counts a stream's pictures: leave out max_train_samples.")
        require(not recipe.cache_embeddings, "The embeddings of a stream cannot be kept: leave out cache_embeddings.")
        require(
            recipe.validation_share or recipe.validation_data_dir,
            "A stream cannot be validated on itself: raise validation_share, or give validation_data_dir.",
        )
        for name in ("checkpointing_steps", "validation_steps", "logging_steps"):
            require(getattr(recipe, name), f"A stream has no epochs: {name} must be a number.")
    shares_to_pixels = all(
        isinstance(start, (int, float)) and 0 <= start < 1 and type(size) is int and size >= 16
        for start, size in recipe.resolutions.items()
    )
    require(
        shares_to_pixels and 0 in recipe.resolutions,
        "resolutions must map shares of the run to pixels (16 or more), beginning with 0, as in {0: 96, 0.5: 128}, "
        f"unlike {recipe.resolutions}.",
    )
    require(
        recipe.picture_size >= max(recipe.resolutions.values()),
        f"picture_size ({recipe.picture_size}) must be at least the largest of resolutions "
        f"({max(recipe.resolutions.values())}): views would be blurred.",
    )

    unknown = [name for name in recipe.objectives if name not in OBJECTIVES]
    require(not unknown, f"There is no objective {unknown and unknown[0]!r}; there are {', '.join(OBJECTIVES)}.")
    for name, weight in recipe.objectives.items():
        require(
            isinstance(weight, (int, float)) and not isinstance(weight, bool) and weight >= 0,
            f"The weight of the objective {name} must be a number from 0 up, not {weight!r}.",
        )
    require(
        (recipe.model or {}).get("name") == "classifier" or any(recipe.objectives.get(n) for n in COLOR_OBJECTIVES),
        f"The objectives need one that ties the colors to the truth: {', '.join(COLOR_OBJECTIVES)}.",
    )

    require(
        (recipe.model or {}).get("name") == "classifier"
        or not recipe.objectives.get("rebalanced_cross_entropy")
        or all(size % 4 == 0 for size in recipe.resolutions.values()),
        "rebalanced_cross_entropy needs resolutions that are multiples of 4, the pixels of a place of the prediction.",
    )
    require(
        not recipe.teacher or recipe.objectives.get("rebalanced_cross_entropy"),
        "What a teacher predicts is learned by rebalanced_cross_entropy: give that objective, or leave out teacher.",
    )

    require(
        not recipe.learning_parts or recipe.pretrained_model_name_or_path,
        "A model of which only learning_parts learn needs trained weights: give pretrained_model_name_or_path.",
    )
    require(
        not recipe.learning_parts or "embedder" in recipe.learning_parts or not recipe.objectives.get("labels"),
        "An embedder that is not among the learning_parts learns nothing from labels: leave out the objective.",
    )
    require(
        recipe.hint_share == 1 or not recipe.recolored,
        "What is recolored is told by hints alone: recolored needs a hint_share of 1.",
    )
    judges = [name for name in ("perceptual", "colorfulness", "adversarial") if recipe.objectives.get(name)]
    judges += ["teacher"] if recipe.teacher else []
    require(
        not recipe.recolored or not judges,
        "No picture has the colors of a recolored one, and no teacher knows them: leave out recolored, or "
        f"{' and '.join(judges)}.",
    )
    for name, part in (("freeze_embedder", "embedder"), ("freeze_second_embedder", "second_embedder")):
        require(
            not getattr(recipe, name) or part not in recipe.learning_parts,
            f"The {part} is among the learning_parts and stays by {name}: leave out one of the two.",
        )
    require(
        not recipe.learning_parts
        or "second_embedder" in recipe.learning_parts
        or (recipe.second_embedder_stages is None and recipe.second_embedder_rate == 1),
        "A second embedder that is not among the learning_parts learns at no rate and in no stage: name it, or leave "
        "out second_embedder_stages and second_embedder_rate.",
    )
    for name in ("freeze_second_embedder", "second_embedder_stages"):
        require(
            not getattr(recipe, name) or recipe.pretrained_model_name_or_path,
            "A second embedder that stays, wholly or in part, needs trained weights: begin with what train/grow.py "
            f"makes, by pretrained_model_name_or_path, or leave out {name}.",
        )
    if recipe.freeze_second_embedder:
        require(
            recipe.second_embedder_stages is None and recipe.second_embedder_rate == 1,
            "A second embedder that is frozen learns at no rate and in no stage: leave out freeze_second_embedder, or "
            "second_embedder_stages and second_embedder_rate.",
        )
    if recipe.freeze_embedder:
        require(
            recipe.embedder_weights != "none" or recipe.pretrained_model_name_or_path,
            "An embedder that is frozen needs trained weights: give embedder_weights, or leave out freeze_embedder.",
        )
        require(
            not recipe.objectives.get("labels"),
            "A frozen embedder learns nothing from labels: leave out the objective or freeze_embedder.",
        )
    require(
        recipe.mixed_precision != "fp16" or not recipe.objectives.get("adversarial"),
        "The adversarial objective needs the range of bf16 or no mixed precision, not fp16.",
    )
    if recipe.cache_embeddings:
        require(recipe.freeze_embedder, "cache_embeddings needs freeze_embedder: otherwise embeddings change.")
        require(not recipe.augment, "cache_embeddings needs augment: false, since an embedding belongs to one view.")
        for name in ("aging", "documents"):
            require(not getattr(recipe, name), f"cache_embeddings needs {name}: 0, since views would change.")
        require(not recipe.levels, "cache_embeddings needs levels: false, since embeddings are of views as they are.")
        require(
            len(recipe.resolutions) == 1, "cache_embeddings needs one resolution, since an embedding belongs to one."
        )
    require(
        not recipe.push_to_hub or recipe.hub_model_id, "push_to_hub needs hub_model_id, such as user/my-colorizer."
    )
    require(recipe.push_to_hub or not recipe.push_checkpoints, "push_checkpoints needs push_to_hub.")
    require(recipe.push_to_hub or not recipe.push_samples, "push_samples needs push_to_hub.")

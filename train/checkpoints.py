"""Checkpoints: complete or not there, each one a model folder as well, the oldest ones removed.

checkpoint-500/         config.json and model.safetensors: what from_pretrained loads
checkpoint-500/state/   what a run needs to go on exactly: weights, optimizer, averages, random states, the recipe
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException

from colorizer.errors import ColorizerError
from colorizer.hub import CONFIG_FILE
from colorizer.models import Colorizer
from train.recipe import Recipe, read_recipe

STATE = "state"
RUN_FILE = "run.yaml"  # the recipe, and what else must be the same to go on exactly

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a full disk reads like where it is no OSError: safetensors tells the number in its text, and torch none at all.
FULL_DISK_WORDS = [f"(os error {number})" for number in FULL_DISK] + ["unexpected pos", "failed writing", "iostream"]

# What must not change when a run goes on: the state would not fit, or would mean something else.
FIXED = (
    "model",
    "pretrained_model_name_or_path",
    "freeze_embedder",
    "freeze_second_embedder",
    "second_embedder_stages",
    "second_embedder_rate",
    "learning_parts",
    "optimizer",
    "objectives",
    "ema_decay",
)
# What may change without a word.
FREE = (
    "output_dir", "checkpointing_steps", "checkpoints_total_limit", "resume_from_checkpoint", "validation_steps",
    "logging_steps", "report_to", "dry_run", "push_to_hub", "hub_model_id", "hub_private_repo", "push_checkpoints",
    "push_samples", "cache", "embedder_weights", "decoder_weights",
)  # fmt: skip


def list_checkpoints(output: Path) -> list[Path]:
    """The complete checkpoints in a run's folder, oldest first."""
    found = [path for path in output.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=_step_of)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def find_checkpoint(wanted: str, output: Path) -> Path:
    """The folder that resume_from_checkpoint names; ColorizerError when it is none."""
    if wanted == "latest":
        if not (found := list_checkpoints(output)):
            raise ColorizerError(
                f"There is no checkpoint in {output}: leave out resume_from_checkpoint to begin anew."
            )
        return found[-1]
    folder = Path(wanted)
    if not (folder / STATE / RUN_FILE).is_file():
        raise ColorizerError(f"{wanted} is no checkpoint of this trainer: it has no {STATE}/{RUN_FILE}.")
    if folder.resolve().parent != output.resolve() and list_checkpoints(output):
        raise ColorizerError(f"{output} holds another run than {wanted}: give an output_dir that holds none.")
    return folder


def describe_run(recipe: Recipe, pictures: str, processes: int, teachers: list[str]) -> dict:
    """What a checkpoint says of its run: the recipe, pictures and processes, and digest_weights of the teachers."""
    return {"recipe": as_plain(recipe), "pictures": pictures, "processes": processes, "teachers": teachers}


def digest_weights(model: nn.Module) -> str:
    """The same for the same weights, wherever they are kept: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def check_same_run(folder: Path, run: dict, is_sharded: bool) -> list[str]:
    """Compares a checkpoint's run with this one (describe_run). Returns what else has changed, for people.

    Raises ColorizerError, naming the key, when the checkpoint belongs to another recipe or to other pictures.
    """
    saved = read_recipe(folder / STATE / RUN_FILE)
    # A key that there was not yet had what is now its default.
    before, now = as_plain(Recipe()) | saved["recipe"], run["recipe"]
    for key in FIXED:
        if before.get(key) != now[key]:
            raise ColorizerError(
                f"{folder} is of another recipe: its {key} is {before.get(key)!r} and this run's {now[key]!r}; to "
                f"begin a new run with its weights, give --pretrained_model_name_or_path {folder}."
            )
    if saved["pictures"] != run["pictures"]:
        # Others would be held out, and some that were trained on among them.
        raise ColorizerError(
            f"{folder} was trained on other pictures, or they were split otherwise by an earlier version "
            f"({saved['pictures']}; now {run['pictures']}): give it the same, or begin a new run with its weights by "
            f"--pretrained_model_name_or_path {folder}."
        )
    changed = [key for key in now if key not in FREE and before.get(key) != now[key]]
    told = [f"{key} {before.get(key)!r} -> {now[key]!r}" for key in changed]
    if saved["processes"] != run["processes"]:
        if 1 in (saved["processes"], run["processes"]) and not is_sharded:  # DDP gives the weights other names
            raise ColorizerError(
                f"{folder} was saved by {saved['processes']} process(es) and this run has {run['processes']}: go on "
                f"with as many, or begin a new run with its weights by --pretrained_model_name_or_path {folder}."
            )
        told.append(f"processes {saved['processes']} -> {run['processes']}")
    if before.get("teacher") == now["teacher"] and "teachers" in saved:  # another name is told by the recipe
        pairs = zip(now["teacher"], saved["teachers"], run["teachers"], strict=True)
        told += [f"the weights of the teacher {source}" for source, old, new in pairs if old != new]
    return told


def check_same_network(folder: Path, model: Colorizer) -> None:
    """Refuses a checkpoint of another network: a name that the run started from may mean other weights by now."""
    try:
        saved = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return  # what is wrong with it is told by what reads the state
    for key, value in {"model": model.name, **model.config}.items():
        if key in saved and saved[key] != value:
            raise ColorizerError(
                f"{folder} has a network with {key} {saved[key]!r} and this run's has {value!r}: what the run started "
                f"from has changed. Begin a new run with its weights by --pretrained_model_name_or_path {folder}."
            )


def set_aside_others(output: Path, folder: Path, step: int) -> list[Path]:
    """Renames a run's checkpoints that are not of the attempt that goes on from `folder`, at `step`.

    These are all from that step on. Where `folder` itself was set aside, it gets its name back, and those before it
    are renamed too: some are of the attempt that took its place. Returns their new places.
    """
    moved, others = [], {checkpoint.resolve(): checkpoint for checkpoint in list_checkpoints(output)}
    is_left = others.pop(folder.resolve(), None) is None
    for other in others.values():
        if is_left or _step_of(other) >= step:
            aside = other.with_name(f"abandoned-{other.name}")
            moved.append(other.rename(old_name(aside) if aside.exists() else aside))
    if is_left and folder.resolve().parent == output.resolve():
        folder.rename(output / f"checkpoint-{step}")
    return moved


def old_name(folder: Path) -> Path:
    """Where the folder may be put aside: <folder>.old-<number>, the first that is free."""
    places = (folder.with_name(f"{folder.name}.old-{number}") for number in itertools.count(1))
    return next(place for place in places if not place.exists())


def as_plain(recipe: Recipe) -> dict:
    """A recipe as YAML would give it back."""
    return yaml.safe_load(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))


def save_checkpoint(
    accelerator: Accelerator,
    output: Path,
    step: int,
    run: dict,
    write_model: Callable[[Path], None],
) -> tuple[str, bool] | None:
    """Writes checkpoint-<step> aside, and renames it when every process has written its part.

    `write_model` puts config.json and model.safetensors into a folder; it is called by the main process. Returns None,
    or why the checkpoint could not be written, and whether that is a full disk (most of the time): then nothing of it
    is left, and the older ones are as they were. To be called by all processes.
    """
    folder, partial = output / f"checkpoint-{step}", output / f"checkpoint-{step}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    problem = None
    try:
        partial.mkdir(exist_ok=True)
        accelerator.save_state(str(partial / STATE))
        if accelerator.is_main_process:
            write_model(partial)
            (partial / STATE / RUN_FILE).write_text(yaml.safe_dump(run, sort_keys=False))
    except (Exception, CheckpointException) as error:  # OSError, and what torch and safetensors make of one
        if isinstance(error, CheckpointException):  # of sharded weights: what went wrong in each process
            error, _ = next(iter(error.failures.values()))
        problem = _told(error)
    problems = [p for p in gather_object([problem]) if p]
    if accelerator.is_main_process:
        if problems:
            shutil.rmtree(partial, ignore_errors=True)
        else:
            replace_folder(partial, folder)
            if limit := run["recipe"]["checkpoints_total_limit"]:
                for old in list_checkpoints(output)[:-limit]:
                    shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return problems[0] if problems else None


def _told(error: BaseException) -> tuple[str, bool]:
    """What an error says, and whether the disk is full. Of one that is not of a file its kind says the half of it."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, OSError):
        return text or kind, error.errno in FULL_DISK
    if any(words in text for words in FULL_DISK_WORDS):
        return text, True
    return (f"{kind}: {text}" if text else kind), False


def replace_folder(new: Path, old: Path) -> None:
    """Puts the finished folder `new` in the place of `old`."""
    aside = old.with_name(old.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)

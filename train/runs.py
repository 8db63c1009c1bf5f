"""Trainings that belong to a table: each a run of train/train.py in a folder of its own.

What is trained is left as it is, what was begun is resumed, and what was trained by another recipe is put aside.
train/reproduce.py (the ladder) and train/arena.py (experiments) are built on this.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import yaml

from colorizer.errors import ColorizerError
from colorizer.hub import CONFIG_FILE
from colorizer.models.base import written_aside
from train.checkpoints import FREE, FULL_DISK, as_plain, list_checkpoints, old_name
from train.recipe import FIELDS, Recipe, make_recipe, read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "train/recipes"
RUN_FILE = "row.json"  # in a run's folder: what it is trained with

# ------------------------------------------------------------------------------------------------------------- files


def check_writable(folder: Path) -> None:
    """Refuses an output folder that could not be made or written to, before hours are spent."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.exists(place))
    try:
        tempfile.TemporaryFile(dir=there).close()  # what os.access says of root and of /proc is not so
    except OSError:
        raise ColorizerError(f"output_dir {folder} cannot be written to: {there} is no folder that can.") from None


def model_folder(output_dir: str) -> Path:
    """The folder that a script will write a model to. ColorizerError if it holds one, or could not be written to."""
    folder = Path(output_dir)
    if (folder / CONFIG_FILE).exists():
        raise ColorizerError(f"--output_dir: {folder} holds a model already; name another folder.")
    check_writable(folder)
    return folder


def make_folder(folder: Path) -> None:
    """Makes an output folder, unless it is there. ColorizerError where that cannot be, or nothing can be written."""
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ColorizerError(f"The folder {folder} cannot be made: {error.strerror}.") from None


def check_joined(processes: int) -> None:
    """Refuses processes that were started together and do not find each other: each would do the whole work alone."""
    if processes < int(os.environ.get("WORLD_SIZE", 1)):
        raise ColorizerError(
            "The processes cannot talk to each other; on the CPU, start them with ACCELERATE_USE_CPU=true "
            "accelerate launch --multi_gpu."
        )


def write_json(path: Path, value: Any) -> None:
    with written_aside(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The content of a file; None where there is none, or what is no JSON."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl, in their order."""
    lines = []
    for text in (run / "metrics.jsonl").read_text().splitlines():
        with contextlib.suppress(ValueError):  # cut off by a kill
            lines.append(json.loads(text))
    return lines


def machine() -> str:
    """The kind of machine: processor, its cores, the accelerator if there is one, and torch's version."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None:
        where = "on the CPU"
    else:
        where = f"on {torch.cuda.get_device_name()}" if device.type == "cuda" else f"on {device.type}"
    return f"{where}: {name}, {cores} cores, torch {torch.__version__}"


# ------------------------------------------------------------------------------------------------ what makes a run


def recipe_path(recipe: str) -> Path:
    """The file of a recipe: one of ours by its name, any other by its path."""
    return Path(recipe) if recipe.endswith((".yaml", ".yml")) else RECIPES / f"{recipe}.yaml"


def resolve(recipe: str, settings: dict[str, Any]) -> Recipe:
    """The whole recipe of a run; ColorizerError for what it cannot be."""
    return make_recipe({**read_recipe(recipe_path(recipe)), **settings})


def command_of(recipe: str, settings: dict[str, Any], resume: bool) -> list[str]:
    """How the trainer is started."""
    command = [sys.executable, str(ROOT / "train/train.py"), "--recipe", str(recipe_path(recipe))]
    for key, value in settings.items():
        kind = FIELDS[key].type
        if kind == "list[str]":
            command += [f"--{key}", *value]
        elif kind in ("str", "str | None"):
            command += [f"--{key}", value]
        else:
            command += [f"--{key}", yaml.safe_dump([value], default_flow_style=True, width=10_000).strip()[1:-1]]
    return command + (["--resume_from_checkpoint", "latest"] if resume else [])


def describe(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """What must be the same for a trained run to be left as it is: its recipe, and whatever else is given.

    Of data it is the names of the files, so that they may be moved.
    """
    plain = as_plain(recipe)
    for key in ("train_data_dir", "validation_data_dir"):
        plain[key] = [Path(path).name for path in plain[key]]
    plain["resolutions"] = {str(start): size for start, size in plain["resolutions"].items()}  # as JSON gives it back
    return {"recipe": plain, **more}


def saved_recipe(row: dict[str, Any]) -> Recipe:
    """The recipe in a description, as a run's folder keeps it."""
    values = dict(row["recipe"])
    values["resolutions"] = {float(start): size for start, size in values["resolutions"].items()}
    return make_recipe(values)


def saved_rows(output: Path) -> dict[str, dict[str, Any]]:
    """The descriptions of the runs in a table's folder, by their folders' names; the ladder's alone have a scale.

    Those that were put aside (see `prepare_folder`) are no part of the table.
    """
    found = {path.parent.name: read_json(path) for path in sorted(output.glob(f"*/{RUN_FILE}"))}
    found = {name: saved for name, saved in found.items() if not re.fullmatch(r".+\.old-\d+", name)}
    return {name: saved for name, saved in found.items() if isinstance(saved, dict)}


def fingerprint(model: Path) -> str:
    """Of a model's folder: the same weights and the same config have the same."""
    content = (model / "model.safetensors").read_bytes() + (model / "config.json").read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def is_same(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    """Whether two descriptions are of the same run, but for the keys that make no difference to its weights."""
    if before is None or any(before.get(key) != now[key] for key in now.keys() - {"recipe"}):
        return False
    defaults = as_plain(Recipe())
    return all(
        before["recipe"].get(key, defaults[key]) == value
        for key, value in now["recipe"].items()
        if (key not in FREE or key == "embedder_weights") and key not in now.get("uses", {})
    )


def prepare_folder(folder: Path, description: dict[str, Any]) -> str:
    """Makes a row's folder ready. Returns 'trained', 'begun', or 'new'.

    What is there of another recipe is renamed to <folder>.old-<number>: hours may be in it.
    """
    before = read_json(folder / RUN_FILE)
    if folder.exists() and not is_same(before, description):
        aside = folder.rename(old_name(folder))
        print(f"{folder.name} was trained by another recipe, from other weights or pictures; that is {aside.name} now")
    if (folder / "model/config.json").is_file():
        return "trained"
    make_folder(folder)
    begun = bool(list_checkpoints(folder))
    if not begun:
        (folder / "metrics.jsonl").unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
        write_json(folder / RUN_FILE, description | {"machine": machine()})
    return "begun" if begun else "new"


# ----------------------------------------------------------------------------------------------------------- running


def run_script(name: str, main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and ends the process: with 2 and one sentence for a mistake, and for a full disk."""
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: folders may have names that are no text
    try:
        sys.exit(main())
    except ColorizerError as error:
        print(f"{name}: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        what = error.filename or "A file"
        print(f"{name}: {what} cannot be written ({error.strerror}): make room.", file=sys.stderr)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(2)


class Stopped(Exception):
    """A person ended the run. Its argument is the signal's number."""


def run(command: list[str]) -> str | None:
    """Runs train.py or evaluate.py to its end, showing what it says. Returns None, or why it failed, in one sentence.

    SIGINT and SIGTERM are passed on, so that the trainer saves a checkpoint; then Stopped is raised.
    """
    process, received, script = None, [], Path(command[1]).name

    def pass_on(number: int, frame: Any) -> None:
        received.append(number)
        if process:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # In a session of its own: a terminal's Ctrl-C would reach it twice.
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        for number in received:
            process.send_signal(number)
        said = b""
        while part := process.stderr.read1():
            sys.stderr.buffer.write(part)
            sys.stderr.buffer.flush()
            said = (said + part)[-10_000:]
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise Stopped(received[0])
    number = -code if code < 0 else code - 128  # it died of a signal, or saved first
    if number in set(signal.Signals):
        return f"{script} was ended by {signal.Signals(number).name}."
    lines = [line.strip() for line in said.decode(errors="replace").replace("\r", "\n").splitlines() if line.strip()]
    own = [line.removeprefix(f"{script}: ") for line in lines if line.startswith(f"{script}: ")]
    return None if code == 0 else (own or lines or [f"{script} ended with the code {code}."])[-1]


def train(recipe: str, settings: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Trains one run, or goes on with it. Returns what became of it, trained or failed, and why.

    Args:
        recipe: a name in train/recipes, or a path.
        settings: the keys that the run has besides those of its recipe, output_dir among them.
        more: what else must be the same for a trained run to be left as it is.
    """
    try:
        state = prepare_folder(Path(settings["output_dir"]), describe(resolve(recipe, settings), **more))
    except ColorizerError as error:
        return "failed", str(error)
    if state == "trained":
        print("is trained already")
        return "trained", ""
    command = command_of(recipe, settings, resume=state == "begun")
    print(shlex.join(["python", *command[1:]]), flush=True)
    problem = run(command)
    if not problem and not (Path(settings["output_dir"]) / "model/config.json").is_file():
        problem = "it was stopped before its last step; the same command goes on from there."
    return ("failed", problem) if problem else ("trained", "")


def without_place(word: str) -> str:
    """A word of a command line, or a setting, without what is nobody's business.

    Of an absolute path it is the name, of an address what is without password and query.
    """
    flag, given, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if "://" in value:
        address = urlsplit(value)
        value = address._replace(netloc=address.netloc.rpartition("@")[2], query="", fragment="").geturl()
    elif os.path.isabs(value):
        value = Path(value).name
    return flag + given + value


def documented(script: str, words: Sequence[str]) -> str:
    """A command line for the documentation, with without_place of its words.

    Where two paths have one name, their parents' names stand before it.
    """
    names = Counter(path.name for path in {Path(word) for word in words if os.path.isabs(word)})

    def shown(word: str) -> str:
        path = Path(word)
        is_one_of_several = path.is_absolute() and names[path.name] > 1
        return f"{path.parent.name}/{path.name}" if is_one_of_several else without_place(word)

    return shlex.join(["python", script, *map(shown, words)])

"""The trainer as people start it: real processes, one and two, killed, resumed, stopped, out of disk."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from PIL import Image

from colorizer.hub import load_model
from train.recipe import parse_recipe
from train.train import Training

pytestmark = pytest.mark.timeout(900)  # whole runs, several to a test

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "train/recipes/smoke.yaml"
# train.py, and then which threads are gloo's, in a file of each process: lines of two on one output can mix.
AND_THREADS = f"""
import os
import runpy
from pathlib import Path

runpy.run_path({str(ROOT / "train/train.py")!r}, run_name="__main__")
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
Path(__file__).with_name("gloo-" + os.environ["RANK"]).write_text(str([name for name in names if "gloo" in name]))
"""
# An embedder and a decoder without batch norm: what a picture gives depends on no other one.
NO_NORM = "{name: fusion, embedder: test_convnext, embedding: maps, width: 4, decoder_widths: [16, 12, 8], norm: none}"


def start(*arguments, processes=1, launcher=False, script="train.py", on_cpu="true", **options) -> subprocess.Popen:
    """Several processes by `accelerate launch`, one by itself unless `launcher`: that takes as long again to start.

    In a process group of its own, so that a signal can reach all of it.
    """
    several = ["--multi_gpu", "--main_process_port=0"] if processes > 1 else []
    launch = [
        "-m", "accelerate.commands.launch", *several, f"--num_processes={processes}", "--num_machines=1",
        "--mixed_precision=no", "--dynamo_backend=no",
    ]  # fmt: skip
    command = [*(launch if launcher or processes > 1 else ()), ROOT / "train" / script, *arguments]
    return subprocess.Popen(
        [sys.executable, *(str(part) for part in command)],
        env=os.environ | {"ACCELERATE_USE_CPU": on_cpu, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def launch(*arguments, **options) -> str:
    """The output of a run that ends well."""
    process = start(*arguments, **options)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def lines(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    # The last line may be half written.
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def losses(run: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in lines(run) if "loss" in line}


def checksum(run: Path) -> str:
    return hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()


def wait_for_step(process: subprocess.Popen, run: Path, step: int) -> None:
    while max(losses(run), default=0) < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the launcher and all its workers, which may have sessions of their own."""
    parent = psutil.Process(process.pid)
    for one in [parent, *parent.children(recursive=True)]:
        one.kill()
    process.communicate()


def test_killed_and_resumed_equals_left_alone(photos, tmp_path):
    """With averaged weights, accumulation, augmentation and hints, in the middle of an epoch: bit for bit."""
    options = [
        "--recipe", SMOKE, "--train_data_dir", photos, "--train_batch_size", "2", "--gradient_accumulation_steps", "2",
        "--max_train_steps", "30", "--checkpointing_steps", "3", "--checkpoints_total_limit", "2",
        "--logging_steps", "2",
    ]  # fmt: skip
    launch(*options, "--output_dir", tmp_path / "alone", processes=2)

    for _ in range(3):
        step = random.SystemRandom().randint(4, 20)
        process = start(*options, "--output_dir", tmp_path / "killed", processes=2)
        wait_for_step(process, tmp_path / "killed", step)
        kill(process)
        if not (tmp_path / "killed/model").exists():
            break
        shutil.rmtree(tmp_path / "killed")  # this machine was too busy with the run to kill it in time
    output = launch(*options, "--output_dir", tmp_path / "killed", "--resume_from_checkpoint", "latest", processes=2)
    assert "2 process(es) on cpu" in output
    assert "resumed from" in output, step
    assert checksum(tmp_path / "killed") == checksum(tmp_path / "alone"), f"killed at step {step}"
    assert losses(tmp_path / "killed") == pytest.approx(losses(tmp_path / "alone"), rel=1e-6)
    kept = sorted(path.name for path in (tmp_path / "killed").glob("checkpoint-*"))
    assert kept == ["checkpoint-27", "checkpoint-30"]
    # Each checkpoint is a model as well, and the last one is the model.
    assert load_model(str(tmp_path / "killed/checkpoint-27")).name == "fusion"
    last = (tmp_path / "alone/checkpoint-30/model.safetensors").read_bytes()
    assert hashlib.sha256(last).hexdigest() == checksum(tmp_path / "alone")


def test_two_processes_equal_one(photos, tmp_path):
    """The same pictures in a step, over one process and over two: the same losses and figures."""
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--model", NO_NORM]
    launch(*options, "--train_batch_size", "8", "--output_dir", tmp_path / "one")
    output = launch(*options, "--train_batch_size", "4", "--output_dir", tmp_path / "two", processes=2)
    assert "2 process(es) on cpu" in output and "8 pictures (4 per process)" in output
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-5)
    one, two = ([line for line in lines(tmp_path / run) if "gray_ab_rmse" in line] for run in ("one", "two"))
    for figure in ("validation_ab_rmse", "gray_ab_rmse", "validation_colorfulness", "truth_colorfulness"):
        assert two[-1][figure] == pytest.approx(one[-1][figure], rel=1e-6)


def test_what_two_processes_validate_is_what_is_saved(photos, tmp_path):
    """Also where each has batch-norm statistics of its own, as on CPUs and without averages."""
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--ema_decay", "0", "--output_dir"]
    launch(*options, tmp_path / "two", processes=2)
    training = Training(parse_recipe([str(word) for word in (*options, tmp_path / "again")]))
    training.progress.step, training.finished = 6, (6, load_model(str(tmp_path / "two/model")))
    for figure, value in training.validate().items():
        assert lines(tmp_path / "two")[-1][figure] == pytest.approx(value, rel=1e-5), figure


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
@pytest.mark.parametrize("kind", [[], ["--dry_run"]], ids=["training", "dry run"])
def test_no_thread_of_the_group_outlives_the_run(photos, tmp_path, kind):
    """One that let go of a tensor while Python shuts down would abort the process, now and then."""
    (tmp_path / "script.py").write_text(AND_THREADS)
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "run", *kind]
    output = launch(*options, processes=2, script=tmp_path / "script.py")
    assert {path.name: path.read_text() for path in tmp_path.glob("gloo-*")} == {"gloo-0": "[]", "gloo-1": "[]"}
    if kind:
        assert "dry run: loss" in output and "a checkpoint, which loads; 6 steps would take" in output.replace(
            "\n", " "
        )
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "number, workers", [(signal.SIGINT, 0), (signal.SIGTERM, 2)], ids=["SIGINT", "SIGTERM to workers too"]
)
def test_a_signal_saves_and_ends_the_run(photos, tmp_path, number, workers):
    source = ["--train_data_dir", photos]
    for worker in range(workers):  # of a stream they live as long as the run
        with tarfile.open(tmp_path / f"{worker}.tar", "w") as shard:
            for place, path in enumerate(sorted(photos.rglob("*.png"))):
                shard.add(path, f"{worker}-{place}.png")
        source = ["--train_shards", tmp_path / "*.tar", "--dataloader_num_workers", workers]
    options = ["--recipe", SMOKE, *source, "--output_dir", tmp_path, "--checkpointing_steps", "1000"]
    process = start(*options, "--max_train_steps", "1000", launcher=True)
    wait_for_step(process, tmp_path, 3)
    launcher = psutil.Process(process.pid)
    # As to the whole group; the workers first, who must not take the run with them.
    for one in reversed([launcher, *launcher.children(recursive=True)]):
        one.send_signal(number)
        time.sleep(0.1)
    output, _ = process.communicate()
    assert process.returncode != 0  # what follows in a script must not take it for a run that has ended
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert f"stopped by {number.name} at step {step}" in output
    assert max(losses(tmp_path)) == step
    output = launch(*options, "--max_train_steps", str(step + 2), "--resume_from_checkpoint", "latest")
    assert f"at step {step}" in output and f"max_train_steps 1000 -> {step + 2}" in output
    assert (tmp_path / "model/model.safetensors").is_file()


def test_a_full_disk_loses_nothing(photos, tmp_path):
    """Files may not grow over a limit that the second checkpoint, with larger weights, would pass."""
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path, "--model", NO_NORM]
    launch(*options, "--max_train_steps", "3")
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoint-3").rglob("*") if path.is_file()}

    def limit():
        # As on a full disk, writing fails; smaller files (metrics) still find room.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(
        *options, "--max_train_steps", "9", "--resume_from_checkpoint", "latest", preexec_fn=limit
    )  # fmt: skip
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "The checkpoint at step 6 could not be written" in output and "the training goes on" in output
    assert "train.py: The checkpoint at step 9 could not be written" in output and ": make room, and" in output
    assert max(losses(tmp_path)) == 9
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob("*.partial")) and [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    launch(*options, "--max_train_steps", "9", "--resume_from_checkpoint", "latest")
    assert (tmp_path / "model/model.safetensors").is_file()


def test_more_processes_than_pictures(photos, tmp_path):
    process = start(
        "--recipe", SMOKE, "--train_data_dir", photos, "--max_train_samples", "2", "--train_batch_size", "1",
        "--output_dir", tmp_path / "run", processes=2,
    )  # fmt: skip
    output, _ = process.communicate()
    assert process.returncode != 0
    assert output.count("train.py: There are 1 pictures to train on, fewer than the 2 of one step") == 1


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU, over which the processes are joined")
def test_processes_that_are_not_joined_are_refused(photos, tmp_path):
    """Each would train alone, and write into the same folder."""
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "run"]
    process = start(*options, processes=2, on_cpu="false")
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "train.py: The processes cannot talk to each other; on the CPU, start them with ACCELERATE_USE" in output
    assert not (tmp_path / "run").exists()


def test_what_one_process_meets_alone_is_told(photos, tmp_path):
    """A held-out picture of the second process's that is gone."""
    shutil.copytree(photos, tmp_path / "train")
    shutil.copytree(photos / "skimage/coffee", tmp_path / "held")
    process = start(
        "--recipe", SMOKE, "--train_data_dir", tmp_path / "train", "--validation_data_dir", tmp_path / "held",
        "--cache", "none", "--ema_decay", "0", "--validation_steps", "100", "--max_train_steps", "100",
        "--output_dir", tmp_path / "run", processes=2,
    )  # fmt: skip
    wait_for_step(process, tmp_path / "run", 1)
    sorted((tmp_path / "held").iterdir())[1].unlink()
    output, _ = process.communicate()
    assert process.returncode != 0
    assert output.count("was good when the run began and is broken now") == 1


def test_a_run_says_what_it_made(photos, tmp_path):
    """What stands in the run's folder: the recipe, metrics, sheets, TensorBoard's log, a model with its card."""
    launch("--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path, "--report_to", "tensorboard",
           "--validation_steps", "3")  # fmt: skip
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["train_data_dir"] == [str(photos)] and recipe["model"]["width"] == 4
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["step-000003.png", "step-000006.png"]
    with Image.open(tmp_path / "samples/step-000006.png") as sheet:
        assert sheet.size == (5 * 64, 3 * 64)  # five held-out pictures; gray, prediction, truth
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (log,) = (tmp_path / "logs/colorizer").glob("events.*")
    events = EventAccumulator(str(log))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(list(losses(tmp_path).values()))
    assert [event.step for event in events.Images("samples")] == [3, 6]
    card = (tmp_path / "model/README.md").read_text()
    figure = next(line["validation_ab_rmse"] for line in reversed(lines(tmp_path)) if "gray_ab_rmse" in line)
    for words in ("model-index", "image-colorization", f"| validation ab rmse | {figure:.4g} |", "19 pictures",
                  "accelerate launch train/train.py --recipe", "timm "):  # fmt: skip
        assert words in card

"""Weights sharded by FSDP2 over two real processes: on CPUs, which accelerate itself shards nothing over."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from colorizer.hub import load_model

pytestmark = pytest.mark.timeout(600)  # whole runs, several to a test

ROOT = Path(__file__).parents[2]
TRAIN, SMOKE = ROOT / "train/train.py", ROOT / "train/recipes/smoke.yaml"
MODEL = "{name: fusion, embedder: test_resnet, embedding: maps, width: 4, decoder_widths: [16, 12, 8]}"

# As docs/training.md has it, but for the processes and the layers. channels_last has no meaning for sharded weights.
CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_machines: 1
num_processes: 2
mixed_precision: 'no'
fsdp_config:
  fsdp_version: VERSION
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: Fusion,BasicBlock
"""
# Without these, accelerate asks for a GPU before it can be asked anything about version 1.
WITHOUT_GPU = """
  fsdp_cpu_ram_efficient_loading: false
  fsdp_sync_module_states: false
"""

# accelerate takes up FSDP on accelerators only; this does for CPUs what AcceleratorState.__init__ does for GPUs. All
# the rest is accelerate's and torch's own, over gloo.
DRIVER = """
import runpy

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

init, free_memory = AcceleratorState.__init__, Accelerator.free_memory


def init_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    self.distributed_type = DistributedType.FSDP
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin


def tell_and_free(self):
    (model,), (optimizer,) = self._models, self._optimizers
    weights = list(model.parameters())
    moments = [state.get("exp_avg", state.get("momentum_buffer")) for state in optimizer.state.values()]
    assert all(isinstance(tensor, DTensor) and tensor.device_mesh.size() == 2 for tensor in weights + moments)
    local, moved = (sum(tensor.to_local().numel() for tensor in tensors) for tensors in (weights, moments))
    print(f"rank {self.process_index} has {local} and {moved} of {sum(w.numel() for w in weights)}", flush=True)
    free_memory(self)


AcceleratorState.__init__, Accelerator.free_memory = init_fsdp, tell_and_free
runpy.run_path(TRAIN, run_name="__main__")
"""


def launch(folder: Path, *arguments, fsdp: int | None = None) -> tuple[int, str]:
    """The exit status and the output of a run of two processes, by FSDP of this version or by DDP."""
    launcher, script = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"], TRAIN
    if fsdp:
        config, driver = folder / f"fsdp{fsdp}.yaml", folder / "driver.py"
        config.write_text(CONFIG.replace("VERSION", str(fsdp)) + (WITHOUT_GPU if fsdp == 1 else ""))
        driver.write_text(DRIVER.replace("TRAIN", repr(str(TRAIN))))
        launcher, script = ["--config_file", config], driver
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *launcher, "--main_process_port=0", "--dynamo_backend=no",
        script, *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def figures(run: Path, name: str) -> dict[int, float]:
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[name] for line in found if name in line}


def checksum(run: Path) -> str:
    return hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()


def test_sharded_equals_whole_and_resumes(photos, tmp_path):
    """With averaged weights and batch norm: the losses of DDP, half of the weights each, and the same after a kill.

    With Muon, which multiplies whole matrices; the other test has AdamW.
    """
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--channels_last", "false", "--model", MODEL]
    options += ["--optimizer", "muon"]
    whole, sharded, resumed = (tmp_path / name for name in ("whole", "sharded", "resumed"))
    code, output = launch(tmp_path, *options, "--output_dir", whole)
    assert code == 0 and "2 process(es) on cpu (no);" in output, output
    code, output = launch(tmp_path, *options, "--output_dir", sharded, fsdp=2)
    assert code == 0 and "2 process(es) on cpu (no, weights sharded);" in output, output

    shares = re.findall(r"rank (\d) has (\d+) and (\d+) of (\d+)", output)
    assert sorted(rank for rank, *_ in shares) == ["0", "1"]
    total = int(shares[0][-1])
    for column in (1, 2):  # the weights, the optimizer's moments
        parts = [int(share[column]) for share in shares]
        assert sum(parts) == total and max(parts) < 0.51 * total

    assert len(figures(whole, "loss")) == 6
    assert figures(sharded, "loss") == pytest.approx(figures(whole, "loss"), rel=1e-5)
    for name in ("validation_ab_rmse", "validation_colorfulness"):
        assert figures(sharded, name) == pytest.approx(figures(whole, name), rel=1e-3)
    assert load_model(str(sharded / "model")).name == "fusion"

    # A run that was killed after its third step leaves this.
    resumed.mkdir()
    shutil.copytree(sharded / "checkpoint-3", resumed / "checkpoint-3")
    code, output = launch(tmp_path, *options, "--output_dir", resumed, "--resume_from_checkpoint", "latest", fsdp=2)
    assert code == 0 and "at step 3" in output, output
    assert checksum(resumed) == checksum(sharded)


def test_cached_embeddings_are_those_of_whole_weights(photos, tmp_path):
    """Also after a checkpoint is gone on from, whose embedder is not what lies at embedder_weights by then."""
    weights = tmp_path / "weights.safetensors"
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    options = [
        "--recipe", SMOKE, "--train_data_dir", photos, "--channels_last", "false", "--model",
        "{name: fusion, embedder: test_resnet, width: 4}", "--embedder_weights", weights, "--freeze_embedder", "true",
        "--cache_embeddings", "true", "--augment", "false", "--hint_share", "0", "--resolutions", "{0.0: 64}",
        "--objectives", "{rebalanced_cross_entropy: 1}",
    ]  # fmt: skip
    whole, sharded, resumed = (tmp_path / name for name in ("whole", "sharded", "resumed"))
    for run, fsdp in ((whole, None), (sharded, 2)):
        code, output = launch(tmp_path, *options, "--output_dir", run, fsdp=fsdp)
        assert code == 0, output
    assert figures(sharded, "loss") == pytest.approx(figures(whole, "loss"), rel=1e-3)
    save_file({key: value * 2 for key, value in load_file(weights).items()}, weights)
    resumed.mkdir()
    shutil.copytree(sharded / "checkpoint-3", resumed / "checkpoint-3")
    code, output = launch(tmp_path, *options, "--output_dir", resumed, "--resume_from_checkpoint", "latest", fsdp=2)
    assert code == 0 and "at step 3" in output, output
    assert checksum(resumed) == checksum(sharded)


def test_the_first_version_is_refused(photos, tmp_path):
    code, output = launch(
        tmp_path, "--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "run", fsdp=1
    )
    assert code != 0 and not (tmp_path / "run").exists()
    assert output.count("train.py: This trainer shards by FSDP2 only: set fsdp_version: 2") == 1
    assert "2" in re.findall(r"exitcode +: (\d+)", output)  # the launcher may have ended the other one before

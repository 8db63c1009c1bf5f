"""Weights that are sharded over the processes by FSDP2 (torch's fully_shard), as accelerate's config asks for it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, DynamoBackend, convert_outputs_to_fp32
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy
from torch.distributed.tensor import DTensor, distribute_tensor

from colorizer.errors import ColorizerError
from train.recipe import Recipe
from train.trainee import Trained, batch_norms


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the launcher asked for FSDP."""
    return accelerator.distributed_type == DistributedType.FSDP


def check_sharding(accelerator: Accelerator, recipe: Recipe) -> None:
    """Refuses, in one sentence, what this trainer cannot shard; sets in accelerate's plugin what our models need."""
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise ColorizerError("This trainer shards by FSDP2 only: set fsdp_version: 2, or give --fsdp_version 2.")
    if recipe.objectives.get("adversarial"):
        raise ColorizerError("FSDP shards one model and not a critic too: leave out adversarial, or FSDP.")
    if recipe.torch_compile or accelerator.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise ColorizerError("Sharded weights are not compiled: leave out torch_compile and dynamo_backend, or FSDP.")
    if plugin.auto_wrap_policy is size_based_auto_wrap_policy:
        # It would also shard lists of layers, which nobody calls.
        raise ColorizerError(
            "fsdp_auto_wrap_policy must be NO_WRAP, or TRANSFORMER_BASED_WRAP with the classes to shard in "
            "fsdp_transformer_layer_cls_to_wrap, not SIZE_BASED_WRAP."
        )
    for name, present in {
        "fsdp_offload_params": isinstance(plugin.cpu_offload, CPUOffloadPolicy),
        "fsdp_ignored_modules": plugin.ignored_modules,
        "fsdp_activation_checkpointing": plugin.activation_checkpointing,
    }.items():
        if present:
            instead = ", and take the recipe's gradient_checkpointing" if "checkpointing" in name else ""
            raise ColorizerError(f"This trainer does not know {name}: leave it out{instead}.")
    plugin.cpu_ram_efficient_loading = False  # accelerate cannot do it for a model with buffers
    plugin.mixed_precision_policy = None  # autocast instead, as without FSDP: lightness has no place in bfloat16


def prepare_sharded(
    accelerator: Accelerator, trainee: Trained, optimizer: torch.optim.Optimizer
) -> tuple[Trained, torch.optim.Optimizer]:
    """accelerator.prepare, which shards the trainee in its place; with autocast, which accelerate leaves out there."""
    if accelerator.mixed_precision != "no":
        trainee.forward = convert_outputs_to_fp32(accelerator.autocast()(trainee.forward))
    # The outputs are views, and nobody changes them in place.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(FSDP\w*Trainee\) returned a view")
    try:
        prepared = accelerator.prepare(trainee, optimizer)
    except ValueError as error:
        reason = " ".join(str(error).split())[:150].rstrip(".")
        raise ColorizerError(f"FSDP cannot shard this model so: {reason}.") from None
    if isinstance(trainee.colorizer, FSDPModule):
        raise ColorizerError(
            f"{type(trainee.colorizer).__bases__[-1].__name__} is called in parts and cannot be sharded by itself: "
            "name layers inside it in fsdp_transformer_layer_cls_to_wrap."
        )
    return prepared


def check_same_sharding(folder: Path, state: Path, sharded: bool) -> None:
    """Refuses a checkpoint `folder` whose weights, in `state`, are sharded if this run does not, or the reverse."""
    if any(state.glob("pytorch_model_fsdp*")) != sharded:
        before, now = ("without", "with") if sharded else ("with", "without")
        raise ColorizerError(
            f"{folder} was saved {before} FSDP and this run is {now} it: launch it as before, or begin a new run with "
            f"its weights by --pretrained_model_name_or_path {folder}."
        )


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a whole, on the CPU. To be called by all processes."""
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
        for name, tensor in tensors.items()
    }


@torch.no_grad()
def share_statistics(module: nn.Module) -> None:
    """Gives all processes the first one's batch-norm statistics, as DDP does; synchronized ones are alike anyway."""
    for norm in batch_norms(module):
        if not isinstance(norm, nn.SyncBatchNorm):
            for buffer in norm.buffers():
                torch.distributed.broadcast(buffer, 0)


class ShardedAverage:
    """The exponential moving average of sharded weights: what AveragedModel is for whole ones.

    Each process averages its own shards. A checkpoint gets them as a whole, as `gather` last made them: it is the main
    process alone that writes, and others must not wait for it there.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shards = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.gathered: dict[str, Tensor] = {}

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Moves the averages towards the model's weights; the first time, onto them."""
        for name, weight in model.named_parameters():
            self.shards[name].to_local().lerp_(weight.to_local(), 1 - self.decay if self.updates else 1.0)
        self.updates += 1

    def gather(self) -> dict[str, Tensor]:
        """The averaged weights as a whole, on the CPU. To be called by all processes."""
        self.gathered = whole(self.shards)
        return self.gathered

    def state_dict(self) -> dict:
        return {"updates": self.updates, "weights": self.gathered}

    def load_state_dict(self, state: dict) -> None:
        self.updates, self.gathered = state["updates"], state["weights"]
        for name, shard in self.shards.items():
            self.shards[name] = distribute_tensor(
                self.gathered[name].to(shard.device), shard.device_mesh, shard.placements
            )

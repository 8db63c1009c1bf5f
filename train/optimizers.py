"""The optimizers that a recipe names."""

from __future__ import annotations

import torch
from timm.optim import Muon
from torch import nn
from torch.overrides import TorchFunctionMode

from train.recipe import Recipe


def make_optimizer(trainee: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over what is to be trained; with AdamW and Muon, all but biases and norms decay.

    Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) orthogonalizes the momentum of each weight matrix, a
    convolution's being flattened to one, and scales it to AdamW's usual step (Liu et al. 2025, arXiv:2502.16982), so
    that one learning rate does for both. What is no such matrix (biases, norms, depthwise convolutions, sides of less
    than 4) is timm's NAdamW's. It orthogonalizes in bfloat16 where the training is in that, and in float32 elsewhere:
    there bfloat16 is likely to be emulated.

    A group with an `lr_scale` (timm's word) learns at so many times the learning rate, the others at that itself.
    """
    trained = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
    parts = [{"params": trained}]
    if recipe.second_embedder_rate != 1:  # or no group has a scale, as in checkpoints from before there was one
        second = {id(parameter) for parameter in trainee.colorizer.second_embedder.parameters()}
        parts = [
            {"params": [p for p in trained if id(p) not in second]},
            {"params": [p for p in trained if id(p) in second], "lr_scale": recipe.second_embedder_rate},
        ]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parts, recipe.learning_rate)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parts, recipe.learning_rate)
    groups = []
    for part in parts:
        matrices = [p for p in part["params"] if p.ndim > 1]
        others = [p for p in part["params"] if p.ndim <= 1]
        groups.append(part | {"params": matrices, "weight_decay": recipe.weight_decay})
        groups.append(part | {"params": others, "weight_decay": 0.0})
    if recipe.optimizer == "muon":
        kind = Muon if recipe.mixed_precision == "bf16" else Float32Muon
        return kind(groups, recipe.learning_rate, nesterov=True)
    return torch.optim.AdamW(groups, recipe.learning_rate)


class Float32Muon(Muon):
    """timm's Muon, which orthogonalizes in bfloat16 and has no argument for that, in float32."""

    def step(self, closure=None):
        with _NoBfloat16():
            return super().step(closure)


class _NoBfloat16(TorchFunctionMode):
    """What is asked for in bfloat16 comes in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("dtype") is torch.bfloat16:
            kwargs = kwargs | {"dtype": torch.float32}
        return function(*args, **kwargs)

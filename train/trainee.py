"""What is trained: a colorizer, with what only its training needs, and the classifier that judges."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from colorizer.errors import ColorizerError
from colorizer.models import Colorizer
from colorizer.models.embedder import LARGEST_LEAST_SIDE, Embedder
from colorizer.models.fusion import FusionColorizer


class Trained(nn.Module):
    """What a trainer's step needs of a module: the model that is saved, as `colorizer`, and batch norm that can stop.

    Attributes:
        freeze_norm: set it, and batch norm keeps its statistics from the next train() on.
        still: parts of the model that are in eval mode throughout, as `still_parts` takes them.
    """

    still: tuple = (False, False)

    def __init__(self, colorizer: Colorizer) -> None:
        super().__init__()
        self.colorizer = colorizer
        self.freeze_norm = False

    def train(self, mode: bool = True) -> Trained:
        super().train(mode)
        if self.freeze_norm:
            for norm in batch_norms(self):
                norm.eval()
        return self


class Trainee(Trained):
    """A colorizer and, beside it, a linear classifier on its embedder's vector, which only the training needs.

    Args:
        colorizer: gives ab, with or without a distribution, or RGB.
        classes: how many the classifier tells apart; 0: there is none.
        needs_ab: whether an objective looks at ab rather than at the distribution.
        freeze_embedder: keeps the embedder's weights, and its batch norm in eval mode.
        freeze_second_embedder: the second one's.
        second_embedder_stages: how many of the second one's last stages learn (a stage ends with a feature map); the
            others stay as they are, and so do the statistics of batch norm in all. None: all learn, with statistics.
        learning_parts: the parts of the colorizer that learn, by its attributes' names; all others are kept likewise.
            Empty: all learn.
        embedding_dropout: share of the channels of what the embedders tell that each view does without.

    Raises:
        ColorizerError: the colorizer does not have what is to be kept or left out.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        classes: int = 0,
        needs_ab: bool = True,
        freeze_embedder: bool = False,
        freeze_second_embedder: bool = False,
        second_embedder_stages: int | None = None,
        learning_parts: Sequence[str] = (),
        embedding_dropout: float = 0.0,
    ):
        super().__init__(colorizer)
        self.needs_ab = needs_ab
        embedder = getattr(colorizer, "embedder", None)
        if (classes or freeze_embedder) and embedder is None:
            raise ColorizerError(
                f"A {colorizer.name} model has no embedder: leave out freeze_embedder and the objective labels."
            )
        second = getattr(colorizer, "second_embedder", None)
        for key, value in {
            "freeze_second_embedder": freeze_second_embedder,
            "second_embedder_stages": second_embedder_stages is not None,
        }.items():
            if value and second is None:
                raise ColorizerError(f"The model has no second embedder: leave out {key}.")
        parts = parts_that_learn(colorizer)
        if unknown := [name for name in learning_parts if name not in parts]:
            raise ColorizerError(
                f"The model has no part {unknown[0]!r} that could learn: its learning_parts can be "
                f"{', '.join(sorted(parts))}."
            )
        for part in still_parts(colorizer, freeze_embedder, freeze_second_embedder, learning_parts):
            part.requires_grad_(False)
        stays = freeze_second_embedder or second_embedder_stages is not None
        self.still = (freeze_embedder, stays, tuple(learning_parts))
        if second_embedder_stages is not None:
            freeze_first_stages(second, second_embedder_stages)
        if embedding_dropout:
            if not isinstance(colorizer, FusionColorizer):
                raise ColorizerError(f"A {colorizer.name} model fuses no embedding: leave out embedding_dropout.")
            colorizer.dropout.p = embedding_dropout
        self.classifier = nn.Linear(embedder.channels, classes) if classes else None

    def train(self, mode: bool = True) -> Trainee:
        super().train(mode)
        for part in still_parts(self.colorizer, *self.still):
            part.eval()
        return self

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> dict[str, Tensor]:
        """{"logits": (N, K, h, w), "ab": (N, 2, H, W) in Lab units, "class_logits": (N, C)}, those that there are;
        "rgb": (N, 3, H, W), of about 0..1, of a colorizer that paints RGB.

        Args: as of Colorizer.forward; `embedding` spares the embedder's work.
        """
        if self.colorizer.output == "rgb":
            return {"rgb": self.colorizer(lightness, hints, embedding)}
        out = {}
        if embedding is None:
            embedding = self.colorizer.embed(lightness)
        if self.colorizer.has_distribution:
            out["logits"] = self.colorizer.logits(lightness, hints, embedding)
            if self.needs_ab:
                # The mean of the distribution: what a temperature would do to it is no matter of training.
                ab = self.colorizer.decode(out["logits"], temperature=1.0)
                out["ab"] = self.colorizer.enlarge(ab, lightness.shape[-2:])
        else:
            out["ab"] = self.colorizer(lightness, hints, embedding)
        if self.classifier is not None:
            out["class_logits"] = self.classifier(embedding[0][:, : self.classifier.in_features])
        return out


class AutoencoderTrainee(Trained):
    """An autoencoder, which is to give back the color pictures that it is shown."""

    def forward(self, rgb: Tensor) -> dict[str, Tensor]:
        """{"rgb": (N, 3, H, W)} of sRGB (N, 3, H, W), both in 0..1."""
        return {"rgb": self.colorizer(rgb)}


class ClassifierTrainee(Trained):
    """The classifier of pictures that train/evaluate.py judges colors with; it is trained on real ones."""

    def forward(self, rgb: Tensor) -> dict[str, Tensor]:
        """{"class_logits": (N, C)} of sRGB (N, 3, H, W) in 0..1."""
        return {"class_logits": self.colorizer(rgb)}


def batch_norms(module: nn.Module) -> Iterator[_BatchNorm]:
    """All batch-norm layers inside, synchronized ones included."""
    return (part for part in module.modules() if isinstance(part, _BatchNorm))


def still_parts(
    colorizer: Colorizer, embedder: bool, second_embedder: bool, learning: Sequence[str] = ()
) -> list[nn.Module]:
    """The parts of a colorizer that a training keeps in eval mode: the embedders whose flag is set, and all that are
    not among those that are learning, if any are named."""
    flags = {"embedder": embedder, "second_embedder": second_embedder}
    kept = parts_that_learn(colorizer) - set(learning) if learning else set()
    return [part for name, part in colorizer.named_children() if flags.get(name) or name in kept]


def parts_that_learn(colorizer: Colorizer) -> set[str]:
    """The names of the parts of a colorizer that have weights."""
    return {name for name, part in colorizer.named_children() if any(True for _ in part.parameters())}


def freeze_first_stages(embedder: Embedder, learning: int) -> None:
    """Freezes the weights of all stages of an embedder but the last `learning` ones.

    A stage is what lies between two feature maps: what the last map before them depends on is what stays.

    Raises ColorizerError where the embedder gives no maps, or has no more stages than are to learn.
    """
    stages = len(embedder.reductions)
    if learning >= stages:
        raise ColorizerError(
            f"The second embedder {embedder.name} has {stages} stages: second_embedder_stages must be less than that, "
            "or left out, so that all learn."
            if stages
            else f"The second embedder {embedder.name} gives no feature maps, so it has no stages: leave out "
            "second_embedder_stages."
        )
    was_training = embedder.training
    embedder.eval()  # so that batch norm learns nothing from what follows
    device = next(embedder.parameters()).device
    side = LARGEST_LEAST_SIDE
    try:
        _, *maps = embedder(torch.full((1, 1, side, side), 50.0, device=device))
    except (RuntimeError, ValueError, AssertionError):  # some networks take but few sizes
        raise ColorizerError(
            f"The stages of {embedder.name} cannot be told apart, since it takes no picture of {side} x {side} "
            "pixels: leave out second_embedder_stages."
        ) from None
    weights = list(embedder.parameters())
    gradients = torch.autograd.grad(maps[-learning - 1].sum(), weights, allow_unused=True)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.requires_grad_(gradient is None)
    embedder.train(was_training)


def checkpoint_gradients(colorizer: nn.Module) -> None:
    """Makes the stages recompute their activations in the backward pass: less memory for about a third more time.

    Batch norm inside them moves its statistics twice a step.
    """
    stages = []
    for name in ("embedder", "second_embedder", "encoder", "decoder", "attention"):
        part = getattr(colorizer, name, None) or ()
        if not isinstance(part, Embedder):
            stages += part
        elif hasattr(part.network, "set_grad_checkpointing"):  # timm's networks have their own way
            try:
                part.network.set_grad_checkpointing()
            except AssertionError:
                raise ColorizerError(
                    f"The embedder {part.name} cannot recompute its activations: leave out gradient_checkpointing."
                ) from None
    if not stages:
        raise ColorizerError(f"A {colorizer.name} model has no stages whose gradients could be checkpointed.")
    for stage in stages:
        stage.forward = functools.partial(checkpoint, stage.forward, use_reentrant=False)


def synchronized(module: nn.Module) -> nn.Module:
    """The same module with batch norm that takes its statistics over all processes; its weights are shared.

    timm's conversion and not torch's, which drops the activation that is one module with the norm in many of timm's
    networks, Inception-ResNet-v2 among them.
    """
    return convert_sync_batchnorm(module)


@torch.no_grad()
def calibrate(
    model: nn.Module, batches: Iterator[tuple[Tensor | None, ...]], frozen: Sequence[nn.Module] = ()
) -> None:
    """Gives averaged weights the batch-norm statistics that belong to them, and leaves the model in eval mode.

    The average of the statistics is not the statistics of the average: while the weights still move, it gives one
    brown for everything. `batches` are what the model is called with, hinted and aged as often as in training:
    without that the statistics are others again. Layers of dropout are left out, as when the model is used: they widen
    what the norms see. Parts that are `frozen` keep their own and stay in eval mode.
    """
    kept = {norm for part in frozen for norm in batch_norms(part)}
    norms = [norm for norm in batch_norms(model) if norm not in kept]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        model.train()
        for part in (*frozen, *(part for part in model.modules() if isinstance(part, _DropoutNd))):
            part.eval()
        for inputs in batches:
            model(*inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    model.eval()

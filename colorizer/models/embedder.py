"""A timm network that tells the colorizer what the picture shows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from colorizer.color import linear_to_srgb
from colorizer.errors import ColorizerError
from colorizer.models.base import check_counts, resize

EMBEDDINGS = ("logits", "pooled", "maps")

# Shortened networks that timm has no name for: the architecture, and what is given to its constructor.
SHORTENED = {"resnet16": ("resnet18", {"layers": (2, 2, 2, 1)})}  # 4.7 M parameters fewer


def check_embedder_name(name: str, role: str = "embedder") -> None:
    """Refuses all but a plain timm architecture: a config from a Hub must not name another source of weights."""
    import timm

    if isinstance(name, str) and name in SHORTENED:
        return
    if not isinstance(name, str) or not timm.is_model(name) or ":" in name or "/" in name or "." in name:
        raise ColorizerError(f"The {role} must be a plain timm architecture such as 'resnet18', not {name!r}.")


def create_network(name: str, **options) -> nn.Module:
    """timm.create_model, which knows the names of SHORTENED too."""
    import timm  # heavy, and needed only by models that have an embedder

    name, shortened = SHORTENED.get(name, (name, {}))
    return timm.create_model(name, **shortened, **options)


LARGEST_LEAST_SIDE = 128  # pixels; pictures from here on are not asked whether they are too small for a network


@torch.compiler.assume_constant_result  # which does not see through a cache, so that this is a function of its own
def least_side(name: str) -> int:
    """The least side in pixels, a multiple of 32, from which on a timm network makes feature maps.

    Inception networks take no 32 or 64 pixels: their convolutions without padding leave nothing of them. Tried with
    shapes alone (the meta device), once for each network. LARGEST_LEAST_SIDE for one that takes none of the sizes.
    """
    return _tried_least_side(name)


@functools.cache
def _tried_least_side(name: str) -> int:
    with torch.device("meta"), torch.no_grad():
        network = create_network(name, features_only=True, pretrained=False).eval()
        for side in range(32, LARGEST_LEAST_SIDE, 32):
            try:
                network(torch.empty(1, 3, side, side))
                return side
            except (RuntimeError, ValueError, AssertionError):
                pass
    return LARGEST_LEAST_SIDE


class Embedder(nn.Module):
    """Any timm network on the gray picture, scaled as timm says for it (its mean, std and, for vectors, size).

    Args:
        name: a timm architecture, or one of SHORTENED.
        embedding: "logits" (N, classes), "pooled" (N, features), or "maps": pooled features and the feature maps.
        size: side of the square input; None: the network's own for vectors, the picture's for maps (where a side is
            too short for the network, it is enlarged).
        scale: for maps, how much larger than the picture the network sees it, rounded to sides that are multiples of
            32. What was trained on larger pictures knows things by that size (Touvron et al. 2019, arXiv:1906.06423).

    Attributes:
        channels: length of the vector.

    Raises:
        ColorizerError: an argument that is none of these.
    """

    def __init__(self, name: str, embedding: str = "pooled", size: int | None = None, scale: float = 1.0) -> None:
        super().__init__()
        import timm

        check_embedder_name(name)
        if embedding not in EMBEDDINGS:
            raise ColorizerError(f"embedding must be one of {', '.join(EMBEDDINGS)}, not {embedding!r}.")
        if size is not None:
            check_counts(embedder_size=size)
        self.name = name
        self.scale = Fraction(scale).limit_denominator(32)  # whole numbers: exporters follow sides through these alone
        self.embedding = embedding
        if embedding == "maps":
            self.network = create_network(name, features_only=True, pretrained=False)
            info = self.network.feature_info
            self.reductions, self.widths = info.reduction(), info.channels()
            self.channels = self.widths[-1]
        else:
            classes = {} if embedding == "logits" else {"num_classes": 0}
            self.network = create_network(name, pretrained=False, **classes)
            self.reductions, self.widths = [], []
            # Some networks widen their pooled features once more before the classifier.
            pooled = getattr(self.network, "head_hidden_size", None) or self.network.num_features
            self.channels = self.network.num_classes if embedding == "logits" else pooled
        config = timm.data.resolve_model_data_config(self.network)
        self.size = size or (None if embedding == "maps" else config["input_size"][-1])
        self.mean, self.std = config["mean"], config["std"]

    def map_channels(self, stride: int) -> int:
        """How many channels the maps have together that a decoder takes at `stride`."""
        return sum(self.widths[i] for i in map_indices(self.reductions, stride))

    def seen(self, side: int) -> int:
        """The side at which a picture's side is seen, in pixels, where the network has no size of its own."""
        if self.scale != 1:
            step = 32 * self.scale.denominator
            side = 32 * ((2 * side * self.scale.numerator + step) // (2 * step))
        return side if side >= LARGEST_LEAST_SIDE else max(side, least_side(self.name))

    def forward(self, lightness: Tensor) -> tuple[Tensor, ...]:
        """The vector (N, channels) of lightness (N, 1, H, W) and, with "maps", the feature maps (N, C, h, w)."""
        gray = lightness_to_gray(lightness)
        sides = (self.size, self.size) if self.size else tuple(self.seen(side) for side in gray.shape[-2:])
        gray = resize(gray, sides)
        mean, std = (gray.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        out = self.network((gray - mean) / std)
        if self.embedding == "maps" and getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            out = [part.permute(0, 3, 1, 2) for part in out]
        return (out[-1].mean((2, 3)), *out) if self.embedding == "maps" else (out,)


def map_indices(reductions: Sequence[int], stride: int) -> list[int]:
    """Which maps a decoder takes at `stride` (16, 8, 4): those of that reduction; at 16 all coarser ones too."""
    return [i for i, r in enumerate(reductions) if r == stride or (stride == 16 and r > 16)]


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """The gray sRGB value (0..1) of CIE L in 0..100. Any shape."""
    f = (lightness + 16) / 116
    luminance = torch.where(lightness > 8, f**3, lightness / 903.3)
    return linear_to_srgb(luminance.clamp(0, 1))

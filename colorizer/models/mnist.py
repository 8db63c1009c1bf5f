"""Digits in the colors of their classes: from one linear map to a convolutional network with batch norm.

Every digit class has a color of its own, and a network is shown the gray digit and asked for its color picture. The
ten colors have one lightness, so that no network can tell them apart by anything but the digit's shape: to color is
to recognize. The digits are those of MNIST (LeCun et al. 1998, doi:10.1109/5.726791).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from colorizer.color import lab_to_rgb, rgb_to_lab
from colorizer.models.base import Colorizer, check_counts, register_model

SIDE = 28  # pixels
INK = 0.5  # gray above this is ink

# The palette: ten hues, 36 degrees apart, in the plane of CIE Lab where the chroma that all of them can have in sRGB
# is largest. Digits that look alike are neighbors on the circle: a network that wavers between two paints a color
# between theirs, which then is no third digit's.
LIGHTNESS, CHROMA, FIRST_HUE = 73.0, 41.0, 16.0
CIRCLE = (0, 6, 5, 8, 3, 2, 1, 7, 9, 4)


@functools.cache
def _palette() -> list[list[float]]:
    hues = [math.radians(FIRST_HUE + 36 * CIRCLE.index(digit)) for digit in range(10)]
    lab = torch.tensor([[LIGHTNESS, CHROMA * math.cos(hue), CHROMA * math.sin(hue)] for hue in hues], device="cpu")
    return lab_to_rgb(lab[:, :, None, None])[:, :, 0, 0].tolist()


def palette() -> Tensor:
    """The colors (10, 3) of the digits 0 to 9, sRGB in 0..1."""
    return torch.tensor(_palette())


def paint(gray: Tensor, digit: Tensor) -> Tensor:
    """The color pictures (N, 3, H, W) of gray digits (N, 1, H, W) in 0..1, white on black, of classes (N,)."""
    return gray * palette().to(gray)[digit][:, :, None, None]


def painting_accuracy(rgb: Tensor, gray: Tensor, digit: Tensor) -> Tensor:
    """The share (N,) of each picture's ink whose color is nearest to the right digit's, of the ten there are.

    Args:
        rgb: what was painted, sRGB (N, 3, H, W) in 0..1.
        gray: the digits (N, 1, H, W) in 0..1; ink is what is above 0.5. A picture without ink counts as wrong.
        digit: their classes (N,).

    The distance is that of a and b in CIE Lab: all ten have the same lightness, so that it tells nothing.
    """
    colors = rgb_to_lab(palette().to(rgb)[:, :, None, None])[:, 1:, 0, 0]  # (10, 2)
    ab = rgb_to_lab(rgb.clamp(0, 1))[:, 1:].permute(0, 2, 3, 1)  # (N, H, W, 2)
    nearest = torch.cdist(ab, colors[None]).argmin(-1)  # (N, H, W)
    ink = gray[:, 0] > INK
    right = (nearest == digit[:, None, None]) & ink
    return right.flatten(1).sum(1) / ink.flatten(1).sum(1).clamp(min=1)


class DigitColorizer(Colorizer):
    """What the models of digits share: pictures of 28 x 28 pixels, painted with their own lightness."""

    output = "rgb"
    domain = "digits"
    input_size = (SIDE, SIDE)
    keeps_lightness = False  # white ink can have no color

    def __init__(self) -> None:
        super().__init__()
        self.defaults = {"working_size": 32, "temperature": None, "colorfulness": 1.0}

    def paint(self, gray: Tensor) -> Tensor:
        """RGB (N, 3, 28, 28) of gray (N, 1, 28, 28), both about 0..1."""
        return self.layers(gray)

    def forward(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        self.refuse_hints(hints)
        rgb = self.paint(lightness / 100)
        return rgb if self.training else rgb.clamp(0, 1)  # a clamped value would learn nothing


@register_model("mnist_single")
class MnistSingle(DigitColorizer):
    """One linear map from gray to color, 784 to 2352: what the others are measured against.

    A linear map can tell most digits apart by ten scores of which the largest counts. But the colors lie on a circle
    in a plane: all that a linear map can say of a digit there are two numbers, and two weighted sums of gray values
    do not sort ten classes (docs/ladder.md measures both).
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 2352),
            nn.Unflatten(1, (3, SIDE, SIDE)),
        )


@register_model("mnist_linear")
class MnistLinear(DigitColorizer):
    """Linear layers only: 784 to 512, ReLU, 512 to 2352."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 2352),
            nn.Unflatten(1, (3, SIDE, SIDE)),
        )


class ConvolutionalDigitColorizer(DigitColorizer):
    """Convolutions down to one code of the whole digit, and back up; `norm` follows each of them but the last."""

    norm: type[nn.Module]

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        check_counts(width=width)
        norm = self.norm
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),  # 14 x 14
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # 7 x 7
            norm(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),  # 4 x 4
            norm(4 * width),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * width, 8 * width, 4),  # 1 x 1: the code
            norm(8 * width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(8 * width, 4 * width, 4),  # 4 x 4
            norm(4 * width),
            nn.ReLU(inplace=True),
            nn.Upsample(size=7),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            norm(2 * width),
            nn.ReLU(inplace=True),
            nn.Upsample(size=14),
            nn.Conv2d(2 * width, width, 3, padding=1),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Upsample(size=28),
            nn.Conv2d(width, 3, 3, padding=1),
        )


@register_model("mnist_cnn")
class MnistCnn(ConvolutionalDigitColorizer):
    """A convolutional autoencoder without batch norm.

    Args:
        width: channels of the first convolution; the code of the whole digit has eight times as many numbers.
    """

    norm = nn.Identity


@register_model("mnist_cnn_bn")
class MnistCnnBn(ConvolutionalDigitColorizer):
    """The same with batch norm after each convolution but the last (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Args:
        width: as of MnistCnn.
    """

    norm = nn.BatchNorm2d

"""Colorful Image Colorization, layer by layer (Zhang, Isola and Efros 2016, arXiv:1603.08511)."""

from __future__ import annotations

from torch import Tensor, nn

from colorizer.color import AbBins
from colorizer.models.base import QuarterGridColorizer, check_counts, pad_to_multiple, register_model


def block(inputs: int, outputs: int, convolutions: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3 x 3 convolutions with same padding and ReLU, the last of them with the stride; batch norm in the end."""
    layers: list[nn.Module] = []
    for number in range(convolutions):
        step = stride if number == convolutions - 1 else 1
        layers += [nn.Conv2d(inputs, outputs, 3, step, dilation, dilation), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs))


@register_model("eccv16")
class Eccv16Colorizer(QuarterGridColorizer):
    """The paper's network: a plain encoder like VGG's, dilated in its depth, and a distribution over the ab bins.

    Lightness enters as (L - 50) / 100. With 313 bins, the paper's, it has 32.2 M parameters; here there are 260
    (`colorizer.color.ab_bin_centers`), which takes 0.01 M away.

    Args:
        width: channels of the first block.

    Raises:
        ColorizerError: a width that is no whole number from 1 up.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_counts(width=width)
        self.encoder = nn.Sequential(
            block(1, width, 2, stride=2),  # 64, 1/2 of the picture's size
            block(width, 2 * width, 2, stride=2),  # 128, 1/4
            block(2 * width, 4 * width, 3, stride=2),  # 256, 1/8
            block(4 * width, 8 * width, 3),  # 512, and so the next three
            block(8 * width, 8 * width, 3, dilation=2),
            block(8 * width, 8 * width, 3, dilation=2),
            block(8 * width, 8 * width, 3),
        )
        self.bins = AbBins()
        self.decoder = nn.Sequential(
            nn.Sequential(nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, 1), nn.ReLU(inplace=True)),  # 256, 1/4
            nn.Sequential(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.ReLU(inplace=True)),
            nn.Conv2d(4 * width, len(self.bins), 1),
        )
        self.defaults = {"working_size": 256, "temperature": 0.38, "colorfulness": 1.0}

    def logits(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        self.refuse_hints(hints)
        height, width = lightness.shape[-2:]
        x = self.decoder(self.encoder(pad_to_multiple((lightness - 50) / 100, 8)))
        return x[..., : -(-height // 4), : -(-width // 4)]

"""A plain convolutional network from lightness to ab, which is not told what the picture shows."""

from __future__ import annotations

from torch import Tensor, nn

from colorizer.models.base import Colorizer, check_counts, pad_to_multiple, register_model
from colorizer.models.fusion_paper import conv, encoder


@register_model("lab_cnn")
class LabCnn(Colorizer):
    """The encoder of Deep Koalarization (arXiv:1712.03400) and a lighter decoder, with no embedding between them.

    Lightness at 256 x 256 pixels, or any other size, enters as L/100. The last layer gives ab in 0..1, as
    (ab + 128) / 255, since its LeakyReLU can hardly go below zero.

    Args:
        width: channels of the first convolution.
    """

    ab_unit = 255.0

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_counts(4, width=width)
        self.encoder = encoder(width)
        self.decoder = nn.Sequential(
            conv(4 * width, 2 * width),  # 128
            nn.Upsample(scale_factor=2),
            conv(2 * width, width),  # 64
            nn.Upsample(scale_factor=2),
            conv(width, width // 2),  # 32
            conv(width // 2, width // 4),  # 16
            nn.Conv2d(width // 4, 2, 3, padding=1),  # 2
            nn.LeakyReLU(0.01),
            nn.Upsample(scale_factor=2),
        )
        nn.init.constant_(self.decoder[-3].bias, 128 / 255)  # gray to begin with, where the slope is 1

    def forward(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        self.refuse_hints(hints)
        height, width = lightness.shape[-2:]
        normalized = self.decoder(self.encoder(pad_to_multiple(lightness / 100, 8)))
        return 255 * normalized[..., :height, :width].float() - 128

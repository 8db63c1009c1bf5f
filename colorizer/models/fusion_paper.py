"""Deep Koalarization, layer by layer (Baldassarre, Gonzalez Morin and Rodes-Guirao 2017, arXiv:1712.03400)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorizer.models.base import Colorizer, check_counts, pad_to_multiple, register_model
from colorizer.models.embedder import Embedder


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution with same padding, ReLU; the paper has no batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))


def encoder(width: int) -> nn.Sequential:
    """The paper's encoder: lightness (N, 1, H, W) to 4 * width channels at 1/8 of its size; the paper has width 64."""
    return nn.Sequential(
        conv(1, width, stride=2),  # 64, 1/2 of the picture's size
        conv(width, 2 * width),  # 128
        conv(2 * width, 2 * width, stride=2),  # 128, 1/4
        conv(2 * width, 4 * width),  # 256
        conv(4 * width, 4 * width, stride=2),  # 256, 1/8
        conv(4 * width, 8 * width),  # 512
        conv(8 * width, 8 * width),  # 512
        conv(8 * width, 4 * width),  # 256
    )


@register_model("fusion_paper")
class FusionPaperColorizer(Colorizer):
    """The paper's network: 6.57 M parameters outside the embedder.

    Lightness enters as 2L/100 - 1, ab leaves a tanh as ab/127. The decoder's last step is an upsampling, so that
    chroma is made at half of the picture's size.

    Args:
        embedder: any timm architecture with a classifier; its logits (before the softmax) are fused.
        width: channels of the first convolution; 64 in the paper, and all others in proportion.
        embedder_size: side in pixels of the square that the embedder sees; None: its own size (299 in the paper).
    """

    def __init__(
        self, embedder: str = "inception_resnet_v2", width: int = 64, embedder_size: int | None = None
    ) -> None:
        super().__init__()
        check_counts(2, width=width)
        self.encoder = encoder(width)
        self.embedder = Embedder(embedder, "logits", embedder_size)
        self.fusion = conv(4 * width + self.embedder.channels, 4 * width, kernel=1)  # 256
        self.decoder = nn.Sequential(
            conv(4 * width, 2 * width),  # 128
            nn.Upsample(scale_factor=2),
            conv(2 * width, width),  # 64
            conv(width, width),  # 64
            nn.Upsample(scale_factor=2),
            conv(width, width // 2),  # 32
            nn.Conv2d(width // 2, 2, 3, padding=1),
            nn.Tanh(),
            nn.Upsample(scale_factor=2),
        )
        self.defaults = {"working_size": 224, "temperature": None, "colorfulness": 1.0}

    def embed(self, lightness: Tensor) -> tuple[Tensor, ...]:
        """The embedder's logits (N, E) of lightness (N, 1, H, W)."""
        return self.embedder(lightness)

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        self.refuse_hints(hints)
        (vector,) = self.embed(lightness) if embedding is None else embedding
        height, width = lightness.shape[-2:]
        x = self.encoder(pad_to_multiple(2 * lightness / 100 - 1, 8))
        tiled = vector[:, :, None, None].expand(-1, -1, *x.shape[-2:])
        ab = 127 * self.decoder(self.fusion(torch.cat([x, tiled], dim=1))).float()
        return ab[..., :height, :width]

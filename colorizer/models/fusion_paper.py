"""Deep Koalarization, layer by layer (Baldassarre, Gonzalez Morin and Rodes-Guirao 2017, arXiv:1712.03400)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorizer.models.base import Colorizer, pad_to_multiple, register_model
from colorizer.models.embedder import Embedder


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution with same padding, ReLU; the paper has no batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))


@register_model("fusion_paper")
class FusionPaperColorizer(Colorizer):
    """The paper's network: 6.57 M parameters outside the embedder.

    Lightness enters as 2L/100 - 1, ab leaves a tanh as ab/127. The decoder's last step is an upsampling, so that
    chroma is made at half of the picture's size.

    Args:
        embedder: any timm architecture with a classifier; its logits (before the softmax) are fused.
    """

    def __init__(self, embedder: str = "inception_resnet_v2") -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(1, 64, stride=2),
            conv(64, 128),
            conv(128, 128, stride=2),
            conv(128, 256),
            conv(256, 256, stride=2),
            conv(256, 512),
            conv(512, 512),
            conv(512, 256),
        )
        self.embedder = Embedder(embedder, "logits")
        self.fusion = conv(256 + self.embedder.channels, 256, kernel=1)
        self.decoder = nn.Sequential(
            conv(256, 128),
            nn.Upsample(scale_factor=2),
            conv(128, 64),
            conv(64, 64),
            nn.Upsample(scale_factor=2),
            conv(64, 32),
            nn.Conv2d(32, 2, 3, padding=1),
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
        ab = 127 * self.decoder(self.fusion(torch.cat([x, tiled], dim=1)))
        return ab[..., :height, :width]

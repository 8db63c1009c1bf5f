"""A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) whose encoder is a timm network, as in today's colorizers.

DDColor (Kang et al. 2023, arXiv:2212.11613) has a ConvNeXt for its encoder too, and queries beside the decoder that
are left out here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorizer.color import AB_LIMIT
from colorizer.errors import ColorizerError
from colorizer.models.base import QuarterGridColorizer, check_counts, pad_to_multiple, register_model, resize
from colorizer.models.embedder import Embedder, check_embedder_name, map_indices
from colorizer.models.fusion import conv_block

STRIDES = (16, 8, 4)  # of the decoder's stages


@register_model("unet")
class UNetColorizer(QuarterGridColorizer):
    """Encoder on the gray picture, decoder with skip connections, and a tanh that gives ab.

    Args:
        encoder: any timm architecture that gives feature maps, e.g. "convnext_tiny". Built without a download.
        decoder_widths: channels of the decoder at strides 16, 8 and 4.

    Raises:
        ColorizerError: an encoder that is no plain timm architecture, or other than three widths.
    """

    side_multiple = 32  # as FusionColorizer's

    def __init__(self, encoder: str = "convnext_tiny", decoder_widths: tuple[int, int, int] = (256, 128, 96)) -> None:
        super().__init__()
        check_embedder_name(encoder, "encoder")
        if not isinstance(decoder_widths, (list, tuple)) or len(decoder_widths) != len(STRIDES):
            raise ColorizerError(f"decoder_widths must be three numbers (strides 16, 8, 4), not {decoder_widths!r}.")
        for width in decoder_widths:
            check_counts(decoder_widths=width)
        self.encoder = Embedder(encoder, "maps")
        self.decoder = nn.ModuleList()
        before = 0
        for stride, width in zip(STRIDES, decoder_widths, strict=True):
            self.decoder.append(conv_block(before + self.encoder.map_channels(stride), width, "batch"))
            before = width
        self.head = nn.Conv2d(before, 2, 1)
        self.bins = None

    def logits(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        """ab (N, 2, ceil(H/4), ceil(W/4)) in Lab units of lightness (N, 1, H, W)."""
        self.refuse_hints(hints)
        height, width = lightness.shape[-2:]
        padded = pad_to_multiple(lightness, self.side_multiple)
        _, *maps = self.encoder(padded)
        x = None
        for stride, stage in zip(STRIDES, self.decoder, strict=True):
            size = (padded.shape[-2] // stride, padded.shape[-1] // stride)
            parts = [] if x is None else [x]
            parts += [maps[index] for index in map_indices(self.encoder.reductions, stride)]
            x = stage(torch.cat([resize(part, size) for part in parts], dim=1))
        ab = AB_LIMIT * torch.tanh(self.head(x).float())
        return ab[..., : -(-height // 4), : -(-width // 4)]

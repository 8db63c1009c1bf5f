"""Color in two stages: an autoencoder learns to rebuild color pictures, and lends its decoder to a colorizer.

The decoder has then learned from codes how color pictures look before it is asked to guess any color (the idea of
pretraining by autoencoders: Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from colorizer.models.base import (
    Colorizer,
    GrayToRgb,
    check_counts,
    check_widths,
    pad_to_multiple,
    register_model,
)


def encoder(channels: int, widths: Sequence[int], latent: int) -> nn.Sequential:
    """A convolution of stride 2, batch norm and ReLU for each width, then a 1 x 1 convolution to the code."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((channels, *widths), widths, strict=False):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], latent, 1))


def decoder(widths: Sequence[int], latent: int) -> nn.Sequential:
    """For each width, in reverse, a convolution, batch norm, ReLU and upsampling; then a convolution to RGB."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((latent, *widths[::-1]), widths[::-1], strict=False):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[0], 3, 3, padding=1), nn.Sigmoid())


@register_model("color_autoencoder")
class ColorAutoencoder(Colorizer):
    """The first stage: color in, the same color out. It colors nothing, and the pipeline refuses it.

    Args:
        widths: channels of the encoder's convolutions, each of which halves the size.
        latent: channels of the code, at 1 / 2 ** len(widths) of the picture's size.
    """

    kind = "autoencoder"
    output = "rgb"
    domain = "thumbnails"

    def __init__(self, widths: Sequence[int] = (16, 32, 64), latent: int = 48) -> None:
        super().__init__()
        check_widths(widths)
        check_counts(latent=latent)
        self.multiple = 2 ** len(widths)
        self.encoder = encoder(3, widths, latent)
        self.decoder = decoder(widths, latent)

    def forward(self, rgb: Tensor) -> Tensor:
        """Rebuilds sRGB (N, 3, H, W) in 0..1, of any H and W."""
        height, width = rgb.shape[-2:]
        return self.decoder(self.encoder(pad_to_multiple(rgb, self.multiple)))[..., :height, :width]


@register_model("two_stage")
class TwoStageColorizer(GrayToRgb):
    """The second stage: a fresh encoder for gray, and the decoder of a ColorAutoencoder with the same arguments.

    The recipe's `decoder_weights` names the autoencoder whose decoder the training starts from.

    Args:
        widths, latent: as of ColorAutoencoder.
    """

    domain = "thumbnails"

    def __init__(self, widths: Sequence[int] = (16, 32, 64), latent: int = 48) -> None:
        super().__init__()
        check_widths(widths)
        check_counts(latent=latent)
        self.multiple = 2 ** len(widths)
        self.encoder = encoder(1, widths, latent)
        self.decoder = decoder(widths, latent)
        self.defaults = {"working_size": 32, "temperature": None, "colorfulness": 1.0}

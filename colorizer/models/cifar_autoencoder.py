"""A convolutional autoencoder for CIFAR-10: 32 x 32 pixels, gray to RGB, through a code smaller than the picture."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from colorizer.models.base import GrayToRgb, check_counts, check_widths, register_model


def encoder_block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU, max pooling: half the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


def decoder_block(inputs: int, outputs: int) -> nn.Sequential:
    """Transposed convolution, batch norm, ReLU, upsampling: twice the size."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2),
    )


@register_model("cifar_autoencoder")
class CifarAutoencoder(GrayToRgb):
    """Blocks of rising width down to a code, and blocks of falling width back up.

    With the defaults, 32 x 32 = 1,024 gray values pass through a code of 4 x 4 x 32 = 512 numbers: half as many, so
    the network has to learn what thumbnails look like. Batch norm: Ioffe and Szegedy 2015, arXiv:1502.03167.

    Args:
        widths: channels of the encoder's blocks; the decoder has them in reverse.
        latent: channels of the code, at 1 / 2 ** len(widths) of the picture's size.
    """

    domain = "thumbnails"

    def __init__(self, widths: Sequence[int] = (16, 32, 64), latent: int = 32) -> None:
        super().__init__()
        check_widths(widths)
        check_counts(latent=latent)
        self.multiple = 2 ** len(widths)
        self.encoder = nn.Sequential(
            *(encoder_block(i, o) for i, o in zip((1, *widths), widths, strict=False)),
            nn.Conv2d(widths[-1], latent, 1),
        )
        rising = widths[::-1]
        self.decoder = nn.Sequential(
            *(decoder_block(i, o) for i, o in zip((latent, *rising), rising, strict=False)),
            nn.Conv2d(widths[0], 3, 3, padding=1),
            nn.Sigmoid(),
        )
        self.defaults = {"working_size": 32, "temperature": None, "colorfulness": 1.0}

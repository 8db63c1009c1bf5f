"""The first colorizer of most courses: an autoencoder that is shown gray pictures and asked for the color ones."""

from __future__ import annotations

from torch import nn

from colorizer.models.base import GrayToRgb, check_counts, register_model


@register_model("plain_autoencoder")
class PlainAutoencoder(GrayToRgb):
    """Three convolutions that downsample, three that upsample, and nothing else: no normalization, no skips.

    Gray in 0..1 in, RGB in 0..1 out, trained by the mean squared error. The layout is that of the usual tutorial on
    convolutional autoencoders (after Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647, with convolutions).

    Args:
        width: channels of the first convolution; each further one of the encoder has twice as many.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        check_counts(width=width)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),  # 1/2 of the picture's size
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # 1/4
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),  # 1/8
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Sigmoid(),
        )
        self.defaults = {"working_size": 96, "temperature": None, "colorfulness": 1.0}

"""The first two networks of Emil Wallner's "Colorizing B&W Photos with Neural Networks" (2017): alpha and beta.

The layouts are those of his article (floydhub.github.io/colorizing-b-w-photos-with-neural-networks). All convolutions
are 3 x 3 with same padding, ReLU after each but the last; ab leaves a tanh in units of 128. Lightness enters as
L/50 - 1 where his enters as it is, 0 to 100: what the weights begin with is made for inputs of about that size.
"""

from __future__ import annotations

from torch import Tensor, nn

from colorizer.models.base import Colorizer, check_counts, pad_to_multiple, register_model


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True))


class WallnerColorizer(Colorizer):
    """What alpha and beta share: an `encoder` down to an eighth of the size, and a `decoder` back up."""

    ab_unit = 128.0

    def forward(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        self.refuse_hints(hints)
        height, width = lightness.shape[-2:]
        ab = self.decoder(self.encoder(pad_to_multiple(lightness / 50 - 1, 8)))
        return self.ab_unit * ab[..., :height, :width].float()


@register_model("alpha")
class Alpha(WallnerColorizer):
    """Overfits one photograph: so one sees that colors come back at all.

    Args:
        width: channels of the first convolution.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        check_counts(width=width)
        self.encoder = nn.Sequential(
            conv(1, width, stride=2),
            conv(width, width),
            conv(width, 2 * width),
            conv(2 * width, 2 * width, stride=2),
            conv(2 * width, 4 * width),
            conv(4 * width, 4 * width, stride=2),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            conv(4 * width, 4 * width),
            nn.Upsample(scale_factor=2),
            conv(4 * width, 2 * width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 2, 3, padding=1),
            nn.Tanh(),
        )


@register_model("beta")
class Beta(WallnerColorizer):
    """Encoder and decoder for a small set of photographs: features instead of one picture's places.

    Args:
        width: channels of the first convolution; 64 in the article.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_counts(2, width=width)
        self.encoder = nn.Sequential(
            conv(1, width),
            conv(width, width, stride=2),
            conv(width, 2 * width),
            conv(2 * width, 2 * width, stride=2),
            conv(2 * width, 4 * width),
            conv(4 * width, 4 * width, stride=2),
            conv(4 * width, 8 * width),
            conv(8 * width, 4 * width),
            conv(4 * width, 2 * width),
        )
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            conv(2 * width, width),
            nn.Upsample(scale_factor=2),
            conv(width, width // 2),
            nn.Conv2d(width // 2, 2, 3, padding=1),
            nn.Tanh(),
            nn.Upsample(scale_factor=2),
        )

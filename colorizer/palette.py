"""The colors of another photo, and a prediction led towards them.

A global hint like that of Zhang et al. 2017 (arXiv 1705.02999), who give their network the histogram of a reference.
Here no network is told: it has said how likely each color is at each place, and those odds are weighed anew until the
whole picture has the colors of the reference, each of them where the network finds it likeliest. Of two photos of one
place, or of one roll of film, the one with color thus tells the other what lightness does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from colorizer.color import AbBins, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.images import Photo

BANDS = 4  # of lightness, from black to white, each with a histogram of its own: skies are lighter than roofs
FEW = 0.02  # the share of a reference in a band from which on the band's own histogram counts more than the whole's
SIDE = 256  # the longer side, in pixels, of the copy of a reference that is looked at
COLORED = 5  # a picture without any chroma above this, in Lab units, is gray
ROUNDS = 10
LEAST = 1e-5  # a share of the picture, below which colors are not told apart
MOST_WEIGHT = 6.0  # natural logarithm; what the network holds for impossible stays so
PLACES = 4096  # on which the weights are found


@dataclass(frozen=True, eq=False)
class Palette:
    """Which colors a photo has, from black to white.

    shares: (BANDS, K), how much of the photo has this lightness and this of the K ab bins; adds up to 1.
    name: how messages call the photo.
    """

    shares: Tensor
    name: str

    @classmethod
    def of(cls, photo: Photo) -> Palette:
        """The colors of a photo; what is transparent does not count. ColorizerError for a photo in gray."""
        image = photo.to_pil().convert("RGBA")
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        *rgb, alpha = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(-1, 4).T.float() / 255
        lab = rgb_to_lab(torch.stack(rgb)[None, :, None])
        if not (alpha.sum() and lab[0, 1:].norm(dim=0)[0, alpha > 0].max() > COLORED):
            raise ColorizerError(f"{photo.name} is gray: a reference shows the colors that a photo should get.")
        bins = AbBins()
        index, weight = (part[0, :, 0] for part in bins.encode(lab[:, 1:]))  # (5, places)
        colors = lab.new_zeros(len(bins), index.shape[1]).scatter_add_(0, index, weight * alpha)
        shares = bands_of(leveled(lab[0, 0, 0], alpha)).T @ colors.T
        return cls(shares / shares.sum(), photo.name)


def leveled(lightness: Tensor, weight: Tensor | None = None) -> Tensor:
    """Lightness (places,) with its darkest and lightest percent at 0 and 100, so that exposures can be compared."""
    counted = lightness if weight is None else lightness[weight > 0]
    low, high = (torch.quantile(counted, part) for part in (0.01, 0.99))
    return ((lightness - low) / (high - low).clamp(min=1) * 100).clamp(0, 100)


def bands_of(lightness: Tensor) -> Tensor:
    """How far each place of lightness (places,) in 0..100 belongs to each band: (places, BANDS), rows add up to 1."""
    middles = torch.linspace(0, 100, BANDS)
    return (1 - (lightness[:, None] - middles).abs() * (BANDS - 1) / 100).clamp(min=0)


def led_to(palette: Palette, likeness: float, logits: Tensor, lightness: Tensor, temperature: float) -> Tensor:
    """Logits (1, K, h, w) weighed anew, so that the picture has the colors of a palette.

    With p the distribution at the temperature, b the band of a place and h_b the mean of p over a band, the weights w
    are those with which the mean of w_b(k) p(k), divided by its sum at each place, becomes over each band

        (1 - likeness) h_b(k) + likeness * palette_b(k)

    They are found by iterative proportional fitting (Deming and Stephan 1940): each round multiplies them by what is
    asked over what there is.

    Args:
        likeness: 0 leaves the distribution as it is, and 1 asks for the palette's own shares.
        lightness: (1, 1, h, w), CIE L, on the grid of the logits.
    """
    bands = bands_of(leveled(lightness.flatten()))
    odds = torch.softmax(logits.float() / temperature, dim=1)[0].flatten(1).T  # (places, K)
    step = math.ceil(len(odds) / PLACES)
    some, some_bands = odds[::step], bands[::step]
    held = some_bands.sum(0)[:, None].clamp(min=1e-6)  # how many places each band has

    there = some_bands.T @ some / held
    size = palette.shares.sum(1, keepdim=True)
    own = palette.shares / size.clamp(min=1e-6)
    trust = size / (size + FEW)
    asked = (1 - likeness) * there + likeness * (trust * own + (1 - trust) * palette.shares.sum(0))

    weights = torch.zeros_like(asked)  # logarithms
    for _ in range(ROUNDS):
        weights += torch.log((asked + LEAST) / (there + LEAST))
        weights.clamp_(-MOST_WEIGHT, MOST_WEIGHT)
        weighed = some * (some_bands @ weights).exp()
        there = some_bands.T @ (weighed / weighed.sum(1, keepdim=True)) / held
    return logits + temperature * (bands @ weights).T.reshape(logits.shape)

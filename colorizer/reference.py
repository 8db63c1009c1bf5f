"""The colors of another photo, and a prediction led towards them.

Two things are taken from a reference. Its places: where the photo shows what a place of the reference shows, by the
feature maps of the network's embedder, the colors there become likelier, as in the exemplar-based colorization of He
et al. 2018 (arXiv 1807.06587), without a network of its own. And its colors altogether: the odds are weighed anew
until the whole picture has as much of each color as the reference, each where the network finds it likeliest; Zhang
et al. 2017 (arXiv 1705.02999) give such a histogram to their network. The one needs two photos of the same things, the
other two of one place, one hour or one roll of film.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from colorizer.color import AbBins, ab_bin_centers, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.images import Photo

SIDE = 512  # the longer side, in pixels, of the copy of a reference that is kept
COLORED, COLORED_SHARE = 5, 0.001  # chroma in Lab units that as much of a picture has, or it is gray

# Places, see `described` and `remembered`.
STRIDES = (4, 8, 16)  # of the maps that describe a place: finer ones show edges, coarser ones hardly any place
SPACING = 8  # pixels of the working copy from place to place
MOST_PLACES = 2048
NEARBY = 0.1  # squared distance of descriptions that makes a color e times less likely
LEAST_SHARE = 1e-3  # what a color gets that no such place has

# Colors altogether, see `with_shares`.
BANDS = 4  # of lightness, from black to white, each with a histogram of its own: skies are lighter than roofs
FEW = 0.02  # the share of a reference in a band from which on the band's own histogram counts more than the whole's
ROUNDS = 10
LEAST = 1e-5  # a share of the picture, below which colors are not told apart
MOST_WEIGHT = 6.0  # natural logarithm; what the network holds for impossible stays so
SOME_PLACES = 4096  # on which the weights are found


class Reference:
    """A photo whose colors others are to get; it may be used for many of them, and by several models.

    What is transparent does not count. ColorizerError for a photo in gray.

    Attributes:
        name: how messages call the photo.
        lab: of a small copy, (1, 3, h, w). opacity: (1, 1, h, w), 0..1. Both float16.
        shares: (BANDS, K), how much of the photo has a lightness and one of the K ab bins; they add up to 1.
        known: the model that has looked at it last, and what it has made of its places (see `described`).
    """

    def __init__(self, photo: Photo):
        image = photo.to_pil().convert("RGBA")
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        channels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        lab, opacity = rgb_to_lab(channels[:, :3]), channels[:, 3:].flatten()
        if not opacity.any():
            raise ColorizerError(f"{photo.name} is transparent all over: a reference shows colors.")
        if lab[0, 1:].norm(dim=0).flatten()[opacity > 0].quantile(1 - COLORED_SHARE) <= COLORED:
            raise ColorizerError(f"{photo.name} is gray: a reference shows the colors that a photo should get.")
        self.name = photo.name
        self.lab, self.opacity = lab.half(), channels[:, 3:].half()
        bands = bands_of(leveled(lab[0, 0].flatten(), opacity))
        index, weight = _codes(lab[:, 1:])
        self.shares = lab.new_zeros(BANDS, len(ab_bin_centers()))
        for shares, band in zip(self.shares, bands.T, strict=True):
            shares.scatter_add_(0, index.flatten(), (weight * (band * opacity)[:, None]).flatten())
        self.shares /= self.shares.sum()
        self.known: tuple[object, Tensor | None] | None = None

    def colors_at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The colors (places, K) of a grid of places (rows, columns) as bins, and which of them count (places,).

        That is those at least half as opaque as the most opaque one.
        """
        opacity = self.opacity.float()
        ab, left = (
            F.interpolate(part, size=size, mode="bilinear", antialias=True)
            for part in (self.lab[:, 1:].float() * opacity, opacity)
        )
        index, weight = _codes(ab / left.clamp(min=1e-6))
        colors = ab.new_zeros(len(index), len(ab_bin_centers())).scatter_add_(1, index, weight)
        left = left.flatten()
        return colors, left >= left.max() / 2


def _codes(ab: Tensor) -> tuple[Tensor, Tensor]:
    """ab (1, 2, h, w) in Lab units, soft-encoded: the indices of bins (h * w, 5), and their weights."""
    return tuple(part[0].flatten(1).T for part in AbBins().encode(ab))


# ------------------------------------------------------------------------------------------------------ places


def grid_of(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the places of a working copy."""
    spacing = max(SPACING, math.sqrt(height * width / MOST_PLACES))
    return max(1, int(height / spacing)), max(1, int(width / spacing))


def described(embedding: Sequence[Tensor] | None, reductions: Sequence[int], lightness: Tensor) -> Tensor | None:
    """What the places of one working copy show: (1, C, rows, columns) float16; None without feature maps.

    At each place the maps at STRIDES, those of one stride together of length 1, and the lightness.

    Args:
        embedding: as Colorizer.embed gives it: a vector, and the maps if there are any. reductions: of the maps.
        lightness: (1, 1, h, w).
    """
    maps = [
        (part, reductions.count(reduction))  # of two embedders, say
        for part, reduction in zip((embedding or ())[1:], reductions, strict=True)
        if reduction in STRIDES
    ]
    if not maps:
        return None
    size = grid_of(*lightness.shape[-2:])
    parts = [F.normalize(_on_grid(part, size), dim=1) / math.sqrt(count) for part, count in maps]
    return torch.cat([*parts, _on_grid(lightness, size) / 100], dim=1).half()


def _on_grid(part: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(part.float(), size=size, mode="bilinear", antialias=True)


def remembered(places: Tensor, others: Tensor, colors: Tensor, counts: Tensor) -> Tensor:
    """Evidence for each color (1, K, rows, columns), in natural logarithms, from the places of a reference.

    With d the squared distances of a place's description to the reference's, it is the logarithm of the mean of their
    colors, each weighed by exp(-d / NEARBY), times exp(-d^2) of the nearest: what the reference does not show tells
    nothing.

    Args:
        places: (1, C, rows, columns), of the photo. others: (1, C, h, w), of the reference; see `described`.
        colors: (h * w, K). counts: (h * w,), whether a place of the reference counts; one does.
    """
    here, there = (part[0].flatten(1).T.float() for part in (places, others))
    distance = torch.cdist(here, there).square().masked_fill(~counts, math.inf)
    seen = torch.softmax(-distance / NEARBY, dim=1) @ colors
    trust = torch.exp(-distance.min(dim=1, keepdim=True).values.square())
    return (trust * torch.log(seen + LEAST_SHARE)).T.reshape(1, -1, *places.shape[-2:])


# ------------------------------------------------------------------------------------------ colors altogether


def leveled(lightness: Tensor, weight: Tensor | None = None) -> Tensor:
    """Lightness (places,) with its darkest and lightest percent at 0 and 100, so that exposures can be compared."""
    counted = lightness if weight is None else lightness[weight > 0]
    low, high = (torch.quantile(counted, part) for part in (0.01, 0.99))
    return ((lightness - low) / (high - low).clamp(min=1) * 100).clamp(0, 100)


def bands_of(lightness: Tensor) -> Tensor:
    """How far each place of lightness (places,) in 0..100 belongs to each band: (places, BANDS), rows add up to 1."""
    middles = torch.linspace(0, 100, BANDS, device=lightness.device)
    return (1 - (lightness[:, None] - middles).abs() * (BANDS - 1) / 100).clamp(min=0)


def with_shares(shares: Tensor, likeness: float, logits: Tensor, lightness: Tensor, temperature: float) -> Tensor:
    """Logits (1, K, h, w) weighed anew, so that the picture has as much of each color as a reference.

    With p the distribution at the temperature, b the band of a place and h_b the mean of p over a band, the weights w
    are those with which the mean of w_b(k) p(k), divided by its sum at each place, becomes over each band

        (1 - likeness) h_b(k) + likeness * shares_b(k)

    They are found by iterative proportional fitting (Deming and Stephan 1940): each round multiplies them by what is
    asked over what there is.

    Args:
        shares: (BANDS, K), of a Reference.
        likeness: 0 leaves the distribution as it is, and 1 asks for the reference's own shares.
        lightness: (1, 1, h, w), CIE L, on the grid of the logits.
    """
    bands = bands_of(leveled(lightness.flatten()))
    step = math.ceil(len(bands) / SOME_PLACES)
    while math.gcd(step, logits.shape[-1]) > 1:  # the same columns of every row would be taken
        step += 1
    some = torch.softmax(logits[0].flatten(1)[:, ::step].T.float() / temperature, dim=1)  # (places, K)
    some_bands = bands[::step]
    held = some_bands.sum(0)[:, None].clamp(min=1e-6)  # how many places each band has

    there = some_bands.T @ some / held
    size = shares.sum(1, keepdim=True)
    trust = size / (size + FEW)
    whole = shares.sum(0) / shares.sum()
    asked = (1 - likeness) * there + likeness * (trust * shares / size.clamp(min=1e-6) + (1 - trust) * whole)

    weights = torch.zeros_like(asked)  # logarithms
    for _ in range(ROUNDS):
        weights += torch.log((asked + LEAST) / (there + LEAST))
        weights.clamp_(-MOST_WEIGHT, MOST_WEIGHT)
        weighed = some * (some_bands @ weights).exp()
        there = some_bands.T @ (weighed / weighed.sum(1, keepdim=True)) / held
    return logits + temperature * (bands @ weights).T.reshape(logits.shape)

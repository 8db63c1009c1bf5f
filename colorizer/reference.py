"""The colors of another photo, and a prediction led towards them.

Three things are taken from a reference. Its places: where the photo shows what a place of the reference shows, by the
feature maps of the network's embedder, the colors there become likelier, as in the exemplar-based colorization of He
et al. 2018 (arXiv 1807.06587), without a network of its own. Its colors altogether: the odds are weighed anew until
the whole picture has as much of each color as the reference, each where the network finds it likeliest; Zhang et al.
2017 (arXiv 1705.02999) give such a histogram to their network. And the scene, if both show one: places that neighbors
tell beyond doubt get the very colors that they have in the reference, and the network is told these as hints, which
carries them further. The first needs two photos of the same things, the second two of one place, one hour or one roll
of film, the third two of one scene, such as pictures of one shot of a film.
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

# Places that are shown again, see `shown_again`.
MOST_APART = 1.2  # squared distance of descriptions
NEIGHBORS, TOGETHER = 2, 3  # places from a place to its neighbors; of four so many lie together in both photos
SLACK = 1.5  # places by which they may lie elsewhere, so that one photo may show things smaller or larger
SAME_LIGHTNESS = 8.0  # Lab units by which lightness of one thing differs
TELLING = 1.0  # squared distance of descriptions of neighbors, below which they are alike
LEAST_TELLING = 0.2  # share of a photo; of fewer places that tell none can be sure
DOUBTED, SURE = 0.05, 0.15  # share of the places that tell, from which on it counts, and counts fully, if shown again

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
        known: the model that has looked at it last, at which working size, and what it has made of its places (see
            `described`).
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
        self.known: tuple[object, int, Tensor | None] | None = None

    def ab_at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """ab (1, 2, rows, columns) in Lab units of a grid of places, and which of them count (rows * columns,).

        That is those at least half as opaque as the most opaque one.
        """
        opacity = self.opacity.float()
        ab, left = (
            F.interpolate(part, size=size, mode="bilinear", antialias=True)
            for part in (self.lab[:, 1:].float() * opacity, opacity)
        )
        return ab / left.clamp(min=1e-6), (left >= left.max() / 2).flatten()


def in_bins(ab: Tensor) -> Tensor:
    """ab (1, 2, h, w) in Lab units as distributions (h * w, K) over the bins."""
    index, weight = _codes(ab)
    return ab.new_zeros(len(index), len(ab_bin_centers())).scatter_add_(1, index, weight)


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


def distances(places: Tensor, others: Tensor, counts: Tensor) -> Tensor:
    """Squared distances of descriptions (rows * columns, h * w), from each place of a photo to each of a reference.

    Args:
        places: (1, C, rows, columns), of the photo. others: (1, C, h, w), of the reference; see `described`.
        counts: (h * w,), whether a place of the reference counts; one does. The distance to the others is infinite.
    """
    here, there = (part[0].flatten(1).T.float() for part in (places, others))
    return torch.cdist(here, there).square().masked_fill(~counts, math.inf)


def remembered(distance: Tensor, colors: Tensor) -> Tensor:
    """Evidence for each color (rows * columns, K), in natural logarithms, from the places of a reference.

    With d the squared distances of a place's description to the reference's, it is the logarithm of the mean of their
    colors, each weighed by exp(-d / NEARBY), times exp(-d^2) of the nearest: what the reference does not show tells
    nothing.

    Args:
        distance: (rows * columns, h * w), see `distances`. colors: (h * w, K).
    """
    seen = torch.softmax(-distance / NEARBY, dim=1) @ colors
    trust = torch.exp(-distance.min(dim=1, keepdim=True).values.square())
    return trust * torch.log(seen + LEAST_SHARE)


def shown_again(places: Tensor, distance: Tensor, other_size: tuple[int, int]) -> tuple[Tensor, Tensor, float]:
    """Which places of a photo a reference shows again, and how sure it is that both show one scene.

    Such a place and the one nearest to it by description are so in turn, to a place, and three of its four neighbors
    have theirs where that one has its own neighbors, about: descriptions alone take one meadow for another. Nor does a
    place count that looks like those beside it or like those above and below: one plain wall is like another all over,
    and one edge before it along its length.

    Args:
        places: (1, C, rows, columns), of the photo, see `described`.
        distance: (rows * columns, h * w), see `distances`. other_size: (h, w).

    Returns:
        (rows, columns) bool; for each place the number of the reference's place nearest to it (rows, columns); 0 to 1.
    """
    rows, columns = size = tuple(places.shape[-2:])
    apart, nearest = (part.view(size) for part in distance.min(dim=1))
    back = distance.argmin(dim=0)[nearest]
    here = _at(torch.arange(nearest.numel(), device=nearest.device).view(size), size)
    in_turn = ((_at(back, size) - here).abs() <= 1).all(dim=0)
    moved = _at(nearest, other_size) - here
    # Beyond the edge nothing lies together, and what lies there looks like the edge.
    beyond, looks = F.pad(moved[None], (NEIGHBORS,) * 4, value=math.inf)[0], places.float()
    looks_beyond = F.pad(looks, (NEIGHBORS,) * 4, mode="replicate")[0]
    together, unlike = 0, []
    for top, left in ((0, NEIGHBORS), (2 * NEIGHBORS, NEIGHBORS), (NEIGHBORS, 0), (NEIGHBORS, 2 * NEIGHBORS)):
        beside = np.s_[:, top : top + rows, left : left + columns]
        together += ((beyond[beside] - moved).abs() <= SLACK).all(dim=0).int()
        unlike.append((looks_beyond[beside] - looks[0]).square().sum(dim=0))
    up, down, left, right = unlike
    telling = torch.minimum(torch.maximum(up, down), torch.maximum(left, right)) > TELLING
    again = telling & in_turn & (together >= TOGETHER) & (apart < MOST_APART)
    share = again.sum().item() / max(telling.sum().item(), LEAST_TELLING * telling.numel())
    return again, nearest, min(max((share - DOUBTED) / (SURE - DOUBTED), 0), 1)


def colors_again(nearest: Tensor, other_size: tuple[int, int], lightness: Tensor, other: Tensor) -> Tensor:
    """ab (2, 2 * rows, 2 * columns) of what a photo shows again, in Lab units: each place in quarters.

    A quarter of a place has the colors around the same quarter of the reference's place, in 5 x 5 quarters, each
    weighed by how near its lightness is: so colors keep to edges, which descriptions know only roughly.

    Args:
        nearest: (rows, columns), the number of the reference's place nearest to each. other_size: (h, w) of those.
        lightness: (1, 1, H, W), CIE L, of the photo.
        other: (1, 4, H', W'), CIE Lab and opacity of the reference, whose lightness can be compared with the photo's.
    """
    rows, columns = (2 * side for side in nearest.shape)
    height, width = (2 * side for side in other_size)
    own = _on_grid(lightness, (rows, columns)).flatten()
    opacity = other[:, 3:]
    other = _on_grid(torch.cat([other[:, :3] * opacity, opacity], dim=1), (height, width))
    other = torch.cat([other[:, :3] / other[:, 3:].clamp(min=1e-6), other[:, 3:]], dim=1)
    around = F.unfold(F.pad(other, (2,) * 4, mode="replicate"), 5)
    at = 2 * _at(nearest, other_size).long().repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    at[0, 1::2] += 1
    at[1, :, 1::2] += 1
    there = around[0, :, (at[0] * width + at[1]).flatten()].view(4, -1, own.numel())
    weight = (torch.exp(-((there[0] - own) / SAME_LIGHTNESS).square()) + 1e-3) * there[3]
    return ((weight * there[1:3]).sum(dim=1) / weight.sum(dim=0).clamp(min=1e-6)).view(2, rows, columns)


def _at(index: Tensor, size: tuple[int, int]) -> Tensor:
    """Row and column (2, ...) on a grid of this size of places that are numbered in reading order."""
    return torch.stack([index // size[1], index % size[1]]).float()


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

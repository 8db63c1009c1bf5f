"""How far a hint reaches: the thing that it was given to, and not what lies beside it.

The network carries the color of a hint some way, and cannot know whether a shirt was meant or a spot on it. So the
color also goes to every place that is like the hinted one and joined to it by such places: of a lightness like its
own, and with colors expected like its own before there were hints, which tells sky from sea where both are as light.
A place is as far away as the one least like the hinted one on the best way to it, so that what is alike but lies
behind an edge keeps its color. Where several hints reach a place, the nearer ones count more, by a high power of the
distance, as in the chrominance blending of Yatziv and Sapiro 2006.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LIKE_LIGHTNESS = 24.0  # Lab units: differences that make a distance of 1
LIKE_EXPECTED = 0.72  # of the square roots of two distributions
LIKE_AB = 25.0  # Lab units, where a model tells a color in place of a distribution
SOFT = 0.4  # distance over which a hint's share falls from 1 to 0
MOST_PLACES = 2**14  # on more, which only a large working copy has, each hint would take half a second
NEARER, AT_HAND = 4, 0.02  # power of the distance; what is added to it, in which places lie at hand


def ways(unlike: Tensor, rows: slice, columns: slice) -> Tensor:
    """Distances (h, w): the greatest unlikeness on the best way, over neighbors, from each place to the patch.

    `unlike` (h, w), 0 or more, is how unlike each place is to the patch, which is at these rows and columns.
    """
    from skimage.morphology import reconstruction  # takes its time to import

    unlike = unlike.numpy().astype(np.float64)
    start = np.full_like(unlike, max(1.0, unlike.max()))
    start[rows, columns] = unlike[rows, columns] = 0
    return torch.from_numpy(reconstruction(start, unlike, method="erosion").astype(np.float32))


def spread(
    patches: Sequence[tuple[slice, slice]],
    colors: Tensor,
    reaches: Sequence[float],
    lightness: Tensor,
    expected: Tensor,
) -> Tensor:
    """What hints make of the places that they reach (3, h, w): their ab times their share, and that share, 0 to 1.

    No hint reaches into another's patch, nor to the places beside it.

    Args:
        patches: rows and columns of each hint, on the grid of places.
        colors: (n, 2), ab of each in any units.
        reaches: how far each goes, 0 (nowhere: its place and what is around it are left to the network) to 1.
        lightness: (h, w), CIE L with its levels stretched.
        expected: (C, h, w), in whose Euclidean distances an unlikeness of 1 is 1; see `described_by`.
    """
    height, width = lightness.shape
    down, across = (torch.arange(side, device=lightness.device) for side in (height, width))
    lengths = expected.square().sum(0)
    shares, weights = [], []
    owner = torch.full((height, width), -1, device=lightness.device)
    for number, (rows, columns) in enumerate(patches):  # what lies beside a patch is enlarged together with it
        owner[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = number
    for number, (rows, columns) in enumerate(patches):  # where two meet, the later hint's, as the network is told
        owner[rows, columns] = number
    for number, ((rows, columns), reach) in enumerate(zip(patches, reaches, strict=True)):
        off = (lightness - lightness[rows, columns].mean()) / LIKE_LIGHTNESS
        here = expected[:, rows, columns].mean((1, 2))
        # The squared distance multiplied out: a product with a matrix is faster than hundreds of differences.
        apart = (lengths - 2 * torch.einsum("c,chw->hw", here, expected) + here.square().sum()).clamp(min=0)
        far = ways((off.square() + apart).sqrt(), rows, columns)
        share = torch.zeros_like(far)
        if reach:
            share = ((reach - far) / min(SOFT, 2 * reach) + 0.5).clamp(0, 1)
            share[rows, columns] = 1
        share[(owner >= 0) & (owner != number)] = 0
        middle = (rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2
        steps = ((down[:, None] - middle[0]).square() + (across - middle[1]).square()).sqrt() / min(height, width)
        shares.append(share)
        weights.append(share / (far + steps + AT_HAND) ** NEARER)
    weights = torch.stack(weights)
    mixed = torch.einsum("nhw,nc->chw", weights / weights.sum(0).clamp(min=1e-12), colors)
    share = torch.stack(shares).amax(0)
    return torch.cat([mixed * share, share[None]])


def described_by(prediction: Tensor, is_distribution: bool) -> Tensor:
    """What a prediction (1, K or 2, h, w) without hints expects at each place, as `spread` compares it: (C, h, w).

    Of logits the square roots of the probabilities, whose distances are Hellinger's but for a factor; else ab.
    """
    if is_distribution:
        return torch.softmax(prediction[0].float(), dim=0).sqrt() / LIKE_EXPECTED
    return prediction[0].float() / LIKE_AB

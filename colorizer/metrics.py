"""How colorizers are measured: against the color original, in torch, batched.

Pictures are sRGB (N, 3, H, W) in 0..1 and ab (N, 2, H, W) in CIE Lab units. No figure says enough alone: error falls
as color fades, and colorfulness rises with neon.
"""

from __future__ import annotations

import torch
from torch import Tensor

from colorizer.color import AB_LIMIT, BIN_SIZE

CELLS = 2 * AB_LIMIT // BIN_SIZE  # of the ab histogram, each way
TINY = 1e-12
MAX_AB_ERROR = 150  # Lab units; the end of the AuC's range (Zhang et al. 2016)


def colorfulness(rgb: Tensor) -> Tensor:
    """Colorfulness (N,) after Hasler and Suesstrunk 2003, their M3 on 8-bit values.

    rg = R - G, yb = (R + G) / 2 - B, with their signs (some code takes absolute values first and gets other numbers):
    sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2). Photographs have about 15 (slightly colorful) to 109.
    """
    red, green, blue = (255 * rgb).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread = opponents.var(-1, correction=0).sum(0)
    mean = opponents.mean(-1).square().sum(0)
    # The root has no slope at 0, and as an objective a picture of one color must not spoil the others' gradient.
    spread, mean = (part.clamp(min=TINY).sqrt() * (part > TINY) for part in (spread, mean))
    return spread + 0.3 * mean


def psnr(rgb: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB over all three channels of sRGB."""
    return -10 * (rgb - truth).square().flatten(1).mean(1).clamp(min=1e-10).log10()


def ssim(rgb: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (N,), at most 1, after Wang et al. 2004, by scikit-image, in float64.

    Computed on each of the three channels of sRGB (data range 1) and averaged over them and over places; the weights
    of the windows are Gaussian (11 pixels across, sigma 1.5), and the covariances those of the paper. Pictures have 11
    pixels a side or more. Colorizers keep the lightness, so that gray is close to 1 already: read it beside gray's.
    """
    from skimage.metrics import structural_similarity

    return torch.tensor(
        [
            structural_similarity(
                one.double().numpy(),
                other.double().numpy(),
                channel_axis=0,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for one, other in zip(rgb.cpu(), truth.cpu(), strict=True)
        ],
        dtype=torch.float64,
    )


def ab_mse(ab: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error (N,) of ab over places and both channels. Its root is the ab RMSE, in Lab units."""
    return (ab - truth).square().flatten(1).mean(1)


def ab_cells(ab: Tensor) -> Tensor:
    """The cell (N, H, W) of the ab histogram that each color falls into; 10 Lab units wide, with an edge at gray."""
    # A hair is added so that the grays of 8-bit pictures, which are not quite at zero, share one cell.
    a, b = (((ab + 0.01) / BIN_SIZE).floor().long().clamp(-(CELLS // 2), CELLS // 2 - 1) + CELLS // 2).unbind(1)
    return a * CELLS + b


def ab_histogram(ab: Tensor) -> Tensor:
    """Number of places (CELLS^2,) in each cell, over all of (N, 2, H, W), in float64 so that sums stay exact."""
    return torch.bincount(ab_cells(ab).flatten(), minlength=CELLS**2).double()


def jensen_shannon_distance(counts: Tensor, other: Tensor) -> float:
    """Distance of two histograms: the root of the Jensen-Shannon divergence in bits, 0 (equal) to 1 (disjoint)."""
    p, q = counts / counts.sum(), other / other.sum()
    middle = (p + q) / 2

    def divergence(share: Tensor) -> Tensor:
        seen = share > 0
        return (share[seen] * (share[seen] / middle[seen]).log2()).sum()

    return (0.5 * (divergence(p) + divergence(q))).clamp(min=0).sqrt().item()


def ab_error_counts(ab: Tensor, truth: Tensor) -> Tensor:
    """How many places (CELLS^2, 151) of each true color have an ab error (Euclidean, rounded up) of 0..150 units."""
    error = (ab - truth).square().sum(1).sqrt().ceil().long().clamp(max=MAX_AB_ERROR)
    index = ab_cells(truth) * (MAX_AB_ERROR + 1) + error
    counts = torch.bincount(index.flatten(), minlength=CELLS**2 * (MAX_AB_ERROR + 1))
    return counts.reshape(CELLS**2, MAX_AB_ERROR + 1).double()


def area_under_curve(counts: Tensor, rebalanced: bool = False) -> float:
    """AuC in percent (Zhang et al. 2016): the mean over thresholds 0..150 of the share of places within it.

    `counts` are ab_error_counts, summed over the set. Rebalanced, every true color (cell) of the set counts the same,
    as by weights of one over its share; cells with less than a millionth of the places are left out as noise.
    """
    if rebalanced:
        places = counts.sum(1)
        kept = places > 1e-6 * places.sum()
        counts = counts[kept] / places[kept, None]
    cumulative = counts.sum(0).cumsum(0)
    return (100 * cumulative / cumulative[-1]).mean().item()

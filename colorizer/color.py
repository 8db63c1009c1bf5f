"""Color for colorizers: sRGB <-> CIE Lab and the in-gamut ab bins, in torch, batched, on any device.

CIE Lab is that of scikit-image: illuminant D65, 2 degree observer. Images are float tensors (..., 3, H, W): sRGB in
0..1, Lab with L in 0..100 and a, b in about -108..98. Results are equal to skimage.color within 1e-3 Lab units.
"""

from __future__ import annotations

import contextlib
import functools

import torch
from torch import Tensor, nn

from colorizer.errors import ColorizerError

# sRGB primaries (IEC 61966-2-1) to XYZ, and the D65 white of the 2 degree observer, with scikit-image's digits.
XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)

# The ab bins of Zhang et al. 2016: the grid's step, and the neighbors and sigma of soft-encoding, in Lab units.
BIN_SIZE = 10
AB_LIMIT = 110
SOFT_NEIGHBORS, SOFT_SIGMA = 5, 5.0


@functools.cache
def _matrices() -> tuple[list[list[float]], list[list[float]]]:
    """XYZ / white from linear RGB, and its inverse, as numbers (rows of three)."""
    on_cpu = {"dtype": torch.float64, "device": "cpu"}  # also when a model is built under another default device
    forward = torch.tensor(XYZ_FROM_RGB, **on_cpu) / torch.tensor(WHITE, **on_cpu)[:, None]
    return forward.tolist(), torch.linalg.inv(forward).tolist()


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """sRGB's transfer curve undone (IEC 61966-2-1). Any shape, 0..1 to 0..1."""
    return torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """sRGB's transfer curve (IEC 61966-2-1). Any shape, 0..1 to 0..1."""
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, linear * 12.92)


def lightness_from_luminance(luminance: Tensor) -> Tensor:
    """CIE L (0..100) of relative luminance Y (0..1). Any shape."""
    return 116 * _lab_curve(luminance) - 16


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab (..., 3, H, W) of sRGB (..., 3, H, W) in 0..1."""
    red, green, blue = srgb_to_linear(rgb).unbind(-3)
    x, y, z = (_lab_curve(row[0] * red + row[1] * green + row[2] * blue) for row in _matrices()[0])
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor, gamut: str = "chroma") -> Tensor:
    """sRGB (..., 3, H, W) in 0..1 of CIE Lab (..., 3, H, W).

    What sRGB cannot show is brought into its gamut: by `gamut="chroma"` a and b are scaled down together until the
    color fits, so that lightness and hue stay; by "clip" each channel is cut off, as scikit-image does, which shifts
    all three. Anything else raises ColorizerError.
    """
    if gamut not in ("chroma", "clip"):
        raise ColorizerError(f"gamut must be 'chroma' or 'clip', not {gamut!r}.")
    lightness, a, b = lab.unbind(-3)
    linear = _lab_to_linear(lightness, a, b)
    if gamut == "chroma":
        outside = ~_in_gamut(linear)
        if outside.any():
            fitted = _fit_chroma(lightness[outside], a[outside], b[outside])
            for channel, values in zip(linear, fitted, strict=True):
                channel[outside] = values
    return torch.stack([linear_to_srgb(channel.clamp(0, 1)) for channel in linear], dim=-3)


def _lab_curve(t: Tensor) -> Tensor:
    """CIE's f: the cube root, linear near black."""
    return torch.where(t > 0.008856, t.clamp(min=0.008856) ** (1 / 3), 7.787 * t + 16 / 116)


def _lab_curve_inverse(f: Tensor) -> Tensor:
    return torch.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)


def _lab_to_linear(lightness: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Linear red, green and blue, not limited to the gamut; all of one shape."""
    y = (lightness + 16) / 116
    # scikit-image keeps Z from falling below zero (very dark and very yellow), and so do we.
    x, y, z = (_lab_curve_inverse(f) for f in (y + a / 500, y, (y - b / 200).clamp(min=0)))
    return tuple(row[0] * x + row[1] * y + row[2] * z for row in _matrices()[1])


def _in_gamut(linear: tuple[Tensor, Tensor, Tensor], tolerance: float = 1e-5) -> Tensor:
    """Where all channels of linear RGB lie in 0..1. What the tolerance lets through leaves black black in 8 bits."""
    low, high = -tolerance, 1 + tolerance
    red, green, blue = ((channel >= low) & (channel <= high) for channel in linear)
    return red & green & blue


def _fit_chroma(lightness: Tensor, a: Tensor, b: Tensor, steps: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Linear RGB of pixels (P,) with their chroma scaled to the largest share that fits, found by bisection.

    Gray always fits, and along a ray from gray the in-gamut share is one interval for all practical purposes.
    """
    lightness = lightness.clamp(0, 100)
    low, high = torch.zeros_like(lightness), torch.ones_like(lightness)
    for _ in range(steps):
        share = (low + high) / 2
        fits = _in_gamut(_lab_to_linear(lightness, a * share, b * share))
        low, high = torch.where(fits, share, low), torch.where(fits, high, share)
    return _lab_to_linear(lightness, a * low, b * low)


@functools.cache
def ab_bin_centers() -> Tensor:
    """Centers (K, 2) of the ab bins that the sRGB gamut reaches, on a grid of 10 Lab units, after Zhang et al. 2016.

    A bin counts when any color of the sRGB cube, sampled at every fifth 8-bit level, is nearest to it: K is 260. (The
    paper's list, published without its rule, has 313.)
    """
    level = torch.linspace(0, 1, 52, device="cpu")
    cube = torch.stack(torch.meshgrid(level, level, level, indexing="ij")).reshape(3, -1, 1)
    cells = torch.unique((rgb_to_lab(cube)[1:, :, 0] / BIN_SIZE).round(), dim=1)
    return cells.T * BIN_SIZE


@functools.cache
def _soft_code_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nearest bins (S * S, 5) and their weights (S * S, 5) of every ab of whole Lab units, -110..110 each way."""
    unit = torch.arange(-AB_LIMIT, AB_LIMIT + 1, dtype=torch.float32, device="cpu")
    points = torch.cartesian_prod(unit, unit)
    distance, index = torch.cdist(points, ab_bin_centers()).topk(SOFT_NEIGHBORS, largest=False)
    weights = torch.softmax(-distance.square() / (2 * SOFT_SIGMA**2), dim=1)
    return index.to(device), weights.to(device)


class AbBins(nn.Module):
    """The quantized ab plane: soft-encoding of colors and the annealed mean, after Zhang et al. 2016.

    `centers` (K, 2) is a buffer that is not saved: it follows from the gamut alone.
    """

    def __init__(self) -> None:
        super().__init__()
        # A copy, so that two models never share memory; made on the CPU whatever the default device.
        self.register_buffer("centers", ab_bin_centers().clone(), persistent=False)

    def __len__(self) -> int:
        return self.centers.shape[0]

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Soft-encodes ab (N, 2, H, W), in Lab units, over the five nearest bins with a Gaussian of sigma 5.

        Returns the bins' indices (N, 5, H, W), nearest first, and their weights (N, 5, H, W), which add up to 1.
        Colors are rounded to whole Lab units first, which a table of all answers pays for with a tenfold speed.
        """
        a, b = (ab.round().clamp(-AB_LIMIT, AB_LIMIT).long() + AB_LIMIT).unbind(1)
        cell = a * (2 * AB_LIMIT + 1) + b
        return tuple(table[cell].permute(0, 3, 1, 2) for table in _soft_code_table(ab.device))

    def decode(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """The annealed mean (N, 2, H, W) in Lab units of logits (N, K, H, W).

        The softmax is taken at `temperature`: 1 gives the mean of the distribution (soft colors), towards 0 its mode
        (bold colors that may jump from place to place); the paper uses 0.38.
        """
        probabilities = torch.softmax(logits.float() / temperature, dim=1)
        with _without_autocast(logits.device.type):  # which would take half precision, and give colors half a unit off
            return torch.einsum("nkhw,kc->nchw", probabilities, self.centers)


def _without_autocast(device: str) -> contextlib.AbstractContextManager:
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()

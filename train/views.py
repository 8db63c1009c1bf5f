"""What the network sees of a picture: views, cut, scaled and turned into Lab in whole batches, on any device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from colorizer.color import rgb_to_lab

AREA = (0.35, 1.0)  # of the picture's largest square that a random view covers
ASPECT = (0.8, 1.25)  # width over height of a view
SHIFT = 1 / 28  # of the side that a picture is moved by at most: 1 pixel of a digit
TURN = 7  # degrees that it is turned by at most
MOST_HINTS = 20
HINT_RADIUS = 4  # pixels; a hint covers 1 to 9 pixels a side

# The columns of `draw`: where a view lies, and its hints.
SIDE, SHAPE, TOP, LEFT, FLIP, HINTED, HINTS = range(7)
DRAWS = 7 + 3 * MOST_HINTS


def draw(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Random numbers in 0..1, (N, DRAWS): a row depends on (seed, epoch, index) alone, never on a batch or a process,
    so that a resumed run, or one on more processes, sees what an uninterrupted one would have seen."""
    rows = [np.random.default_rng((seed, epoch, index)).random(DRAWS, np.float32) for index in indices.tolist()]
    return torch.from_numpy(np.stack(rows))


def random_boxes(draws: Tensor, aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Start and length (N, 2) of random views, in shares of the picture's height and width; (vertical, horizontal)."""
    side = (AREA[0] + (AREA[1] - AREA[0]) * draws[:, SIDE]).sqrt()
    low, high = np.log(ASPECT)
    shape = torch.exp(0.5 * (low + (high - low) * draws[:, SHAPE]))
    # In units of the picture's short side, which is 1; the long side is max(aspect, 1 / aspect).
    size = torch.stack([side / shape, side * shape], dim=1)
    picture = torch.stack([(1 / aspect).clamp(min=1), aspect.clamp(min=1)], dim=1)
    length = (size / picture).clamp(max=1)
    return (1 - length) * draws[:, [TOP, LEFT]], length


def center_boxes(aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Start and length (N, 2) of the square in the middle of each picture."""
    length = torch.stack([aspect, 1 / aspect], dim=1).clamp(max=1)
    return (1 - length) / 2, length


def cut(rgb: Tensor, start: Tensor, length: Tensor, size: int) -> Tensor:
    """The boxes of squares (N, 3, S, S) uint8, scaled to (N, 3, size, size), float, 0..255.

    Scaled by a triangle filter as wide as the step (antialiased, as Pillow's BILINEAR does), written as one matrix for
    the rows and one for the columns.
    """
    rows, columns = (_filter(start[:, axis], length[:, axis], rgb.shape[-1], size) for axis in (0, 1))
    return rows[:, None] @ rgb.float() @ columns[:, None].transpose(-1, -2)


def _filter(start: Tensor, length: Tensor, inputs: int, outputs: int) -> Tensor:
    """Weights (N, outputs, inputs) that scale a stretch of `inputs` pixels to `outputs`; both in shares."""
    step = (length * inputs / outputs)[:, None, None]
    place = torch.arange(outputs, device=start.device) + 0.5
    center = (start * inputs)[:, None, None] + place[None, :, None] * step
    pixel = torch.arange(inputs, device=start.device) + 0.5
    weights = (1 - (pixel - center).abs() / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)


def moved(pictures: Tensor, draws: Tensor) -> Tensor:
    """Pictures (N, C, H, W), each turned by up to TURN degrees and moved by up to SHIFT of its side either way."""
    angle = math.radians(TURN) * (2 * draws[:, SHAPE] - 1)
    cos, sin = angle.cos(), angle.sin()
    across, down = (2 * SHIFT * (2 * draws[:, column] - 1) for column in (LEFT, TOP))  # in half sides
    transform = torch.stack([cos, -sin, across, sin, cos, down], dim=1).reshape(-1, 2, 3)
    grid = functional.affine_grid(transform, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def training_views(batch: dict[str, Tensor], draws: Tensor | None, size: int, augmentation: str = "crops") -> Tensor:
    """Views (N, 3, size, size) of a batch, sRGB in 0..1: random ones by `draws`, the center squares for None.

    augmentation: "crops", random boxes, half of them mirrored; "flips", center squares, half of them mirrored;
    "shifts", center squares that are moved and turned a little.
    """
    rgb, aspect = batch["rgb"], batch["aspect"]
    if draws is None:
        return cut(rgb, *center_boxes(aspect), size) / 255
    boxes = random_boxes(draws, aspect) if augmentation == "crops" else center_boxes(aspect)
    views = cut(rgb, *boxes, size) / 255
    if augmentation == "shifts":
        return moved(views, draws)
    flipped = draws[:, FLIP, None, None, None] < 0.5
    return torch.where(flipped, views.flip(-1), views)


def to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Lightness (N, 1, H, W) and ab (N, 2, H, W) of sRGB (N, 3, H, W) in 0..1."""
    lab = rgb_to_lab(rgb)
    return lab[:, :1].contiguous(), lab[:, 1:].contiguous()


def simulate_hints(ab: Tensor, draws: Tensor, share: float) -> Tensor:
    """Color hints (N, 3, H, W) as a person might give them, after Zhang et al. 2017.

    `share` of the pictures get 0 to MOST_HINTS points at random places; a point is a square patch of 1 to 9 pixels a
    side that carries the mean ab of the picture below it. `ab` is (N, 2, H, W) in Lab units, `draws` (N, DRAWS).
    """
    n, _, height, width = ab.shape
    hints = ab.new_zeros(n, 3, height, width)
    if not share:
        return hints
    # One number decides both whether a picture is hinted and how often: below `share` it is spread over the counts.
    count = (draws[:, HINTED] / share * (MOST_HINTS + 1)).long()
    count[draws[:, HINTED] >= share] = 0
    place = torch.arange(MOST_HINTS, device=ab.device)
    owner, number = (place[None] < count[:, None]).nonzero(as_tuple=True)
    if not len(owner):
        return hints
    y, x, radius = (
        (draws[owner, HINTS + 3 * number + part] * most).long()
        for part, most in enumerate((height, width, HINT_RADIUS + 1))
    )

    offset = torch.arange(-HINT_RADIUS, HINT_RADIUS + 1, device=ab.device)
    dy, dx = (o.reshape(1, -1) for o in torch.meshgrid(offset, offset, indexing="ij"))
    rows, columns = y[:, None] + dy, x[:, None] + dx
    inside = torch.maximum(dy.abs(), dx.abs()) <= radius[:, None]
    inside &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)

    colors = ab[owner[:, None], :, rows, columns]  # (points, 81, 2)
    mean = (colors * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
    point, cell = inside.nonzero(as_tuple=True)
    values = torch.cat([mean, mean.new_ones(len(mean), 1)], dim=1)
    # Where two patches meet, the later point wins, on every device: index_put_ with duplicates promises no order.
    for late in range(MOST_HINTS):
        chosen = number[point] == late
        p, c = point[chosen], cell[chosen]
        hints[owner[p], :, rows[p, c], columns[p, c]] = values[p]
    return hints

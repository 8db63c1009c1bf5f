"""What the network sees of a picture: views, cut, scaled and turned into Lab in whole batches, on any device."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from colorizer.color import lightness_from_luminance, rgb_to_lab, srgb_to_linear
from colorizer.models.embedder import lightness_to_gray
from train.data import NO_LABEL
from train.documents import draw_documents

AREA = (0.35, 1.0)  # of the picture's largest square that a random view covers
ASPECT = (0.8, 1.25)  # width over height of a view
SHIFT = 1 / 28  # of the side that a picture is moved by at most: 1 pixel of a digit
TURN = 7  # degrees that it is turned by at most
MOST_HINTS = 20
HINT_RADIUS = 4  # pixels; a hint covers 1 to 9 pixels a side

# How far, by Gaussians of these sigmas, what is recolored may differ from a hint's place and lie from it.
ALIKE_AB, ALIKE_LIGHTNESS, NEAR = 12, 15, 0.25  # Lab units, units of L, of the view's short side
CHROMAS = (15, 60)  # of the new color, in Lab units

# What age does to a picture at most; each of it happens to OFTEN of those that are aged.
OFTEN = 0.6
MOST_BLUR = 1.2 / 96  # sigma, of the view's short side
MOST_GRAIN = 10  # standard deviation, units of L
MOST_GAMMA = 1.5  # and one over it
CONTRAST = (-0.6, 0.9)  # below 0 flatter, above steeper in the middle; between -1 and 1 no lightness turns around
MOST_FADING = 0.15  # of the range of L that black and white each lose
SHARPENED = 1 / 96  # sigma of the blur that sharpening takes away from, of the view's short side
MOST_SHARPENING = 1.0  # times the difference from that blur
QUALITY = (20, 90)  # of the JPEG
GRAIN_TILE = 512  # pixels a side

DOCUMENTS = 1000  # different ones that are drawn

# JPEG's table for luminance (ITU-T T.81, Annex K, table K.1).
LUMINANCE_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)

# The columns of `draw`: where a view lies, its hints, its age, and the document in its place. New ones belong at the
# end, so that the earlier ones stay the numbers that they were.
SIDE, SHAPE, TOP, LEFT, FLIP, HINTED, HINTS = range(7)
AGED = 7 + 3 * MOST_HINTS
BLURRED, BLUR, GRAINED, GRAIN, GRAIN_TOP, GRAIN_LEFT = range(AGED + 1, AGED + 7)
TONED, TONE_CONTRAST, TONE_GAMMA, TONE_BLACK, TONE_WHITE = range(AGED + 7, AGED + 12)
COMPRESSED, COMPRESSION, REPLACED, REPLACEMENT = range(AGED + 12, AGED + 16)
CRISP, CRISPNESS = range(AGED + 16, AGED + 18)
RECOLORED, HUE, CHROMA = range(AGED + 18, AGED + 21)
DRAWS = AGED + 21


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


def recolor(lightness: Tensor, ab: Tensor, draws: Tensor, share: float) -> Tensor:
    """ab (N, 2, H, W) in which what lies at the place of the first hint has another color in `share` of the pictures.

    True hints tell of a whole picture, of its light or its film, and who learns from them alone paints all of it anew
    for a single wrong color. A hint that does not fit the rest is to be heard where it is: so what is near the hint,
    and of its color and lightness, by a Gaussian of each, moves by as much as the place to a random hue and chroma.
    `lightness` is (N, 1, H, W), `draws` (N, DRAWS), from which simulate_hints has to be given a share of 1.
    """
    chosen = (draws[:, RECOLORED] < share) & (draws[:, HINTED] * (MOST_HINTS + 1) >= 1)
    if not chosen.any():
        return ab
    lab, row = torch.cat([lightness, ab], dim=1)[chosen], draws[chosen]
    height, width = lab.shape[-2:]
    y, x = (row[:, HINTS] * height).long(), (row[:, HINTS + 1] * width).long()  # as simulate_hints reads them
    place = lab[torch.arange(len(lab), device=ab.device), :, y, x][:, :, None, None]
    down = torch.arange(height, device=ab.device)[:, None] - y[:, None, None]
    across = torch.arange(width, device=ab.device) - x[:, None, None]
    distance = (down.square() + across.square()) / (NEAR * min(height, width)) ** 2
    distance = distance[:, None] + ((lab[:, :1] - place[:, :1]) / ALIKE_LIGHTNESS).square()
    distance += ((lab[:, 1:] - place[:, 1:]) / ALIKE_AB).square().sum(1, keepdim=True)
    hue, chroma = 2 * math.pi * row[:, HUE], CHROMAS[0] + (CHROMAS[1] - CHROMAS[0]) * row[:, CHROMA]
    color = torch.stack([chroma * hue.cos(), chroma * hue.sin()], dim=1)[:, :, None, None]
    recolored = ab.clone()
    recolored[chosen] = lab[:, 1:] + torch.exp(-distance / 2) * (color - place[:, 1:])
    return recolored


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
    y, x = rows[point, cell], columns[point, cell]
    place = (owner[point] * height + y) * width + x
    latest = number.new_full((n * height * width,), -1).scatter_reduce(0, place, number[point], "amax")
    wins = number[point] == latest[place]
    point = point[wins]
    hints[owner[point], :, y[wins], x[wins]] = values[point]
    return hints


def with_documents(batch: dict[str, Tensor], draws: Tensor, share: float) -> dict[str, Tensor]:
    """The batch with `share` of its pictures replaced by drawn documents, which belong to no class.

    `batch` is as Pictures gives it: "rgb" uint8 (N, 3, S, S), "aspect" (N,), "label" (N,). `draws` is (N, DRAWS).
    Where any are replaced, "drawn" (N,) says which.
    """
    chosen = draws[:, REPLACED] < share
    if not chosen.any():
        return batch
    drawn = documents(batch["rgb"].shape[-1])
    which = (draws[chosen, REPLACEMENT].cpu() * len(drawn)).long()
    replaced = batch | {name: batch[name].clone() for name in ("rgb", "aspect", "label")}
    replaced["rgb"][chosen] = drawn[which].to(draws.device)  # these few alone
    replaced["aspect"][chosen], replaced["label"][chosen] = 1.0, NO_LABEL
    return replaced | {"drawn": chosen}


@functools.cache
def documents(size: int) -> Tensor:
    """DOCUMENTS drawn ones, uint8 (N, 1, size, size); the same in every process."""
    return draw_documents(DOCUMENTS, size)


def age(lightness: Tensor, draws: Tensor, share: float) -> Tensor:
    """Lightness as of old photographs that were scanned: blurred, grainy, faded, sharpened, and stored as JPEG.

    `share` of the pictures are aged, each degradation drawn at random in strength and whether at all; the others come
    back bit for bit. `lightness` is (N, 1, H, W) in 0..100, as is what is returned; `draws` is (N, DRAWS).
    """
    if not share:
        return lightness
    old, aged = draws[:, AGED] < share, lightness.clone()
    # As it happened: the lens, the film, the print and its years, the scanner's software, the scan's file.
    damages = {BLURRED: blur, GRAINED: add_grain, TONED: tone, CRISP: sharpen, COMPRESSED: compress}
    for column, damage in damages.items():
        chosen = old & (draws[:, column] < OFTEN)
        if chosen.any():
            aged[chosen] = damage(aged[chosen], draws[chosen]).clamp(0, 100)
    return aged


def blur(lightness: Tensor, draws: Tensor) -> Tensor:
    """Lightness (N, 1, H, W) under a Gaussian of sigma 0 to MOST_BLUR of the short side; edges are repeated."""
    most = MOST_BLUR * min(lightness.shape[-2:])
    return gaussian(lightness, most * draws[:, BLUR], most)


def sharpen(lightness: Tensor, draws: Tensor) -> Tensor:
    """Lightness (N, 1, H, W) with its fine detail enlarged, by an unsharp mask, up to 1 + MOST_SHARPENING times."""
    sigma = SHARPENED * min(lightness.shape[-2:])
    detail = lightness - gaussian(lightness, torch.full_like(draws[:, CRISPNESS], sigma), sigma)
    return lightness + MOST_SHARPENING * draws[:, CRISPNESS, None, None, None] * detail


def gaussian(lightness: Tensor, sigma: Tensor, most: float) -> Tensor:
    """Lightness (N, 1, H, W) under Gaussians of these sigmas (N,), in pixels; edges are repeated.

    They are cut at three times `most`, the greatest sigma that there can be, so that no picture depends on its batch.
    """
    sigma = sigma.clamp(min=1e-3)[:, None]
    radius = math.ceil(3 * most)
    offset = torch.arange(-radius, radius + 1, device=lightness.device)
    weights = torch.exp(-offset.square() / (2 * sigma.square()))
    weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]  # (N, taps, 1, 1, 1)
    for dim, padding in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        size, padded = lightness.shape[dim], functional.pad(lightness, padding, mode="replicate")
        lightness = sum(weights[:, tap] * padded.narrow(dim, tap, size) for tap in range(2 * radius + 1))
    return lightness


@functools.cache
def grain_tile() -> Tensor:
    """Noise (GRAIN_TILE, GRAIN_TILE) of mean 0 and standard deviation 1, correlated over about a pixel; it repeats.

    One tile for all pictures: noise drawn for a batch would depend on the batch.
    """
    tile = torch.randn(GRAIN_TILE, GRAIN_TILE, generator=torch.Generator().manual_seed(0), device="cpu")
    for dim in (0, 1):
        tile = tile + 0.5 * (tile.roll(1, dim) + tile.roll(-1, dim))
    return (tile - tile.mean()) / tile.std()


def add_grain(lightness: Tensor, draws: Tensor) -> Tensor:
    """Lightness (N, 1, H, W) with film grain of standard deviation 0 to MOST_GRAIN, which may leave 0..100."""
    height, width = lightness.shape[-2:]
    top, left = ((draws[:, column] * GRAIN_TILE).long()[:, None] for column in (GRAIN_TOP, GRAIN_LEFT))
    rows = (top + torch.arange(height, device=draws.device)) % GRAIN_TILE
    columns = (left + torch.arange(width, device=draws.device)) % GRAIN_TILE
    grain = grain_tile().to(lightness.device)[rows[:, :, None], columns[:, None, :]]
    return lightness + MOST_GRAIN * draws[:, GRAIN, None, None, None] * grain[:, None]


def tone(lightness: Tensor, draws: Tensor) -> Tensor:
    """Lightness (N, 1, H, W) under a film's curve: gamma, contrast, and a black and a white that have faded.

    Of x = L / 100, y = x ** gamma goes to z = y + c y (1 - y) (2 y - 1), and z to black + (white - black) z.
    """

    def drawn(column: int, low: float, high: float) -> Tensor:
        return (low + (high - low) * draws[:, column])[:, None, None, None]

    steepest = math.log(MOST_GAMMA)
    # Black may be a hair below 0, which has no power.
    y = (lightness / 100).clamp(0, 1) ** drawn(TONE_GAMMA, -steepest, steepest).exp()
    z = y + drawn(TONE_CONTRAST, *CONTRAST) * y * (1 - y) * (2 * y - 1)
    black, white = drawn(TONE_BLACK, 0, MOST_FADING), drawn(TONE_WHITE, 1 - MOST_FADING, 1)
    return 100 * (black + (white - black) * z)


def compress(lightness: Tensor, draws: Tensor) -> Tensor:
    """Lightness (N, 1, H, W) of the gray picture after a JPEG of quality QUALITY[0] to QUALITY[1].

    What loses is done, and no more: 8 bits, the cosine transform of blocks of 8 x 8 pixels, the rounding of its
    coefficients by LUMINANCE_TABLE, scaled for the quality as the Independent JPEG Group's library does. Sizes that
    are no multiples of 8 are padded by the edge.
    """
    height, width = lightness.shape[-2:]
    quality = (QUALITY[0] + (QUALITY[1] - QUALITY[0]) * draws[:, COMPRESSION]).round()
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None, None, None]
    table = ((lightness.new_tensor(LUMINANCE_TABLE) * scale + 50) / 100).floor().clamp(1, 255)

    gray = (255 * lightness_to_gray(lightness)).round() - 128
    gray = functional.pad(gray, (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
    blocks = gray.unflatten(2, (-1, 8)).unflatten(1, (-1, 8)).transpose(2, 3)  # (N, rows, columns, 8, 8)
    place = torch.arange(8, device=lightness.device)
    basis = torch.cos(math.pi / 8 * (place + 0.5) * place[:, None]) / 2  # (frequency, place)
    basis[0] /= math.sqrt(2)
    coefficients = basis @ blocks @ basis.T
    blocks = basis.T @ ((coefficients / table).round() * table) @ basis
    gray = blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, None, :height, :width]
    return lightness_from_luminance(srgb_to_linear((gray + 128).round().clamp(0, 255) / 255))

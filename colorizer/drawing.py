"""Digits drawn by program, for where there are no handwritten ones: examples, figures and tests."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 28  # pixels, as MNIST's
LARGE = 112  # pixels that a digit is drawn at, before it is turned and reduced


def draw_digits(digits: list[int], seed: int = 0) -> np.ndarray:
    """Pictures (N, 28, 28) of digits (0 to 9), uint8, white on black, laid out as MNIST's: 20 pixels high, centered.

    Each is drawn with another slant, size, turn and thickness; the same ones for the same seed.
    """
    random = np.random.default_rng(seed)
    return np.stack([_draw(digit, random) for digit in digits])


def _draw(digit: int, random: np.random.Generator) -> np.ndarray:
    picture = Image.new("L", (LARGE, LARGE))
    height = random.uniform(72, 88)
    ImageDraw.Draw(picture).text(
        (LARGE / 2, LARGE / 2),
        str(digit),
        fill=255,
        font=ImageFont.load_default(1.35 * height),
        anchor="mm",
        stroke_width=random.uniform(1, 3.5),
        stroke_fill=255,
    )
    # Upright text slants to the right in most hands.
    slant, narrow = random.uniform(-0.05, 0.3), random.uniform(0.95, 1.2)
    middle = LARGE / 2
    picture = picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (narrow, slant, middle * (1 - narrow - slant), 0, 1, 0),
        Image.Resampling.BICUBIC,
    )
    picture = picture.rotate(random.uniform(-8, 8), Image.Resampling.BICUBIC)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))

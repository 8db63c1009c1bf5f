"""Documents drawn by program, in gray: pages, handwriting, tables, charts, line drawings. All of it should stay gray.

A colorizer that has seen photographs alone takes the white of a page for snow or sky. Shown some of these in training,
it learns that they have no color.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COMMON = "etaoinshrdlu"  # so that words have about the look of words
ENLARGED = 2  # drawn so much larger and then reduced, for smooth strokes

Random = np.random.Generator


def draw_documents(count: int, size: int, seed: int = 0) -> Tensor:
    """`count` documents as squares, uint8 (N, 1, size, size); the same ones for the same seed."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([_document(size, random) for _ in range(count)]))[:, None]


def _document(size: int, random: Random) -> np.ndarray:
    side = ENLARGED * size
    old = random.random() < 0.4  # darker paper, stained, its fibers to be seen
    paper, ink = int(random.integers(130 if old else 205, 256)), int(random.integers(0, 90))
    picture = Image.new("L", (side, side), paper)
    kinds: list[Callable] = [_page, _page, _table, _chart, _line_drawing, _handwriting]
    kinds[random.integers(len(kinds))](ImageDraw.Draw(picture), side, paper, ink, random)
    if random.random() < 0.15:
        picture = picture.point(lambda level: 255 - level)
    if random.random() < 0.25:  # from near, and not straight on
        picture = _from_near(picture, side, random)
    picture = picture.rotate(random.uniform(-4, 4), Image.Resampling.BILINEAR, fillcolor=picture.getpixel((1, 1)))
    level = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float32)
    if old:
        stains = random.uniform(0, 0.1) * _stains(size, random)
        fibers = random.uniform(0, 0.04) * random.normal(size=(size, size)).astype(np.float32)
        level = level * (1 + stains + fibers)
    if random.random() < 0.5:  # photographed, with light from one side
        down, across = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
        angle = random.uniform(0, 2 * math.pi)
        level = level * (1 - random.uniform(0, 0.35) * (1 + down * math.sin(angle) + across * math.cos(angle)) / 2)
    return level.clip(0, 255).round().astype(np.uint8)


def _from_near(picture: Image.Image, side: int, random: Random) -> Image.Image:
    """A quadrilateral out of the middle of the page, drawn to the whole square."""
    half = random.uniform(0.2, 0.45)
    corners = [(-half, -half), (-half, half), (half, half), (half, -half)]  # as Pillow wants them, counterclockwise
    quad = [
        side * (0.5 + place + random.uniform(-0.15, 0.05) * np.sign(place)) for corner in corners for place in corner
    ]
    return picture.transform((side, side), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


def _stains(size: int, random: Random) -> np.ndarray:
    """Clouds of standard deviation 1, (size, size): noise of a few places a side, enlarged smoothly."""
    coarse = Image.fromarray(random.normal(size=(random.integers(3, 20),) * 2).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _word(random: Random) -> str:
    letters = COMMON if random.random() < 0.7 else LETTERS
    return "".join(random.choice(list(letters), random.integers(2, 10)))


def _page(draw: ImageDraw.ImageDraw, side: int, paper: int, ink: int, random: Random) -> None:
    """Lines of text in one or two columns, now and then a heading or a gray picture frame."""
    height = random.uniform(0.025, 0.09) * side
    font, columns = ImageFont.load_default(height), int(random.integers(1, 3))
    margin = random.uniform(0.01, 0.1) * side
    width = (side - margin) / columns
    for column in range(columns):
        left, top = margin + column * width, margin
        if random.random() < 0.3:
            draw.text((left, top), _word(random).upper(), ink, ImageFont.load_default(2 * height))
            top += 3 * height
        while top < side - height:
            if random.random() < 0.04:
                gray = int(random.integers(60, 220))
                draw.rectangle((left, top, left + 0.8 * width, top + 6 * height), gray, ink)
                top += 7 * height
            words = [_word(random) for _ in range(int(2 * width / height) // 6 + 2)]
            line = " ".join(words)
            while draw.textlength(line, font) > width - margin and " " in line:
                line = line.rpartition(" ")[0]
            draw.text((left, top), line if random.random() < 0.9 else line[: len(line) // 2], ink, font)
            top += random.uniform(1.25, 1.35) * height


def _table(draw: ImageDraw.ImageDraw, side: int, paper: int, ink: int, random: Random) -> None:
    """A grid with numbers, some of its cells shaded."""
    rows, columns = (int(n) for n in random.integers(4, 12, 2))
    height, width = side / (rows + 1), side / (columns + 1)
    font = ImageFont.load_default(0.45 * height)
    for row in range(rows):
        for column in range(columns):
            left, top = (column + 0.5) * width, (row + 0.5) * height
            fill = int(random.integers(120, 240)) if row == 0 or random.random() < 0.1 else paper
            draw.rectangle((left, top, left + width, top + height), fill, ink)
            text = _word(random)[:6] if row == 0 else str(random.integers(10_000))
            draw.text((left + width / 2, top + height / 2), text, ink, font, anchor="mm")


def _chart(draw: ImageDraw.ImageDraw, side: int, paper: int, ink: int, random: Random) -> None:
    """Axes with bars or curves, or a pie; areas in grays from black to white."""
    font, kind = ImageFont.load_default(0.05 * side), random.integers(3)
    draw.text((side / 2, 0.06 * side), f"{_word(random)} {_word(random)}", ink, font, anchor="mm")
    if kind == 0:
        edges = np.cumsum(random.dirichlet(np.ones(random.integers(3, 8)))) * 360
        for start, end in zip((0.0, *edges), edges, strict=False):
            box = (0.15 * side, 0.15 * side, 0.85 * side, 0.85 * side)
            draw.pieslice(box, start, end, int(random.integers(0, 256)), ink, 3)
        return
    left, bottom = 0.14 * side, 0.88 * side
    draw.line((left, 0.1 * side, left, bottom, 0.96 * side, bottom), ink, 3)
    for mark in range(5):
        level = bottom - mark * 0.17 * side
        draw.line((left, level, 0.96 * side, level), (paper + ink) // 2)
        draw.text((left - 0.02 * side, level), str(mark * random.integers(1, 100)), ink, font, anchor="rm")
    count = int(random.integers(3, 12))
    step = 0.8 * side / count
    for place in range(count if kind == 1 else 0):
        top, start = bottom - random.uniform(0.05, 0.75) * side, left + (place + 0.2) * step
        draw.rectangle((start, top, start + 0.7 * step, bottom), int(random.integers(0, 256)), ink, 2)
    for _ in range(int(random.integers(1, 4)) if kind == 2 else 0):
        heights = bottom - side * (0.4 + 0.08 * np.cumsum(random.normal(size=count + 1)).clip(-4, 4))
        points = [(left + place * step, height) for place, height in enumerate(heights)]
        draw.line(points, int(random.integers(0, 200)), int(random.integers(2, 9)), joint="curve")


def _line_drawing(draw: ImageDraw.ImageDraw, side: int, paper: int, ink: int, random: Random) -> None:
    """Outlines of simple shapes, some filled with gray or hatched."""
    for _ in range(int(random.integers(4, 25))):
        corners = random.uniform(-0.1, 1.1, 2) * side
        box = (*corners, *(corners + random.uniform(0.05, 0.6, 2) * side))
        fill = int(random.integers(0, 256)) if random.random() < 0.3 else None
        width, kind = int(random.integers(2, 9)), random.integers(4)
        if kind == 0:
            draw.ellipse(box, fill, ink, width)
        elif kind == 1:
            draw.rectangle(box, fill, ink, width)
        elif kind == 2:
            points = [tuple(point) for point in random.uniform(box[:2], box[2:], (random.integers(3, 7), 2))]
            draw.polygon(points, fill, ink, width)
        else:
            for x in np.arange(box[0], box[2], random.uniform(6, 20)):
                draw.line((x, box[1], x + 0.1 * side, box[3]), ink, width // 2)


def _handwriting(draw: ImageDraw.ImageDraw, side: int, paper: int, ink: int, random: Random) -> None:
    """Waves of a pen, in words, on ruled paper or plain."""
    height, width = random.uniform(0.03, 0.07) * side, int(random.integers(2, 6))
    ruled = random.random() < 0.5
    for top in np.arange(1.5 * height, side, 2.2 * height):
        if ruled:
            draw.line((0, top, side, top), (paper + ink) // 2, 2)
        x = random.uniform(0.02, 0.1) * side
        while x < 0.95 * side:
            steps = int(random.integers(6, 40))
            up = np.where(np.arange(steps) % 2, 1.0, 0.0) * random.choice([0.5, 0.6, 1.2], steps, p=[0.5, 0.3, 0.2])
            levels = top - height * (up + random.normal(0, 0.05, steps))
            points = [(x + 0.28 * height * place, level) for place, level in enumerate(levels)]
            draw.line(points, ink, width, joint="curve")
            x += 0.28 * height * steps + random.uniform(0.4, 0.9) * height

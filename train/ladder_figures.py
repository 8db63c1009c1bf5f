"""The pictures of train/reproduce.py's table: learning curves, samples, and diagrams of the networks.

Samples are of scikit-image's photographs and of drawn digits, never of the pictures that were trained or tested on, so
that they may be shown anywhere. matplotlib and visualtorch are imported where they are needed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from colorizer import ColorizationPipeline, load_model
from colorizer.color import lab_to_rgb
from colorizer.drawing import draw_digits
from colorizer.errors import ColorizerError
from colorizer.models import Colorizer
from colorizer.models.base import written_aside
from colorizer.models.mnist import paint
from train.runs import read_metrics
from train.views import to_lab

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colors, which people with any color vision can tell apart; yellow is too light for a line.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")  # of scikit-image
GAP, LABEL = 4, 18  # pixels between samples, and the height of the words above them
LARGEST = 200_000  # bytes of a figure


def draw_all(results: dict[str, Any], output: Path, folder: Path) -> list[Path]:
    """Draws ladder-<family>-curves.png and ladder-<family>-samples of each family that has something trained.

    results: the content of results.json; output: the folder of the rows. Returns the figures' paths. Where matplotlib
    is not installed the curves are left out, with a word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    try:
        import matplotlib

        matplotlib.use("Agg")
    except ImportError:
        matplotlib = None
        print("the curves are left out: they need matplotlib (pip install matplotlib)")
    for family in ("digits", "thumbnails", "scenes", "photographs"):
        rows = {name: entry for name, entry in results["rows"].items() if entry["family"] == family}
        trained = [name for name, entry in rows.items() if entry["status"] == "trained"]
        if trained and matplotlib:
            gray_loss = results.get(f"gray_loss_{family}")
            paths.append(curves(family, trained, output, folder / f"ladder-{family}-curves.png", gray_loss))
        sources = {name: str(output / name / "model") for name in trained}
        sources |= {name: name for name, entry in rows.items() if entry["status"] == "bundled"}
        if trained:
            paths.append(samples(family, sources, folder))
    return paths


# ------------------------------------------------------------------------------------------------------------ curves


def curves(family: str, names: Sequence[str], output: Path, path: Path, gray_loss: float | None = None) -> Path:
    """Draws a family's learning curves from its runs' metrics.jsonl, and a line at `gray_loss` beside colorizers."""
    import matplotlib.pyplot as plt

    runs = {name: read_metrics(output / name) for name in names}
    if family == "digits":
        runs = {name: lines for name, lines in runs.items() if name != "digit_judge"}  # whose loss is another
        titles = ["squared error", "accuracy on the test digits", "norm of the gradient"]
        figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
        draw_losses(axes[0], runs)
        draw_lines(axes[1], runs, "validation_accuracy")
        draw_lines(axes[2], runs, "grad_norm")
        axes[2].set_yscale("log")
        add_legend(axes[1])
    elif family == "photographs":  # in units of their own, and over epochs of their own
        titles = list(runs)
        columns = min(4, len(runs))
        rows = -(-len(runs) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 3.3 * rows), layout="constrained")
        axes = list(np.atleast_1d(axes).flat)
        for axis, (name, lines) in zip(axes, runs.items(), strict=False):
            draw_losses(axis, {"held out" if name != "alpha" else "the same photograph": lines})
        for axis in axes[len(runs) :]:
            axis.remove()
        for axis in axes[: len(runs)]:
            axis.plot([], [], "--", color=LINES[0], label="training")
            axis.legend(fontsize=8)
        axes[0].set_ylabel("loss")
    else:
        first = {name: lines for name, lines in runs.items() if name.startswith("autoencoder")}
        second = {name: lines for name, lines in runs.items() if name not in first}
        titles = ["autoencoders: how they rebuild color", "colorizers: how they color"]
        figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        for axis, part in zip(axes, (first, second), strict=True):
            draw_losses(axis, part)
            if gray_loss and part is second:
                axis.axhline(gray_loss, color="black", linestyle=":", label="gray itself")
            add_legend(axis)
        axes[0].set_ylabel("squared error")
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    plt.close(figure)
    return save(Image.open(picture).convert("RGB"), path)


def draw_losses(axis: Axes, runs: dict[str, list[dict[str, float]]]) -> None:
    """Each run's loss on what it is trained on (dashed) and on held-out pictures (solid), on a logarithmic scale."""
    for color, (name, lines) in zip(LINES, runs.items(), strict=False):
        for key, style, label in (("loss", "--", None), ("validation_loss", "-", name)):
            # The squared error alone, where others are added to it in the training.
            points = [
                (line["epoch"], line.get("mse", line[key]) if key == "loss" else line[key])
                for line in lines
                if key in line
            ]
            if points:
                axis.plot(*zip(*points, strict=True), style, color=color, label=label, linewidth=1.4)
    axis.set_yscale("log")


def draw_lines(axis: Axes, runs: dict[str, list[dict[str, float]]], key: str) -> None:
    """One value of each run, over the epochs."""
    for color, (name, lines) in zip(LINES, runs.items(), strict=False):
        points = [(line["epoch"], line[key]) for line in lines if key in line]
        if points:
            axis.plot(*zip(*points, strict=True), color=color, label=name, linewidth=1.4)


def add_legend(axis: Axes) -> None:
    """The rows' names, and what the two kinds of lines are where there are two."""
    lines, labels = axis.get_legend_handles_labels()
    if any(line.get_linestyle() == "--" for line in axis.get_lines()):
        lines = [*lines, *(axis.plot([], [], style, color="#555555")[0] for style in ("-", "--"))]
        labels = [*labels, "held out", "training"]
    if lines:
        axis.legend(lines, labels, fontsize=8)


# ----------------------------------------------------------------------------------------------------------- samples


def samples(family: str, sources: dict[str, str], folder: Path) -> Path:
    """Draws what a family's models (row: source) make of pictures that belong to nobody's data set."""
    models = {name: load_model(source) for name, source in sources.items()}
    colorizers = {name: model for name, model in models.items() if model.kind != "classifier"}
    if family == "digits":
        rows = digit_samples(colorizers)
    elif family == "photographs":
        rows = photo_samples(colorizers)
    else:
        rows = thumbnail_samples(colorizers, size=32 if family == "thumbnails" else 64)
    ending = "jpg" if family == "photographs" else "png"
    return save(sheet(rows), folder / f"ladder-{family}-samples.{ending}")


@torch.no_grad()
def digit_samples(models: dict[str, Colorizer]) -> dict[str, list[Image.Image]]:
    """Drawn digits: gray, painted, and as they should be."""
    gray = torch.from_numpy(draw_digits(list(range(10)), seed=1))[:, None] / 255
    rows = {"gray": gray.expand(-1, 3, -1, -1)}
    for name, model in models.items():
        rows[name] = model(to_lab(rows["gray"])[0])
    rows["truth"] = paint(gray, torch.arange(10))
    return {name: [enlarged(picture, 56) for picture in pictures] for name, pictures in rows.items()}


@torch.no_grad()
def thumbnail_samples(models: dict[str, Colorizer], size: int) -> dict[str, list[Image.Image]]:
    """Photographs reduced to `size` pixels: gray, as the networks paint or rebuild them, and the truth."""
    truth = torch.stack([as_tensor(square(photo, size)) for photo in photographs().values()])
    lightness, ab = to_lab(truth)
    rows = {"gray": lab_to_rgb(torch.cat([lightness, torch.zeros_like(ab)], dim=1))}
    for name, model in models.items():
        rows[name] = model(truth if model.kind == "autoencoder" else lightness)
    rows["truth"] = truth
    return {name: [enlarged(picture, 96 if size == 32 else 128) for picture in row] for name, row in rows.items()}


def photo_samples(models: dict[str, Colorizer]) -> dict[str, list[Image.Image]]:
    """Photographs in gray, as the product colors them with each model at its default dials, and the truth."""
    truth = {name: square(photo, 256) for name, photo in photographs().items()}
    rows = {"gray": list(truth.values())}
    for name, model in models.items():
        pipe = ColorizationPipeline(model)
        rows[name] = [pipe(photo).convert("RGB") for photo in truth.values()]
        rows["gray"] = [pipe(photo, colorfulness=0).convert("RGB") for photo in truth.values()]
    rows["truth"] = list(truth.values())
    return {name: [image.resize((128, 128), Image.Resampling.BOX) for image in row] for name, row in rows.items()}


def photographs() -> dict[str, Image.Image]:
    from skimage import data

    return {name: Image.fromarray(getattr(data, name)()) for name in PHOTOS}


def square(photo: Image.Image, size: int) -> Image.Image:
    """The middle of a photograph, as a square of `size` pixels."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BOX)


def as_tensor(image: Image.Image) -> Tensor:
    """sRGB (3, H, W) in 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def enlarged(picture: Tensor, side: int) -> Image.Image:
    """A picture (3, S, S) in 0..1 at `side` pixels, its own pixels to be seen."""
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def sheet(rows: dict[str, list[Image.Image]]) -> Image.Image:
    """A row of pictures for each name, which stands above it."""
    font = ImageFont.load_default(12)
    width = max(sum(image.width + GAP for image in row) for row in rows.values()) - GAP
    height = sum(row[0].height + LABEL + GAP for row in rows.values())
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for name, row in rows.items():
        ImageDraw.Draw(whole).text((0, top + LABEL - 5), name, "black", font, anchor="ls")
        top += LABEL
        for number, image in enumerate(row):
            whole.paste(image, (number * (image.width + GAP), top))
        top += row[0].height + GAP
    return whole


def save(image: Image.Image, path: Path) -> Path:
    """Writes a picture of fewer than LARGEST bytes: a PNG of fewer colors, a JPEG of less quality."""
    for colors, quality in ((256, 88), (128, 80), (64, 70), (32, 60)):
        content = io.BytesIO()
        if path.suffix == ".jpg":
            image.save(content, "jpeg", quality=quality, optimize=True)
        else:
            image.quantize(colors, dither=Image.Dither.NONE).save(content, "png", optimize=True)
        if content.tell() < LARGEST:
            break
    with written_aside(path) as partial:
        partial.write_bytes(content.getvalue())
    return path


# ---------------------------------------------------------------------------------------------------------- diagrams


def diagram(model: nn.Module, channels: int, side: int = 32) -> Image.Image:
    """An autoencoder's `encoder` and, below it, its `decoder`, layer by layer, drawn by visualtorch.

    The network itself is run and drawn: on a picture of `channels` x side x side. Every layer is a box, as wide and
    high as its output, and as deep as it has channels; below it stands its output's (channels, height, width).
    """
    try:
        import visualtorch
    except ImportError:
        raise ColorizerError("The diagrams need visualtorch: pip install visualtorch.") from None
    colors = {
        visualtorch.Input: "#BBBBBB",
        nn.Conv2d: "#0072B2",
        nn.ConvTranspose2d: "#D55E00",
        nn.BatchNorm2d: "#009E73",
        nn.ReLU: "#F0E442",
        nn.MaxPool2d: "#CC79A7",
        nn.Upsample: "#56B4E9",
        nn.Sigmoid: "#E69F00",
    }
    font, large = ImageFont.load_default(15), ImageFont.load_default(18)
    picture = (1, channels, side, side)
    with torch.no_grad():
        code = tuple(model.eval().encoder(torch.zeros(picture)).shape)
    strips = []
    for part, shape in ((model.encoder, picture), (model.decoder, code)):
        strip = visualtorch.render(
            part, shape, style="flow", show_dimension=True, scale_xy=4, scale_z=0.4, min_z=8, max_z=52, spacing=50,
            font=font, color_map={kind: {"fill": color} for kind, color in colors.items()},
        )  # fmt: skip
        strips.append(strip.convert("RGB"))
    before, after = (" x ".join(map(str, shape[1:])) for shape in (picture, code))
    titles = [
        f"{model.name}: encoder, from {before} to a code of {after}",
        f"decoder, from the code to 3 x {side} x {side}",
    ]
    margin, line = 16, 28
    height = sum(strip.height + line + margin for strip in strips) + line + 2 * margin
    whole = Image.new("RGB", (max(strip.width for strip in strips) + 2 * margin, height), "white")
    draw, top = ImageDraw.Draw(whole), margin
    for title, strip in zip(titles, strips, strict=True):
        draw.text((margin, top), title, "black", large)
        whole.paste(strip, (margin, top + line))
        top += line + strip.height + margin
    left = margin
    kinds = {type(layer) for layer in (*model.encoder.modules(), *model.decoder.modules())}
    for kind, color in colors.items():
        if kind is visualtorch.Input or kind in kinds:
            draw.rectangle((left, top, left + 16, top + 16), color, "black")
            draw.text((left + 22, top), kind.__name__, "black", font)
            left += 22 + round(draw.textlength(kind.__name__, font)) + 24
    return whole

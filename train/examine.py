"""Examines how one colorizer behaves, beyond the errors that evaluate.py measures, and draws what it did.

    python train/examine.py --model fusion_compact --data photos-val/ --output_dir runs/examined
    python train/examine.py --model runs/mine/model --data photos-val/ --only broken aged --photos 30

The parts, each on the same photographs (the first --photos of a shuffle with seed 0) and at the default dials:
    broken       photographs that nobody would keep: a vivid block where the truth is gray, or a cast over everything
    hints        what hints with the truth's own color gain, how far a single contrary hint reaches, and whether one
                 that gives a thing another color colors that thing
    reach        the same of hints at other reaches than the default one
    references   what the colors of another photo gain or cost: the truth's own, those of its other half, of another
                 view, of the most alike, and of one that has nothing to do with it
    guesses      what the other guesses are like, and how near the nearest of them comes to the truth
    dials        error and colorfulness along the dials, and the largest step between neighbors
    calibration  whether places where the model is sure are right, and whether it expects the errors that it makes
    aged         photographs with the marks of age: grain, blur, fading, toning ...
    formats      tall and wide strips beside the same regions of the whole photographs, and photographs enlarged
    edges        whether colors spill over strong edges: the model's, and the true ones brought up from its own grid
    gray         pages, text, drawings and charts, which should stay nearly gray

The output folder gets results.json, results.md and the pictures to look at: broken-1.jpg ..., hints.jpg,
reach.jpg, references.jpg, guesses.jpg, aged.jpg, gray.jpg.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402
import cmath  # noqa: E402
import dataclasses  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import random  # noqa: E402
import shlex  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402

import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from scipy import ndimage, stats  # noqa: E402
from torch.nn import functional  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer import metrics  # noqa: E402
from colorizer.color import ab_bin_centers, lab_to_rgb, rgb_to_lab  # noqa: E402
from colorizer.dials import DEFAULT_LIKENESS, GUESSES  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.images import Photo  # noqa: E402
from colorizer.pipeline import (  # noqa: E402
    HUES,
    Coloring,
    ColorizationPipeline,
    Hint,
    guide_maps,
    guided_band,
)
from colorizer.reference import Reference  # noqa: E402
from train.data import load_photographs  # noqa: E402
from train.evaluate import GAP, LINE, SIDE, SMALLEST, thumbnail, to_gray, to_tensor, versions, write  # noqa: E402
from train.runs import make_folder, run_script  # noqa: E402
from train.sources import Item  # noqa: E402
from train.views import ALIKE_AB, ALIKE_LIGHTNESS, CHROMAS, HINT_RADIUS  # noqa: E402

# A photograph is broken by a vivid block where the truth has hardly any color, or by a cast.
VIVID, DULL, SHARE = 60, 20, 0.05  # chroma of the result, of the truth, in Lab units; share of the picture
CAST = 25  # distance of the mean ab from the truth's, in Lab units

HINT_COUNTS = (0, 1, 5, 20)
REACH_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
LIKENESS_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
CONTRARY = 50  # chroma of the contrary hint, in Lab units
NEAR, FAR = 0.1, 0.3  # of the short side: what counts as around a hint, and as far from it
MOVED = 5  # Lab units of ab from which on a pixel belongs to a thing of another color
GRID = 48  # cells along the short side, by which things are found
APART, JOINED = 0.2, 0.6  # likeness up to which a cell does not belong to a thing, and from which on it does
LOOSER = 2  # times as wide are the Gaussians for a pixel in such a cell
COLORFULNESS_STEPS = tuple(step / 4 for step in range(9))
BALANCE_STEPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
TEMPERATURE_STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5)
GROUPS = 10  # of places, by entropy
PART, ASKEW = 0.7, 0.08  # of a picture in each of two views; of its sides, how far a corner lies further in
SHOWN = 8  # photographs on the sheets of hints, references, guesses and age
PAGE = 50  # photographs on a page of broken-*.jpg
STRONGEST = 90  # percentile of a photograph's gradients, of lightness and of color, above which there is a strong edge
REACH = 0.01  # of the short side: how far from such an edge a place counts as beside it

COLUMNS = {  # of the tables: key in a row, heading, format
    "name": ("", ""),
    "why": ("why", ""),
    "block": ("largest block", ".1%"),
    "cast": ("cast", ".1f"),
    "tint": ("chroma of mean ab", ".1f"),
    "true_tint": ("truth's", ".1f"),
    "hints": ("hints", "d"),
    "reach": ("reach", "g"),
    "thing": ("in a thing of another color", "+.1%"),
    "elsewhere": ("elsewhere", "+.1%"),
    "true_hint": ("with a true hint", "+.1%"),
    "near": ("a contrary one moves ab near it by", ".1f"),
    "far": ("and far from it by", ".1f"),
    "likeness": ("likeness", "g"),
    "dial": ("dial", ""),
    "value": ("at", "g"),
    "group": ("group", "d"),
    "confidence": ("mean confidence", ".3f"),
    "error": ("ab RMSE", ".2f"),
    "expected": ("expected", ".2f"),
    "ratio": ("expected / real", ".2f"),
    "gray": ("gray's", ".2f"),
    "rmse": ("ab RMSE", ".2f"),
    "rmse_to_gray": ("to gray's", "+.1%"),
    "elsewhere_rmse_to_gray": ("to gray's elsewhere", "+.1%"),
    "rmse_to_automatic": ("to automatic", "+.1%"),
    "colorfulness_to_truth": ("CF to truth's", ".2f"),
    "histogram_distance": ("hist. dist.", ".3f"),
    "whole_rmse_to_gray": ("to gray's in the whole", "+.1%"),
    "whole_colorfulness_to_truth": ("CF to truth's in the whole", ".2f"),
    "chroma": ("mean chroma", ".1f"),
    "cast_a": ("cast a", "+.1f"),
    "cast_b": ("cast b", "+.1f"),
    "high_chroma": ("95th percentile", ".1f"),
}
FOOTNOTES = """\
ab RMSE: over a and b in CIE Lab units; to gray's: relative to that of the picture without color. CF: colorfulness of
Hasler and Suesstrunk 2003 (M3), the mean of the results over the mean of the truths. hist. dist.: Jensen-Shannon
distance of the sets' ab histograms in cells of 10 units. cast a, cast b: mean a and b of the results minus those of
the truths; cast: the distance of the mean ab from the truth's.
confidence: 1 - entropy / log K over the K ab bins.
"""


# ------------------------------------------------------------------------------------------------------- arguments


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fusion_compact", help="a bundled name, a folder or a Hub id")
    parser.add_argument("--data", required=True, help="a folder (or tar file) of color photographs")
    parser.add_argument("--output_dir", default="runs/examined")
    parser.add_argument("--photos", type=int, default=100, help="how many photographs, drawn with seed 0")
    parser.add_argument("--only", nargs="+", metavar="PART", help=f"some of the parts: {' '.join(PARTS)}")
    parser.add_argument(
        "--short_side", type=int, default=512, help="short side (pixels) that photographs are reduced to"
    )
    parser.add_argument("--device", help="cuda, mps or cpu; the best that there is by default")
    arguments = parser.parse_args(argv)
    for name, least in (("photos", 1), ("short_side", SMALLEST)):
        if getattr(arguments, name) < least:
            raise ColorizerError(f"--{name} must be {least} or more, not {getattr(arguments, name)}.")
    for part in arguments.only or ():
        if part not in PARTS:
            raise ColorizerError(f"--only takes {', '.join(PARTS)}, not {part!r}.")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    output = Path(arguments.output_dir)
    make_folder(output)
    pipe = ColorizationPipeline.from_pretrained(arguments.model, device=arguments.device)
    photos = read_photos(arguments.data, arguments.short_side, arguments.photos)

    report = {
        "command": shlex.join(["train/examine.py", *(sys.argv[1:] if argv is None else argv)]),
        "versions": versions(),
        "device": str(pipe.device),
        "model": arguments.model,
        "dials": pipe.model.defaults,
        "photographs": [photo.name for photo in photos],
        "parts": {},
    }
    tables = [f"# {arguments.model} on {len(photos)} photographs of {arguments.data}\n"]
    for name, part in PARTS.items():
        if arguments.only and name not in arguments.only:
            continue
        report["parts"][name] = part(pipe, photos, output)
        tables.append(markdown(name, report["parts"][name]))
        print(tables[-1], flush=True)
        write(output / "results.json", (json.dumps(report, indent=2) + "\n").encode())
        write(output / "results.md", "\n".join([*tables, FOOTNOTES]).encode(errors="replace"))


# -------------------------------------------------------------------------------------------- photographs and figures


@dataclass
class Truth:
    """A photograph in its own colors: sRGB (H, W, 3) uint8, and the name of its file."""

    name: str
    pixels: np.ndarray

    @property
    def gray(self) -> Image.Image:
        """Its lightness alone, as 8-bit gray."""
        return Image.fromarray(to_gray(self.pixels)[..., 0])


def read_photos(folder: str, short_side: int, count: int) -> list[Truth]:
    """The first `count` photographs of a shuffle with seed 0, the same in every run.

    ColorizerError where there is none of SMALLEST pixels or more each way, or where they are all gray.
    """

    def drawn(items: list[Item]) -> list[Item]:
        items = sorted(items, key=lambda item: item.name)
        random.Random(0).shuffle(items)
        return items[:count]

    pictures = load_photographs(folder, short_side, SMALLEST, drawn)
    photos = [Truth(name, array) for name, array in zip(pictures.names, pictures.arrays, strict=True)]
    if np.mean([metrics.colorfulness(to_tensor(photo.pixels)).item() for photo in photos]) < 1:
        raise ColorizerError(f"The photographs of {folder} are gray: there is no color to compare with.")
    return photos


def rendered(coloring: Coloring, **dials: float) -> np.ndarray:
    """The coloring at these dials, sRGB (H, W, 3) uint8."""
    return np.asarray(coloring.render(**dials).to_pil().convert("RGB"))


def ab_of(rgb: np.ndarray) -> torch.Tensor:
    """ab (2, H, W) in Lab units of sRGB (H, W, 3) uint8."""
    return rgb_to_lab(to_tensor(rgb))[0, 1:]


class Tally:
    """The figures of a set of results, added one at a time so that none of them has to be kept."""

    def __init__(self) -> None:
        self.values: list[tuple[float, ...]] = []
        self.histogram, self.true_histogram = (torch.zeros(metrics.CELLS**2, dtype=torch.float64) for _ in range(2))

    def add(self, result: np.ndarray, truth: np.ndarray) -> None:
        """A result and its truth, sRGB (H, W, 3) uint8 each."""
        rgb, true_rgb = to_tensor(result), to_tensor(truth)
        ab, true_ab = rgb_to_lab(rgb)[:, 1:], rgb_to_lab(true_rgb)[:, 1:]
        self.values.append(
            (
                metrics.ab_mse(ab, true_ab).item(),
                true_ab.square().mean().item(),  # gray's error
                metrics.colorfulness(rgb).item(),
                metrics.colorfulness(true_rgb).item(),
                ab.norm(dim=1).mean().item(),
                *(ab - true_ab).mean((0, 2, 3)).tolist(),
            )
        )
        self.histogram += metrics.ab_histogram(ab)
        self.true_histogram += metrics.ab_histogram(true_ab)

    def row(self, *keys: str) -> dict[str, float]:
        """These figures (keys of COLUMNS) over the set; each photograph counts the same, in a histogram each pixel."""
        mse, gray_mse, colorfulness, true_colorfulness, chroma, cast_a, cast_b = np.mean(self.values, axis=0).tolist()
        figures = {
            "rmse": mse**0.5,
            "rmse_to_gray": (mse / max(gray_mse, 1e-9)) ** 0.5 - 1,
            "colorfulness_to_truth": colorfulness / max(true_colorfulness, 1e-9),
            "histogram_distance": metrics.jensen_shannon_distance(self.histogram, self.true_histogram),
            "chroma": chroma,
            "cast_a": cast_a,
            "cast_b": cast_b,
        }
        return {key: figures[key] for key in keys}


# ------------------------------------------------------------------------------------------------------- the parts
# Each takes the pipeline, the photographs and the folder for its sheets, and returns {"says": a sentence on what its
# figures show, "rows": of its table, by the keys of COLUMNS} and what else belongs into results.json.


def broken(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """The photographs that `breakage` finds broken, and pages with all of them."""
    measured, strips = [], []
    for number, photo in enumerate(tqdm(photos, desc="broken", mininterval=5), 1):
        result = rendered(pipe.prepare(Image.fromarray(photo.pixels)))
        row = {"name": photo.name} | breakage(ab_of(result).numpy(), ab_of(photo.pixels).numpy())
        measured.append(row)
        pictures = [thumbnail(p) for p in (to_gray(photo.pixels), result, photo.pixels)]
        strips.append(Strip(pictures, f"{number} {row['why'] or photo.name[-40:]}", bool(row["why"])))
    for page, start in enumerate(range(0, len(strips), PAGE), 1):
        sheet = draw_sheet(strips[start : start + PAGE], ("gray", "prediction", "truth"), across=5)
        save_sheet(sheet, output / f"broken-{page}.jpg")
    rows = [row for row in measured if row["why"]]
    paler = sum(row["tint"] < row["true_tint"] for row in rows)
    left_gray = sum(row["true_tint"] > CAST for row in measured)  # a gray picture has no block, and no mean ab
    return {
        "says": f"{len(rows)} of {len(photos)} photographs are broken: a block of over {SHARE:.0%} of the picture "
        f"with chroma over {VIVID} where the truth's is under {DULL}, or a mean ab that is off by more than {CAST}. "
        f"In {paler} of them the truth has the stronger tint of the two. Left gray, {left_gray} would be.",
        "rows": rows,
        "broken": len(rows),
        "broken_if_gray": left_gray,
        "photographs": len(photos),
        "measured": measured,
    }


def breakage(ab: np.ndarray, true_ab: np.ndarray) -> dict:
    """What breaks a result, both ab (2, H, W) in Lab units.

    Returns "block", the share of the picture that the largest 4-connected block of vivid color covers where the truth
    is dull; "cast", the distance of the mean ab from the truth's; "tint" and "true_tint", the chroma of each
    one's mean ab, since a cast may be the truth's own; "why", a word on what is too much, "" if nothing is.
    """
    vivid = (np.hypot(*ab) > VIVID) & (np.hypot(*true_ab) < DULL)
    blocks, _ = ndimage.label(vivid)  # by default of scipy's, neighbors share an edge
    block = float(np.bincount(blocks.ravel())[1:].max(initial=0) / vivid.size)
    mean, true_mean = ab.mean((1, 2)), true_ab.mean((1, 2))
    cast = float(np.hypot(*(mean - true_mean)))
    found = {f"block {block:.0%}": block > SHARE, f"cast {cast:.0f}": cast > CAST}
    tints = {"tint": float(np.hypot(*mean)), "true_tint": float(np.hypot(*true_mean))}
    return {"why": ", ".join(word for word, is_so in found.items() if is_so), "block": block, "cast": cast} | tints


def hints(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """What hints with the truth's own colors gain, and what single ones of other colors do; and a sheet.

    A contrary hint is against the automatic color. Another gives a thing of the photograph (see `painted`) a color
    that it does not have there: it should come near the photograph with the thing so, and leave the rest.
    """
    if not pipe.model.accepts_hints:
        return {"says": f"The model {pipe.model.name} takes no hints.", "rows": []}
    tallies = {count: Tally() for count in HINT_COUNTS}
    moves, repainted, strips = [], [], []
    random_numbers = random.Random(0)
    for number, photo in enumerate(tqdm(photos, desc="hints", mininterval=5)):
        automatic = pipe.prepare(Image.fromarray(photo.pixels))
        given = true_hints(photo.pixels, max(HINT_COUNTS), automatic.lightness.shape[-1], seed=number)
        results = [rendered(automatic.with_hints(given[:count])) for count in HINT_COUNTS]
        for result, tally in zip(results, tallies.values(), strict=True):
            tally.add(result, photo.pixels)
        hint = contrary_hint(automatic, results[0], given)
        contrary = rendered(automatic.with_hints([hint]))
        moves.append(movement(results[0], contrary, hint))
        asked, thing, other = another_color(photo.pixels, hint, random_numbers)
        repainted.append(errors_of_thing([results[0], rendered(automatic.with_hints([other]))], asked, thing))
        if number < SHOWN:
            pictures = to_gray(photo.pixels), results[0], ringed(contrary, hint), *results[1:], photo.pixels
            strips.append(Strip([thumbnail(picture) for picture in pictures], photo.name))
    counts = [f"{count} true" for count in HINT_COUNTS[1:]]
    save_sheet(
        draw_sheet(strips, ("gray", "automatic", "1 contrary", *counts, "truth"), across=1), output / "hints.jpg"
    )
    rows = [
        {"hints": count} | tally.row("rmse", "rmse_to_gray", "colorfulness_to_truth")
        for count, tally in tallies.items()
    ]
    for row in rows:
        row["rmse_to_automatic"] = row["rmse"] / rows[0]["rmse"] - 1
    patch, near, far = np.mean(moves, axis=0).tolist()
    ((thing, rest),) = changes_in_things(repainted)
    return {
        "says": f"{HINT_COUNTS[-1]} hints with the truth's color change the error by "
        f"{rows[-1]['rmse_to_automatic']:+.1%}. A single hint against the automatic color (chroma {CONTRARY}, "
        f"opposite hue) moves ab by {patch:.1f} in its patch, {near:.1f} within {NEAR:.0%} of the short side "
        f"and {far:.1f} beyond {FAR:.0%}. One that gives a thing another color changes the error in that thing by "
        f"{thing:+.1%} and elsewhere by {rest:+.1%}.",
        "rows": rows,
        "moves": {"patch": patch, "near": near, "far": far},
        "another_color": {"thing": thing, "elsewhere": rest},
    }


def reach(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """What a hint does that reaches less far or further: one of another color, a true one and a contrary one.

    They are those of `hints`. And a sheet, of things in another color.
    """
    if not pipe.model.accepts_hints:
        return {"says": f"The model {pipe.model.name} takes no hints.", "rows": []}
    steps = range(len(REACH_STEPS))
    true, moves, repainted, strips = [[] for _ in (None, *steps)], [[] for _ in steps], [], []
    random_numbers = random.Random(0)
    for number, photo in enumerate(tqdm(photos, desc="reach", mininterval=5)):
        automatic = pipe.prepare(Image.fromarray(photo.pixels))
        first = rendered(automatic)
        given = true_hints(photo.pixels, max(HINT_COUNTS), automatic.lightness.shape[-1], seed=number)
        contrary = contrary_hint(automatic, first, given)
        asked, thing, other = another_color(photo.pixels, contrary, random_numbers)
        results = [first, *reached(automatic, other)]
        repainted.append(errors_of_thing(results, asked, thing))
        truth = ab_of(photo.pixels)
        for errors, result in zip(true, [first, *reached(automatic, given[0])], strict=True):
            errors.append((ab_of(result) - truth).square().mean().item())
        for found, result in zip(moves, reached(automatic, contrary), strict=True):
            found.append(movement(first, result, contrary))
        if number < SHOWN:
            lightness = rgb_to_lab(to_tensor(photo.pixels))[0, :1]
            so = (255 * lab_to_rgb(torch.cat([lightness, asked])[None])[0]).round().byte().permute(1, 2, 0).numpy()
            pictures = to_gray(photo.pixels), first, ringed(results[1], other), *results[2:], so
            strips.append(Strip([thumbnail(picture) for picture in pictures], photo.name))
    headings = "gray", "automatic", *(f"reach {step:g}" for step in REACH_STEPS), "the photo so"
    save_sheet(draw_sheet(strips, headings, across=1), output / "reach.jpg")
    before, *after = (float(np.mean(errors)) ** 0.5 for errors in true)
    rows = [
        {"reach": step, "thing": in_it, "elsewhere": rest, "true_hint": error / before - 1}
        | dict(zip(("near", "far"), np.mean(found, axis=0)[1:].tolist(), strict=True))
        for step, (in_it, rest), error, found in zip(
            REACH_STEPS, changes_in_things(repainted), after, moves, strict=True
        )
    ]
    says = (f"{row['thing']:+.1%} and {row['elsewhere']:+.1%} at {row['reach']:g}" for row in rows)
    return {
        "says": f"A hint that gives a thing another color changes the error in it and elsewhere by {', '.join(says)}.",
        "rows": rows,
    }


def reached(automatic: Coloring, hint: Hint) -> list[np.ndarray]:
    """What is made of the hint at each of REACH_STEPS."""
    hinted = automatic.with_hints([hint])
    hints = (dataclasses.replace(hint, reach=step) for step in REACH_STEPS)
    return [rendered(hinted.with_hints([at])) for at in hints]  # the network does not run for these


def true_hints(rgb: np.ndarray, count: int, working_width: int, seed: int) -> list[Hint]:
    """Hints at random places of sRGB (H, W, 3) uint8 with the mean ab of the picture below their patches.

    Patches are 1 to 9 pixels wide on the working copy (`working_width` pixels wide), as in train/views.py.
    """
    random_numbers = np.random.default_rng(seed)
    height, width = rgb.shape[:2]
    ab = ab_of(rgb).numpy()
    found = []
    for _ in range(count):
        x, y, steps = (int(random_numbers.integers(most)) for most in (width, height, HINT_RADIUS + 1))
        radius = steps * width / working_width
        a, b = ab[square(x, y, radius)].mean((1, 2)).tolist()
        found.append(Hint(x, y, a, b, radius))
    return found


def square(x: float, y: float, radius: float) -> tuple[slice, slice, slice]:
    """The part of (C, H, W) that a patch covers, in whole pixels."""
    reach = round(radius)
    return np.s_[:, max(0, int(y) - reach) : int(y) + reach + 1, max(0, int(x) - reach) : int(x) + reach + 1]


def contrary_hint(automatic: Coloring, result: np.ndarray, places: list[Hint]) -> Hint:
    """A hint of the hue opposite to that of `result`, which is `automatic` rendered, sRGB (H, W, 3) uint8.

    It goes to the first place of a middling lightness, since black and white can hold no color.
    """
    before = rgb_to_lab(to_tensor(result))[0]
    place = next((h for h in places if 30 <= before[0, int(h.y), int(h.x)] <= 80), places[0])
    radius = HINT_RADIUS / 2 * automatic.photo.width / automatic.lightness.shape[-1]
    ab = before[square(place.x, place.y, radius)][1:].mean((1, 2)).numpy()
    chroma = np.hypot(*ab)
    a, b = -CONTRARY * ab / chroma if chroma > 1 else (CONTRARY, 0)  # gray has no opposite
    return Hint(place.x, place.y, float(a), float(b), radius)


def movement(before: np.ndarray, after: np.ndarray, hint: Hint) -> tuple[float, float, float]:
    """Mean |d ab| in Lab units of two sRGB (H, W, 3) uint8: in the hint's patch, within NEAR and beyond FAR of the
    short side; far from it that is also what the balance moves, a sixth of which the first hint takes away."""
    change = (ab_of(after) - ab_of(before)).norm(dim=0, keepdim=True)
    height, width = change.shape[1:]
    down, across = np.ogrid[:height, :width]
    distance = torch.from_numpy(np.hypot(down - hint.y, across - hint.x))[None] / min(height, width)
    parts = change[square(hint.x, hint.y, hint.radius)], change[distance < NEAR], change[distance > FAR]
    return tuple(part.mean().item() for part in parts)


def painted(lab: torch.Tensor, y: int, x: int, color: complex) -> torch.Tensor:
    """ab (2, H, W) of Lab (3, H, W) with the thing at row y and column x in the color a + bi.

    The thing is what is of the place's color and lightness, by a Gaussian of each, and joined to it by such: found on
    a grid of GRID cells, in whose means a texture is even, with the weakest link of the best way as a cell's share;
    its edges are the picture's own.
    """
    height, width = lab.shape[1:]
    scale = GRID / min(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    cells = functional.interpolate(lab[None], size, mode="area")[0]
    row, column = y * size[0] // height, x * size[1] // width
    place = cells[:, row, column][:, None, None]

    def alike(lab: torch.Tensor, looser: float) -> torch.Tensor:
        off = (lab - place) / (looser * torch.tensor([ALIKE_LIGHTNESS, ALIKE_AB, ALIKE_AB])[:, None, None])
        return torch.exp(-off.square().sum(0, keepdim=True) / 2)

    links = alike(cells, 1)
    joined = torch.zeros_like(links)
    joined[0, row, column] = 1
    for _ in range(2 * GRID):
        joined = torch.maximum(joined, torch.minimum(functional.max_pool2d(joined, 3, stride=1, padding=1), links))
    joined = ((joined - APART) / (JOINED - APART)).clamp(0, 1)
    thing = functional.interpolate(joined[None], (height, width), mode="bilinear")[0] * alike(lab, LOOSER)
    return lab[1:] + thing * (torch.tensor([color.real, color.imag])[:, None, None] - place[1:])


def another_color(
    rgb: np.ndarray, place: Hint, random_numbers: random.Random
) -> tuple[torch.Tensor, torch.Tensor, Hint]:
    """ab (2, H, W) of sRGB (H, W, 3) uint8 with the thing at a place in a random color, that thing, and a hint for it.

    The thing is (H, W), where ab is another so.
    """
    color = cmath.rect(random_numbers.uniform(*CHROMAS), random_numbers.uniform(0, 2 * math.pi))
    lab = rgb_to_lab(to_tensor(rgb))[0]
    asked = painted(lab, int(place.y), int(place.x), color)
    a, b = asked[square(place.x, place.y, place.radius)].mean((1, 2)).tolist()
    return asked, (asked - lab[1:]).norm(dim=0) > MOVED, Hint(place.x, place.y, a, b, place.radius)


def errors_of_thing(results: Sequence[np.ndarray], asked: torch.Tensor, thing: torch.Tensor) -> list[list[float]]:
    """Squared errors of ab of results, sRGB (H, W, 3) uint8, in the thing (H, W) and elsewhere: one row for each (2).

    Each is summed over its part and divided by the pixels of the whole picture. `asked` is (2, H, W).
    """
    errors = [(ab_of(picture) - asked).square().sum(0) for picture in results]
    return [[(error * part).mean().item() for part in (thing, ~thing)] for error in errors]


def changes_in_things(errors: Sequence) -> list[list[float]]:
    """How the error in things and elsewhere changes from the first results to each of the others.

    `errors` holds those of each photograph, as `errors_of_thing` gives them.
    """
    before, *after = np.sqrt(np.mean(errors, axis=0)).tolist()
    # Where there is no thing of any size anywhere, nothing changes in it.
    return [[now / then - 1 if then else 0.0 for now, then in zip(row, before, strict=True)] for row in after]


def ringed(rgb: np.ndarray, hint: Hint) -> np.ndarray:
    """sRGB (H, W, 3) uint8 with a ring around the hint's place, white within black."""
    picture = Image.fromarray(rgb)
    draw, side = ImageDraw.Draw(picture), min(rgb.shape[:2])
    for radius, color in ((0.035, "white"), (0.045, "black")):
        draw.circle((hint.x, hint.y), radius * side, outline=color, width=max(1, round(0.01 * side)))
    return np.asarray(picture)


def references(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """What a reference gains or costs, by what it shows and by the likeness; and a sheet.

    A photograph is led to its own colors, which no reference can surpass; to those of its left half, where its right
    half is measured, in place of another photograph of the place; its left part to another view of the scene; to the
    photograph that the embedder finds most like it, which seldom shows the same; and to the next photograph, which has
    nothing to do with it.
    """
    if not pipe.model.has_distribution:
        return {"says": f"The model {pipe.model.name} predicts no distribution and takes no reference.", "rows": []}
    tallies: dict[tuple[str, float], Tally] = {}
    strips = []
    alike = most_alike(pipe, photos)
    for number, photo in enumerate(tqdm(photos, desc="references", mininterval=5)):
        pixels, middle = photo.pixels, photo.pixels.shape[1] // 2
        automatic = pipe.prepare(Image.fromarray(pixels))
        part, view = views_of_a_scene(pixels, number)
        given = {  # the truth, its coloring, the reference, and the columns that are measured
            "itself": (pixels, automatic, pixels, np.s_[:]),
            "its left half": (pixels, automatic, pixels[:, :middle], np.s_[middle:]),
            "another view": (part, pipe.prepare(Image.fromarray(part)), view, np.s_[:]),
        }
        if alike:
            given["the most alike"] = (pixels, automatic, photos[alike[number]].pixels, np.s_[:])
        if len(photos) > 1:
            given["another one"] = (pixels, automatic, photos[(number + 1) % len(photos)].pixels, np.s_[:])
        shown = []
        for name, (truth, alone, reference, columns) in given.items():
            try:
                other = Reference(Photo.from_pil(Image.fromarray(reference)))
            except ColorizerError:  # in gray: nobody would give it
                other = None
            for likeness in LIKENESS_STEPS:
                coloring = alone.with_reference(other, likeness) if other else alone
                result = rendered(coloring)
                tally = tallies.setdefault((name, likeness), Tally())
                tally.add(result[:, columns], truth[:, columns])
                if likeness == DEFAULT_LIKENESS:
                    shown.append(result)
        if number < SHOWN:
            pictures = to_gray(pixels), rendered(automatic), *shown, pixels
            strips.append(Strip([thumbnail(picture) for picture in pictures], photo.name))
    save_sheet(draw_sheet(strips, ("gray", "automatic", *given, "truth"), across=1), output / "references.jpg")
    keys = ("rmse_to_gray", "colorfulness_to_truth", "histogram_distance")
    rows = [
        {"name": name, "likeness": likeness} | tally.row("rmse", *keys) for (name, likeness), tally in tallies.items()
    ]
    for row in rows:
        alone = next(other for other in rows if other["name"] == row["name"] and other["likeness"] == 0)
        row["rmse_to_automatic"] = row["rmse"] / alone["rmse"] - 1
    says = (
        f"led to {row['name']} {row['rmse_to_automatic']:+.1%}" for row in rows if row["likeness"] == DEFAULT_LIKENESS
    )
    return {
        "says": f"At a likeness of {DEFAULT_LIKENESS} the error changes: {', '.join(says)}. Of those led to their "
        "left half the right half alone is measured, and of those led to another view the left part.",
        "rows": rows,
    }


def views_of_a_scene(rgb: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views of the scene that a picture (H, W, 3) uint8 shows: its left PART, and about that much of its right.

    The latter was taken a little askew, from nearer or farther, with another exposure and another balance of white.
    """
    rng, (height, width) = np.random.default_rng(seed), rgb.shape[:2]
    corners = rng.uniform(0, ASKEW, (4, 2)) * (width, height)  # upper left, lower left, lower right, upper right
    corners *= (1, 1), (1, -1), (-1, -1), (-1, 1)  # into the picture
    corners += (width * (1 - PART), 0), (width * (1 - PART), height), (width, height), (width, 0)
    scale = rng.uniform(0.8, 1.2)
    size = max(1, round(PART * width * scale)), max(1, round(height * scale))
    view = Image.fromarray(rgb).transform(
        size, Image.Transform.QUAD, corners.flatten().tolist(), Image.Resampling.BICUBIC
    )
    exposure, white = np.exp(rng.uniform(-0.3, 0.3)), np.exp(rng.uniform(-0.04, 0.04, 3))
    view = ((np.asarray(view) / 255) ** exposure * white).clip(0, 1)
    return np.ascontiguousarray(rgb[:, : max(1, round(PART * width))]), (view * 255).round().astype(np.uint8)


def most_alike(pipe: ColorizationPipeline, photos: list[Truth]) -> list[int]:
    """For each photograph the number of the one that the embedder finds most like it; none without an embedder."""
    found = []
    for photo in tqdm(photos, desc="alike", mininterval=5):
        embedding = pipe.prepare(Image.fromarray(photo.pixels)).embedding
        if embedding is None or len(photos) == 1:
            return []
        found.append(torch.nn.functional.normalize(embedding[0].flatten().float(), dim=0))
    likeness = torch.stack(found) @ torch.stack(found).T
    return likeness.fill_diagonal_(-1).argmax(dim=1).tolist()


def guesses(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """The first guess and the others, the nearest of them to each truth, and the nearest of as many tints; a sheet.

    A tint adds as much to every place as the other guesses move it on average, in their directions; in place of the
    plainer guess it takes as much chroma away.
    """
    if not pipe.model.has_distribution:
        return {"says": f"The model {pipe.model.name} predicts no distribution, so no other guesses.", "rows": []}
    tallies = {guess: Tally() for guess in (None, *GUESSES)}
    nearest_tints, strips = [], []
    for number, photo in enumerate(tqdm(photos, desc="guesses", mininterval=5)):
        coloring = pipe.prepare(Image.fromarray(photo.pixels))
        results = {guess: rendered(coloring, guess=guess) for guess in tallies}
        for guess, result in results.items():
            tallies[guess].add(result, photo.pixels)
        first, *others, truth = (ab_of(picture) for picture in (*results.values(), photo.pixels))
        moved = np.mean([(other - first).norm(dim=0).mean() for other in others]).item()
        angles = [math.radians(HUES[guess]) for guess in GUESSES if guess in HUES]
        tints = [first + moved * torch.tensor([math.cos(at), math.sin(at)])[:, None, None] for at in angles]
        chroma = first.norm(dim=0, keepdim=True).clamp(min=1e-6)
        tints.append(first * (1 - moved / chroma).clamp(min=0))
        nearest_tints.append(min((tint - truth).square().mean().item() for tint in (first, *tints)))
        if number < SHOWN:
            pictures = to_gray(photo.pixels), *results.values(), photo.pixels
            strips.append(Strip([thumbnail(picture) for picture in pictures], photo.name))
    save_sheet(draw_sheet(strips, ("gray", "first", *GUESSES, "truth"), across=1), output / "guesses.jpg")
    keys = ("rmse", "rmse_to_gray", "colorfulness_to_truth", "histogram_distance")
    rows = [{"name": guess or "first"} | tally.row(*keys) for guess, tally in tallies.items()]
    of_each = np.array([[values[0] for values in tally.values] for tally in tallies.values()])
    gray_error = rows[0]["rmse"] / (1 + rows[0]["rmse_to_gray"])
    for name, mse in (("the nearest of six", of_each.min(axis=0)), ("the nearest of six tints", nearest_tints)):
        error = float(np.mean(mse)) ** 0.5
        rows.append(dict.fromkeys(rows[0]) | {"name": name, "rmse": error, "rmse_to_gray": error / gray_error - 1})
    for row in rows:
        row["rmse_to_automatic"] = row["rmse"] / rows[0]["rmse"] - 1
    best = [len(tallies) - 1 - place for place in (of_each[::-1].argmin(axis=0)).tolist()]
    return {
        "says": f"The nearest of six guesses changes the first one's error by {rows[-2]['rmse_to_automatic']:+.1%}, "
        f"the nearest of six tints by {rows[-1]['rmse_to_automatic']:+.1%}. The first guess is the nearest in "
        f"{best.count(0)} of {len(photos)} photographs.",
        "rows": rows,
    }


def dials(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """Error and colorfulness along each dial, the others at their defaults."""
    settings = [("colorfulness", value) for value in COLORFULNESS_STEPS]
    settings += [("balance", value) for value in BALANCE_STEPS]
    if pipe.model.has_distribution:
        settings += [("temperature", value) for value in TEMPERATURE_STEPS]
    tallies = {setting: Tally() for setting in settings}
    for photo in tqdm(photos, desc="dials", mininterval=5):
        coloring = pipe.prepare(Image.fromarray(photo.pixels))
        for (dial, value), tally in tallies.items():
            tally.add(rendered(coloring, **{dial: value}), photo.pixels)
    keys = ("colorfulness_to_truth", "rmse_to_gray", "histogram_distance")
    rows = [{"dial": dial, "value": value} | tally.row(*keys) for (dial, value), tally in tallies.items()]
    steps = {}
    for dial in dict(settings):
        curve = np.array([row["colorfulness_to_truth"] for row in rows if row["dial"] == dial])
        jumps = np.diff(curve)
        steps[dial] = {
            "largest_jump": float(np.abs(jumps).max()),
            "monotone": bool((jumps >= 0).all() or (jumps <= 0).all()),
        }
    words = (
        f"along {dial} CF {'is' if found['monotone'] else 'is NOT'} monotone and its largest step between neighbors "
        f"is {found['largest_jump']:.2f} of the truth's"
        for dial, found in steps.items()
    )
    says = "; ".join(words)
    return {"says": says[0].upper() + says[1:] + ".", "rows": rows, "steps": steps}


@torch.inference_mode()
def calibration(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """Places in groups by entropy: are those right where the model is sure, and does it expect its errors?

    A place is one of the prediction's own grid, its truth the photograph's ab averaged over it, as in the training's
    loss. The prediction is the distribution's mean (temperature 1, colorfulness 1), and the error that it expects of
    itself the root of the distribution's variance; both are root mean squares over a and b.
    """
    if not pipe.model.has_distribution:
        return {"says": f"The model {pipe.model.name} predicts no distribution.", "rows": []}
    centers = ab_bin_centers()
    parts = []
    for photo in tqdm(photos, desc="calibration", mininterval=5):
        prediction = pipe.prepare(Image.fromarray(photo.pixels)).prediction
        logs = torch.log_softmax(prediction[0].flatten(1).T.double(), dim=1)  # (places, K)
        share = logs.exp()
        mean = share @ centers.double()
        variance = share @ centers.double().square() - mean.square()
        truth = torch.nn.functional.adaptive_avg_pool2d(ab_of(photo.pixels), prediction.shape[-2:]).flatten(1).T
        entropy = -(share * logs).sum(1) / math.log(len(centers))
        parts.append(torch.stack([entropy, *((v**2).mean(1) for v in (mean - truth, truth)), variance.mean(1)]))
    entropy, error, uncolored, expected = torch.cat(parts, dim=1).numpy()
    rows = []
    for group, chosen in enumerate(np.array_split(np.argsort(entropy, kind="stable"), GROUPS), 1):
        real, own = (float(value[chosen].mean()) ** 0.5 for value in (error, expected))
        row = {"group": group, "confidence": 1 - float(entropy[chosen].mean()), "error": real, "expected": own}
        rows.append(row | {"ratio": own / max(real, 1e-9), "gray": float(uncolored[chosen].mean()) ** 0.5})
    correlation = float(stats.spearmanr(entropy, error).statistic)
    ratio = float((expected.mean() / max(error.mean(), 1e-9)) ** 0.5)
    return {
        "says": f"Entropy and error have a rank correlation of {correlation:.2f} over {len(error)} places (group 1 is "
        f"the surest tenth); the model expects {ratio:.2f} times the error that it makes. Where its training weighted "
        "rare colors up, its distribution is by design wider than the data's, and a ratio over 1 is no fault.",
        "rows": rows,
        "rank_correlation": correlation,
        "ratio": ratio,
    }


def aged(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """The colors of photographs with the marks of age, against the truth of the photographs without; and a sheet."""
    tallies: dict[str, Tally] = {}
    strips = []
    for number, photo in enumerate(tqdm(photos, desc="aged", mininterval=5)):
        results = {
            name: rendered(pipe.prepare(Image.fromarray(pixels)))
            for name, pixels in aged_versions(np.asarray(photo.gray), seed=number).items()
        }
        for name, result in results.items():
            tallies.setdefault(name, Tally()).add(result, photo.pixels)
        if number < SHOWN:
            strips.append(Strip([thumbnail(p) for p in (*results.values(), photo.pixels)], photo.name))
    save_sheet(draw_sheet(strips, (*tallies, "truth"), across=1), output / "aged.jpg")
    keys = ("rmse_to_gray", "colorfulness_to_truth", "chroma", "cast_a", "cast_b")
    rows = [{"name": name} | tally.row(*keys) for name, tally in tallies.items()]
    worst = max(rows, key=lambda row: row["rmse_to_gray"])
    palest = min(rows, key=lambda row: row["colorfulness_to_truth"])
    tinted = max(rows, key=lambda row: math.hypot(row["cast_a"], row["cast_b"]))
    return {
        "says": f"'{worst['name']}' has the greatest error ({worst['rmse_to_gray']:+.1%} to gray's, after "
        f"{rows[0]['rmse_to_gray']:+.1%} as it is), '{palest['name']}' the least color "
        f"({palest['colorfulness_to_truth']:.2f} of the truth's) and '{tinted['name']}' the greatest cast "
        f"({tinted['cast_a']:+.1f}, {tinted['cast_b']:+.1f}). What is dark or contrasty can show less chroma.",
        "rows": rows,
    }


def aged_versions(gray: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """A photograph (H, W) uint8 as it is and with each mark of age: (H, W), and the toned one (H, W, 3), uint8."""
    light, short = gray / 255.0, min(gray.shape)
    grain = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=gray.shape), 0.7)
    compressed = io.BytesIO()
    Image.fromarray(gray).save(compressed, "JPEG", quality=25)
    made = {
        "as it is": light,
        "grain": light + 0.08 * grain / grain.std(),
        "blur": ndimage.gaussian_filter(light, 0.01 * short),
        "soft": ndimage.gaussian_filter(light, 0.003 * short),
        "sharpened": 2 * light - ndimage.gaussian_filter(light, 0.006 * short),
        "faded": 0.35 + 0.4 * light,
        "high contrast": 0.5 + 1.8 * (light - 0.5),
        "film curve": light**2 * (3 - 2 * light),  # a soft toe and shoulder
        "JPEG 25": np.asarray(Image.open(compressed)) / 255.0,
        "dark": 0.5 * light**1.5,
        "sepia": light[..., None] * np.array([1.0, 0.87, 0.67]),
    }
    return {name: (255 * values.clip(0, 1)).round().astype(np.uint8) for name, values in made.items()}


def formats(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """Strips out of the middle, and photographs enlarged, beside the same places of the photographs as they are.

    A strip of a small photograph is smaller still, so that what strips lose is in part the loss of detail.
    """
    strips = {"tall strip 1:3": 1 / 3, "wide strip 3:1": 3}
    alone, within = ({name: Tally() for name in (*strips, "enlarged 3x")} for _ in range(2))
    for photo in tqdm(photos, desc="formats", mininterval=5):
        whole = rendered(pipe.prepare(Image.fromarray(photo.pixels)))
        for name, aspect in strips.items():
            part = middle_strip(*photo.pixels.shape[:2], aspect)
            alone[name].add(rendered(pipe.prepare(Image.fromarray(photo.pixels[part]))), photo.pixels[part])
            within[name].add(whole[part], photo.pixels[part])
        large = photo.gray.resize([3 * side for side in photo.gray.size], Image.Resampling.BICUBIC)
        reduced = Image.fromarray(rendered(pipe.prepare(large))).reduce(3)
        alone["enlarged 3x"].add(np.asarray(reduced), photo.pixels)
        within["enlarged 3x"].add(whole, photo.pixels)
    rows = []
    for name, tally in alone.items():
        before = within[name].row("rmse_to_gray", "colorfulness_to_truth")
        row = {"name": name} | tally.row("rmse_to_gray", "colorfulness_to_truth", "cast_a", "cast_b")
        rows.append(row | {f"whole_{key}": value for key, value in before.items()})
    changes = (f"{row['name']} {100 * (row['rmse_to_gray'] - row['whole_rmse_to_gray']):+.1f}" for row in rows)
    return {
        "says": "Against the same places of the photographs as they are, the error changes by so many points of "
        f"gray's: {', '.join(changes)}.",
        "rows": rows,
    }


def middle_strip(height: int, width: int, aspect: float) -> tuple[slice, slice]:
    """Rows and columns of the largest part of this aspect (width over height) in the middle."""
    rows, columns = max(1, min(height, round(width / aspect))), max(1, min(width, round(height * aspect)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def edges(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """How much color spills over strong edges, as the error beside them, relative to gray's there and elsewhere.

    The true colors, averaged over the grid where the pipeline fits its guided filter and enlarged again, show what the
    way of enlarging alone costs: bilinear as most colorizers do it, and guided by the lightness as the pipeline does.
    """
    if not pipe.model.keeps_lightness:
        return {"says": f"The model {pipe.model.name} paints whole pictures; nothing is enlarged.", "rows": []}
    names = ("true colors, bilinear", "true colors, guided", "the model's", "gray")
    sums = {name: np.zeros(2) for name in names}  # of squared errors beside strong edges, and elsewhere
    for photo in tqdm(photos, desc="edges", mininterval=5):
        coloring = pipe.prepare(Image.fromarray(photo.pixels))
        lab = rgb_to_lab(to_tensor(photo.pixels))
        lightness, truth = lab[:, :1], lab[:, 1:]
        grid, size = pipe._ab(coloring.prediction, 1.0, 0.0).shape[-2:], truth.shape[-2:]
        small, guide = (torch.nn.functional.adaptive_avg_pool2d(part, grid) for part in (truth, lightness))
        made = (
            torch.nn.functional.interpolate(small, size=size, mode="bilinear")[0],
            guided_band(guide_maps(guide, small), lightness[0, 0], 0, size[0]),
            ab_of(rendered(coloring)),
            torch.zeros(2, *size),
        )
        beside = beside_edges(lab[0].numpy())
        for name, ab in zip(names, made, strict=True):
            error = (ab - truth[0]).square().sum(0).numpy()
            sums[name] += error[beside].sum(), error[~beside].sum()
    uncolored = np.maximum(sums.pop("gray"), 1e-9)
    rows = []
    for name, total in sums.items():
        near, elsewhere = ((total / uncolored) ** 0.5 - 1).tolist()
        rows.append({"name": name, "rmse_to_gray": near, "elsewhere_rmse_to_gray": elsewhere})
    bilinear, guided = (1 + row["rmse_to_gray"] for row in rows[:2])
    return {
        "says": f"Beside strong edges the true colors keep {guided:.1%} of gray's error when the pipeline brings them "
        f"to full size, and {bilinear:.1%} when they are enlarged bilinearly.",
        "rows": rows,
    }


def beside_edges(lab: np.ndarray) -> np.ndarray:
    """Places (H, W) of a picture in Lab (3, H, W) beside an edge that is strong in lightness and in color."""
    lightness, *ab = (ndimage.gaussian_gradient_magnitude(plane, 1) for plane in lab)
    color = np.hypot(*ab)
    strong = (lightness > np.percentile(lightness, STRONGEST)) & (color > np.percentile(color, STRONGEST))
    return ndimage.distance_transform_edt(~strong) <= max(1, REACH * min(strong.shape)) if strong.any() else strong


def gray(pipe: ColorizationPipeline, photos: list[Truth], output: Path) -> dict:
    """The chroma that pages, text and drawings get, beside gray photographs; and a sheet. Uses no photographs."""
    rows, strips = [], []
    for name, picture in tqdm(gray_pictures().items(), desc="gray", mininterval=5):
        coloring = pipe.prepare(picture)
        result = rendered(coloring)
        chroma = ab_of(result).norm(dim=0).numpy()
        row = {"name": name, "chroma": float(chroma.mean()), "high_chroma": float(np.percentile(chroma, 95))}
        row["confidence"] = float(coloring.confidence.mean()) if pipe.model.has_distribution else None
        rows.append(row)
        strips.append(Strip([thumbnail(p) for p in (np.asarray(picture.convert("RGB")), result)], name))
    save_sheet(draw_sheet(strips, ("gray", "result"), across=4), output / "gray.jpg")
    means = [
        np.mean([row["chroma"] for row in rows if (row["name"] in GRAY_PHOTOS) is photo]) for photo in (False, True)
    ]
    return {
        "says": f"What should stay gray (pages, text, drawings, charts) gets a mean chroma of {means[0]:.1f}, the "
        f"gray photographs ({', '.join(GRAY_PHOTOS)}) {means[1]:.1f}.",
        "rows": rows,
    }


PAPERS = ("page", "text")  # of scikit-image's pictures, with GRAY_PHOTOS those that its wheel carries
GRAY_PHOTOS = ("camera", "moon", "coins", "brick", "grass", "gravel")


def gray_pictures() -> dict[str, Image.Image]:
    """What should stay gray, and gray photographs to compare with; 8-bit gray."""
    folder = Path(skimage.data.__file__).parent  # and not skimage.data.page(), which may download
    paths = {name: folder / f"{name}.png" for name in (*PAPERS, *GRAY_PHOTOS)}
    found = {name: Image.open(path).convert("L") for name, path in paths.items() if path.exists()}
    papers = {name: picture for name, picture in found.items() if name in PAPERS}
    return papers | drawings() | found


def drawings() -> dict[str, Image.Image]:
    """Line drawings and charts as a computer draws them, 320 x 240 pixels of 8-bit gray."""
    house, shaded, bars, curves = (Image.new("L", (320, 240), 255) for _ in range(4))
    for picture, inks in ((house, (255, 255, 255)), (shaded, (225, 130, 175))):
        draw = ImageDraw.Draw(picture)
        draw.line((0, 200, 320, 190), 0, 2)
        draw.rectangle((90, 110, 210, 197), inks[0], 0, 3)
        draw.polygon((80, 110, 150, 50, 220, 110), inks[1], 0, 3)
        draw.rectangle((135, 150, 165, 197), inks[1], 0, 2)
        draw.ellipse((250, 60, 300, 110), inks[2], 0, 3)
        draw.line((275, 110, 275, 194), 0, 4)
        draw.arc((20, 20, 60, 60), 0, 360, 0, 2)
    font = ImageFont.load_default(12)
    for picture, title in ((bars, "Output by year"), (curves, "Error by step")):
        draw = ImageDraw.Draw(picture)
        draw.text((160, 14), title, 0, font, anchor="mm")
        draw.line((40, 30, 40, 200, 300, 200), 0, 2)
        for mark in range(5):
            draw.text((30, 200 - 40 * mark), str(10 * mark), 0, font, anchor="rm")
            draw.line((42, 200 - 40 * mark, 300, 200 - 40 * mark), 215)
            draw.text((70 + 50 * mark, 212), str(2001 + mark), 0, font, anchor="mm")
    for bar, height in enumerate((60, 110, 85, 150, 130)):
        ImageDraw.Draw(bars).rectangle((52 + 50 * bar, 199 - height, 86 + 50 * bar, 199), 90 + 25 * bar, 0)
    for shade, rate in ((0, 0.05), (90, 0.02), (150, 0.01)):
        points = [(x, 200 - 160 * math.exp(-rate * (x - 40))) for x in range(42, 300, 4)]
        ImageDraw.Draw(curves).line(points, shade, 3)
    inverted = house.point(lambda level: 255 - level)
    thin = {"line drawing": house, "the same, white on black": inverted, "the same, shaded": shaded}
    return thin | {"bar chart": bars, "line chart": curves}


PARTS = {
    part.__name__: part
    for part in (broken, hints, reach, references, guesses, dials, calibration, aged, formats, edges, gray)
}


# -------------------------------------------------------------------------------------------------- tables and sheets


def markdown(name: str, part: dict) -> str:
    """A part's heading, what it says and its table."""
    lines = [f"### {name}", "", part["says"], ""]
    if part["rows"]:
        columns = {key: COLUMNS[key] for key in part["rows"][0] if any(row[key] is not None for row in part["rows"])}
        lines.append("| " + " | ".join(heading for heading, _ in columns.values()) + " |")
        lines.append("|" + "".join("---:|" if form else "---|" for _, form in columns.values()))
        for row in part["rows"]:
            cells = ("" if row[key] is None else f"{row[key]:{form}}" for key, (_, form) in columns.items())
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


@dataclass
class Strip:
    """Thumbnails of one photograph side by side, the words below them, and whether it is marked in red."""

    pictures: list[Image.Image]
    words: str
    marked: bool = False


def draw_sheet(strips: list[Strip], headings: Sequence[str], across: int) -> Image.Image:
    """A contact sheet of strips, `across` of them in a row; `headings` stand above the pictures of a strip."""
    across = min(across, len(strips))
    width, height = len(headings) * SIDE + GAP, SIDE + LINE
    sheet = Image.new("RGB", (across * width - GAP, LINE + -(-len(strips) // across) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place in range(across):
        for column, heading in enumerate(headings):
            draw.text((place * width + (column + 0.5) * SIDE, LINE / 2), heading, "black", font, anchor="mm")
    for place, strip in enumerate(strips):
        left, top = place % across * width, LINE + place // across * height
        for column, picture in enumerate(strip.pictures):
            sheet.paste(picture, (left + column * SIDE, top))
        draw.text((left + 4, top + SIDE + 1), strip.words, "red" if strip.marked else "black", font)
        if strip.marked:
            draw.rectangle((left, top, left + width - GAP - 1, top + height - 1), None, "red", 3)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=90)
    write(path, content.getvalue())


if __name__ == "__main__":
    run_script("examine.py", main)

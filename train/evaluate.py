"""Measures colorizers against the originals, side by side, and draws what they did.

    python train/evaluate.py --model fusion_compact runs/mine/model --data photos-val/ kodak/ --output_dir runs/judged
    accelerate launch train/evaluate.py ...                # on several GPUs: each process takes its share
    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no \\
        --dynamo_backend no train/evaluate.py ...          # in two processes on the CPU

Every photograph goes the whole way of the product: reduced to its lightness, colored at the dials' defaults, brought
back to its own size and to 8 bits. For each data folder there is one row each for gray, for every model and for the
truth, and with --one_color for that color, with the figures of colorizer/metrics.py: at the default dials, and at
equal colorfulness (the chroma of the results scaled until the set's mean colorfulness is within 1% of the truth's).
For models with a distribution also the cross-entropy of the truth under it, before any dial. Of several models each is
also held against the first, with intervals that tell what the photographs can. With --classifier, how
many of the photographs it recognizes in gray, recolored and real; with --fid, the distance of the sets' features; with
--curve, how error and colorfulness go together over the temperature, or over the dial colorfulness where there is
none.

The output folder gets results.json, results.md and, for each data folder and model, a contact sheet of gray,
prediction and truth: the best, median and worst photographs by ab RMSE relative to gray's, and some drawn at random.
"""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found
if os.environ.get("RANK", "0") != "0":
    os.environ["TQDM_DISABLE"] = "1"  # one process shows how far it is; tqdm reads this when it is imported

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import importlib.metadata  # noqa: E402
import io  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import random  # noqa: E402
import shlex  # noqa: E402
from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from accelerate import PartialState  # noqa: E402
from accelerate.utils import gather_object, parse_flag_from_env  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer import __version__, load_model, metrics  # noqa: E402
from colorizer.color import AbBins, lab_to_rgb, rgb_to_lab  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.models import Colorizer  # noqa: E402
from colorizer.models.base import written_aside  # noqa: E402
from colorizer.pipeline import ColorizationPipeline  # noqa: E402
from train.data import load_photographs  # noqa: E402
from train.losses import RebalancedCrossEntropy, bin_prior  # noqa: E402
from train.runs import check_joined, make_folder, run_script  # noqa: E402

PLAIN = ("gray", "one color", "truth")  # what is measured beside every model
DIALS = ("colorfulness", "temperature", "working_size", "balance", "restraint")
CURVE_TEMPERATURES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
CURVE_COLORFULNESS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
REBALANCING_MIX = 0.85  # of the cross-entropy that is measured: that of the bundled model's recipe
SMALLEST = 32  # pixels of the short side; smaller photographs are left out

COLUMNS = {  # of the table: key in a row, heading, format
    "rmse": ("ab RMSE", ".2f"),
    "rmse_to_gray": ("to gray's", "+.1%"),
    "colorfulness": ("CF", ".2f"),
    "colorfulness_to_truth": ("to truth's", ".2f"),
    "dcf": ("dCF", ".2f"),
    "psnr": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "auc": ("AuC", ".2f"),
    "auc_rebalanced": ("AuC reb.", ".2f"),
    "histogram_distance": ("hist. dist.", ".3f"),
    "cross_entropy": ("cross-entropy", ".3f"),
    "gain": ("gain", ".2f"),
    "equal_rmse_to_gray": ("RMSE to gray's at equal CF", "+.1%"),
    "equal_histogram_distance": ("hist. dist. at equal CF", ".3f"),
    "equal_auc_rebalanced": ("AuC reb. at equal CF", ".2f"),
    "equal_rmse_beside_first": ("RMSE at equal CF beside the first's", "+.1%"),
    "cross_entropy_beside_first": ("cross-entropy beside the first's", "+.3f"),
    "accuracy": ("accuracy", ".1f"),
    "gap_closed": ("gap closed", ".0%"),
    "fid": ("FID", ".2f"),
}
FOOTNOTES = """\
ab RMSE: over a and b in CIE Lab units. CF: colorfulness of Hasler and Suesstrunk 2003 (M3), rg and yb with their
signs; dCF: the difference of the mean CF from the truth's. PSNR (dB) and SSIM (Wang et al. 2004): over the channels
of sRGB. AuC: area under the curve of ab errors 0..150 in percent, raw and rebalanced (Zhang et al. 2016). hist.
dist.: Jensen-Shannon distance of the sets' ab histograms in cells of 10 units. cross-entropy: of the truth under the
distribution that the model predicts, before the dials, on its own grid (nats; rare colors of the set weighted up as
rebalancing_mix 0.85 does); of models that were trained with that rebalancing, the lower knows more. gain: what the
chroma is multiplied by to have the truth's mean CF, within 1%. beside the first's: the difference from the model
that was named first (of errors as shares of gray's), with a 95% interval from 10,000 resamples of the photographs:
where it holds zero, so few photographs do not tell the two models apart. accuracy: percent that the classifier
recognizes, with the Wilson 95% interval; gap closed: the share of the way from gray's accuracy to the truth's, with
such an interval. FID: of a few hundred photographs, it says nothing against published numbers.
"""

CONFIDENT = 1.959964  # standard deviations either side that hold 95% of a normal distribution
RESAMPLES = 10_000  # of the bootstrap


# ------------------------------------------------------------------------------------------------------- arguments


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=["fusion_compact"], help="bundled names, folders or Hub ids")
    parser.add_argument("--data", nargs="+", required=True, help="folders (or tar files) of color photographs")
    parser.add_argument("--output_dir", default="runs/evaluation")
    parser.add_argument(
        "--short_side", type=int, default=512, help="short side (pixels) that photographs are reduced to"
    )
    parser.add_argument("--limit", type=int, help="photographs per folder, drawn with seed 0; all by default")
    parser.add_argument("--colorfulness", type=float, help="instead of the model's default")
    parser.add_argument("--temperature", type=float, help="instead of the model's default")
    parser.add_argument("--working_size", type=int, help="instead of the model's default")
    parser.add_argument("--balance", type=float, help="instead of the model's default")
    parser.add_argument("--restraint", type=float, help="instead of the model's default")
    parser.add_argument(
        "--classifier",
        help="folder or Hub id of a model 'classifier': the accuracy on photographs that lie in folders source/class "
        "of its classes",
    )
    parser.add_argument(
        "--fid",
        action="store_true",
        help="Frechet Inception distance by torchmetrics (pip install 'torchmetrics[image]'), which downloads its "
        "network; of a few hundred photographs it says nothing against published numbers",
    )
    parser.add_argument(
        "--one_color",
        nargs=2,
        type=float,
        metavar=("A", "B"),
        help="adds a row that gives every place this ab (Lab units), such as the mean of the training pictures",
    )
    parser.add_argument(
        "--curve", type=int, metavar="PHOTOS", help="error against colorfulness, on so many photographs of each folder"
    )
    parser.add_argument("--no_ssim", action="store_true", help="leaves out SSIM, which takes most of the time")
    parser.add_argument("--device", help="cuda, mps or cpu; the best that there is by default")
    parser.add_argument(
        "--sheet_photos", type=int, default=40, help="drawn at random on a contact sheet; 0: no contact sheets"
    )
    arguments = parser.parse_args(argv)
    for name, least in (("short_side", SMALLEST), ("limit", 1), ("sheet_photos", 0), ("curve", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ColorizerError(f"--{name} must be {least} or more, not {value}.")
    if arguments.sheet_photos > MOST_SHOWN:
        raise ColorizerError(f"--sheet_photos must be {MOST_SHOWN} or less, not {arguments.sheet_photos}.")
    for name in set(PLAIN) & set(arguments.model):
        raise ColorizerError(f"The table has its own row {name}: for the folder of that name give --model ./{name}.")
    if not all(abs(value) <= 128 for value in arguments.one_color or ()):
        raise ColorizerError(f"--one_color takes a and b in -128..128, not {arguments.one_color}.")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    on_cpu = arguments.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=on_cpu or not torch.accelerator.is_available())
    check_joined(state.num_processes)
    device = arguments.device or state.device.type  # of several GPUs, accelerate has chosen the current one

    # All that can be wrong with the arguments comes to light before the first photograph is colored.
    output = Path(arguments.output_dir)
    make_folder(output)
    sets = read_sets(arguments.data, arguments.short_side, arguments.limit)
    pipes = {source: ColorizationPipeline.from_pretrained(source, device=device) for source in arguments.model}
    classifier = load_classifier(arguments.classifier, device, sets) if arguments.classifier else None
    inception = load_inception(device) if arguments.fid else None
    if inception and any(photos.total < 2 for photos in sets):
        raise ColorizerError("FID is of two photographs or more in every data folder.")

    given = {key: getattr(arguments, key) for key in DIALS}
    report = {
        "command": shlex.join(["train/evaluate.py", *(sys.argv[1:] if argv is None else argv)]),
        "versions": versions(),
        "processes": state.num_processes,
        "device": device,
        "short_side": arguments.short_side,
        "dials": {source: pipe.dials(**given) for source, pipe in pipes.items()},
        "data": {},
    }
    tables = []
    for photos in sets:
        rows = judge(
            photos, pipes, given, classifier, inception, output, arguments.sheet_photos, arguments.one_color,
            ssim=not arguments.no_ssim,
        )  # fmt: skip
        if arguments.curve:
            for source, pipe in pipes.items():
                rows[source]["curve"] = curve(photos, pipe, arguments.curve, given, source)
        report["data"][photos.name] = {"photographs": photos.total, "labeled": photos.labeled, "rows": rows}
        tables.append(markdown(photos.name, photos.total, rows))
        if state.is_main_process:
            print(tables[-1], flush=True)
            write(output / "results.json", (json.dumps(report, indent=2) + "\n").encode())
            write(output / "results.md", "\n".join([*tables, FOOTNOTES]).encode(errors="replace"))
    state.wait_for_everyone()
    state.destroy_process_group()


# -------------------------------------------------------------------------------------------- photographs and models


@dataclasses.dataclass
class PhotoSet:
    """A data folder: this process's share of its photographs, every `world`-th from its own number on.

    truths: sRGB (H, W, 3) uint8. labels: 'source/class' of each, or None. total: photographs in the whole set.
    labeled: how many of all of them the classifier knows the class of; None without one. colorfulness: their mean.
    """

    name: str
    truths: list[np.ndarray]
    labels: list[str | None]
    total: int
    labeled: int | None = None
    colorfulness: float | None = None


def set_names(folders: list[str], flag: str = "--data") -> list[str]:
    """What the sets of a flag's folders (or tar files) are called. ColorizerError where two have one name."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # that of `.` has a name, too
    names = [path.name if path.is_dir() else path.stem for path in paths]
    if len(set(names)) < len(names):
        raise ColorizerError(f"{flag}: the folders must have different names, unlike {', '.join(names)}.")
    return names


def read_sets(folders: list[str], short_side: int, limit: int | None) -> list[PhotoSet]:
    """The photographs of each folder, or at most `limit` of them, the same in every run."""
    names = set_names(folders)
    state = PartialState()
    sets = []
    for name, folder in zip(names, folders, strict=True):
        drawn = (lambda items: random.Random(0).sample(items, min(limit, len(items)))) if limit else None
        pictures = load_photographs(folder, short_side, SMALLEST, drawn)
        own = range(state.process_index, len(pictures.arrays), state.num_processes)
        classes = [pictures.classes[pictures.labels[i]] if pictures.labels[i] >= 0 else None for i in own]
        photos = PhotoSet(name, [pictures.arrays[i] for i in own], classes, len(pictures.arrays))
        photos.colorfulness = mean_colorfulness(photos.truths)
        if photos.colorfulness < 1:
            raise ColorizerError(f"The photographs of {name} are gray: there is no color to compare with.")
        sets.append(photos)
    return sets


def load_classifier(source: str, device: str, sets: list[PhotoSet]) -> Colorizer:
    """The classifier, after the photographs whose class it knows are counted; none at all is a mistake."""
    classifier = load_model(source)
    if classifier.kind != "classifier":
        raise ColorizerError(f"--classifier takes a model 'classifier', and {classifier.source} is a colorizer.")
    for photos in sets:
        photos.labeled = sum(gather_object([sum(label in classifier.classes for label in photos.labels)]))
    if not any(photos.labeled for photos in sets):
        raise ColorizerError(
            f"No photograph lies in a folder source/class that {classifier.source} knows, such as "
            f"{classifier.classes[0]}: it cannot tell their accuracy."
        )
    return classifier.to(device)


def load_inception(device: str) -> torch.nn.Module:
    """The feature network of FID: uint8 (N, 3, H, W) of any size to features (N, 2048)."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        with PartialState().main_process_first():  # which downloads it for all
            return FrechetInceptionDistance().inception.to(device)
    except ImportError as error:
        raise ColorizerError(
            "--fid needs torchmetrics and torch-fidelity: pip install 'torchmetrics[image]'."
        ) from error
    except (OSError, RuntimeError) as error:  # no way there, or a file that is cut short
        raise ColorizerError(f"The feature network of FID cannot be had ({error}); leave --fid out.") from error


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("torch", "timm", "accelerate")}
    return found | {"colorizer": __version__}


# ------------------------------------------------------------------------------------------------ coloring, measuring


def judge(
    photos: PhotoSet,
    pipes: dict[str, ColorizationPipeline],
    dials: dict,
    classifier: Colorizer | None,
    inception: torch.nn.Module | None,
    output: Path,
    sheet_photos: int,
    one_color: tuple[float, float] | None = None,
    ssim: bool = True,
) -> dict[str, dict]:
    """The rows of a set: gray, `one_color` (a, b) if given, every model and the truth. Writes the models' sheets."""
    truths = photos.truths
    rows, recognized, errors, at_equal, costs = {}, {}, {}, {}, {}
    true_features = features(truths, inception) if inception else None

    def add(label: str, results: list[np.ndarray]) -> None:
        rows[label], errors[label], at_equal[label] = measure(results, truths, photos.colorfulness, ssim)
        if photos.labeled:
            recognized[label] = recognize(results, photos.labels, classifier)
            rows[label] |= accuracy(recognized[label])
        if inception and label != "truth":
            rows[label]["fid"] = frechet_distance(features(results, inception), true_features)

    add("gray", [to_gray(truth) for truth in truths])
    if one_color:
        add("one color", [with_color(truth, *one_color) for truth in truths])
    cross_entropy = None
    if any(pipe.model.has_distribution for pipe in pipes.values()):
        cross_entropy = CrossEntropy(truths)
    for source, pipe in pipes.items():
        results, own = [], []
        shown = {key: value for key, value in dials.items() if key != "working_size"}
        for truth in tqdm(truths, desc=f"{photos.name}: {source}", mininterval=5):
            coloring = pipe.prepare(Image.fromarray(truth), dials["working_size"])
            photo = coloring.render(**shown)
            results.append(np.asarray(photo.to_pil().convert("RGB")))
            if pipe.model.has_distribution:
                own.append(cross_entropy(coloring.prediction, truth))
        add(source, results)
        if pipe.model.has_distribution:
            costs[source] = np.array(gathered(own))
            rows[source]["cross_entropy"] = float(costs[source].mean())
        if sheet_photos:
            relative = errors[source] / errors["gray"].clip(min=1)  # of a gray photograph it would tell nothing
            sheet = contact_sheet(results, truths, relative, sheet_photos)
            save_sheet(sheet, output / f"{photos.name}-{file_label(source, list(pipes))}.jpg")
    add("truth", truths)
    for label, row in rows.items():
        compare(row, gray=rows["gray"], truth=rows["truth"])
        if photos.labeled and label in pipes:
            row |= gap_closed(recognized["gray"], recognized[label], recognized["truth"])
    first, *others = list(pipes) or [None]  # gray and the truth can be measured alone
    for source in others:
        if at_equal[source] is not None and at_equal[first] is not None:
            gray = errors["gray"] ** 2
            rows[source] |= beside(
                "equal_rmse",
                lambda first, other, gray: (other**0.5 - first**0.5) / gray**0.5,
                [at_equal[first] ** 2, at_equal[source] ** 2, gray],
            )
        if source in costs and first in costs:
            rows[source] |= beside("cross_entropy", lambda first, other: other - first, [costs[first], costs[source]])
    return rows


class CrossEntropy:
    """What a truth costs under a predicted distribution, rare colors of the set weighted up.

    `truths`: the set's, sRGB (H, W, 3) uint8; this process's share.
    """

    def __init__(self, truths: list[np.ndarray]) -> None:
        self.bins = AbBins()
        shares = gathered([bin_prior([rgb_to_lab(to_tensor(truth))[:, 1:]], self.bins) for truth in truths])
        self.loss = RebalancedCrossEntropy(torch.stack(shares).mean(0), REBALANCING_MIX)

    def __call__(self, logits: torch.Tensor, truth: np.ndarray) -> float:
        """The mean over the places of logits (1, K, h, w), in nats."""
        return self.loss(logits, rgb_to_lab(to_tensor(truth))[:, 1:], self.bins).item()


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """The gray picture (H, W, 3) of the same lightness as sRGB (H, W, 3), both uint8."""
    return with_color(rgb, 0.0, 0.0)


def with_color(rgb: np.ndarray, a: float, b: float) -> np.ndarray:
    """The picture (H, W, 3) of one ab, in Lab units, and the lightness of sRGB (H, W, 3), both uint8."""
    lab = rgb_to_lab(to_tensor(rgb))
    lab[:, 1:] = lab.new_tensor([a, b])[:, None, None]
    return to_array(lab_to_rgb(lab))


def measure(
    results: list[np.ndarray], truths: list[np.ndarray], wanted: float, ssim: bool = True
) -> tuple[dict, np.ndarray, np.ndarray | None]:
    """The figures of results against truths, sRGB (H, W, 3) uint8 each, as they are and at equal colorfulness.

    Results and truths are this process's share; what comes back is of the whole set: the row, and the ab RMSE of each
    photograph, as it is and at equal colorfulness (None of what is gray). `wanted` is the truths' mean colorfulness.
    """
    row, errors = figures(results, truths, ssim=ssim)
    row["gain"] = equal_gain(results, wanted) if row["colorfulness"] > 1 else None
    at_equal = None
    if row["gain"]:
        scaled, at_equal = figures(results, truths, row["gain"], ssim=False)
        row |= {f"equal_{key}": scaled[key] for key in ("rmse", "histogram_distance", "auc_rebalanced")}
    return row, errors, at_equal


def figures(
    results: list[np.ndarray], truths: list[np.ndarray], gain: float = 1.0, ssim: bool = True
) -> tuple[dict, np.ndarray]:
    """The figures of colorizer/metrics.py over the set at a gain on the chroma, and the ab RMSE of each photograph.

    Every photograph counts the same, but of AuC and the histogram distance, where every pixel does. SSIM, by far the
    slowest, only if it is asked for.
    """
    measures = {"colorfulness": [], "psnr": [], "mse": []} | ({"ssim": []} if ssim else {})
    counts = histogram = true_histogram = 0
    for result, truth in zip(results, truths, strict=True):
        rgb, true_rgb = amplify(to_tensor(result), gain), to_tensor(truth)
        ab, true_ab = rgb_to_lab(rgb)[:, 1:], rgb_to_lab(true_rgb)[:, 1:]
        measures["mse"].append(metrics.ab_mse(ab, true_ab).item())
        measures["colorfulness"].append(metrics.colorfulness(rgb).item())
        measures["psnr"].append(metrics.psnr(rgb, true_rgb).item())
        if ssim:
            measures["ssim"].append(metrics.ssim(rgb, true_rgb).item())
        counts = counts + metrics.ab_error_counts(ab, true_ab)
        histogram = histogram + metrics.ab_histogram(ab)
        true_histogram = true_histogram + metrics.ab_histogram(true_ab)
    # Values in the photographs' order, and integers: the same to the last digit in any number of processes.
    values = {key: np.array(gathered(own), np.float64) for key, own in measures.items()}
    counts, histogram, true_histogram = (sum(gather_object([own])) for own in (counts, histogram, true_histogram))
    mean = {key: float(value.mean()) for key, value in values.items()}
    row = {
        "rmse": mean.pop("mse") ** 0.5,
        **mean,
        "auc": metrics.area_under_curve(counts),
        "auc_rebalanced": metrics.area_under_curve(counts, rebalanced=True),
        "histogram_distance": metrics.jensen_shannon_distance(histogram, true_histogram),
    }
    return row, values["mse"] ** 0.5


def curve(photos: PhotoSet, pipe: ColorizationPipeline, count: int, dials: dict, label: str) -> list[dict[str, float]]:
    """How error and colorfulness go together, over `count` photographs of the set, drawn with seed 0.

    A point each of CURVE_TEMPERATURES, at the colorfulness 1 of the dial; for a model without a temperature, of
    CURVE_COLORFULNESS. Points are {"temperature" or "colorfulness": the dial, "rmse_to_gray", "colorfulness_to_truth",
    "histogram_distance"}, as the columns of the table.
    """
    state = PartialState()
    chosen = sorted(random.Random(0).sample(range(photos.total), min(count, photos.total)))
    own = [photos.truths[i // state.num_processes] for i in chosen if i % state.num_processes == state.process_index]
    dial, values = "colorfulness", CURVE_COLORFULNESS
    if pipe.model.has_distribution:
        dial, values = "temperature", CURVE_TEMPERATURES
    fixed = {"colorfulness": 1.0, "balance": dials["balance"], "restraint": dials["restraint"]}
    errors, colors = ([[] for _ in range(len(values) + 1)] for _ in range(2))  # of each value; of the truth last
    histograms = [0.0] * (len(values) + 1)
    for truth in tqdm(own, desc=f"{photos.name}: curve of {label}", mininterval=5):
        true_rgb = to_tensor(truth)
        true_ab = rgb_to_lab(true_rgb)[:, 1:]
        coloring = pipe.prepare(Image.fromarray(truth), dials["working_size"])
        for place, value in enumerate(values):
            photo = coloring.render(**(fixed | {dial: value}))
            rgb = to_tensor(np.asarray(photo.to_pil().convert("RGB")))
            ab = rgb_to_lab(rgb)[:, 1:]
            errors[place].append(metrics.ab_mse(ab, true_ab).item())
            colors[place].append(metrics.colorfulness(rgb).item())
            histograms[place] = histograms[place] + metrics.ab_histogram(ab)
        errors[-1].append(true_ab.square().mean().item())
        colors[-1].append(metrics.colorfulness(true_rgb).item())
        histograms[-1] = histograms[-1] + metrics.ab_histogram(true_ab)
    # The processes' shares may differ by more than one here, and fsum gives the same sum in any order.
    error, color = (
        [math.fsum(itertools.chain(*gather_object([one]))) / len(chosen) for one in several]
        for several in (errors, colors)
    )
    histograms = [sum(gather_object([histogram])) for histogram in histograms]
    return [
        {
            dial: value,
            "rmse_to_gray": (error[place] / max(error[-1], 1e-9)) ** 0.5 - 1,  # the few drawn may all be gray
            "colorfulness_to_truth": color[place] / max(color[-1], 1e-9),
            "histogram_distance": metrics.jensen_shannon_distance(histograms[place], histograms[-1]),
        }
        for place, value in enumerate(values)
    ]


def mean_colorfulness(pictures: list[np.ndarray], gain: float = 1.0) -> float:
    """The set's mean colorfulness at a gain on the chroma; `pictures` are this process's share."""
    own = [metrics.colorfulness(amplify(to_tensor(picture), gain)).item() for picture in pictures]
    return float(np.mean(gathered(own)))


def equal_gain(results: list[np.ndarray], wanted: float) -> float | None:
    """The gain on the chroma that brings the set's mean colorfulness within 0.5% of `wanted`; None if none does."""
    gain = 1.0
    for _ in range(12):
        reached = mean_colorfulness(results, gain)
        if abs(reached / wanted - 1) <= 0.005:
            return gain
        gain *= wanted / reached  # colorfulness grows in proportion to the gain, but for what leaves the gamut
    return None


def compare(row: dict, gray: dict, truth: dict) -> None:
    """Adds to a row what its figures are beside gray's and the truth's."""
    row["rmse_to_gray"] = row["rmse"] / gray["rmse"] - 1
    row["colorfulness_to_truth"] = row["colorfulness"] / truth["colorfulness"]
    row["dcf"] = abs(row["colorfulness"] - truth["colorfulness"])
    if row["gain"]:
        row["equal_rmse_to_gray"] = row.pop("equal_rmse") / gray["rmse"] - 1


def beside(key: str, difference: Callable[..., np.ndarray], values: list[np.ndarray]) -> dict:
    """The difference of two models on the same photographs, and its 95% interval, as cells of a row.

    `values` are of each photograph (N,); `difference` takes their means, in this order, or arrays of such means. The
    interval is the percentile bootstrap's, seeded, over photographs, so that both models are drawn together.
    """
    columns = np.stack(values, 1)
    generator, count, parts = np.random.default_rng(0), len(columns), 10
    even = np.full(count, 1 / count)
    draws = [generator.multinomial(count, even, size=RESAMPLES // parts) @ columns / count for _ in range(parts)]
    edges = np.percentile(difference(*np.concatenate(draws).T), [2.5, 97.5])
    return {
        f"{key}_beside_first": float(difference(*columns.mean(0))),
        f"{key}_beside_first_interval": [float(edge) for edge in edges],
    }


# ------------------------------------------------------------------------------------- what the photographs still show


@torch.inference_mode()
def recognize(results: list[np.ndarray], labels: list[str | None], classifier: Colorizer) -> np.ndarray:
    """Whether the classifier's first guess is right (bool), for each photograph of the set whose class it knows."""
    device = next(classifier.parameters()).device
    right = []
    for result, label in zip(results, labels, strict=True):
        if label in classifier.classes:
            guess = classifier(to_tensor(result).to(device)).argmax(1).item()
            right.append(classifier.classes[guess] == label)
        else:
            right.append(None)
    return np.array([guess for guess in gathered(right) if guess is not None], bool)


def accuracy(right: np.ndarray) -> dict:
    """Top-1 accuracy in percent, and its Wilson score interval of 95%."""
    n, share = len(right), right.mean()
    middle = (share + CONFIDENT**2 / (2 * n)) / (1 + CONFIDENT**2 / n)
    half = CONFIDENT / (1 + CONFIDENT**2 / n) * (share * (1 - share) / n + CONFIDENT**2 / (4 * n**2)) ** 0.5
    return {
        "accuracy": float(100 * share),
        "accuracy_interval": [100 * float(middle - half), 100 * float(middle + half)],
    }


def gap_closed(gray: np.ndarray, colored: np.ndarray, real: np.ndarray) -> dict:
    """The share of the gap from gray's accuracy to the real photographs' that a colorizer closes.

    The arguments say of each photograph whether it was recognized. The 95% interval is the percentile bootstrap's,
    seeded, over photographs; it is left out when more than one resample in a hundred has no gap, and the share too
    when the photographs themselves have none.
    """
    if not real.sum() > gray.sum():
        return {"gap_closed": None}
    # There are but eight kinds of photographs, so a resample is a draw of how many there are of each.
    kinds = np.array([[kind >> place & 1 for place in range(3)] for kind in range(8)])
    sizes = np.bincount(gray + 2 * colored.astype(int) + 4 * real, minlength=8)
    draws = np.random.default_rng(0).multinomial(len(gray), sizes / len(gray), size=RESAMPLES) @ kinds
    gap = draws[:, 2] - draws[:, 0]
    with_gap = gap > 0
    result = {"gap_closed": float((colored.sum() - gray.sum()) / (real.sum() - gray.sum()))}
    if with_gap.mean() >= 0.99:
        shares = (draws[:, 1] - draws[:, 0])[with_gap] / gap[with_gap]
        result["gap_closed_interval"] = [float(edge) for edge in np.percentile(shares, [2.5, 97.5])]
    return result


@torch.inference_mode()
def features(pictures: list[np.ndarray], network: torch.nn.Module) -> np.ndarray:
    """The network's features (photographs, F) in float64, of the whole set; `pictures` are this process's share."""
    device = next(network.parameters()).device
    tensors = (torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(device) for picture in pictures)
    return np.stack(gathered([network(tensor)[0].cpu().double().numpy() for tensor in tensors]))


def frechet_distance(results: np.ndarray, truths: np.ndarray) -> float:
    """FID of features (photographs, F), by torchmetrics, which is given them as if pictures."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    as_they_are = torch.nn.Identity()
    as_they_are.num_features = truths.shape[1]
    # Every process has all the features, so that there is nothing to be summed over them.
    distance = FrechetInceptionDistance(feature=as_they_are, sync_on_compute=False)
    distance.update(torch.from_numpy(truths), real=True)
    distance.update(torch.from_numpy(results), real=False)
    return distance.compute().item()


# ------------------------------------------------------------------------------------------------------- gathering


def gathered(own: list) -> list:
    """What every process has of its share of the photographs, one value each, in the photographs' order."""
    parts = gather_object([own])
    return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]


# ---------------------------------------------------------------------------------------------------------- tables


def markdown(name: str, photographs: int, rows: dict[str, dict]) -> str:
    """A table of the rows, for people; figures that no row has are left out."""
    columns = {key: form for key, form in COLUMNS.items() if any(row.get(key) is not None for row in rows.values())}

    def cell(row: dict, key: str, form: str) -> str:
        if row.get(key) is None:
            return ""
        interval = row.get(f"{key}_interval")
        return f"{row[key]:{form}}" + (f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else "")

    lines = [f"### {name} ({photographs} photographs)", ""]
    lines.append("| | " + " | ".join(heading for heading, _ in columns.values()) + " |")
    lines.append("|---|" + "---:|" * len(columns))
    for label, row in rows.items():
        lines.append(f"| {label} | " + " | ".join(cell(row, key, form) for key, (_, form) in columns.items()) + " |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------------------- sheets

SIDE, GAP, LINE = 160, 8, 16  # pixels of a thumbnail, between photographs, of a line of text
ACROSS = 4  # photographs in a row of a sheet
EXTREMES = 8  # photographs in each of best, median, worst
MOST_SHOWN = 1400  # drawn ones: a JPEG's side ends at 65,500 pixels


def contact_sheet(
    results: list[np.ndarray], truths: list[np.ndarray], relative: np.ndarray, shown: int
) -> Image.Image:
    """Gray, prediction and truth of the best, median and worst photographs, and of `shown` drawn with seed 0, so that
    sheets can be laid side by side. Below each stands its ab RMSE relative to gray's.

    Results and truths are this process's share; `relative` is ab RMSE over gray's of every photograph of the set.
    """
    total = len(relative)
    sections = extremes(relative) | {"random": random.Random(0).sample(range(total), min(shown, total))}
    pictures = thumbnails({index for chosen in sections.values() for index in chosen}, results, truths)

    across = min(ACROSS, max(map(len, sections.values())))
    width, height = 3 * SIDE + GAP, SIDE + LINE
    rows = sum(-(-len(chosen) // across) for chosen in sections.values())
    sheet = Image.new("RGB", (across * width - GAP, len(sections) * LINE + rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    top = 0
    for section, chosen in sections.items():
        for left in range(0, min(across, len(chosen)) * width, width):
            for column, name in enumerate(("gray", "prediction", "truth")):
                draw.text((left + (column + 0.5) * SIDE, top + LINE / 2), name, "black", font, anchor="mm")
        draw.text((2, top + LINE / 2), section, "firebrick", font, anchor="lm")
        top += LINE
        for place, index in enumerate(chosen):
            left, upper = place % across * width, top + place // across * height
            for column, picture in enumerate(pictures[index]):
                sheet.paste(picture, (left + column * SIDE, upper))
            draw.text((left + 2, upper + SIDE + 1), f"ab RMSE {relative[index] - 1:+.0%}", "black", font)
        top += -(-len(chosen) // across) * height
    return sheet


def extremes(relative: np.ndarray) -> dict[str, list[int]]:
    """The photographs of least, middling and greatest error: best first, worst first."""
    order = np.argsort(relative, kind="stable").tolist()
    count = max(1, min(EXTREMES, len(order) // 3))
    middle = (len(order) - count) // 2
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}


def thumbnails(indices: set[int], results: list[np.ndarray], truths: list[np.ndarray]) -> dict[int, list[Image.Image]]:
    """Gray, prediction and truth of some photographs of the set, by their number: the square center, reduced."""
    state = PartialState()
    own = {}
    for index in sorted(indices):
        if index % state.num_processes == state.process_index:
            place = index // state.num_processes
            own[index] = [thumbnail(p) for p in (to_gray(truths[place]), results[place], truths[place])]
    return {index: pictures for part in gather_object([own]) for index, pictures in part.items()}


def thumbnail(rgb: np.ndarray) -> Image.Image:
    image = Image.fromarray(rgb)
    edge = min(image.size)
    left, top = ((length - edge) // 2 for length in image.size)
    return image.crop((left, top, left + edge, top + edge)).resize((SIDE, SIDE))


def file_label(source: str, sources: list[str]) -> str:
    """A model's name in a file's: the last two parts of its path, or all of them where others end in the same, with
    its number among the models where others' are the same still (`a` and `../a`)."""

    def parts(path: str) -> list[str]:
        return [part for part in path.split("/") if part not in ("", ".", "..")] or [path]

    own = parts(source)
    if [parts(other)[-2:] for other in sources].count(own[-2:]) == 1:
        return "--".join(own[-2:])
    number = [f"{sources.index(source) + 1}"] if [parts(other) for other in sources].count(own) > 1 else []
    return "--".join(own + number)


# ------------------------------------------------------------------------------------------------------ small parts


def save_sheet(sheet: Image.Image, path: Path) -> None:
    if PartialState().is_main_process:
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=90)
        write(path, content.getvalue())


def write(path: Path, content: bytes) -> None:
    """Writes a file aside, and gives it its name when it is whole."""
    with written_aside(path) as partial:
        partial.write_bytes(content)


def amplify(rgb: torch.Tensor, gain: float) -> torch.Tensor:
    """sRGB (N, 3, H, W) with its chroma in CIE Lab multiplied by `gain`, as far as the gamut allows."""
    if gain == 1:
        return rgb
    lab = rgb_to_lab(rgb)
    lab[:, 1:] *= gain
    return lab_to_rgb(lab)


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255


def to_array(rgb: torch.Tensor) -> np.ndarray:
    return (rgb[0] * 255).round().byte().permute(1, 2, 0).numpy()


if __name__ == "__main__":
    run_script("evaluate.py", main)

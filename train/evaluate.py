"""Measures colorizers against the originals, side by side, and draws what they did.

    python train/evaluate.py --model fusion_compact runs/mine/model --data photos-val/ kodak/ --output_dir runs/judged

Every photograph goes the whole way of the product: reduced to its lightness, colored at the dials' defaults, brought
back to its own size and to 8 bits. For each data folder there is one row each for gray, for every model and for the
truth, with the figures of colorizer/metrics.py: at the default dials, and at equal colorfulness (the chroma of the
results scaled until the set's mean colorfulness is within 1% of the truth's). The output folder gets results.json,
results.md and, for each data folder and model, a contact sheet (gray, prediction, truth).
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer import metrics  # noqa: E402
from colorizer.color import lab_to_rgb, rgb_to_lab  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.pipeline import ColorizationPipeline  # noqa: E402
from train.data import load_pictures  # noqa: E402

COLUMNS = {
    "rmse": "ab RMSE",
    "rmse_to_gray": "to gray's",
    "colorfulness": "CF",
    "colorfulness_to_truth": "to truth's",
    "dcf": "dCF",
    "psnr": "PSNR",
    "auc": "AuC",
    "auc_rebalanced": "AuC reb.",
    "histogram_distance": "hist. dist.",
    "gain": "gain",
    "equal_rmse_to_gray": "RMSE to gray's at equal CF",
    "equal_histogram_distance": "hist. dist. at equal CF",
    "equal_auc_rebalanced": "AuC reb. at equal CF",
}


def main() -> None:
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
    parser.add_argument("--device")
    parser.add_argument("--sheet_photos", type=int, default=40, help="on a contact sheet; 0: no sheets")
    arguments = parser.parse_args()

    names = [Path(folder).stem for folder in arguments.data]
    if len(set(names)) < len(names):
        raise ColorizerError(f"The data folders must have different names, unlike {', '.join(names)}.")
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    results, tables = {}, []
    for name, folder in zip(names, arguments.data, strict=True):
        truths = load_pictures([folder], arguments.short_side).arrays
        if arguments.limit:
            truths = random.Random(0).sample(truths, min(arguments.limit, len(truths)))
        rows = {"gray": measure([to_gray(truth) for truth in truths], truths)}
        for source in arguments.model:
            pipe = ColorizationPipeline.from_pretrained(source, device=arguments.device)
            dials = {key: getattr(arguments, key) for key in ("colorfulness", "temperature", "working_size")}
            colored = [
                np.asarray(pipe(Image.fromarray(truth), **dials).convert("RGB"))
                for truth in tqdm(truths, desc=f"{name}: {source}", mininterval=5)
            ]
            rows[source] = measure(colored, truths)
            if arguments.sheet_photos:
                label = f"{name}-{Path(source).name if source.count('/') != 1 else source.replace('/', '--')}"
                contact_sheet(colored, truths, arguments.sheet_photos).save(output / f"{label}.jpg", quality=90)
        rows["truth"] = measure(truths, truths)
        for row in rows.values():
            compare(row, gray=rows["gray"], truth=rows["truth"])
        results[name] = rows
        tables.append(markdown(name, len(truths), rows))
        print(tables[-1], flush=True)
        (output / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        (output / "results.md").write_text("\n".join(tables))


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """The gray picture (H, W, 3) of the same lightness as sRGB (H, W, 3), both uint8."""
    lab = rgb_to_lab(to_tensor(rgb))
    lab[:, 1:] = 0
    return to_array(lab_to_rgb(lab))


def measure(results: list[np.ndarray], truths: list[np.ndarray]) -> dict:
    """The figures of results against truths, sRGB (H, W, 3) uint8 each, as they are and at equal colorfulness."""
    wanted = float(np.mean([metrics.colorfulness(to_tensor(truth)).item() for truth in truths]))
    row = figures(results, truths)
    row["gain"] = equal_gain(results, wanted) if row["colorfulness"] > 1 else None
    if row["gain"]:
        scaled = figures(results, truths, row["gain"])
        row |= {f"equal_{key}": scaled[key] for key in ("rmse", "histogram_distance", "auc_rebalanced")}
    return row


def figures(results: list[np.ndarray], truths: list[np.ndarray], gain: float = 1.0) -> dict:
    """The figures of colorizer/metrics.py over a set, every photograph counting the same, at a gain on the chroma."""
    sums = {"mse": 0.0, "colorfulness": 0.0, "psnr": 0.0}
    counts = histogram = true_histogram = 0
    for result, truth in zip(results, truths, strict=True):
        rgb, true_rgb = amplify(to_tensor(result), gain), to_tensor(truth)
        ab, true_ab = rgb_to_lab(rgb)[:, 1:], rgb_to_lab(true_rgb)[:, 1:]
        sums["mse"] += metrics.ab_mse(ab, true_ab).item()
        sums["colorfulness"] += metrics.colorfulness(rgb).item()
        sums["psnr"] += metrics.psnr(rgb, true_rgb).item()
        counts = counts + metrics.ab_error_counts(ab, true_ab)
        histogram = histogram + metrics.ab_histogram(ab)
        true_histogram = true_histogram + metrics.ab_histogram(true_ab)
    mean = {key: value / len(results) for key, value in sums.items()}
    return {
        "rmse": mean.pop("mse") ** 0.5,
        **mean,
        "auc": metrics.area_under_curve(counts),
        "auc_rebalanced": metrics.area_under_curve(counts, rebalanced=True),
        "histogram_distance": metrics.jensen_shannon_distance(histogram, true_histogram),
    }


def equal_gain(results: list[np.ndarray], wanted: float) -> float | None:
    """The gain on the chroma that brings the set's mean colorfulness within 0.5% of `wanted`; None if none does."""
    gain = 1.0
    for _ in range(12):
        reached = np.mean([metrics.colorfulness(amplify(to_tensor(r), gain)).item() for r in results])
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


def markdown(name: str, photographs: int, rows: dict[str, dict]) -> str:
    """A table of the rows, for people."""

    def cell(key: str, value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:+.1%}" if key.endswith("to_gray") else f"{value:.3f}" if "dist" in key else f"{value:.2f}"

    lines = [f"### {name} ({photographs} photographs)", "", "| | " + " | ".join(COLUMNS.values()) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for label, row in rows.items():
        lines.append(f"| {label} | " + " | ".join(cell(key, row.get(key)) for key in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def contact_sheet(results: list[np.ndarray], truths: list[np.ndarray], shown: int, side: int = 160) -> Image.Image:
    """Columns of gray, result, truth; photographs are drawn with seed 0, so that sheets can be laid side by side."""
    chosen = random.Random(0).sample(range(len(truths)), min(shown, len(truths)))
    across = max(1, round(len(chosen) ** 0.5 * 0.7))
    sheet = Image.new("RGB", (across * (3 * side + 8), -(-len(chosen) // across) * (side + 4)), "white")
    for place, index in enumerate(chosen):
        for column, picture in enumerate((to_gray(truths[index]), results[index], truths[index])):
            thumbnail = Image.fromarray(picture)
            edge = min(thumbnail.size)
            left, top = ((length - edge) // 2 for length in thumbnail.size)
            thumbnail = thumbnail.crop((left, top, left + edge, top + edge)).resize((side, side))
            sheet.paste(thumbnail, (place % across * (3 * side + 8) + column * side, place // across * (side + 4)))
    return sheet


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
    try:
        main()
    except ColorizerError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        sys.exit(2)

"""What train/reproduce.py's rows reached, collected from the runs' own files: results.json and a table."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from colorizer import load_model, metrics
from colorizer.color import lab_to_rgb
from colorizer.errors import ColorizerError
from colorizer.models import Colorizer, create_model
from colorizer.models.base import written_aside
from colorizer.pipeline import ColorizationPipeline
from train.data import batches_of, prepare_pictures, some
from train.recipe import Recipe, make_recipe, read_recipe
from train.runs import read_json, read_metrics, saved_recipe, write_json
from train.sources import list_items
from train.views import to_lab, training_views

if TYPE_CHECKING:
    from train.reproduce import Row

SHORT_SIDE = 512  # pixels that test photographs are reduced to
SMOKE_PHOTOS = 6  # measured at the scale smoke
WANTED_PSNR = 30.0  # dB, of alpha's own photograph


# ----------------------------------------------------------------------------------------------------------- one run


def train_loss(lines: list[dict[str, float]]) -> float:
    """The mean training loss of the last epoch; the squared error, where others are added to it."""
    losses = [(line["step"], line.get("mse", line["loss"]), line["epoch"]) for line in lines if "loss" in line]
    last_epoch = losses[-1][2] - 1
    weighted, steps, before = 0.0, 0, 0
    for step, loss, epoch in losses:
        if epoch > last_epoch + 1e-6:  # a line is the mean of the steps since the one before
            weighted, steps = weighted + (step - before) * loss, steps + step - before
        before = step
    return weighted / steps


def figures_of_run(run: Path, recipe: Recipe) -> dict[str, float]:
    """What a run's metrics.jsonl says in the end."""
    lines = read_metrics(run)
    last = {}
    for line in lines:
        last |= line
    figures = {
        "images": last["step"] * recipe.train_batch_size * recipe.gradient_accumulation_steps,
        "minutes": last["minutes"],
        "train_loss": train_loss(lines),
    }
    names = {
        "validation_loss": "held_out_loss",
        "validation_accuracy": "accuracy",
        "validation_ab_rmse": "ab_rmse",
        "gray_ab_rmse": "gray_ab_rmse",
    }
    return figures | {ours: last[theirs] for theirs, ours in names.items() if theirs in last}


def best_variant(output: Path, variants: Iterable[str], scale: str) -> str | None:
    """The variant whose second stage has the least held-out loss; None while one of them is not trained."""
    losses = {}
    for variant in variants:
        run = output / f"two_stage_{variant}"
        row = read_json(run / "row.json")
        if row is None or row["scale"] != scale or not (run / "model/config.json").is_file():
            return None
        losses[variant] = figures_of_run(run, saved_recipe(row))["held_out_loss"]
    return min(losses, key=losses.get)


def cost(model: Colorizer, resolution: int | None = None) -> dict[str, Any]:
    """Parameters, and the operations of coloring one picture at the default working size, or at `resolution`.

    A multiplication and the addition after it count as two operations; only those of convolutions, matrix products
    and attention are counted.
    """
    size = model.input_size or 2 * (resolution or model.defaults["working_size"],)
    channels = 1 if model.kind == "colorizer" else 3
    device = next(model.parameters()).device
    picture = torch.full((1, channels, *size), 0.5, device=device)
    with torch.no_grad():
        model.eval()(picture)  # what an embedder finds out once for all pictures is not a picture's cost
        with FlopCounterMode(display=False) as counter:
            model(picture)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops(), "input": list(size)}


def planned_cost(recipe: dict[str, Any]) -> dict[str, Any]:
    """The cost of a model that is not trained: built without memory. Empty where it cannot be built without data."""
    config = dict(recipe["model"])
    name = config.pop("name")
    if name == "classifier":
        return {}
    with torch.device("meta"):
        model = create_model(name, **config)
    model.defaults |= recipe.get("defaults", {})
    return cost(model, max(recipe["resolutions"].values()) if model.kind == "autoencoder" else None)


# ------------------------------------------------------------------------------------------------- measuring beside


@torch.no_grad()
def gray_loss(recipe: Recipe) -> float | None:
    """The squared error, over RGB in 0..1, of the gray pictures of the same lightness: on the run's held-out pictures.

    None where the recipe names no folder of them, or they are not there any more.
    """
    if not recipe.validation_data_dir:
        return None
    try:
        items = list_items(recipe.validation_data_dir, part="test")
    except ColorizerError:
        return None
    pictures = prepare_pictures(items, recipe, Accelerator(cpu=True), [])
    pictures = pictures.subset(some(len(pictures), recipe.max_validation_pictures, recipe.seed))
    total = 0.0
    for batch in batches_of(pictures, 256):
        rgb = training_views(batch, None, max(recipe.resolutions.values()))
        lightness, ab = to_lab(rgb)
        gray = lab_to_rgb(torch.cat([lightness, torch.zeros_like(ab)], dim=1))
        total += (gray - rgb).square().flatten(1).mean(1).double().sum().item()
    return total / len(pictures)


def own_photo_psnr(model: Colorizer, size: int) -> dict[str, float]:
    """PSNR (dB) of alpha's own photograph, at the `size` that it was trained at: as the pipeline colors it, and as the
    network does before the pipeline smooths its colors along the photograph's edges."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut()).resize((size, size), Image.Resampling.BOX)
    colored = ColorizationPipeline(model, "cpu")(photo, working_size=size).convert("RGB")
    truth, result = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255 for image in (photo, colored))
    with torch.no_grad():
        lightness, _ = to_lab(truth)
        direct = lab_to_rgb(torch.cat([lightness, model(lightness)], dim=1))
    return {"own_psnr": metrics.psnr(result, truth).item(), "own_psnr_of_network": metrics.psnr(direct, truth).item()}


def read_photos(folders: Sequence[str], scale: str) -> list[np.ndarray]:
    """The photographs that models are measured on, sRGB (H, W, 3) uint8. ColorizerError where they tell nothing."""
    from train import evaluate

    PartialState(cpu=True)
    sets = evaluate.read_sets(list(folders), SHORT_SIDE, SMOKE_PHOTOS if scale == "smoke" else None)
    return [truth for photos in sets for truth in photos.truths]


def judge_photos(
    models: dict[str, str], fresh: Iterable[str], folders: Sequence[str], output: Path, scale: str
) -> dict[str, Any] | None:
    """The figures of train/evaluate.py of models (row: source) on the same photographs, with gray's and the truth's.

    What is measured stays in the rows' folders, as evaluation.json. Rows that are not in `fresh` are given only if
    they have been measured before. None where there is no row to give.
    """
    from train import evaluate

    models = {row: source for row, source in models.items() if row in fresh or evaluation_file(output, row).exists()}
    if not models:
        return None
    truths = read_photos(folders, scale)
    photographs = 0
    for truth in truths:
        photographs = zlib.crc32(truth.tobytes(), photographs)
    wanted = None

    def measure(row: str, source: str | None) -> dict | None:
        nonlocal wanted
        model = load_model(source) if source else None
        key = [photographs, model and digest(model)]
        path = evaluation_file(output, row)
        kept = read_json(path)
        if kept and kept["key"] == key:
            return kept["row"]
        if model and row not in fresh:
            return None
        print(f"measuring {row} on {len(truths)} photographs", flush=True)
        wanted = wanted or evaluate.mean_colorfulness(truths)
        if model:
            pipe = ColorizationPipeline(model)
            bar = tqdm(truths, row, mininterval=5)
            results = [np.asarray(pipe(Image.fromarray(truth)).convert("RGB")) for truth in bar]
        else:
            results = truths if row == "truth" else [evaluate.to_gray(truth) for truth in truths]
        figures, *_ = evaluate.measure(results, truths, wanted)
        path.parent.mkdir(exist_ok=True)
        write_json(path, {"key": key, "row": figures})
        return figures

    rows = {row: measure(row, source) for row, source in {"gray": None, **models, "truth": None}.items()}
    rows = {row: figures for row, figures in rows.items() if figures}
    gray, truth = dict(rows["gray"]), dict(rows["truth"])
    for figures in rows.values():
        evaluate.compare(figures, gray, truth)
    return {"photographs": len(truths), "rows": rows}


def still_true(judged: dict[str, Any], models: dict[str, str], output: Path) -> dict[str, Any]:
    """What judge_photos gave an earlier time, of the rows whose models (row: source) are still those of then."""

    def is_same(row: str) -> bool:
        measured = read_json(evaluation_file(output, row))
        return row in models and measured is not None and measured["key"][1] == digest(load_model(models[row]))

    return judged | {"rows": {row: f for row, f in judged["rows"].items() if row in ("gray", "truth") or is_same(row)}}


def evaluation_file(output: Path, row: str) -> Path:
    """Where the figures of a row on the test photographs are kept; gray and truth have no folders of rows."""
    return output / "data" / f"evaluation-{row}.json" if row in ("gray", "truth") else output / row / "evaluation.json"


def digest(model: Colorizer) -> int:
    """Of a model's weights and dials."""
    checksum = zlib.crc32(json.dumps(model.to_config(), sort_keys=True).encode())
    for tensor in model.state_dict().values():
        checksum = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), checksum)
    return checksum


# ------------------------------------------------------------------------------------------------------ the whole


def collect(
    rows: Sequence[Row],
    recipes: Path,
    output: Path,
    outcomes: dict[str, dict],
    fresh: Iterable[str],
    photos_test: Sequence[str],
    scale: str,
    command: str,
) -> dict[str, Any]:
    """Writes results.json and results.md of all rows that are trained below `output`; returns the former's content.

    outcomes: {"status", "reason"} of the rows of this run, by name; of others, what an earlier run said is kept.
    fresh: rows to be measured on the photographs `photos_test`; of others, earlier figures are kept.
    photos_test: where it is empty, nothing is measured, and the earlier figures of all rows are kept.
    """
    earlier = read_json(output / "results.json") or {"rows": {}}
    results = {"command": command, "scale": scale, "rows": {}}
    sources = {}
    for row in rows:
        entry = {"family": row.family, "shows": row.shows, "recipe": row.recipe}
        run = output / row.name
        saved = read_json(run / "row.json")
        if row.recipe is None:
            sources[row.name] = row.name
            entry |= {"status": "bundled", "reason": "", **cost(load_model(row.name)), **row.known}
        elif saved and saved["scale"] == scale and (run / "model/config.json").is_file():
            recipe, model = saved_recipe(saved), load_model(str(run / "model"))
            sources[row.name] = str(run / "model")
            resolution = max(recipe.resolutions.values())
            entry |= {"status": "trained", "reason": "", "model": recipe.model}
            entry |= cost(model, None if model.kind == "colorizer" else resolution) | figures_of_run(run, recipe)
            entry["machine"] = saved["machine"]
            if row.data == "astronaut":
                entry |= own_photo_psnr(model, resolution)
        else:
            told = outcomes.get(row.name) or earlier["rows"].get(row.name) or {}
            reason = told.get("reason") or "not run yet"
            entry |= {"status": "not trained", "reason": reason}
            if told.get("status") == "failed":
                entry["status"] = "failed"
            path = recipes / f"{row.recipe}.yaml"
            recipe = {**read_recipe(path), **row.overrides} if path.exists() else {}
            if recipe and "variant" not in recipe["model"]:
                entry |= planned_cost(recipe)
        results["rows"][row.name] = entry

    for family in ("thumbnails", "scenes"):
        trained = [name for name, entry in results["rows"].items() if entry["family"] == family and "images" in entry]
        if trained:
            results[f"gray_loss_{family}"] = gray_loss(read_run_recipe(output / trained[0]))
    photo_rows = {name: source for name, source in sources.items() if results["rows"][name]["family"] == "photographs"}
    if photos_test:
        results["photographs"] = judge_photos(photo_rows, fresh, photos_test, output, scale)
    elif earlier.get("photographs") and earlier.get("scale") == scale:
        results["photographs"] = still_true(earlier["photographs"], photo_rows, output)
    write_json(output / "results.json", results)
    with written_aside(output / "results.md") as partial:
        partial.write_text(markdown(results), "utf-8", "replace")  # folders may have names that are no text
    return results


def read_run_recipe(run: Path) -> Recipe:
    """The recipe that the trainer wrote into the run's folder."""
    return make_recipe(read_recipe(run / "recipe.yaml"))


# ------------------------------------------------------------------------------------------------------- the tables


def compact(number: float) -> str:
    """A count in three digits: 12.7 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:.0f} {unit}"
    return f"{number:.0f}"


def number(form: str):
    """A cell of this format."""
    return lambda value: format(value, form)


COST = {
    "parameters": ("parameters", compact),
    "flops": ("FLOPs", compact),
    "images": ("images seen", compact),
    "minutes": ("minutes", number(".1f")),
}
LOSSES = {"train_loss": ("training loss", number(".5f")), "held_out_loss": ("held-out loss", number(".5f"))}
COLUMNS = {  # of each family: key, heading and how a value is written
    "digits": {**COST, **LOSSES, "accuracy": ("accuracy", number(".2%"))},
    "thumbnails": {**COST, **LOSSES, "ab_rmse": ("ab RMSE", number(".2f"))},
    "scenes": {**COST, **LOSSES, "ab_rmse": ("ab RMSE", number(".2f"))},
    "photographs": {
        **COST,
        "rmse": ("ab RMSE", number(".2f")),
        "rmse_to_gray": ("to gray's", number("+.1%")),
        "colorfulness": ("CF", number(".2f")),
        "colorfulness_to_truth": ("to truth's", number(".2f")),
        "equal_rmse_to_gray": ("RMSE to gray's at equal CF", number("+.1%")),
        "equal_histogram_distance": ("hist. dist. at equal CF", number(".3f")),
        "equal_auc_rebalanced": ("AuC reb. at equal CF", number(".2f")),
        "psnr": ("PSNR", number(".2f")),
    },
}
NOTES = {
    "digits": """\
Trained on MNIST's 60,000 digits and measured on its 10,000 test digits. Losses: squared error over RGB in 0..1, of
the training as the mean over the last epoch, whose digits are moved and turned for the convolutional networks.
Accuracy: the share of ink (gray above 0.5) that is painted nearest to the right digit's color, averaged over the
pictures. digit_judge paints nothing: its losses are cross-entropies, and its accuracy is the share of digits that it
recognizes.""",
    "thumbnails": """\
Losses: squared error over RGB in 0..1. An autoencoder is shown color and judged by how it rebuilds it; the others are
shown gray and judged by the color. They are measured on the test pictures, which nothing was trained on. ab RMSE, in
CIE Lab units, is of the painted picture's chroma, which is all that the product takes of it.""",
    "scenes": "As above, on landscapes of 64 x 64 pixels.",
    "photographs": """\
All measured on the same {photographs} held-out photographs, the whole way of the product (train/evaluate.py, which
explains the figures), at the default dials; at equal CF the chroma is scaled until the mean colorfulness is within 1%
of the truth's. fusion_compact comes with the package; [its card](../model_card.md) says how it was trained.""",
}


def machine_lines(rows: dict[str, dict]) -> list[str]:
    """What the rows were trained on, a paragraph a kind of machine."""
    machines: dict[str, list[str]] = {}
    for name, entry in rows.items():
        if "machine" in entry:
            machines.setdefault(entry["machine"], []).append(name)
    lines = []
    for kind, names in machines.items():
        which = "" if len(machines) == 1 else f" ({', '.join(names)})"
        lines += [f"Trained {kind}{which}.", ""]
    return lines


def markdown(results: dict[str, Any]) -> str:
    """The tables, for people."""
    parts = ["# The ladder in figures", ""]
    parts += [f"By `{results['command']}`; [ladder.md](ladder.md) explains the rows.", ""]
    if results["scale"] == "smoke":
        parts += [
            "**Of the scale smoke: a few steps a row, to see that everything runs. The figures mean nothing.**",
            "",
        ]
    parts += machine_lines(results["rows"])
    parts += [
        "FLOPs: for one picture at the default working size; a multiplication and the addition after it count as two. "
        "Images seen: over all steps, so that a picture counts once an epoch. Minutes: of the training steps alone.",
        "",
    ]
    for family, columns in COLUMNS.items():
        rows = {name: dict(entry) for name, entry in results["rows"].items() if entry["family"] == family}
        parts += [f"## {family.capitalize()}", "", *table(family, rows, columns, results), ""]
    return "\n".join(parts)


def table(family: str, rows: dict[str, dict], columns: dict, results: dict[str, Any]) -> list[str]:
    """The lines of one family's table, and what is to be said below it."""
    judged = results.get("photographs") or {"rows": {}, "photographs": 0}
    lines = ["| row | " + " | ".join(heading for heading, _ in columns.values()) + " |"]
    lines.append("|---" + "|---:" * len(columns) + "|")
    first, last = {}, {}
    if family == "photographs" and judged["rows"]:
        first, last = {"gray": judged["rows"]["gray"]}, {"truth": judged["rows"]["truth"]}
    elif results.get(f"gray_loss_{family}"):
        some_row = next((row for row in rows.values() if "gray_ab_rmse" in row), {})
        first = {"gray": {"held_out_loss": results[f"gray_loss_{family}"], "ab_rmse": some_row.get("gray_ab_rmse")}}
    for name, entry in (first | rows | last).items():
        if family == "photographs":
            entry = entry | judged["rows"].get(name, {})
        cells = [write(entry[key]) if entry.get(key) is not None else "" for key, (_, write) in columns.items()]
        if entry.get("status") in ("not trained", "failed"):
            cells[2] = entry["status"]  # in place of what it has seen
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    if family == "photographs" and not judged["rows"]:
        lines += ["", "Not measured: --photos_test is not given."]
    else:
        lines += ["", NOTES[family].format(photographs=judged["photographs"])]
    reasons: dict[str, list[str]] = {}
    for name, entry in rows.items():
        if entry["status"] in ("not trained", "failed"):
            reasons.setdefault(f"{entry['status']}: {entry['reason'].rstrip('.')}.", []).append(name)
    for reason, names in reasons.items():
        lines += ["", f"{', '.join(names)}: {reason}"]
    for name, entry in rows.items():
        if "own_psnr" in entry:
            verdict = "over" if entry["own_psnr"] > WANTED_PSNR else "not over"
            lines += [
                "",
                f"{name} gives its own photograph back with a PSNR of {entry['own_psnr']:.2f} dB, {verdict} the "
                f"{WANTED_PSNR:.0f} dB that it was to reach; without the pipeline's smoothing of the colors it is "
                f"{entry['own_psnr_of_network']:.2f} dB.",
            ]
    return lines

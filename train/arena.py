"""Trains colorizers under one protocol and measures them on the same photographs: the field, and one change at a time.

    python train/arena.py --train_data_dir photos/ --data photos-val/ bsds500-test/ kodak/
    python train/arena.py --train_data_dir photos/ --data photos-val/ --rows flagship no_skips --seeds 0 1
    python train/arena.py --train_data_dir photos/ --data photos-val/ --recipes my.yaml      # any recipe of yours

Every row sees the same number of views of the same photographs, at the same size but where size is the question, in
batches of the same size and in an order that follows from the seed, by the same schedule; what else its recipe says
(network, objectives, optimizer) is its own.
A row is one run of train/train.py in a folder of its name below --output_dir, and is then measured there by
train/evaluate.py. The same command goes on where an earlier one was stopped: what is trained and measured stays as it
is. In the end come results.json, results.md and arena-*.png of all rows that there are; --also adds those of other
machines, such as docs/arena.json. docs/experiments.md says what was learned.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import functools  # noqa: E402
import glob  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402

from colorizer import load_model  # noqa: E402
from colorizer.dials import WORKING_SIZE  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.models.base import written_aside  # noqa: E402
from train import evaluate  # noqa: E402
from train.arena_results import BUNDLED, REFERENCE, draw_curves, drawn_parts, markdown  # noqa: E402
from train.checkpoints import FREE, as_plain  # noqa: E402
from train.data import batches_of, prepare_pictures, some  # noqa: E402
from train.ladder_results import cost, digest, figures_of_run  # noqa: E402
from train.recipe import Recipe, make_recipe, read_recipe  # noqa: E402
from train.runs import (  # noqa: E402
    ROOT,
    RUN_FILE,
    Stopped,
    documented,
    make_folder,
    read_json,
    recipe_path,
    run,
    run_script,
    saved_recipe,
    saved_rows,
    train,
    without_place,
    write_json,
)
from train.sources import checksum, list_items  # noqa: E402
from train.views import to_lab, training_views  # noqa: E402

DOCS = ROOT / "docs"
ROW_FILE = "arena.json"  # in a run's folder: its Row
KEY_FILE = "key.json"  # in the folder of figures: what they are of
DEFAULTS = {
    "views": 64_000,
    "resolution": 96,
    "batch_size": 48,
    "working_size": 128,
    "mixed_precision": "no",
    "max_train_samples": None,
}
EMA_DECAY = 0.997  # some 300 steps: a run has a few times as many
PICTURE_SIZE = 192  # pixels a side that decoded pictures are kept with
MEAN_SIZE = 64  # pixels a side at which the mean color is taken
PROTOCOL = ("views", "resolution", "batch_size", "working_size", "max_train_samples")  # what rows have in common
PRECISION = {"no": "float32", "bf16": "bfloat16"}
CURVE_PHOTOS = 100  # of each test set
DIALS = {"working_size": 192, "temperature": 0.5, "colorfulness": 1.15}  # of the rows after the bundled recipe

# --------------------------------------------------------------------------------------------------------- the rows


@dataclasses.dataclass(frozen=True)
class Row:
    """One colorizer of the arena.

    Attributes:
        name: of the row, and of its folder.
        part: "field" (others' ideas, and ours), "ablation" (one change against the flagship) or "yours".
        shows: what it is, or what is changed.
        why: what the change is to tell; of ablations.
        prediction: what was expected, written before the run.
        recipe: a name in train/recipes, or a path.
        model: keys of the recipe's model that are otherwise.
        overrides: keys of the recipe that are otherwise.
    """

    name: str
    part: str
    shows: str
    recipe: str = BUNDLED
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    why: str = ""
    prediction: str = ""


def field(name: str, shows: str, recipe: str = BUNDLED, **more: Any) -> Row:
    return Row(name, "field", shows, recipe, **more)


def ablation(name: str, shows: str, why: str, prediction: str, **more: Any) -> Row:
    return Row(name, "ablation", shows, why=why, prediction=prediction, **more)


# A squared or absolute error of ab in units of 110 is a hundred times smaller than a cross-entropy over 260 bins; so
# weighted, color and labels pull at the embedder about as they do in the flagship.
REGRESSION = {
    "objectives": {"mse": 66.65, "labels": 0.1},  # ab is divided by 127 there: half of (e / 110)^2, a hundredfold
    "defaults": {"working_size": 192, "temperature": None, "colorfulness": 1.0},
}

ROWS = (
    field(
        "lab_cnn",
        "a plain network, squared error; half the width",
        "lab_cnn",
        prediction="brown: at equal colorfulness a tenth more error than gray, and the worst histogram",
        model={"width": 32},
    ),
    field(
        "fusion_paper",
        "Deep Koalarization's layout at half the width, its embedder a ResNet-18 that learns along, at 96 pixels",
        "fusion_paper",
        prediction="as pale as lab_cnn, since its error is the same; at equal colorfulness some points better",
        model={"width": 32, "embedder": "resnet18", "embedder_size": 96},
        overrides={
            "embedder_weights": "none",
            "freeze_embedder": False,
            "cache_embeddings": False,
            "augment": True,
            "channels_last": True,
        },
    ),
    field(
        "eccv16",
        "Zhang et al. 2016 at a quarter of the width: plain encoder, rebalanced bins",
        "eccv16",
        prediction="at equal colorfulness five points more error than the flagship, and a histogram nearly as good",
        model={"width": 16},
    ),
    field(
        "unet",
        "a U-Net on ConvNeXt-tiny with L1: a stand-in for the modern line",
        "unet",
        prediction="pale; at equal colorfulness behind the regression head: ConvNeXt learns slowly from nothing",
    ),
    field(
        "regression",
        "the flagship's own network with a regression head",
        model={"head": "regression"},
        overrides=REGRESSION,
    ),  # fmt: skip
    field(REFERENCE, "the recipe fusion_compact's network, with AdamW, without aging and documents"),
    ablation(
        "no_rebalancing",
        "rebalancing_mix 1 instead of 0.85",
        "rebalancing buys rare colors with error; at equal colorfulness it may buy nothing that the dials cannot",
        "less error and less color at the default dials; at equal colorfulness the same error, and a worse histogram",
        overrides={"rebalancing_mix": 1.0},
    ),
    ablation(
        "paper_rebalancing",
        "rebalancing_mix 0.5, as Zhang et al. 2016",
        "the paper's strength, on 30,000 pictures instead of 1.3 million",
        "more color, some points more error at equal colorfulness, a better histogram",
        overrides={"rebalancing_mix": 0.5},
    ),
    ablation(
        "no_hints",
        "no view carries hints",
        "half of the views show the answer in places; a network without that habit may color alone better",
        "half a point to a point less error",
        overrides={"hint_share": 0.0},
    ),
    ablation(
        "no_skips",
        "the decoder sees none of the encoder's finer stages",
        "the embedder's maps carry fine detail too, so that the encoder's may be needless",
        "no difference in error: the guided filter brings the edges back anyway",
        model={"skips": False},
    ),
    ablation(
        "no_labels",
        "no class labels",
        "labels are to teach the embedder what pictures show, which color alone may teach as well",
        "half a point more error: a third of the pictures have labels of use",
        overrides={"objectives": {"rebalanced_cross_entropy": 1.0}},
    ),
    ablation(
        "more_labels",
        "labels at weight 0.3 instead of 0.1",
        "the other side of the same question",
        "no difference",
        overrides={"objectives": {"rebalanced_cross_entropy": 1.0, "labels": 0.3}},
    ),
    ablation(
        "small_embedder",
        "a ResNet-10 as the embedder",
        "whether size matters already at so few views",
        "a point more error",
        model={"embedder": "resnet10t"},
    ),
    ablation(
        "large_embedder",
        "a ResNet-34 as the embedder",
        "the same, upwards; it would not fit into 30 MB with the rest",
        "no difference at so few views: a deeper network learns more slowly at first",
        model={"embedder": "resnet34"},
    ),
    ablation(
        "film",
        "the vector scales and shifts the fused maps (FiLM) instead of being added to them",
        "a product can turn channels off by what the picture shows; a sum cannot",
        "a little less error, under half a point",
        model={"fusion": "film"},
    ),
    ablation(
        "attention",
        "every place asks the embedder's coarsest map by attention",
        "a place may need to know what is elsewhere in the picture, and where",
        "no difference at 96 pixels, where that map has nine places",
        model={"fusion": "attention"},
    ),
    ablation(
        "no_average",
        "the last weights instead of their moving average",
        "with a cosine schedule the end is quiet anyway",
        "half a point more error",
        overrides={"ema_decay": 0.0},
    ),
    ablation(
        "aging",
        "the lightness of 40% of the views made to look like an old photograph's",
        "old photographs are not clean conversions of new ones; what does that cost on clean ones?",
        "half a point more error on clean photographs",
        overrides={"aging": 0.4},
    ),
    ablation(
        "documents",
        "3% of the views show drawn documents",
        "pages should stay gray; what does that cost elsewhere?",
        "no difference on photographs",
        overrides={"documents": 0.03},
    ),
    ablation(
        "levels",
        "views are shown with their levels stretched, as the pipeline shows photographs",
        "a network should learn from what it will be shown",
        "half a point less error",
        overrides={"levels": True},
    ),
    ablation(
        "perceptual",
        "what a network that was trained before sees in the result, at weight 1 (--perceptual: which)",
        "DeOldify's and DDColor's recipes have it: colors are to look right to a network that knows things",
        "more color, half a point more error; at equal colorfulness no difference",
        overrides={"objectives": {"rebalanced_cross_entropy": 1.0, "labels": 0.1, "perceptual": 1.0}},
    ),
    ablation(
        "adversarial",
        "a critic in the last fifth, which judges after 200 steps of it, at weight 0.05",
        "DeOldify and DDColor end with one, for livelier color",
        "more color, a better histogram and more error; at equal colorfulness no gain",
        overrides={"objectives": {"rebalanced_cross_entropy": 1.0, "labels": 0.1, "adversarial": 0.05}},
    ),
    ablation(
        "muon",
        "Muon (orthogonalized momentum) instead of AdamW, at the same learning rate",
        "photographs that were trained on are colored hardly better than others: it is learning that is slow",
        "0.05 nats less cross-entropy, for half as much time again",
        overrides={"optimizer": "muon"},
    ),
    ablation(
        "views_64",
        "views of 64 pixels",
        "more views in the same time, if they teach as much",
        "a point more error for the same number of views, at less than half the time",
        overrides={"resolutions": {0.0: 64}},
    ),
    ablation(
        "views_128",
        "views of 128 pixels",
        "the same, upwards",
        "half a point less error for the same number of views, at 1.7 times the time",
        overrides={"resolutions": {0.0: 128}},
    ),
)

# ----------------------------------------------------------------------------------------------------- the arguments


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--train_data_dir", nargs="+", required=True, metavar="PATH", help="photographs to train on")
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH", help="folders of held-out photographs")
    parser.add_argument("--output_dir", default="runs/arena", help="the rows' folders and the table")
    parser.add_argument(
        "--rows",
        nargs="*",
        metavar="ROW",
        help=f"only these, or none, to measure the bundled weights alone: {', '.join(names)}",
    )
    parser.add_argument(
        "--recipes", nargs="+", default=[], metavar="YAML", help="these too; without --rows, only these"
    )
    parser.add_argument(
        "--perceptual",
        nargs=2,
        metavar=("NETWORK", "WEIGHTS"),
        help="what row perceptual looks through: a timm architecture, and a safetensors file of timm's or the "
        "folder of a classifier of train/train.py (VGG-16, pretrained, from the Hub)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="each row is trained with each of them")
    parser.add_argument("--views", type=int, help="views of photographs that a row is trained on (%(default)s)")
    parser.add_argument("--resolution", type=int, help="pixels a side of a view (%(default)s)")
    parser.add_argument("--batch_size", type=int, help="views in a step (%(default)s)")
    parser.add_argument("--working_size", type=int, help="at which every row is measured (%(default)s)")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), help="of the trainings (%(default)s)")
    parser.add_argument("--max_train_samples", type=int, help="only so many photographs, drawn with the row's seed")
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="JSON",
        help="results.json of other machines by the same protocol, for the rows that this folder has not",
    )
    parser.add_argument("--report_only", action="store_true", help="train and measure nothing; make the table again")
    parser.add_argument("--write_docs", action="store_true", help="also write docs/arena.md, .json and the figures")
    parser.set_defaults(**DEFAULTS)
    arguments = parser.parse_args(argv)
    for name in arguments.rows or []:
        if name not in names:
            raise ColorizerError(f"--rows has no row {name!r}; there are {', '.join(names)}.")
    for name in ("views", "resolution", "batch_size", "max_train_samples"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ColorizerError(f"--{name} must be 1 or more, not {value}.")
    if min(arguments.seeds) < 0:
        raise ColorizerError(f"--seeds must be 0 or more, not {min(arguments.seeds)}.")
    least, most = WORKING_SIZE
    if not least <= arguments.working_size <= most:
        raise ColorizerError(f"--working_size must be {least} to {most} pixels, not {arguments.working_size}.")
    for name in ("train_data_dir", "data", "recipes", "also"):
        paths = [os.path.abspath(path) for path in getattr(arguments, name)]
        for path in paths:
            if not os.path.exists(path):
                raise ColorizerError(f"--{name}: there is no {path}.")
        setattr(arguments, name, paths)
    for path in [*arguments.train_data_dir, *arguments.data]:
        list_items([path])  # what has no pictures is told now, and not after the first training
    evaluate.set_names(arguments.data)
    return arguments


def chosen_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows of --rows and --recipes; all of ours where neither is given."""
    own = [Row(Path(path).stem, "yours", Path(path).name, path) for path in arguments.recipes]
    ours = [row.name for row in ROWS] if arguments.rows is None and not own else arguments.rows or []
    rows = [row for row in ROWS if row.name in ours] + own
    taken = {BUNDLED, "bundled", *evaluate.PLAIN, *(row.name for row in ROWS)}
    if len({row.name for row in own} - taken) < len(own):
        raise ColorizerError("Each recipe's file needs a name of its own, which no row of the arena has.")
    for row in own:
        if re.fullmatch(r".+-seed\d+", row.name):
            raise ColorizerError(f"--recipes: {row.shows} needs another name: -seed and a number are for --seeds.")
    return rows


def settings_of(row: Row, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The keys that a row's run has besides those of its recipe: the protocol's, and its own changes."""
    steps = math.ceil(arguments.views / arguments.batch_size)
    settings = {
        "train_data_dir": arguments.train_data_dir,
        "picture_size": max(PICTURE_SIZE, arguments.resolution),
        "resolutions": {0.0: arguments.resolution},
        "max_train_samples": arguments.max_train_samples,
        "train_batch_size": arguments.batch_size,
        "gradient_accumulation_steps": 1,
        "max_train_steps": steps,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": min(100, steps // 10),
        "ema_decay": EMA_DECAY,
        "mixed_precision": arguments.mixed_precision,
        "seed": seed,
        "checkpointing_steps": max(1, steps // 3),
        "validation_steps": steps,
        "logging_steps": max(1, steps // 25),
        "report_to": "none",
        "output_dir": str(folder_of(row, seed, arguments)),
    }
    if row.part != "yours":  # what is for old photographs and documents has rows of its own
        settings |= {"aging": 0.0, "documents": 0.0, "levels": False}
    if row.recipe == BUNDLED:  # which has Muon and other dials by now; most rows are older, and Muon has its own
        settings |= {"optimizer": "adamw", "defaults": DIALS}
    settings |= row.overrides
    if arguments.perceptual and "perceptual" in row.overrides.get("objectives", {}):
        settings |= zip(("perceptual_network", "perceptual_weights"), arguments.perceptual, strict=True)
    if row.model:
        settings["model"] = read_recipe(recipe_path(row.recipe))["model"] | row.model
    return settings


def folder_of(row: Row, seed: int, arguments: argparse.Namespace) -> Path:
    return Path(os.path.abspath(arguments.output_dir)) / (f"{row.name}-seed{seed}" if seed else row.name)


# ---------------------------------------------------------------------------------------------------------- measuring


def mean_color(arguments: argparse.Namespace) -> list[float]:
    """The mean ab (Lab units) of the training pictures, every picture counting the same; kept beside the rows."""
    path = Path(arguments.output_dir) / "mean_color.json"
    items = list_items(arguments.train_data_dir)
    items = [items[i] for i in some(len(items), arguments.max_train_samples, seed=0)]  # as the trainer takes them
    key, kept = checksum(items), read_json(path)
    if kept and kept["key"] == key:
        return kept["ab"]
    recipe = make_recipe(
        {
            "model": {"name": "fusion"},
            "train_data_dir": arguments.train_data_dir,
            "picture_size": MEAN_SIZE,
            "resolutions": {0.0: MEAN_SIZE},
            "max_train_steps": 1,
        }
    )
    pictures = prepare_pictures(items, recipe, Accelerator(cpu=True), [])
    total = torch.zeros(2, dtype=torch.float64)
    for batch in batches_of(pictures, 256):
        _, ab = to_lab(training_views(batch, None, MEAN_SIZE))
        total += ab.double().mean((2, 3)).sum(0)
    ab = [round(value, 2) for value in (total / len(pictures)).tolist()]
    write_json(path, {"key": key, "ab": ab})
    return ab


def pictures_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What figures depend on besides the model: the test photographs, and the color of the row 'one color'."""
    folders = zip(evaluate.set_names(arguments.data), arguments.data, strict=True)
    return {
        "photographs": {name: checksum(list_items([folder])) for name, folder in folders},
        "one_color": mean_color(arguments),
        "curve_photos": CURVE_PHOTOS,
    }


def training_checksum(arguments: argparse.Namespace) -> Callable[[], int]:
    """Gives the checksum of the training pictures, which are read once, and only if it is asked for."""
    return functools.cache(lambda: checksum(list_items(arguments.train_data_dir)))


def measurement(source: str, pictures: dict[str, Any], working_size: int | None) -> dict[str, Any]:
    """What must be the same for figures to be of this model, these `pictures_of` and this way of measuring."""
    return {"model": digest(load_model(source)), "working_size": working_size, **pictures}


def measure(
    source: str,
    folder: Path,
    arguments: argparse.Namespace,
    working_size: int | None,
    pictures: Callable[[], dict[str, Any]],
) -> str | None:
    """Measures a model on the test photographs by train/evaluate.py, into `folder`, unless that was done.

    `working_size`: None for the model's own. `pictures` gives `pictures_of`. Returns None, or why it failed, in one
    sentence.
    """
    try:
        key = measurement(source, pictures(), working_size)
    except ColorizerError as error:
        return str(error)
    if read_json(folder / KEY_FILE) == key:
        return None
    (folder / KEY_FILE).unlink(missing_ok=True)  # what it says of the figures ends now
    command = [sys.executable, str(ROOT / "train/evaluate.py"), "--model", source, "--data", *arguments.data]
    command += ["--working_size", str(working_size)] if working_size else []
    command += ["--curve", str(CURVE_PHOTOS), "--sheet_photos", "24", "--no_ssim"]  # which the tables do not have
    if source == BUNDLED:  # one color has the same figures beside every row; these are for all
        command += ["--one_color", *map(str, key["one_color"])]
    command += ["--output_dir", str(folder)]
    problem = run(command)
    if problem is None:
        write_json(folder / KEY_FILE, key)
    return problem


def follows(saved: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether a run's description, as its folder keeps it, has these settings, but for what changes no weights."""
    wanted = settings | {
        "train_data_dir": [Path(path).name for path in settings["train_data_dir"]],
        "resolutions": {str(start): size for start, size in settings["resolutions"].items()},
    }
    before = as_plain(Recipe()) | saved["recipe"]  # what there was no key for had what is its default now
    return all(before[key] == value for key, value in wanted.items() if key not in FREE)


def seeds_of(row: Row, output: Path, failed: Iterable[str] = ()) -> list[int]:
    """The seeds that a row has folders of, or that are among the names of those that failed; [0] where none is."""
    names = [path.parent.name for path in output.glob(f"{glob.escape(row.name)}*/{RUN_FILE}")]
    found = [re.fullmatch(rf"{re.escape(row.name)}(?:-seed(\d+))?", name) for name in [*names, *failed]]
    return sorted({int(match[1] or 0) for match in found if match}) or [0]


def collect(
    arguments: argparse.Namespace,
    outcomes: dict[str, str],
    pictures: Callable[[], dict[str, Any]] | None = None,
    trained_on: Callable[[], int] | None = None,
) -> dict[str, Any]:
    """The content of results.json: the protocol, and what every run that followed it reached.

    `outcomes` says of runs that failed now why. `pictures` gives `pictures_of` and `trained_on` the checksum of the
    training pictures, where they were asked for before.
    """
    output = Path(arguments.output_dir)
    pictures = pictures or functools.cache(functools.partial(pictures_of, arguments))
    trained_on = trained_on or training_checksum(arguments)
    results = {"command": protocol_command(arguments), **{name: getattr(arguments, name) for name in PROTOCOL}}
    results |= {"sets": {}, "rows": {}}

    def add(name: str, entry: dict[str, Any], folder: Path | None = None) -> None:
        results["rows"][name] = entry
        evaluation = read_json(folder / "results.json") if folder else None
        for photos, judged in (evaluation or {"data": {}})["data"].items():
            known = results["sets"].setdefault(photos, {"photographs": judged["photographs"], "rows": {}})
            if known["photographs"] != judged["photographs"]:
                raise ColorizerError(
                    f"{folder} has {judged['photographs']} photographs of {photos} where other rows have "
                    f"{known['photographs']}: remove its {KEY_FILE}, and the row is measured again."
                )
            (source,) = evaluation["dials"]
            for label, figures in judged["rows"].items():
                known["rows"][name if label == source else label] = figures

    def is_measured(source: str, folder: Path, working_size: int | None) -> bool:
        key = read_json(folder / KEY_FILE)
        if key is None:
            return False
        if key == measurement(source, pictures(), working_size):
            return True
        print(f"{folder} has figures of other weights, photographs or settings, which are left out")
        return False

    ours = {row.name for row in ROWS}
    kept = [read_json(path) for path in sorted(output.glob(f"*/{ROW_FILE}"))]
    yours = {row["name"]: Row(**row) for row in kept if row and row["name"] not in ours}
    yours |= {row.name: row for row in chosen_rows(arguments) if row.name not in ours}  # what failed has left no file
    for row in [*ROWS, *yours.values()]:
        for seed in seeds_of(row, output, outcomes):
            folder = folder_of(row, seed, arguments)
            entry = dataclasses.asdict(row) | {"seed": seed, "status": "not run", "recipe": without_place(row.recipe)}
            saved = read_json(folder / RUN_FILE)
            if folder.name in outcomes:
                entry |= {"status": "failed", "reason": outcomes[folder.name]}
            elif saved and not follows(saved, settings_of(row, seed, arguments)):
                entry |= {"reason": "what is in its folder was trained by another protocol"}
            elif saved and "pictures" in saved and saved["pictures"] != trained_on():  # older runs do not say it
                entry |= {"reason": "what is in its folder was trained on other photographs"}
            elif saved and not (folder / "model/config.json").is_file():
                entry |= {"status": "begun"}
            elif saved:
                source, measured = str(folder / "model"), folder / "evaluation"
                precision = PRECISION.get(saved["recipe"]["mixed_precision"], saved["recipe"]["mixed_precision"])
                entry |= {"status": "trained", "machine": f"{saved['machine']}, {precision}"}
                try:
                    entry |= cost(load_model(source), arguments.resolution)
                    entry |= {key: figures_of_run(folder, saved_recipe(saved))[key] for key in ("images", "minutes")}
                except (ColorizerError, OSError, KeyError, IndexError):  # by which the other rows are not lost
                    reason = f"{folder.name} is not whole: remove it, and it is trained again"
                    entry |= {"status": "failed", "reason": reason}
                    add(folder.name, entry)
                    continue
                if is_measured(source, measured, arguments.working_size):
                    add(folder.name, entry, measured)
                    continue
            add(folder.name, entry)
    bundled = {"part": "bundled", "shows": "the weights that come with the package", "status": "bundled"}
    add(BUNDLED, bundled, output / "bundled" if is_measured(BUNDLED, output / "bundled", None) else None)
    return results


def is_results(content: Any) -> bool:
    """Whether a file's content has the shape of results.json."""

    def tables(value: Any, *keys: str) -> bool:
        return isinstance(value, dict) and all(
            isinstance(one, dict) and one.keys() >= set(keys) for one in value.values()
        )

    return (
        isinstance(content, dict)
        and content.keys() >= {"rows", "sets", *PROTOCOL}
        and tables(content["rows"], "part", "status", "shows")
        and tables(content["sets"], "photographs", "rows")
        and all(tables(judged["rows"]) for judged in content["sets"].values())
    )


def add_others(results: dict[str, Any], path: str) -> None:
    """Adds to results.json's content the rows that were trained elsewhere and not here.

    ColorizerError where the file is no results.json, or where its protocol or its photographs are others.
    """
    others = read_json(Path(path))
    if not is_results(others):
        raise ColorizerError(f"--also: {path} is no results.json of train/arena.py.")
    for name in PROTOCOL:
        if others[name] != results[name]:
            raise ColorizerError(f"--also: {path} has {name} {others[name]} where this arena has {results[name]}.")
    added = {
        name: entry
        for name, entry in others["rows"].items()
        if entry["status"] == "trained" and results["rows"].get(name, {}).get("status") in (None, "not run", "begun")
    }
    results["rows"] |= added
    for photos, judged in others["sets"].items():
        known = results["sets"].setdefault(photos, {"photographs": judged["photographs"], "rows": {}})
        if known["photographs"] != judged["photographs"]:
            raise ColorizerError(
                f"--also: {path} has {judged['photographs']} photographs of {photos} where this arena has "
                f"{known['photographs']}."
            )
        plain = judged["rows"].keys() - others["rows"].keys() - known["rows"].keys()  # gray, one color, the truth
        known["rows"] |= {name: judged["rows"][name] for name in plain | (added.keys() & judged["rows"].keys())}


def protocol_command(arguments: argparse.Namespace) -> str:
    """The command that makes all of the table, for the documentation."""
    words = ["--train_data_dir", *arguments.train_data_dir, "--data", *arguments.data]
    for name, default in DEFAULTS.items():
        if getattr(arguments, name) != default:
            words += [f"--{name}", str(getattr(arguments, name))]
    return documented("train/arena.py", words)


# ----------------------------------------------------------------------------------------------------------- the whole


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if a row failed, or 128 + the signal that ended the run."""
    arguments = parse_arguments(argv)
    output = Path(os.path.abspath(arguments.output_dir))
    make_folder(output)
    for row, saved in saved_rows(output).items():
        if "scale" in saved:
            raise ColorizerError(f"{output} has {row} of train/reproduce.py: give another --output_dir.")
    rows = chosen_rows(arguments)
    runs = [] if arguments.report_only else [(row, seed) for row in rows for seed in arguments.seeds]
    outcomes: dict[str, str] = {}
    pictures = functools.cache(functools.partial(pictures_of, arguments))  # all are read once, and only if asked for
    trained_on = training_checksum(arguments)
    try:
        for number, (row, seed) in enumerate(runs, 1):
            folder = folder_of(row, seed, arguments)
            print(f"\n[{number}/{len(runs)}] {folder.name}: {row.shows}", flush=True)
            status, reason = train(row.recipe, settings_of(row, seed, arguments), pictures=trained_on())
            if status == "trained":
                write_json(folder / ROW_FILE, dataclasses.asdict(row))
                measured = folder / "evaluation"
                reason = measure(str(folder / "model"), measured, arguments, arguments.working_size, pictures)
            if reason:
                outcomes[folder.name] = reason
                print(f"{folder.name}: failed: {reason}", file=sys.stderr, flush=True)
        if not arguments.report_only:
            reason = measure(BUNDLED, output / "bundled", arguments, None, pictures)
            if reason:
                outcomes[BUNDLED] = reason
                print(f"{BUNDLED}: failed: {reason}", file=sys.stderr, flush=True)
    except Stopped as stop:
        print("stopped; the same command goes on from there", flush=True)
        return 128 + stop.args[0]

    results = collect(arguments, outcomes, pictures, trained_on)
    for path in arguments.also:
        add_others(results, path)
    write_json(output / "results.json", results)
    figures = {part: output / f"arena-{part}.png" for part in drawn_parts(results)}
    try:
        for part, path in figures.items():
            draw_curves(results, part, path)
    except ImportError:
        figures = {}
        print("the curves are left out: they need matplotlib (pip install matplotlib)")
    table = markdown(results, list(figures))
    print("\n" + table, flush=True)
    with written_aside(output / "results.md") as partial:
        partial.write_text(table, "utf-8", "replace")  # folders may have names that are no text
    if arguments.write_docs:
        with written_aside(DOCS / "arena.md") as partial:
            partial.write_text(table, "utf-8", "replace")
        write_json(DOCS / "arena.json", results)
        for figure in figures.values():
            shutil.copy(figure, DOCS / figure.name)
    if outcomes:
        print(f"arena.py: failed: {', '.join(outcomes)}; the same command tries again.", file=sys.stderr)
    return 1 if outcomes else 0


if __name__ == "__main__":
    run_script("arena.py", main)

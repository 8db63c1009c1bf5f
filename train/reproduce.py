"""Trains the whole ladder of colorizers, from one linear map to the fusion network, and measures it in one table.

    python train/reproduce.py --digits mnist/ --thumbnails cifar/train --thumbnails_test cifar/test \\
        --scenes scenes/train --scenes_test scenes/test --photos photos/ --photos_test held-out/
    python train/reproduce.py --digits mnist/ --rows mnist_linear mnist_cnn_bn
    python train/reproduce.py --scale smoke --output_dir runs/smoke        # every row in seconds, on made data

A row is one run of train/train.py, in a folder of its name below --output_dir. The same command goes on where an
earlier one was stopped: what is trained is left as it is, what was begun is resumed. A row whose data is not given, or
that needs what is not there, is 'not trained', with the reason. In the end come results.json, results.md and figures/
of the whole table, from the runs' own files. docs/ladder.md explains the rows.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import gzip  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from colorizer.drawing import draw_digits  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.models.base import written_aside  # noqa: E402
from train import evaluate, ladder_figures, ladder_results  # noqa: E402
from train.runs import (  # noqa: E402
    RECIPES,
    ROOT,
    Stopped,
    documented,
    fingerprint,
    make_folder,
    read_json,
    run_script,
    saved_rows,
    train,
)
from train.sources import list_items  # noqa: E402

DOCS = ROOT / "docs"

# --------------------------------------------------------------------------------------------------------- the table


@dataclasses.dataclass(frozen=True)
class Row:
    """One model of the ladder.

    Attributes:
        name: of the row, and of its folder.
        family: digits, thumbnails, scenes or photographs: the table that it stands in.
        shows: what it is there for.
        recipe: train/recipes/<recipe>.yaml; None for a bundled model, which is only measured.
        data: which of DATA it is trained on.
        overrides: keys of the recipe that are otherwise in this row.
        uses: keys that take another row's model, and that row's name: {"decoder_weights": "autoencoder_deep"}.
        needs_gpu: it would take days without one.
        known: what is known of a bundled model's training: images and minutes, from model_card.md.
        smoke: keys that are otherwise at the scale smoke, besides SMOKE.
    """

    name: str
    family: str
    shows: str
    recipe: str | None
    data: str = ""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    uses: dict[str, str] = dataclasses.field(default_factory=dict)
    needs_gpu: bool = False
    known: dict[str, float] = dataclasses.field(default_factory=dict)
    smoke: dict[str, Any] = dataclasses.field(default_factory=dict)


DATA = ("digits", "thumbnails", "scenes", "photos", "astronaut")  # the last comes with scikit-image

# Autoencoders whose codes of a 32 x 32 picture have 768 numbers each, a quarter of its 3,072: 8 x 8 x 12 in the first
# two, the second twice as wide, and 4 x 4 x 48 in the third, which has one level more.
VARIANTS = {
    "narrow": {"widths": [16, 32], "latent": 12},
    "wide": {"widths": [32, 64], "latent": 12},
    "deep": {"widths": [16, 32, 64], "latent": 48},
}
BEST = "best"  # of the variants on thumbnails, by the second stage's held-out loss

ONCE_AN_EPOCH = {"checkpointing_steps": None, "validation_steps": None, "logging_steps": None}
# A small network that tells gray digits apart: what the perceptual loss looks through.
JUDGE = {
    "model": {"name": "classifier", "network": "test_resnet", "size": 32},
    "picture_size": 28,
    "resolutions": {0.0: 28},
    "min_side": 28,
    "augmentation": "shifts",
    "max_validation_pictures": 10000,
    "num_train_epochs": 2.0,
    **ONCE_AN_EPOCH,
}
PERCEPTUAL = {"objectives": {"mse": 1.0, "chroma": 20.0, "perceptual": 0.02}, "perceptual_network": "test_resnet"}
SCENES = {
    "num_train_epochs": 8.0,
    "picture_size": 64,
    "resolutions": {0.0: 64},
    "defaults": {"working_size": 64, "temperature": None, "colorfulness": 1.0},
}

# At the scale smoke every run takes a few steps of small pictures.
SMOKE = {
    "max_train_steps": 4,
    "train_batch_size": 4,
    "max_train_samples": 200,
    "max_validation_pictures": 8,
    "min_colorfulness": 0.0,
    "min_class_size": 1,
    "lr_warmup_steps": 0,
    "mixed_precision": "no",
    "checkpointing_steps": 4,
    "validation_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
}
SMALL_PICTURES = {"picture_size": 32, "resolutions": {0.0: 32}}


def first_stage(variant: str) -> Row:
    return Row(
        f"autoencoder_{variant}",
        "thumbnails",
        "the first stage: color in, the same color out",
        "color_autoencoder",
        "thumbnails",
        {"model": {"name": "color_autoencoder", **VARIANTS[variant]}},
    )


def second_stage(variant: str, decoder: bool = True) -> Row:
    return Row(
        f"two_stage_{variant}" if decoder else f"two_stage_{variant}_scratch",
        "thumbnails",
        "the second stage: gray in, color out by that decoder" if decoder else "the same from random weights",
        "two_stage",
        "thumbnails",
        {"model": {"name": "two_stage", **VARIANTS[variant]}},
        {"decoder_weights": f"autoencoder_{variant}"} if decoder else {},
    )


def digits(name: str, shows: str, overrides: dict = {}, recipe: str = "", **more) -> Row:  # noqa: B006  (not changed)
    return Row(name, "digits", shows, recipe or name, "digits", overrides, **more)


ROWS = (
    digits("mnist_single", "one linear map: what the others are measured against"),
    digits("mnist_linear", "linear layers with a ReLU between"),
    digits(
        "mnist_cnn", "convolutions down to a code and up again", smoke={"model": {"name": "mnist_cnn", "width": 4}}
    ),
    digits("mnist_cnn_bn", "the same with batch norm", smoke={"model": {"name": "mnist_cnn_bn", "width": 4}}),
    digits("digit_judge", "recognizes gray digits, for the perceptual loss", JUDGE, recipe="classifier"),
    digits(
        "mnist_cnn_perceptual",
        "mnist_cnn, whose pictures shall also look alike to the judge",
        PERCEPTUAL,
        recipe="mnist_cnn",
        uses={"perceptual_weights": "digit_judge"},
        smoke={"model": {"name": "mnist_cnn", "width": 4}},
    ),
    Row(
        "cifar_autoencoder",
        "thumbnails",
        "gray to color through a code half the size",
        "cifar_autoencoder",
        "thumbnails",
        smoke={"model": {"name": "cifar_autoencoder", "widths": [4, 8], "latent": 4}},
    ),
    *map(first_stage, VARIANTS),
    *map(second_stage, VARIANTS),
    second_stage("deep", decoder=False),
    Row(
        "autoencoder_scenes",
        "scenes",
        "the best pair's first stage, on landscapes",
        "color_autoencoder",
        "scenes",
        SCENES | {"model": {"name": "color_autoencoder", "variant": BEST}},
        smoke=SMALL_PICTURES,
    ),
    Row(
        "two_stage_scenes",
        "scenes",
        "its second stage",
        "two_stage",
        "scenes",
        SCENES | {"model": {"name": "two_stage", "variant": BEST}},
        {"decoder_weights": "autoencoder_scenes"},
        smoke=SMALL_PICTURES,
    ),
    Row(
        "alpha",
        "photographs",
        "overfits one photograph: colors come back at all",
        "alpha",
        "astronaut",
        smoke=SMALL_PICTURES | {"train_batch_size": 1, "model": {"name": "alpha", "width": 2}},
    ),
    Row(
        "beta",
        "photographs",
        "some hundred photographs, many times",
        "beta",
        "photos",
        {"max_validation_pictures": 200},
        smoke=SMALL_PICTURES | {"model": {"name": "beta", "width": 4}},
    ),
    Row(
        "plain_autoencoder",
        "photographs",
        "gray to RGB, as in most courses",
        "plain_autoencoder",
        "photos",
        {"max_train_samples": 8000, "max_validation_pictures": 200},
        smoke=SMALL_PICTURES | {"model": {"name": "plain_autoencoder", "width": 4}},
    ),
    Row(
        "lab_cnn",
        "photographs",
        "lightness to ab, with the encoder of Deep Koalarization and no embedder",
        "lab_cnn",
        "photos",
        {"max_validation_pictures": 200},
        smoke=SMALL_PICTURES | {"model": {"name": "lab_cnn", "width": 4}},
    ),
    Row("fusion_paper", "photographs", "Deep Koalarization", "fusion_paper", "photos", needs_gpu=True),
    Row(
        "fusion_compact",
        "photographs",
        "the bundled model: fusion with two small embedders",
        None,
        known={"images": 1_116_816, "minutes": 462},
    ),
    Row("fusion", "photographs", "the flagship", "fusion", "photos", needs_gpu=True),
)

# ----------------------------------------------------------------------------------------------------- the arguments


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--output_dir", default="runs/ladder", help="the rows' folders and the table")
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help=f"only these, and what they start from: {', '.join(names)}"
    )
    parser.add_argument("--scale", choices=("full", "smoke"), default="full", help="smoke: a few steps a row")
    parser.add_argument("--digits", nargs="+", default=[], metavar="PATH", help="the folder with MNIST's idx files")
    for name, what in {"thumbnails": "CIFAR-10", "scenes": "landscapes", "photos": "photographs"}.items():
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="PATH", help=f"{what} to train on")
        parser.add_argument(
            f"--{name}_test", nargs="+", default=[], metavar="PATH", help="held-out ones; none are trained on"
        )
    parser.add_argument(
        "--scenes_variant", choices=(*VARIANTS, BEST), default=BEST, help="which pair is trained on landscapes"
    )
    parser.add_argument(
        "--embedder_weights", default="pretrained", help="of fusion_paper and fusion: as the recipe's key of that name"
    )
    parser.add_argument("--report_only", action="store_true", help="train nothing; bring the table up to date")
    parser.add_argument(
        "--write_docs", action="store_true", help="also write docs/results.md and the figures in docs/"
    )
    arguments = parser.parse_args(argv)
    for name in arguments.rows or []:
        if name not in names:
            raise ColorizerError(f"--rows has no row {name!r}; there are {', '.join(names)}.")
    for name in ("digits", *(f"{kind}{end}" for kind in DATA[1:4] for end in ("", "_test"))):
        paths = [os.path.abspath(path) for path in getattr(arguments, name)]
        for path in paths:
            if not os.path.exists(path):
                raise ColorizerError(f"--{name}: there is no {path}.")
        setattr(arguments, name, paths)
    for path in arguments.photos_test:
        list_items([path])  # what cannot be measured is told now, and not after the last training
    evaluate.set_names(arguments.photos_test, "--photos_test")
    return arguments


def chosen_rows(names: Sequence[str] | None, scenes_variant: str = BEST) -> list[Row]:
    """The rows of these names (None: all), and those whose models they start from, in the table's order."""
    wanted = set(names or [row.name for row in ROWS])
    for row in reversed(ROWS):  # what is used stands before what uses it
        if row.name in wanted:
            wanted |= set(row.uses.values())
            if row.family == "scenes" and scenes_variant == BEST:
                wanted |= {f"two_stage_{variant}" for variant in VARIANTS}
    return [row for row in ROWS if row.name in wanted]


# ---------------------------------------------------------------------------------------------------------- the data


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures to train on and held-out ones, as the recipe's keys take them; an empty list where there are none."""

    train: list[str]
    test: list[str]


def find_data(arguments: argparse.Namespace, output: Path) -> dict[str, Source]:
    """Where each kind of DATA is. At the scale smoke what is not given is made."""
    data = {"digits": Source(arguments.digits, arguments.digits)}  # MNIST's own files hold a test part
    for kind in ("thumbnails", "scenes", "photos"):
        data[kind] = Source(getattr(arguments, kind), getattr(arguments, f"{kind}_test"))
    if arguments.scale == "smoke":
        for kind, given in data.items():
            if not given.train:
                made = make_digits(output) if kind == "digits" else make_photos(output, kind)
                data[kind] = Source(made.train, given.test or made.test)
    data["astronaut"] = make_astronaut(output)
    return data


def make_astronaut(output: Path) -> Source:
    """One photograph, of scikit-image, as a folder."""
    from skimage.data import astronaut

    folder = output / "data/astronaut"
    write_pictures(folder, {"astronaut": astronaut()})
    return Source([str(folder)], [])


def make_photos(output: Path, kind: str) -> Source:
    """Crops of scikit-image's photographs: of three of them to train on, of another one to test on."""
    from skimage import data

    side, sources = (32 if kind == "thumbnails" else 64), {}
    for part, names in {"train": ("astronaut", "chelsea", "coffee"), "test": ("rocket",)}.items():
        crops = {}
        for name in names:
            photo = getattr(data, name)()
            for number in range(6):
                top, left = 40 * number, 50 * number
                crop = Image.fromarray(photo[top : top + 96, left : left + 96]).resize((side, side))
                crops[f"{name}-{number}"] = np.asarray(crop)
        write_pictures(output / "data" / kind / part, crops)
        sources[part] = [str(output / "data" / kind / part)]
    return Source(sources["train"], sources["test"])


def write_pictures(folder: Path, pictures: dict[str, np.ndarray]) -> None:
    """Writes sRGB (H, W, 3) uint8 as <name>.png; those that are there are left."""
    make_folder(folder)
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        if not path.exists():
            with written_aside(path) as partial:
                Image.fromarray(picture).save(partial, format="png")


def make_digits(output: Path) -> Source:
    """Drawn digits in MNIST's own format: 20 of each to train on, 4 of each to test on."""
    folder = output / "data/digits"
    make_folder(folder)
    for part, count in {"train": 20, "t10k": 4}.items():
        digits = np.arange(10 * count, dtype=np.uint8) % 10
        pictures = draw_digits(digits.tolist(), seed=count)
        for kind, array in {"images-idx3": pictures, "labels-idx1": digits}.items():
            header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            with written_aside(folder / f"{part}-{kind}-ubyte.gz") as partial:
                partial.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
    return Source([str(folder)], [str(folder)])


# ----------------------------------------------------------------------------------------------------------- one row


def settings_of(
    row: Row, source: Source, output: Path, scale: str, variant: str = "narrow", embedder_weights: str = "pretrained"
) -> dict[str, Any]:
    """The keys that a row's run has besides those of its recipe. `variant`: of VARIANTS, for scenes."""
    settings = dict(row.overrides)
    model = dict(settings.get("model", {}))
    if model.pop("variant", None):
        model |= VARIANTS[variant]
    if scale == "smoke" and "widths" in model:
        model["widths"] = [width // 8 for width in model["widths"]]
    if model:
        settings["model"] = model
    if scale == "smoke":
        settings |= SMOKE | row.smoke
    settings["train_data_dir"] = source.train
    if source.test:
        settings["validation_data_dir"] = source.test
    if row.needs_gpu:
        settings["embedder_weights"] = embedder_weights
    for key, name in row.uses.items():
        settings[key] = str(output / name / "model")
    settings["output_dir"] = str(output / row.name)
    return settings


def uses_of(row: Row, output: Path) -> dict[str, str]:
    """Fingerprints of the models that a row starts from: with others it is another run."""
    return {key: fingerprint(output / name / "model") for key, name in row.uses.items()}


def why_not(row: Row, source: Source, output: Path) -> str | None:
    """Why a row cannot be trained here, as the end of a sentence; None if it can."""
    if not source.train:
        return f"--{row.data} is not given"
    for name in row.uses.values():
        if not (output / name / "model/config.json").is_file():
            return f"it starts from {name}, which is not trained"
    if row.needs_gpu and not torch.accelerator.is_available():
        return "it needs a GPU, and timm's pretrained weights"
    return None


def train_row(row: Row, data: dict[str, Source], output: Path, arguments: argparse.Namespace) -> tuple[str, str]:
    """Trains one row, or goes on with it. Returns what became of it: trained, not trained or failed, and why."""
    if row.recipe is None:
        return "bundled", ""
    source = data[row.data]
    variant = arguments.scenes_variant
    if row.family == "scenes" and variant == BEST:
        variant = ladder_results.best_variant(output, VARIANTS, arguments.scale)
        if variant is None:
            return "not trained", "which pair is best is not known before all on thumbnails are trained"
    if reason := why_not(row, source, output):
        return "not trained", reason
    settings = settings_of(row, source, output, arguments.scale, variant, arguments.embedder_weights)
    return train(row.recipe, settings, scale=arguments.scale, uses=uses_of(row, output))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if a row failed, or 128 + the signal that ended the run."""
    arguments = parse_arguments(argv)
    output = Path(os.path.abspath(arguments.output_dir))
    make_folder(output)
    for row, saved in saved_rows(output).items():
        if "scale" not in saved:
            raise ColorizerError(f"{output} has {row} of train/arena.py: give another --output_dir.")
    data = find_data(arguments, output)
    rows = [] if arguments.report_only else chosen_rows(arguments.rows, arguments.scenes_variant)
    if any(row.family == "photographs" for row in rows) and data["photos"].test:
        ladder_results.read_photos(data["photos"].test, arguments.scale)  # gray or tiny ones are told now, not at last
    outcomes = {}
    for number, row in enumerate(rows, 1):
        print(f"\n[{number}/{len(rows)}] {row.name}: {row.shows}", flush=True)
        try:
            status, reason = train_row(row, data, output, arguments)
        except Stopped as stop:
            print(f"stopped in {row.name}; the same command goes on from there", flush=True)
            return 128 + stop.args[0]
        outcomes[row.name] = {"status": status, "reason": reason}
        if reason:
            print(f"{row.name}: {status}: {reason}", file=sys.stderr if status == "failed" else sys.stdout, flush=True)

    words = sys.argv[1:] if argv is None else argv
    words = [word for word in words if word not in ("--report_only", "--write_docs")]
    command = documented("train/reproduce.py", words)
    earlier = read_json(output / "results.json") or {}
    if arguments.report_only and not arguments.photos_test and earlier.get("scale") == arguments.scale:
        command = earlier["command"]  # which trained and measured the table; this one only brings it up to date
    fresh = [row.name for row in ROWS] if arguments.report_only else list(outcomes)
    results = ladder_results.collect(
        ROWS, RECIPES, output, outcomes, fresh, data["photos"].test, arguments.scale, command
    )
    print("\n" + ladder_results.markdown(results), flush=True)
    figures = ladder_figures.draw_all(results, output, output / "figures")
    if arguments.write_docs:
        with written_aside(DOCS / "results.md") as partial:
            partial.write_text(ladder_results.markdown(results), "utf-8", "replace")
        for figure in figures:
            shutil.copy(figure, DOCS / figure.name)
    failed = [name for name, outcome in outcomes.items() if outcome["status"] == "failed"]
    if failed:
        print(f"reproduce.py: failed: {', '.join(failed)}; the same command tries again.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run_script("reproduce.py", main)

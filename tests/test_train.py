"""The trainer's parts: recipes, pictures, views, objectives, trained weights. Whole runs: tests/integration."""

import contextlib
import dataclasses
import errno
import functools
import io
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import timm.optim.muon
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from skimage import data
from torch import nn

from colorizer.color import AbBins, lab_to_rgb, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.hub import MAX_NAMES, RUN_MARK, load_model
from colorizer.models import create_model
from colorizer.pipeline import stretched
from tests.conftest import TINY
from train import views
from train.card import write_card
from train.checkpoints import check_same_run, describe_run, list_checkpoints
from train.data import NO_LABEL, Pictures, Stream, batches_of, load_data, load_photographs, read_picture, some
from train.documents import draw_documents
from train.losses import Objective, PatchCritic, RebalancedCrossEntropy, bin_prior, critic_loss
from train.optimizers import make_optimizer
from train.recipe import make_recipe, parse_recipe
from train.train import LONGEST_NAME, Progress, Training, check_loadable, emulates_bfloat16, make_accelerator
from train.trainee import Trainee, batch_norms, calibrate, synchronized
from train.views import (
    age,
    center_boxes,
    cut,
    draw,
    random_boxes,
    recolor,
    simulate_hints,
    training_views,
    with_documents,
)
from train.weights import load_embedder_weights

pytestmark = pytest.mark.usefixtures("signals_as_before")

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "train/recipes").glob("*.yaml"))
SMOKE = ROOT / "train/recipes/smoke.yaml"


def recipe_of(folder, **changes):
    """The smoke recipe on a folder."""
    flags = [part for key, value in changes.items() for part in (f"--{key}", str(value))]
    return parse_recipe(["--recipe", str(SMOKE), "--train_data_dir", str(folder), *flags])


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


# ---------------------------------------------------------------------------------------------------------- recipes


def test_flags_override_the_file(photos):
    recipe = recipe_of(photos, learning_rate="1e-3", mixed_precision="no", max_grad_norm="null")
    assert recipe.learning_rate == 0.001 and recipe.train_batch_size == 4 and recipe.train_data_dir == [str(photos)]
    assert recipe.mixed_precision == "no" and recipe.max_grad_norm is None
    assert recipe_of(photos, model="{name: fusion, norm: none}").model == {"name": "fusion", "norm": "none"}
    assert parse_recipe(["--recipe", str(SMOKE), "--train_data_dir", "x", "--dry_run"]).dry_run
    private = [
        parse_recipe(["--recipe", str(SMOKE), "--train_data_dir", "x", *flag]).hub_private_repo
        for flag in ([], ["--hub_private_repo"], ["--hub_private_repo", "false"])
    ]
    assert private == [None, True, False]  # None: as the account has it


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--max_train_step", "5"], "The recipe has no key 'max_train_step': did you mean max_train_steps?"),
        (["--max_train_step=5"], "The recipe has no key 'max_train_step': did you mean max_train_steps?"),
        (["--augment", "false", "x"], "'x' belongs to no flag."),
        (["--learning_rate"], "Argument --learning_rate: expected one argument."),
    ],
)
def test_a_mistyped_flag_is_told_in_one_sentence(flags, sentence):
    with pytest.raises(ColorizerError) as told:
        parse_recipe(["--recipe", str(SMOKE), "--train_data_dir", "x", *flags])
    assert str(told.value) == sentence


def test_a_flag_of_epochs_goes_before_the_files_steps(photos):
    recipe = recipe_of(photos, num_train_epochs=3)
    assert recipe.num_train_epochs == 3 and recipe.max_train_steps is None
    assert recipe_of(photos, num_train_epochs=3, max_train_steps=8).max_train_steps == 8
    assert recipe_of(photos, num_train_epochs="null").max_train_steps == 6
    assert recipe_of(photos).max_train_steps == 6


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipes_are_valid(recipe):
    parsed = parse_recipe(["--recipe", str(recipe), "--train_data_dir", "x"])
    assert parsed.model or parsed.pretrained_model_name_or_path


def test_resolution_follows_the_share_of_the_run(photos):
    recipe = recipe_of(photos, resolutions="{0.0: 96, 0.5: 128}", picture_size=128)
    assert [recipe.resolution_at(share) for share in (0, 0.49, 0.5, 1)] == [96, 96, 128, 128]


def test_a_date_that_is_none_is_told(tmp_path):
    """YAML's reader raises what is no error of its own."""
    (tmp_path / "recipe.yaml").write_text("output_dir: 2025-31-12\n")
    with pytest.raises(ColorizerError, match="is not valid YAML: month must be in 1..12"):
        parse_recipe(["--recipe", str(tmp_path / "recipe.yaml")])
    with pytest.raises(ColorizerError, match="--model must be of type dict.*, not '2025-31-12'"):
        parse_recipe(["--recipe", str(SMOKE), "--model", "2025-31-12"])


GOOD = {"model": {"name": "fusion"}, "train_data_dir": ["x"], "max_train_steps": 1}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"lerning_rate": 1}, "no key 'lerning_rate': did you mean learning_rate"),
        ({"mixed_precision": "bf17"}, "mixed_precision must be one of no, fp16, bf16"),
        ({"model": {"embedder": "resnet18"}}, "needs a name"),
        ({"model": "fusion"}, "model must be of type dict"),
        ({"model": None}, "needs a model"),
        ({"max_train_steps": "many"}, "max_train_steps must be of type int"),
        ({"max_train_steps": None}, "max_train_steps or num_train_epochs"),
        ({"max_train_steps": 0}, "max_train_steps must be more than 0"),
        ({"train_data_dir": [2019, 2020]}, r"train_data_dir must be of type list\[str\], not \[2019, 2020\]"),
        ({"model": {"name": "fusion", 5: 1}}, "model must be of type dict"),
        ({5: 1}, "no key 5: its keys are"),
        ({"seed": 2**32}, "seed must be less than 2 to the 32nd"),
        ({"learning_rate": "fast"}, "learning_rate must be of type float"),
        ({"resolutions": {0.5: 64}}, "beginning with 0"),
        ({"resolutions": {0: "abc"}}, "pixels"),
        ({"resolutions": {0: -5}}, "pixels"),
        ({"picture_size": 96}, "at least the largest of resolutions"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"rebalancing_mix": 0}, "rebalancing_mix must be more than 0"),
        ({"train_data_dir": []}, "one of train_data_dir, dataset_name and train_shards; 0"),
        ({"dataset_name": "a/b"}, "2 are given"),
        ({"streaming": True}, "streaming belongs to dataset_name"),
        ({"train_data_dir": [], "train_shards": ["a.tar"], "max_train_steps": None, "num_train_epochs": 1}, "no end"),
        ({"objectives": {"mse": 1, "beauty": 1}}, "no objective 'beauty'"),
        ({"objectives": {"mse": -1}}, "from 0 up"),
        ({"objectives": {"colorfulness": 1}}, "ties the colors to the truth"),
        ({"hint_share": 1.5}, "hint_share is a share"),
        ({"aging": -0.1}, "aging is a share"),
        ({"recolored": 2, "hint_share": 1}, "recolored is a share"),
        ({"recolored": 0.5, "hint_share": 0.5}, "recolored needs a hint_share of 1"),
        (
            {"recolored": 0.5, "hint_share": 1, "objectives": {"mse": 1, "perceptual": 1}},
            "leave out recolored, or perceptual",
        ),
        ({"recolored": 0.5, "hint_share": 1, "teacher": ["a"]}, "leave out recolored, or teacher"),
        ({"documents": 1.5}, "documents is a share"),
        ({"ema_decay": 1}, "ema_decay"),
        ({"embedding_dropout": 1.5}, "embedding_dropout is a share"),
        ({"embedding_dropout": 1}, "embedding_dropout must be less than 1"),
        ({"freeze_embedder": True}, "needs trained weights"),
        ({"freeze_embedder": True, "embedder_weights": "pretrained", "objectives": {"mse": 1, "labels": 1}}, "labels"),
        ({"freeze_second_embedder": True}, "second embedder that stays, .* or leave out freeze_second_embedder"),
        ({"learning_parts": ["decoder"]}, "needs trained weights: give pretrained_model_name_or_path"),
        (
            {
                "learning_parts": ["decoder"],
                "pretrained_model_name_or_path": "x",
                "objectives": {"mse": 1, "labels": 1},
            },
            "learns nothing from labels",
        ),
        (
            {"learning_parts": ["embedder"], "freeze_embedder": True, "pretrained_model_name_or_path": "x"},
            "embedder is among the learning_parts and stays by freeze_embedder",
        ),
        (
            {"learning_parts": ["decoder"], "second_embedder_stages": 1, "pretrained_model_name_or_path": "x"},
            "not among the learning_parts learns at no rate and in no stage",
        ),
        ({"second_embedder_stages": 2}, "needs trained weights.* or leave out second_embedder_stages"),
        ({"second_embedder_stages": 0}, "second_embedder_stages must be more than 0"),
        ({"second_embedder_rate": 0}, "second_embedder_rate must be more than 0"),
        ({"second_embedder_rate": 2}, "second_embedder_rate is a share"),
        (
            {"freeze_second_embedder": True, "second_embedder_rate": 0.1, "pretrained_model_name_or_path": "x"},
            "learns at no rate",
        ),
        ({"cache_embeddings": True}, "cache_embeddings needs freeze_embedder"),
        ({"freeze_embedder": True, "embedder_weights": "pretrained", "cache_embeddings": True}, "augment: false"),
        (
            {"freeze_embedder": True, "embedder_weights": "pretrained", "cache_embeddings": True, "augment": False}
            | {"aging": 0.5},
            "cache_embeddings needs aging: 0",
        ),
        (
            {"freeze_embedder": True, "embedder_weights": "pretrained", "cache_embeddings": True, "augment": False}
            | {"levels": True},
            "cache_embeddings needs levels: false",
        ),
        ({"mixed_precision": "fp16", "objectives": {"mse": 1, "adversarial": 1}}, "adversarial objective needs"),
        ({"teacher": ["x"], "objectives": {"mse": 1}}, "is learned by rebalanced_cross_entropy"),
        ({"teacher_share": 2}, "teacher_share is a share"),
        ({"resolutions": {0.0: 62}, "objectives": {"rebalanced_cross_entropy": 1}}, "multiples of 4"),
        ({"push_to_hub": True}, "push_to_hub needs hub_model_id"),
        ({"push_samples": True}, "push_samples needs push_to_hub"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(changes, words):
    with pytest.raises(ColorizerError, match=words) as error:
        make_recipe(GOOD | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text, words", [("just words", "key: value"), ("a: [", "not valid YAML"), (None, "be read")])
def test_a_file_that_is_no_recipe(tmp_path, text, words):
    if text:
        (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ColorizerError, match=words):
        parse_recipe(["--recipe", str(tmp_path / "bad.yaml"), "--train_data_dir", "x"])


# --------------------------------------------------------------------------------------------------------- pictures


def test_bad_pictures_are_dropped_and_counted(photos, tmp_path, accelerator, capsys):
    for path in itertools.islice((photos / "skimage/coffee").iterdir(), 4):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(data.coffee()).resize((40, 20)).save(tmp_path / "tiny.png")
    Image.fromarray(data.camera()).save(tmp_path / "gray.png")
    recipe = recipe_of(tmp_path, min_colorfulness=15)
    training, validation = load_data(recipe, accelerator)
    assert len(training) + len(validation) == 4
    told = capsys.readouterr().out
    assert "4 of 8 pictures are left out" in told
    assert "2 broken" in told and "1 smaller than 32 pixels" in told and "1 near-gray (colorfulness below 15)" in told


@pytest.mark.parametrize("count, words", [(0, "no pictures"), (1, "at least two different pictures")])
def test_too_few_pictures(tmp_path, accelerator, count, words):
    for i in range(count):
        Image.fromarray(data.coffee()).save(tmp_path / f"{i}.png")
    with pytest.raises(ColorizerError, match=words):
        load_data(recipe_of(tmp_path), accelerator)


def test_only_gray_pictures(tmp_path, accelerator):
    Image.fromarray(data.camera()).save(tmp_path / "gray.png")
    with pytest.raises(ColorizerError, match="1 near-gray; near-gray ones are kept with min_colorfulness: 0"):
        load_data(recipe_of(tmp_path, min_colorfulness=15), accelerator)


def test_split_is_seeded_and_leaks_no_copies(photos, tmp_path, accelerator):
    """Each picture three times: as it is, smaller, and as a JPEG."""
    for path in photos.rglob("*.png"):
        name = f"{path.parent.name}-{path.stem}"
        image = Image.open(path)
        image.save(tmp_path / f"{name}-a.png")
        image.resize((75, 60), Image.Resampling.BOX).save(tmp_path / f"{name}-b.png")
        image.save(tmp_path / f"{name}-c.jpg", quality=90)
    recipe = recipe_of(tmp_path)
    training, validation = load_data(recipe, accelerator)
    assert len(training) + len(validation) == 72 and 10 <= len(validation) <= 15

    def hashes(pictures):
        return set(pictures.hashes.tolist())

    def names(pictures):
        return [pictures.items[i].name for i in pictures.kept]

    assert not hashes(training) & hashes(validation)
    together = sum(f"{name[:-6]}-b.png" in names(validation) for name in names(validation) if name.endswith("-a.png"))
    assert together >= 3  # copies are found to be such
    assert names(load_data(recipe, accelerator)[1]) == names(validation)
    assert names(load_data(recipe_of(tmp_path, seed=1), accelerator)[1]) != names(validation)


def held_out_of(hashes, share, seed=0, most=1000):
    """The numbers of the pictures, of these hashes, that a split holds out."""
    count = len(hashes)
    fields = {"aspects": np.ones(count), "hashes": np.array(hashes, np.uint64), "labels": np.zeros(count, int)}
    training, held_out = Pictures([], None, list(range(count)), None, classes=[], **fields).split(share, seed, most)
    assert sorted(training.kept + held_out.kept) == list(range(count))
    return held_out.kept


def test_a_large_group_of_copies_is_passed_over():
    """It neither ends the choice of the others nor is all that is held out."""
    hashes = [0] * 60 + list(range(1, 41))
    for seed in range(20):
        held_out = held_out_of(hashes, 0.1, seed)
        assert len(held_out) == 10 and min(held_out) >= 60
    assert held_out_of([0] * 60 + [1, 1, 1], 0.02) == [60, 61, 62]  # nothing is as small as one picture
    assert len(held_out_of([0, 0, 1, 1, 2, 2], 0.5)) == 2  # of three pictures


@pytest.mark.parametrize("seed", range(5))
def test_without_a_group_that_is_too_large_the_split_is_that_of_before(seed):
    """So that a run of before is gone on with: the first groups in random order, as many as fit exactly."""
    singles = np.random.default_rng(7).permutation(100)
    _, group = np.unique(singles, return_inverse=True)
    first = np.random.default_rng(seed).permutation(100)[:20]
    assert held_out_of(singles, 0.2, seed) == np.flatnonzero(np.isin(group, first)).tolist()
    first = np.random.default_rng(seed).permutation(50)[:10]
    pairs = np.repeat(np.arange(50), 2)
    assert held_out_of(pairs, 0.2, seed) == np.flatnonzero(np.isin(pairs, first)).tolist()


def test_validation_folder_of_its_own(photos, tmp_path, accelerator):
    """Copies of its pictures are taken out of the training ones."""
    for i in range(4):
        image = Image.open(photos / f"skimage/coffee/{i}.png")
        image.save(tmp_path / f"{i}.png")
    training, validation = load_data(recipe_of(photos, validation_data_dir=tmp_path), accelerator)
    assert len(validation) == 4 and len(training) == 20


def test_cached_and_decoded_again_are_the_same(photos, accelerator):
    cached, _ = load_data(recipe_of(photos), accelerator)
    again, _ = load_data(recipe_of(photos, cache="none"), accelerator)
    assert again.rgb is None
    one, two = cached.__getitems__([0, 5, 3]), again.__getitems__([0, 5, 3])
    assert one["rgb"].shape == (3, 3, 64, 64) and one["rgb"].dtype == torch.uint8
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert one["aspect"].tolist() == pytest.approx([1.25] * 3)
    assert cached.classes == ["skimage/astronaut", "skimage/chelsea", "skimage/coffee"]
    assert NO_LABEL not in cached.labels


def test_photographs_that_are_drawn_are_all_that_is_decoded(photos, tmp_path, monkeypatch, capsys):
    """What is left out is told, and why; what is not chosen costs no memory."""
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    names[0].write_bytes(names[0].read_bytes()[:40])
    names[1].write_bytes(b"no picture")
    Image.new("RGB", (64, 20)).save(names[2])
    whole = load_photographs(folder, 60, smallest=32)
    told = f"{folder}: left out 2 that cannot be read and 1 of less than 32 pixels\n"
    assert capsys.readouterr().out == told and len(whole.arrays) == len(names) - 3
    decoded = []
    monkeypatch.setattr("train.data.read_picture", lambda item: decoded.append(item.name) or read_picture(item))
    chosen = load_photographs(folder, 60, smallest=32, choose=lambda items: items[3:5])
    assert chosen.names == whole.names[3:5] and set(whole.names) & set(decoded) == set(chosen.names)
    assert all(np.array_equal(*pair) for pair in zip(chosen.arrays, whole.arrays[3:5], strict=True))
    assert capsys.readouterr().out == told


def test_whole_pictures_for_the_judge(photos):
    pictures = load_photographs(photos, 60, smallest=32)
    assert {array.shape for array in pictures.arrays} == {(60, 75, 3)}
    assert [pictures.classes[label] for label in pictures.labels[:9]] == ["skimage/astronaut"] * 8 + [
        "skimage/chelsea"
    ]
    with pytest.raises(ColorizerError, match="exist"):
        load_photographs(photos / "missing", 64, smallest=32)


def test_a_stream_goes_on_and_leaves_the_held_out(shards, accelerator):
    """Two epochs of shards: the same pictures in another order, without those of validation."""
    recipe = make_recipe(
        {
            "model": {"name": "fusion"}, "train_shards": [str(shards / "{0..1}.tar")], "max_train_steps": 1,
            "min_colorfulness": 0, "picture_size": 32, "resolutions": {0: 32}, "validation_share": 0.3,
        }
    )  # fmt: skip
    stream, validation = load_data(recipe, accelerator)
    assert isinstance(stream, Stream) and len(validation) >= 1
    size = 24 - sum(h in set(validation.hashes.tolist()) for h in all_hashes(stream))
    first = [bytes(item["rgb"].numpy().tobytes()) for item in itertools.islice(iter(stream), 2 * size)]
    assert set(first[:size]) == set(first[size:]) and first[:size] != first[size:]
    assert len(set(first)) <= size
    again = [bytes(item["rgb"].numpy().tobytes()) for item in itertools.islice(iter(stream), 2 * size)]
    assert first == again
    indices = [item["index"] for item in itertools.islice(iter(stream), 2 * size)]
    assert not set(indices[:size]) & set(indices[size:])  # and other views of them
    held_out = {bytes(rgb.numpy().tobytes()) for rgb in validation.rgb}
    assert not held_out & set(first)


@pytest.mark.parametrize(
    "changes, same",
    [
        ({}, True),
        ({"max_train_steps": 9, "learning_rate": 0.1}, True),
        ({"train_shards": ["elsewhere/{0..1}.tar"]}, True),  # moved
        ({"train_shards": ["a/{0..9}.tar"]}, False),
        ({"seed": 1}, False),
        ({"validation_share": 0.2}, False),
        ({"validation_data_dir": "b"}, False),
    ],
)
def test_a_stream_is_known_by_what_decides_who_is_held_out(changes, same):
    """So that no checkpoint goes on where pictures that it was trained on are held out."""
    settings = {"model": {"name": "fusion"}, "train_shards": ["a/{0..1}.tar"], "max_train_steps": 1}
    before, now = (Stream(make_recipe(settings | more), 0, 1).digest for more in ({}, changes))
    assert (before == now) is same


def test_a_stream_of_a_folder_is_known_wherever_the_folder_is(tmp_path, monkeypatch):
    settings = {"model": {"name": "fusion"}, "max_train_steps": 1, "streaming": True}
    monkeypatch.chdir(tmp_path)
    for folder in ("a/photos", "b/photos", "b/others"):
        (tmp_path / folder).mkdir(parents=True)
    digests = []
    for name in (str(tmp_path / "a/photos"), "b/photos", "b/others", "user/photos"):
        digests.append(Stream(make_recipe(settings | {"dataset_name": name}), 0, 1).digest)
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_a_stream_is_known_by_the_pictures_that_it_leaves_out():
    recipe = make_recipe({"model": {"name": "fusion"}, "train_shards": ["a/{0..1}.tar"], "max_train_steps": 1})
    none, one, same = (Stream(recipe, 0, 1, frozenset(held)).digest for held in ([], [5, 3], [3, 5]))
    assert one == same != none


@pytest.mark.parametrize("source", ["folder", "shards"])
def test_names_that_are_no_utf8(photos, tmp_path, source):
    """As those of old archives are: the run is known by them, and the views of a stream seeded."""
    (tmp_path / "data").mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        shutil.copy(path, os.fsencode(tmp_path / "data") + b"/caf\xe9%d.png" % number)
    given = {"train_data_dir": tmp_path / "data"}
    if source == "shards":
        with tarfile.open(tmp_path / "0.tar", "w") as tar:
            tar.add(tmp_path / "data", "")
        given = {"train_shards": tmp_path / "0.tar"}
    flags = {"recipe": SMOKE, "output_dir": tmp_path / "run", "max_train_steps": 1, "min_class_size": 99} | given
    flags["objectives"] = "{rebalanced_cross_entropy: 1}"
    Training(parse_recipe([part for key, value in flags.items() for part in (f"--{key}", str(value))])).fit()
    assert (tmp_path / "run/checkpoint-1").is_dir()


def test_folders_whose_names_are_no_utf8(photos, tmp_path):
    """Classes are named by folders, and a card names those of the data."""
    root = os.fsencode(tmp_path) + b"/donn\xe9es"
    for name, to in {b"coffee": b"caf\xe9", b"chelsea": b"chat"}.items():
        shutil.copytree(os.fsencode(photos) + b"/skimage/" + name, root + b"/" + to)
    model = "{name: classifier, network: test_resnet, size: 32}"
    changes = {"output_dir": tmp_path / "run", "model": model, "hint_share": 0, "max_train_steps": 1}
    train(recipe_of(os.fsdecode(root), **changes))
    assert "- caf?\n" in (tmp_path / "run/checkpoint-1/README.md").read_text(encoding="utf-8")
    assert " of donn?es; " in (tmp_path / "run/model/README.md").read_text(encoding="utf-8")
    assert load_model(tmp_path / "run/model").config["classes"] == ["caf\udce9", "chat"]


def test_a_stream_leaves_what_it_is_validated_on_out(photos, shards, tmp_path):
    """Copies in the validation folder, as those in a training folder are left out."""
    held_out = sorted(photos.rglob("*.png"))[::4]
    (tmp_path / "held_out").mkdir()
    for path in held_out:
        shutil.copy(path, tmp_path / "held_out" / f"{path.parent.name}-{path.name}")
    flags = {"recipe": SMOKE, "train_shards": shards / "{0..1}.tar", "validation_data_dir": tmp_path / "held_out"}
    flags |= {"output_dir": tmp_path / "run", "validation_share": 0}
    recipe = parse_recipe([part for key, value in flags.items() for part in (f"--{key}", str(value))])
    training, validation = load_data(recipe, Accelerator(cpu=True))
    epoch = all_hashes(training)
    seen = {zlib.crc32(row["rgb"].numpy().tobytes()) for _, row in zip(range(3 * len(epoch)), training, strict=False)}
    held = {zlib.crc32(row["rgb"][0].numpy().tobytes()) for row in batches_of(validation, 1)}
    assert len(held) == len(held_out) and not seen & held and len(seen) == len(epoch) - len(held_out)


def test_a_set_that_memory_cannot_hold_is_told(photos, tmp_path, monkeypatch):
    def full(shape, *args):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ColorizerError, match="need 0.0 GB of memory, and there is less: lower picture_size, or give"):
        load_data(recipe_of(photos, output_dir=tmp_path), Accelerator(cpu=True))


def test_machines_with_other_pictures_are_refused(photos, tmp_path, accelerator, monkeypatch):
    """Their numbers would stand for other pictures there. The second of two machines has one picture more, another
    one, or one that is broken."""
    shutil.copytree(photos, tmp_path / "photos")
    first = {}

    def remember(own):
        first["own"] = own
        return own

    monkeypatch.setattr("train.data.gather_object", remember)
    load_data(recipe_of(photos), accelerator)
    monkeypatch.setattr("train.data.gather_object", lambda own: first["own"] + own)
    load_data(recipe_of(tmp_path / "photos"), accelerator)
    path = tmp_path / "photos/skimage/coffee/0.png"
    for change, counts in (
        (lambda: path.write_bytes(b"broken"), "24"),
        (lambda: path.rename(path.with_name("a.png")), "24"),
        (lambda: shutil.copy(path.with_name("1.png"), path), "24 and 25"),
    ):
        change()
        with pytest.raises(ColorizerError, match=rf"do not see the same pictures \({counts} are there\)"):
            load_data(recipe_of(tmp_path / "photos"), accelerator)


def all_hashes(stream):
    return [square.hash for _, square, _ in stream.squares(epoch=0, worker=0, workers=1)]


# ------------------------------------------------------------------------------------------------------------ views


def test_cutting_equals_pillow():
    """Two matrices per picture do what Pillow's antialiased bilinear resize of the box does, but at the box's edge."""
    image = data.astronaut()[:192, 100:292]
    squares = torch.from_numpy(image).permute(2, 0, 1)[None]
    start, length = torch.tensor([[0.125, 0.25]]), torch.tensor([[0.5, 0.75]])
    ours = cut(squares, start, length, 48)[0]
    wanted = Image.fromarray(image).resize((48, 48), Image.Resampling.BILINEAR, box=(48, 24, 192, 120))
    wanted = torch.from_numpy(np.array(wanted)).permute(2, 0, 1).float()
    assert (ours - wanted)[:, 2:-2, 2:-2].abs().max() < 1  # Pillow rounds twice
    whole = cut(squares, torch.zeros(1, 2), torch.ones(1, 2), 192)
    assert torch.allclose(whole, squares.float(), atol=1e-3)


def test_views_lie_within_the_picture_and_have_its_aspect():
    aspect = torch.tensor([0.5, 1.0, 1.6] * 200)
    draws = draw(3, 0, torch.arange(600))
    start, length = random_boxes(draws, aspect)
    assert start.min() >= 0 and (start + length).max() <= 1 + 1e-6
    # Height and width in units of the short side: views are nearly square, and cover a third to all of it.
    height, width = length[:, 0] * (1 / aspect).clamp(min=1), length[:, 1] * aspect.clamp(min=1)
    assert 0.79 < (width / height).min() and (width / height).max() < 1.26
    assert 0.28 < (width * height).min() and (width * height).max() <= 1.01
    start, length = center_boxes(aspect[:3])
    assert torch.allclose(length, torch.tensor([[0.5, 1], [1, 1], [1, 0.625]]))
    assert torch.allclose(start, (1 - length) / 2)


def test_views_depend_on_seed_epoch_and_index_alone():
    draws = draw(1, 2, torch.tensor([5, 9]))
    assert torch.equal(draw(1, 2, torch.tensor([9]))[0], draws[1])
    assert not torch.equal(draw(1, 3, torch.tensor([9]))[0], draws[1])
    assert not torch.equal(draw(2, 2, torch.tensor([9]))[0], draws[1])
    batch = {
        "rgb": torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8),
        "aspect": torch.tensor([1.0, 1.5]),
    }
    views = training_views(batch, draws, 24)
    alone = training_views({key: value[1:] for key, value in batch.items()}, draws[1:], 24)
    assert torch.allclose(views[1:], alone, atol=1e-6)
    assert 0 <= views.min() and views.max() <= 1


def test_crops_lie_anywhere():
    draws = draw(0, 0, torch.arange(600))
    start, length = views.random_boxes(draws, torch.ones(600))
    free = start / (1 - length).clamp(min=1e-6)
    assert abs(np.corrcoef(free[:, 0], free[:, 1])[0, 1]) < 0.15
    assert (free.std(0) > 0.2).all()


def test_a_hint_is_the_mean_of_what_lies_below_it():
    ab = 20 * torch.randn(1500, 2, 40, 40)
    draws = draw(0, 0, torch.arange(1500))
    hints = simulate_hints(ab, draws, share=1.0)
    sides = set()
    for picture, hint in zip(ab, hints, strict=True):
        colors = hint[:2, hint[2] > 0].unique(dim=1)
        if colors.shape[1] != 1:  # none, or of several hints
            continue
        patch = (hint[2] > 0).nonzero()
        top, left = patch.min(0).values
        bottom, right = patch.max(0).values + 1
        assert len(patch) == (bottom - top) * (right - left)
        assert torch.allclose(colors[:, 0], picture[:, top:bottom, left:right].mean((1, 2)), atol=1e-4)
        sides |= {(bottom - top).item(), (right - left).item()}
    assert {1, 3, 5, 7, 9} <= sides


def test_a_choice_of_pictures_is_drawn():
    assert some(100, 10, 0) == some(100, 10, 0) == sorted(some(100, 10, 0)) != some(100, 10, 1)
    assert some(100, 10, 0) != list(range(10)) and some(100, None, 0) == some(100, 100, 0) == list(range(100))


def test_hints_carry_the_color_below_them():
    ab = torch.full((64, 2, 40, 40), 30.0)
    ab[:, 1] = -12
    draws = draw(0, 0, torch.arange(64))
    hints = simulate_hints(ab, draws, share=0.5)
    mask = hints[:, 2]
    assert set(mask.unique().tolist()) == {0, 1}
    assert torch.allclose(hints[:, 0], 30 * mask) and torch.allclose(hints[:, 1], -12 * mask)
    hinted = mask.flatten(1).any(1).float().mean()
    assert 0.3 < hinted < 0.7
    assert simulate_hints(ab, draws, share=0).abs().max() == 0
    # One picture's hints are its own, whatever the batch.
    assert torch.equal(simulate_hints(ab[7:8], draws[7:8], share=0.5)[0], hints[7])


def test_what_is_recolored_is_what_the_first_hint_lies_on():
    """A green field beside a gray one, as light: the field takes the color around the hint, and the rest keeps its."""
    lightness, ab = torch.full((64, 1, 40, 40), 50.0), torch.zeros(64, 2, 40, 40)
    ab[:, 0, :, :20] = -40
    draws = draw(0, 0, torch.arange(64))
    moved = recolor(lightness, ab, draws, share=0.5)
    changed = (moved != ab).flatten(1).any(1)
    assert 0.3 < changed.float().mean() < 0.7
    for picture, before, row in zip(moved[changed], ab[changed], draws[changed], strict=True):
        y, x = (int(row[views.HINTS + part] * 40) for part in range(2))
        color = picture[:, y, x]
        assert 14.9 < color.norm() < 60.1
        other = slice(20, 40) if x < 20 else slice(0, 20)  # 40 units of ab away: what is left of it is exp(-5.5)
        assert (picture - before)[:, :, other].abs().max() < 0.005 * 101
        moves = (picture - before).norm(dim=0)
        assert moves[y, x] == moves.max()
        assert (moves[:, x][(torch.arange(40) - y).abs() > 20] < moves.max() / 7).all()  # exp(-2) of it
    hints = simulate_hints(moved, draws, share=1.0)
    told = hints[changed][:, 2].flatten(1).any(1)
    assert told.all()
    assert torch.equal(recolor(lightness[3:4], ab[3:4], draws[3:4], 0.5)[0], moved[3])
    assert recolor(lightness, ab, draws, share=0) is ab


def test_new_columns_leave_the_earlier_numbers_alone():
    """A run of before there was aging is resumed with the views and hints that it would have had."""
    before = 7 + 3 * views.MOST_HINTS
    for index, row in zip((4, 700), draw(11, 3, torch.tensor([4, 700])), strict=True):
        assert row[:before].tolist() == np.random.default_rng((11, 3, index)).random(before, np.float32).tolist()
    assert before == views.AGED and views.DRAWS == before + 21


def old_photos(count=48, size=40):
    """Smooth lightness (count, 1, size, size), and random numbers for it."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 1, 5, 5, generator=generator) * 100
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear"), draw(0, 0, torch.arange(count))


def drawn(**columns):
    """One row of random numbers under which a picture is aged, by what these columns (of train/views.py) say alone."""
    row = torch.full((1, views.DRAWS), 0.5)
    row[0, views.AGED] = 0
    row[0, [views.BLURRED, views.GRAINED, views.TONED, views.CRISP, views.COMPRESSED]] = 1
    for name, value in columns.items():
        row[0, getattr(views, name)] = value
    return row


def test_documents_are_gray_told_apart_and_the_same_for_a_seed():
    drawn = draw_documents(24, 48, seed=3)
    assert drawn.shape == (24, 1, 48, 48) and drawn.dtype == torch.uint8
    assert torch.equal(drawn, draw_documents(24, 48, seed=3)) and not torch.equal(
        drawn, draw_documents(24, 48, seed=4)
    )
    assert drawn.float().flatten(1).std(1).min() > 5  # none is blank
    assert len({picture.numpy().tobytes() for picture in drawn}) == 24
    assert 0.5 < (drawn.float().flatten(1).mean(1) > 127).float().mean() < 1  # most are dark on light
    papers = drawn.flatten(1).median(1).values
    assert (papers > 200).any() and ((papers > 90) & (papers < 190)).any()  # new paper, and old


def test_documents_stand_in_for_a_share_of_the_pictures():
    batch = {
        "rgb": torch.full((200, 3, 48, 48), 7, dtype=torch.uint8), "aspect": torch.full((200,), 1.5),
        "label": torch.arange(200), "index": torch.arange(200),
    }  # fmt: skip
    draws = draw(5, 2, batch["index"])
    assert with_documents(batch, draws, 0.0) is batch
    mixed = with_documents(batch, draws, 0.2)
    replaced = (mixed["rgb"] != 7).flatten(1).any(1)
    assert torch.equal(replaced, draws[:, views.REPLACED] < 0.2) and 0.1 < replaced.float().mean() < 0.3
    assert (mixed["rgb"][replaced] == mixed["rgb"][replaced][:, :1]).all()  # gray
    assert (mixed["label"][replaced] == NO_LABEL).all() and (mixed["aspect"][replaced] == 1).all()
    assert torch.equal(mixed["drawn"], replaced)
    for name in batch:
        assert torch.equal(mixed[name][~replaced], batch[name][~replaced])
    assert (batch["rgb"] == 7).all() and torch.equal(batch["label"], torch.arange(200))  # the batch is left alone


@pytest.mark.parametrize("size", [40, 37])
def test_aging_changes_a_share_of_the_pictures(size):
    lightness, draws = old_photos(size=size)
    before = lightness.clone()
    assert age(lightness, draws, 0.0) is lightness
    aged = age(lightness, draws, 0.5)
    assert aged.shape == lightness.shape and 0 <= aged.min() and aged.max() <= 100
    chosen = draws[:, views.AGED] < 0.5
    assert torch.equal(aged[~chosen], lightness[~chosen]) and torch.equal(lightness, before)
    changed = (aged != lightness).flatten(1).any(1)
    assert changed[chosen].float().mean() > 0.9  # to a few of them nothing happens
    assert (age(lightness, draws, 1.0) != lightness).flatten(1).any(1).float().mean() > 0.8


def test_aging_is_a_pictures_own_whatever_the_batch():
    lightness, draws = old_photos()
    aged = age(lightness, draws, 0.7)
    assert torch.equal(age(lightness, draws, 0.7), aged)
    order = torch.randperm(len(draws))
    assert torch.allclose(age(lightness[order], draws[order], 0.7), aged[order], atol=1e-3)
    for index in range(0, 48, 7):
        part = slice(index, index + 1)
        assert torch.allclose(age(lightness[part], draws[part], 0.7), aged[part], atol=1e-3)


def test_age_blurs():
    edge = torch.zeros(1, 1, 96, 96)
    edge[..., 48:] = 80
    steps = [age(edge, drawn(BLURRED=0, BLUR=value), 1.0).diff(dim=-1).abs().max().item() for value in (0, 0.5, 1)]
    assert steps[0] == 80 > steps[1] > steps[2]
    # The middle step of an edge under a Gaussian of sigma 1.2, sampled and cut at three sigma.
    assert steps[2] == pytest.approx(80 / (1.2 * (2 * np.pi) ** 0.5), rel=0.01)
    flat = torch.full((1, 1, 20, 30), 42.0)
    assert torch.allclose(age(flat, drawn(BLURRED=0, BLUR=1), 1.0), flat)
    # A weak blur is the same alone and beside a strong one.
    weak, strong = drawn(BLURRED=0, BLUR=0.4), drawn(BLURRED=0, BLUR=1)
    together = age(edge.expand(2, -1, -1, -1), torch.cat([weak, strong]), 1.0)
    assert torch.allclose(together[:1], age(edge, weak, 1.0), atol=1e-4)
    # Twice the size, twice the sigma.
    large = torch.nn.functional.interpolate(edge, scale_factor=2)
    large = age(large, drawn(BLURRED=0, BLUR=1), 1.0).diff(dim=-1).abs().max().item()
    assert large == pytest.approx(steps[2] / 2, rel=0.01)


def test_age_sharpens():
    edge = torch.full((1, 1, 96, 96), 20.0)
    edge[..., 48:] = 80
    crisp = [age(edge, drawn(CRISP=0, CRISPNESS=value), 1.0) for value in (0, 0.5, 1)]
    assert torch.equal(crisp[0], edge)
    steps = [picture.diff(dim=-1).abs().max().item() for picture in crisp]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0], rel=1e-3)
    # The step, and once more what a Gaussian of sigma 1 leaves of it (sampled: its weight in the middle).
    blurred = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    assert steps[2] == pytest.approx(60 * (2 - blurred[3] / blurred.sum()), rel=1e-3)
    assert crisp[2].min() < 20 and crisp[2].max() > 80  # with haloes, as software leaves them
    assert torch.allclose(crisp[2][..., :40], edge[..., :40], atol=1e-4)  # and nothing far from the edge


def test_age_grains():
    flat = torch.full((1, 1, 96, 96), 50.0)
    grain = age(flat, drawn(GRAINED=0, GRAIN=1), 1.0) - flat
    assert grain.std().item() == pytest.approx(views.MOST_GRAIN, rel=0.1) and abs(grain.mean().item()) < 0.5
    assert age(flat, drawn(GRAINED=0, GRAIN=0.5), 1.0).std().item() == pytest.approx(grain.std().item() / 2, rel=1e-3)
    elsewhere = age(flat, drawn(GRAINED=0, GRAIN=1, GRAIN_LEFT=0.9), 1.0) - flat

    def correlation(one, other):
        return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()

    assert correlation(grain[..., 1:], grain[..., :-1]) == pytest.approx(2 / 3, abs=0.05)
    assert abs(correlation(grain[..., 4:], grain[..., :-4])) < 0.1 and abs(correlation(grain, elsewhere)) < 0.1


def test_age_fades_and_keeps_the_order_of_lightness():
    ramp = torch.linspace(0, 100, 64).reshape(1, 1, 1, 64).expand(1, 1, 16, 64)
    for contrast, gamma, black, white in itertools.product((0, 1), repeat=4):
        told = {"TONE_CONTRAST": contrast, "TONE_GAMMA": gamma, "TONE_BLACK": black, "TONE_WHITE": white}
        aged = age(ramp, drawn(TONED=0, **told), 1.0)[0, 0, 0]
        assert aged.diff().min() > 0
        assert aged[0].item() == pytest.approx(15 * black, abs=0.01)
        assert aged[-1].item() == pytest.approx(85 + 15 * white, abs=0.01)
    assert age(ramp - 1e-4, drawn(TONED=0, TONE_GAMMA=0.1), 1.0).isfinite().all()
    middle = [age(ramp, drawn(TONED=0, TONE_GAMMA=value), 1.0)[0, 0, 0, 32].item() for value in (0, 0.5, 1)]
    assert middle[0] > middle[1] > middle[2]
    flat, steep = (age(ramp, drawn(TONED=0, TONE_CONTRAST=c), 1.0)[0, 0, 0].diff()[31].item() for c in (0, 1))
    assert steep > 1.5 * flat


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_age_compresses_as_jpeg_does(quality):
    """Against Pillow's JPEG of the same gray picture, whose integer cosine transform rounds a little otherwise."""
    gray = Image.fromarray(data.camera()[100:140, 200:251])
    file = io.BytesIO()
    gray.save(file, "jpeg", quality=quality)
    wanted, before = (
        torch.from_numpy(np.array(image)).float()[None, None] / 255 for image in (Image.open(file), gray)
    )
    lightness, wanted = (rgb_to_lab(image.expand(1, 3, -1, -1))[:, :1] for image in (before, wanted))
    aged = age(lightness, drawn(COMPRESSED=0, COMPRESSION=(quality - 20) / 70), 1.0)
    assert aged.shape == lightness.shape
    ours, theirs = (aged - lightness).square().mean().sqrt(), (wanted - lightness).square().mean().sqrt()
    assert (aged - wanted).square().mean().sqrt() < 0.3 * theirs
    assert ours.item() == pytest.approx(theirs.item(), rel=0.1)


def test_jpeg_shows_at_the_borders_of_its_blocks():
    lightness, _ = old_photos(16, 64)
    row = drawn(COMPRESSED=0, COMPRESSION=0).expand(16, -1)
    steps = (age(lightness, row, 1.0) - lightness).diff(dim=-1).abs().mean((0, 1, 2))
    at_borders = torch.arange(1, 64) % 8 == 0
    assert steps[at_borders].mean() > 1.5 * steps[~at_borders].mean()
    fine = (age(lightness, drawn(COMPRESSED=0, COMPRESSION=1).expand(16, -1), 1.0) - lightness).abs().mean()
    assert fine < 0.5 * (age(lightness, row, 1.0) - lightness).abs().mean()


# ------------------------------------------------------------------------------------------------------- objectives


def test_rebalanced_cross_entropy_by_hand():
    """Two places, one gray and one red; the weights turn a rare red's error into more of the loss."""
    bins = AbBins()
    ab = torch.zeros(1, 2, 1, 2)
    ab[0, :, 0, 1] = torch.tensor([60.0, 50.0])
    logits = torch.zeros(1, len(bins), 1, 2)
    gray, red = bins.encode(ab)[0][0, 0, 0]
    logits[0, gray] = 3.0
    prior = torch.full((len(bins),), 0.1 / (len(bins) - 1))
    prior[gray] = 0.9
    index, share = bins.encode(ab)
    entropy = -(torch.log_softmax(logits, 1).gather(1, index) * share).sum(1)[0, 0]
    for mix in (1.0, 0.5):
        loss = RebalancedCrossEntropy(prior, mix)
        weight = 1 / ((1 - mix) * prior + mix / len(bins))
        weight = weight / (prior * weight).sum()
        expected = (entropy[0] * weight[gray] + entropy[1] * weight[red]) / 2
        assert loss(logits, ab, bins).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teachers_share_of_the_target_by_hand():
    """The teacher says what the truth is not; what is smallest is the mean of both, weighted as the true color."""
    bins = AbBins()
    ab = torch.tensor([60.0, 50.0])[None, :, None, None]
    index, share = bins.encode(ab)
    truth = torch.zeros(1, len(bins), 1, 1).scatter(1, index, share)
    taught = torch.softmax(torch.randn(1, len(bins), 1, 1), dim=1)
    prior = torch.full((len(bins),), 0.1 / (len(bins) - 1))
    prior[bins.encode(torch.zeros(1, 2, 1, 1))[0][0, 0, 0, 0]] = 0.9
    loss = RebalancedCrossEntropy(prior, 0.5, teacher_share=0.75)
    target = 0.25 * truth + 0.75 * taught
    logits = torch.randn(1, len(bins), 1, 1)
    weight = loss.weights[index[0, 0, 0, 0]]
    expected = -weight * (target * torch.log_softmax(logits, 1)).sum()
    assert loss(logits, ab, bins, taught).item() == pytest.approx(expected.item(), rel=1e-5)
    smallest = target.log().requires_grad_()
    loss(smallest, ab, bins, taught).backward()
    assert smallest.grad.abs().max() < 1e-6 < loss(logits, ab, bins, taught) - loss(smallest, ab, bins, taught)
    # Of two views the second is a document: its target is the truth alone.
    two = [part.repeat(2, 1, 1, 1) for part in (logits, ab, taught)]
    mixed = loss(two[0], two[1], bins, two[2], torch.tensor([False, True]))
    wanted = (loss(logits, ab, bins, taught) + loss(logits, ab, bins)) / 2
    assert mixed.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_prior_is_the_share_of_colors():
    bins = AbBins()
    ab = torch.zeros(2, 2, 4, 4)
    ab[1] = 50
    prior = bin_prior([ab[:1], ab[1:]], bins)
    assert prior.sum().item() == pytest.approx(1)
    mean = prior @ bins.centers
    assert torch.allclose(mean, torch.tensor([25.0, 25.0]), atol=1.0)


def photo(size=64):
    rgb = torch.from_numpy(data.coffee()[:400, :400]).permute(2, 0, 1)[None].float() / 255
    rgb = torch.nn.functional.interpolate(rgb, (size, size), mode="area")
    lab = rgb_to_lab(rgb)
    return lab[:, :1], lab[:, 1:]


@pytest.fixture(scope="module")
def small_network(tmp_path_factory):
    """Weights of a small timm network, as a safetensors file: what a perceptual loss and an embedder start from."""
    import timm

    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("timm") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["mse", "l1", "smooth_l1", "perceptual", "colorfulness"])
def test_objectives_of_ab_fall_as_they_should(name, small_network):
    """Each is least where it should be, and its gradient leads there; also from plain gray, where roots are steep."""
    lightness, truth = photo()
    objective = Objective({name: 2.0}, perceptual_network="test_resnet", perceptual_weights=str(small_network)).train()
    seen = {"lightness": lightness, "ab": truth, "rgb": lab_to_rgb(torch.cat([lightness, truth], dim=1), "clip")}

    def loss(ab):
        return objective({"ab": ab}, seen)[0]

    best = 1.5 * truth if name == "colorfulness" else truth
    assert loss(best) < loss(0.5 * truth) < loss(torch.zeros_like(truth))
    if name in ("mse", "l1", "smooth_l1", "perceptual"):
        assert loss(truth).item() == pytest.approx(0, abs=1e-6)
    for start in (0.5 * truth, torch.zeros_like(truth)):
        ab = start.clone().requires_grad_()
        before = loss(ab)
        before.backward()
        assert ab.grad.isfinite().all()
        if start.any():
            assert loss((ab - ab.grad / ab.grad.norm()).detach()) < before


def test_smooth_l1_is_linear_from_one_lab_unit_on():
    """Half a square in units of 110 would weigh an error of 20 units four times one of 10."""
    truth = torch.zeros(1, 2, 8, 8)
    loss = Objective({"smooth_l1": 1.0})
    half, one, ten, twenty = (
        loss({"ab": torch.full_like(truth, error)}, {"ab": truth})[0].item() * 110 for error in (0.5, 1.0, 10.0, 20.0)
    )
    assert half == pytest.approx(0.5**2 / 2) and one == pytest.approx(0.5)
    assert ten == pytest.approx(9.5) and twenty == pytest.approx(19.5)
    rgb = torch.full((1, 3, 8, 8), 0.5)
    far, near = (loss({"rgb": rgb + d}, {"rgb": rgb})[0].item() for d in (0.4, 0.2))
    assert far - near == pytest.approx(0.2, rel=1e-5)


def test_colorfulness_spoils_no_gradient_and_leaves_documents_gray():
    """A view of one flat color has no slope there; the others learn on, and a document is not asked for color."""
    lightness, truth = photo()
    lightness = torch.cat([lightness, torch.full_like(lightness, 100.0)])
    objective = Objective({"colorfulness": 1.0})
    for drawn in (None, torch.tensor([False, True])):
        ab = torch.cat([0.5 * truth, torch.zeros_like(truth)]).requires_grad_()
        loss, _ = objective({"ab": ab}, {"lightness": lightness, "rgb": None, "drawn": drawn})
        loss.backward()
        assert ab.grad.isfinite().all() and ab.grad[0].any()
    ab = torch.full_like(truth, 30.0).repeat(2, 1, 1, 1) * torch.rand(2, 1, *truth.shape[2:])
    ab.requires_grad_()
    lightness, drawn = torch.full((2, 1, *truth.shape[2:]), 60.0), torch.tensor([False, True])
    objective({"ab": ab}, {"lightness": lightness, "drawn": drawn})[0].backward()
    assert ab.grad[0].any() and not ab.grad[1].any()


def test_labels_count_in_parts_as_in_one_batch():
    """Pictures without a class add nothing, and two halves of a batch give the mean of the whole."""
    objective = Objective({"labels": 1.0}, labeled_share=0.5)
    logits, label = torch.randn(8, 3), torch.tensor([0, NO_LABEL, 2, NO_LABEL, NO_LABEL, NO_LABEL, 1, 1])

    def loss(part):
        return objective({"class_logits": logits[part]}, {"label": label[part]})[0].item()

    labeled = label != NO_LABEL
    wanted = torch.nn.functional.cross_entropy(logits[labeled], label[labeled]).item()
    assert loss(slice(None)) == pytest.approx(wanted)
    assert (loss(slice(4)) + loss(slice(4, 8))) / 2 == pytest.approx(wanted)


def test_critic_learns_to_tell_gray_from_color():
    torch.manual_seed(0)
    lightness, ab = photo()
    critic = PatchCritic(width=8)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    first = None
    for _ in range(60):
        loss = critic_loss(critic(lightness, ab), critic(lightness, 0 * ab))
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * first


# -------------------------------------------------------------------------------------------------- trained weights


def test_embedder_weights_from_a_file_and_from_a_folder(small_network, tmp_path):
    import timm

    source = timm.create_model("test_resnet", pretrained=False)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    wanted = source.state_dict()
    for embedding in ("maps", "pooled", "logits"):
        model = create_model("fusion", **TINY | {"embedding": embedding})
        load_embedder_weights(model.embedder, "test_resnet", str(tmp_path / "weights.safetensors"))
        state = model.embedder.network.state_dict()
        assert state and all(torch.equal(value, wanted[key]) for key, value in state.items())


@pytest.mark.parametrize("network, first", [("test_resnet", "conv1.0"), ("test_convnext", "stem.0")])
def test_embedder_weights_from_a_classifier(network, first, tmp_path):
    """Also where timm has other names for the tensors of a network that gives features."""
    judge = create_model("classifier", classes=["a", "b"], network=network, size=32)
    judge.save_pretrained(tmp_path / "judge")
    model = create_model("fusion", **TINY | {"embedder": network})
    load_embedder_weights(model.embedder, network, str(tmp_path / "judge"))
    wanted = judge.network.get_submodule(first).weight
    got = next(value for value in model.embedder.network.state_dict().values() if value.shape == wanted.shape)
    assert torch.allclose(got, wanted, atol=1e-3)  # float16 on disk


@pytest.mark.parametrize(
    "weights, words",
    [
        ("pretrained", "pretrained weights of test_resnet cannot be had"),
        ("missing.safetensors", "no weights 'missing.safetensors'"),
        ("weights.bin", "must be a safetensors file"),
        ("other.safetensors", "no weights of test_resnet|not those of test_resnet"),
    ],
)
def test_weights_that_cannot_be_had_are_one_sentence(weights, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(b"")
    save_file({"a": torch.zeros(1)}, "other.safetensors")
    model = create_model("fusion", **TINY)
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(ColorizerError, match=words) as error:
        load_embedder_weights(model.embedder, "test_resnet", weights)
    assert "\n" not in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.parametrize("kept, learns", [("embedder", "second_embedder"), ("second_embedder", "embedder")])
def test_a_frozen_embedder_stays_as_it_is(kept, learns):
    model = create_model("fusion", **TINY, second_embedder="test_efficientnet")
    trainee = Trainee(model, **{f"freeze_{kept}": True})
    optimizer = torch.optim.SGD([p for p in trainee.parameters() if p.requires_grad], 0.1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainee.train()
    assert not getattr(model, kept).training and getattr(model, learns).training and model.encoder.training
    trainee(torch.rand(2, 1, 64, 64) * 100)["ab"].square().mean().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {"encoder", learns} <= {key.split(".")[0] for key in changed}
    assert not any(key.startswith(f"{kept}.") for key in changed)


def test_the_last_stages_of_a_second_embedder_learn():
    """Those from behind the feature map at stride 8 on; batch norm keeps its statistics in all."""
    model = create_model("fusion", **TINY, second_embedder="test_efficientnet")
    lightness = torch.rand(2, 1, 64, 64) * 100
    with torch.no_grad():
        _, *before = model.eval().second_embedder(lightness)
    trainee = Trainee(model, second_embedder_stages=2)
    statistics = {key: value.clone() for key, value in model.second_embedder.named_buffers()}
    first = {key: value.clone() for key, value in model.embedder.named_buffers()}
    optimizer = torch.optim.SGD([p for p in trainee.parameters() if p.requires_grad], 0.1)
    trainee.train()
    trainee(lightness)["ab"].square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        _, *after = model.eval().second_embedder(lightness)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False, False]
    assert all(torch.equal(value, statistics[key]) for key, value in model.second_embedder.named_buffers())
    assert not all(torch.equal(value, first[key]) for key, value in model.embedder.named_buffers())


@pytest.mark.parametrize(
    "changes, stages, words",
    [
        ({}, 2, "no second embedder: leave out second_embedder_stages"),
        ({"second_embedder": "test_efficientnet"}, 5, "test_efficientnet has 5 stages: .* must be less than that"),
        (
            {"second_embedder": "test_efficientnet", "embedding": "pooled"},
            1,
            "test_efficientnet gives no feature maps",
        ),
    ],
)
def test_stages_that_there_are_not(changes, stages, words):
    with pytest.raises(ColorizerError, match=words):
        Trainee(create_model("fusion", **TINY | changes), second_embedder_stages=stages)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_the_second_embedder_learns_at_its_own_rate(photos, tmp_path, optimizer):
    """In its first step Adam moves a weight by the learning rate, and Muon's NAdamW a bias by not quite twice that."""
    start = create_model("fusion", **TINY, second_embedder="test_efficientnet")
    start.save_pretrained(tmp_path / "start")
    changes = {"max_train_steps": 1, "ema_decay": 0, "learning_rate": 1e-3, "weight_decay": 0, "optimizer": optimizer}
    changes |= {"lr_scheduler": "constant", "lr_warmup_steps": 0, "second_embedder_rate": 0.1, "model": "null"}
    run = Training(
        recipe_of(photos, output_dir=tmp_path / "run", pretrained_model_name_or_path=tmp_path / "start", **changes)
    )
    run.fit()
    rates = {id(p): group["lr"] for group in run.optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(run.bare.parameters()))
    for key, weight in run.model.named_parameters():
        assert rates[id(weight)] == pytest.approx(1e-4 if key.startswith("second_embedder.") else 1e-3)
    moved = {"embedder": 0.0, "second_embedder": 0.0}
    trained = dict(run.model.named_parameters())
    for key, weight in start.named_parameters():
        part = key.partition(".")[0]
        if part in moved and weight.ndim == 1:
            moved[part] = max(moved[part], float((trained[key] - weight).abs().max().detach()))
    assert 0.98e-3 < moved["embedder"] < 2e-3
    assert moved["second_embedder"] == pytest.approx(moved["embedder"] / 10, rel=0.02)
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert metrics[0]["lr"] == pytest.approx(1e-3)


def test_a_rate_for_an_embedder_that_there_is_not(photos, tmp_path):
    with pytest.raises(ColorizerError, match="no second embedder: leave out second_embedder_rate"):
        Training(recipe_of(photos, output_dir=tmp_path, max_train_steps=1, second_embedder_rate=0.5))


def test_labels_are_told_by_the_first_embedder():
    """The second, which may know pictures from before, would leave it nothing to learn."""
    model = create_model("fusion", **TINY, second_embedder="test_efficientnet")
    trainee = Trainee(model, classes=3).eval()
    lightness = torch.rand(2, 1, 64, 64) * 100
    with torch.no_grad():
        expected = trainee.classifier(model.embedder(lightness)[0])
        assert torch.equal(trainee(lightness)["class_logits"], expected)
    with pytest.raises(ColorizerError, match="no second embedder"):
        Trainee(create_model("fusion", **TINY), freeze_second_embedder=True)


def test_frozen_norm_keeps_its_statistics():
    trainee = Trainee(create_model("fusion", **TINY))
    trainee.freeze_norm = True
    trainee.train()
    before = {key: value.clone() for key, value in trainee.state_dict().items() if "running" in key}
    trainee(torch.rand(2, 1, 64, 64) * 100)
    assert before and all(torch.equal(trainee.state_dict()[key], value) for key, value in before.items())


def test_synchronized_norm_keeps_its_activation():
    """timm has networks whose activations are inside their norms; torch's own conversion loses them."""
    network = timm.create_model("test_efficientnet", pretrained=False).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = network(images)
        together = synchronized(network)
        assert torch.equal(together(images), plain)
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in batch_norms(together))


def test_calibration_gives_the_statistics_of_the_data():
    model = create_model("fusion", **TINY)
    batches = [torch.rand(4, 1, 64, 64) * 100 for _ in range(3)]
    kept = {key: value.clone() for key, value in model.embedder.state_dict().items()}
    calibrate(model, ((lightness, None) for lightness in batches), [model.embedder])
    assert all(torch.equal(model.embedder.state_dict()[key], value) for key, value in kept.items())
    norm = model.encoder[0][0][1]
    inputs = []
    model.encoder[0][0][0].register_forward_hook(lambda module, args, output: inputs.append(output))
    with torch.no_grad():
        for lightness in batches:
            model(lightness)
    assert torch.allclose(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0), atol=1e-5)
    assert not model.training and norm.momentum == 0.1


def test_calibration_leaves_dropout_out():
    """The statistics are those of the network as it is used."""
    lightness = torch.rand(4, 1, 64, 64) * 100
    told_all, told_less = (create_model("fusion", **TINY | {"norm": "batch"}) for _ in range(2))
    told_less.load_state_dict(told_all.state_dict())
    told_less.dropout.p = 0.5
    for model in (told_all, told_less):
        calibrate(model, iter([(lightness, None)]))
    assert all(torch.equal(told_less.state_dict()[key], value) for key, value in told_all.state_dict().items())


@pytest.mark.parametrize("embedding", ["pooled", "maps"])
def test_embedding_dropout_leaves_channels_out_of_training_alone(embedding):
    """Whole channels, and what is left is as much larger, so that the mean is what it was."""
    model = create_model("fusion", **TINY | {"embedding": embedding})
    config, lightness = dict(model.config), torch.rand(2, 1, 64, 64) * 100
    before = model.eval()(lightness)
    trainee = Trainee(model, embedding_dropout=0.5)
    told = []
    model.fusion[0].register_forward_hook(lambda module, args, output: told.append(args))
    assert torch.equal(model.eval()(lightness), before)
    assert model.config == config  # what is left out is not the model's business
    trainee.train()
    model.embedder.eval()
    vector, *maps = model.embed(lightness)
    model.logits(lightness, embedding=(vector, *maps))
    (_, whole), (inputs, part) = told
    left = part != 0
    assert torch.equal(part[left], 2 * vector[left]) and 0.2 < left[whole > 0].float().mean() < 0.8
    if maps:
        mine = inputs[:, -maps[-1].shape[1] :].flatten(2).any(-1)  # the coarsest map's channels come last
        assert 0.1 < mine.float().mean() < 0.8 and not torch.equal(mine, left)


def test_embedding_dropout_needs_an_embedding():
    with pytest.raises(ColorizerError, match="fuses no embedding: leave out embedding_dropout"):
        Trainee(create_model("eccv16"), embedding_dropout=0.3)


def test_muon_works_in_the_training_s_precision(photos, monkeypatch):
    """timm's own works in bfloat16 always, which is emulated on what trains in float32."""

    def trained(mixed_precision: str) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Conv2d(8, 16, 3)
        optimizer = make_optimizer(layer, recipe_of(photos, optimizer="muon", mixed_precision=mixed_precision))
        for _ in range(3):
            layer.weight.grad, layer.bias.grad = torch.randn_like(layer.weight), torch.randn_like(layer.bias)
            optimizer.step()
        return layer.weight.detach()

    ours = {precision: trained(precision) for precision in ("no", "bf16")}
    iteration = timm.optim.muon.zeropower_via_newtonschulz
    for precision, dtype in {"no": torch.float32, "bf16": torch.bfloat16}.items():
        there = functools.partial(iteration, dtype=dtype)
        monkeypatch.setattr(timm.optim.muon, "zeropower_via_newtonschulz", there)
        assert torch.equal(ours[precision], trained("bf16"))  # timm's own, which gets this precision
    assert not torch.equal(ours["no"], ours["bf16"])
    assert torch.allclose(ours["no"], ours["bf16"], atol=1e-3)


# ------------------------------------------------------------------------------- whole trainings, in this process


def train(recipe) -> list[dict]:
    """The lines of metrics of a run in this process."""
    Training(recipe).fit()
    return [json.loads(line) for line in (Path(recipe.output_dir) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": "true", "ema_decay": "0", "cache": "none"},
        {"optimizer": "muon", "aging": "0.5"},
        {"optimizer": "adam", "lr_scheduler": "constant", "max_train_steps": "null", "num_train_epochs": "1.5"},
        {"model": "{name: fusion_paper, embedder: test_resnet}", "objectives": "{mse: 1}", "hint_share": "0"},
        {
            "model": "{name: unet, encoder: test_convnext, decoder_widths: [8, 8, 8]}",
            "objectives": "{l1: 1}",
            "hint_share": "0",
            "gradient_checkpointing": "true",
        },
        {
            "aging": "0.5",
            "documents": "0.3",
            "model": "{name: eccv16, width: 4}",
            "objectives": "{rebalanced_cross_entropy: 1}",
            "hint_share": "0",
            "gradient_checkpointing": "true",
        },
        {"validation_share": "0", "logging_steps": "4"},
        {"freeze_norm_from": "0.5", "augment": "false", "cache": "device", "channels_last": "false"},
        {"teacher": "fusion_compact", "teacher_share": "1"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_recipes_can_ask_for_trains(photos, tmp_path, changes):
    lines = train(recipe_of(photos, output_dir=tmp_path, **changes))
    assert lines[-1]["step"] == 6
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    assert (tmp_path / "model/model.safetensors").is_file()


def test_the_network_sees_old_photographs_and_is_judged_by_clean_ones(photos, tmp_path):
    training = Training(recipe_of(photos, output_dir=tmp_path, aging=0.5, train_batch_size=8))
    batch, epoch = next(training.batches())
    inputs = training.see(batch, epoch, 32)
    lightness, ab = rgb_to_lab(inputs["rgb"]).split([1, 2], dim=1)
    assert torch.equal(inputs["lightness"], lightness) and torch.equal(inputs["ab"], ab)
    aged = draw(training.recipe.seed, epoch, batch["index"])[:, views.AGED] < 0.5
    changed = (inputs["seen"] != lightness).flatten(1).any(1)
    assert changed.any() and not changed[~aged].any()
    seen = []
    training.bare.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    training.learn(inputs, 1, None)
    assert torch.equal(seen[0], inputs["seen"])
    # What gives batch norm its statistics is aged as often; what the model is measured by is not.
    pictures = next(training.sample(48))
    calibrating, _ = next(training.sample_inputs(48))
    truth, _ = training.look(training.finished_model(), pictures)
    assert not torch.equal(calibrating, truth["lightness"])
    plain = Training(recipe_of(photos, output_dir=tmp_path)).see(batch, epoch, 32)
    assert torch.equal(plain["seen"], plain["lightness"]) and torch.equal(plain["hints"], inputs["hints"])


def test_teachers_see_the_photo_as_it_was_and_are_left_alone(photos, tmp_path, tiny_folder, tiny_model):
    """What is taught is their mean, of clean views with the same hints; the weights that learn are not theirs."""
    torch.manual_seed(7)
    other = create_model("fusion", **TINY, hints=False).eval()
    other.save_pretrained(tmp_path / "other")
    changes = {"aging": 1, "train_batch_size": 8, "hint_share": 0.5, "documents": 0.4}
    recipe = recipe_of(photos, output_dir=tmp_path / "run", objectives="{rebalanced_cross_entropy: 1}", **changes)
    training = Training(dataclasses.replace(recipe, teacher=[str(tiny_folder), str(tmp_path / "other")]))
    batch, epoch = next(training.batches())
    inputs = training.see(batch, epoch, 32)
    lightness = inputs["lightness"]
    with torch.no_grad():
        both = [tiny_model.logits(lightness, inputs["hints"]), other.logits(lightness)]
    expected = torch.stack(both).softmax(2).mean(0)
    assert inputs["hints"].any() and not torch.equal(inputs["seen"], lightness)
    assert torch.allclose(training.ask_teachers(inputs), expected, atol=1e-5)
    before = {name: tensor.clone() for name, tensor in training.teachers[0].state_dict().items()}
    out = training.trainee(inputs["seen"], inputs["hints"])
    wanted, _ = training.objective(out, inputs | {"taught": expected}, AbBins())
    untaught, _ = training.objective(out, inputs, AbBins())
    assert inputs["drawn"].any() and not inputs["drawn"].all()
    all_taught, _ = training.objective(out, inputs | {"taught": expected, "drawn": None}, AbBins())
    assert not torch.isclose(wanted, all_taught)  # of a document there is nothing to be taught
    loss = training.learn(inputs, 1, None)["loss"]
    assert torch.isclose(loss, wanted) and not torch.isclose(loss, untaught)
    training.update(None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.teachers[0].state_dict().items())


def test_resuming_says_that_a_teachers_weights_have_changed(photos, tmp_path, tiny_folder, capsys):
    """Under the same name; what has not changed is not said to have."""
    teachers = [shutil.copytree(tiny_folder, tmp_path / name) for name in ("first", "second")]
    changes = {"objectives": "{rebalanced_cross_entropy: 1}", "max_train_steps": 1, "output_dir": tmp_path / "run"}
    recipe = recipe_of(photos, **changes, checkpointing_steps=1)
    recipe = dataclasses.replace(recipe, teacher=[str(teacher) for teacher in teachers])
    Training(recipe).fit()
    [checkpoint] = (tmp_path / "run").glob("checkpoint-*")
    create_model("fusion", **TINY).save_pretrained(teachers[1])
    capsys.readouterr()
    Training(dataclasses.replace(recipe, resume_from_checkpoint=str(checkpoint)))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed since")]
    assert told == [f"changed since: the weights of the teacher {teachers[1]}"]


def test_a_teacher_that_predicts_no_distribution_is_refused(photos, tmp_path):
    create_model("fusion", **TINY, head="regression").save_pretrained(tmp_path / "flat")
    with pytest.raises(ColorizerError, match="flat predicts no distribution: take one with `head: bins`"):
        Training(recipe_of(photos, output_dir=tmp_path / "run", teacher=tmp_path / "flat"))


def test_levels_are_stretched_in_training_and_validation(photos, tmp_path):
    training = Training(recipe_of(photos, output_dir=tmp_path, levels=True, train_batch_size=8))
    batch, epoch = next(training.batches())
    inputs = training.see(batch, epoch, 32)
    assert torch.equal(inputs["seen"], stretched(inputs["lightness"]))
    assert not torch.equal(inputs["seen"], inputs["lightness"])
    assert torch.equal(inputs["lightness"], rgb_to_lab(inputs["rgb"])[:, :1])  # what is learned is the clean picture's
    seen, model = [], training.finished_model()
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    truth, _ = training.look(model, next(training.sample(48)))
    assert torch.equal(seen[-1], stretched(truth["lightness"]))


def test_going_back_leaves_the_other_branch(photos, tmp_path):
    """From an earlier checkpoint on, later ones are set aside, and a finished run keeps its card's figures."""
    train(recipe_of(photos, output_dir=tmp_path))
    earlier = {"output_dir": tmp_path, "resume_from_checkpoint": tmp_path / "checkpoint-3"}
    train(recipe_of(photos, **earlier, learning_rate=0.01, checkpointing_steps=2, max_train_steps=5))
    assert sorted(path.name for path in tmp_path.glob("*checkpoint-*")) == [
        "abandoned-checkpoint-6", "checkpoint-3", "checkpoint-4", "checkpoint-5"
    ]  # fmt: skip
    train(recipe_of(photos, **earlier, checkpointing_steps=2, max_train_steps=5))  # and once more
    assert {"abandoned-checkpoint-4", "abandoned-checkpoint-5", "abandoned-checkpoint-6"} < set(os.listdir(tmp_path))
    train(recipe_of(photos, **earlier, checkpointing_steps=2, max_train_steps=5))
    assert {"abandoned-checkpoint-5", "abandoned-checkpoint-5.old-1", "checkpoint-5"} < set(os.listdir(tmp_path))
    shutil.rmtree(tmp_path / "model")
    lines = train(recipe_of(photos, output_dir=tmp_path, max_train_steps=5, resume_from_checkpoint="latest"))
    assert f"| {lines[-1]['validation_ab_rmse']:.4g} |" in (tmp_path / "model/README.md").read_text()


def test_the_sheet_that_is_pushed_is_of_this_attempt(photos, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr("train.train.push", lambda folder, *_, extra_files, **__: pushed.append(extra_files))
    train(recipe_of(photos, output_dir=tmp_path))
    earlier = {"resume_from_checkpoint": tmp_path / "checkpoint-3", "validation_steps": 5, "max_train_steps": 5}
    training = Training(recipe_of(photos, output_dir=tmp_path, **earlier))
    training.recipe.push_samples = True
    training.push(tmp_path / "checkpoint-3")
    training.recipe.push_to_hub = True
    training.fit()
    assert (tmp_path / "samples/step-000006.png").is_file()  # of the attempt that was left
    assert pushed == [[], [tmp_path / "samples/step-000005.png"]]
    training = Training(recipe_of(photos, output_dir=tmp_path, resume_from_checkpoint="latest"))
    training.recipe.push_samples = True
    training.push(tmp_path / "checkpoint-5")
    assert pushed[-1] == pushed[1]  # which the checkpoint knows


def test_an_embedder_whose_maps_need_larger_pictures_trains(photos, tmp_path):
    model = "{name: fusion, embedder: inception_v3, embedding: maps, width: 4, decoder_widths: [16, 12, 8]}"
    lines = train(recipe_of(photos, output_dir=tmp_path, model=model, max_train_steps=1))
    assert np.isfinite(lines[-1]["validation_ab_rmse"])


@pytest.mark.parametrize("pictures, sizes", [(24, [24]), (53, [27, 26])])
def test_what_statistics_are_taken_over_comes_in_even_batches(tmp_path, pictures, sizes):
    """Each batch counts as much as another in batch norm's statistics: five pictures should not count as 48."""
    noise = np.random.default_rng(0)
    for number in range(pictures):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"photos/{number}.png")
    changes = {"output_dir": tmp_path / "run", "validation_share": 0, "min_class_size": 99}
    training = Training(recipe_of(tmp_path / "photos", **changes))
    assert [len(batch["index"]) for batch in training.sample(1152)] == sizes
    assert sum(len(batch["index"]) for batch in training.sample(16)) == 16


def test_going_back_to_the_branch_that_was_left(photos, tmp_path):
    train(recipe_of(photos, output_dir=tmp_path))
    earlier = {"output_dir": tmp_path, "checkpointing_steps": 2, "max_train_steps": 8}
    train(recipe_of(photos, **earlier, resume_from_checkpoint=tmp_path / "checkpoint-3"))
    left = recipe_of(photos, **earlier, resume_from_checkpoint=tmp_path / "abandoned-checkpoint-6")
    training = Training(left)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-6"]  # to be gone on with, as the latest
    training.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6, 7, 8]
    # All of the other branch is set aside in its turn, and this one has its names.
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-8"]
    aside = {"abandoned-checkpoint-4", "abandoned-checkpoint-6.old-1", "abandoned-checkpoint-8"}
    assert aside <= set(os.listdir(tmp_path))


def test_a_checkpoint_from_elsewhere_wants_a_folder_of_its_own(photos, tmp_path):
    for name in ("one", "other"):
        train(recipe_of(photos, output_dir=tmp_path / name))
    before = sorted(os.listdir(tmp_path / "other"))
    elsewhere = {"resume_from_checkpoint": tmp_path / "one/checkpoint-3", "checkpoints_total_limit": 1}
    with pytest.raises(ColorizerError, match="other holds another run than .*: give an output_dir that holds none"):
        Training(recipe_of(photos, output_dir=tmp_path / "other", **elsewhere))
    assert sorted(os.listdir(tmp_path / "other")) == before
    train(recipe_of(photos, output_dir=tmp_path / "new", **elsewhere))
    assert "checkpoint-6" in os.listdir(tmp_path / "new")


def test_metrics_of_an_attempt_that_crashed_are_not_gone_on_with(photos, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "loss": 5}\n')
    assert train(recipe_of(photos, output_dir=tmp_path))[0].get("loss") != 5


def test_parts_of_a_step_have_the_gradient_of_the_whole(photos, tmp_path):
    """Two times two pictures move the weights as four do; without batch norm, which sees its own part alone."""
    moved = []
    for parts in (1, 2):
        recipe = recipe_of(
            photos, output_dir=tmp_path / str(parts), train_batch_size=4 // parts, gradient_accumulation_steps=parts,
            model="{name: fusion, embedder: test_vit, embedding: pooled, embedder_size: 64, width: 4, norm: none}",
            optimizer="adam", objectives="{mse: 1}", aging=0, max_grad_norm="null", embedder_weights="none",
        )  # fmt: skip
        training = Training(recipe)
        gradients = []
        update = training.update
        training.update = lambda adversary, t=training, found=gradients, update=update: (
            found.extend(p.grad.clone() for p in t.model.parameters() if p.grad is not None) or update(adversary)
        )
        next(training.steps())
        moved.append(torch.cat([gradient.flatten() for gradient in gradients]))
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-5 * moved[0].abs().max().item())


def test_gradients_are_clipped_and_statistics_frozen(photos, tmp_path):
    recipe = recipe_of(photos, output_dir=tmp_path, max_grad_norm=1e-4, freeze_norm_from=0.5, max_train_steps=2)
    training = Training(recipe)
    norms, statistics = [], []
    step = training.optimizer.step

    def stepped(*args, **options):
        grads = [p.grad.flatten() for p in training.model.parameters() if p.grad is not None]
        norms.append(torch.cat(grads).norm().item())
        return step(*args, **options)

    training.optimizer.step = stepped
    steps = training.steps()
    for _ in range(2):
        next(steps)
        training.progress.step += 1
        statistics.append({k: v.clone() for k, v in training.model.state_dict().items() if "running_mean" in k})
    assert norms == pytest.approx([1e-4] * 2, rel=2e-2)
    assert statistics[0] and all(torch.equal(statistics[1][key], value) for key, value in statistics[0].items())


def test_what_is_saved_are_the_averaged_weights(photos, tmp_path):
    recipe = recipe_of(photos, output_dir=tmp_path, ema_decay=0.9, max_train_steps=4, learning_rate=0.01)
    training = Training(recipe)
    training.fit()
    saved = load_file(tmp_path / "model/model.safetensors")
    averaged, last = (dict(model.named_parameters()) for model in (training.averaged.module, training.model))
    for name, weights in averaged.items():
        assert torch.equal(saved[name], weights.half().to(saved[name].dtype)), name
    assert not all(torch.equal(averaged[name], last[name]) for name in averaged)


def test_a_loss_that_is_no_number_ends_the_run(photos, tmp_path):
    with pytest.raises(ColorizerError, match="The loss at step [0-9] is no number: lower learning_rate"):
        train(recipe_of(photos, output_dir=tmp_path, learning_rate=1e30, max_grad_norm="null"))


def test_weights_that_are_no_numbers_take_no_checkpoints_place(photos, tmp_path, monkeypatch):
    """Where the loss is not looked at before a checkpoint is due, the one that can be gone on from stays."""
    changes = {"checkpointing_steps": 1, "checkpoints_total_limit": 1, "logging_steps": 6, "validation_steps": 6}
    training = Training(recipe_of(photos, output_dir=tmp_path, **changes))
    update = training.update

    def ruin(adversary):
        values = update(adversary)
        if training.progress.step == 3:  # the fourth
            training.model.decoder[0][0].weight.data[0] = math.nan
        return values

    monkeypatch.setattr(training, "update", ruin)
    with pytest.raises(ColorizerError, match="A weight at step 4 is no number: .*checkpoint-3 is the latest"):
        training.fit()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]


@pytest.mark.parametrize(
    "ruined, words",
    [("statistics", "A batch-norm statistic at step 4 is no number"), ("loss", "The loss at step 4 is no number")],
)
def test_nothing_that_a_run_could_not_go_on_from_is_saved(photos, tmp_path, monkeypatch, ruined, words):
    """Neither statistics nor a sum of losses that stay no number whatever comes after."""
    changes = {"checkpointing_steps": 1, "checkpoints_total_limit": 1, "logging_steps": 6, "validation_steps": 6}
    training = Training(recipe_of(photos, output_dir=tmp_path, ema_decay=0, **changes))
    take_step = training.take_step

    def ruin(*arguments):
        values = take_step(*arguments)
        if training.progress.step == 3:  # the fourth
            if ruined == "loss":
                return values | {"loss": torch.tensor(math.nan)}
            next(batch_norms(training.bare)).running_var[0] = math.inf
        return values

    monkeypatch.setattr(training, "take_step", ruin)
    with pytest.raises(ColorizerError, match=f"{words}: .*checkpoint-3 is the latest"):
        training.fit()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]


def test_statistics_that_are_measured_anew_end_no_run(photos, tmp_path, monkeypatch):
    training = Training(recipe_of(photos, output_dir=tmp_path, ema_decay=0.9))
    update = training.update

    def ruin(adversary):
        values = update(adversary)
        next(batch_norms(training.bare)).running_var[0] = math.inf
        return values

    monkeypatch.setattr(training, "update", ruin)
    training.fit()
    assert load_model(tmp_path / "model")


@pytest.mark.parametrize("overflowed", [[3], range(6)])
def test_a_step_that_fp16_leaves_out_is_left_out_of_the_means(photos, tmp_path, monkeypatch, overflowed):
    """The scaler takes no step where the loss is no number; only where none is one, the run has failed."""
    training = Training(recipe_of(photos, output_dir=tmp_path, logging_steps=6))
    training.recipe.mixed_precision = "fp16"  # in words alone: a CPU has none
    take_step, losses = training.take_step, []

    def overflow(*arguments):
        values = take_step(*arguments)
        if training.progress.step in overflowed:
            return values | {"loss": torch.tensor(math.inf)}
        losses.append(values["loss"].item())
        return values

    monkeypatch.setattr(training, "take_step", overflow)
    with contextlib.nullcontext() if len(overflowed) == 1 else pytest.raises(ColorizerError, match="The loss at step"):
        training.fit()
        line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
        assert line["step"] == 6 and line["loss"] == pytest.approx(sum(losses) / 5)


def test_means_are_of_the_steps_that_each_process_counts(monkeypatch):
    progress, other = Progress(), ({"loss": 6.0, "labels": 1.0}, {"loss": 2, "labels": 1})
    for loss in (1.0, 2.0, 3.0):
        progress.add({"loss": torch.tensor(loss)})
    monkeypatch.setattr("train.train.gather_object", lambda own: [*own, other])
    assert progress.means() == {"loss": 12 / 5, "labels": 1.0}


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device): make room"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "(os error 28)): make room"),
        (RuntimeError("unexpected pos 576 vs 534"), "(unexpected pos 576 vs 534): make room"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied): mend that"),
        (KeyError("classes"), "(KeyError: 'classes'): mend that"),
    ],
)
def test_room_is_asked_for_where_the_disk_is_full(photos, tmp_path, monkeypatch, error, told):
    training = Training(recipe_of(photos, output_dir=tmp_path, max_train_steps=1))

    def fail(folder):
        raise error

    monkeypatch.setattr(training, "write_model", fail)
    with pytest.raises(ColorizerError) as sentence:
        training.fit()
    before, after = told.split(": m")
    assert f"{before}; there is no earlier one: m{after}, and go on with" in str(sentence.value)


@pytest.fixture
def to_go_on(photos, tmp_path):
    """The recipe of a run in tmp_path that goes on from its checkpoint-1."""
    recipe = recipe_of(photos, output_dir=tmp_path, max_train_steps=1, checkpointing_steps=1)
    train(recipe)
    return dataclasses.replace(recipe, resume_from_checkpoint="latest")


def test_a_run_of_several_processes_does_not_go_on_as_one(to_go_on, tmp_path):
    """DDP's names of the weights are others."""
    saved = tmp_path / "checkpoint-1/state/run.yaml"
    saved.write_text(saved.read_text().replace("processes: 1", "processes: 2"))
    with pytest.raises(ColorizerError, match="was saved by 2 process.* and this run has 1: go on with as many, or"):
        Training(to_go_on)


def test_a_checkpoint_knows_nothing_of_keys_that_came_later(to_go_on, tmp_path, capsys):
    """They had what is now their default, and nothing has changed by that."""
    saved = tmp_path / "checkpoint-1/state/run.yaml"
    text = saved.read_text()
    saved.write_text(text.replace("  freeze_second_embedder: false\n", "").replace("  levels: false\n", ""))
    assert len(saved.read_text()) < len(text) - 40
    capsys.readouterr()
    Training(to_go_on)
    assert "levels" not in capsys.readouterr().out
    with pytest.raises(ColorizerError, match="its freeze_second_embedder is False and this run's True"):
        other = describe_run(dataclasses.replace(to_go_on, freeze_second_embedder=True), "", 1, [])
        check_same_run(tmp_path / "checkpoint-1", other, is_sharded=False)


def test_a_run_does_not_go_on_with_another_network(to_go_on, tmp_path):
    """A name that it started from, such as a bundled one, may mean other weights by then."""
    config = tmp_path / "checkpoint-1/config.json"
    config.write_text(config.read_text().replace('"test_resnet"', '"resnet18"'))
    with pytest.raises(ColorizerError, match="embedder 'resnet18' and this run's has 'test_resnet'"):
        Training(to_go_on)


def test_what_watches_the_run_may_fail(photos, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").mkdir()
    Training(recipe_of(photos, output_dir=tmp_path)).fit()
    assert capsys.readouterr().err.count("metrics and samples cannot be written") == 1
    assert (tmp_path / "model/model.safetensors").is_file()


def test_pictures_are_read_as_photos_are(tmp_path):
    """Upright, though a phone stored them lying."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(data.coffee()).resize((90, 60)).save(tmp_path / "phone.jpg", exif=exif)
    (array,) = load_photographs(tmp_path, 60, smallest=32).arrays
    assert array.shape == (90, 60, 3)


def test_a_class_that_is_wholly_validated_on_leaves_no_labels(photos, tmp_path, capsys):
    """Copies of its pictures are taken out of the training ones, and a loss of no pictures would be no number."""
    for path in sorted(photos.glob("skimage/*/*.png")):
        folder = "class" if path.parent.name == "coffee" else ""
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / folder / f"{path.parent.name}-{path.name}")
    lines = train(
        recipe_of(tmp_path / "data", validation_data_dir=tmp_path / "data/class", output_dir=tmp_path / "run")
    )
    assert "the objective labels is left out" in capsys.readouterr().out
    assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)


def test_what_is_decoded_when_needed_trains_the_same(photos, tmp_path):
    """Also where the averages' batch norm is measured several times, by pictures that are read once."""
    digests = []
    for cache in ("ram", "none"):
        output = tmp_path / cache
        train(recipe_of(photos, output_dir=output, cache=cache, ema_decay=0.5, checkpointing_steps=2))
        digests.append((output / "model/model.safetensors").read_bytes())
    assert digests[0] == digests[1]


def test_the_recipe_of_a_resumed_run_begins_another(photos, tmp_path):
    for steps in (3, 4):
        last = {"resume_from_checkpoint": "latest"} if steps == 4 else {}
        train(recipe_of(photos, output_dir=tmp_path / "one", max_train_steps=steps, **last))
    recipe = parse_recipe(["--recipe", str(tmp_path / "one/recipe.yaml"), "--output_dir", str(tmp_path / "two")])
    assert recipe.resume_from_checkpoint is None and recipe.max_train_steps == 4
    flags = ["--recipe", str(SMOKE), "--train_data_dir", "x", "--resume_from_checkpoint", "null"]
    assert parse_recipe(flags).resume_from_checkpoint is None


@pytest.mark.parametrize("data", ["train_data_dir", "validation_data_dir"])
def test_a_run_inside_of_its_data_is_refused(photos, tmp_path, data):
    shutil.copytree(photos, tmp_path / "photos")
    recipe = recipe_of(photos, **{data: tmp_path / "photos", "output_dir": tmp_path / "photos/runs/mine"})
    with pytest.raises(ColorizerError, match="photos/runs/mine is in .*photos, whose pictures are read: name one be"):
        Training(recipe)


def test_without_classes_the_labels_are_left_out(photos, tmp_path, capsys):
    lines = train(recipe_of(photos, output_dir=tmp_path, min_class_size=100))
    assert "the objective labels is left out" in capsys.readouterr().out
    assert "labels" not in lines[0] and "rebalanced_cross_entropy" in lines[0]


@pytest.mark.parametrize("steps, told", [(20, True), (21, False)])
def test_a_warm_up_of_the_whole_run_is_told(photos, tmp_path, capsys, steps, told):
    Training(recipe_of(photos, output_dir=tmp_path, lr_warmup_steps=20, max_train_steps=steps))
    sentence = (
        "the 20 lr_warmup_steps are no fewer than the 20 steps of the run, so the learning rate comes near "
        "0.001 in the end at best: give some 2\n"
    )
    assert (sentence in capsys.readouterr().out) is told


@pytest.mark.parametrize(
    "capabilities, emulates",
    [
        ({"avx512_bf16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, False),
        ({"neon": True}, False),  # ARM: not known
    ],
)
def test_emulated_bfloat16_is_told(photos, tmp_path, monkeypatch, capsys, capabilities, emulates):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert emulates_bfloat16() is emulates
    training = Training(recipe_of(photos, output_dir=tmp_path))
    for precision in ("no", "bf16"):
        monkeypatch.setattr(type(training.accelerator), "mixed_precision", precision)
        training.say_what_runs()
        told = "slower than --mixed_precision no." in capsys.readouterr().out
        assert told is (emulates and precision == "bf16")


def test_training_lowers_the_loss(photos, tmp_path):
    recipe = recipe_of(photos, output_dir=tmp_path, max_train_steps=40, train_batch_size=8, resolutions="{0.0: 32}")
    lines = [line for line in train(recipe) if "loss" in line]
    assert np.mean([line["loss"] for line in lines[-5:]]) < 0.95 * np.mean([line["loss"] for line in lines[:5]])
    rates = [line["lr"] for line in lines]
    assert rates[0] == pytest.approx(0.0005) and max(rates) > 0.0009 and rates[-1] < 0.0001


def test_cached_embeddings_change_nothing(photos, tmp_path, small_network):
    """A frozen embedder on pictures that are not augmented: its vectors are computed once, with the same result."""
    changes = {
        "model": "{name: fusion_paper, embedder: test_resnet}", "embedder_weights": small_network,
        "freeze_embedder": "true", "augment": "false", "objectives": "{mse: 1}", "hint_share": 0,
        "resolutions": "{0.0: 32}",
    }  # fmt: skip
    plain = train(recipe_of(photos, output_dir=tmp_path / "plain", **changes))
    cached = train(recipe_of(photos, output_dir=tmp_path / "cached", cache_embeddings="true", **changes))
    assert [line["loss"] for line in cached if "loss" in line] == pytest.approx(
        [line["loss"] for line in plain if "loss" in line], rel=1e-4
    )


def test_cached_embeddings_are_of_the_checkpoints_embedder(photos, tmp_path, small_network):
    """Not of other weights that lie at embedder_weights by then, and none need lie there."""
    weights = shutil.copy(small_network, tmp_path / "weights.safetensors")
    changes = {
        "model": "{name: fusion_paper, embedder: test_resnet}", "embedder_weights": weights, "output_dir": tmp_path,
        "freeze_embedder": "true", "augment": "false", "objectives": "{mse: 1}", "hint_share": 0,
        "resolutions": "{0.0: 32}", "cache_embeddings": "true",
    }  # fmt: skip
    before = Training(recipe_of(photos, **changes))
    before.fit()
    save_file({key: value * 2 for key, value in load_file(weights).items()}, weights)
    for _ in range(2):
        resumed = Training(recipe_of(photos, **changes, resume_from_checkpoint="latest"))
        assert torch.allclose(resumed.embeddings, before.embeddings, atol=1e-6)
        weights.unlink(missing_ok=True)


def test_weights_that_bring_their_embedder_leave_out_others(photos, tmp_path, small_network, capsys):
    own = tmp_path / "own"
    create_model("fusion", embedder="test_resnet", width=4).save_pretrained(own)
    recipe = recipe_of(
        photos, output_dir=tmp_path / "run", model="null", pretrained_model_name_or_path=own,
        embedder_weights=small_network, objectives="{mse: 1}", defaults="{}",
    )  # fmt: skip
    Training(recipe)
    assert f"embedder_weights is left out: {own} has an embedder's own" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, listed, shown",
    [
        ("user/photos", ["user/photos"], "user/photos"),
        ("home/parquet", None, "parquet"),
        ("a/*.parquet", None, "*.parquet"),
    ],
)
def test_a_card_names_datasets_of_the_hub_alone(photos, tmp_path, monkeypatch, name, listed, shown):
    """The Hub refuses the card of a model whose dataset is a path, and a relative one may be a stranger's."""
    (tmp_path / "home/parquet").mkdir(parents=True)
    training = Training(recipe_of(photos, output_dir=tmp_path / "run", max_train_steps=1))
    training.fit()
    monkeypatch.chdir(tmp_path)
    training.recipe.dataset_name, training.recipe.train_data_dir = name, []
    write_card(tmp_path / "README.md", training)
    text = (tmp_path / "README.md").read_text()
    front_matter = yaml.safe_load(text.split("---")[1])
    assert front_matter.get("datasets") == listed
    (results,) = front_matter["model-index"][0]["results"]
    assert results["dataset"]["type"] == (name if listed else "imagefolder")
    assert f" of {shown}; " in text and (listed or name not in text)


def test_a_card_tells_on_which_folder_the_model_was_measured(photos, tmp_path):
    """Of a dataset of the Hub nothing was held out where a folder was given."""
    (tmp_path / "held").mkdir()
    for i in range(4):
        shutil.copy(photos / f"skimage/coffee/{i}.png", tmp_path / "held")
    changes = {"validation_data_dir": tmp_path / "held", "max_train_steps": 1}
    training = Training(recipe_of(photos, output_dir=tmp_path / "run", **changes))
    training.fit()
    training.recipe.dataset_name, training.recipe.train_data_dir = "user/photos", []
    write_card(tmp_path / "README.md", training)
    text = (tmp_path / "README.md").read_text()
    front_matter = yaml.safe_load(text.split("---")[1])
    (results,) = front_matter["model-index"][0]["results"]
    assert results["dataset"] == {"name": "held", "type": "imagefolder"}
    assert front_matter["datasets"] == ["user/photos"]
    assert "and so were copies of the 4 pictures of held that the model was validated on." in text
    assert "were held out" not in text and str(tmp_path) not in text


def test_a_card_says_nothing_of_the_machine(photos, tmp_path, monkeypatch):
    training = Training(recipe_of(photos, output_dir=tmp_path / "run", max_train_steps=1))
    training.fit()
    training.recipe.teacher = [str(tmp_path / "first"), "user/second"]
    training.recipe.train_shards = ["https://me:secret@host/photos-{0..9}.tar?key=secret"]
    words = ["--train_data_dir", str(photos), f"--output_dir={tmp_path / 'run'}", "--model", "{name: fusion}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "--train_shards", *training.recipe.train_shards])
    write_card(tmp_path / "README.md", training)
    text = (tmp_path / "README.md").read_text()
    assert str(tmp_path) not in text and str(photos.parent) not in text and "secret" not in text
    command = (
        f"--train_data_dir {photos.name} --output_dir=run --model '{{name: fusion}}' --train_shards 'https://host/"
    )
    assert command in text
    settings = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    assert settings["teacher"] == ["first", "user/second"]
    assert settings["train_shards"] == ["https://host/photos-{0..9}.tar"]
    assert settings["learning_rate"] == training.recipe.learning_rate


def test_a_frozen_embedder_is_saved_as_it_was_given(photos, tmp_path, small_network):
    """Also its batch norm's statistics, which those of the averaged weights are measured anew beside."""
    recipe = recipe_of(
        photos, output_dir=tmp_path, model="{name: fusion, embedder: test_resnet, width: 4}", ema_decay=0.9,
        embedder_weights=small_network, freeze_embedder="true", objectives="{mse: 1}", resolutions="{0.0: 64}",
    )  # fmt: skip
    training = Training(recipe)
    given = {key: value.clone() for key, value in training.model.embedder.state_dict().items()}
    own = training.model.encoder[0][0][1].running_mean.clone()
    training.fit()
    saved = training.finished_model()
    assert any("running_mean" in key for key in given)
    assert all(torch.equal(value, given[key]) for key, value in saved.embedder.state_dict().items())
    assert not torch.equal(saved.encoder[0][0][1].running_mean, own)


def test_the_first_stages_are_saved_as_they_were_given(photos, tmp_path):
    """And the statistics of all."""
    create_model("fusion", **TINY, second_embedder="test_efficientnet").save_pretrained(tmp_path / "start")
    recipe = recipe_of(
        photos, output_dir=tmp_path / "run", model="null", pretrained_model_name_or_path=tmp_path / "start",
        second_embedder_stages=2, second_embedder_rate=0.5, ema_decay=0.9, resolutions="{0.0: 64}",
    )  # fmt: skip
    training = Training(recipe)
    given = {key: value.clone() for key, value in training.model.second_embedder.state_dict().items()}
    training.fit()
    saved = training.finished_model().second_embedder.state_dict()
    changed = {key for key, value in saved.items() if not torch.equal(value, given[key])}
    learning = {key for key, value in training.model.second_embedder.named_parameters() if value.requires_grad}
    assert changed == learning and 0 < len(learning) < len(dict(training.model.second_embedder.named_parameters()))


def test_only_the_parts_that_are_named_learn(photos, tmp_path):
    """And the statistics of the others are as they were given."""
    start = create_model("fusion", **TINY, attention_blocks=1, attention_for_hints=True)
    start.save_pretrained(tmp_path / "start")
    recipe = recipe_of(
        photos, output_dir=tmp_path / "run", model="null", pretrained_model_name_or_path=tmp_path / "start",
        ema_decay=0.9, resolutions="{0.0: 64}", hint_share=1, objectives="{rebalanced_cross_entropy: 1}",
    )  # fmt: skip
    recipe = dataclasses.replace(recipe, learning_parts=["attention", "head"])
    training = Training(recipe)
    given = {key: value.clone() for key, value in training.model.state_dict().items()}
    training.fit()
    saved = training.finished_model().state_dict()
    changed = {key for key, value in saved.items() if not torch.equal(value, given[key])}
    learned = {key.partition(".")[0] for key in changed}
    assert learned == {"attention", "head"} and any("running_mean" in key for key in changed)
    weights = {key for key, _ in training.model.named_parameters() if key.startswith(("attention.", "head."))}
    assert weights - changed <= {key for key in weights if "qkv.bias" in key}  # of the keys' one the softmax hears not
    both = Trainee(start, learning_parts=["attention"], embedding_dropout=0.5).train()
    assert both.colorizer.dropout.training and not both.colorizer.decoder.training
    with pytest.raises(ColorizerError, match="learns nothing without them: raise hint_share"):
        Training(dataclasses.replace(recipe, learning_parts=["attention"], hint_share=0.0))
    with pytest.raises(
        ColorizerError, match="no part 'wings' .*: its learning_parts can be attention, decoder, .*head"
    ):
        Trainee(start, learning_parts=["wings"])


def test_adversarial_phase_comes_late(photos, tmp_path, small_network):
    recipe = recipe_of(
        photos, output_dir=tmp_path, max_train_steps=8, adversarial_from=0.5, critic_warmup_steps=2,
        objectives="{rebalanced_cross_entropy: 1, perceptual: 0.1, colorfulness: 0.1, adversarial: 0.1}",
        perceptual_network="test_resnet", perceptual_weights=small_network, resolutions="{0.0: 64}",
    )  # fmt: skip
    training = Training(recipe)
    steps, seen, before = training.steps(), [], None
    for number in range(8):
        values = next(steps)
        training.progress.step += 1
        seen.append(("critic" in values, "adversarial" in values))
        if number == 3:
            before = [value.clone() for value in training.model.parameters()]
        if number == 5:  # the critic has learned, and the colors have gone on meanwhile
            assert not all(torch.equal(a, b) for a, b in zip(before, training.model.parameters(), strict=True))
    assert seen == [(False, False)] * 4 + [(True, False)] * 2 + [(True, True)] * 2


def test_a_dry_run_tries_the_critic_too(photos, tmp_path, monkeypatch):
    """Which comes in the last part of the run, and takes the most memory."""
    tried = []
    learn = Training.learn

    def learned(self, inputs, parts, adversary):
        tried.append((inputs["lightness"].shape[-1], adversary))
        return learn(self, inputs, parts, adversary)

    monkeypatch.setattr(Training, "learn", learned)
    recipe = recipe_of(
        photos, output_dir=tmp_path, objectives="{mse: 1, adversarial: 0.1}", adversarial_from=0.75,
        resolutions="{0.0: 32, 0.5: 64}", max_train_steps=40, critic_warmup_steps=2,
    )  # fmt: skip
    recipe.dry_run = True
    Training(recipe).dry_run()
    assert tried == [(32, None)] * 2 + [(64, None)] * 2 + [(64, "judges")] * 2


def test_a_variable_of_the_launcher_divides_no_gradient(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    accelerator = make_accelerator(recipe_of(photos, gradient_accumulation_steps=2), tmp_path)
    weight = torch.ones(1, requires_grad=True)
    accelerator.backward(3 * weight.sum())
    assert weight.grad.item() == 3


@pytest.mark.parametrize("flag, name", [("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")])
def test_launchers_that_it_does_not_run_under(photos, tmp_path, monkeypatch, flag, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{flag}", "true")
    with pytest.raises(ColorizerError, match=f"^The trainer does not run under {name}: launch it with --multi_gpu"):
        Training(recipe_of(photos, output_dir=tmp_path))


def test_pictures_that_do_not_fit_on_the_device(photos, tmp_path, monkeypatch):
    class Full(torch.Tensor):
        def to(self, *args, **options):
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("train.data.torch.from_numpy", lambda array: torch.as_tensor(array).as_subclass(Full))
    with pytest.raises(
        ColorizerError, match="^The decoded pictures need 0.0 GB on each device, .* or give cache: ram"
    ):
        Training(recipe_of(photos, output_dir=tmp_path, cache="device"))


def test_fine_tuning_starts_from_the_weights(photos, tmp_path, tiny_folder, tiny_model):
    recipe = recipe_of(photos, output_dir=tmp_path, pretrained_model_name_or_path=tiny_folder, model="null")
    training = Training(recipe)
    for ours, theirs in zip(training.model.parameters(), tiny_model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)  # float16 on disk
    with pytest.raises(ColorizerError, match="has width 4 and the recipe wants 8"):
        Training(recipe_of(photos, pretrained_model_name_or_path=tiny_folder, model="{name: fusion, width: 8}"))


def test_a_classifier_is_trained_by_the_same_trainer(photos, tmp_path):
    recipe = recipe_of(
        photos, output_dir=tmp_path, model="{name: classifier, network: test_resnet, size: 32}", max_train_steps=60,
        train_batch_size=8, hint_share=0, ema_decay=0.9, learning_rate=0.003,
    )  # fmt: skip
    lines = train(recipe)
    assert lines[-1]["validation_accuracy"] > 0.6  # by chance: a third
    model = Training(recipe_of(photos, output_dir=tmp_path / "b", pretrained_model_name_or_path=tmp_path / "model",
                               model="null", hint_share=0)).model  # fmt: skip
    assert model.config["classes"] == ["skimage/astronaut", "skimage/chelsea", "skimage/coffee"]


def test_a_model_that_could_not_be_loaded_is_not_trained(photos, tmp_path, monkeypatch):
    """Neither more classes nor longer names nor larger files than load_model takes."""
    long = tmp_path / "photos" / ("s" * 120) / ("c" * 81)
    shutil.copytree(photos / "skimage/coffee", long)
    shutil.copytree(photos / "skimage/chelsea", tmp_path / "photos/chelsea")
    changes = {"output_dir": tmp_path / "run", "model": "{name: classifier, network: test_resnet, size: 32}"}
    changes |= {"hint_share": 0}
    with pytest.raises(ColorizerError, match="class 's{40}'... has a name of 202 characters, and 200 are the most"):
        Training(recipe_of(tmp_path / "photos", **changes))
    monkeypatch.setattr("train.train.MAX_NAMES", 2)
    with pytest.raises(ColorizerError, match="There are 3 classes, and a model has 2 at most: raise min_class_size"):
        Training(recipe_of(photos, **changes))
    monkeypatch.setattr("train.train.FILES", {"model.safetensors": 20_000})
    with pytest.raises(ColorizerError, match="weights would take [0-9.]+ MB, and 0 MB are the most that load_model"):
        Training(recipe_of(photos, output_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [0, 1])
def test_what_the_trainer_takes_is_what_load_model_takes(tmp_path, monkeypatch, more):
    """To the last name, its last letter and the last byte but for the file's header."""
    small = {"network": "test_resnet", "size": 32}
    for classes in ([f"n{i}" for i in range(MAX_NAMES + more)], ["n" * (LONGEST_NAME + more), "m"]):
        model = create_model("classifier", classes=classes, **small)
        model.save_pretrained(tmp_path)
        for check in (lambda model=model: check_loadable(model), lambda: load_model(tmp_path)):
            with pytest.raises(ColorizerError) if more else contextlib.nullcontext():
                check()
    content = (tmp_path / "model.safetensors").read_bytes()
    size = len(content) - 8 - int.from_bytes(content[:8], "little")
    model = create_model("classifier", classes=["n", "m"], **small)
    monkeypatch.setattr("train.train.FILES", {"model.safetensors": size - more})
    with pytest.raises(ColorizerError) if more else contextlib.nullcontext():
        check_loadable(model)


@pytest.fixture(scope="module")
def shards(photos, tmp_path_factory):
    """The photos as two webdataset shards."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for path in sorted(photos.rglob("*.png"))[shard::2]:
                tar.add(path, arcname=f"{path.parent.name}-{path.name}")
    return folder


@pytest.mark.parametrize("kind", ["stream", "adversarial", "aging", "dropout"])
def test_resumed_equals_left_alone_for_all_kinds(photos, shards, small_network, tiny_folder, tmp_path, kind):
    """From the checkpoint in the middle on, in another folder, to the same bits (SIGKILL: tests/integration)."""
    if kind == "stream":
        changes = {"train_shards": shards / "{0..1}.tar", "objectives": "{rebalanced_cross_entropy: 1}"}
    elif kind == "dropout":  # which the networks draw themselves
        model = "{name: fusion, embedder: ghostnet_050, embedder_size: 64, width: 4, decoder_widths: [8, 8, 8]}"
        changes = {"train_data_dir": photos, "model": model, "embedding_dropout": 0.3}
    elif kind == "aging":
        changes = {"train_data_dir": photos, "aging": 0.7, "documents": 0.3, "levels": True, "teacher": tiny_folder}
    else:
        changes = {
            "train_data_dir": photos, "objectives": "{rebalanced_cross_entropy: 1, mse: 1, adversarial: 0.1}",
            "adversarial_from": 0.3, "critic_warmup_steps": 2,
        }  # fmt: skip

    def run(output, **more):
        flags = {"recipe": SMOKE, "output_dir": tmp_path / output, "dataloader_num_workers": 0, **changes, **more}
        Training(parse_recipe([part for key, value in flags.items() for part in (f"--{key}", str(value))])).fit()
        return (tmp_path / output / "model/model.safetensors").read_bytes()

    alone = run("alone")
    assert run("resumed", resume_from_checkpoint=tmp_path / "alone/checkpoint-3") == alone
    assert run("again", seed=1) != alone
    if kind == "dropout":
        assert run("told-all", embedding_dropout=0) != alone
        assert run("watched", validation_steps=2) == alone


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": "{name: fusion_paper, embedder: test_resnet}"}, "needs a model with a distribution"),
        ({"model": "{name: fusion, wings: 2}"}, "cannot be built"),
        ({"model": "{name: fusion, embedder: nonsense}"}, "plain timm architecture"),
        ({"model": "{name: perfection}"}, "no model 'perfection'"),
        ({"train_batch_size": "64"}, "fewer than the 64 of one step"),
        ({"objectives": "{mse: 1, adversarial: 1}"}, "never judge: it comes in after 5 of 6 steps and learns for 200"),
        ({"defaults": "{brightness: 3}"}, "The recipe: the defaults"),
        ({"defaults": "{working_size: -3}"}, "The recipe: the default working_size"),
        ({"defaults": "{temperature: null}"}, "default temperature must be a number"),
        ({"model": "{name: fusion, width: -4}"}, "width must be a whole number, 1 or more, not -4"),
        (
            {"model": "{name: fusion, embedder: vit_tiny_patch16_224, embedding: maps, width: 4}"},
            "cannot be trained on .* at 32 pixels",  # it takes 224 alone
        ),
        (
            {"model": "{name: fusion, embedder: inception_resnet_v2, width: 4}", "gradient_checkpointing": "true"},
            "The embedder inception_resnet_v2 cannot recompute its activations",
        ),
        ({"train_batch_size": "1", "resolutions": "{0: 32}"}, "cannot be trained on batches of 1 at 32 pixels"),
        ({"output_dir": "pyproject.toml"}, "cannot be written to"),
        ({"resume_from_checkpoint": "latest"}, "There is no checkpoint in"),
        ({"resume_from_checkpoint": "elsewhere"}, "elsewhere is no checkpoint"),
        ({"model": "{name: fusion, hints: false, embedder: resnet18, width: 4}"}, "takes no hints"),
        ({"teacher": "nobody"}, "There is no model 'nobody'"),
        (
            {"model": "{name: color_autoencoder, widths: [8], latent: 4}", "objectives": "{mse: 1}", "aging": "0.5"}
            | {"hint_share": 0},
            "colors no photographs",
        ),
        (
            {"model": "{name: cifar_autoencoder, widths: [8], latent: 4}", "objectives": "{mse: 1}", "levels": "true"}
            | {"hint_share": 0, "defaults": "{temperature: null}", "resolutions": "{0: 32}"},
            "colors thumbnails, whose levels the pipeline leaves as they are: leave out levels",
        ),
        ({"push_to_hub": "true", "hub_model_id": "user/repo"}, "needs a token"),
    ],
)
def test_what_a_person_may_get_wrong_is_one_sentence(photos, tmp_path, changes, words):
    with pytest.raises(ColorizerError, match=words) as error:
        Training(recipe_of(photos, **{"output_dir": tmp_path, **changes}))
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_recipe_is_refused(photos, tmp_path):
    train(recipe_of(photos, output_dir=tmp_path, max_train_steps=3))
    with pytest.raises(ColorizerError, match="its ema_decay is 0.5 and this run's 0.9"):
        Training(recipe_of(photos, output_dir=tmp_path, ema_decay=0.9, resume_from_checkpoint="latest"))
    with pytest.raises(ColorizerError, match="holds an earlier run"):
        Training(recipe_of(photos, output_dir=tmp_path))
    with pytest.raises(ColorizerError, match="was trained on other pictures"):
        Training(recipe_of(photos, output_dir=tmp_path, max_train_samples=20, resume_from_checkpoint="latest"))
    for folder in ("coffee", "chelsea"):
        (tmp_path / "fewer" / folder).mkdir(parents=True)
        for path in (photos / "skimage" / folder).iterdir():
            (tmp_path / "fewer" / folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ColorizerError, match="was trained on other pictures"):
        Training(recipe_of(tmp_path / "fewer", output_dir=tmp_path, resume_from_checkpoint="latest"))


def test_what_has_changed_since_a_checkpoint_is_used(photos, tmp_path, small_network, monkeypatch):
    """The optimizers' states bring what they had before."""
    objectives = "{mse: 1, adversarial: 0.1}"
    flags = {"output_dir": tmp_path, "objectives": objectives, "adversarial_from": 0.5, "critic_warmup_steps": 1}
    train(recipe_of(photos, max_train_steps=4, **flags))
    flags |= {"resume_from_checkpoint": "latest", "weight_decay": 0.5, "critic_learning_rate": 1e-5}
    training = Training(recipe_of(photos, max_train_steps=6, **flags))
    assert [group["weight_decay"] for group in training.optimizer.param_groups] == [0.5, 0.0]
    assert [group["lr"] for group in training.critic_optimizer.param_groups] == [1e-5]
    # Of a checkpoint without fp16 the scaler is none that could be gone on with.
    scaler = training.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    training.load_state(tmp_path / "checkpoint-4")
    assert training.accelerator.scaler is scaler and scaler.get_scale() == 8


def test_a_finished_model_is_not_written_over_by_a_new_run(photos, tmp_path):
    train(recipe_of(photos, output_dir=tmp_path, max_train_steps=2))
    for checkpoint in tmp_path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)  # to have room again
    before = (tmp_path / "metrics.jsonl").read_bytes(), (tmp_path / "model/model.safetensors").read_bytes()
    with pytest.raises(ColorizerError, match="holds the model of an earlier run, which this one would replace: move"):
        Training(recipe_of(photos, output_dir=tmp_path))
    assert before == ((tmp_path / "metrics.jsonl").read_bytes(), (tmp_path / "model/model.safetensors").read_bytes())


def test_a_card_that_a_person_has_made_theirs_stays(photos, tmp_path):
    train(recipe_of(photos, output_dir=tmp_path, max_train_steps=2))
    card = tmp_path / "model/README.md"
    for change, stays in ((f"{RUN_MARK}\nMine.", False), ("license: mit\nMine.", True)):
        card.write_text(change)
        train(recipe_of(photos, output_dir=tmp_path, max_train_steps=2, resume_from_checkpoint="latest"))
        assert (card.read_text() == change) == stays and ("max_train_steps" in card.read_text()) != stays


def test_what_follows_the_last_checkpoint_can_be_broken_off(photos, tmp_path, monkeypatch):
    """A long upload, say; until then a signal has a checkpoint saved."""
    theirs = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []
    for name in ("take_step", "finish"):
        make = getattr(Training, name)

        def watched(training, *args, make=make):
            seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
            return make(training, *args)

        monkeypatch.setattr(Training, name, watched)
    training = Training(recipe_of(photos, output_dir=tmp_path, max_train_steps=1))
    training.fit()
    assert seen == [[training.ask_to_stop] * 2, theirs]


# ---------------------------------------------------------------------------------------------------- as a script


def run(*command, cwd, **env):
    """A command of the repository, from another folder, with the package not installed but beside the script."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        text=True,
    )


def test_explains_itself_from_anywhere(tmp_path):
    result = run(ROOT / "train/train.py", "--help", cwd=tmp_path)
    assert result.returncode == 0 and "usage:" in result.stdout and "--resume_from_checkpoint" in result.stdout


def test_a_mistake_is_one_sentence_and_exit_code_2(as_script, tmp_path):
    flags = ["--train_data_dir", tmp_path / "nothing", "--output_dir", tmp_path / "run"]
    result = as_script(ROOT / "train/train.py", "--recipe", SMOKE, *flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "train.py: " in result.stderr and "nothing" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_benchmark_of_a_step_tells_mistakes_as_the_trainer(as_script, tmp_path):
    script = ROOT / "benchmarks/train_step.py"
    here = as_script(script, "--steps", 0)
    process = run(script, "--recipe", SMOKE, "--train_data_dir", "nothing", cwd=tmp_path)
    for result, sentence in (
        (here, "--steps must be 1 or more, not 0."),
        (process, "nothing does not exist; give a folder of pictures."),
    ):
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert result.stderr.endswith(f"train_step.py: {sentence}\n")


def test_dry_runs_side_by_side(photos, tmp_path):
    """Of one shell; each has a folder of its own, and neither leaves it."""
    command = [sys.executable, str(ROOT / "train/train.py"), "--recipe", str(SMOKE), "--dry_run"]
    command += ["--train_data_dir", str(photos), "--output_dir", str(tmp_path / "run")]
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    both = [subprocess.Popen(command, env=env, stdout=-1, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert not list(tmp_path.glob("colorizer-dry-run-*")) and not (tmp_path / "run").exists()


def test_a_dry_run_looks_at_the_place_for_the_run(photos, as_script, tmp_path):
    (tmp_path / "file").touch()
    flags = ("--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "file/run", "--dry_run")
    result = as_script(ROOT / "train/train.py", *flags)
    assert result.returncode == 2 and "cannot be written to" in result.stderr


def test_a_cpu_refuses_fp16(photos, as_script, tmp_path):
    """accelerate would train in float32 and call it fp16."""
    flags = ("--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "run")
    result = as_script(ROOT / "train/train.py", *flags, "--mixed_precision", "fp16")
    assert result.returncode == 2
    assert result.stderr.endswith(
        "train.py: mixed_precision fp16 needs a GPU, and there is none here: give bf16 or no.\n"
    )

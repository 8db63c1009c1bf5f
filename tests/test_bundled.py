"""The bundled models on pictures that they never saw: the few facts that a person would check."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer import ColorizationPipeline, ColorizerError, Hint, Photo, load_model
from colorizer.color import rgb_to_lab
from colorizer.drawing import draw_digits
from colorizer.hub import DEFAULT_MODEL, WEIGHTS, bundled_models
from colorizer.metrics import colorfulness
from colorizer.models.mnist import painting_accuracy
from train.examine import GRAY_PHOTOS, aged_versions, gray_pictures
from train.sources import list_items

NAMES = ("astronaut", "coffee", "rocket")


@pytest.fixture(scope="module")
def pipe():
    return ColorizationPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def colored(pipe):
    """name -> the photograph, reduced to gray and colored, sRGB (3, H, W) in 0..1."""
    photos = [Image.fromarray(getattr(data, name)()).convert("L") for name in NAMES]
    return {name: to_tensor(photo) for name, photo in zip(NAMES, pipe(photos), strict=True)}


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def mean_ab(rgb, top, bottom, left, right):
    return rgb_to_lab(rgb)[1:, top:bottom, left:right].mean((1, 2)).tolist()


def test_skin_is_warm(colored):
    a, b = mean_ab(colored["astronaut"], 90, 160, 195, 250)  # the face
    assert a > 3 and b > 5


def test_wood_is_warm(colored):
    a, b = mean_ab(colored["coffee"], 320, 390, 20, 120)  # the table
    assert a > 0 and b > 5


@pytest.mark.parametrize("name", NAMES)
def test_neither_gray_nor_neon(colored, name):
    assert 8 < colorfulness(colored[name][None]).item() < 80


@pytest.mark.parametrize("mark", ["faded", "JPEG 25", "sepia"])
@pytest.mark.parametrize("name", ["astronaut", "rocket"])
def test_some_marks_of_age_change_no_hues(pipe, colored, name, mark):
    """Fading is no haze, and a toned print has no tone: about the colors of the photograph without it."""
    gray = np.asarray(Image.fromarray(getattr(data, name)()).convert("L"))
    old = rgb_to_lab(to_tensor(pipe(Image.fromarray(aged_versions(gray, seed=0)[mark])).convert("RGB")))[1:]
    clean = rgb_to_lab(colored[name])[1:]
    assert (old.mean((1, 2)) - clean.mean((1, 2))).norm() < 12
    assert old.flatten(1).std(1).max() > 4


def test_pages_and_drawings_stay_gray(pipe):
    chroma = {
        name: rgb_to_lab(to_tensor(pipe(picture).convert("RGB")))[1:].norm(dim=0).mean().item()
        for name, picture in gray_pictures().items()
        if name not in GRAY_PHOTOS
    }
    assert len(chroma) == 7 and max(chroma.values()) < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_no_cast(colored, name):
    """Not one tint over everything: hues differ from place to place."""
    assert rgb_to_lab(colored[name])[1:].flatten(1).std(1).max() > 4


def test_dials_go_the_way_they_say(pipe):
    coloring = pipe.prepare(Photo.from_pil(Image.fromarray(data.astronaut())))
    vivid = [colorfulness(to_tensor(coloring.render(c).to_pil())[None]).item() for c in (0, 0.5, 1, 1.5)]
    assert vivid == sorted(vivid) and vivid[0] < 1
    bold = [colorfulness(to_tensor(coloring.render(temperature=t).to_pil())[None]).item() for t in (2, 0.5)]
    assert bold[0] < bold[1]


def test_a_hint_colors_its_place_and_not_the_frame(pipe):
    coloring = pipe.prepare(Photo.from_pil(Image.fromarray(data.astronaut())))
    before, after = (
        rgb_to_lab(to_tensor(c.render().to_pil()))
        for c in (coloring, coloring.with_hints([Hint(x=110, y=380, a=10, b=-50, radius=8)]))  # on the suit
    )
    change = (after - before)[1:].norm(dim=0)
    there = change[370:390, 100:120].mean()
    assert there > 15
    assert (after - before)[2, 370:390, 100:120].mean() < -10  # towards blue, as asked
    assert change[:60, 440:].mean() < 0.4 * there  # the far corner


def test_confidence_is_a_share(pipe):
    result = pipe(Image.fromarray(data.coffee()), return_dict=True)
    confidence = result["confidence"]
    assert 0 <= confidence.min() < confidence.max() <= 1


# ---------------------------------------------------------------------------------------------------- the ladder

LADDER = [name for name in bundled_models() if name != DEFAULT_MODEL]
# The least share of ink painted right: of MNIST's test digits where COLORIZER_MNIST names their folder, of drawn ones.
DIGITS = {"mnist_linear": (0.89, 0.45), "mnist_cnn": (0.96, 0.7), "mnist_cnn_bn": (0.96, 0.6)}


def test_the_ladder_comes_along_and_is_small():
    of_the_ladder = {"alpha", "beta", "plain_autoencoder", "cifar_autoencoder", "color_autoencoder", "two_stage"}
    assert of_the_ladder | set(DIGITS) <= set(LADDER)
    sizes = {name: (WEIGHTS / name / "model.safetensors").stat().st_size for name in bundled_models()}
    assert sum(sizes[name] for name in LADDER) < 8e6
    assert sizes[DEFAULT_MODEL] < 30e6


@pytest.mark.parametrize("name", LADDER)
def test_a_model_of_the_ladder_colors(name):
    """A photo, as the page would hand it over; an autoencoder is refused in one sentence, and rebuilds colors."""
    model = load_model(name)
    photo = Image.fromarray(data.chelsea())
    if model.kind == "autoencoder":
        with pytest.raises(ColorizerError, match="colors nothing"):
            ColorizationPipeline(model)
        truth = to_tensor(photo.resize((32, 32), Image.Resampling.BOX))[None]
        with torch.no_grad():
            rebuilt = model(truth)
        assert (rebuilt - truth).square().mean() < 0.25 * (truth - truth.mean((2, 3), keepdim=True)).square().mean()
        return
    colored = to_tensor(ColorizationPipeline(model, "cpu")(photo))
    assert colored.shape == (3, *data.chelsea().shape[:2])
    assert colorfulness(colored[None]).item() > 2
    if model.domain == "photos" and name != "alpha":  # a cat is brown, even to the simplest of them
        assert rgb_to_lab(colored)[2].mean() > 0.5


def digits_to_color():
    """Gray digits (N, 1, 28, 28) in 0..1, their classes, and whether they are MNIST's."""
    if folder := os.environ.get("COLORIZER_MNIST"):
        items = list_items([folder], part="test")
        pictures = np.stack([item.read() for item in items])
        return torch.from_numpy(pictures)[:, None] / 255, torch.tensor([int(item.label) for item in items]), True
    labels = list(range(10)) * 20
    return torch.from_numpy(draw_digits(labels))[:, None] / 255, torch.tensor(labels), False


@pytest.mark.parametrize("name", DIGITS)
def test_digits_are_painted_in_their_colors(name):
    gray, digit, is_mnist = digits_to_color()
    lightness = rgb_to_lab(gray.expand(-1, 3, -1, -1))[:, :1]
    model = load_model(name)
    with torch.no_grad():
        painted = torch.cat([model(part) for part in lightness.split(500)])
    assert painting_accuracy(painted, gray, digit).mean() > DIGITS[name][0 if is_mnist else 1]

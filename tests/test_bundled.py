"""The bundled model on photographs that it never saw: the few facts that a person would check."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer import ColorizationPipeline, Hint, Photo
from colorizer.color import rgb_to_lab
from colorizer.metrics import colorfulness

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
    assert 8 < colorfulness(colored[name][None]).item() < 70


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

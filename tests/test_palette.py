"""The colors of a reference, by hand and on a picture of scikit-image."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer import Palette, Photo
from colorizer.color import AbBins, ab_bin_centers, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.palette import BANDS, bands_of, led_to, leveled

RED, BLUE = (180, 60, 60), (60, 60, 180)


def halves(left, right, size=(60, 40)) -> np.ndarray:
    picture = np.empty((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2], picture[:, size[0] // 2 :] = left, right
    return picture


def share_near(palette: Palette, rgb) -> float:
    """The share of a palette within 15 Lab units of a color."""
    ab = rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255)[1:, 0, 0]
    return palette.shares[:, (ab_bin_centers() - ab).norm(dim=1) < 15].sum().item()


def shares_of(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.softmax(logits / temperature, dim=1).mean((0, 2, 3))


def test_the_shares_are_those_of_the_picture():
    palette = Palette.of(Photo(halves(RED, BLUE)))
    assert palette.shares.shape == (BANDS, len(AbBins())) and palette.shares.sum() == pytest.approx(1)
    assert share_near(palette, RED) == pytest.approx(0.5, abs=0.01)
    assert share_near(palette, BLUE) == pytest.approx(0.5, abs=0.01)
    assert share_near(palette, (60, 180, 60)) == 0
    bright, dark = palette.shares[-1], palette.shares[0]  # red is the lighter of the two
    red, blue = (rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255)[1:, 0, 0] for rgb in (RED, BLUE))
    nearest = [((ab_bin_centers() - ab).norm(dim=1)).argmin() for ab in (red, blue)]
    assert bright[nearest[0]] > 0.1 > 1e-6 > dark[nearest[0]] and dark[nearest[1]] > 0.1 > 1e-6 > bright[nearest[1]]


def test_a_large_photo_of_16_bits_has_the_palette_of_a_small_one():
    small = Palette.of(Photo(data.astronaut()))
    large = Palette.of(Photo.from_pil(Image.fromarray(data.astronaut()).resize((1536, 1536))))
    deep = Palette.of(Photo(data.astronaut().astype(np.uint16) * 257))
    assert (small.shares - large.shares).abs().sum() < 0.05
    assert (small.shares - deep.shares).abs().sum() < 0.01


def test_what_is_transparent_does_not_count():
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    palette = Palette.of(Photo(halves(RED, BLUE), alpha=alpha))
    assert share_near(palette, RED) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "photo",
    [
        Photo(data.camera(), name="old.png"),
        Photo(np.repeat(data.camera()[..., None], 3, axis=2), name="old.png"),
        Photo(halves(RED, BLUE), alpha=np.zeros((40, 60), np.uint8), name="old.png"),
    ],
    ids=["gray", "gray in three channels", "transparent"],
)
def test_a_reference_without_color(photo):
    with pytest.raises(ColorizerError, match="^old.png is gray: a reference shows"):
        Palette.of(photo)


def test_exposure_is_left_out():
    lightness = torch.linspace(0, 100, 500)
    assert torch.allclose(leveled(lightness), leveled(20 + 0.5 * lightness), atol=1e-3)
    assert leveled(torch.full((9,), 40.0)).isfinite().all()
    assert torch.allclose(bands_of(lightness).sum(1), torch.ones(500), atol=1e-5)


@pytest.fixture
def guess():
    """A distribution that holds red for a little likelier than blue on the left, and less likely on the right."""
    torch.manual_seed(0)
    bins = AbBins()
    index = [int((bins.centers - torch.tensor(ab)).norm(dim=1).argmin()) for ab in ((50.0, 30.0), (20.0, -60.0))]
    logits = torch.full((1, len(bins), 20, 30), -6.0)
    logits[:, index] = torch.tensor([1.0, 0.5])[:, None, None]
    logits[:, index, :, 15:] = torch.tensor([0.5, 1.0])[:, None, None]
    return logits + 0.1 * torch.randn_like(logits), index, torch.rand(1, 1, 20, 30) * 100


def test_likeness_is_what_the_picture_gets(guess):
    """0 changes nothing, 1 gives the reference's shares, and in between there is a share of both."""
    logits, index, lightness = guess
    palette = Palette.of(Photo(halves(RED, RED)))  # hardly the same red as the guess's
    palette.shares.zero_()[:, index[0]] = 0.9 / BANDS
    palette.shares[:, index[1]] = 0.1 / BANDS
    before = shares_of(logits, 0.6)[index]
    assert torch.allclose(led_to(palette, 0.0, logits, lightness, 0.6), logits, atol=1e-4)
    whole = shares_of(led_to(palette, 1.0, logits, lightness, 0.6), 0.6)[index]
    assert whole.tolist() == pytest.approx([0.9, 0.1], abs=0.02)
    half = shares_of(led_to(palette, 0.5, logits, lightness, 0.6), 0.6)[index]
    assert half.tolist() == pytest.approx(((before + torch.tensor([0.9, 0.1])) / 2).tolist(), abs=0.02)


def test_a_color_goes_where_it_is_likeliest(guess):
    logits, index, lightness = guess
    palette = Palette.of(Photo(halves(RED, BLUE)))
    palette.shares.zero_()[:, index] = 0.5 / BANDS
    odds = torch.softmax(led_to(palette, 1.0, 4 * logits, lightness, 0.6) / 0.6, dim=1)[0, index]
    assert odds[0, :, :15].mean() > 0.9 and odds[1, :, 15:].mean() > 0.9


def test_each_lightness_has_its_own_colors(guess):
    """Of the same two colors, red in the light and blue in the dark where the reference has them so."""
    logits, index, _ = guess
    lightness = torch.zeros(1, 1, 20, 30)
    lightness[..., :10, :] = 100
    palette = Palette.of(Photo(halves(RED, BLUE)))
    palette.shares.zero_()
    palette.shares[-1, index[0]] = palette.shares[0, index[1]] = 0.5
    odds = torch.softmax(led_to(palette, 1.0, logits, lightness, 0.6) / 0.6, dim=1)[0, index]
    assert odds[0, :10].min() > 0.8 and odds[1, 10:].min() > 0.8


def test_what_the_network_rules_out_stays_out(guess):
    logits, index, lightness = guess
    palette = Palette.of(Photo(halves((60, 180, 60), (60, 180, 60))))
    impossible = logits.clone()
    impossible[:, [k for k in range(logits.shape[1]) if k not in index]] = -40.0
    led = led_to(palette, 1.0, impossible, lightness, 0.6)
    assert led.isfinite().all() and shares_of(led, 0.6)[index].sum() > 0.99


def test_many_places_are_led_as_few_are():
    """The weights are found on some of the places of a large grid."""
    torch.manual_seed(0)
    small = torch.randn(1, len(AbBins()), 24, 32) * 2
    lightness = torch.rand(1, 1, 24, 32) * 100
    palette = Palette.of(Photo(data.astronaut()))
    large = (part.repeat_interleave(4, 2).repeat_interleave(4, 3) for part in (small, lightness))
    here = shares_of(led_to(palette, 0.8, small, lightness, 0.6), 0.6)
    there = shares_of(led_to(palette, 0.8, *large, 0.6), 0.6)
    assert (here - there).abs().sum() < 0.05

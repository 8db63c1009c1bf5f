import numpy as np
import pytest
import skimage.color
import torch

from colorizer.color import AB_LIMIT, AbBins, ab_bin_centers, lab_to_rgb, rgb_to_lab
from colorizer.errors import ColorizerError


@pytest.fixture(scope="module")
def cube():
    """The sRGB cube with 52 levels a channel, corners included, as one picture (3, 52, 2704)."""
    level = torch.linspace(0, 1, 52)
    return torch.stack(torch.meshgrid(level, level, level, indexing="ij")).reshape(3, 52, -1)


def test_lab_equals_scikit_image(cube):
    reference = skimage.color.rgb2lab(cube.double().numpy(), channel_axis=0)
    assert np.abs(rgb_to_lab(cube).numpy() - reference).max() < 1e-3


def test_lab_of_every_gray_equals_scikit_image():
    gray = (torch.arange(256) / 255).expand(3, 1, 256)
    reference = skimage.color.rgb2lab(gray.double().numpy(), channel_axis=0)
    assert np.abs(rgb_to_lab(gray).numpy() - reference).max() < 1e-3


@pytest.mark.parametrize("gamut", ["chroma", "clip"])
def test_round_trip(cube, gamut):
    assert (lab_to_rgb(rgb_to_lab(cube), gamut) - cube).abs().max() < 1e-4


def test_clip_equals_scikit_image_outside_the_gamut():
    lab = (
        torch.rand(3, 40, 40) * torch.tensor([100.0, 160, 160])[:, None, None]
        - torch.tensor([0.0, 80, 80])[:, None, None]
    )
    reference = skimage.color.lab2rgb(lab.double().numpy(), channel_axis=0)
    assert np.abs(lab_to_rgb(lab, "clip").numpy() - reference).max() < 1e-3


def test_gamut_mapping_keeps_lightness_and_hue():
    lightness = torch.linspace(2, 98, 33)[:, None].expand(33, 72)
    angle = torch.linspace(0, 2 * torch.pi, 72)
    lab = torch.stack([lightness, 120 * angle.cos().expand(33, 72), 120 * angle.sin().expand(33, 72)])
    mapped = rgb_to_lab(lab_to_rgb(lab))
    assert (mapped[0] - lightness).abs().max() < 0.1
    chroma = mapped[1:].norm(dim=0)
    hue_error = (mapped[1:] / chroma - lab[1:] / 120).norm(dim=0)
    assert hue_error[chroma > 5].max() < 0.05
    clipped = rgb_to_lab(lab_to_rgb(lab, "clip"))
    assert (clipped[0] - lightness).abs().max() > 10  # what the mapping is there to avoid


def test_batches_and_leading_axes_agree(cube):
    batch = torch.stack([cube, cube.flip(0)])[None]
    assert torch.equal(rgb_to_lab(batch)[0, 1], rgb_to_lab(cube.flip(0)))


def test_black_stays_black():
    """Whatever the color that is asked for: the borders of a scan must not turn blue."""
    ab = torch.cartesian_prod(*[torch.arange(-110.0, 111.0, 10.0)] * 2).T[:, None]
    lab = torch.cat([torch.zeros(1, 1, ab.shape[-1]), ab])
    assert (lab_to_rgb(lab) * 255).max() < 0.5


def test_unknown_gamut_is_one_sentence(cube):
    with pytest.raises(ColorizerError, match="'chroma' or 'clip'"):
        lab_to_rgb(cube, "squeeze")


def test_bins_lie_where_the_gamut_is(cube):
    centers = ab_bin_centers()
    assert centers.shape == (260, 2)
    ab = rgb_to_lab(cube)[1:].reshape(2, -1).T
    assert torch.cdist(ab[::7], centers).min(1).values.max() <= 50**0.5 + 1e-4  # half of a cell's diagonal
    assert centers.abs().max() <= AB_LIMIT


def test_soft_encoding_and_its_mean():
    bins = AbBins()
    ab = torch.tensor([[0.0, 0.0], [23.0, -14.0], [60.0, 55.0]]).T.reshape(1, 2, 1, 3)
    index, weight = bins.encode(ab)
    assert index.shape == weight.shape == (1, 5, 1, 3)
    assert torch.allclose(weight.sum(1), torch.ones(1, 1, 3))
    assert (weight[:, 0] >= weight[:, 1]).all()
    # By hand for gray: its own bin, and four at a distance of 10.
    own = 1 / (1 + 4 * np.exp(-(10**2) / (2 * 5**2)))
    assert weight[0, 0, 0, 0].item() == pytest.approx(own, abs=1e-5)
    mean = torch.einsum("nkhw,nkhwc->nchw", weight, bins.centers[index])
    assert (mean - ab).abs().max() < 2.5


def test_colors_are_read_in_full_precision_under_autocast():
    bins, logits = AbBins(), 3 * torch.randn(1, 260, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        read = bins.decode(logits)
    assert read.dtype == torch.float32 and torch.equal(read, bins.decode(logits))


def test_annealed_mean_goes_from_mean_to_mode():
    bins = AbBins()
    logits = torch.full((1, len(bins), 1, 1), -30.0)
    first, second = 10, 200
    logits[:, first], logits[:, second] = 1.0, 0.0
    e = np.exp(1)
    expected = (bins.centers[first] * e + bins.centers[second]) / (e + 1)
    assert torch.allclose(bins.decode(logits)[0, :, 0, 0], expected, atol=1e-3)
    assert torch.allclose(bins.decode(logits, 0.05)[0, :, 0, 0], bins.centers[first], atol=1e-3)

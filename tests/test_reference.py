"""The colors of a reference, by hand and on a picture of scikit-image."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from skimage import data

from colorizer import Hint, Photo, Reference
from colorizer.color import AbBins, ab_bin_centers, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from colorizer.pipeline import ColorizationPipeline
from colorizer.reference import (
    BANDS,
    MOST_PLACES,
    bands_of,
    colors_again,
    described,
    distances,
    grid_of,
    in_bins,
    leveled,
    remembered,
    shown_again,
    with_shares,
)

RED, BLUE = (180, 60, 60), (60, 60, 180)


def halves(left, right, size=(60, 40)) -> np.ndarray:
    picture = np.empty((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2], picture[:, size[0] // 2 :] = left, right
    return picture


def test_what_is_transparent_counts_at_no_place():
    """Nor does the color that is hidden below it, where a place is opaque in part."""
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, 40:] = 0
    ab, counts = Reference(Photo(halves(RED, BLUE, (96, 64)), alpha=alpha)).ab_at((4, 6))  # 16 pixels a place
    assert counts.view(4, 6).tolist() == [[True, True, True, False, False, False]] * 4
    blue = ab_bin_centers()[:, 1] < -20
    assert in_bins(ab)[counts][:, blue].sum() < 1e-3
    dim = Reference(Photo(halves(RED, BLUE), alpha=np.full((40, 60), 9, np.uint8))).ab_at((4, 6))[1]
    assert dim.all()  # rather than none


def share_near(reference: Reference, rgb) -> float:
    """The share of a reference within 15 Lab units of a color."""
    ab = rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255)[1:, 0, 0]
    return reference.shares[:, (ab_bin_centers() - ab).norm(dim=1) < 15].sum().item()


def shares_of(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.softmax(logits / temperature, dim=1).mean((0, 2, 3))


def test_the_shares_are_those_of_the_picture():
    reference = Reference(Photo(halves(RED, BLUE)))
    assert reference.shares.shape == (BANDS, len(AbBins())) and reference.shares.sum() == pytest.approx(1)
    assert share_near(reference, RED) == pytest.approx(0.5, abs=0.01)
    assert share_near(reference, BLUE) == pytest.approx(0.5, abs=0.01)
    assert share_near(reference, (60, 180, 60)) == 0
    bright, dark = reference.shares[-1], reference.shares[0]  # red is the lighter of the two
    red, blue = (rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255)[1:, 0, 0] for rgb in (RED, BLUE))
    nearest = [((ab_bin_centers() - ab).norm(dim=1)).argmin() for ab in (red, blue)]
    assert bright[nearest[0]] > 0.1 > 1e-6 > dark[nearest[0]] and dark[nearest[1]] > 0.1 > 1e-6 > bright[nearest[1]]


def test_a_large_photo_of_16_bits_has_the_colors_of_a_small_one():
    small = Reference(Photo(data.astronaut()))
    large = Reference(Photo.from_pil(Image.fromarray(data.astronaut()).resize((1536, 1536))))
    deep = Reference(Photo(data.astronaut().astype(np.uint16) * 257))
    assert (small.shares - large.shares).abs().sum() < 0.05
    assert (small.shares - deep.shares).abs().sum() < 0.01


def test_what_is_transparent_does_not_count():
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    reference = Reference(Photo(halves(RED, BLUE), alpha=alpha))
    assert share_near(reference, RED) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (Photo(data.camera(), name="old.png"), "gray"),
        (Photo(np.repeat(data.camera()[..., None], 3, axis=2), name="old.png"), "gray"),
        (Photo(halves(RED, BLUE), alpha=np.zeros((40, 60), np.uint8), name="old.png"), "transparent all over"),
    ],
    ids=["gray", "gray in three channels", "transparent"],
)
def test_a_reference_without_color(photo, words):
    with pytest.raises(ColorizerError, match=f"^old.png is {words}: a reference shows"):
        Reference(photo)


def test_exposure_is_left_out():
    lightness = torch.linspace(0, 100, 500)
    assert torch.allclose(leveled(lightness), leveled(20 + 0.5 * lightness), atol=1e-3)
    assert leveled(torch.full((9,), 40.0)).isfinite().all()
    assert torch.allclose(bands_of(lightness).sum(1), torch.ones(500), atol=1e-5)


def shares_with(index, *parts) -> torch.Tensor:
    """The shares of a reference that has these parts of some bins, in every lightness alike."""
    shares = torch.zeros(BANDS, len(AbBins()))
    shares[:, index] = torch.tensor(parts, dtype=torch.float32) / BANDS
    return shares


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
    shares = shares_with(index, 0.9, 0.1)
    before = shares_of(logits, 0.6)[index]
    assert torch.allclose(with_shares(shares, 0.0, logits, lightness, 0.6), logits, atol=1e-4)
    whole = shares_of(with_shares(shares, 1.0, logits, lightness, 0.6), 0.6)[index]
    assert whole.tolist() == pytest.approx([0.9, 0.1], abs=0.02)
    half = shares_of(with_shares(shares, 0.5, logits, lightness, 0.6), 0.6)[index]
    assert half.tolist() == pytest.approx(((before + torch.tensor([0.9, 0.1])) / 2).tolist(), abs=0.02)


def test_a_color_goes_where_it_is_likeliest(guess):
    logits, index, lightness = guess
    shares = shares_with(index, 0.5, 0.5)
    odds = torch.softmax(with_shares(shares, 1.0, 4 * logits, lightness, 0.6) / 0.6, dim=1)[0, index]
    assert odds[0, :, :15].mean() > 0.9 and odds[1, :, 15:].mean() > 0.9


def test_each_lightness_has_its_own_colors(guess):
    """Of the same two colors, red in the light and blue in the dark where the reference has them so."""
    logits, index, _ = guess
    lightness = torch.zeros(1, 1, 20, 30)
    lightness[..., :10, :] = 100
    shares = shares_with(index, 0, 0)
    shares[-1, index[0]] = shares[0, index[1]] = 0.5
    odds = torch.softmax(with_shares(shares, 1.0, logits, lightness, 0.6) / 0.6, dim=1)[0, index]
    assert odds[0, :10].min() > 0.8 and odds[1, 10:].min() > 0.8


def test_what_the_network_rules_out_stays_out(guess):
    logits, index, lightness = guess
    shares = Reference(Photo(halves((60, 180, 60), (60, 180, 60)))).shares
    impossible = logits.clone()
    impossible[:, [k for k in range(logits.shape[1]) if k not in index]] = -40.0
    led = with_shares(shares, 1.0, impossible, lightness, 0.6)
    assert led.isfinite().all() and shares_of(led, 0.6)[index].sum() > 0.99


def test_places_of_every_column_are_looked_at():
    """Also where every 256th place would be of two columns alone."""
    logits, lightness = torch.zeros(1, len(AbBins()), 256, 1024), torch.zeros(1, 1, 256, 1024)
    centers = ab_bin_centers()
    red, blue = (int((centers - torch.tensor(ab)).norm(dim=1).argmin()) for ab in ((50.0, 30.0), (20.0, -60.0)))
    logits[:, red], logits[:, blue] = 20, 19
    logits[:, blue, :, ::256] = 30  # rows of 1024, so that places 0, 256, ... are blue
    led = with_shares(shares_with([red, blue], 0.5, 0.5), 1.0, logits, lightness, 0.6)
    assert shares_of(led, 0.6)[[red, blue]].tolist() == pytest.approx([0.5, 0.5], abs=0.15)


def test_many_places_are_led_as_few_are():
    """The weights are found on some of the places of a large grid."""
    torch.manual_seed(0)
    small = torch.randn(1, len(AbBins()), 24, 32) * 2
    lightness = torch.rand(1, 1, 24, 32) * 100
    shares = Reference(Photo(data.astronaut())).shares
    large = (part.repeat_interleave(4, 2).repeat_interleave(4, 3) for part in (small, lightness))
    here = shares_of(with_shares(shares, 0.8, small, lightness, 0.6), 0.6)
    there = shares_of(with_shares(shares, 0.8, *large, 0.6), 0.6)
    assert (here - there).abs().sum() < 0.05


# -------------------------------------------------------------------------------------------------------- places


def test_places_are_no_more_than_can_be_compared():
    assert grid_of(192, 288) == (24, 36)
    rows, columns = grid_of(1024, 1536)
    assert 0.9 * MOST_PLACES < rows * columns <= MOST_PLACES and columns / rows == pytest.approx(1.5, abs=0.05)
    assert grid_of(4, 4) == (1, 1)


def test_a_place_is_described_by_its_maps_and_its_lightness():
    lightness = torch.rand(1, 1, 64, 96) * 100
    vector, maps = torch.rand(1, 5), [torch.rand(1, 7 + i, 32 >> i, 48 >> i) for i in range(5)]  # strides 2 to 32
    found = described((vector, *maps), (2, 4, 8, 16, 32), lightness)
    assert found.shape == (1, 8 + 9 + 10 + 1, 8, 12) and found.dtype == torch.float16
    assert torch.allclose(found[:, :8].float().norm(dim=1), torch.ones(1, 8, 12), atol=1e-2)
    assert torch.allclose(found[:, -1].float().mean(), lightness.mean() / 100, atol=0.02)
    twice = described((vector, *maps, *maps), (2, 4, 8, 16, 32) * 2, lightness)  # two embedders: as much together
    assert twice.shape == (1, 2 * (8 + 9 + 10) + 1, 8, 12)
    assert torch.allclose(twice[:, :8].float().norm(dim=1), torch.full((1, 8, 12), 0.5**0.5), atol=1e-2)
    assert described((vector,), (), lightness) is described(None, (), lightness) is None


def test_what_is_there_again_is_remembered():
    """Two kinds of places, each with its own color; a third that the reference does not show tells nothing."""
    here = torch.eye(3)[None, :, :, None] * 3  # (1, 3 channels, 3 rows, 1 column)
    there, colors = here[:, :, :2], torch.eye(2, 260)
    evidence = remembered(distances(here, there, torch.tensor([True, True])), colors).T[:2]
    assert evidence[0, 0] > -0.01 > -6 > evidence[0, 1] and evidence[1, 1] > -0.01 > -6 > evidence[1, 0]
    assert evidence[:, 2].abs().max() < 1e-3
    alone = remembered(distances(here, there, torch.tensor([True, False])), colors).T[:2]  # the other is transparent
    assert torch.equal(alone[:, 0], evidence[:, 0]) and alone[:, 1].abs().max() < 1e-3


def again_in(here: torch.Tensor, there: torch.Tensor, counts=None) -> tuple[np.ndarray, np.ndarray, float]:
    """`shown_again` of places (1, C, rows, columns) each."""
    counts = torch.ones(there.shape[-2:], dtype=torch.bool) if counts is None else counts
    again, nearest, sureness = shown_again(here, distances(here, there, counts.flatten()), there.shape[-2:])
    return again.numpy(), nearest.numpy(), sureness


def test_a_scene_is_known_by_neighbors():
    """Of a part of a scene all places are shown again, but for corners; of its places in disorder hardly any is."""
    torch.manual_seed(0)
    there = torch.randn(1, 16, 12, 20)
    here = there[..., 2:10, 5:18] + 0.1 * torch.randn(1, 16, 8, 13)
    again, nearest, sureness = again_in(here, there)
    rows, columns = np.mgrid[2:10, 5:18]
    assert sureness == 1 and np.array_equal(nearest, rows * 20 + columns)
    corners = np.zeros((8, 13), bool)
    corners[np.ix_([0, 1, -2, -1], [0, 1, -2, -1])] = True  # of their four neighbors two lie in the photo
    assert np.array_equal(again, ~corners)

    disorder = here.flatten(2)[..., torch.randperm(8 * 13)].view_as(here)
    assert again_in(disorder, there)[0].mean() < 0.02 and again_in(disorder, there)[2] == 0
    assert again_in(torch.randn_like(here), there)[0].sum() == 0  # of others none

    opaque = torch.ones(12, 20, dtype=torch.bool)
    opaque[:, 12:] = False
    again = again_in(here, there, opaque)[0]
    assert again[2:6, 2:5].all() and not again[:, 7:].any()


def test_a_plain_backdrop_is_no_scene():
    """Its places differ by little, and hardly tell where they are: two things before one wall are not one scene."""
    torch.manual_seed(0)
    backdrop = torch.linspace(0, 3, 24).expand(1, 4, 18, 24) * torch.randn(1, 4, 1, 1)
    one, other = backdrop.clone(), backdrop.clone()
    for scene in (one, other):
        scene[..., 6:12, 8:15] = torch.randn(1, 4, 6, 7)
    again, _, sureness = again_in(one, other)
    assert sureness == 0 and again.mean() < 0.02
    assert again_in(one, one)[2] == 1 and again_in(backdrop, backdrop)[2] == 0


@pytest.mark.parametrize("scale", [0.7, 1.5])
def test_a_scene_is_known_from_nearer_and_farther(scale):
    torch.manual_seed(0)
    scene = torch.nn.functional.interpolate(torch.randn(1, 16, 9, 12), size=(18, 24), mode="bilinear")
    size = [round(side * scale) for side in scene.shape[-2:]]
    here = torch.nn.functional.interpolate(scene, size=size, mode="bilinear", antialias=True)
    again, _, sureness = again_in(here, scene)
    assert sureness == 1 and again[2:-2, 2:-2].mean() > 0.6


def test_the_colors_of_what_is_shown_again_keep_to_its_edges():
    """Dark red beside light blue, an edge that lies a quarter of a place further to the right in the photo."""
    ab = torch.tensor([[50.0, 30.0], [10.0, -40.0]])
    other = torch.empty(1, 4, 4, 8)  # 2 x 4 places, one value for each of their quarters
    other[:, 0, :, :4], other[:, 0, :, 4:] = 30, 80
    other[:, 1:3, :, :4], other[:, 1:3, :, 4:] = ab[0, :, None, None], ab[1, :, None, None]
    other[:, 3] = 1
    lightness = torch.full((1, 1, 4, 8), 30.0)
    lightness[..., 5:] = 80
    nearest = torch.arange(8).view(2, 4)
    found = colors_again(nearest, (2, 4), lightness, other)
    assert found.shape == (2, 4, 8)
    assert torch.allclose(found[:, :, :5], ab[0, :, None, None].expand(2, 4, 5), atol=1)
    assert torch.allclose(found[:, :, 5:], ab[1, :, None, None].expand(2, 4, 3), atol=1)
    finer = other.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    finer[:, 3, :, 11:16] = 0  # what is transparent has no color
    finer[:, 1:3, :, 11:16] = -90
    assert torch.allclose(colors_again(nearest, (2, 4), lightness, finer)[:, :, :5], found[:, :, :5], atol=1)


@pytest.fixture(scope="module")
def bundled() -> ColorizationPipeline:
    return ColorizationPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def motorcycles() -> list[Image.Image]:
    """Two photographs of one scene."""
    return [Image.fromarray(picture) for picture in data.stereo_motorcycle()[1::-1]]


def ab_of(coloring) -> torch.Tensor:
    return rgb_to_lab(torch.from_numpy(coloring.render().pixels).permute(2, 0, 1) / 255)[1:]


def test_another_photograph_of_the_scene(bundled, motorcycles):
    """The bundled model finds the red motorcycle of one photograph in the other, which is gray."""
    photo, other = motorcycles
    coloring = bundled.prepare(photo)
    truth = rgb_to_lab(torch.tensor(np.asarray(photo)).permute(2, 0, 1) / 255)[1:]
    led = coloring.with_reference(other)
    errors = [(ab_of(one) - truth).square().mean().sqrt() for one in (coloring, led)]
    assert led.same_scene == 1 and coloring.same_scene == 0 and errors[1] < 0.55 * errors[0]
    aged = ImageEnhance.Contrast(ImageEnhance.Brightness(photo.convert("L")).enhance(1.2)).enhance(0.6)
    assert bundled.prepare(aged, reference=other).same_scene == 1


def test_another_scene_tells_its_colors_alone(bundled, motorcycles):
    led = bundled.prepare(motorcycles[0], reference=Image.fromarray(data.coffee()))
    assert led.same_scene == 0 and led.found.again is led.found.prediction is led.refilled is None


def test_the_likeness_to_a_scene_is_turned_smoothly_and_no_network_runs(bundled, motorcycles, monkeypatch):
    photo, other = motorcycles
    led = bundled.prepare(photo, reference=other, likeness=0.5)
    automatic = ab_of(led.with_reference(None))
    monkeypatch.setattr(bundled, "run_network", lambda *given: pytest.fail("the network ran"))
    known = led.reference
    led = led.with_reference(known, 0).with_reference(known, 0.5)
    assert led.same_scene == 1 and led.with_reference(known, 0).same_scene == 0
    steps = [0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5]
    turned = [automatic, *(ab_of(led.with_reference(known, likeness)) for likeness in steps)]
    apart = [(after - before).square().mean().sqrt() for before, after in itertools.pairwise(turned)]
    whole = (turned[-1] - automatic).square().mean().sqrt()
    assert apart[0] < 0.15 * whole and max(apart) < 0.4 * whole


def test_who_gives_a_hint_knows_better_than_a_reference(bundled, motorcycles):
    """A blue tank is blue all over, and not only at the hint; the fender in front stays as the reference has it."""
    photo, other = motorcycles
    led = bundled.prepare(photo, reference=other)
    blue = Hint.from_rgb(350, 215, "#3050c0")
    one, two = led.with_hints([blue]), bundled.prepare(photo, hints=[blue]).with_reference(led.reference)
    assert torch.equal(ab_of(one), ab_of(two))
    tank, fender, box = np.s_[:, 195:235, 320:410], np.s_[:, 275:295, 510:540], np.s_[:, 190:240, 520:550]
    red, corrected = ab_of(led), ab_of(one)
    assert red[tank][0].mean() > 30 and corrected[tank][1].mean() < -20
    for part in (fender, box):
        assert red[part][0].mean() > 20 and (corrected[part] - red[part]).abs().mean() < 8
    less, more = (one.with_hints([Hint.from_rgb(350, 215, "#3050c0", reach=reach)]) for reach in (0.1, 1))
    assert ab_of(less)[tank][1].mean() > corrected[tank][1].mean() + 5
    assert ab_of(more)[tank][1].mean() < -20
    for part in (fender, box):  # other things, also with all the reach there is
        assert ab_of(more)[part][0].mean() > 20
    assert torch.equal(ab_of(one.with_hints([])), red)
    assert torch.equal(ab_of(one.with_reference(None)), ab_of(bundled.prepare(photo, hints=[blue])))


@pytest.mark.parametrize("working_size", [96, 512])
def test_a_scene_is_known_at_other_working_sizes(bundled, motorcycles, working_size):
    photo, other = motorcycles
    reference = Reference(Photo.from_pil(other))
    led = bundled.prepare(photo, working_size, reference=reference)
    assert led.same_scene == 1 and led.found.again.float().mean() > 0.5
    assert bundled.prepare(photo, reference=reference).found.again.float().mean() > 0.5


def test_small_previews_have_the_colors_of_a_scene(bundled, motorcycles):
    led = bundled.prepare(motorcycles[0], reference=motorcycles[1])
    whole, small = (
        rgb_to_lab(torch.from_numpy(one.render(max_side=200).pixels).permute(2, 0, 1) / 255)[1:]
        for one in (led, led.small(200))
    )
    assert (whole - small).square().mean().sqrt() < 3


def test_another_reach_seldom_asks_the_network_about_a_scene(bundled, motorcycles, monkeypatch):
    """It is asked once about each set of places that hints leave to the reference."""
    blue = Hint.from_rgb(350, 215, "#3050c0")
    led = bundled.prepare(motorcycles[0], hints=[blue], reference=motorcycles[1])
    asked = []
    monkeypatch.setattr(bundled, "_told_again", lambda *given: asked.append(given) or led.found.prediction)
    led.with_reference(led.reference, 0.8).with_reference(led.reference, 0.5)
    assert not asked
    led.with_hints([dataclasses.replace(blue, reach=0.1)])
    assert len(asked) == 1


def test_another_guess_at_a_scene_is_one_at_all_its_places(bundled, motorcycles):
    led = bundled.prepare(motorcycles[0], reference=motorcycles[1])
    first, cooler = (np.asarray(led.render(guess=guess).to_pil().convert("RGB"), float) for guess in (None, "cooler"))
    moved = np.abs(cooler - first).mean(axis=2)
    assert (moved > 1).mean() > 0.8


def test_a_model_without_hints_takes_the_colors_of_a_scene_too(bundled, motorcycles, monkeypatch):
    """Those of the places themselves: `_told_again` has no prediction of such a model."""
    led = bundled.prepare(motorcycles[0], reference=motorcycles[1])
    monkeypatch.setattr(ColorizationPipeline, "_told_again", lambda *given: None)
    deaf = bundled.prepare(motorcycles[0], reference=motorcycles[1])
    assert deaf.same_scene == 1 and deaf.found.prediction is None
    tank = np.s_[:, 195:235, 320:410]
    assert (ab_of(deaf) - ab_of(led))[tank].abs().mean() < 4 < (ab_of(deaf) - ab_of(led)).abs().max()


def test_each_model_looks_for_itself(tiny_model):
    """And one whose embedder gives no maps goes by the colors altogether."""
    reference = Reference(Photo(data.coffee()))
    config = tiny_model.config | {"embedding": "pooled", "embedder_size": 64}
    squashed = create_model("fusion", **tiny_model.config | {"embedder_size": 224})
    for model, sees in (
        (tiny_model, True),
        (create_model("fusion", **config), False),
        (squashed, True),
        (tiny_model, True),
    ):
        pipe = ColorizationPipeline(model, "cpu")
        photo = Photo(data.camera()[:120, :160])
        led = pipe.prepare(photo, 64, reference=reference, likeness=1)
        assert (led.places is not None) == sees and (reference.known[0] is model) == sees
        assert not np.array_equal(led.render().pixels, led.with_reference(None).render().pixels)

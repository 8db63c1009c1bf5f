"""The pipeline: a photo in, a photo out. Exact colors come from tiny models that are defined here."""

import dataclasses
import math
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data
from skimage.color import rgb2lab
from torch.nn import functional as F

from colorizer import color, pipeline
from colorizer.dials import GUESSES
from colorizer.drawing import draw_digits
from colorizer.errors import ColorizerError
from colorizer.images import Photo
from colorizer.models import create_model, list_models
from colorizer.models.base import Colorizer
from colorizer.pipeline import (
    BLUR,
    MOST_SHARPENED,
    SHARP,
    SPAN,
    TAILS,
    ColorizationPipeline,
    Hint,
    LightnessPlane,
    guide_maps,
    sharpened,
    stretched,
    working_shape,
)
from colorizer.reach import spread
from colorizer.reference import Reference
from tests.conftest import TINY


class Known(Colorizer):
    """Gives an ab that the test knows, at the working size."""

    name = "known"

    def __init__(self, a: float = 20.0, b: float = -30.0):
        super().__init__()
        self.ab = (a, b)
        self.calls = 0

    def forward(self, lightness, hints=None, embedding=None):
        self.calls += 1
        return torch.tensor(self.ab)[None, :, None, None].expand(len(lightness), 2, *lightness.shape[-2:])


class Loud(Known):
    """Colors far outside of the gamut in places, in patterns of its own."""

    def forward(self, lightness, hints=None, embedding=None):
        height, width = lightness.shape[-2:]
        y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 9, width), indexing="ij")
        return torch.stack([90 * torch.sin(x), 90 * torch.cos(y)])[None].expand(len(lightness), -1, -1, -1)


class InRgb(Known):
    output = "rgb"

    def forward(self, lightness, hints=None, embedding=None):
        lab = torch.cat([lightness, super().forward(lightness)], dim=1)
        return color.lab_to_rgb(lab) * 0.9  # another lightness than the photo's


class Squashed(Known):
    input_size = (28, 28)
    domain = "digits"

    def forward(self, lightness, hints=None, embedding=None):
        assert lightness.shape[-2:] == (28, 28)
        return super().forward(lightness)


class Painter(Colorizer):
    """Paints what it sees, squashed to 28 x 28 pixels, in one color, as the models of digits do."""

    name = "painter"
    output = "rgb"
    domain = "digits"
    input_size = (28, 28)
    keeps_lightness = False
    paint = (0.8, 0.6, 0.2)

    def forward(self, lightness, hints=None, embedding=None):
        return lightness / 100 * torch.tensor(self.paint)[None, :, None, None]


class Reader(Known):
    kind = "autoencoder"
    name = "reader"


@pytest.fixture
def tiny(tiny_model):
    return ColorizationPipeline(tiny_model, "cpu")


@pytest.fixture
def calls(tiny, monkeypatch):
    """Counts what the tiny model is asked for."""
    count = {"embed": 0, "logits": 0}

    def counted(name):
        original = getattr(tiny.model, name)

        def call(*args, **kwargs):
            count[name] += 1
            return original(*args, **kwargs)

        return call

    for name in count:
        monkeypatch.setattr(tiny.model, name, counted(name))
    return count


def lab(photo: Photo) -> torch.Tensor:
    """Lab (3, H, W) of a photo's pixels."""
    pixels = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[:, :, None].repeat(3, axis=2)
    scaled = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
    return color.rgb_to_lab(scaled.permute(2, 0, 1))


def gray_photo(height=90, width=120, dtype=np.uint8) -> Photo:
    most = np.iinfo(dtype).max
    picture = np.asarray(Image.fromarray(data.camera()).resize((width, height))).astype(np.float64) / 255
    return Photo((picture * most).round().astype(dtype))


# ------------------------------------------------------------------------------------------------- lightness


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("source", ["gray", "color"])
@pytest.mark.parametrize("colorfulness", [0.0, 1.0, 3.0])
def test_lightness_is_kept(dtype, source, colorfulness):
    pixels = data.camera()[::2, ::2] if source == "gray" else data.coffee()[::2, ::2]
    photo = Photo(pixels.astype(dtype) * (257 if dtype == np.uint16 else 1))
    result = ColorizationPipeline(Loud(), "cpu").prepare(photo, 64).render(colorfulness)
    assert result.pixels.dtype == dtype
    difference = (lab(result)[0] - lab(photo)[0]).abs()
    assert difference.max() <= 0.5
    assert difference.mean() <= 0.2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_gray_levels_survive_without_color(dtype):
    photo = Photo(np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1))
    pixels = ColorizationPipeline(Known(), "cpu").prepare(photo, 32).render(0).pixels.astype(int)
    assert (pixels == pixels[:, :, :1]).all()
    assert np.abs(pixels[:, :, 0] - photo.pixels).max() <= (0 if dtype == np.uint8 else 2)


def test_known_color_is_painted():
    result = lab(ColorizationPipeline(Known(), "cpu").prepare(gray_photo(), 64).render())
    middle = (result[0] > 45) & (result[0] < 65)  # where the gamut holds the color
    assert (result[1][middle] - 20).abs().max() < 1
    assert (result[2][middle] + 30).abs().max() < 1


def test_rgb_models_give_their_chroma():
    photo = Photo(np.full((40, 40), 128, np.uint8))
    result = lab(ColorizationPipeline(InRgb(10.0, 20.0), "cpu").prepare(photo, 64).render())
    assert (result[0] - lab(photo)[0]).abs().max() < 0.5
    # The chroma of a color darkened in sRGB: less, and of the same hue.
    assert 0.8 * 10 < result[1].mean() < 10 and 0.8 * 20 < result[2].mean() < 20


def test_plane_reduces_as_a_whole_resize_does(monkeypatch):
    photo = Photo(data.chelsea())
    whole = F.interpolate(lab(photo)[None, :1], size=(64, 96), mode="bilinear", antialias=True)
    monkeypatch.setattr(pipeline, "BAND_PIXELS", 5000)
    assert (LightnessPlane(photo).reduced((64, 96)) - whole).abs().max() < 0.02


# ------------------------------------------------------------------------------------------- guided upsampling


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("max_side", [None, 100])
def test_result_does_not_depend_on_the_bands(dtype, max_side, tiny, monkeypatch):
    coloring = tiny.prepare(gray_photo(131, 97, dtype), 64)
    whole = coloring.render(2, max_side=max_side)
    for rows in (1, 2, 7, 64, 130):
        monkeypatch.setattr(pipeline, "BAND_PIXELS", rows * 97)
        other = ColorizationPipeline(tiny.model, "cpu").prepare(coloring.photo, 64).render(2, max_side=max_side)
        # One step of 16 bits is the last digit of float32.
        assert np.abs(other.pixels.astype(int) - whole.pixels).max() <= (0 if dtype == np.uint8 else 1), rows


def quarter(image: torch.Tensor) -> torch.Tensor:
    size = [side // 4 for side in image.shape[-2:]]
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)


def guided(lightness: torch.Tensor, small: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    height, width = lightness.shape
    guide = F.interpolate(small, size=ab.shape[-2:], mode="bilinear", antialias=True)
    maps = guide_maps(guide, ab)
    return pipeline.guided_band(maps, lightness, 0, height)


def plain(ab: torch.Tensor, lightness: torch.Tensor) -> torch.Tensor:
    return F.interpolate(ab, size=lightness.shape, mode="bilinear")[0]


@pytest.mark.parametrize("slant", [0.0, 0.4])
@pytest.mark.parametrize("sides", [(15.0, 85.0), (60.0, 30.0)])
def test_no_halo_at_a_strong_edge(slant, sides):
    """Blue sky against a neutral roof, eight times the working size: color stops at the edge and never overshoots."""
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    distance = x - 250 - slant * (y - 256)
    right = (distance > 0).float()
    lightness = sides[0] + (sides[1] - sides[0]) * right
    truth = torch.stack([-5 * right, -40 * right])
    small = F.interpolate(lightness[None, None], size=(64, 64), mode="bilinear", antialias=True)
    ab = quarter(F.interpolate(truth[None], size=(64, 64), mode="bilinear", antialias=True))
    result, bilinear = guided(lightness, small, ab), plain(ab, lightness)

    assert result[1].min() >= -40.01 and result[1].max() <= 0.01  # no color that was not predicted
    error, was = (result - truth).square().mean().sqrt(), (bilinear - truth).square().mean().sqrt()
    assert error < 0.5 * was
    cell = 32  # one pixel of the prediction, in the photo
    assert (result - truth).abs()[:, distance.abs() > 2.5 * cell].max() < 1
    spill = (result - truth).abs()[1][(distance.abs() > 2) & (distance.abs() < cell)].mean()
    assert spill < 0.5 * (bilinear - truth).abs()[1][(distance.abs() > 2) & (distance.abs() < cell)].mean()


def test_flat_guide_gives_plain_bicubic():
    """But for bilinear steps within a quarter of the prediction's pixels, and for the border."""
    place = torch.arange(16.0) * 2 * torch.pi / 16
    ab = 30 * torch.stack([place.sin()[:, None] + 0 * place, 0 * place[:, None] + place.cos()])[None]
    lightness = torch.full((256, 256), 50.0)
    result = guided(lightness, torch.full((1, 1, 64, 64), 50.0), ab)
    cubic = F.interpolate(ab, size=lightness.shape, mode="bicubic")[0]
    inner = (slice(None), slice(16, -16), slice(16, -16))
    off, plainly_off = ((image - cubic)[inner].abs().max() for image in (result, plain(ab, lightness)))
    assert off < 0.25 and plainly_off > 4 * off


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_guided_beats_bilinear_on_photographs(name):
    truth = lab(Photo(getattr(data, name)()))
    small = F.interpolate(truth[None], size=(128, 192), mode="bilinear", antialias=True)
    ab = quarter(small[:, 1:])
    result = guided(truth[0], small[:, :1], ab)
    errors = [(image - truth[1:]).square().mean().sqrt().item() for image in (result, plain(ab, truth[0]))]
    assert errors[0] < 0.99 * errors[1]


def test_guided_stays_within_the_prediction():
    lightness = torch.rand(100, 130) * 100
    ab = torch.randn(1, 2, 12, 16) * 40
    result = guided(lightness, F.interpolate(lightness[None, None], size=(48, 64), mode="bilinear"), ab)
    for channel in range(2):
        assert ab[0, channel].min() - 1e-3 <= result[channel].min()
        assert result[channel].max() <= ab[0, channel].max() + 1e-3


# --------------------------------------------------------------------------------------- sizes and kinds of input


@pytest.mark.parametrize(
    "photo, working, shape",
    [
        ((512, 768), 256, (256, 384)),
        ((768, 512), 128, (192, 128)),
        ((80, 100), 256, (160, 200)),  # enlarged twice at most
        ((150, 200), 256, (192, 256)),  # and to 192
        ((200, 300), 256, (200, 300)),  # from there on not at all
        ((1, 1), 256, (32, 32)),
        ((7, 5), 256, (44, 32)),
        ((1, 1000), 256, (32, 1024)),
        ((10000, 1000), 256, (1024, 104)),  # the long side at most four times the working size
        ((600, 600), 32, (32, 32)),
    ],
)
def test_working_shape(photo, working, shape):
    assert working_shape(*photo, working, multiple=4) == shape
    assert working_shape(*photo, working, multiple=4, input_size=(28, 28)) == (28, 28)


@pytest.mark.parametrize(
    "photo, shape",
    [
        ((2000, 3000), (192, 288)),
        ((1080, 1920), (192, 352)),  # 341 without
        ((1350, 1080), (256, 192)),  # 240, the middle, goes up
        ((100, 100), (192, 192)),  # 200
        ((1, 1), (32, 32)),
    ],
)
def test_sides_are_multiples(photo, shape):
    assert working_shape(*photo, 192, multiple=32) == shape


@pytest.mark.parametrize("photo", [(400, 600), (2000, 3000), (380, 570), (321, 481), (427, 640), (683, 1024)])
def test_all_photos_of_3_to_2_are_seen_alike(photo):
    """Also those that are not quite, though their long side, 336, is in the middle between two multiples."""
    assert working_shape(*photo, 224, multiple=32) == (224, 352)
    assert working_shape(*photo[::-1], 224, multiple=32) == (352, 224)


@pytest.fixture(scope="module")
def inception():
    return ColorizationPipeline(create_model("fusion", **TINY | {"embedder": "inception_v3"}).eval(), "cpu")


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (30, 40), (60, 1000)])
def test_an_embedder_that_needs_larger_pictures(size, inception):
    """Inception networks make no maps of 32 or 64 pixels, which small and long photos are reduced to."""
    photo = Photo(np.random.default_rng(0).integers(0, 256, size, np.uint8))
    assert inception.prepare(photo, 256).render().pixels.shape == (*size, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 5), (2, 3), (33, 65), (900, 9), (3, 1200)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_odd_sizes(size, channels, tiny):
    photo = Photo(np.random.default_rng(0).integers(0, 256, (*size, *channels), np.uint8))
    result = tiny.prepare(photo, 64).render(2)
    assert result.pixels.shape == (*size, 3)
    difference = (lab(result)[0] - lab(photo)[0]).abs()
    assert difference.max() <= 0.5
    assert max(tiny.prepare(photo, 64).render(max_side=4).pixels.shape[:2]) <= 4


@pytest.mark.parametrize(
    "mode, expected", [("L", "RGB"), ("LA", "RGBA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("1", "RGB"), ("P", "RGB")]
)
def test_pil_in_pil_out(mode, expected, tiny):
    image = Image.fromarray(data.astronaut()[:64, :80]).convert(mode)
    result = tiny(image, working_size=32)
    assert isinstance(result, Image.Image) and result.mode == expected and result.size == image.size


def test_path_gives_pil_and_photo_gives_photo(tiny, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.camera()[:64, :80]).save(path)
    from_path, from_text = tiny(path, working_size=32), tiny(str(path), working_size=32)
    photo = tiny(Photo.open(path), working_size=32)
    assert from_path.mode == "RGB" and isinstance(photo, Photo)
    assert np.array_equal(np.asarray(from_path), photo.pixels) and from_path == from_text
    with pytest.raises(ColorizerError, match="path"):
        tiny(np.zeros((4, 4)))


def test_depth_alpha_and_metadata_stay(tiny):
    alpha = np.arange(90 * 120, dtype=np.uint16).reshape(90, 120)
    base = gray_photo(dtype=np.uint16)
    photo = Photo(base.pixels, alpha, "TIFF", exif=b"Exif\0\0", xmp=b"<x/>", dpi=(300.0, 300.0))
    coloring = tiny.prepare(photo, 32)
    result = coloring.render()
    assert result.pixels.dtype == np.uint16 and np.array_equal(result.alpha, alpha)
    assert (result.format, result.exif, result.xmp, result.dpi) == ("TIFF", b"Exif\0\0", b"<x/>", (300.0, 300.0))
    preview = coloring.render(max_side=60)
    assert preview.pixels.shape == (45, 60, 3) and preview.alpha.shape == (45, 60)
    assert preview.alpha.dtype == np.uint16
    assert abs(preview.alpha.mean(dtype=float) - alpha.mean(dtype=float)) < 50


def test_color_is_reduced_to_lightness_first(tiny):
    photo = Photo(data.coffee()[:200, :240])
    coloring = tiny.prepare(photo, 64)
    gray = Photo(coloring.render(0).pixels[:, :, 0])
    assert np.abs(tiny.prepare(gray, 64).render().pixels.astype(int) - coloring.render().pixels).max() <= 3
    assert np.array_equal(coloring.truth.pixels, photo.pixels)


def test_a_tall_strip_is_not_enlarged_before_it_is_reduced(monkeypatch):
    """At full height that takes ten times the photo's memory."""
    plane = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    expected = pipeline._resize(plane[None, None], (256, 32))
    shapes, resize = [], pipeline._resize

    def resized(image, size):
        shapes.append(tuple(size))
        return resize(image, size)

    monkeypatch.setattr(pipeline, "_resize", resized)
    monkeypatch.setattr(pipeline, "BAND_PIXELS", 3000)
    found = pipeline._reduced_plane(lambda top, bottom: plane[top:bottom], (4000, 3), (256, 32))
    assert shapes == [(1000, 3)] * 4 + [(256, 32)]
    assert torch.allclose(found, expected, atol=1e-5)


def test_gray_has_no_truth(tiny):
    gray = gray_photo()
    assert tiny.prepare(gray, 32).truth is None
    stored_as_rgb = Photo(gray.pixels[:, :, None].repeat(3, axis=2))
    assert tiny.prepare(stored_as_rgb, 32).truth is None
    assert np.array_equal(tiny.prepare(stored_as_rgb, 32).render().pixels, tiny.prepare(gray, 32).render().pixels)


def test_input_size_is_obeyed():
    result = ColorizationPipeline(Squashed(), "cpu")(gray_photo(50, 130))
    assert (result.height, result.width) == (50, 130)


# ----------------------------------------------------------------------------------------------------- digits


def digit_photo(height=28, width=28, dtype=np.uint8) -> Photo:
    """A drawn digit, white on black, enlarged."""
    picture = Image.fromarray(draw_digits([5])[0]).resize((width, height), Image.Resampling.BICUBIC)
    return Photo(np.asarray(picture).astype(dtype) * (257 if dtype == np.uint16 else 1))


def test_a_digit_is_what_the_model_paints():
    photo = digit_photo()
    coloring = ColorizationPipeline(Painter(), "cpu").prepare(photo)
    assert coloring.lightness.shape[-2:] == (28, 28)
    painted = coloring.lightness[0, 0, :, :, None].numpy() / 100 * Painter.paint
    assert np.abs(coloring.render().pixels - 255 * painted).max() <= 0.51
    # White ink became darker: this model keeps no lightness.
    assert (lab(photo)[0] - lab(coloring.render())[0]).max() > 20


def test_colorfulness_scales_the_painting_s_chroma():
    coloring = ColorizationPipeline(Painter(), "cpu").prepare(digit_photo())
    whole = lab(coloring.render())
    ink = whole[0] > 40
    half, none = lab(coloring.render(0.5)), coloring.render(0)
    assert (half[0] - whole[0]).abs().max() < 0.7
    assert (half[1:] - whole[1:] / 2)[:, ink].abs().max() < 1
    assert (none.pixels == none.pixels[:, :, :1]).all()
    assert (lab(none)[0] - whole[0]).abs().max() < 0.7  # gray of the painting's own lightness
    assert np.abs(coloring.render(3).pixels.astype(int) - coloring.render().pixels).max() > 20


@pytest.mark.parametrize("working_size, max_side", [(64, 60), (256, 60), (256, 30), (64, 4000)])
def test_small_previews_are_nearly_those_of_the_whole_prediction(tiny, working_size, max_side):
    coloring = tiny.prepare(Photo.from_pil(Image.fromarray(data.coffee())), working_size)
    coloring = coloring.with_reference(Image.fromarray(data.chelsea()), 0.7)
    small = coloring.small(max_side)
    rows = [math.ceil(min(max_side, 600) / 600 * 400 / 4), coloring.prediction.shape[2]]
    assert small.prediction.shape[2] == small.led.shape[2] == min(rows)
    for options in ({}, {"guess": "cooler"}, {"colorfulness": 0}):
        whole, fast = (one.render(max_side=max_side, **options).pixels.astype(int) for one in (coloring, small))
        assert whole.shape == fast.shape and np.abs(whole - fast).mean() < 2
    assert coloring.prediction.shape[2] == rows[1]  # of the original nothing is lost


def test_previews_of_two_sizes_are_kept_by_all_that_is_made_of_a_coloring(tiny, monkeypatch):
    coloring = tiny.prepare(Photo.from_pil(Image.fromarray(data.coffee())), 64)
    reduced, sizes = LightnessPlane.reduced, []
    monkeypatch.setattr(LightnessPlane, "reduced", lambda plane, size: sizes.append(size[1]) or reduced(plane, size))
    coloring.render(max_side=300)
    coloring.small(60).render(max_side=60)
    hinted = coloring.with_hints([Hint(3, 3, 40, 40)])
    for one in (coloring, hinted, hinted.with_reference(Image.fromarray(data.chelsea()))):
        one.render(max_side=300)
        one.small(60).render(max_side=60)
    assert sizes == [300, 60]
    coloring.render(max_side=200)
    coloring.render(max_side=60)
    coloring.render(max_side=300)
    assert sizes == [300, 60, 200, 300]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (5, 90), (28, 28), (97, 131), (300, 40)])
def test_digits_of_every_size_depth_and_max_side(size, dtype, monkeypatch):
    base = digit_photo(*size, dtype)
    alpha = np.full(size, np.iinfo(dtype).max, dtype)
    coloring = ColorizationPipeline(Painter(), "cpu").prepare(Photo(base.pixels, alpha, "TIFF", dpi=(300.0, 300.0)))
    result = coloring.render(1.5)
    assert result.pixels.shape == (*size, 3) and result.pixels.dtype == dtype
    assert np.array_equal(result.alpha, alpha) and (result.format, result.dpi) == ("TIFF", (300.0, 300.0))
    reduced = coloring.render(max_side=20)
    assert max(reduced.pixels.shape[:2]) <= 20 and reduced.alpha.shape == reduced.pixels.shape[:2]
    monkeypatch.setattr(pipeline, "BAND_PIXELS", 3 * size[1])
    # One step of 16 bits is the last digit of float32.
    assert np.abs(coloring.render(1.5).pixels.astype(int) - result.pixels).max() <= (0 if dtype == np.uint8 else 1)


def test_enlarged_paintings_are_bilinear():
    coloring = ColorizationPipeline(Painter(), "cpu").prepare(digit_photo(140, 84))
    expected = F.interpolate(coloring.prediction, size=(140, 84), mode="bilinear")[0].permute(1, 2, 0)
    assert np.abs(coloring.render().pixels - 255 * expected.numpy()).max() <= 0.51


def test_gray_is_the_photo_s_own_lightness():
    photo = digit_photo(60, 40)
    coloring = ColorizationPipeline(Painter(), "cpu").prepare(photo)
    assert np.array_equal(coloring.gray().pixels, photo.pixels[:, :, None].repeat(3, axis=2))
    assert coloring.gray(20).pixels.shape == (20, 13, 3)
    of_photos = ColorizationPipeline(Known(), "cpu").prepare(gray_photo())
    assert np.array_equal(of_photos.gray(50).pixels, of_photos.render(0, max_side=50).pixels)


@pytest.mark.parametrize("name", list_models("digits"))
def test_the_digits_models_paint(name):
    torch.manual_seed(0)
    model = create_model(name).eval()
    coloring = ColorizationPipeline(model, "cpu").prepare(digit_photo(56, 56))
    with torch.inference_mode():
        assert torch.equal(coloring.prediction, model(coloring.lightness))
    assert coloring.render().pixels.shape == (56, 56, 3)


@pytest.mark.parametrize("name", list_models("thumbnails") + ["plain_autoencoder"])
def test_models_of_thumbnails_color_any_photo_and_keep_its_lightness(name):
    torch.manual_seed(0)
    photo = gray_photo(131, 97)
    model = create_model(name)
    coloring = ColorizationPipeline(model, "cpu").prepare(photo)
    assert min(coloring.lightness.shape[-2:]) == coloring.working_size == model.defaults["working_size"]
    difference = (lab(coloring.render(3))[0] - lab(photo)[0]).abs()
    assert difference.max() <= 0.5 and difference.mean() <= 0.2


# ------------------------------------------------------------------------------------------ dials, no network


def test_render_runs_no_network(tiny, calls):
    coloring = tiny.prepare(gray_photo(), 64)
    assert calls == {"embed": 1, "logits": 1}
    pictures = [
        coloring.render(),
        coloring.render(temperature=0.1),
        coloring.render(colorfulness=0.3),
        coloring.render(max_side=50),
    ]
    assert coloring.confidence.shape == coloring.lightness.shape[-2:]
    assert calls == {"embed": 1, "logits": 1}
    assert not np.array_equal(pictures[0].pixels, pictures[1].pixels)
    assert not np.array_equal(pictures[0].pixels, pictures[2].pixels)
    assert np.array_equal(pictures[0].pixels, coloring.render().pixels)  # the same again after other dials


def test_render_does_not_need_the_device(tiny_model):
    model = create_model("fusion", **tiny_model.config)
    pipe = ColorizationPipeline(model, "cpu")
    coloring = pipe.prepare(gray_photo(), 32)
    before = coloring.render(temperature=0.3)
    pipe.to("meta")  # where nothing can be computed
    assert np.array_equal(coloring.render(temperature=0.3).pixels, before.pixels)
    assert coloring.confidence.max() <= 1


def test_none_means_the_models_defaults(tiny_model):
    model = create_model("fusion", **tiny_model.config)
    model.defaults = {"working_size": 64, "temperature": 0.3, "colorfulness": 1.7, "restraint": 0.6}
    coloring = ColorizationPipeline(model, "cpu").prepare(gray_photo())
    assert coloring.working_size == 64 and min(coloring.lightness.shape[-2:]) == 64
    expected = coloring.render(colorfulness=1.7, temperature=0.3, restraint=0.6)
    assert np.array_equal(coloring.render().pixels, expected.pixels)


def test_colorfulness_scales_chroma():
    coloring = ColorizationPipeline(Known(4.0, 8.0), "cpu").prepare(Photo(np.full((40, 40), 120, np.uint8)))
    for factor in (0.0, 0.5, 1.0, 3.0):
        assert (lab(coloring.render(factor))[2] - 8 * factor).abs().max() < 1


def test_balance_takes_away_a_part_of_the_tint_and_no_more():
    # Mean (12, -16), so 20 along (0.6, -0.8). Along that the places have 40, 0, 5, -10 and 65.
    ab = torch.tensor([[[[16.0, 0.0, 11.0, -6.0, 39.0]], [[-38.0, 0.0, 2.0, 8.0, -52.0]]]])
    # Half of the mean at most, half of what there is where that is less, nothing of the opposite color.
    taken = torch.tensor([10.0, 0.0, 2.5, 0.0, 10.0])
    expected = ab - torch.stack([0.6 * taken, -0.8 * taken])[None, :, None]
    assert torch.allclose(pipeline.balanced(ab, 0.5), expected, atol=1e-4)
    assert torch.equal(pipeline.balanced(ab, 0.0), ab)
    assert torch.equal(pipeline.balanced(torch.zeros(1, 2, 3, 3), 1.0), torch.zeros(1, 2, 3, 3))


def test_balance_of_a_coloring():
    """One color over all is all tint; the model's default is taken where none is given."""
    coloring = ColorizationPipeline(Known(4.0, 24.0), "cpu").prepare(Photo(np.full((40, 40), 120, np.uint8)))
    for balance, b in ((0.25, 18), (None, 24), (1.0, 0), (0.0, 24)):
        assert (lab(coloring.render(balance=balance))[2] - b).abs().max() < 1
    coloring._pipeline.model.defaults["balance"] = 0.5
    assert (lab(coloring.render())[2] - 12).abs().max() < 1


def test_restraint_moves_strong_colors_more_than_pale_ones():
    ab = torch.tensor([[[[0.0, 6.0, 30.0, -54.0]], [[0.0, 8.0, 0.0, 72.0]]]])  # chroma 0, 10, 30 and 90
    softer = torch.tensor([[[[8.0, 2.0, 20.0, -6.0]], [[4.0, 4.0, -10.0, 32.0]]]])
    parts = torch.tensor([0, 1 / 4, 1 / 2, 3 / 4])
    assert torch.allclose(pipeline.restrained(ab, softer, 1.0), ab + parts * (softer - ab), atol=1e-5)
    assert torch.allclose(pipeline.restrained(ab, softer, 0.5), ab + parts / 2 * (softer - ab), atol=1e-5)


def test_restraint_of_a_coloring(tiny):
    """Bold colors lose chroma by it, but none that they have at the higher temperature."""
    coloring = tiny.prepare(gray_photo(90, 120), 64)
    bold, restrained, most, soft = (
        lab(coloring.render(temperature=t, restraint=r))[1:].norm(dim=0).mean()
        for t, r in ((0.3, 0.0), (0.3, 0.5), (0.3, 1.0), (0.5, 0.0))
    )
    assert soft < most < restrained < bold


def test_a_hint_of_an_srgb_color():
    hint = Hint.from_rgb(3, 4, (200, 30, 90.5), radius=2)
    assert (hint.x, hint.y, hint.radius) == (3, 4, 2)
    assert (hint.a, hint.b) == pytest.approx(rgb2lab(np.array([200, 30, 90.5]) / 255)[1:], abs=0.02)
    gray = Hint.from_rgb(0, 0, (7, 7, 7))
    assert (gray.a, gray.b) == pytest.approx((0, 0), abs=0.02) and gray.radius is None
    for text, rgb in (("#3f6fb5", (63, 111, 181)), (" brown ", (165, 42, 42)), ("hsl(120, 100%, 50%)", (0, 255, 0))):
        assert Hint.from_rgb(3, 4, text) == Hint.from_rgb(3, 4, rgb) == Hint.from_rgb(3, 4, np.array(rgb))


@pytest.mark.parametrize(
    "rgb", ["reddish", "", "rgb(300, 0, 0)", (1, 2), (1, 2, 3, 4), (1, 2, 256), (-1, 0, 0), (0, math.nan, 0), None, 7]
)
def test_what_is_no_color(rgb):
    with pytest.raises(ColorizerError, match="is no color: write it like '#3f6fb5' or "):
        Hint.from_rgb(3, 4, rgb)


def test_one_hint_for_an_image(tiny):
    photo, hint = gray_photo(90, 120), Hint(60, 40, a=60, b=-50, radius=20)
    assert np.array_equal(tiny(photo, hints=hint).pixels, tiny(photo, hints=[hint]).pixels)


def test_hints_tell_the_tint(tiny):
    """With five hints half of the balance is left, with ten a third."""
    coloring = tiny.prepare(gray_photo(90, 120), 64)
    for count, left in ((5, 0.45), (10, 0.3)):
        hinted = coloring.with_hints([Hint(10 * i, 8 * i, a=60, b=-50, radius=2) for i in range(count)])
        maps = hinted._guide_maps(1.0, 0.0, left)
        assert not torch.equal(maps, hinted._guide_maps(1.0, 0.0, 0.0))
        hinted.render(balance=0.9, temperature=1.0)
        assert torch.equal(hinted._maps[1], maps)


@pytest.mark.parametrize(
    "dials",
    [
        {"colorfulness": -0.1},
        {"colorfulness": 3.1},
        {"colorfulness": float("nan")},
        {"colorfulness": "2"},
        {"temperature": 0},
        {"temperature": 2.5},
        {"working_size": 31},
        {"working_size": 2049},
        {"balance": -0.1},
        {"balance": 1.1},
        {"restraint": -0.1},
        {"restraint": 1.1},
    ],
)
def test_dials_out_of_range(dials, tiny):
    with pytest.raises(ColorizerError, match=next(iter(dials))):
        tiny(gray_photo(), **{"working_size": 32} | dials)
    with pytest.raises(ColorizerError, match="max_side"):
        tiny.prepare(gray_photo(), 32).render(max_side=0)


def test_what_a_model_cannot_do_is_said():
    pipe = ColorizationPipeline(Known(), "cpu")
    coloring = pipe.prepare(gray_photo(), 32)
    with pytest.raises(ColorizerError, match="temperature"):
        coloring.render(temperature=0.5)
    with pytest.raises(ColorizerError, match="confidence"):
        _ = coloring.confidence
    with pytest.raises(ColorizerError, match="hints"):
        coloring.with_hints([Hint(1, 1, 20, 20)])
    for refer in (coloring.with_reference, lambda reference: pipe(gray_photo(), reference=reference)):
        with pytest.raises(ColorizerError, match="known predicts one color, .*: it takes no reference"):
            refer(Photo(data.coffee()))
    with pytest.raises(ColorizerError, match="autoencoder"):
        ColorizationPipeline(Reader())
    with pytest.raises(ColorizerError, match="gpu"):
        ColorizationPipeline(Known(), "gpu")


def test_confidence_is_one_minus_entropy(tiny):
    coloring = tiny.prepare(gray_photo(), 32)
    assert coloring.confidence.dtype == np.float32
    coloring.prediction = torch.zeros_like(coloring.prediction)
    assert np.abs(coloring.confidence).max() < 1e-5
    coloring.prediction[:, 7] = 100
    assert np.abs(coloring.confidence - 1).max() < 1e-5


def test_regression_head(tiny_model):
    config = tiny_model.config | {"head": "regression"}
    pipe = ColorizationPipeline(create_model("fusion", **config), "cpu")
    coloring = pipe.prepare(gray_photo(), 64)
    ab = pipe.model.eval()(coloring.lightness)
    assert coloring.prediction.shape[-1] * 4 == ab.shape[-1]
    assert coloring.render().pixels.shape == (90, 120, 3)
    hinted = coloring.with_hints([Hint(60, 40, a=60, b=-50, radius=20)])
    assert not torch.equal(hinted.prediction, coloring.prediction)
    known = coloring.with_hints([])
    known.prediction = torch.tensor([30.0, -20.0])[:, None, None].expand_as(coloring.prediction[0])[None]
    lab = color.rgb_to_lab(torch.from_numpy(known.render(1, balance=0).pixels.copy()).permute(2, 0, 1) / 255)
    place = (lab[0] - 60).abs().argmin()  # where both fit into the gamut
    assert lab[1:].flatten(1)[:, place].tolist() == pytest.approx([30, -20], abs=2)


# ------------------------------------------------------------------------------------------------------ hints


def test_hints_reach_the_network_but_not_the_embedder(tiny, calls):
    photo = gray_photo(180, 240)
    coloring = tiny.prepare(photo, 64)
    hinted = coloring.with_hints([Hint(120, 90, a=60, b=-50, radius=20)])
    assert calls == {"embed": 1, "logits": 2}
    assert not torch.equal(hinted.prediction, coloring.prediction)
    assert torch.equal(hinted.embedding[0], coloring.embedding[0])
    assert coloring.hints == [] and len(hinted.hints) == 1
    at_once = tiny.prepare(photo, 64, hints=hinted.hints)
    assert torch.allclose(at_once.prediction, hinted.prediction, atol=1e-4)
    assert torch.allclose(hinted.with_hints([]).prediction, coloring.prediction, atol=1e-4)
    assert np.array_equal(tiny(photo, working_size=64, hints=hinted.hints).pixels, at_once.render().pixels)


def test_hints_are_painted_where_they_stand(tiny):
    coloring = tiny.prepare(gray_photo(128, 192), 64)  # a working copy of 64 x 96: half the size
    for hint, rows, columns in [
        (Hint(0, 0, 10, 20, 0), slice(0, 1), slice(0, 1)),
        (Hint(191, 127, 10, 20, 0), slice(63, 64), slice(95, 96)),
        (Hint(0, 0, 10, 20), slice(0, 2), slice(0, 2)),  # two pixels of the copy each way
        (Hint(100, 60, 10, 20), slice(28, 32), slice(48, 52)),
        (Hint(100, 60, 10, 20, radius=0.1), slice(30, 31), slice(50, 51)),
        (Hint(100, 60, 10, 20, radius=4), slice(28, 32), slice(48, 52)),
        (Hint(0, 60, 10, 20, radius=1000), slice(0, 64), slice(0, 96)),
    ]:
        hint_map = coloring._hint_map([hint])
        expected = torch.zeros(3, 64, 96)
        expected[:, rows, columns] = torch.tensor([10.0, 20.0, 1.0])[:, None, None]
        assert torch.equal(hint_map, expected), hint


@pytest.mark.parametrize("gain, shown", [(1.25, (8, 16)), (0.1, (100, 110)), (0, (10, 20))])
def test_hints_are_colors_of_the_result(gain, shown, tiny, monkeypatch):
    """What the default colorfulness will do to them is taken off before, within the range of ab."""
    monkeypatch.setattr(tiny.model, "defaults", tiny.model.defaults | {"colorfulness": gain})
    hint_map = tiny.prepare(gray_photo(128, 192), 64)._hint_map([Hint(100, 60, 10, 20)])
    assert hint_map[:, 30, 50].tolist() == pytest.approx([*shown, 1])


def bars() -> Photo:
    """Three bars of gray, the outer ones alike."""
    pixels = np.full((120, 180), 150, np.uint8)
    pixels[:, 60:120] = 60
    return Photo(pixels)


def test_a_hint_colors_the_thing_that_it_reaches(tiny):
    """A network with random weights carries a hint nowhere in particular."""
    coloring = tiny.prepare(bars(), 64)
    hint = Hint(30, 60, a=30, b=-40, radius=5)
    gain = tiny.model.defaults["colorfulness"]

    def ab(reach) -> np.ndarray:
        result = coloring.with_hints([dataclasses.replace(hint, reach=reach)]).render(gain, restraint=0)
        return rgb2lab(result.pixels)[..., 1:]

    none, half = ab(0), ab(None)
    assert np.array_equal(half, ab(0.5))
    inner = np.s_[5:115, 5:50]
    assert np.abs(half[inner] - (30, -40)).max() < 2 < np.abs(none[inner] - (30, -40)).max()
    for apart in (np.s_[:, 70:110], np.s_[:, 130:]):
        assert np.abs(half[apart] - none[apart]).max() < 1


def test_no_reach_leaves_a_hint_to_the_network(tiny, monkeypatch):
    monkeypatch.setattr(pipeline, "spread", lambda *given: pytest.fail("it was spread"))
    hinted = tiny.prepare(bars(), 64).with_hints([Hint(30, 60, 30, -40, 5, reach=0)])
    assert hinted.filled is None
    ab = tiny._ab(hinted.prediction, 1.0, 0.0)
    alone = pipeline.guide_maps(pipeline._resize(hinted.lightness, ab.shape[-2:]), ab)
    assert torch.equal(hinted._guide_maps(1.0, 0.0, 0.0), alone)


@pytest.mark.parametrize("reach", [0, None])
@pytest.mark.parametrize("place", [(30, 60), (31, 63), (33, 57), (36, 61)])  # in a place's middle and near its edges
def test_a_hint_beside_one_that_reaches_it_keeps_its_place(tiny, place, reach):
    coloring = tiny.prepare(bars(), 64)
    near, far = Hint(*place, -30, -20, reach=reach), Hint(15, 20, 40, 40, reach=1)
    gain = tiny.model.defaults["colorfulness"]
    x, y = place
    alone, beside = (
        rgb2lab(coloring.with_hints(hints).render(gain, restraint=0).pixels)[y, x, 1:]
        for hints in ([near], [near, far])
    )
    if reach is None:
        assert np.abs(beside - (-30, -20)).max() < 3
    else:  # a network with random weights hears the other hint, too, if little
        assert np.abs(beside - alone).max() < 0.2 * np.abs(np.subtract((40, 40), alone)).max()


def test_another_reach_needs_no_network(tiny, calls):
    reference = Image.fromarray(data.coffee())
    hint = Hint(30, 60, a=30, b=-40, radius=5)
    hinted = tiny.prepare(bars(), 64).with_hints([hint]).with_reference(reference, 0.7)
    counted = dict(calls)
    further = hinted.with_hints([dataclasses.replace(hint, reach=1)])
    small = hinted.small(60).with_hints([dataclasses.replace(hint, reach=1)]).render(max_side=60)
    assert np.abs(small.pixels.astype(int) - further.render(max_side=60).pixels)[2:-2, 2:18].mean() < 2
    assert calls == counted and further.prediction is hinted.prediction
    assert not torch.equal(further.filled, hinted.filled) and not np.array_equal(
        further.render().pixels, hinted.render().pixels
    )
    anew = tiny.prepare(bars(), 64, further.hints, reference=reference, likeness=0.7)
    assert np.array_equal(anew.render().pixels, further.render().pixels)
    counted = dict(calls)
    none = further.with_hints([])
    assert none.filled is None and calls == counted
    untouched = tiny.prepare(bars(), 64, reference=reference, likeness=0.7)
    assert np.array_equal(none.render().pixels, untouched.render().pixels)


def test_on_a_large_working_copy_the_reach_is_found_on_fewer_places(tiny, monkeypatch):
    """Each hint would take half a second otherwise."""
    sizes = []
    monkeypatch.setattr(pipeline, "MOST_PLACES", 96)
    monkeypatch.setattr(pipeline, "spread", lambda *given: sizes.append(given[3].shape) or spread(*given))
    hinted = tiny.prepare(bars(), 96).with_hints([Hint(30, 60, 30, -40, 5)])
    assert sizes == [(8, 13)] and hinted.filled.shape[-2:] == hinted.prediction.shape[-2:] == (24, 40)
    share = hinted.filled[2]
    assert share[:, :11].min() > 0.9 and share[:, 16:].max() < 0.1


def test_previews_show_how_far_hints_reach(tiny):
    coloring = tiny.prepare(bars(), 64)
    hinted = coloring.with_hints([Hint(30, 60, 60, -60, 5)])
    small, whole, automatic = (
        one.render(max_side=60).pixels.astype(int) for one in (hinted.small(60), hinted, coloring)
    )
    assert np.abs(small - whole)[2:-2, 2:18].mean() < 1 < np.abs(small - automatic)[2:-2, 2:18].mean()


def test_a_reach_with_a_model_of_one_color(tiny_model):
    """It tells things apart by the colors that it would give them."""
    pipe = ColorizationPipeline(create_model("fusion", **tiny_model.config | {"head": "regression"}), "cpu")
    hinted = pipe.prepare(bars(), 64, [Hint(30, 60, 30, -40, 5)])
    gain = pipe.model.defaults["colorfulness"]
    assert np.abs(rgb2lab(hinted.render(gain).pixels)[5:115, 5:50, 1:] - (30, -40)).max() < 3
    assert hinted.filled[2, :, 12:].max() == 0


@pytest.mark.parametrize("max_side", [60, 30])
def test_a_reach_with_a_model_of_one_color_for_every_pixel(max_side):
    model = Known(0.0, 0.0)
    model.accepts_hints = True
    pipe = ColorizationPipeline(model, "cpu")
    hinted = pipe.prepare(bars(), 64, [Hint(30, 60, 30, -40, 5)])
    small, whole = (one.render(1.0, max_side=max_side).pixels.astype(int) for one in (hinted.small(max_side), hinted))
    assert np.abs(small - whole)[2:-2, 2 : max_side // 4].mean() < 3
    assert np.ptp(whole[max_side // 3, max_side // 8]) > 40


@pytest.mark.parametrize(
    "hint",
    [
        Hint(-1, 5, 0, 0),
        Hint(5, 90, 0, 0),
        Hint(120, 5, 0, 0),
        Hint(5, 5, 300, 0),
        Hint(5, 5, 0, 0, -1),
        *(Hint(*[math.nan if i == place else 5 for i in range(5)]) for place in range(5)),
        Hint(5, 5, 0, 0, math.inf),
        *(Hint(5, 5, 0, 0, 2, reach) for reach in (-0.1, 1.1, "far", True, math.nan)),
    ],
)
def test_bad_hints(hint, tiny):
    finite = all(math.isfinite(number) for number in dataclasses.astuple(hint)[:5] if number is not None)
    with pytest.raises(ColorizerError, match="[Hh]int" if finite else "must be finite"):
        tiny.prepare(gray_photo(), 32).with_hints([hint])


# ----------------------------------------------------------------------------------------------------- guesses


@pytest.mark.parametrize(
    ("guess", "direction"),
    [("warmer", (0.5, 0.87)), ("cooler", (-0.34, -0.94)), ("greener", (-0.77, 0.64)), ("rosier", (1.0, 0.0))],
)
def test_another_guess_moves_what_is_open(tiny, guess, direction):
    """And leaves what is sure."""
    coloring = tiny.prepare(gray_photo(), 64)
    centers = tiny._decoder.bins.centers
    open_to_all = torch.zeros_like(coloring.prediction)
    moved = tiny._ab(open_to_all, 0.6, 0.0, guess).mean((0, 2, 3)) - centers.mean(0)
    assert moved @ torch.tensor(direction) > 0.6 * moved.norm() > 9
    open_to_all[:, 7] = 20
    assert torch.allclose(tiny._ab(open_to_all, 0.6, 0.0, guess)[0, :, 0, 0], centers[7], atol=0.1)


def test_a_plainer_guess_is_nearer_to_gray(tiny):
    coloring = tiny.prepare(gray_photo(), 64)
    first, plainer = (tiny._ab(coloring.prediction, 0.6, 0.0, guess).norm(dim=1).mean() for guess in (None, "plainer"))
    assert plainer < 0.9 * first


def test_guesses_from_every_door_of_the_package(tiny, calls):
    photo = gray_photo()
    coloring = tiny.prepare(photo, 64)
    shown = {guess: coloring.render(guess=guess).pixels for guess in (None, *GUESSES)}
    assert calls["logits"] == 1
    assert len({pixels.tobytes() for pixels in shown.values()}) == 6
    assert np.array_equal(coloring.render().pixels, shown[None])  # not what was kept of the last one
    assert np.array_equal(tiny(photo, working_size=64, guess="rosier").pixels, shown["rosier"])
    for guess in ("worse", "", 1):
        with pytest.raises(ColorizerError, match=f"guess is one of warmer, .*, not {guess!r}"):
            coloring.render(guess=guess)
    with pytest.raises(ColorizerError, match="known predicts one color, .*: it has no other guess"):
        ColorizationPipeline(Known(), "cpu")(photo, guess="warmer")


# -------------------------------------------------------------------------------------------------- references


def test_a_reference_leads_the_colors(tiny, calls):
    """The network looks at the reference, once for all photos."""
    photo, reference = gray_photo(), Photo(data.coffee())
    coloring = tiny.prepare(photo, 64)
    automatic, known = coloring.render().pixels, Reference(reference)
    assert calls == {"embed": 1, "logits": 1}
    led = coloring.with_reference(known, 0.8)
    shown = led.render(temperature=0.4).pixels
    assert calls == {"embed": 2, "logits": 2}
    coloring.embedding = None  # as the page has it, which is short of memory
    assert np.array_equal(coloring.with_reference(known, 0.8).render(temperature=0.4).pixels, shown)
    assert calls == {"embed": 2, "logits": 2}
    assert coloring.reference is None and np.array_equal(coloring.render().pixels, automatic)
    assert np.array_equal(led.with_reference(None).render().pixels, automatic)
    assert np.array_equal(coloring.with_reference(reference, 0).render().pixels, automatic)
    assert not np.array_equal(coloring.render(temperature=0.4).pixels, shown)
    for again in (
        coloring.with_reference(reference.to_pil(), 0.8),
        coloring.with_reference(Reference(reference), 0.8),
        tiny.prepare(photo, 64, reference=reference, likeness=0.8),
    ):
        assert np.array_equal(again.render(temperature=0.4).pixels, shown)
    half = coloring.with_reference(reference)
    assert half.likeness == 0.5 and np.array_equal(
        tiny(photo, working_size=64, reference=reference).pixels, half.render().pixels
    )


def test_the_colors_become_the_reference_s(tiny):
    """Also those of a network of random weights, which holds all colors for likely: of a red picture mostly red."""
    ramp = np.linspace(40, 255, 80)[None, :, None] * [1, 0.3, 0.3]
    reference = Photo(np.repeat(ramp, 60, axis=0).astype(np.uint8))
    coloring = tiny.prepare(gray_photo(), 64)
    before, after = (
        rgb2lab(one.render(1, 1.0, balance=0, restraint=0).pixels)[..., 1].mean()
        for one in (coloring, coloring.with_reference(reference, 1))
    )
    assert after > before + 15


def test_hints_and_a_reference_go_together(tiny):
    photo, reference, hints = gray_photo(), Photo(data.coffee()), [Hint(60, 40, a=60, b=-50, radius=20)]
    coloring = tiny.prepare(photo, 64)
    one = coloring.with_hints(hints).with_reference(reference, 0.8)
    other = coloring.with_reference(reference, 0.8).with_hints(hints)
    assert other.reference is not None and other.likeness == 0.8
    assert np.array_equal(one.render().pixels, other.render().pixels)
    assert not np.array_equal(one.render().pixels, coloring.with_reference(reference, 0.8).render().pixels)
    assert not np.array_equal(one.render().pixels, coloring.with_hints(hints).render().pixels)


def test_a_reference_tells_the_tint(tiny):
    """With a likeness of 0.75 a quarter of the balance is left."""
    led = tiny.prepare(gray_photo(), 64).with_reference(Photo(data.coffee()), 0.75)
    maps = led._guide_maps(1.0, 0.0, 0.2)
    led.render(balance=0.8, temperature=1.0, restraint=0)
    assert torch.equal(led._maps[1], maps) and not torch.equal(maps, led._guide_maps(1.0, 0.0, 0.8))


def test_one_reference_for_many_photos(tiny):
    photos, reference = [gray_photo(60, 80), gray_photo(90, 60)], Photo(data.coffee())
    results = tiny(photos, working_size=64, reference=reference, likeness=1)
    for photo, result in zip(photos, results, strict=True):
        assert np.array_equal(result.pixels, tiny(photo, working_size=64, reference=reference, likeness=1).pixels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"reference": Photo(data.camera(), name="old.jpg")}, "old.jpg is gray"),
        ({"reference": 7}, "A reference is a path"),
        ({"reference": "nowhere.jpg"}, "nowhere.jpg"),
        ({"reference": Photo(data.coffee()), "likeness": 1.1}, "likeness must be a number from 0 to 1"),
        ({"reference": Photo(data.coffee()), "likeness": True}, "likeness must be a number from 0 to 1"),
        ({"likeness": 0.5}, "likeness is that to a reference, and there is none"),
    ],
)
def test_bad_references(tiny, given, words):
    with pytest.raises(ColorizerError, match=words):
        tiny(gray_photo(), working_size=32, **given)


# ---------------------------------------------------------------------------------------------------- batches


def test_batches_of_different_sizes(tiny, calls):
    sizes = [(60, 80), (90, 60), (120, 160), (60, 80), (61, 61), (30, 40)]
    photos = [gray_photo(*size) for size in sizes]
    photos[3] = Photo(data.coffee()[:60, :80])
    results = tiny(photos, working_size=64, batch_size=2)
    # Four of 64 x 96 in two runs, and one run each for the two other shapes.
    assert calls["logits"] == 4
    for photo, result in zip(photos, results, strict=True):
        single = tiny(photo, working_size=64)
        assert result.pixels.shape[:2] == photo.pixels.shape[:2]
        assert np.abs(result.pixels.astype(int) - single.pixels).max() <= 2
    assert tiny([]) == []


def test_batches_with_hints_for_some(tiny):
    photos = [gray_photo(), gray_photo()]
    hints = [None, [Hint(60, 40, 50, 50, 10)]]
    plain, hinted = tiny.prepare(photos, 32, hints)
    assert torch.allclose(plain.prediction, tiny.prepare(photos[0], 32).prediction, atol=1e-4)
    assert torch.allclose(hinted.prediction, tiny.prepare(photos[1], 32, hints[1]).prediction, atol=1e-4)
    with pytest.raises(ColorizerError, match="hints"):
        tiny.prepare(photos, 32, [[Hint(1, 1, 1, 1)]])


def test_return_dict(tiny):
    colored = Image.fromarray(data.coffee()[:40, :60])
    answer = tiny(colored, working_size=32, return_dict=True)
    assert set(answer) == {"image", "coloring", "confidence", "truth"}
    assert answer["image"].mode == "RGB" and answer["confidence"].shape == answer["coloring"].lightness.shape[-2:]
    assert np.array_equal(np.asarray(answer["truth"]), np.asarray(colored))
    first, second = ColorizationPipeline(Known(), "cpu")([gray_photo(), colored], return_dict=True)
    assert first["confidence"] is None and first["truth"] is None and isinstance(first["image"], Photo)
    assert np.array_equal(np.asarray(second["truth"]), np.asarray(colored))


def test_the_network_is_one_method_of_cpu_tensors(tiny):
    """The page hands run_network to ZeroGPU: it must be looked up at each call and return tensors of the CPU."""
    seen = []
    original = tiny.run_network

    def lent(*args):
        seen.append(args)
        embedding, prediction = original(*args)
        assert all(part.device.type == "cpu" for part in (*embedding, prediction))
        return embedding, prediction

    tiny.run_network = lent
    coloring = tiny.prepare(gray_photo(), 32)
    coloring.with_hints([Hint(1, 1, 20, 20)])
    assert len(seen) == 2 and seen[0][2] is None and seen[1][2] is not None


def test_threads_share_a_pipeline(tiny):
    photos = [gray_photo(60 + 10 * i, 80) for i in range(4)]
    expected = [tiny(photo, working_size=32).pixels for photo in photos]
    results: list = [None] * 4

    def work(i):
        results[i] = tiny(photos[i], working_size=32).pixels

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert np.abs(got.astype(int) - wanted).max() <= 1


def test_from_pretrained_reads_a_folder(tiny_folder):
    pipe = ColorizationPipeline.from_pretrained(tiny_folder, device="cpu")
    assert pipe.device.type == "cpu" and not pipe.model.training
    assert pipe(gray_photo(), working_size=32).pixels.shape == (90, 120, 3)


def test_levels_are_stretched_where_they_have_faded():
    full = torch.linspace(0, 100, 64 * 64).reshape(1, 1, 64, 64)
    assert torch.equal(stretched(full), full)
    for faded in (40 + 0.3 * full, 0.4 * full, 95 - 0.2 * full):
        seen = stretched(faded)
        low, high = np.percentile(seen.numpy(), np.array(TAILS) / 10)
        assert high - low == pytest.approx(SPAN, abs=0.5) and 0 <= seen.min() and seen.max() <= 100
        order = faded.flatten().argsort()
        assert (seen.flatten()[order].diff() >= 0).all()
    nearly = 7.5 + 0.859 * full  # just under the span: hardly a change
    assert (stretched(nearly) - nearly).abs().max() < 0.5
    flat = torch.full((1, 1, 8, 8), 30.0)
    assert stretched(flat).isfinite().all() and stretched(flat).std() == 0
    noise = 50 + 0.01 * torch.randn(1, 1, 64, 64)
    assert stretched(noise).std() < 0.2  # nothing is made of nothing
    together = stretched(torch.cat([full, 0.4 * full, nearly]))  # each by its own levels
    assert torch.equal(together, torch.cat([full, stretched(0.4 * full), stretched(nearly)]))


def test_a_night_sky_with_a_moon_stays_dark():
    """Of a subject too small to count the levels stay where they are, and do not jump when it is larger."""
    torch.manual_seed(3)
    for level in (2.0, 98.0):
        sky = (level + 0.2 * torch.randn(1, 1, 96, 96)).clamp(0, 100)
        sky[..., 40:44, 40:44] = 100 - level
        seen = stretched(sky)
        assert abs(seen.median() - level) < 4
        assert (seen[..., 41, 41] - (100 - level)).abs() < 3
    for contrast in (8.4, 8.6):  # about where MOST_STRETCHED ends
        shades = torch.linspace(20, 20 + contrast, 64 * 64).reshape(1, 1, 64, 64)
        assert stretched(shades).median() == pytest.approx(42.5, abs=1)


def sharpness(lightness: torch.Tensor) -> float:
    """How many times as steep an (1, 1, h, w) image is as after a blur, by other code than the pipeline's."""

    def steepness(image: np.ndarray) -> float:
        down, across = image[2:] - image[:-2], image[:, 2:] - image[:, :-2]
        return math.sqrt((down**2).sum() + (across**2).sum())

    image = lightness[0, 0].double().numpy()
    return steepness(image) / steepness(ndimage.gaussian_filter(image, BLUR, mode="nearest", truncate=4))


def test_what_is_soft_is_sharpened_as_far_as_it_lacks():
    lightness = LightnessPlane(Photo(data.camera()))
    sharp = lightness.reduced((192, 192))
    assert sharpness(sharp) > SHARP and torch.equal(sharpened(sharp), sharp)
    small = 20 + 0.6 * lightness.reduced((128, 128))  # so that nothing comes to black or white
    soft, nearly = (
        torch.from_numpy(ndimage.gaussian_filter(small.numpy(), (0, 0, sigma, sigma), mode="nearest"))
        for sigma in (0.9, 0.3)
    )
    assert sharpness(soft) < SHARP - 0.1 < SHARP < sharpness(nearly)
    assert sharpness(sharpened(soft)) == pytest.approx(SHARP, abs=1e-3)
    assert torch.equal(sharpened(nearly), nearly)
    error = (soft - small).square().mean()
    assert (sharpened(soft) - small).square().mean() < 0.8 * error  # it is nearer to what it was
    blurred = torch.from_numpy(ndimage.gaussian_filter(small.numpy(), (0, 0, 3, 3)))
    detail = blurred.numpy() - ndimage.gaussian_filter(blurred.numpy(), (0, 0, BLUR, BLUR), mode="nearest", truncate=4)
    assert np.allclose(sharpened(blurred).numpy(), blurred.numpy() + MOST_SHARPENED * detail, atol=1e-2)
    together = sharpened(torch.cat([small, soft, blurred]))  # each by its own sharpness
    assert torch.allclose(together, torch.cat([small, sharpened(soft), sharpened(blurred)]), atol=1e-3)


def test_what_shows_nothing_is_not_sharpened():
    for flat in (torch.full((1, 1, 8, 40), 30.0), torch.zeros(1, 1, 32, 32), torch.full((1, 1, 33, 2), 100.0)):
        assert (sharpened(flat) - flat).abs().max() < 1e-3
    ramp = torch.linspace(5, 95, 224).expand(1, 1, 224, 224)
    assert (sharpened(ramp) - ramp)[..., 8:-8].abs().max() < 1e-2  # a sky gets no edges
    noise = 50 + 5 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sharpened(noise), noise)
    extremes = torch.zeros(1, 1, 64, 64)
    extremes[..., 20:40, 20:40] = 100
    extremes = torch.from_numpy(ndimage.gaussian_filter(extremes.numpy(), (0, 0, 2, 2)))
    assert sharpened(extremes).min() >= 0 and sharpened(extremes).max() <= 100


def test_another_default_device_changes_nothing(tiny_model):
    """As after torch.set_default_device("cuda") in a notebook; "meta" stands in for it."""
    pipe = ColorizationPipeline(tiny_model, device="cpu")
    photo = Photo.from_pil(Image.fromarray(data.coffee()[::4, ::4]).convert("RGBA"))
    hint = Hint(20, 20, 30, 10)
    other = Photo(data.astronaut()[::4, ::4])
    wanted = pipe.prepare(photo, 32).with_hints([hint]).with_reference(other)
    with torch.device("meta"):
        pipeline.tilt_of.cache_clear()
        coloring = pipe.prepare(photo, 32).with_hints([hint]).with_reference(other)
        for options in ({}, {"max_side": 40}, {"colorfulness": 0}, {"guess": "warmer"}):
            assert np.array_equal(coloring.render(**options).pixels, wanted.render(**options).pixels)


def test_what_is_no_hint_and_no_size(tiny_model):
    coloring = ColorizationPipeline(tiny_model, device="cpu").prepare(gray_photo(), 32)
    for hint in ((1, 2, 3, 4), 7, True, Hint("1", 0, 0, 0), Hint(1, 1, None, 0), Hint(1, 1, 0, 0, "")):
        with pytest.raises(
            ColorizerError, match=r"^Hints are given as Hint\(x, y, a, b, radius, reach\), in numbers, not "
        ):
            coloring.with_hints([hint])
    everywhere = coloring.with_hints([Hint(1, 1, 9, 9, radius=1e308)])
    assert torch.equal(everywhere.prediction, coloring.with_hints([Hint(1, 1, 9, 9, radius=1000)]).prediction)
    for size in (float("nan"), float("inf"), "40"):
        with pytest.raises(ColorizerError, match="^max_side is a number of pixels"):
            coloring.render(max_side=size)


@pytest.mark.parametrize("domain", ["photos", "thumbnails"])
def test_a_network_of_photos_sees_them_sharp_and_with_their_levels(tiny, monkeypatch, domain):
    seen = []
    logits = tiny.model.logits
    monkeypatch.setattr(tiny.model, "domain", domain, raising=False)
    monkeypatch.setattr(
        tiny.model, "logits", lambda lightness, **more: seen.append(lightness) or logits(lightness, **more)
    )
    soft = ndimage.gaussian_filter(gray_photo().pixels.astype(float), 2)
    coloring = tiny.prepare(Photo((90 + soft / 4).astype(np.uint8)), 64)
    leveled = stretched(coloring.lightness)
    assert not torch.equal(leveled, coloring.lightness) and not torch.equal(sharpened(leveled), leveled)
    wanted = sharpened(leveled) if domain == "photos" else coloring.lightness
    assert torch.equal(seen[0], wanted)


def test_a_preview_of_another_size_is_another(tiny):
    coloring = tiny.prepare(gray_photo(), 32)
    for side in (50, 20, 50):
        assert max(coloring.render(max_side=side).pixels.shape[:2]) == side


def test_the_photo_keeps_the_lightness_that_has_faded():
    """Only what the network sees is stretched."""
    gray = np.asarray(Image.fromarray(data.astronaut()).convert("L"))
    faded = (90 + 0.3 * gray).astype(np.uint8)
    coloring = ColorizationPipeline(Known(), "cpu").prepare(Image.fromarray(faded))
    result = np.asarray(coloring.render().to_pil().convert("RGB"))
    before, after = (
        color.rgb_to_lab(torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255)[0]
        for p in (np.stack([faded] * 3, axis=-1), result)
    )
    assert (before - after).abs().mean() < 0.2 and (before - after).abs().max() < 1.5
    assert coloring.lightness.max() - coloring.lightness.min() < 50


class Broken(Known):
    """Predicts what is no number for one photo of its batch."""

    def forward(self, lightness, hints=None, embedding=None):
        ab = super().forward(lightness).clone()
        ab[lightness.flatten(1).amax(1) > 90] = torch.nan
        return ab


def test_colors_that_are_no_numbers_are_refused():
    """They would come out black."""
    pipe = ColorizationPipeline(Broken(), "cpu")
    good = Photo(np.full((40, 40), 120, np.uint8))
    bad = Photo(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    assert pipe(good).pixels.max() > 0
    for photos in (bad, [good, bad]):
        with pytest.raises(ColorizerError, match="^known predicted values that are no numbers"):
            pipe(photos)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_nobody_asked_for_and_cannot_be_used(tiny_model, monkeypatch):
    """A GPU that is full, say: the CPU does its work, with a warning."""
    monkeypatch.setattr(pipeline, "_best_device", lambda: "cuda")
    with pytest.warns(UserWarning, match="'cuda' cannot be used here.*Going on with the CPU"):
        pipe = ColorizationPipeline(tiny_model)
    assert pipe.device.type == "cpu" and pipe(gray_photo(), working_size=32)
    with pytest.raises(ColorizerError, match="'cuda' cannot be used here"):
        ColorizationPipeline(tiny_model, device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
@pytest.mark.parametrize("device", ["cuda", "xpu", "no such"])
def test_a_device_that_is_not_there_changes_nothing(tiny_model, device):
    pipe = ColorizationPipeline(create_model("fusion", **tiny_model.config), "cpu")
    with pytest.raises(ColorizerError, match="'cpu' always can"):
        pipe.to(device)
    assert pipe.device.type == "cpu" and pipe(gray_photo(), working_size=32)

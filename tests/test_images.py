"""Photo: every mode and format in and out, with its metadata; mistakes told in one sentence; whole files or none."""

import errno
import io
import itertools
import os
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin, features
from skimage.color import rgb2lab

from colorizer import images
from colorizer.errors import ColorizerError
from colorizer.images import SUFFIXES, Photo

HEIGHT, WIDTH = 48, 64
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:ColorSpace="65535" tiff:Orientation="1" dc:source="attic">'
    b"<tiff:Orientation>1</tiff:Orientation><exif:PixelXDimension>64</exif:PixelXDimension></rdf:Description>"
    b"</rdf:RDF></x:xmpmeta>"
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = imagecodecs.cms_profile(
    "rgb",
    whitepoint=[0.3127, 0.3290, 1.0],
    primaries=[0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0],
    gamma=2.19921875,
)

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
LOSSY = ["JPEG", "WEBP", pytest.param("AVIF", marks=needs_avif), "HEIF"]


def scene(channels=3, dtype=np.uint8):
    """A smooth picture without symmetry, (H, W) or (H, W, channels); its last channel is the alpha of LA and RGBA."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [x / WIDTH, y / HEIGHT, (x + 2 * y) / (WIDTH + 2 * HEIGHT), 1 - (x * y) / (WIDTH * HEIGHT)]
    order = {1: [2], 2: [2, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    full = np.iinfo(dtype).max
    return (np.stack([planes[i] for i in order], axis=-1) * full).round().astype(dtype).squeeze()


def exif_of(orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Zeiss Ikon"
    exif[ExifTags.Base.Artist] = "A. Adams"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.ImageWidth] = WIDTH
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: "1936:05:04 12:00:00",
        ExifTags.Base.ExposureTime: TiffImagePlugin.IFDRational(1, 125),
        ExifTags.Base.ExifImageWidth: WIDTH,
        ExifTags.Base.ColorSpace: 65535,
        ExifTags.IFD.Interop: {1: "R03"},  # Adobe RGB
        ExifTags.Base.Gamma: TiffImagePlugin.IFDRational(22, 10),
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (47.0, 30.0, 1.5)}
    return exif


def file_of(array_or_image, format, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    file = io.BytesIO()
    if format == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, format, **options)
    return file.getvalue()


def opened(data):
    """What Pillow says of a file that was written."""
    if data[4:8] == b"ftyp" and b"avif" not in data[8:32]:
        return pytest.importorskip("pillow_heif").HeifImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data))


def tiff_of(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **options)
    return file.getvalue()


def png_with_chunk(data, kind, payload):
    """A PNG with one more chunk behind its header."""
    chunk = struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
    return data[:33] + chunk + data[33:]


def sentence(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


# Modes and formats

MODES = [
    ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    ("WEBP", "RGB"), ("WEBP", "RGBA"),
    *(("TIFF", mode) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")),
    ("BMP", "1"), ("BMP", "L"), ("BMP", "P"), ("BMP", "RGB"), ("BMP", "RGBA"),
    ("GIF", "1"), ("GIF", "L"), ("GIF", "P"), ("GIF", "RGB"),
    pytest.param("AVIF", "RGB", marks=needs_avif), pytest.param("AVIF", "RGBA", marks=needs_avif),
    ("HEIF", "L"), ("HEIF", "RGB"), ("HEIF", "RGBA"),
]  # fmt: skip


@pytest.mark.parametrize("format, mode", MODES)
def test_every_mode_comes_back(format, mode, tmp_path):
    source = Image.fromarray(scene(4)).convert("RGB") if mode == "CMYK" else Image.fromarray(scene(4))
    data = file_of(source.convert(mode), format)
    with opened(data) as reference:
        alpha = "A" in reference.getbands() or reference.has_transparency_data
        gray = reference.mode in ("1", "L", "LA")
        expected = np.asarray(reference.convert("L" if gray else "RGB"))
        expected_alpha = np.asarray(reference.convert("RGBA"))[..., 3] if alpha else None

    photo = Photo.open(data)
    assert photo.format == format and photo.pixels.dtype == np.uint8 and photo.is_gray == gray
    assert (photo.height, photo.width) == (HEIGHT, WIDTH)
    assert photo.pixels.flags.c_contiguous and photo.pixels.flags.writeable
    np.testing.assert_allclose(photo.pixels.astype(int), expected, atol=1)
    assert (photo.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(photo.alpha, expected_alpha)

    path = tmp_path / ("out" + photo.suffix)
    photo.save(path)
    again = Photo.open(path)
    assert again.format == {"BMP": "PNG", "GIF": "PNG"}.get(format, format) == photo.output_format
    lossless = again.format in ("PNG", "TIFF")
    assert again.is_gray == gray
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() <= (0 if lossless else 2)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        assert np.abs(again.alpha.astype(int) - photo.alpha).mean() <= (0 if lossless else 2)
    with opened(path.read_bytes()) as written:  # others can read it too
        written.load()
        assert ("icc_profile" in written.info) == (not gray)


@pytest.mark.parametrize("mode, value", [("L", 90), ("RGB", (10, 20, 30)), ("1", 255)])
def test_a_transparent_color_becomes_alpha(mode, value):
    image = Image.new(mode, (8, 6), value)
    image.putpixel((3, 2), 0 if mode != "RGB" else (1, 2, 3))
    photo = Photo.open(file_of(image, "PNG", transparency=value if mode != "1" else 1))
    assert photo.alpha[2, 3] == 255 and photo.alpha.sum() == 255
    assert photo.pixels[0, 0].tolist() == (list(value) if mode == "RGB" else value)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palette_with_transparency(format):
    image = Image.fromarray(scene()).quantize(16)
    photo = Photo.open(file_of(image, format, transparency=3))
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(image) == 3)
    again = Photo.open(photo.encode())
    np.testing.assert_array_equal(again.alpha, photo.alpha)
    np.testing.assert_array_equal(again.pixels, photo.pixels)


def test_the_first_frame_and_page():
    frames = [Image.fromarray(scene()), Image.new("RGB", (WIDTH, HEIGHT))]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        photo = Photo.open(file_of(frames[0], format, save_all=True, append_images=frames[1:], lossless=True))
        assert photo.pixels.mean() > 50, format


def test_a_phones_jpeg_with_several_pictures_is_a_jpeg():
    data = file_of(Image.fromarray(scene()), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert Photo.open(data).format == "JPEG"
    assert Photo.from_pil(Image.open(io.BytesIO(data))).format == "JPEG"


# 16 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_kept_exactly(format, channels, tmp_path):
    array = scene(channels, np.uint16)
    options = {"photometric": "minisblack" if channels < 3 else "rgb"}
    options |= {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    source = tmp_path / f"in.{format.lower()}"
    source.write_bytes(imagecodecs.png_encode(array) if format == "PNG" else tiff_of(array, **options))
    photo = Photo.open(source)
    planes = array.reshape(HEIGHT, WIDTH, -1)
    colors = 1 if channels < 3 else 3
    assert photo.pixels.dtype == np.uint16 and photo.is_gray == (channels < 3)
    np.testing.assert_array_equal(photo.pixels.reshape(HEIGHT, WIDTH, -1), planes[..., :colors])
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, planes[..., -1])
    else:
        assert photo.alpha is None

    photo.save(tmp_path / f"out{photo.suffix}")
    again = Photo.open(tmp_path / f"out{photo.suffix}")
    assert again.format == format
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    np.testing.assert_array_equal(again.alpha, photo.alpha)
    if format == "TIFF":  # another reader's view
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), array)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"tile": (16, 16), "compression": "zlib"},
        {"bigtiff": True},
        {"rowsperstrip": 5},
    ],
    ids=lambda options: "-".join(map(str, itertools.chain(*options.items()))),
)
def test_layouts_of_16_bit_tiff(options):
    array = scene(3, np.uint16)
    stored = np.moveaxis(array, -1, 0) if "planarconfig" in options else array
    photo = Photo.open(tiff_of(stored, photometric="rgb", **options))
    np.testing.assert_array_equal(photo.pixels, array)


def test_tiff_samples_of_other_kinds():
    gray = scene(1, np.uint16)
    np.testing.assert_array_equal(Photo.open(tiff_of(gray, photometric="miniswhite")).pixels, 65535 - gray)
    np.testing.assert_array_equal(Photo.open(tiff_of(gray.astype(np.uint32) << 16)).pixels, gray)
    np.testing.assert_array_equal(Photo.open(tiff_of((gray / 65535).astype(np.float32))).pixels, gray)
    half = (gray / 65535).astype(np.float16)
    np.testing.assert_allclose(Photo.open(tiff_of(half)).pixels, half.astype(float) * 65535, atol=0.6)
    twelve = Photo.open(tiff_of(gray >> 4, bitspersample=12))
    np.testing.assert_allclose(twelve.pixels.astype(int), gray, atol=16)

    color, alpha = np.full((8, 8, 3), 20000, np.uint16), np.full((8, 8, 1), 32768, np.uint16)
    alpha[0, 0], color[0, 0] = 0, 0
    multiplied = np.concatenate((color, alpha), axis=2)
    photo = Photo.open(tiff_of(multiplied, photometric="rgb", extrasamples=["assocalpha"]))
    assert abs(int(photo.pixels[4, 4, 0]) - 40000) < 3 and photo.alpha[4, 4] == 32768 and photo.pixels[0, 0, 0] == 0


def peak(data):
    """Bytes a pixel of what opening the file takes at once, what is returned included."""
    tracemalloc.start()
    try:
        photo = Photo.open(data)
        return tracemalloc.get_traced_memory()[1] / (photo.width * photo.height)
    finally:
        tracemalloc.stop()


def test_unusual_tiffs_take_little_more_memory_than_they_hold(monkeypatch):
    """At once there are what the file holds, the photo, and a band."""
    monkeypatch.setattr(images, "_BAND", 1 << 14)
    color, alpha = np.full((600, 800, 3), 20000, np.uint16), np.full((600, 800, 1), 32768, np.uint16)
    multiplied = tiff_of(np.concatenate((color, alpha), 2), photometric="rgb", extrasamples=["assocalpha"])
    doubles = tiff_of(np.full((600, 800, 3), 0.25), photometric="rgb")
    many = tiff_of(np.full((600, 800, 11), 0.25), photometric="rgb", extrasamples=["unspecified"] * 8)
    for data, held, returned in ((multiplied, 8, 8), (doubles, 24, 6), (many, 88, 6)):
        assert peak(data) < held * 1.1 + returned + 8


def test_many_samples_count_against_the_limit():
    many = tiff_of(np.zeros((50, 50, 11)), photometric="rgb", extrasamples=["unspecified"] * 8)
    assert Photo.open(many, max_megapixels=0.0025 * 88 / 16).pixels.max() == 0
    with pytest.raises(ColorizerError, match=r"has 0 megapixels \(50 x 50\) of 88 bytes each: save it as 8 or 16-bit"):
        Photo.open(many, max_megapixels=0.0025 * 87 / 16)


def test_16_bit_png_with_a_transparent_color():
    array = scene(3, np.uint16)
    data = png_with_chunk(imagecodecs.png_encode(array), b"tRNS", array[5, 7].astype(">u2").tobytes())
    photo = Photo.open(data)
    assert photo.alpha.dtype == np.uint16 and photo.alpha[5, 7] == 0 and (photo.alpha == 0).sum() == 1
    np.testing.assert_array_equal(photo.pixels, array)


def test_16_bits_become_8_where_they_must():
    photo = Photo.from_pil(Image.fromarray(scene(1, np.uint16)))
    assert photo.pixels.dtype == np.uint16
    assert photo.to_pil().mode == "L"
    np.testing.assert_array_equal(np.asarray(photo.to_pil()), np.rint(scene(1, np.uint16) / 257))
    assert opened(photo.encode("JPEG")).mode == "L"
    color = Photo(scene(3, np.uint16), scene(1, np.uint16))
    assert color.to_pil().mode == "RGBA" and opened(color.encode("WEBP")).mode == "RGBA"


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_to_color_and_alpha(format, orientation):
    data = file_of(scene(4), format, exif=exif_of(orientation).tobytes(), lossless=True, exact=True)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    photo = Photo.open(data)
    np.testing.assert_array_equal(np.dstack((photo.pixels, photo.alpha)), expected)
    assert (photo.width < photo.height) == (orientation > 4)

    written = opened(photo.encode())
    assert written.size == (photo.width, photo.height)
    assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert written.getexif()[ExifTags.Base.Make] == "Zeiss Ikon"
    again = Photo.open(photo.encode("PNG"))
    np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", pytest.param("AVIF", marks=needs_avif), "HEIF"])
def test_orientation_of_lossy_files(format, orientation):
    upright = Image.fromarray(scene())
    data = file_of(upright, format, exif=exif_of(orientation).tobytes())
    turned = ImageOps.exif_transpose(opened(data))
    photo = Photo.open(data)
    assert np.abs(photo.pixels.astype(int) - np.asarray(turned)).mean() < 2
    assert opened(photo.encode()).getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bits(orientation):
    extra = [(274, "H", 1, orientation, True)]
    data = tiff_of(scene(4, np.uint16), photometric="rgb", extrasamples=["unassalpha"], extratags=extra)
    photo = Photo.open(data)
    eight = Image.fromarray((scene(4, np.uint16) >> 8).astype(np.uint8))
    eight.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(eight))
    np.testing.assert_array_equal(np.dstack((photo.pixels, photo.alpha)) >> 8, expected)
    assert Photo.open(photo.encode()).pixels.shape == photo.pixels.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(orientation):
    photo = Photo.open(file_of(scene(4), "PNG", exif=exif_of(orientation).tobytes(), dpi=(200, 100)))
    np.testing.assert_array_equal(np.dstack((photo.pixels, photo.alpha)), scene(4))
    assert photo.dpi == pytest.approx((200, 100), rel=1e-3)
    exif = opened(photo.encode()).getexif()
    assert exif[ExifTags.Base.Make] == "Zeiss Ikon" and exif.get(ExifTags.Base.Orientation, 1) == 1


def test_orientation_that_only_xmp_tells():
    xmp = XMP.replace(b'tiff:Orientation="1"', b'tiff:Orientation="6"').replace(
        b"<tiff:Orientation>1<", b"<tiff:Orientation>6<"
    )
    photo = Photo.open(file_of(scene(), "JPEG", xmp=xmp))
    assert (photo.width, photo.height) == (HEIGHT, WIDTH)
    assert Photo.open(photo.encode()).width == HEIGHT


# Metadata


@pytest.mark.parametrize("gray", [False, True], ids=["color", "gray"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", *LOSSY])
def test_metadata_round_trip(format, gray, tmp_path):
    array = scene(1) if gray else scene(3)
    exif = exif_of()
    if format == "TIFF":
        exif[700] = XMP
    data = file_of(array, format, exif=exif.tobytes(), xmp=XMP, dpi=(300, 300))
    if format == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = file_of(array, format, exif=exif_of().tobytes(), dpi=(300, 300), pnginfo=texts)
    photo = Photo.open(data)
    path = tmp_path / f"x{photo.suffix}"
    photo.replace(np.repeat(photo.pixels[..., None], 3, 2) if photo.is_gray else photo.pixels).save(path)

    written = opened(path.read_bytes())
    written.load()
    exif = written.getexif()
    assert exif[ExifTags.Base.Make] == "Zeiss Ikon" and exif[ExifTags.Base.Artist] == "A. Adams"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.DateTimeOriginal] == "1936:05:04 12:00:00"
    assert float(details[ExifTags.Base.ExposureTime]) == pytest.approx(1 / 125)
    assert details[ExifTags.Base.ColorSpace] == 1
    assert not details.keys() & {ExifTags.Base.ExifImageWidth, ExifTags.IFD.Interop, ExifTags.Base.Gamma}
    assert [float(v) for v in exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude]] == [47, 30, 1.5]
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert format == "TIFF" or ExifTags.Base.ImageWidth not in exif

    xmp = written.info["xmp"]
    assert b'dc:source="attic"' in xmp and b"Orientation" not in xmp and b"65535" not in xmp and b"PixelX" not in xmp
    assert "sRGB" in ImageCms.getProfileDescription(io.BytesIO(written.info["icc_profile"]))
    if format in ("JPEG", "PNG", "TIFF"):
        assert photo.dpi == pytest.approx((300, 300), rel=1e-4)
        assert [float(v) for v in written.info["dpi"]] == pytest.approx([300, 300], rel=1e-4)
    assert Photo.open(path).dpi == (photo.dpi and pytest.approx(photo.dpi, rel=1e-4))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", pytest.param("AVIF", marks=needs_avif), "HEIF"])
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
def test_metadata_into_another_format(format, alpha):
    if alpha and format == "JPEG":
        pytest.skip("JPEG has no alpha")
    data = tiff_of(
        scene(4 if alpha else 3, np.uint16),
        photometric="rgb",
        extrasamples=["unassalpha"] if alpha else [],
        resolution=(240, 120),
        resolutionunit="inch",
        extratags=[(315, "s", 0, "A. Adams", True), (700, "B", len(XMP), XMP, True)],
    )
    photo = Photo.open(data)
    again = Photo.open(photo.encode(format))
    assert again.format == format and (again.alpha is not None) == alpha
    assert again.pixels.dtype == (np.uint16 if format in ("PNG", "TIFF") else np.uint8)
    assert again.dpi == pytest.approx((240, 120), rel=1e-3)
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif[ExifTags.Base.Artist] == "A. Adams"
    assert 256 not in exif and 273 not in exif and 700 not in exif
    assert b'dc:source="attic"' in again.xmp


def test_resolution_turns_with_the_picture():
    data = file_of(scene(), "PNG", dpi=(200, 100), exif=exif_of(6))
    assert Photo.open(data).dpi == pytest.approx((100, 200), rel=1e-3)


def test_a_resolution_in_centimeters():
    data = tiff_of(scene(), photometric="rgb", resolution=(100, 50), resolutionunit="centimeter")
    assert Photo.open(data).dpi == pytest.approx((254, 127))


def exif_block(parts):
    """An EXIF block, little-endian, of {part: {tag: (type, bytes)}}; part 0 is the first."""

    def directory(tags, at):
        entries, values = b"", b""
        for tag, (kind, value) in sorted(tags.items()):
            place = struct.pack("<I", at + 2 + 12 * len(tags) + 4 + len(values)) if len(value) > 4 else value
            values += value if len(value) > 4 else b""
            entries += struct.pack("<HHI", tag, kind, len(value) if kind in (1, 2, 7) else 1) + place.ljust(4, b"\0")
        return struct.pack("<H", len(tags)) + entries + bytes(4) + values

    inner = {part: tags for part, tags in parts.items() if part}
    pointers = {part: (4, bytes(4)) for part in inner}
    block, at = b"", 8 + len(directory(parts[0] | pointers, 8))
    for part, tags in inner.items():
        pointers[part] = (4, struct.pack("<I", at + len(block)))
        block += directory(tags, at + len(block))
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory(parts[0] | pointers, 8) + block


def exif_entries(block, at=None, part=0):
    """What an EXIF block of little-endian holds of text and bytes: {(part, tag): (type, bytes)}."""
    tiff, found = block.removeprefix(b"Exif\0\0"), {}
    at = at or struct.unpack_from("<I", tiff, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", tiff, at)[0], 12):
        tag, kind, count, place = struct.unpack_from("<HHII", tiff, entry)
        if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            found |= exif_entries(block, place, tag)
        elif kind in (1, 2, 7):
            start = place if count > 4 else entry + 8
            found[part, tag] = (kind, tiff[start : start + count])
    return found


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_text_and_types_of_exif_come_back_byte_for_byte(format):
    """Text beyond ASCII in whatever encoding, and what EXIF has as UNDEFINED, such as a comment with its code."""
    block = exif_block(
        {
            0: {
                ExifTags.Base.Artist: (2, "José Núñez\0".encode()),
                ExifTags.Base.Copyright: (2, "© 1931 Müller\0".encode("latin-1")),
                ExifTags.Base.XPTitle: (1, "日本\0".encode("utf-16-le")),
            },
            ExifTags.IFD.Exif: {
                ExifTags.Base.UserComment: (7, b"UNICODE\0" + "héllo!".encode("utf-16-le")),
                ExifTags.Base.MakerNote: (7, b"maker's own \xff\0"),
                ExifTags.Base.FileSource: (7, b"\3"),
                ExifTags.Base.BodySerialNumber: (2, "Sérial\0".encode()),
            },
            ExifTags.IFD.GPSInfo: {
                ExifTags.GPS.GPSLatitudeRef: (2, b"N\0"),
                ExifTags.GPS.GPSAltitudeRef: (1, b"\0"),
                ExifTags.GPS.GPSProcessingMethod: (7, "ASCII\0\0\0réseau".encode()),
            },
        }
    )
    photo = Photo.open(file_of(scene(), "JPEG", exif=block))
    wanted = exif_entries(block)
    assert len(wanted) == 10
    for _ in range(2):  # and once more from what was written
        photo = Photo.open(photo.encode(format))
        found = exif_entries(photo.exif)
        assert {key: found.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_comment_of_a_big_endian_block_keeps_its_text(format):
    """Its UTF-16 is in the block's byte order, and what is written is little-endian."""
    for code, coding, other in ((b"UNICODE\0", "utf-16-be", "utf-16-le"), (b"ASCII\0\0\0", "ascii", "ascii")):
        exif = Image.Exif()
        exif.endian = ">"
        exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: code + "attic".encode(coding)}
        photo = Photo.open(Photo.open(file_of(scene(), "JPEG", exif=exif.tobytes())).encode(format))
        comment = exif_entries(photo.exif)[ExifTags.IFD.Exif, ExifTags.Base.UserComment]
        assert comment == (7, code + "attic".encode(other))


def test_text_of_exif_that_is_set_by_hand_is_utf_8():
    image = Image.fromarray(scene())
    image.getexif()[ExifTags.Base.Artist] = "東京"
    assert exif_entries(Photo.from_pil(image).exif)[0, ExifTags.Base.Artist] == (2, "東京\0".encode())


@pytest.mark.parametrize("bits, clear", [(2, 3), (2, 1), (4, 15), (4, 0), (8, 200)])
def test_a_transparent_gray_of_few_bits_becomes_alpha(bits, clear):
    """PNG names the sample as it is stored: 3 is white in 2 bits."""
    samples = np.arange(8).reshape(1, 8) % 2**bits
    samples[0, 2] = clear
    row = np.packbits([bit for sample in samples[0] for bit in map(int, f"{sample:0{bits}b}")]).tobytes()

    def chunk(kind, payload):
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0))
    pixels = (
        chunk(b"tRNS", struct.pack(">H", clear)) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    photo = Photo.open(b"\x89PNG\r\n\x1a\n" + header + pixels)
    assert ((photo.alpha == 0) == (samples == clear)).all() and (photo.alpha[samples != clear] == 255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_with_a_large_profile(dtype):
    """Of more than Pillow's megabyte, as scanners' have: a header of ours, filled up."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = struct.pack(">I", 1_200_000) + profile[4:] + bytes(1_200_000 - len(profile))
    data = imagecodecs.png_encode(scene(dtype=dtype))
    photo = Photo.open(png_with_chunk(data, b"iCCP", b"large\0\0" + zlib.compress(profile)))
    assert (photo.pixels == scene(dtype=dtype)).all()


def test_the_thumbnail_is_dropped():
    exif = exif_of()
    block = exif.tobytes()[6:]
    small = file_of(np.zeros((8, 8, 3), np.uint8), "JPEG")
    count, = struct.unpack(">H" if block[:2] == b"MM" else "<H", block[8:10])  # fmt: skip
    order = ">" if block[:2] == b"MM" else "<"
    second = struct.pack(order + "HHHLLHHLLL", 2, 513, 4, 1, len(block) + 30, 514, 4, 1, len(small), 0)
    link = 10 + 12 * count
    block = block[:link] + struct.pack(order + "L", len(block)) + block[link + 4 :] + second + small
    data = file_of(scene(), "JPEG", exif=b"Exif\0\0" + block)
    assert opened(data).getexif().get_ifd(ExifTags.IFD.IFD1)
    photo = Photo.open(data)
    assert not opened(photo.encode()).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert small[2:] not in photo.exif


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "format, options, dpi",
    [("JPEG", {}, None), ("JPEG", {"dpi": (300, 300)}, (300, 300)), ("PNG", {}, None), ("WEBP", {}, None)],
)
def test_broken_exif_does_not_stop_the_picture(block, format, options, dpi):
    photo = Photo.open(file_of(scene(), format, exif=block, **options))
    assert photo.exif is None and photo.dpi == dpi and Photo.open(photo.encode()).width == WIDTH


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_resolution_that_is_no_number_does_not_stop_the_picture(format):
    """Text, where EXIF has a fraction; the rest of the block is kept."""
    tags = [(0x10E, 2, 12, 62), (0x11A, 2, 7, 74), (0x11B, 2, 7, 74), (0x128, 3, 1, 2)]
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + b"grandmother\x0072 dpi\0"
    photo = Photo.open(file_of(scene(), format, exif=b"Exif\0\0" + block))
    assert photo.dpi in (None, (72, 72)) and b"grandmother" in photo.exif


@pytest.mark.parametrize("full", [255, 65280])
def test_a_tiff_palette_in_8_bits(full):
    """As old programs wrote it: 16 bits are the rule."""
    palette = np.linspace(0, full, 256).astype(np.uint16)
    colormap = np.stack([palette, palette[::-1], palette])
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    photo = Photo.open(tiff_of(indices, photometric="palette", colormap=colormap))
    expected = np.arange(256).reshape(16, 16)
    assert np.array_equal(photo.pixels, np.stack([expected, 255 - expected, expected], 2))


def test_thumbnails_in_xmp_are_dropped_and_long_packets_are_no_trap():
    packet = XMP.replace(
        b"</rdf:Description>", b"<xmp:Thumbnails><rdf:Alt>/9j/4AAQ</rdf:Alt></xmp:Thumbnails></rdf:Description>"
    )
    photo = Photo.open(file_of(scene(), "JPEG", xmp=packet))
    assert b"Thumbnails" not in photo.xmp and photo.xmp.endswith(b"</rdf:Description></rdf:RDF></x:xmpmeta>")
    for filler in (b" ", b"<tiff:Orientation ", b"<tiff:Orientation>", b"<xmp:Thumbnails>", b" tiff:Orientation='\""):
        began = time.perf_counter()
        Photo.open(tiff_of(scene(1), extratags=[(700, "B", 10**6, (filler * 10**6)[: 10**6], True)]))
        assert time.perf_counter() - began < 10


def test_xmp_of_what_a_colored_copy_does_not_carry_is_dropped():
    """Gray pixels, and the film and the gain map that phones append."""
    facts = (
        b'photoshop:ColorMode="1"',
        b'tiff:PhotometricInterpretation="1"',
        b'tiff:SamplesPerPixel="1"',
        b'GCamera:MotionPhoto="1"',
        b'GCamera:MicroVideoOffset="4021"',
        b'hdrgm:Version="1.0"',
        b'xmpNote:HasExtendedXMP="0123456789ABCDEF"',
    )
    films = b"<Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>"
    packet = XMP.replace(b'dc:source="attic"', b'dc:source="attic" ' + b" ".join(facts))
    packet = packet.replace(b"</rdf:Description>", films + b"</rdf:Description>")
    kept = Photo.open(file_of(scene(1), "JPEG", xmp=packet)).xmp
    assert b'dc:source="attic"' in kept and kept.endswith(b"</rdf:Description></rdf:RDF></x:xmpmeta>")
    assert not any(fact.partition(b"=")[0] in kept for fact in facts) and b"Container" not in kept


@pytest.mark.parametrize("format", ["JPEG", "HEIF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_places_in_a_picture_that_is_turned_are_dropped(format, orientation):
    faces = b"<mwg-rs:Regions><mwg-rs:RegionList/></mwg-rs:Regions><MP:RegionInfo mp='1'/>"
    faces += b"<exif:SubjectArea><rdf:Seq><rdf:li>6</rdf:li></rdf:Seq></exif:SubjectArea>"
    exif = exif_of(orientation)
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.SubjectLocation: (6, 4), ExifTags.Base.ExposureProgram: 3}
    packet = XMP.replace(b"</rdf:Description>", faces + b"</rdf:Description>")
    photo = Photo.open(file_of(scene(), format, exif=exif.tobytes(), xmp=packet))
    assert (photo.width < photo.height) == (orientation == 6)
    with opened(photo.encode()) as written:
        inner = written.getexif().get_ifd(ExifTags.IFD.Exif)
    assert inner[ExifTags.Base.ExposureProgram] == 3
    kept = [
        ExifTags.Base.SubjectLocation in inner,
        faces in photo.xmp,
        b"Region" in photo.xmp,
        b"Subject" in photo.xmp,
    ]
    assert kept == [orientation == 1] * 4
    assert photo.xmp.endswith(b"</rdf:Description></rdf:RDF></x:xmpmeta>") and b'dc:source="attic"' in photo.xmp


@pytest.mark.parametrize("tag, kind", [(700, "I"), (700, "H"), (34675, "I")])
def test_a_number_in_the_place_of_a_text_asks_for_no_memory(tag, kind):
    """bytes(2 ** 32 - 1) would be as many zeros."""
    count = 2 if kind == "H" else 1
    value = (3, 4) if kind == "H" else 2**32 - 1
    photo = Photo.open(tiff_of(scene(), extratags=[(tag, kind, count, value, True)]))
    np.testing.assert_array_equal(photo.pixels, scene())
    assert photo.xmp is None


@pytest.mark.parametrize("open_file", [tempfile.TemporaryFile, tempfile.SpooledTemporaryFile])
def test_a_tiff_in_a_file_without_a_name(open_file):
    with open_file() as file:
        file.write(tiff_of(scene()))
        file.seek(0)
        assert np.array_equal(Photo.open(file).pixels, scene())


def test_a_tiff_of_one_bit_that_does_not_tell_its_length():
    """As old scanners wrote them; where more is missing than that, it is not filled up in black."""
    bits = np.arange(40 * 24).reshape(24, 40) // 7 % 2 == 0
    data = bytearray(tiff_of(bits, photometric="minisblack"))
    assert data.count(struct.pack("<HHII", 279, 4, 1, 120)) == 1
    data = data.replace(struct.pack("<HHII", 279, 4, 1, 120), struct.pack("<HHII", 279, 4, 1, 0))
    assert np.array_equal(Photo.open(bytes(data)).pixels, bits * np.uint8(255))
    data = tiff_of(scene(1), photometric="minisblack", compression="deflate", rowsperstrip=1000)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        place = tiff.pages[0].tags[279].valueoffset
    with pytest.raises(ColorizerError, match="is cut short: use an intact copy$"):
        Photo.open(data[:place] + bytes(4) + data[place + 4 :])


@pytest.mark.parametrize("byteorder", "<>")
def test_a_bigtiff_of_either_byte_order(byteorder):
    data = tiff_of(scene(), bigtiff=True, byteorder=byteorder, extratags=[(274, "H", 1, 3, True)])
    assert np.array_equal(Photo.open(data).pixels, scene()[::-1, ::-1])


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_iptc_is_left_out(format):
    """In a TIFF its bytes are numbers of 32 bits, of which the first would be written as text."""
    block = b"\x1c\x02\x05\0\x05attic".ljust(12, b"\0")
    data = tiff_of(scene(), photometric="rgb", extratags=[(33723, "I", 3, struct.unpack("<3I", block), True)])
    photo = Photo.open(data)
    assert photo.exif is None or 33723 not in opened(photo.encode(format)).getexif()
    with tifffile.TiffFile(io.BytesIO(photo.encode("TIFF"))) as tiff:
        assert 33723 not in tiff.pages[0].tags


@pytest.mark.parametrize("kind", ["imagej", "shaped", "ome", "caption"])
def test_descriptions_of_the_layout_are_left_out(kind, tmp_path):
    """The copy's layout is another, and scikit-image would read it by the old one; a person's words stay."""
    stack, path = np.repeat(scene(1)[None], 3, axis=0), tmp_path / f"in{'.ome' * (kind == 'ome')}.tif"
    options = {kind: True}
    if kind == "caption":
        options = {"metadata": None, "description": "ImageJ and <om are words: {1936}"}
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    photo = Photo.open(path)
    photo.replace(np.repeat(photo.pixels[..., None], 3, axis=2)).save(tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), np.repeat(scene(1)[..., None], 3, axis=2))
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert before.pages[0].description
        assert after.pages[0].description == options.get("description", "")


def test_a_resolution_without_a_unit_is_in_inches():
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 300.0
    assert Photo.open(file_of(scene(), "WEBP", exif=exif.tobytes(), lossless=True)).dpi == (300, 300)


def test_a_resolution_that_no_one_stated_is_none():
    """Pillow answers 72 for a JPEG with EXIF that says nothing of it."""
    assert Photo.open(file_of(scene(), "JPEG", exif=exif_of().tobytes())).dpi is None
    assert Photo.open(file_of(scene(), "JPEG", exif=exif_of().tobytes(), dpi=(72, 72))).dpi == (72, 72)
    exif = exif_of()
    for value in (72.0, 300.0):  # without a unit, which Pillow wants
        exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = value
        photo = Photo.open(file_of(scene(), "JPEG", exif=exif.tobytes()))
        assert photo.dpi == Photo.from_pil(photo.to_pil()).dpi == (value, value)


def test_a_resolution_beyond_jpeg_is_left_out():
    photo = Photo(scene(), dpi=(90000.0, 90000.0))
    assert Photo.open(photo.encode("JPEG")).dpi is None
    assert Photo.open(photo.encode("PNG")).dpi == pytest.approx((90000, 90000), rel=1e-4)


def test_metadata_too_long_for_jpeg_is_left_out():
    photo = Photo(scene(), xmp=b"<x>" + b" " * 70000 + b"</x>", dpi=(72.0, 72.0))
    again = Photo.open(photo.encode("JPEG"))
    assert again.xmp is None and again.dpi == (72, 72)
    assert Photo.open(photo.encode("PNG")).xmp == photo.xmp == Photo.open(photo.encode("TIFF")).xmp


# Colors


def adobe_to_srgb(rgb):
    """By the definitions of both; rgb in 0..1."""
    linear = rgb**2.19921875
    matrix = np.array([[1.39835574, -0.398355744, 0], [0, 1, 0], [0, -0.0429289893, 1.04292899]])
    linear = (linear @ matrix.T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("dtype, tolerance", [(np.uint8, 1), (np.uint16, 40)])
def test_colors_go_to_srgb_in_their_own_depth(dtype, tolerance):
    array, full = scene(3, dtype), np.iinfo(dtype).max
    if dtype == np.uint8:
        files = [file_of(array, "PNG", icc_profile=ADOBE), file_of(array, "TIFF", icc_profile=ADOBE)]
    else:
        payload = b"adobe\0\0" + zlib.compress(ADOBE)
        files = [
            png_with_chunk(imagecodecs.png_encode(array), b"iCCP", payload),
            tiff_of(array, photometric="rgb", iccprofile=ADOBE),
        ]
    for data in files:
        photo = Photo.open(data)
        np.testing.assert_allclose(photo.pixels, adobe_to_srgb(array / full) * full, atol=tolerance)
        assert photo.pixels.dtype == dtype
        np.testing.assert_array_equal(Photo.open(photo.encode()).pixels, photo.pixels)  # not converted twice


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_profiles(dtype):
    array, full = scene(1, dtype), np.iinfo(dtype).max
    profile = imagecodecs.cms_profile("gray", gamma=1.8)
    linear = (array / full) ** 1.8
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * full
    photo = Photo.open(tiff_of(array, iccprofile=profile))
    assert photo.is_gray and photo.pixels.dtype == dtype
    np.testing.assert_allclose(photo.pixels, expected, atol=1 if full == 255 else 60)
    assert "icc_profile" not in opened(photo.encode("PNG")).info
    if dtype == np.uint8:
        with_alpha = Photo.open(file_of(scene(2), "PNG", icc_profile=profile))
        np.testing.assert_array_equal(with_alpha.pixels, photo.pixels)
        np.testing.assert_array_equal(with_alpha.alpha, scene(2)[..., 1])
        neutral = Photo.open(
            file_of(array, "JPEG", quality=100, icc_profile=ADOBE)
        )  # a gray file with a color profile
        assert neutral.is_gray and np.abs(neutral.pixels.astype(int) - array).max() < 12


@pytest.mark.parametrize("profile", [b"", b"nonsense", ADOBE[:300], ADOBE[:20] + b"\xff" * 400, SRGB])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_broken_profiles_are_ignored_and_srgb_changes_nothing(profile, dtype):
    array = scene(3, dtype)
    photo = Photo.open(tiff_of(array, photometric="rgb", iccprofile=profile or None))
    np.testing.assert_array_equal(photo.pixels, array)
    gray_on_color = Photo.open(tiff_of(array, photometric="rgb", iccprofile=imagecodecs.cms_profile("gray", gamma=2)))
    np.testing.assert_array_equal(gray_on_color.pixels, array)


def cmyk_profile():
    """A small press profile: a table from the 16 corners of CMYK to Lab, with every ink somewhat off the ideal."""
    inks = np.array([[0.0, 0.62, 0.9], [0.9, 0.1, 0.5], [1.0, 0.93, 0.05], [0.1, 0.1, 0.1]])
    corners = []
    for corner in itertools.product((0, 1), repeat=4):
        rgb = np.prod([inks[i] if ink else np.ones(3) for i, ink in enumerate(corner)], axis=0)
        lightness, a, b = rgb2lab(rgb)
        corners.append([lightness * 2.55, a + 128, b + 128])
    identity = np.array([[65536, 0, 0], [0, 65536, 0], [0, 0, 65536]], ">i4").tobytes()
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4
    table += np.rint(corners).astype(np.uint8).tobytes() + ramp * 3
    table += bytes(-len(table) % 4)
    white = b"XYZ \0\0\0\0" + np.array([63190, 65536, 54061], ">i4").tobytes()
    header = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += np.array([63190, 65536, 54061], ">i4").tobytes() + bytes(48)
    tags = struct.pack(">I4sII4sII", 2, b"A2B0", 156, len(table), b"wtpt", 156 + len(table), len(white))
    body = header + tags + table + white
    return struct.pack(">I", len(body)) + body[4:]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_gamma_of_a_png(dtype, channels):
    """As browsers show it; an sRGB chunk or a profile counts for more, and 1 / 2.2 is what sRGB says of itself."""
    stored, full = scene(channels, dtype), np.iinfo(dtype).max

    def opened_with(gamma, *others):
        data = png_with_chunk(imagecodecs.png_encode(stored), b"gAMA", struct.pack(">I", gamma))
        for kind, payload in others:
            data = png_with_chunk(data, kind, payload)
        return Photo.open(data).pixels

    light = (stored / full) ** 1.8  # a Macintosh's of old
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * full
    assert np.abs(opened_with(55556) - srgb).max() < 1
    for gamma in (45455, 45000, 0, 1, 10**9):
        assert np.array_equal(opened_with(gamma), stored)
    assert np.array_equal(opened_with(55556, (b"sRGB", b"\0")), stored)
    assert np.array_equal(opened_with(100_000, (b"iCCP", b"x\0\0" + zlib.compress(SRGB))), stored)


def test_cmyk_through_its_profile_and_without():
    colors = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (255, 255, 0, 0)]
    image = Image.fromarray(np.repeat(np.array(colors, np.uint8), 16, 0)[None].repeat(16, 0), "CMYK")
    plain = Photo.open(file_of(image, "JPEG", quality=100))
    assert plain.pixels.shape == (16, 96, 3)
    expected = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [0, 0, 255]]
    np.testing.assert_allclose(plain.pixels[8, 8::16], expected, atol=3)

    profile = cmyk_profile()
    for data in (
        file_of(image, "TIFF", icc_profile=profile),
        file_of(image, "JPEG", quality=100, icc_profile=profile),
    ):
        photo = Photo.open(data)
        seen = photo.pixels[8, 8::16].astype(int)
        expected = ImageCms.profileToProfile(
            image, io.BytesIO(profile), io.BytesIO(SRGB), renderingIntent=1, outputMode="RGB", flags=0x2000
        )
        np.testing.assert_allclose(seen, np.asarray(expected)[8, 8::16], atol=4)
        assert np.abs(seen - plain.pixels[8, 8::16]).max() > 30  # the profile did something
        assert opened(photo.encode()).mode == "RGB"
    deep = tiff_of(np.asarray(image).astype(np.uint16) * 257, photometric="separated", iccprofile=profile)
    shallow = Photo.open(file_of(image, "TIFF", icc_profile=profile))
    np.testing.assert_allclose(Photo.open(deep).pixels / 257, shallow.pixels, atol=1.5)
    assert Photo.open(tiff_of(np.asarray(image), photometric="separated", iccprofile=b"junk")).pixels[8, 8, 0] == 255


def test_the_same_photo_gives_the_same_file():
    photo = Photo(scene())
    for format in ("JPEG", "PNG", "TIFF", "WEBP"):
        assert photo.encode(format) == photo.encode(format)
    profile = opened(photo.encode("PNG")).info["icc_profile"]
    assert profile[24:36] == struct.pack(">6H", 2026, 1, 1, 0, 0, 0)  # when it was made: tomorrow's file is the same


# Pillow's images


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "HSV"]
)
def test_from_pil_takes_every_mode(mode):
    base = Image.fromarray(scene(4))
    steps = {
        "P": ("RGB", "P"),
        "La": ("LA", "La"),
        "RGBX": ("RGB", "RGBX"),
        "YCbCr": ("RGB", "YCbCr"),
        "HSV": ("RGB", "HSV"),
    }
    image = base
    for step in steps.get(mode, (mode,)):
        image = image.convert(step)
    photo = Photo.from_pil(image)
    assert photo.format == "PNG"
    out = photo.to_pil()
    gray, alpha = mode in ("1", "L", "LA", "La"), mode in ("LA", "La", "PA", "RGBA", "RGBa")
    assert out.mode == ("L" if gray else "RGB") + ("A" if alpha else "")
    assert out.size == image.size


def test_from_pil_and_back_keeps_what_holds(tmp_path):
    data = file_of(scene(), "JPEG", exif=exif_of(6), icc_profile=ADOBE, dpi=(300, 300))
    image = Image.open(io.BytesIO(data))
    photo = Photo.from_pil(image)
    np.testing.assert_array_equal(photo.pixels, Photo.open(data).pixels)
    assert (photo.format, photo.width) == ("JPEG", HEIGHT)
    assert image.size == (WIDTH, HEIGHT) and image.info["icc_profile"] == ADOBE  # the caller's image is left alone
    out = photo.to_pil()
    assert out.getexif()[ExifTags.Base.Make] == "Zeiss Ikon" and out.info["dpi"] == (300, 300)
    again = Photo.from_pil(out)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    out.save(tmp_path / "x.tif", tiffinfo={270: "x"})
    np.testing.assert_array_equal(Photo.from_pil(Image.open(tmp_path / "x.tif")).pixels, photo.pixels)


def test_from_pil_refuses_numbers_without_a_sure_range():
    assert Photo.from_pil(Image.new("F", (2, 2), 0.5)).pixels[0, 0] == 32768
    assert Photo.from_pil(Image.new("I", (2, 2), 1234)).pixels[0, 0] == 1234
    for mode, value in (("F", 12.5), ("F", float("nan")), ("I", -1), ("I", 70000)):
        with pytest.raises(ColorizerError, match="16-bit"):
            Photo.from_pil(Image.new(mode, (2, 2), value))
    with pytest.raises(ColorizerError, match="cut short"):
        Photo.from_pil(Image.open(io.BytesIO(file_of(scene(), "JPEG")[:-200])))


@pytest.mark.parametrize("dpi", [300, (300,), ("300", "300"), "72", None, (300, None), 1j])
def test_a_resolution_that_is_not_two_numbers_is_none(dpi):
    image = Image.fromarray(scene())
    image.info["dpi"] = dpi
    assert Photo.from_pil(image).dpi is None
    image.info["dpi"] = np.array([300, 200])
    assert Photo.from_pil(image).dpi == (300, 200)


def test_replace():
    photo = Photo(scene(1), scene(1), "TIFF", dpi=(10.0, 10.0), name="x.tif")
    deep = photo.replace(scene(3, np.uint16))
    assert deep.format == "TIFF" and deep.dpi == (10, 10) and deep.name == "x.tif" and not deep.is_gray
    np.testing.assert_array_equal(deep.alpha, photo.alpha.astype(int) * 257)
    np.testing.assert_array_equal(deep.replace(scene(3)).alpha, photo.alpha)
    for wrong in (scene(3)[1:], scene(4), scene(3).astype(np.float32)):
        with pytest.raises(ValueError):
            photo.replace(wrong)


# Sources


def test_every_kind_of_source(tmp_path):
    data = file_of(scene(), "PNG")
    path = tmp_path / "a picture.PNG"
    path.write_bytes(data)
    assert Photo.open(str(path)).name == str(path) == Photo.open(path).name
    with path.open("rb") as file:
        file.read(10)
        assert Photo.open(file).name == str(path)
        assert not file.closed
    for source in (data, bytearray(data), io.BytesIO(data)):
        np.testing.assert_array_equal(Photo.open(source).pixels, scene())
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe:
        threading.Thread(target=lambda: (os.write(writer, data), os.close(writer))).start()
        assert Photo.open(pipe).width == WIDTH


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_pipe_with_a_name(format, tmp_path):
    """As /dev/stdin often is one: what is read from it cannot be read again."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[file_of(scene(), format)], daemon=True)
    writer.start()
    photo = Photo.open(path)
    writer.join()
    assert photo.name == str(path) and np.array_equal(photo.pixels, scene())


def test_the_suffix_may_lie(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(file_of(scene(), "PNG"))
    assert Photo.open(path).suffix == ".png"


def test_suffixes():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic"} <= SUFFIXES
    suffixes = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "HEIF": ".heic", "AVIF": ".avif", "PNG": ".png"}
    for format, suffix in (suffixes | dict.fromkeys(("GIF", "BMP", "PPM"), ".png")).items():
        assert Photo(scene(), format=format).suffix == suffix


def test_importing_brings_no_torch():
    code = "import sys, colorizer.images; assert not {'torch', 'timm', 'gradio', 'pillow_heif'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Mistakes


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", pytest.param("AVIF", marks=needs_avif), "HEIF"]
)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore")
def test_files_cut_short(format, part, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = file_of(noise, format)
    path = tmp_path / "torn.file"
    path.write_bytes(data[: max(13, int(len(data) * part))])
    with pytest.raises(ColorizerError) as error:
        Photo.open(path)
    assert "torn.file" in sentence(error) and "cut short" in sentence(error)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff", "tiff-deflate"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
@pytest.mark.filterwarnings("ignore")
def test_16_bit_files_cut_short(kind, channels, part):
    noise = np.random.default_rng(0).integers(0, 65536, (60, 60, channels), dtype=np.uint16).squeeze()
    options = {"compression": "zlib"} if kind == "tiff-deflate" else {}
    data = imagecodecs.png_encode(noise) if kind == "png" else tiff_of(noise, **options)
    with pytest.raises(ColorizerError, match="cut short"):
        Photo.open(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "content, right",
    [
        (b"", "0 bytes"),
        (b"\xff", "no picture"),
        (b"hello, world", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (b"%PDF-1.7" + b"x" * 500, "no picture"),
        (b"\0" * 1000, "no picture"),
        (b"\xff\xd8\xff\xe0" + b"x" * 500, "cut short"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 500, "cut short"),
        (b"II*\0" + b"\xff" * 500, "cut short"),
        (b"II*\0" + b"\0" * 500, "cut short"),
        (b"RIFF\x10\0\0\0WEBP" + b"x" * 500, "cut short"),
        (b"GIF89a" + b"\0" * 500, "cut short"),
        (b"BM" + b"\0" * 500, "cut short"),
        (b"\0\0\0\x18ftypheic" + b"x" * 500, "cut short"),
        (b"\0\0\0\x18ftypisom" + b"x" * 500, "no picture"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_no_picture(content, right, tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    with pytest.raises(ColorizerError) as error:
        Photo.open(path)
    assert "letter.jpg" in sentence(error) and right in sentence(error)


def test_what_is_to_blame_is_named():
    class Torn(io.BytesIO):
        def read(self, *size):
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(*size)

    for source, words in (
        (Torn(file_of(scene(), "JPEG")), "cannot be read (Input/output error): check the disk"),
        (io.StringIO("P1 1 1 0"), "is open as text: open it in binary mode"),
    ):
        with pytest.raises(ColorizerError) as error:
            Photo.open(source)
        assert words in sentence(error) and "damaged" not in sentence(error)
    with pytest.raises(ColorizerError, match=r"has no pixels \(0 x 5\): give a picture") as error:
        Photo.from_pil(Image.new("RGB", (0, 5)))
    assert "damaged" not in sentence(error)


def test_paths_that_cannot_be_read(tmp_path):
    for path, right in [
        (tmp_path / "gone.jpg", "does not exist"),
        (tmp_path, "is a folder"),
        (Path("x" * 300), ""),
    ]:
        with pytest.raises(ColorizerError) as error:
            Photo.open(path)
        assert str(path) in sentence(error) and right in sentence(error)
    with pytest.raises(ColorizerError):
        Photo.open("nul\0byte.jpg")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "locked.png"
    path.write_bytes(file_of(scene(), "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(*_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ColorizerError, match="permissions"):
        Photo.open(path)


def test_unusual_tiffs_are_refused():
    gray = scene(1)
    refused = [
        (tiff_of(gray.astype(np.float32) + 3), "0 to 1"),
        (tiff_of(np.full((8, 8), np.nan, np.float32)), "0 to 1"),
        (tiff_of(gray.astype(np.int16)), "signed"),
        (tiff_of(gray.astype(np.complex64)), "complex"),
        (tiff_of(scene(3), photometric="cielab"), "CIELAB"),
        (tiff_of(gray, subfiletype=1), "camera raw"),
        (
            tiff_of(np.zeros((4, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16), photometric="minisblack"),
            "flat",
        ),
    ]
    for data, right in refused:
        with pytest.raises(ColorizerError, match=right) as error:
            Photo.open(data)
        sentence(error)


# Bombs


def bomb(format, side=60_000):
    """A small file that says it is side x side pixels."""
    if format == "PNG":
        data = bytearray(file_of(np.zeros((8, 8), np.uint8), "PNG"))
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        return bytes(data)
    if format == "TIFF":
        data = bytearray(tiff_of(np.zeros((8, 8), np.uint16)))
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            for tag in (256, 257):
                tag = tiff.pages[0].tags[tag]
                struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, side)
        return bytes(data)
    data = bytearray(file_of(np.zeros((8, 8, 3), np.uint8), format))
    if format == "GIF":
        struct.pack_into("<HH", data, 6, side, side)
    elif format == "BMP":
        struct.pack_into("<ii", data, 18, side, side)
    elif format == "JPEG":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "GIF", "BMP", "JPEG"])
@pytest.mark.filterwarnings("error")
def test_bombs_are_refused_by_their_header(format, tmp_path):
    path = tmp_path / "bomb.x"
    path.write_bytes(bomb(format))
    with pytest.raises(ColorizerError) as error:
        Photo.open(path)
    assert "bomb.x has 3600 megapixels (60000 x 60000), and 200 is the limit" in sentence(error)


@pytest.mark.parametrize("size", [(1_000_001, 1), (1, 1_000_001)])
def test_strips_are_refused(size):
    """Of few pixels, and yet longer than rows can be worked on."""
    strip = np.zeros(size, np.uint8)
    with pytest.raises(ColorizerError, match="is a strip of .*, and 1,000,000 pixels a side are the most: cut it"):
        Photo.open(tiff_of(strip))
    assert Photo.open(tiff_of(strip[:1_000_000, :1_000_000])).pixels.size == 1_000_000


def test_a_tiff_with_huge_tiles_is_refused():
    data = bytearray(tiff_of(np.zeros((64, 64), np.uint16), tile=(16, 16), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        for tag in (322, 323):
            tag = tiff.pages[0].tags[tag]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, 60_000)
    with pytest.raises(ColorizerError, match="megapixels"):
        Photo.open(bytes(data))


def retagged(data, tags):
    """A TIFF whose first page has other numbers in these tags."""
    data = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        for code, value in tags.items():
            tag = tiff.pages[0].tags[code]
            struct.pack_into({3: "<H", 4: "<I"}[tag.dtype], data, tag.valueoffset, value)
    return bytes(data)


def tiff_around(part, compression, shape=(16, 16)):
    """A TIFF of this shape whose one strip is the part."""
    data = tiff_of(np.zeros(shape, np.uint8), photometric="rgb" if len(shape) == 3 else "minisblack", rowsperstrip=64)
    return retagged(data, {259: compression, 273: len(data), 279: len(part)}) + part


def jpeg_frame(kind, side):
    return struct.pack(">BBHBHHB3B", 255, kind, 11, 12, side, side, 1, 1, 17, 0)


def oversized_parts():
    """(what it is, the number of its compression, a picture of 600 x 600)"""
    big = np.zeros((600, 600), np.uint8)
    boxes = imagecodecs.jpeg2k_encode(big)  # that state the size once more
    header, stream = boxes.index(b"ihdr") + 4, boxes.index(b"\xff\x4f\xff\x51")
    small = imagecodecs.jpeg2k_encode(big[:16, :16], codecformat="j2k")
    lossless = imagecodecs.ljpeg_encode(big.astype(np.uint16), bitspersample=12)
    scan, table = lossless.index(b"\xff\xda"), lossless[6 : lossless.index(b"\xff\xc3")]
    hidden = table + jpeg_frame(0xC3, 600)
    hidden = b"\xff\xd8" + jpeg_frame(0xC5, 16) + b"\xff\xc4" + struct.pack(">H", len(hidden) + 2) + hidden
    return [
        ("jpeg", 7, imagecodecs.jpeg_encode(big)),
        ("old jpeg", 6, imagecodecs.jpeg_encode(big)),
        ("jpeg of 16 bits", 7, imagecodecs.jpeg_encode(big.astype(np.uint16), lossless=True, bitspersample=16)),
        ("jpeg with a frame in its table", 7, hidden + lossless[scan:]),
        ("jpeg with junk", 7, b"\xff\xd8\0" + imagecodecs.jpeg_encode(big)[2:]),
        ("png", 34933, imagecodecs.png_encode(big)),
        ("jpeg 2000", 34712, boxes),
        ("jpeg 2000 alone", 33005, boxes[stream:]),
        ("jpeg 2000 in small boxes", 34712, boxes[:header] + struct.pack(">II", 16, 16) + boxes[header + 8 :]),
        ("jpeg 2000 with many channels", 34712, small[:40] + struct.pack(">H", 16384) + small[42:]),
        ("jpeg xl", 50002, imagecodecs.jpegxl_encode(big)),
        ("jpeg xr", 34934, imagecodecs.jpegxr_encode(big)),
        ("lerc", 34887, imagecodecs.lerc_encode(big)),
        ("webp", 50001, imagecodecs.webp_encode(np.zeros((600, 600, 3), np.uint8))),
        ("old webp", 34927, imagecodecs.webp_encode(np.zeros((600, 600, 3), np.uint8))),
    ]


@pytest.mark.parametrize("kind, compression, part", oversized_parts(), ids=[kind for kind, *_ in oversized_parts()])
def test_parts_larger_than_their_tiff_says_are_not_decoded(kind, compression, part, monkeypatch):
    """Tagged as 16 x 16 pixels, it would be decoded as a whole, and cropped afterwards."""
    data = tiff_around(part, compression, (16, 16, 3) if "webp" in kind else (16, 16))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *args, **kwargs: pytest.fail("decoded"))
    with pytest.raises(ColorizerError, match="with parts larger than it says|unusual compression|is damaged") as error:
        Photo.open(data)
    sentence(error)


def test_a_tile_larger_than_its_tiff_says_is_not_decoded(monkeypatch):
    data = tiff_of(np.zeros((64, 64), np.uint8), tile=(64, 64), compression="png")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *args, **kwargs: pytest.fail("decoded"))
    with pytest.raises(ColorizerError, match="with parts larger than it says: save it anew, as TIFF or PNG"):
        Photo.open(retagged(data, {256: 16, 257: 16, 322: 16, 323: 16}))


@pytest.mark.parametrize("compression", ["jpeg", "png", "jpeg2000", "webp"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 20}, {"tile": (32, 48)}], ids=str)
def test_parts_that_fit_are_read(compression, layout):
    """The last strip and the tiles at the edges too, which may be filled up."""
    data = tiff_of(scene(), photometric="rgb", compression=compression, **layout)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        np.testing.assert_array_equal(Photo.open(data).pixels, tiff.pages[0].asarray())


def test_jpeg_in_tiff_of_other_kinds_is_read():
    """With its tables in a tag, filled up to whole blocks, and of 16 bits."""
    data = file_of(scene(), "TIFF", compression="jpeg")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.pages[0].jpegtables
    assert np.abs(Photo.open(data).pixels.astype(int) - scene()).mean() < 4
    filled = imagecodecs.jpeg_encode(np.pad(scene(1)[:42], ((0, 6), (0, 0)), "edge"), level=100)
    photo = Photo.open(tiff_around(filled, 7, (42, WIDTH)))
    assert np.abs(photo.pixels.astype(int) - scene(1)[:42]).mean() < 2
    deep = tiff_of(scene(1, np.uint16), compression="jpeg", compressionargs={"lossless": True, "bitspersample": 16})
    np.testing.assert_array_equal(Photo.open(deep).pixels, scene(1, np.uint16))


def test_a_jpeg_with_restart_markers_in_a_microscopes_tiff():
    """tifffile takes its pieces for tiles, and yet decodes it as a whole."""
    part = file_of(scene(1), "JPEG", quality=95, restart_marker_blocks=4)
    scan = part.index(b"\xff\xda") + 2
    starts = [scan + int.from_bytes(part[scan : scan + 2], "big")]
    starts += [at + 2 for at in range(starts[0], len(part)) if part[at] == 0xFF and 0xD0 <= part[at + 1] <= 0xD7]
    tags = [(271, "s", 0, "Hamamatsu", True), (65421, "I", 1, 1, True), (65426, "I", len(starts), starts, True)]
    data = tiff_of(np.zeros((HEIGHT, WIDTH), np.uint8), rowsperstrip=64, extratags=tags)
    whole = {259: 7, 273: len(data), 279: len(part)}
    small = whole | {256: 16, 257: 16, 278: 16}
    mark = [struct.pack("<HHI", code, 4, 1) for code in (65421, 65420)]  # of these files, once they are made
    data, lie = (retagged(data, tags).replace(*mark) + part for tags in (whole, small))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.pages[0].jpegheader
    assert np.abs(Photo.open(data).pixels.astype(int) - scene(1)).mean() < 1
    with pytest.raises(ColorizerError, match="with parts larger than it says"):
        Photo.open(lie)


def test_the_limit_is_the_readers_own(monkeypatch):
    """Pillow's global limit plays no part and is not touched, in any thread."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr("colorizer.images._BAND", 64)
    files = [file_of(scene(), format) for format in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")]
    files.append(imagecodecs.png_encode(scene(1, np.uint16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in files:
            Photo.open(data)
    assert Image.MAX_IMAGE_PIXELS == 100
    for data in files:
        Photo.open(data, max_megapixels=WIDTH * HEIGHT / 1e6)
        with pytest.raises(ColorizerError, match="limit"):
            Photo.open(data, max_megapixels=(WIDTH * HEIGHT - 1) / 1e6)


def test_threads_read_at_the_same_time():
    files = [file_of(scene(), format, icc_profile=ADOBE) for format in ("PNG", "TIFF", "WEBP")] * 4
    alone = [Photo.open(data).pixels for data in files]
    together = [None] * len(files)

    def read(index):
        for _ in range(5):
            together[index] = Photo.open(files[index]).pixels

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


# HEIC and AVIF may be missing


def test_heic_without_its_package(monkeypatch):
    pytest.importorskip("pillow_heif")
    data = file_of(scene(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for action in (lambda: Photo.open(data), lambda: Photo(scene()).encode("HEIF")):
        with pytest.raises(ColorizerError) as error:
            action()
        assert "pip install pillow-heif" in sentence(error)


@needs_avif
def test_avif_without_support(monkeypatch):
    data = file_of(scene(), "AVIF")
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ColorizerError, match="newer Pillow") as error:
        Photo.open(data)
    sentence(error)


# Saving


def test_quality():
    photo = Photo(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert len(photo.encode("JPEG", quality=40)) < len(photo.encode("JPEG"))
    with pytest.raises(ColorizerError, match="1..100"):
        photo.encode("JPEG", quality=0)
    image = opened(photo.encode("JPEG"))
    assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # full chroma
    assert image.quantization == opened(file_of(photo.pixels, "JPEG", quality=95)).quantization


@pytest.mark.parametrize("format", ["JPEG", pytest.param("AVIF", marks=needs_avif), "HEIF"])
def test_colors_of_single_pixels_are_kept(format):
    """Columns of red and blue, which half the chroma would make one purple."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 255
    again = Photo.open(Photo(pixels).encode(format)).pixels
    assert np.abs(again.astype(int) - pixels).mean() < 10


def test_what_cannot_be_written_is_refused(tmp_path):
    photo = Photo(scene(), name="in.png")
    for name in ("x.bmp", "x.gif", "x.txt", "x"):
        with pytest.raises(ColorizerError) as error:
            photo.save(tmp_path / name)
        assert name in sentence(error) and ".png" in sentence(error)
    photo.save(tmp_path / "x", format="PNG")
    with pytest.raises(ColorizerError, match="PPM"):
        photo.encode("PPM")
    with pytest.raises(ColorizerError, match="transparency"):
        Photo(scene(), scene(1)).encode("JPEG")
    Photo(scene(), np.full((HEIGHT, WIDTH), 255, np.uint8)).encode("JPEG")  # opaque: nothing is lost
    with pytest.raises(ColorizerError, match="WEBP"):
        Photo(np.zeros((1, 17000, 3), np.uint8)).encode("WEBP")
    with pytest.raises(ColorizerError, match="missing"):
        photo.save(tmp_path / "missing" / "x.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_failing_save_leaves_the_old_file_whole(step, tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync" if step == "write" else "os.replace", full)
    with pytest.raises(ColorizerError, match="No space left") as error:
        Photo(scene()).save(path)
    assert "x.png" in sentence(error)
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x.png"]
    Photo(scene()).save(path)
    assert Photo.open(path).width == WIDTH


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Photo(scene()).save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_save_is_renamed_within_its_folder(tmp_path, monkeypatch):
    """Not from a temporary folder, which may lie on another disk: from there it could not be."""
    renamed, replace = [], os.replace

    def watched(source, target):
        renamed.append((Path(source).parent, target))
        replace(source, target)

    monkeypatch.setattr("os.replace", watched)
    Photo(scene()).save(tmp_path / "x.png")
    assert renamed == [(tmp_path, tmp_path / "x.png")] and Photo.open(tmp_path / "x.png").width == WIDTH


def test_a_save_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Otherwise a power loss could leave an empty file under it."""
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda file: (steps.append(os.fstat(file).st_size), fsync(file)))
    monkeypatch.setattr("os.replace", lambda *names: (steps.append("renamed"), replace(*names)))
    Photo(scene()).save(tmp_path / "x.png")
    assert steps == [(tmp_path / "x.png").stat().st_size, "renamed"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        Photo(scene()).save(tmp_path / "x.png")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o640


def test_a_tiff_of_more_than_its_offsets_reach_is_refused(monkeypatch):
    photo = Photo(scene(), xmp=XMP, name="wall.tif")
    size = len(photo.encode("TIFF"))
    monkeypatch.setattr(images, "_MOST_TIFF", size // 2)
    with pytest.raises(ColorizerError, match="wall.tif .64 x 48. has more than the 4 GB .* save it as PNG") as error:
        photo.encode("TIFF")
    sentence(error)


def test_long_names(tmp_path):
    path = tmp_path / ("x" * 250 + ".png")
    Photo(scene()).save(path)
    assert Photo.open(path).width == WIDTH


@pytest.mark.parametrize("kind", ["samples", "planes"])
def test_tiff_of_many_samples_or_planes_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind):
    path = tmp_path / "deep.tif"
    if kind == "planes":
        deep = np.zeros((5, 8, 8, 3), np.uint8)
        tifffile.imwrite(path, deep, photometric="rgb", volumetric=True, tile=(5, 16, 16))
    else:
        deep = np.zeros((8, 8, 103), np.uint8)
        tifffile.imwrite(path, deep, photometric="rgb", planarconfig="contig", extrasamples=[0] * 100)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *args, **kwargs: pytest.fail("decoded"))
    with pytest.raises(ColorizerError, match="deep.tif"):
        Photo.open(path)

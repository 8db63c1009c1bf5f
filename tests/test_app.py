"""The page without a browser: its API through the real client, its model behind a Hub that misbehaves, its memory."""

import base64
import fnmatch
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import gradio.route_utils
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from skimage import data
from skimage.color import rgb2lab

import app
import colorizer.hub
from colorizer import ColorizationPipeline, Hint
from colorizer.errors import ColorizerError
from colorizer.images import Photo
from colorizer.models import create_model
from tests.loopback_hub import LoopbackHub


@pytest.fixture(scope="module")
def weights(tiny_model, tmp_path_factory):
    """A folder of bundled weights that holds a tiny model under the default's name."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_model.save_pretrained(folder / colorizer.hub.DEFAULT_MODEL)
    return folder


@pytest.fixture(autouse=True)
def bundled(weights, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", weights)
    monkeypatch.delenv("COLORIZER_MODEL", raising=False)
    monkeypatch.delenv("COLORIZER_REVISION", raising=False)


@pytest.fixture(scope="module")
def ladder(weights, tmp_path_factory):
    """The same folder with more models in it, of every kind there is, with random weights."""
    folder = tmp_path_factory.mktemp("ladder")
    shutil.copytree(weights, folder, dirs_exist_ok=True)
    torch.manual_seed(0)
    for name in ("plain_autoencoder", "two_stage", "mnist_linear", "mnist_cnn_bn", "color_autoencoder"):
        create_model(name).save_pretrained(folder / name)
    model = create_model("two_stage", widths=[4, 8], latent=4)
    model.defaults["working_size"] = 96
    model.save_pretrained(folder / "two_stage_photos")
    create_model("classifier", classes=["cat", "dog"], network="resnet18").save_pretrained(folder / "cats")
    return folder


@pytest.fixture(scope="module")
def server(ladder):
    """The page with many models, launched; yields a client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(colorizer.hub, "WEIGHTS", ladder)
        patch.delenv("COLORIZER_MODEL", raising=False)
        page = app.build_app()
        app.launch(page, prevent_thread_lock=True, quiet=True)
        yield Client(page.local_url, verbose=False)
        page.close()


@pytest.fixture
def jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "grandmother in 1931"
    path = tmp_path / "portrait.jpg"
    Image.fromarray(data.astronaut()).convert("L").resize((400, 300)).save(path, exif=exif, dpi=(300, 300))
    return path


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def events(page) -> dict:
    """The functions behind the page's events, by name."""
    return {event.fn.__name__: event.fn for event in page.fns.values() if event.fn}


def outputs(page, name: str, *args) -> dict:
    """What an event's function returns, by the names that app.py gives the page's parts."""
    result = events(page)[name](*args)
    named = {}
    for component, value in result.items():
        key = component.elem_id or type(component).__name__.lower()
        named["visitors" if isinstance(value, app.Album) else key] = value
    return named


def download(page, session) -> str:
    """The path of the file at full size, at the dials of the picture that is shown."""
    return make_download(page, *session.dials, session.guess, session.likeness, session.dials_of, session)


def make_download(page, *dials_and_session) -> str:
    """As the page has it made: ordered, then made when its turn has come."""
    orders, key = events(page)["order"](*dials_and_session, ()).values()
    return events(page)["make_download"](key, orders)


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------- the API


RUN_THE_MODEL = {"color", "color_photograph", "color_digit", "color_again", "choose", "turn_dial", "reset_dials"}
RUN_THE_MODEL |= {"make_download", "colorize", "correct", "undo_one", "undo_all", "refer", "turn_likeness"}
RUN_THE_MODEL |= {"order", "take_guess", "color_several", "color_next", "show", "style_all", "pack", "pack_next"}


def test_nothing_gets_past_the_line(server, jpeg):
    """One photo is colored at a time: what goes straight to a function, as gradio allows it, would come beside it."""
    photo = {"path": server.predict(handle_file(jpeg), api_name="/colorize")[0], "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [photo, *[None] * 9]}).encode()
    request = urllib.request.Request(
        f"{server.src.rstrip('/')}/gradio_api/run/colorize", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert b"join the queue" in refused.value.read()


def test_whatever_runs_the_model_stands_in_a_line(page):
    """Downloads in another one than the rest: while a large file is made, other visitors' dials go on answering."""
    calls = [event for event in page.fns.values() if event.fn and event.fn.__name__ in RUN_THE_MODEL]
    assert {event.fn.__name__ for event in calls} == RUN_THE_MODEL
    for event in calls:
        line = "file" if event.fn.__name__ in ("make_download", "pack", "pack_next") else "model"
        assert (event.concurrency_limit, event.concurrency_id) == (1, line)
    assert page._queue.max_size == 20


def test_what_visitors_give_is_bounded_and_deleted(page, monkeypatch):
    given = {}
    monkeypatch.setattr(app.gr.Blocks, "launch", lambda self, **options: given.update(options))
    app.launch(page)
    assert given["max_file_size"] == "320mb" and page.delete_cache == (600, 3600)


def test_api_returns_the_full_size_file_in_its_own_format_with_its_metadata(server, jpeg):
    path, info = server.predict(handle_file(jpeg), api_name="/colorize")
    assert Path(path).name == "portrait.color.jpg"
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (400, 300))
        assert image.getexif()[0x010E] == "grandmother in 1931"
        assert image.info["dpi"] == pytest.approx((300, 300))
    assert info.keys() == {"model", "width", "height", "seconds"}
    assert (info["model"], info["width"], info["height"]) == ("fusion_compact (bundled)", 400, 300)
    assert 0 < info["seconds"] < 60


def test_api_fetches_no_addresses(server, jpeg, unused_port, capfd):
    """Nobody else would be served until the address has answered, with however much."""
    address = handle_file(f"http://127.0.0.1:{unused_port}/photo.jpg")
    for given in ({"photo": address}, {"photo": handle_file(jpeg), "reference": address}):
        with pytest.raises(AppError, match="fetches no addresses: give the photo as a file"):
            server.predict(**given, api_name="/colorize")
    photo, *_ = server.view_api(return_format="dict")["named_endpoints"]["/colorize"]["parameters"]
    assert photo["example_input"]["url"] == "photo.jpg"  # nor does it tell programs to give one
    assert "Traceback" not in capfd.readouterr().err


def test_api_takes_every_dial(server, jpeg):
    gray, _ = server.predict(
        photo=handle_file(jpeg), colorfulness=0, temperature=0.5, working_size=128, balance=0.5, api_name="/colorize"
    )
    pixels = np.asarray(Image.open(gray).convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() <= 2  # at colorfulness 0 what comes out is gray


def test_api_takes_hints(server, tmp_path):
    """A color is a text or three numbers; a reach may follow."""
    dials = {"temperature": 0.05, "working_size": 128}  # at which a network of random weights shows them
    hints = [[100, 80, "#0000ff"], [300.5, 200, [255, 0, 0], 0.9]]
    path = tmp_path / "portrait.png"
    Image.fromarray(data.astronaut()).resize((400, 300)).save(path)
    out, _ = server.predict(handle_file(path), hints=hints, **dials, api_name="/colorize")
    pipe = ColorizationPipeline.from_pretrained()
    wanted = [Hint.from_rgb(*hint[:3], reach=reach) for hint, reach in zip(hints, (None, 0.9), strict=True)]
    assert np.array_equal(pixels(out), pipe(path, hints=wanted, **dials))
    assert not np.array_equal(pixels(out), pipe(path, hints=wanted[:1], **dials))


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ([[1, 2]], "hints is a list of"),
        *((rows, "hints is a list of") for rows in (7, 0, {}, "", ["12r"], [["left", 2, "red"]], [[True, 2, "red"]])),
        ([[1, 2, "red", "far"]], "hints is a list of"),
        ([[1, 2, "red", 1.5]], "reach of a hint must be a number from 0 to 1, not 1.5"),
        ([[1, 2, "red"]] * 101, "at most 100 hints here, not 101"),
        ([[10**400, 2, "red"]], "in numbers"),
        ([[1, 2, "reddish"]], "'reddish' is no color"),
        ([[1, 2, [1, 2]]], "is no color"),
        ([[1000, 2, "red"]], "outside of the photo, which is 400 x 300"),
    ],
)
def test_api_tells_what_is_no_hint(server, jpeg, capfd, hints, words):
    with pytest.raises(AppError, match=words):
        server.predict(handle_file(jpeg), hints=hints, api_name="/colorize")
    assert "Traceback" not in capfd.readouterr().err


def test_api_takes_hints_only_for_a_model_that_does(server, jpeg, ladder, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)
    with pytest.raises(AppError, match="two_stage takes no color hints; leave them out"):
        server.predict(handle_file(jpeg), model="two_stage", hints=[[1, 2, "red"]], api_name="/colorize")


def test_api_takes_another_guess(server, tmp_path):
    path = tmp_path / "portrait.png"
    Image.fromarray(data.astronaut()).resize((400, 300)).save(path)
    pipe = ColorizationPipeline.from_pretrained()
    for guess in ("greener", ""):  # as a form sends what is left out
        out, _ = server.predict(handle_file(path), guess=guess, working_size=128, api_name="/colorize")
        assert np.array_equal(pixels(out), pipe(path, working_size=128, guess=guess or None))
    with pytest.raises(AppError, match="guess is one of warmer, .*, not 'worse'"):
        server.predict(handle_file(path), guess="worse", api_name="/colorize")


def test_api_takes_a_reference(server, tmp_path):
    path, cup = tmp_path / "portrait.png", tmp_path / "cup.tif"
    Image.fromarray(data.astronaut()).resize((400, 300)).save(path)
    Image.fromarray(data.coffee()).save(cup)
    given = {"reference": handle_file(cup), "likeness": 0.9, "working_size": 128}
    out, _ = server.predict(handle_file(path), **given, api_name="/colorize")
    pipe = ColorizationPipeline.from_pretrained()
    assert np.array_equal(pixels(out), pipe(path, working_size=128, reference=cup, likeness=0.9))
    assert not np.array_equal(pixels(out), pipe(path, working_size=128))


def test_api_tells_what_is_no_reference(server, jpeg, ladder, monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)
    Image.fromarray(data.coffee()).save(tmp_path / "cup.png")
    (tmp_path / "notes.jpg").write_text("no picture")
    cup = {"reference": handle_file(tmp_path / "cup.png")}
    for given, words in (
        ({"reference": handle_file(jpeg)}, "^portrait.jpg is gray: a reference shows"),
        ({"reference": handle_file(tmp_path / "notes.jpg")}, "^notes.jpg"),
        (cup | {"likeness": 2}, "likeness must be a number from 0 to 1"),
        (cup | {"model": "two_stage"}, "two_stage predicts one color, .*: it takes no reference"),
        ({"likeness": 0.5}, "likeness is that to a reference, and there is none"),
    ):
        with pytest.raises(AppError, match=words):
            server.predict(handle_file(jpeg), **given, api_name="/colorize")
    assert "Traceback" not in capfd.readouterr().err


def test_api_keeps_sixteen_bits(server, tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray((data.camera().astype(np.uint16) * 257)[:200, :300]).save(path)
    out, _ = server.predict(handle_file(path), api_name="/colorize")
    photo = Photo.open(out)
    assert (photo.pixels.dtype, photo.pixels.shape, photo.format) == (np.uint16, (200, 300, 3), "PNG")


def test_only_colorize_is_public(server):
    api = server.view_api(return_format="dict", print_info=False)
    assert list(api["named_endpoints"]) == ["/colorize"]
    assert not api["unnamed_endpoints"]
    parameters = api["named_endpoints"]["/colorize"]["parameters"]
    assert [p["parameter_name"] for p in parameters] == [
        "photo",
        "colorfulness",
        "temperature",
        "working_size",
        "model",
        "balance",
        "hints",
        "reference",
        "likeness",
        "guess",
    ]
    assert [p["parameter_has_default"] for p in parameters] == [False] + [True] * 9


def test_api_takes_the_name_of_a_bundled_model(server, ladder, tmp_path, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)  # a model is read when it is first asked for
    path = tmp_path / "seven.png"
    app.digits()["digit-7.png"].save(path)
    out, info = server.predict(handle_file(path), model="mnist_cnn_bn", api_name="/colorize")
    assert info["model"] == "mnist_cnn_bn (bundled)"
    assert Image.open(out).size == (28, 28)
    assert server.predict(handle_file(path), api_name="/colorize")[1]["model"] == "fusion_compact (bundled)"


@pytest.mark.parametrize("name", ["tester/colors", "color_autoencoder", "cats", "..", "no <b>such</b>", "{folder}"])
def test_api_takes_no_other_model(server, jpeg, tiny_folder, capfd, name):
    with pytest.raises(AppError) as caught:
        server.predict(handle_file(jpeg), model=name.format(folder=tiny_folder), api_name="/colorize")
    assert (
        "there are fusion_compact, plain_autoencoder, two_stage_photos, two_stage, mnist_cnn_bn, mnist_linear."
        in str(caught.value)
    )
    assert "<b>" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"this is no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_a_file_that_is_no_picture_is_told_in_one_sentence(server, tmp_path, capfd, content):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    with pytest.raises(AppError) as caught:
        server.predict(handle_file(path), api_name="/colorize")
    message = str(caught.value)
    assert "letter.jpg" in message
    assert "/" not in message  # no path of the server's
    assert "Traceback" not in capfd.readouterr().err


def test_more_than_fifty_megapixels_are_refused(server, tmp_path, capfd):
    path = tmp_path / "wall.png"
    Image.new("1", (8000, 6300)).save(path)
    with pytest.raises(AppError, match="50 is the limit: reduce the picture$"):  # a visitor can raise none
        server.predict(handle_file(path), api_name="/colorize")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "dials",
    [{"temperature": -1}, {"working_size": 1056}, {"working_size": 0}, {"colorfulness": -1}, {"balance": 2}],
)
def test_impossible_dials_are_refused(server, jpeg, capfd, dials):
    with pytest.raises(AppError):
        server.predict(handle_file(jpeg), **dials, api_name="/colorize")
    assert "Traceback" not in capfd.readouterr().err


# ---------------------------------------------------------------------------------------------------- the events


def test_the_preview_is_small_and_the_download_is_not(tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(data.moon()).resize((2600, 1300)).save(path)
    page = app.build_app()
    shown = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)
    for preview in shown["compare"]:
        assert max(Image.open(preview).size) == 2048
    assert "2600 × 1300" in shown["facts"] and "fusion_compact (bundled)" in shown["facts"]
    path = download(page, shown["state"])
    assert Path(path).name == "wide.color.png"
    assert Image.open(path).size == (2600, 1300)


def test_a_photo_after_a_gray_one_has_color_again(page, jpeg):
    shown = events(page)["color"](str(jpeg), 0, 0.4, 0.2, 96, app.MAIN, app.MAIN, None)
    sliders = {part.label: update for part, update in shown.items() if isinstance(part, app.gr.Slider)}
    assert sliders["Colorfulness"]["value"] > 0
    assert next(value for part, value in shown.items() if isinstance(part, app.gr.State)).dials[1:] == (0.4, 0.2)
    session = outputs(page, "color", str(jpeg), 0.5, 0.4, 0.2, 96, app.MAIN, app.MAIN, None)["state"]
    assert session.dials == (0.5, 0.4, 0.2)  # other dials stay


def test_dials_answer_without_the_network(jpeg, monkeypatch):
    page = app.build_app()
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    monkeypatch.setattr(ColorizationPipeline, "prepare", None)
    monkeypatch.setattr("colorizer.models.fusion.FusionColorizer.logits", None)
    gray = outputs(page, "turn_dial", 0, 0.4, 0.2, session.dials_of, session)
    assert gray["compare"][0] == session.before and gray["canvas"] == gray["compare"][1]
    assert np.ptp(np.asarray(Image.open(gray["canvas"])).astype(int), axis=2).max() <= 4  # gray, as a JPEG is
    assert gray["state"].dials == (0, 0.4, 0.2)
    tinted = outputs(page, "turn_dial", 1, 0.4, 0, gray["state"].dials_of, gray["state"])
    plain = outputs(page, "turn_dial", 1, 0.4, 1, tinted["state"].dials_of, tinted["state"])
    assert Path(tinted["compare"][1]).read_bytes() != Path(plain["compare"][1]).read_bytes()
    assert plain["state"].dials == (1, 0.4, 1)


def test_a_coloring_that_left_the_shelf_is_made_again(jpeg, monkeypatch):
    monkeypatch.setattr(app.Shelf, "get", lambda self, key: None)
    page = app.build_app()
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    turned = outputs(page, "turn_dial", 1.5, 0.4, 0.2, session.dials_of, session)
    assert Image.open(turned["compare"][1]).size == (400, 300)
    jpeg.unlink()
    with pytest.raises(app.gr.Error, match="choose it again"):
        events(page)["turn_dial"](0.5, 0.4, 0.2, session.dials_of, session)


def click(x: int, y: int):
    """What gradio says of a click at a pixel of the picture."""
    return types.SimpleNamespace(index=[x, y])


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_colors_are_corrected_where_the_picture_is_clicked(page, tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(data.coffee()).convert("L").resize((2600, 1300)).save(path)
    first = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)
    automatic = pixels(download(page, first["state"]))
    assert first["canvas"] == first["compare"][1]
    assert not first["undo"].interactive and not first["undo-all"].interactive

    one = outputs(page, "correct", "#0000ff", 0.5, first["state"], click(1023, 511))  # of a copy of 2048 x 1024 pixels
    (hint,) = one["state"].hints
    scale = 2600 / 2048
    assert (hint.x, hint.y) == pytest.approx((1023 * scale, 511 * scale))
    assert (hint.a, hint.b) == pytest.approx((79.19, -107.86), abs=0.02)  # CIE Lab of sRGB's blue
    assert hint.radius is None  # as wide as suits the network, at any working size
    assert one["state"].dials == first["state"].dials and one["compare"][0] == first["compare"][0]
    photo, pipeline = Photo.open(path), first["state"].pipeline
    expected = pipeline(photo, 1.0, 0.4, 128, [hint], balance=0.2).to_pil()
    assert np.array_equal(pixels(download(page, one["state"])), np.asarray(expected))
    assert one["undo"].interactive and one["undo-all"].interactive
    rings = np.abs(pixels(one["canvas"]) - pixels(one["compare"][1])).max(axis=2) > 100
    rows, columns = np.nonzero(rings)
    assert rings.any() and max(abs(rows - 511).max(), abs(columns - 1023).max()) < 30  # there and nowhere else
    assert (pixels(one["canvas"])[511, 1023:1053] @ (-1, -1, 1)).max() > 200  # and in the color that was given

    two = outputs(page, "correct", "gray", 0.5, one["state"], click(2047, 1023))
    assert two["state"].hints[0] == hint and len(two["state"].hints) == 2
    assert (two["state"].hints[1].x, two["state"].hints[1].y) == pytest.approx((2047 * scale, 1023 * scale))
    assert (two["state"].hints[1].a, two["state"].hints[1].b) == pytest.approx((0, 0), abs=0.02)

    again = outputs(page, "correct", "red", 0.5, two["state"], click(1030, 515))  # the same place, in another color
    assert [round(hint.a) for hint in again["state"].hints] == [0, 80]

    back = outputs(page, "undo_one", two["state"])
    assert back["state"].hints == (hint,)
    assert np.array_equal(pixels(back["compare"][1]), pixels(one["compare"][1]))
    none = outputs(page, "undo_all", two["state"])
    assert none["state"].hints == ()
    assert np.array_equal(pixels(download(page, none["state"])), automatic)
    assert none["canvas"] == none["compare"][1] and not none["undo"].interactive
    for name in ("undo_one", "undo_all"):  # nothing to undo
        assert events(page)[name](none["state"]) == app.gr.skip()


def test_the_reach_is_the_last_corrections_and_those_to_come(page, jpeg, monkeypatch):
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    turn = events(page)["turn_reach"]
    assert turn(0.2, session.path, session) == app.gr.skip()  # nothing is corrected yet
    session = outputs(page, "correct", "#0000ff", 0.3, session, click(100, 100))["state"]
    near = outputs(page, "correct", "red", 0.1, session, click(300, 200))
    session = near["state"]
    assert turn(0.1, session.path, session) == app.gr.skip()
    with monkeypatch.context() as patch:
        patch.setattr(app.ColorizationPipeline, "run_network", lambda *given: pytest.fail("the network ran"))
        far = outputs(page, "turn_reach", 0.9, session.path, session)
    assert [hint.reach for hint in far["state"].hints] == [0.3, 0.9]
    assert far["state"].corrections[-1].color == "red" and far["state"].dials == session.dials
    changed = np.abs(pixels(far["compare"][1]) - pixels(near["compare"][1])).max(axis=2) > 8
    assert changed.mean() > 0.02
    shown = pixels(download(page, far["state"]))
    with monkeypatch.context() as patch:
        patch.setattr(app.Shelf, "get", lambda self, key: None)  # where it is made again
        assert np.array_equal(pixels(download(page, far["state"])), shown)
    undone = outputs(page, "undo_one", far["state"])
    back = undone["state"]
    assert [hint.reach for hint in back.hints] == [0.3] == [undone["reach"]]
    assert "reach" not in outputs(page, "undo_one", back)  # none is left
    assert [hint.reach for hint in outputs(page, "turn_reach", 0.7, back.path, back)["state"].hints] == [0.7]


def test_a_click_on_a_photo_that_is_turned_enlarged_or_transparent(page, tmp_path):
    """The place is that of the picture that is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    Image.fromarray(data.camera()[:300]).save(tmp_path / "turned.png", exif=exif)  # 512 x 300 pixels as it lies
    Image.new("LA", (40, 20), (90, 128)).save(tmp_path / "tiny.png")
    for name, size, shown, place in (
        ("turned.png", (300, 512), (300, 512), (150, 384)),
        ("tiny.png", (40, 20), (320, 160), (10, 15)),
    ):
        session = outputs(page, "color", str(tmp_path / name), 1, 0.4, 0, 64, app.MAIN, app.MAIN, None)["state"]
        at = [round(here * wide / side) for here, wide, side in zip(place, shown, size, strict=True)]
        corrected = outputs(page, "correct", "red", 0.5, session, click(*at))
        (hint,) = corrected["state"].hints
        assert Image.open(corrected["canvas"]).size == shown
        assert (hint.x, hint.y) == pytest.approx(place, abs=0.1)


def test_a_ring_is_seen_on_any_photo():
    """White and black are in it whatever the size, so that it stands out in any color."""
    for side in (*range(100, 340, 7), 900, 2048):
        photo = Photo(np.full((side, side), 90, np.uint8))
        shades = pixels(app.save_preview(photo, "marked", [(0.5, 0.5, "#5a5a5a")]))
        assert shades.min() < 45 and shades.max() > 190, side


def test_a_download_puts_nothing_back_on_the_shelf(page, jpeg, monkeypatch):
    """By then the page may show other work on the photo."""
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    shown = pixels(download(page, session))
    with monkeypatch.context() as patch:
        patch.setattr(app.Shelf, "get", lambda self, key: None)
        patch.setattr(app.Shelf, "put", lambda self, key, work: pytest.fail("it was put back"))
        assert np.array_equal(pixels(download(page, session)), shown)


def test_corrections_leave_no_more_on_the_shelf_than_one_photo(page, jpeg, monkeypatch):
    shelves = []
    tidy = app.Shelf.tidy
    monkeypatch.setattr(app.Shelf, "tidy", lambda self: (shelves.append(self), tidy(self)))
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    for place in (0, 100, 200):
        session = outputs(page, "correct", "red", 0.5, session, click(place, 0))["state"]
    ((_, work),) = shelves[0].items.values()
    assert len(work.coloring.hints) == 3 and work.coloring.embedding is None


def test_corrected_colors_stay_with_the_photo(page, jpeg, monkeypatch):
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    plain = outputs(page, "choose", "two_stage", session)["state"]
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    session = outputs(page, "correct", "#3f6fb5", 0.5, session, click(200, 150))["state"]
    turned = outputs(page, "turn_dial", 0.7, 0.4, 0.2, session.dials_of, session)["state"]
    larger = outputs(page, "color_again", *turned.dials, 192, turned.dials_of, turned)["state"]
    assert turned.hints == larger.hints == outputs(page, "reset_dials", larger)["state"].hints == session.hints
    shown = pixels(download(page, session))
    with monkeypatch.context() as patch:
        patch.setattr(app.Shelf, "get", lambda self, key: None)  # where it is made again
        assert np.array_equal(pixels(download(page, session)), shown)
    for name, *args in (("correct", "red", 0.5, session, click(10, 10)), ("undo_one", session)):
        Path(session.before).unlink()  # with the old files
        later = outputs(page, name, *args)
        assert Image.open(later["compare"][0]).size == (400, 300)
        session = later["state"]

    other = outputs(page, "choose", "two_stage", larger)  # which takes no hints
    assert other["correct"]["visible"] is False
    assert np.array_equal(pixels(download(page, other["state"])), pixels(download(page, plain)))
    back = outputs(page, "choose", app.MAIN, other["state"])
    assert back["state"].hints == larger.hints and back["correct"]["visible"] is True
    other = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, larger)
    assert other["state"].hints == ()


def test_the_colors_of_another_photo(page, jpeg, tmp_path, monkeypatch):
    """They stay over dials, corrections and photos until they are taken away."""
    cup = tmp_path / "cup.tif"
    Image.fromarray(data.coffee()).save(cup)
    path = tmp_path / "portrait.png"
    Image.open(jpeg).save(path)
    first = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)
    plain = pixels(download(page, first["state"]))
    led = outputs(page, "refer", str(cup), 0.9, first["state"].path, first["state"])
    session, pipeline = led["state"], first["state"].pipeline
    expected = pipeline(path, 1.0, 0.4, 128, balance=0.2, reference=cup, likeness=0.9)
    assert np.array_equal(pixels(download(page, session)), expected)
    assert led["facts"].endswith("; in the colors of cup.tif</p>") and "cup" not in first["facts"]
    with Image.open(led["reference"]) as shown:
        assert shown.format == "JPEG" and shown.size == (480, 320)
    assert not np.array_equal(expected, plain)
    assert session.dials == first["state"].dials and led["compare"][0] == first["compare"][0]

    shown = pixels(download(page, session))
    with monkeypatch.context() as patch:
        patch.setattr(app.Shelf, "get", lambda self, key: None)  # where it is made again
        assert np.array_equal(pixels(download(page, session)), shown)
    for event in (
        lambda session: ("turn_dial", 0.7, 0.4, 0.2, session.dials_of, session),
        lambda session: ("color_again", *session.dials, 192, session.dials_of, session),
        lambda session: ("correct", "red", 0.5, session, click(200, 150)),
        lambda session: ("reset_dials", session),
        lambda session: ("color", str(path), *session.dials, 128, app.MAIN, app.MAIN, session),
    ):
        later, without = (outputs(page, *event(one))["state"] for one in (session, first["state"]))
        assert (later.reference, later.likeness) == (session.reference, 0.9) and without.reference is None
        assert not np.array_equal(pixels(download(page, later)), pixels(download(page, without)))
        first["state"] = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
        session = outputs(page, "refer", str(cup), 0.9, first["state"].path, first["state"])["state"]
        first["state"] = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]

    less = outputs(page, "turn_likeness", 0.3, session.path, session)
    assert less["state"].likeness == 0.3
    assert not np.array_equal(pixels(less["compare"][1]), pixels(led["compare"][1]))
    assert events(page)["turn_likeness"](0.9, session.path, session) == app.gr.skip()
    gone = outputs(page, "refer", None, 0.9, session.path, session)
    assert gone["reference"] is None and gone["state"].reference_given is None and "cup" not in gone["facts"]
    assert np.array_equal(pixels(download(page, gone["state"])), plain)
    later = outputs(page, "turn_likeness", 0.3, gone["state"].path, gone["state"])
    assert later.keys() == {"state"}  # for the next reference
    none = outputs(page, "turn_likeness", 0, session.path, session)
    assert "cup" not in none["facts"] and np.array_equal(pixels(download(page, none["state"])), plain)

    other = outputs(page, "choose", "two_stage", session)  # which takes no reference
    assert other["other"]["elem_classes"] == ["hidden-panel"] and "cup" not in other["facts"]
    back = outputs(page, "choose", app.MAIN, other["state"])
    assert back["other"]["elem_classes"] == [] and back["facts"].endswith("in the colors of cup.tif</p>")


def test_the_page_says_that_another_photo_shows_the_same_scene(page, tmp_path, monkeypatch):
    """Here the model has random weights, which know no scene: tests/test_reference.py has the one that does."""
    paths = [str(tmp_path / name) for name in ("gray.png", "color.png")]
    photo, other = (Image.fromarray(picture) for picture in data.stereo_motorcycle()[1::-1])
    photo.convert("L").save(paths[0])
    other.save(paths[1])
    first = outputs(page, "color", paths[0], 1.25, 0.6, 0.2, 224, app.MAIN, app.MAIN, None)
    other = outputs(page, "refer", paths[1], 0.5, paths[0], first["state"])
    assert other["facts"].endswith("; in the colors of color.png</p>")
    monkeypatch.setattr(app.Coloring, "same_scene", 0.5)
    led = outputs(page, "turn_likeness", 0.6, paths[0], other["state"])
    assert led["facts"].endswith("; in the colors of color.png, which shows the same scene</p>")
    assert "in the colors of" not in outputs(page, "turn_likeness", 0, paths[0], led["state"])["facts"]


def test_other_guesses(page, jpeg, tmp_path):
    path = tmp_path / "portrait.png"
    Image.open(jpeg).save(path)
    first = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)
    assert (first["guess"].value, first["state"].guess) == ("first", "first")
    cooler = outputs(page, "take_guess", "cooler", first["state"].dials_of, first["state"])
    session = cooler["state"]
    expected = session.pipeline(path, 1.0, 0.4, 128, balance=0.2, guess="cooler")
    assert np.array_equal(pixels(download(page, session)), expected)
    assert not np.array_equal(pixels(cooler["compare"][1]), pixels(first["compare"][1]))
    assert events(page)["take_guess"]("cooler", session.dials_of, session) == app.gr.skip()
    for name, *args in (
        ("turn_dial", 0.7, 0.4, 0.2, session.dials_of, session),
        ("correct", "red", 0.5, session, click(200, 150)),
        ("color_again", *session.dials, 192, session.dials_of, session),
    ):
        assert outputs(page, name, *args)["state"].guess == "cooler"
    again = outputs(page, "color_again", *session.dials, 192, session.dials_of, session)
    assert again["guess"].value == "cooler"
    for name, *args in (
        ("take_guess", "first", session.dials_of, session),
        ("reset_dials", session),
        ("color", str(path), *session.dials, 128, app.MAIN, app.MAIN, session),
        ("choose", "two_stage", session),
    ):
        assert outputs(page, name, *args)["state"].guess == "first"
        session = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
        session = outputs(page, "take_guess", "cooler", session.dials_of, session)["state"]
    other = outputs(page, "choose", "two_stage", session)
    assert other["guess"]["visible"] is False and other["guess"]["value"] == "first"


def test_guesses_are_pictured(page, tmp_path):
    """As the dials, the corrections and the reference have them; the same pixels as the photo itself would be."""
    path = tmp_path / "wide.png"
    Image.fromarray(data.coffee()[:, :, 1]).resize((480, 160)).save(path)  # so that the pictures are 160 pixels high

    def strip(shown: dict) -> np.ndarray:
        found = re.fullmatch(r"<style>#guess { --pictures: url\(data:image/jpeg;base64,(.*)\); }</style>", shown)
        return pixels(io.BytesIO(base64.b64decode(found[1]))).astype(float)

    first = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)
    session = first["state"]
    pictures = np.split(strip(first["guess-pictures"]), 6, axis=1)
    assert pictures[0].shape == (160, 160, 3)
    for i, guess in enumerate((None, *app.GUESSES)):
        expected = np.asarray(session.pipeline(path, 1.0, 0.4, 128, balance=0.2, guess=guess))[:, 160:320]
        distances = [np.abs(picture - expected).mean() for picture in pictures]
        assert np.argmin(distances) == i and distances[i] < 4  # a JPEG
    for name, *args in (
        ("turn_dial", 0.0, 0.4, 0.2, session.dials_of, session),
        ("correct", "#0000ff", 0.5, session, click(240, 80)),
        ("refer", str(path.with_name("cup.png")), 1.0, session.path, session),
        ("color_again", *session.dials, 192, session.dials_of, session),
    ):
        Image.fromarray(data.coffee()).save(path.with_name("cup.png"))
        changed = strip(outputs(page, name, *args)["guess-pictures"])
        assert not np.array_equal(changed, np.concatenate(pictures, axis=1))
        assert (np.ptp(changed, axis=2).max() < 5) == (name == "turn_dial")
    assert outputs(page, "choose", "two_stage", session)["guess-pictures"] == ""  # which has one guess alone


@pytest.mark.parametrize("mode, size", [("L", (1, 1)), ("LA", (3, 2)), ("RGBA", (9, 700)), ("I;16", (900, 4))])
def test_guesses_of_odd_photos_are_pictured(page, tmp_path, mode, size):
    path = tmp_path / "odd.png"
    Image.new(mode, size).save(path)
    shown = outputs(page, "color", str(path), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["guess-pictures"]
    strip = Image.open(io.BytesIO(base64.b64decode(shown.partition("base64,")[2].partition(")")[0])))
    assert strip.size == (960, 160)
    assert (np.asarray(strip).min() > 250) == mode.endswith("A")  # what is transparent becomes white


def test_a_reference_that_is_none_is_told_and_the_one_before_stays(page, jpeg, tmp_path):
    cup = tmp_path / "cup.png"
    Image.fromarray(data.coffee()).save(cup)
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    session = outputs(page, "refer", str(cup), 0.9, session.path, session)["state"]
    shown = pixels(download(page, session))
    with pytest.raises(app.gr.Error, match="^'portrait.jpg is gray"):
        events(page)["refer"](str(jpeg), 0.9, session.path, session)
    assert np.array_equal(pixels(download(page, session)), shown)
    assert outputs(page, "put_back", session) == {"reference": session.reference_shown}
    Path(session.reference_shown).unlink()  # with the old files
    assert outputs(page, "put_back", session) == outputs(page, "put_back", None) == {"reference": None}


def test_a_change_that_fails_leaves_what_was(page, jpeg, monkeypatch):
    """A full disk: what is on the shelf goes with the session that is shown."""
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    cup = jpeg.with_name("cup.png")
    Image.fromarray(data.coffee()).save(cup)
    shown = pixels(download(page, session))
    with monkeypatch.context() as patch:
        patch.setattr(app.Work, "render", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(app.gr.Error, match="short of memory or disk"):
            outputs(page, "refer", str(cup), 0.9, session.path, session)
    assert np.array_equal(pixels(download(page, session)), shown)


@pytest.mark.parametrize("picked", ["#3f6fb5", "rgb(63, 111, 181)", "rgba(63, 111, 181, 1)", "hsl(216, 48%, 48%)"])
def test_what_the_color_picker_gives(page, jpeg, picked):
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    (hint,) = outputs(page, "correct", picked, 0.5, session, click(0, 0))["state"].hints
    assert (hint.a, hint.b) == pytest.approx(rgb2lab(np.array([63, 111, 181]) / 255)[1:], abs=0.5)


@pytest.mark.parametrize("picked", ["no color", "", "#12", "rgba(1.2.3, 4, 5, 1)"])
def test_what_is_no_color_is_told(page, jpeg, picked):
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 128, app.MAIN, app.MAIN, None)["state"]
    with pytest.raises(app.gr.Error, match="is no color"):
        events(page)["correct"](picked, 0.5, session, click(0, 0))


def test_every_example_colors(monkeypatch):
    page = app.build_app()
    for index, name in enumerate(app.EXAMPLES):
        shown = outputs(page, "color_photograph", index, 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)
        assert Path(shown["state"].path).stem == name
        assert Image.open(shown["state"].path).mode == "L"


def test_examples_outlive_the_cleaning_of_old_files():
    from gradio.route_utils import delete_files_created_by_app

    page = app.build_app()
    delete_files_created_by_app(page, age=None)
    assert outputs(page, "color_photograph", 0, 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]


def test_examples_outlive_a_visitor_who_sends_their_paths(monkeypatch, tmp_path):
    """gradio takes such a file for an upload, which is deleted when it is old."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # the clock is wrong for all other files
    page = app.build_app()
    rows = [block for block in page.blocks.values() if block.elem_id in ("photographs", "digits")]
    files = [Path(file) for row in rows for file in row.keep_in_cache]
    page.temp_file_sets.append(set(map(str, files)))
    monkeypatch.setattr(app.time, "time", lambda: 1e11)
    gradio.route_utils.delete_files_created_by_app(page, 60)
    assert len(files) == 20 and all(file.is_file() for file in files)


def test_examples_are_shown_gray_on_the_left_and_in_the_models_colors_on_the_right(page):
    (row,) = (block for block in page.blocks.values() if block.elem_id == "photographs")
    pipeline = ColorizationPipeline.from_pretrained()
    for name, (tile,) in zip(app.EXAMPLES, row.raw_samples, strict=True):
        picture = Image.fromarray(getattr(data, name)()).convert("L")
        colored = np.asarray(pipeline.prepare(picture).render(max_side=app.TILE_SIDE).to_pil()).astype(int)
        gray = np.asarray(pipeline.prepare(picture).gray(app.TILE_SIDE).to_pil().convert("RGB")).astype(int)
        shown, middle = np.asarray(Image.open(tile)).astype(int), colored.shape[1] // 2
        assert shown.shape == colored.shape and max(shown.shape) <= app.TILE_SIDE
        assert np.abs(shown - gray)[:, : middle - 8].mean() < 3 < np.abs(shown - gray)[:, middle + 8 :].mean()
        assert np.abs(shown - colored)[:, middle + 8 :].mean() < 3


def test_the_script_has_what_the_events_call():
    called = set(re.findall(r"colorizerPage\.(\w+)", Path(app.__file__).read_text("utf-8")))
    offered = app.SCRIPT.read_text("utf-8").rpartition("return {")[2].partition("}")[0]
    assert called and called <= {name.partition(":")[0].strip() for name in offered.split(",")}


def test_what_the_readme_uploads_as_a_space_is_all_that_the_page_reads():
    root = Path(app.__file__).parent
    upload = re.search(r"^hf upload (.*?[^\\])\n", (root / "README.md").read_text(), re.S | re.M)[1]
    patterns = re.findall(r'--include "?([^\s"]+)', upload)
    read = [root / "app.py", root / "requirements.txt", app.STYLE_SHEET, app.SCRIPT, Path(colorizer.hub.__file__)]
    read += [file for file in (root / "colorizer/weights").rglob("*") if file.is_file()]
    for file in read:
        assert any(fnmatch.fnmatch(file.relative_to(root).as_posix(), pattern) for pattern in patterns), file


def test_a_model_of_digits_shows_the_examples_as_they_are(ladder, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)
    page = app.build_app(app.Studio("mnist_linear"))
    (row,) = (block for block in page.blocks.values() if block.elem_id == "photographs")
    assert [Image.open(path).mode for (path,) in row.raw_samples] == ["L"] * 5


def test_transparent_photos_have_a_preview(tmp_path):
    path = tmp_path / "cutout.png"
    Image.fromarray(np.dstack([data.camera()[:64, :96], np.zeros((64, 96), np.uint8)])).save(path)
    shown = outputs(app.build_app(), "color", str(path), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)
    assert np.asarray(Image.open(shown["compare"][1])).min() > 250  # all of it shows the white behind


def test_temperature_is_hidden_where_it_means_nothing(tiny_model, tmp_path, monkeypatch, jpeg):
    model = create_model("fusion", **tiny_model.config | {"head": "regression"})
    model.save_pretrained(tmp_path / colorizer.hub.DEFAULT_MODEL)
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", tmp_path)
    page = app.build_app()
    dial = next(block for block in page.blocks.values() if getattr(block, "label", "") == "Caution")
    assert dial.visible is False
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    events(page)["turn_dial"](0.5, 0.4, 0.2, session.dials_of, session)
    assert download(page, session)


class Sheet:
    """Stands for the work on a photo of so many megapixels."""

    def __init__(self, megapixels: float):
        self.photo = types.SimpleNamespace(width=1000, height=int(megapixels * 1000))


def test_shelf_is_bounded_in_megapixels():
    shelf = app.Shelf(megapixels=100)
    for key in "abc":
        shelf.put(key, Sheet(40))
    assert shelf.get("a") is None and shelf.get("b") and shelf.get("c")
    shelf.get("b")
    shelf.put("d", Sheet(40))
    assert shelf.get("c") is None and shelf.get("b")  # the one used last stays
    shelf.put("huge", Sheet(200))
    assert shelf.get("huge") and len(shelf.items) == 1


def test_shelf_is_bounded_in_number():
    shelf = app.Shelf(works=2)
    for key in "abc":
        shelf.put(key, Sheet(1))
    assert list(shelf.items) == ["b", "c"]


def test_shelf_is_bounded_in_time(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    now = [100.0]
    monkeypatch.setattr(app.time, "monotonic", lambda: now[0])
    shelf = app.Shelf(seconds=60)
    shelf.put("a", Sheet(1))
    now[0] += 59
    assert shelf.get("a")
    now[0] += 61
    assert shelf.get("a") is None and not shelf.items
    shelf.put("b", Sheet(1))
    now[0] += 61
    page = types.SimpleNamespace(blocks={}, temp_file_sets=[], shelf=shelf)
    gradio.route_utils.delete_files_created_by_app(page, 60)  # every ten minutes, though nobody comes any more
    assert not shelf.items


# ---------------------------------------------------------------------------------------------------- the model


def test_a_revision_of_no_model_is_told():
    studio = app.Studio(None, "v2")
    assert "COLORIZER_REVISION (v2) is not in use" in studio.note(app.MAIN)
    assert "COLORIZER" not in app.Studio().note(app.MAIN)


@pytest.fixture
def hub(tiny_folder, tmp_path, monkeypatch):
    """A Hub on loopback with a colorizer on it."""
    with LoopbackHub() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        hub.sha = hub.add("tester/colors", {path.name: path.read_bytes() for path in tiny_folder.iterdir()})
        yield hub


def test_the_named_model_takes_over_when_it_is_there(hub, monkeypatch, jpeg):
    asked, fetch = threading.Event(), app.Studio.fetch
    monkeypatch.setattr(app.Studio, "fetch", lambda studio: asked.wait() and fetch(studio))
    monkeypatch.setenv("COLORIZER_MODEL", "tester/colors")
    page = app.build_app()
    colorize = events(page)["colorize"]

    def told():
        return outputs(page, "refresh", app.MAIN, None)

    assert told()["model"] == "<p>bundled; fetching tester/colors</p>"
    assert "menu" not in told()
    assert colorize(str(jpeg))[1]["model"] == "fusion_compact (bundled)"
    asked.set()
    wait_until(lambda: "fetching" not in told()["model"])
    taken = f"tester/colors @ {hub.sha[:7]}"
    assert told()["model"] == "<p></p>"
    assert told()["menu"]["choices"] == [
        (f"{taken} — photos (default)", app.MAIN),
        ("fusion_compact — photos", "fusion_compact"),
    ]
    assert colorize(str(jpeg))[1]["model"] == taken
    assert colorize(str(jpeg), model="fusion_compact")[1]["model"] == "fusion_compact (bundled)"


def test_a_page_sends_its_dials_no_value_that_they_have():
    studio = app.Studio()
    page = app.build_app(studio)

    def sent(choice=app.MAIN):
        updates = events(page)["refresh"](choice, None)
        dials = [part for part in updates if isinstance(part, app.gr.Slider)]
        return {part.label: update["value"] for part, update in updates.items() if part in dials and "value" in update}

    assert sent() == {}
    studio.pipeline.model.defaults = studio.pipeline.model.defaults | {"colorfulness": 0.5, "working_size": 128}
    assert sent() == {"Colorfulness": 0.5, "Working size": 128}
    assert sent("fusion_compact") == {}  # the dials are those of what was chosen


def test_a_model_that_takes_over_while_the_first_photo_is_colored(tiny_model, jpeg, monkeypatch):
    """The page has its dials by then, and the photo is of the one before."""
    studio = app.Studio()
    page, before, prepare = app.build_app(studio), studio.pipeline.model, app.ColorizationPipeline.prepare
    regression = create_model("fusion", **tiny_model.config | {"head": "regression"})
    regression.defaults = regression.defaults | {"working_size": 1000}

    def take_over(*args, **options):
        studio.pipeline = app.ColorizationPipeline(regression, "cpu")
        return prepare(*args, **options)

    monkeypatch.setattr(app.ColorizationPipeline, "prepare", take_over)
    shown = events(page)["color"](str(jpeg), 1.1, 0.4, 0.2, 192, app.MAIN, app.MAIN, None)
    dials = {part.label: update for part, update in shown.items() if isinstance(part, app.gr.Slider)}
    assert [dials[name]["value"] for name in ("Colorfulness", "Caution", "Balance", "Working size")] == [
        1.1, 0.4, 0.2, 192,
    ]  # fmt: skip
    assert dials["Caution"]["visible"] is True and dials["Working size"]["maximum"] == app.size_range(before)[1]
    assert "by fusion_compact (bundled)" in next(iter(v for p, v in shown.items() if p.elem_id == "facts"))


def test_the_next_photo_has_the_dials_of_the_model_that_took_over(tiny_model, jpeg, monkeypatch):
    monkeypatch.setattr(tiny_model, "defaults", tiny_model.defaults | {"colorfulness": 0.5, "working_size": 128})
    studio = app.Studio()
    page = app.build_app(studio)
    dials = app.dial_defaults(studio.pipeline.model)
    session = outputs(page, "color", str(jpeg), *dials, app.MAIN, app.MAIN, None)["state"]
    studio.pipeline = app.ColorizationPipeline(tiny_model, "cpu")

    smaller = outputs(page, "color_again", *dials[:3], 96, session.dials_of, session)
    assert "fusion_compact (bundled)" in smaller["facts"]  # the photo that is shown stays the former model's

    shown = events(page)["color"](str(jpeg), *dials, app.MAIN, app.MAIN, session)
    updates = {part.label: update for part, update in shown.items() if isinstance(part, app.gr.Slider)}
    own = app.dial_defaults(tiny_model)
    assert tuple(updates[name]["value"] for name in ("Colorfulness", "Caution", "Balance", "Working size")) == own
    after = next(value for part, value in shown.items() if isinstance(part, app.gr.State))
    assert after.dials == own[:3] != session.dials and after.working_size == own[3]
    # From then on the page's dials count.
    again = events(page)["color"](str(jpeg), 0.7, *own[1:], app.MAIN, app.MAIN, after)
    assert next(value for part, value in again.items() if isinstance(part, app.gr.State)).dials[0] == 0.7


# ---------------------------------------------------------------------------------------------------- several photos


@pytest.fixture
def photos(tmp_path, monkeypatch) -> list[str]:
    """Paths of three photos, and between them one of a file that is none; what the page writes has a folder here."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    paths = [tmp_path / name for name in ("cup.png", "letter.jpg", "cat.jpg", "rocket.png")]
    for path, picture in zip(paths, (data.coffee, None, data.chelsea, data.rocket), strict=True):
        if picture:
            Image.fromarray(picture()).convert("L").resize((120, 80)).save(path)
        else:
            path.write_text("Dear Sir or Madam")
    return list(map(str, paths))


DIALS = (1.0, 0.4, 0.2, 96, app.MAIN, app.MAIN)


def give(page, paths: list[str], dials: tuple = DIALS, session=None, visitors=app.NO_PHOTOS) -> dict:
    """Give the page several photos, and let it color them all."""
    shown = outputs(page, "color_several", paths, *dials, session, visitors)
    return shown | colored(page, shown)


def colored(page, shown: dict) -> dict:
    """What the page has when nothing waits any more."""
    while shown["visitors"].waiting:
        shown |= outputs(page, "color_next", shown["state"], shown["visitors"])
    return shown


def on_page(shown: dict) -> tuple:
    """What events are given of the dials, which nobody has turned since, and of the photos."""
    session = shown["state"]
    return *session.dials, session.guess, session.likeness, session.dials_of, session, shown["visitors"]


def bring(page, number: int, shown: dict) -> dict:
    """Click on one of the small pictures."""
    return shown | outputs(page, "show", *on_page(shown), types.SimpleNamespace(index=number))


def zipped(page, shown: dict) -> dict[str, np.ndarray]:
    """The pictures in the ZIP file of all photos, by their names, with the dials as they are."""
    packing, parcel = events(page)["pack"](*on_page(shown), None), None
    while True:
        (path,) = (value for part, value in packing.items() if isinstance(part, app.gr.File))
        parcel = next((value for value in packing.values() if isinstance(value, app.Parcel)), None)
        if not parcel:
            break
        assert path is None
        packing = events(page)["pack_next"](parcel)
    if path is None:
        return {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: pixels(archive.open(name)) for name in archive.namelist()}


def test_several_photos_are_colored_one_after_the_other(page, photos):
    shown = outputs(page, "color_several", photos, *DIALS, None, app.NO_PHOTOS)
    assert "120 × 80 pixels, colored in" in shown["facts"] and shown["state"].path == photos[0]
    assert [at.path for at in shown["visitors"].sessions] == photos[:1]
    assert [at.path for at in shown["visitors"].waiting] == photos[1:]
    assert "Coloring 2 of 4" in shown["album-line"] and shown["album"].visible and shown["number"] == 3
    one = outputs(page, "color_next", shown["state"], shown["visitors"])
    assert "Coloring 3 of 4" in one["album-line"]
    assert "letter.jpg is no picture" in one["album-line"] and str(Path(photos[1]).parent) not in one["album-line"]
    assert "state" not in one and one["number"] == 2  # what is shown stays
    done = colored(page, shown | one)
    assert [at.path for at in done["visitors"].sessions] == [photos[0], *photos[2:]]
    assert "3 photos" in done["album-line"] and "letter.jpg is no picture" in done["album-line"]
    assert done["strip"]["selected_index"] == 0
    squares = [pixels(path) for path in done["strip"]["value"]]
    assert {square.shape for square in squares} == {(app.SQUARE, app.SQUARE, 3)}
    whole = [
        Image.open(path).convert("L").resize((240, 160)).crop((40, 0, 200, 160)) for path in photos[:1] + photos[2:]
    ]
    for square, photo in zip(squares, whole, strict=True):
        assert np.abs(square.mean(axis=2) - np.asarray(photo)).mean() < 12 and chroma(square) > 1
    assert outputs(page, "color_next", done["state"], done["visitors"])["number"] == 0


def chroma(picture: np.ndarray) -> float:
    return np.ptp(picture, axis=2).mean()


def test_the_first_of_several_that_is_a_photo_is_shown(page, photos, jpeg):
    shown = give(page, [photos[1], str(jpeg), photos[1], photos[0]])
    assert shown["state"].path == str(jpeg) and shown["album-line"].count("letter.jpg") == 1
    assert [at.path for at in shown["visitors"].sessions] == [str(jpeg), photos[0]]
    alone = give(page, [photos[1], photos[0]])  # which has to be told, too
    assert alone["album"].visible is True and re.findall("<p.*?>(.*?)<", alone["album-line"])[0] == "1 photo"
    assert "letter.jpg is no picture" in alone["album-line"]
    later = outputs(page, "color", photos[2], *DIALS, alone["state"], alone["visitors"])
    assert "2 photos" in later["album-line"] and "letter" not in later["album-line"]
    with pytest.raises(app.gr.Error, match="letter.jpg is no picture") as refused:
        events(page)["color_several"]([photos[1]], *DIALS, None, app.NO_PHOTOS)
    assert "jpeg" not in str(refused.value)
    many = [f"{i}.jpg" for i in range(101)]
    with pytest.raises(app.gr.Error, match="At most 100 photos at a time: these are 101[.]"):
        events(page)["color_several"](many, *DIALS, None, app.NO_PHOTOS)
    with pytest.raises(app.gr.Error, match="these are 99, and 2 are here already: reload the page first[.]"):
        events(page)["color_several"](many[:99], *DIALS, shown["state"], shown["visitors"])
    with pytest.raises(app.gr.Error, match="0.jpg is no longer on the server.*<br>… and 95 more"):
        events(page)["color_several"](many[:100], *DIALS, None, app.NO_PHOTOS)
    assert events(page)["color_several"](None, *DIALS, None, app.NO_PHOTOS) == app.gr.skip()


def test_photos_that_are_given_again_stay_as_they_were_left(page, photos, jpeg, monkeypatch):
    """Someone who chooses the folder a second time, with one more photo in it."""
    shown = give(page, [photos[0], photos[2]])
    shown |= outputs(page, "correct", "#ff0000", 0.5, shown["state"], click(30, 30))
    more = give(page, [photos[0], photos[2], str(jpeg)], DIALS, shown["state"], shown["visitors"])
    assert more["state"].path == str(jpeg) and not more["state"].hints
    assert [at.path for at in more["visitors"].sessions] == [photos[0], photos[2], str(jpeg)]
    assert [len(at.hints) for at in more["visitors"].sessions] == [1, 0, 0]
    told = []
    monkeypatch.setattr(app.gr, "Info", told.append)
    again = events(page)["color_several"](photos[2:1:-1], *DIALS, more["state"], more["visitors"])
    assert again == app.gr.skip() and "all here" in told[0]
    for at in more["visitors"].sessions:  # after an hour
        Path(at.square).unlink()
    anew = give(page, photos[:1], DIALS, more["state"], more["visitors"])
    assert anew["state"].path == photos[0] and len(told) == 1


def test_what_was_meant_for_one_photo_does_not_change_the_next(page, photos, jpeg):
    """What arrives late, since the line was long: a step of the likeness, a reference, and a download."""
    cup = jpeg.with_name("cup.png")
    Image.fromarray(data.coffee()).save(cup)
    shown = give(page, [photos[0], photos[2]])
    shown |= outputs(page, "refer", str(cup), 0.5, shown["state"].path, shown["state"])
    first, ordered = shown["state"], events(page)["order"]
    orders, key = ordered(*on_page(shown)[:-1], ()).values()
    second = bring(page, 1, shown)
    for name in ("turn_likeness", "turn_reach"):
        assert events(page)[name](0.9, first.path, second["state"]) == app.gr.skip()
    assert outputs(page, "refer", str(cup), 0.5, first.path, second["state"]) == {"reference": None}
    back = bring(page, 0, second)
    late = outputs(page, "refer", None, 0.5, second["state"].path, back["state"])
    assert late == {"reference": first.reference_shown}
    orders, later = ordered(*on_page(second)[:-1], orders).values()
    made = [Path(events(page)["make_download"](asked, orders)) for asked in (key, later)]
    assert [path.name for path in made] == ["cup.color.png", "cat.color.jpg"]
    assert np.array_equal(pixels(made[0]), pixels(download(page, back["state"])))
    for _ in range(20):
        orders, _ = ordered(*on_page(back)[:-1], orders).values()
    assert len(orders) == 10
    with pytest.raises(app.gr.Error, match="please give it again"):
        events(page)["make_download"](key, orders)


def test_a_visitor_of_whom_the_server_has_forgotten_the_reference(page, jpeg):
    """It would still be pictured."""
    shown = outputs(page, "color", str(jpeg), *DIALS, None)
    assert shown["reference"] is None and shown["slider"] == app.DEFAULT_LIKENESS
    assert "reference" not in outputs(page, "color", str(jpeg), *DIALS, shown["state"])


def test_photos_that_are_given_while_others_wait(page, photos, jpeg):
    shown = outputs(page, "color_several", photos[:3], *DIALS, None, app.NO_PHOTOS)
    args = shown["state"], shown["visitors"]
    more = outputs(page, "color_several", [str(jpeg), photos[3], photos[2]], *DIALS, *args)
    assert more["state"].path == str(jpeg)
    assert [at.path for at in more["visitors"].waiting] == [photos[1], photos[2], photos[3]]
    assert "Coloring 3 of 5" in more["album-line"]
    # One that is shown already needs nothing.
    one = outputs(page, "color", photos[2], *DIALS, more["state"], more["visitors"])
    done = colored(page, one)
    assert [at.path for at in done["visitors"].sessions] == [photos[0], str(jpeg), photos[2], photos[3]]
    assert done["state"].path == photos[2] and "4 photos" in done["album-line"]
    assert done["strip"]["selected_index"] == 2


def test_photos_that_come_one_by_one_stay_too(page, photos, jpeg):
    shown = outputs(page, "color", photos[0], *DIALS, None, app.NO_PHOTOS)
    assert shown["album"].visible is False and len(shown["visitors"].sessions) == 1
    gray = outputs(page, "turn_dial", 0, 0.4, 0.2, shown["state"].dials_of, shown["state"])["state"]
    shown = outputs(page, "color_photograph", 3, *DIALS, gray, shown["visitors"])
    assert shown["album"].visible is True and shown["strip"]["selected_index"] == 1
    assert chroma(pixels(shown["strip"]["value"][0])) < 1  # as it was left
    shown = outputs(page, "color", photos[0], *DIALS, shown["state"], shown["visitors"])  # again
    assert len(shown["visitors"].sessions) == 2 and chroma(pixels(shown["strip"]["value"][0])) > 1


def test_a_photo_comes_back_as_it_was_left(page, photos, jpeg, monkeypatch):
    shown = give(page, photos)
    for name, *args in (
        ("turn_dial", 1.5, 0.3, 0.1, shown["state"].dials_of),
        ("take_guess", "cooler", shown["state"].dials_of),
        ("correct", "#ff0000", 0.5),
    ):
        shown |= outputs(page, name, *args, shown["state"], *([click(30, 30)] if name == "correct" else []))
    cup = jpeg.with_name("cup of another.png")
    Image.fromarray(data.coffee()).save(cup)
    shown |= outputs(page, "refer", str(cup), 0.7, shown["state"].path, shown["state"])
    shown |= outputs(page, "color_again", 1.5, 0.3, 0.1, 128, shown["state"].dials_of, shown["state"])
    left, file = shown["state"], pixels(download(page, shown["state"]))
    other = bring(page, 2, shown)
    assert other["state"].path == photos[3] and other["strip"]["selected_index"] == 2
    assert other["state"].dials == (1.0, 0.4, 0.2) and not other["state"].hints and not other["state"].reference
    assert other["reference"] is None and not other["undo"].interactive and "another" not in other["facts"]
    assert chroma(pixels(other["strip"]["value"][0]) - pixels(shown["strip"]["value"][0])) > 1  # as it has become
    other |= outputs(page, "choose", "two_stage", other["state"])
    monkeypatch.setattr(app.Shelf, "get", lambda self, key: None)  # nothing is left there
    result = events(page)["show"](*on_page(other), types.SimpleNamespace(index=0))
    values = {part.label: value for part, value in result.items() if getattr(part, "label", None)}
    assert values["Reach"] == 0.5  # the last correction's
    assert [values[name]["value"] for name in ("Colorfulness", "Caution", "Balance", "Working size")] == [
        1.5,
        0.3,
        0.1,
        128,
    ]
    assert values["Caution"]["visible"] is True and values["Working size"]["minimum"] == 128
    assert (values["Guess"]["value"], values["Likeness"]) == ("cooler", 0.7)
    back = bring(page, 0, other)
    assert back["menu"] == app.MAIN and Path(back["reference"]).is_file() and back["undo"].interactive
    assert back["textbox"] == back["state"].dials_of != left.dials_of
    assert "in the colors of cup of another.png" in back["facts"]
    assert np.array_equal(pixels(download(page, back["state"])), file)
    again = bring(page, 2, back)
    assert again["menu"] == again["state"].choice == "two_stage" and "by two_stage" in again["facts"]
    for number in (2, 9):  # what is shown already, and what is not there
        assert events(page)["show"](*on_page(again), types.SimpleNamespace(index=number)) == app.gr.skip()


def test_these_dials_for_all(page, photos, jpeg):
    shown = give(page, photos)
    before = [pixels(path) for path in shown["strip"]["value"]]
    shown |= outputs(page, "turn_dial", 0, 0.4, 0.2, shown["state"].dials_of, shown["state"])
    styled = outputs(page, "style_all", *on_page(shown))
    assert "Coloring 1 of 2" in styled["album-line"] and "letter" not in styled["album-line"]
    assert len({at.key for at in styled["visitors"].sessions} & {at.key for at in shown["visitors"].sessions}) == 3
    done = colored(page, shown | styled)
    for path, colors in list(zip(done["strip"]["value"], before, strict=True))[1:]:
        assert chroma(pixels(path)) < 1 < chroma(colors)
    assert all(chroma(picture) < 3 for picture in list(zipped(page, done).values())[1:])
    # A model, and what the network sees, has it run again; those that wait get it too.
    shown = outputs(page, "color_several", [str(jpeg), *photos], *DIALS, done["state"], done["visitors"])
    shown |= outputs(page, "choose", "two_stage", shown["state"])
    done = colored(page, shown | outputs(page, "style_all", *on_page(shown)))
    assert {at.pipeline.model.name for at in done["visitors"].sessions} == {"two_stage"}
    assert len({at.key for at in done["visitors"].sessions}) == 4
    assert "by two_stage" in bring(page, 0, done)["facts"]


def test_the_last_turn_of_a_dial_counts_though_its_preview_is_still_to_come(page, photos, jpeg):
    """It waits in the browser for the turn before, and comes when the dials are another photo's."""
    cup = jpeg.with_name("cup.png")
    Image.fromarray(data.coffee()).save(cup)
    shown = give(page, photos)
    shown |= outputs(page, "refer", str(cup), 0.3, shown["state"].path, shown["state"])
    old = shown["state"]
    turned = (1.9, 0.4, 0.2, "cooler", 0.9, old.dials_of, old, shown["visitors"])
    other = outputs(page, "show", *turned, types.SimpleNamespace(index=1))
    left = other["visitors"].sessions[0]
    assert (left.dials, left.guess, left.likeness) == ((1.9, 0.4, 0.2), "cooler", 0.9)
    assert chroma(pixels(left.square)) > 1.3 * chroma(pixels(shown["strip"]["value"][0])) and left.key != old.key
    back = bring(page, 0, other)
    args = (*back["state"].dials, "cooler", 0.9, back["state"].dials_of, back["state"])
    expected = old.pipeline(
        Photo.open(photos[0]), 1.9, 0.4, 96, reference=cup, likeness=0.9, guess="cooler", balance=0.2
    )
    assert np.array_equal(pixels(make_download(page, *args)), pixels_of(expected))
    styled = outputs(page, "style_all", *turned)["visitors"]
    assert {(at.dials, at.guess, at.likeness) for at in styled.sessions} == {((1.9, 0.4, 0.2), "cooler", 0.9)}
    given = outputs(page, "color", str(jpeg), 1.9, 0.4, 0.2, 96, app.MAIN, old.dials_of, old, shown["visitors"])
    assert given["visitors"].sessions[0].dials == (1.9, 0.4, 0.2)


def pixels_of(photo: Photo) -> np.ndarray:
    return np.asarray(photo.to_pil().convert("RGB")).astype(int)


def test_a_photo_that_waits_for_other_dials_is_shown_with_what_there_is_to_say_of_it(page, photos):
    shown = give(page, photos)
    shown |= outputs(page, "color_again", *shown["state"].dials, 128, shown["state"].dials_of, shown["state"])
    styled = shown | outputs(page, "style_all", *on_page(shown))
    assert [bool(at.facts) for at in styled["visitors"].sessions] == [True, False, False]
    other = bring(page, 1, styled)
    assert "120 × 80 pixels, colored in" in other["facts"] and other["state"].working_size == 128
    alike = outputs(page, "style_all", *on_page(colored(page, other)))  # where all are alike, there is nothing to do
    assert alike["visitors"].waiting == () and "3 photos" in alike["album-line"]


def test_all_photos_in_one_zip(page, photos, tmp_path):
    twin = tmp_path / "twin/cup.png"
    twin.parent.mkdir()
    Image.fromarray(data.rocket()).convert("L").resize((50, 40)).save(twin)
    shown = give(page, [*photos, str(twin)])
    turned = outputs(page, "turn_dial", 0, 0.4, 0.2, shown["state"].dials_of, shown["state"])
    files = zipped(page, shown | turned)
    assert list(files) == ["cup.color.png", "cat.color.jpg", "rocket.color.png", "cup (2).color.png"]
    assert files["cup (2).color.png"].shape == (40, 50, 3)
    assert chroma(files["cup.color.png"]) == 0 < chroma(files["rocket.color.png"])
    for number, name in enumerate(files):
        one = bring(page, number, shown | turned)["state"] if number else turned["state"]
        assert np.array_equal(pixels(download(page, one)), files[name])
    # Those that wait still are in it too.
    waiting = outputs(page, "color_several", photos, *DIALS, None, app.NO_PHOTOS)
    assert list(zipped(page, waiting | {"visitors": waiting["visitors"]})) == list(files)[:3]


def test_a_photo_that_cannot_be_packed_is_told_and_the_others_are(page, photos, monkeypatch):
    warnings = []
    monkeypatch.setattr(app.gr, "Warning", warnings.append)
    shown = give(page, photos)
    monkeypatch.setattr(app.Shelf, "get", lambda self, key: None)
    Path(photos[2]).unlink()
    assert list(zipped(page, shown)) == ["cup.color.png", "rocket.color.png"]
    assert len(warnings) == 1 and "cat.jpg is no longer on the server" in warnings.pop()
    folders = set(Path(app.get_upload_folder()).iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "write", lambda *args: 1 / 0)  # as a full disk
        assert zipped(page, shown) == {} and "failed on the server" in warnings.pop()
    for path in photos[0], photos[3]:
        Path(path).unlink()
    assert zipped(page, shown) == {} and warnings.pop().count("no longer on the server") == 3
    assert set(Path(app.get_upload_folder()).iterdir()) == folders
    with pytest.raises(app.gr.Error, match="no longer on the server"):
        bring(page, 1, shown)
    assert events(page)["mark"](shown["state"], shown["visitors"])["selected_index"] == 0


def test_a_zip_that_was_broken_off_is_gone_on_with(page, photos):
    shown = give(page, photos)

    def parcel_of(packing: dict) -> app.Parcel:
        return next(value for value in packing.values() if isinstance(value, app.Parcel))

    one = parcel_of(events(page)["pack_next"](parcel_of(events(page)["pack"](*on_page(shown), None))))
    assert parcel_of(events(page)["pack"](*on_page(shown), one)) == one and one.names == ("cup.color.png",)
    turned = shown | outputs(page, "turn_dial", 0, 0.4, 0.2, shown["state"].dials_of, shown["state"])
    for other in (turned, bring(page, 1, turned)):  # of other colors is another file
        new = parcel_of(events(page)["pack"](*on_page(other), one))
        assert new.names == () and new.path != one.path
    Path(one.path).unlink()  # after KEEP_FILES
    with pytest.warns(match="failed on the server"):
        ended = events(page)["pack_next"](one)
    assert not Path(one.path).parent.exists()
    for packing in (ended, events(page)["pack_next"](None)):  # a step that was tried again, but had been made
        assert "Download all" in next(
            iter(value.value for value in packing.values() if isinstance(value, app.gr.Button))
        )
        assert {value for value in packing.values() if not isinstance(value, app.gr.Button)} == {None, 0}


def test_photos_whose_files_were_deleted_are_gone(page, photos, jpeg):
    """After KEEP_FILES: gradio would fail to show their small pictures, and the page to color them."""
    shown = give(page, [*photos, str(jpeg)])
    Path(shown["visitors"].sessions[0].square).unlink()
    Path(shown["visitors"].sessions[1].square).unlink()
    Path(photos[3]).unlink()
    shown = bring(page, 3, shown)
    assert [at.path for at in shown["visitors"].sessions] == [photos[0], str(jpeg)]  # the first was shown
    assert shown["strip"]["selected_index"] == 1


def test_an_example_stays_among_the_photos_though_its_small_picture_was_deleted(page, photos):
    """Its own file is kept, after KEEP_FILES too."""
    example = outputs(page, "color_photograph", 0, *DIALS, None, app.NO_PHOTOS)
    other = outputs(page, "color", photos[0], *DIALS, example["state"], example["visitors"])
    Path(other["visitors"].sessions[0].square).unlink()
    back = bring(page, 0, other)
    assert len(back["visitors"].sessions) == 2 and back["strip"]["selected_index"] == 0


def test_the_menu_that_follows_a_photo_changes_nothing(page, photos):
    """It may come when yet another one is shown, with another model."""
    shown = give(page, photos)
    shown |= outputs(page, "choose", "two_stage", shown["state"])
    plain = bring(page, 1, shown)
    back = bring(page, 0, plain)  # clicked before the menu had turned to the other's model
    args = plain["menu"], back["state"], plain["state"].dials_of
    assert plain["menu"] != back["menu"] and events(page)["choose"](*args) == app.gr.skip()
    chosen = outputs(page, "choose", "plain_autoencoder", back["state"], back["state"].dials_of)
    assert chosen["state"].choice == "plain_autoencoder"  # a person's choice comes with the dials of the model before


def test_what_the_page_writes_is_deleted(page, photos, monkeypatch):
    """By the page: gradio forgets what a part of it shows when it has made that part anew."""
    monkeypatch.setattr(app, "FOLDERS", set())
    shown = give(page, photos)
    zipped(page, shown)
    old = set(Path(app.get_upload_folder()).iterdir())
    assert len(old) == 6  # before, after, three small pictures, and a ZIP file
    time.sleep(1.1)
    outputs(page, "turn_dial", 0, 0.4, 0.2, shown["state"].dials_of, shown["state"])
    new = set(Path(app.get_upload_folder()).iterdir()) - old
    app.delete_old_files(types.SimpleNamespace(blocks={}, temp_file_sets=[]), 1)
    assert set(Path(app.get_upload_folder()).iterdir()) == new == app.FOLDERS and len(new) == 1
    app.delete_folders()
    assert app.FOLDERS == set() and not any(folder.exists() for folder in new)


def test_what_gradio_keeps_for_links_to_a_page_is_deleted(monkeypatch, tmp_path):
    """Anyone can have it kept, with the pictures of the guesses in it."""
    monkeypatch.setattr(app, "get_upload_folder", lambda: str(tmp_path))
    link = tmp_path / "deep_links/1234"
    link.mkdir(parents=True)
    (link / "state.json").write_text("{}")
    blocks = types.SimpleNamespace(blocks={}, temp_file_sets=[])
    app.delete_old_files(blocks, 60)
    assert (link / "state.json").exists()
    app.delete_old_files(blocks, -1)
    assert not link.exists()


def test_no_more_photos_are_kept_than_may_be_given(photos):
    session = app.Session("", "", app.MAIN, None, 96, (1.0, 0.4, 0.2), "", "")
    visitors = app.NO_PHOTOS
    for number in range(app.MAX_PHOTOS + 5):
        visitors = visitors.with_session(app.dataclasses.replace(session, path=str(number)))
    assert [at.path for at in visitors.sessions] == [str(number) for number in range(5, app.MAX_PHOTOS + 5)]


# ---------------------------------------------------------------------------------------------------- the menu


@pytest.fixture(scope="module")
def built(ladder):
    """The page with many models, not launched. One for many tests: it takes two seconds to build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(colorizer.hub, "WEIGHTS", ladder)
        for name in ("COLORIZER_MODEL", "COLORIZER_REVISION"):
            patch.delenv(name, raising=False)
        return app.build_app()


def test_work_is_shown_on_both_pictures(built):
    """One of the two is hidden: which, depends on whether the tools for corrections are open."""
    places = [[part.elem_id for part in event.show_progress_on or ()] for event in built.fns.values()]
    assert sum("compare" in ids for ids in places) > 3
    assert all("canvas" in ids for ids in places if "compare" in ids)


@pytest.fixture
def page(built, ladder, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)
    built.shelf.items.clear()
    return built


def menu_of(page) -> list[tuple[str, str]]:
    return next(block for block in page.blocks.values() if block.elem_id == "menu").choices


def test_the_menu_names_every_bundled_colorizer_and_what_it_is_for(page):
    assert menu_of(page) == [
        ("fusion_compact — photos (default)", app.MAIN),
        ("plain_autoencoder — photos", "plain_autoencoder"),
        ("two_stage_photos — photos", "two_stage_photos"),
        ("two_stage — thumbnails, 32 px", "two_stage"),
        ("mnist_cnn_bn — digits", "mnist_cnn_bn"),
        ("mnist_linear — digits", "mnist_linear"),
    ]


def test_one_model_is_a_menu_too():
    assert menu_of(app.build_app()) == [("fusion_compact — photos (default)", app.MAIN)]


def test_choosing_a_model_colors_the_photo_again_and_sets_the_dials(page, jpeg):
    first = outputs(page, "color", str(jpeg), 1.3, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    shown = events(page)["choose"]("two_stage", first)
    dials = {part.label: update for part, update in shown.items() if getattr(part, "label", None)}
    assert dials["Colorfulness"]["value"] == 1
    assert dials["Caution"]["visible"] is False and dials["Balance"]["visible"] is True
    size = dials["Working size"]
    assert (size["minimum"], size["value"], size["maximum"]) == (32, 32, 512)
    named = {part.elem_id: value for part, value in shown.items() if part.elem_id}
    assert "by two_stage (bundled)" in named["facts"]
    assert "tiny pictures" in named["model"]
    assert named["photographs"]["visible"] is True and named["digits"]["visible"] == "hidden"
    session = outputs(page, "choose", "two_stage", first)["state"]
    assert (session.choice, session.working_size, session.dials) == ("two_stage", 32, (1.0, 1, 0.0))
    # What follows is of the same model, on the shelf or not.
    assert Path(download(page, session)).is_file()
    again = outputs(page, "color_again", 1.0, 1, 0, 64, session.dials_of, session)
    assert "by two_stage (bundled)" in again["facts"] and "photo" not in again
    back = outputs(page, "choose", app.MAIN, again["state"])
    assert "by fusion_compact (bundled)" in back["facts"] and back["model"] == "<p></p>"


def test_dials_that_are_still_another_models_are_not_taken(page, jpeg):
    """A photo, or a size, that is given when the menu has been turned and the page does not have its dials yet."""
    shown = events(page)["color"](str(jpeg), 1.3, 0.4, 0.2, 256, "two_stage", app.MAIN, None)
    sliders = {part.label: update for part, update in shown.items() if isinstance(part, app.gr.Slider)}
    assert [sliders[name]["value"] for name in ("Colorfulness", "Working size")] == [1, 32]
    session = next(value for part, value in shown.items() if isinstance(part, app.gr.State))
    assert (session.choice, session.working_size, session.dials) == ("two_stage", 32, (1.0, 1, 0.0))
    assert session.dials_of in shown.values() and session.dials_of.startswith("two_stage ")  # from then on
    assert events(page)["color_again"](1.3, 0.4, 0.2, 128, app.dials_of(app.MAIN), session) == app.gr.skip()
    chosen = events(page)["choose"]("two_stage", None).values()
    assert any(isinstance(value, str) and value.startswith("two_stage ") for value in chosen)


def test_what_was_turned_before_the_dials_were_set_anew_is_not_heard(page, jpeg):
    """It may have waited in the line: behind a reset, another photo or another model."""
    first = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    old = first.dials_of
    reset = outputs(page, "reset_dials", outputs(page, "turn_dial", 0.3, 0.4, 0.2, old, first)["state"])["state"]
    for later in (
        reset,
        outputs(page, "reset_dials", outputs(page, "color_again", *first.dials, 192, old, first)["state"])["state"],
        outputs(page, "color", str(jpeg), *first.dials, 256, app.MAIN, old, first)["state"],
        outputs(page, "choose", "plain_autoencoder", first)["state"],
    ):
        assert later.dials_of != old
        for name, *args in (("turn_dial", 0, 0.4, 0.2), ("take_guess", "cooler"), ("color_again", 0, 0.4, 0.2, 192)):
            assert events(page)[name](*args, old, later) == app.gr.skip()
        assert events(page)["turn_dial"](0, 0.4, 0.2, later.dials_of, later) != app.gr.skip()
        late = make_download(page, 0, 0.4, 0.2, "cooler", 0.5, old, later)
        assert np.array_equal(pixels(late), pixels(download(page, later)))
    again = outputs(page, "color_again", *first.dials, 192, old, first)["state"]
    assert again.dials_of == old  # the dials stay as they are, also one that is turned meanwhile


def test_a_photo_that_the_server_has_forgotten_is_asked_for_again(page, jpeg):
    """After a restart, or a long sleep, the page shows a photo of which the server knows nothing."""
    for name, *args in (
        ("turn_dial", 1, 0.4, 0.2, app.MAIN),
        ("take_guess", "cooler", app.MAIN),
        ("color_again", 1, 0.4, 0.2, 192, app.MAIN),
        ("reset_dials",),
        ("order", 1, 0.4, 0.2, "first", 0.5, app.MAIN),
        ("correct", "#0000ff", 0.5),
        ("undo_one",),
        ("undo_all",),
        ("refer", str(jpeg), 0.5, app.MAIN),
        ("turn_likeness", 0.9, app.MAIN),
        ("turn_reach", 0.9, app.MAIN),
    ):
        clicked = {"correct": [click(20, 20)], "order": [()]}.get(name, [])
        with pytest.raises(app.gr.Error, match="please give it again"):
            events(page)[name](*args, None, *clicked)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), OSError(28, "No space left")])
def test_what_fails_on_the_server_is_told(page, jpeg, monkeypatch, capfd, error):
    """gradio shows nothing of an error that is not its own."""
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(app, "save_preview", fail)
    monkeypatch.setattr(app, "save_full_size", fail)
    for name, *args in (
        ("color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, session),
        ("turn_dial", 0.5, 0.4, 0.2, session.dials_of, session),
        ("refer", str(jpeg), 0.5, session.path, session),
        ("make_download", "key", (("key", session),)),
        ("colorize", str(jpeg)),
    ):
        if name == "refer":
            Image.fromarray(data.coffee()).save(jpeg)
        with pytest.raises(app.gr.Error) as told:
            events(page)[name](*args)
        assert told.value.message == app.FAILED and not told.value.print_exception
    assert type(error).__name__ in capfd.readouterr().err  # for whoever runs the page


def test_a_sentence_names_no_folder_of_the_server(monkeypatch):
    name = Path(app.get_upload_folder()) / "0123abcd" / "barn.color.png"
    with pytest.raises(app.gr.Error) as told, app.told("elsewhere"):
        raise ColorizerError(f"{name} cannot be written (No space left on device).")
    assert told.value.message == "barn.color.png cannot be written (No space left on device)."


def test_choosing_what_is_chosen_changes_nothing(page, jpeg):
    session = outputs(page, "color", str(jpeg), 1.3, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    assert events(page)["choose"](app.MAIN, session) == app.gr.skip()


def test_a_choice_without_a_photo_sets_the_page_up(page):
    shown = outputs(page, "choose", "mnist_cnn_bn", None)
    assert shown["photographs"]["visible"] == "hidden" and shown["digits"]["visible"] is True
    assert shown["accordion"]["visible"] is False  # the working size means nothing
    assert "white on black" in shown["model"]
    assert "compare" not in shown and "state" not in shown


def test_a_choice_after_the_photo_is_gone(page, jpeg, monkeypatch):
    warned = []
    monkeypatch.setattr(app.gr, "Warning", warned.append)
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    jpeg.unlink()
    shown = outputs(page, "choose", "mnist_cnn_bn", session)
    assert "choose it again" in warned[0]
    assert shown == {"menu": app.MAIN}  # what colored the photo that is shown still renders and downloads it
    assert Path(download(page, session)).is_file()


def test_a_download_has_the_dials_of_the_page(page, jpeg):
    """The preview of the last turn may not have been made yet; dials that were set for another model do not count."""
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    cup = jpeg.with_name("cup.png")
    Image.fromarray(data.coffee()).save(cup)
    session = outputs(page, "refer", str(cup), 0.2, session.path, session)["state"]
    own = (*session.dials, "first", 0.2)
    gray, shown, stale, cooler, alike = (
        pixels(make_download(page, *args, session))
        for args in (
            (0, 0.4, 0.2, "first", 0.2, session.dials_of),
            (*own, session.dials_of),
            (0, 0.4, 0.2, "cooler", 0.9, "another"),
            (*session.dials, "cooler", 0.2, session.dials_of),
            (*session.dials, "first", 0.9, session.dials_of),
        )
    )
    assert np.ptp(gray, axis=2).max() <= 4 < np.ptp(shown, axis=2).max()
    assert np.array_equal(stale, shown)
    cooler_session = outputs(page, "take_guess", "cooler", session.dials_of, session)["state"]
    assert np.array_equal(cooler, pixels(download(page, cooler_session))) and not np.array_equal(cooler, shown)
    alike_session = outputs(page, "turn_likeness", 0.9, session.path, session)["state"]
    assert np.array_equal(alike, pixels(download(page, alike_session))) and not np.array_equal(alike, shown)
    assert events(page)["turn_dial"](0, 0.4, 0.2, "another", session) == app.gr.skip()


def test_dials_are_reset_to_what_colored_the_photo(page, jpeg):
    session = outputs(page, "color", str(jpeg), 1.5, 1, 0.7, 256, *["plain_autoencoder"] * 2, None)["state"]
    shown = events(page)["reset_dials"](session)
    dials = {part.label: update["value"] for part, update in shown.items() if isinstance(part, app.gr.Slider)}
    *_, size = app.dial_defaults(session.pipeline.model)
    assert dials == {"Colorfulness": 1.0, "Caution": 1, "Balance": 0.0, "Working size": size}
    named = outputs(page, "reset_dials", session)
    assert named["state"].dials == (1.0, 1, 0.0) and Path(named["compare"][1]).is_file()
    larger = outputs(page, "color_again", 0.3, 1, 0.5, size + 32, session.dials_of, session)["state"]
    reset = outputs(page, "reset_dials", larger)["state"]
    assert (reset.dials, reset.working_size) == ((1.0, 1, 0.0), size)


def test_dials_take_what_is_typed(page):
    for label, typed in (("Caution", {0: 0.1, None: 0.1, 0.5: 0.5, 3: 1}), ("Working size", {None: 128, 600: 512})):
        dial = next(block for block in page.blocks.values() if getattr(block, "label", "") == label)
        assert {number: dial.preprocess(number) for number in typed} == typed


def test_models_are_loaded_when_they_are_chosen_and_stay(ladder, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", ladder)
    studio = app.Studio()
    assert list(studio.loaded) == ["fusion_compact"]
    assert studio.pipeline_of("fusion_compact") is studio.pipeline_of(app.MAIN) is studio.pipeline_of(None)
    assert studio.pipeline_of("two_stage") is studio.pipeline_of("two_stage") is not studio.pipeline


def test_two_visitors_use_two_models(page, jpeg):
    one = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, app.MAIN, app.MAIN, None)["state"]
    two = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 256, *["plain_autoencoder"] * 2, None)["state"]
    for session, name in ((one, "fusion_compact"), (two, "plain_autoencoder")):
        assert name in outputs(page, "color_again", 1.0, 0.4, 0.2, 128, session.dials_of, session)["facts"]


@pytest.mark.parametrize("name", ["mnist_linear", "mnist_cnn_bn"])
def test_a_digit_is_painted(page, name):
    shown = outputs(page, "color_digit", 3, 1.0, 1, 0, 32, name, name, None)
    assert Path(shown["state"].path).stem == "digit-3"
    assert "28 × 28" in shown["facts"] and name in shown["facts"]
    before, after = (np.asarray(Image.open(preview)).astype(int) for preview in shown["compare"])
    assert before.shape == after.shape == (308, 308, 3)  # enlarged: pixels that one can see
    digit = np.asarray(app.digits()["digit-3.png"])
    assert np.abs(before[5::11, 5::11, 0] - digit).max() < 24  # the digit itself is what stood before; as a JPEG
    with Image.open(download(page, shown["state"])) as image:
        assert image.size == (28, 28)
    _, gray = outputs(page, "turn_dial", 0, 1, 0.2, shown["state"].dials_of, shown["state"])["compare"]
    assert np.ptp(np.asarray(Image.open(gray)).astype(int), axis=2).max() <= 4


def test_a_revision_can_be_named(hub):
    first = hub.sha
    hub.add("tester/colors", {"config.json": b"{}"})
    studio = app.Studio("tester/colors", first)
    wait_until(lambda: not studio.fetching)
    assert studio.status == f"tester/colors @ {first[:7]}"


def test_the_named_revision_is_what_the_page_fetches(hub, monkeypatch):
    first = hub.sha
    hub.add("tester/colors", {"config.json": b"{}"})
    monkeypatch.setenv("COLORIZER_MODEL", "tester/colors")
    monkeypatch.setenv("COLORIZER_REVISION", first)
    asked = []
    monkeypatch.setattr(app.Studio, "fetch", lambda self: asked.append((self.wanted, self.revision)))
    app.build_app()
    wait_until(lambda: asked)
    assert asked == [("tester/colors", first)]


def test_a_coloring_goes_on_with_the_model_that_it_began_with(hub, monkeypatch, jpeg, tmp_path):
    studio = app.Studio()
    page = app.build_app(studio)
    session = outputs(page, "color", str(jpeg), 1.0, 0.4, 0.2, 96, app.MAIN, app.MAIN, None)["state"]
    torch.manual_seed(11)
    config = {key: value for key, value in studio.pipeline.model.config.items()}
    create_model("fusion", **config).save_pretrained(tmp_path / "other")
    studio.wanted = str(tmp_path / "other")
    studio.fetch()
    assert studio.model_name == studio.wanted
    # Also when it has left the shelf.
    with monkeypatch.context() as patch:
        patch.setattr(app.Shelf, "get", lambda self, key: None)
        again = Image.open(download(page, session))
    assert again.tobytes() == Image.open(download(page, session)).tobytes()
    monkeypatch.setattr(ColorizationPipeline, "prepare", None)
    _, after = outputs(page, "turn_dial", 1.5, 0.4, 0.2, session.dials_of, session)["compare"]
    assert Path(after).is_file()


@pytest.mark.parametrize("trouble", ["dead", "slow", "wrong", "truncated", "html", "portal", "missing", "stranger"])
def test_trouble_at_the_hub_leaves_the_bundled_model_and_says_why(hub, trouble, jpeg, capfd):
    name = "tester/colors"
    if trouble == "dead":
        hub.die()
    elif trouble == "slow":
        hub.delay = 600
    elif trouble == "missing":
        name = "tester/nothing"
    elif trouble == "stranger":
        hub.add("tester/stranger", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\0" * 100})
        name = "tester/stranger"
    else:
        hub.lie = trouble
    studio = app.Studio(name)
    assert trouble != "slow" or studio.fetching  # the page waits for nobody
    page = app.build_app(studio)
    assert events(page)["colorize"](str(jpeg))[1]["model"] == "fusion_compact (bundled)"
    wait_until(lambda: not studio.fetching, 120)
    assert studio.status.startswith(f"fusion_compact (bundled); {name} is not in use: ")
    assert studio.status.endswith(".") and "\n" not in studio.status and len(studio.status) < 400
    assert events(page)["colorize"](str(jpeg))[1]["model"] == "fusion_compact (bundled)"
    assert "Traceback" not in capfd.readouterr().err


def test_a_folder_can_be_named(tiny_folder):
    studio = app.Studio(str(tiny_folder))
    wait_until(lambda: not studio.fetching)
    assert studio.status == str(tiny_folder)


def test_on_zerogpu_the_forward_pass_alone_is_lent_the_gpu(monkeypatch, jpeg):
    lent, devices = [], set()

    def gpu(function):
        def on_gpu(*args):
            embedding, prediction = function(*args)
            devices.update(tensor.device.type for tensor in (*embedding, prediction))
            return embedding, prediction

        lent.append(function.__name__)
        return on_gpu

    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=gpu))
    spec = importlib.util.spec_from_file_location("app_on_zerogpu", app.__file__)
    monkeypatch.setitem(sys.modules, spec.name, module := importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    page = module.build_app()
    assert events(page)["colorize"](str(jpeg))[1]["width"] == 400
    assert (lent, devices) == (["run_network"], {"cpu"})


def test_no_bundled_weights_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(colorizer.hub, "WEIGHTS", tmp_path)
    with pytest.raises(ColorizerError):
        app.build_app()


# ---------------------------------------------------------------------------------------------------- the network

OUTBOUND = """
import socket, sys
asked = []
connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

def watch(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        asked.append(address)
        raise OSError("no network")
    return connect(self, address)

def look_up(host, *args, **kwargs):
    if host not in (None, "127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost", "0.0.0.0"):
        asked.append(host)
        raise OSError("no network")
    return getaddrinfo(host, *args, **kwargs)

socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = watch, watch, look_up

from pathlib import Path
import colorizer.hub
colorizer.hub.WEIGHTS = Path(sys.argv[1])
import app
page = app.build_app()
app.launch(page, prevent_thread_lock=True, quiet=True)
from gradio_client import Client, handle_file
path, info = Client(page.local_url, verbose=False).predict(handle_file(sys.argv[2]), api_name="/colorize")
import json, time
time.sleep(1)
print(json.dumps({"asked": [str(a) for a in asked], "info": info, "port": page.server_port}))
"""


def test_nothing_is_asked_of_the_network_and_the_port_is_gradios_own(weights, jpeg, tmp_path, unused_port):
    # A fresh interpreter without the switches that conftest.py sets: the page has to see to it alone.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "GRADIO_", "COLORIZER_"))}
    env |= {"HF_HOME": str(tmp_path / "hf"), "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    done = subprocess.run(
        [sys.executable, "-c", OUTBOUND, str(weights), str(jpeg)],
        cwd=Path(app.__file__).parent,
        env=env | {"GRADIO_SERVER_PORT": str(unused_port)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["asked"] == []
    assert result["info"]["width"] == 400
    assert result["port"] == unused_port


def test_a_folder_for_files_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "taken"))
    with pytest.raises(SystemExit) as left:
        app.main()
    assert f"{tmp_path / 'taken'}" in left.value.code and "GRADIO_TEMP_DIR" in left.value.code


class Writing(set):
    """A list of files that grows while it is walked through, as where requests are answered meanwhile."""

    def __iter__(self):
        for file in super().__iter__():
            yield file
            self.add(f"{file}+")


def test_old_files_and_their_folders_go_while_requests_add_more(tmp_path, monkeypatch):
    """By gradio's own schedule: through its module, with the page's lists."""
    old, new, kept = (tmp_path / name / "photo.jpg" for name in ("old", "new", "kept"))
    beside = tmp_path / "beside"
    for path in (old, new, kept, beside / "old.jpg", beside / "other.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    files = Writing(map(str, (old, kept, beside / "old.jpg", tmp_path / "gone/photo.jpg")))
    component = types.SimpleNamespace(keep_in_cache={str(kept)})
    blocks = types.SimpleNamespace(blocks={1: component}, temp_file_sets=[files, {str(new)}])
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    torn = tmp_path / "tmpx3f9a0", tmp_path / "tmp7b1c2d"  # uploads that were broken off, as gradio leaves them
    torn[0].write_bytes(b"half of a photo")
    time.sleep(1.1)
    for path in (new, torn[1]):
        path.write_bytes(b"new")
    gradio.route_utils.delete_files_created_by_app(blocks, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside", "kept", "new", "tmp7b1c2d"]
    assert [path.name for path in beside.iterdir()] == ["other.jpg"]
    assert list(set.__iter__(files)) == [str(kept)] and new.exists()
    gradio.route_utils.delete_files_created_by_app(blocks, None)
    assert kept.exists() and not new.parent.exists()

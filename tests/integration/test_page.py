"""The page in a browser: headless Chromium on the real server.

With PAGE_SCREENSHOTS=DIR the pictures that a person should look at are written to DIR.
"""

import base64
import io
import json
import os
import re
import shutil
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import app
import colorizer.hub
from colorizer.models import create_model
from tests.loopback_hub import LoopbackHub

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
TIMEOUT = 120_000  # milliseconds; a slow machine with other work to do needs many of them
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser():
    names = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        missing = "no Chromium was found (Debian: apt-get install --no-install-recommends chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tiny_model, tmp_path_factory):
    """Address of the page, on the bundled weights, or on a tiny model where there are none yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLORIZER_MODEL", raising=False)
        if colorizer.hub.DEFAULT_MODEL not in colorizer.hub.bundled_models():
            folder = tmp_path_factory.mktemp("weights")
            tiny_model.save_pretrained(folder / colorizer.hub.DEFAULT_MODEL)
            patch.setattr(colorizer.hub, "WEIGHTS", folder)
        page = app.build_app()
        app.launch(page, prevent_thread_lock=True, quiet=True)
        yield page.local_url
        page.close()


@pytest.fixture(scope="module")
def ladder(tiny_model, tmp_path_factory):
    """Address of a page with models of every domain to choose from; their weights are random."""
    folder = tmp_path_factory.mktemp("ladder")
    tiny_model.save_pretrained(folder / colorizer.hub.DEFAULT_MODEL)
    torch.manual_seed(0)
    for name in ("two_stage", "mnist_linear"):
        create_model(name).save_pretrained(folder / name)
    create_model("lab_cnn", width=4).save_pretrained(folder / "damaged")
    (folder / "damaged/model.safetensors").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLORIZER_MODEL", raising=False)
        patch.setattr(colorizer.hub, "WEIGHTS", folder)
        page = app.build_app()
        app.launch(page, prevent_thread_lock=True, quiet=True)
        yield page.local_url
        page.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page in a window of its own; in the end no request may have gone elsewhere, and no script failed."""
    contexts, elsewhere, errors = [], [], []

    def open_page(url: str = address, **options):
        context = browser.new_context(**(options or DESKTOP))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT)
        page.on("pageerror", lambda error: errors.append(error))
        page.on("request", lambda request: elsewhere.append(request.url) if is_elsewhere(request.url) else None)
        page.goto(url)
        page.get_by_label("Color the example").last.wait_for()  # what the page does at the start has been done
        page.wait_for_function(
            """document.body.offsetHeight && document.fonts.status == 'loaded'
            && [...document.images].every((image) => image.complete)"""
        )  # and nothing moves away from under the mouse
        return page

    def is_elsewhere(url: str) -> bool:
        return not url.startswith((address, "data:", "blob:", "http://127.0.0.1", "http://localhost"))

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert errors == []


@pytest.fixture
def jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "harvest"
    path = tmp_path / "harvest.jpg"
    Image.fromarray(data.coffee()).convert("L").resize((2400, 1600)).save(path, exif=exif, quality=90)
    return path


def upload(page, path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


def wait_for_result(page, facts: str = "colored in") -> None:
    page.locator("#facts", has_text=facts).wait_for()
    page.wait_for_function(
        """() => {
            const images = [...document.querySelectorAll('#compare .slider-wrap img')];
            return images.length == 2 && images.every((image) => image.complete && image.naturalWidth);
        }"""
    )


def pictures(page) -> list[np.ndarray]:
    """The two pictures of the slider, as the browser has them."""
    sources = page.locator("#compare .slider-wrap img").evaluate_all("images => images.map((image) => image.src)")
    return [
        np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")).astype(int)
        for source in sources
    ]


def chroma(picture: np.ndarray) -> float:
    return float(np.ptp(picture, axis=2).mean())


def wait_for_chroma(page, is_right) -> None:
    """Wait for the picture in color whose chroma `is_right`: after several turns pictures come one by one."""
    end = time.monotonic() + TIMEOUT / 1000
    while not is_right(chroma(pictures(page)[1])):
        assert time.monotonic() < end, "no such picture came"
        page.wait_for_timeout(100)


def shown(page) -> str:
    """The address of the picture in color."""
    return page.locator("#compare .slider-wrap img").last.get_attribute("src")


def turn(page, label: str, value: float) -> None:
    """Put a dial to a value and wait for another picture; the dial has to stay where it was put."""
    before = shown(page)
    box = page.get_by_label(f"number input for {label}")
    box.fill(str(value))
    box.blur()
    page.wait_for_function(
        "(before) => [...document.querySelectorAll('#compare .slider-wrap img')].at(-1).getAttribute('src') != before",
        arg=before,
    )
    wait_for_result(page)
    assert float(box.input_value()) == value


def choose(page, label: str) -> None:
    """Choose a model in the menu; the menu has to show it."""
    menu = page.get_by_label("Model", exact=True)
    menu.click()
    page.get_by_role("option", name=label).click()
    assert menu.input_value().startswith(label)


def dial(page, label: str) -> float:
    return float(page.get_by_label(f"number input for {label}").input_value())


def wait_for_dial(page, label: str, value: float) -> None:
    page.wait_for_function(
        """([label, value]) => [...document.querySelectorAll('input[type=number]')].some(
            (box) => box.ariaLabel == label && box.value == value)""",
        arg=[f"number input for {label}", value],
    )


def ask_for_new_photo(page) -> None:
    """Bring the place for a photo back, and wait until it is there."""
    page.get_by_role("button", name="New photo").click()
    page.get_by_text("Drop a photo here").wait_for()


def wait_for_toast(page, text: str) -> None:
    page.locator(".toast-body", has_text=text).wait_for()  # in one go: a toast does not stay


def wait_until_still(page) -> None:
    """Wait until the page has stopped scrolling: in the same place for 20 frames."""
    page.evaluate(
        """() => new Promise((done) => {
            let [last, still] = [scrollY, 0];
            const look = () => {
                still = scrollY == last ? still + 1 : 0;
                last = scrollY;
                still < 20 ? requestAnimationFrame(look) : done();
            };
            look();
        })"""
    )


def hold_frames(page) -> None:
    """Let no frame be drawn until letFramesCome() is called, as on a slow machine."""
    page.evaluate(
        """() => {
            const [frame, held] = [window.requestAnimationFrame, []];
            window.requestAnimationFrame = (call) => held.push(call);
            window.letFramesCome = () => {
                window.requestAnimationFrame = frame;
                held.forEach((call) => frame(call));
            };
        }"""
    )


def test_upload_shows_before_and_after(open_page, jpeg):
    page = open_page()
    upload(page, jpeg)
    wait_for_result(page, "2400 × 1600")
    before, after = pictures(page)
    assert before.shape == after.shape == (1365, 2048, 3)  # copies of at most 2048 pixels
    assert chroma(before) < 1 < chroma(after)
    assert abs(before.mean() - after.mean()) < 12  # the same photo
    assert not page.locator("#photo").is_visible()  # the result has its place


def test_an_example_colors_on_one_click(open_page):
    page = open_page()
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page, "512 × 512")
    assert "by " in page.locator("#facts").inner_text()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")


def test_slider_moves(open_page):
    page = open_page()
    page.get_by_label("Color the example: rocket").click()
    wait_for_result(page)
    images = page.locator("#compare .slider-wrap img")
    for index, name in enumerate(("The photo in gray", "The photo in color")):
        page.locator(f"#compare .slider-wrap img[alt='{name}']").wait_for()
        assert images.nth(index).get_attribute("alt") == name
    wait_until_still(page)  # the result has scrolled into view
    clip = images.last.get_attribute("style")
    handle = page.locator("#compare .outer").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 150, y, steps=5)
    page.mouse.up()
    after = "[...document.querySelectorAll('#compare .slider-wrap img')].at(-1)"
    moved = f"(clip) => {after}.getAttribute('style') != clip"
    page.wait_for_function(moved, arg=clip)
    clip = images.last.get_attribute("style")
    keys = page.get_by_role("slider", name="From the photo in gray to the photo in color")
    keys.focus()
    page.wait_for_timeout(200)  # until it says where the mouse has left it
    place = int(keys.get_attribute("aria-valuenow"))
    keys.press("ArrowRight")
    page.wait_for_function(moved, arg=clip)
    page.wait_for_function(
        "([handle, place]) => Math.abs(handle.getAttribute('aria-valuenow') - place - 5) <= 1",
        arg=[keys.element_handle(), place],
    )


def test_dials_change_the_picture(open_page):
    page = open_page()
    page.get_by_label("Color the example: chelsea").click()
    wait_for_result(page)
    first = chroma(pictures(page)[1])
    turn(page, "Colorfulness", 0)
    assert chroma(pictures(page)[1]) < 1
    turn(page, "Colorfulness", 2)
    assert chroma(pictures(page)[1]) > first
    vivid = pictures(page)[1]
    turn(page, "Caution", 0.1)
    bold = pictures(page)[1]
    assert np.abs(bold - vivid).max() > 2
    turn(page, "Balance", 1)
    assert np.abs(pictures(page)[1] - bold).max() > 2
    assert chroma(pictures(page)[0]) < 1  # the picture before stays


def test_working_size_colors_again(open_page):
    page = open_page()
    page.get_by_label("Color the example: camera").click()
    wait_for_result(page)
    first = pictures(page)[1]
    hold_frames(page)  # a size may be typed before the frame that follows the opening has come
    page.get_by_role("button", name="Advanced").click()
    box = page.get_by_label("number input for Working size")
    box.fill("128")
    page.evaluate("letFramesCome()")
    wait_until_still(page)
    assert box.input_value() == "128"  # gradio has not put it back to where it began
    turn(page, "Working size", 128)
    assert np.abs(pictures(page)[1] - first).max() > 2
    # The last of several sizes counts, though the network may still be busy with the first.
    with page.expect_request(lambda request: "queue/join" in request.url and request.post_data_json["data"][3] == 512):
        for size in (320, 512):
            box.fill(str(size))
            box.blur()


def test_dials_by_keyboard(open_page):
    page = open_page()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page)
    started = {label: dial(page, label) for label in ("Colorfulness", "Caution")}
    first = shown(page)
    page.get_by_role("button", name="Advanced").click()
    size = dial(page, "Working size")
    page.get_by_label("range slider for Working size").press("ArrowRight")
    page.wait_for_function(
        "(first) => [...document.querySelectorAll('#compare .slider-wrap img')].at(-1).getAttribute('src') != first",
        arg=first,
    )
    assert dial(page, "Working size") == size + 32

    # A number may be half typed, and a box empty: no error is told, and picture and box agree in the end.
    box = page.get_by_label("number input for Caution")
    box.fill("")
    box.press_sequentially("0.5", delay=100)
    box.blur()
    assert dial(page, "Caution") == 0.5
    box = page.get_by_label("number input for Colorfulness")
    box.fill("")
    box.blur()
    wait_for_dial(page, "Colorfulness", 0)
    wait_for_chroma(page, lambda value: value < 1)
    assert page.locator(".toast-body").count() == 0

    page.get_by_role("button", name="Reset dials").click()
    for label, value in started.items():
        wait_for_dial(page, label, value)
    wait_for_chroma(page, lambda value: value > 1)


def test_the_last_of_two_examples_counts(open_page):
    page = open_page()
    page.get_by_label("Color the example: camera").click()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")


def test_another_model_colors_the_photo_that_is_shown(open_page, ladder):
    page = open_page(ladder)
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "by fusion_compact (bundled)")
    first = shown(page)
    started = {label: dial(page, label) for label in ("Colorfulness", "Caution")}
    turn(page, "Colorfulness", 0.5)
    choose(page, "two_stage — thumbnails, 32 px")
    wait_for_result(page, "600 × 400 pixels")
    wait_for_result(page, "by two_stage (bundled)")
    assert shown(page) != first
    wait_for_dial(page, "Colorfulness", 1)
    page.get_by_label("number input for Caution").wait_for(state="hidden")  # it predicts one color
    reference = page.get_by_role("button", name="Use the colors of another photo")
    assert not reference.is_visible()  # which could lead nothing
    page.get_by_label("Color the example: coffee").wait_for()

    # The dial in the accordion, which opens only now, stands where the model wants it, and stays where it is put.
    hold_frames(page)
    page.get_by_role("button", name="Advanced").click()
    box = page.get_by_label("number input for Working size")
    box.wait_for()
    page.evaluate("letFramesCome()")
    wait_until_still(page)
    assert dial(page, "Working size") == 32
    assert page.get_by_label("range slider for Working size").get_attribute("min") == "32"
    turn(page, "Working size", 96)
    assert "by two_stage (bundled)" in page.locator("#facts").inner_text()

    choose(page, "fusion_compact")
    wait_for_result(page, "by fusion_compact (bundled)")
    wait_for_dial(page, "Working size", 256)
    wait_for_dial(page, "Caution", started["Caution"])
    reference.wait_for()
    turn(page, "Caution", 0.2)
    assert dial(page, "Colorfulness") == started["Colorfulness"]


def test_a_choice_that_fails_leaves_what_is_shown(open_page, ladder):
    def choose_the_damaged_one(page):
        page.get_by_label("Model", exact=True).click()
        page.get_by_role("option", name="damaged").click()
        wait_for_toast(page, "damaged or cut short")
        page.wait_for_timeout(1000)  # one click was once two events, and two sentences
        assert page.locator(".toast-body").inner_text().count("damaged or cut short") == 1
        assert page.get_by_label("Model", exact=True).input_value().startswith("fusion_compact")

    page = open_page(ladder)
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "by fusion_compact (bundled)")
    first = shown(page)
    choose_the_damaged_one(page)
    assert shown(page) == first

    page = open_page(ladder)
    choose(page, "mnist_linear — digits")
    page.get_by_label("Color the example: coffee").wait_for(state="hidden")
    choose_the_damaged_one(page)
    page.get_by_label("Color the example: coffee").wait_for()  # the page is the default model's again


def test_digits_are_painted(open_page, ladder):
    page = open_page(ladder)
    choose(page, "mnist_linear — digits")
    page.get_by_label("Paint the example: 7").wait_for()
    assert page.get_by_label("Paint the example").count() == 10
    assert not page.get_by_label("Color the example").first.is_visible()
    page.locator("#model", has_text="white on black").wait_for()
    page.get_by_label("Paint the example: 7").click()
    wait_for_result(page, "by mnist_linear (bundled)")
    before, after = pictures(page)
    assert before.shape == after.shape == (308, 308, 3)
    assert chroma(before) < 1 < chroma(after)
    assert not page.get_by_role("button", name="Advanced").is_visible()  # there is one size only
    assert not page.get_by_label("number input for Balance").is_visible()  # digits have no tint over all
    turn(page, "Colorfulness", 0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download full size (PNG)").click()
    assert download.value.suggested_filename == "digit-7.color.png"

    # Back to photographs: their row is there again, and so is the dial that digits have no use for.
    choose(page, "fusion_compact")
    wait_for_result(page, "by fusion_compact (bundled)")
    page.get_by_label("Color the example: camera").click()
    wait_for_result(page, "512 × 512")
    assert not page.get_by_label("Paint the example").first.is_visible()
    hold_frames(page)
    page.get_by_role("button", name="Advanced").click()
    box = page.get_by_label("number input for Working size")
    box.fill("128")
    page.evaluate("letFramesCome()")
    wait_until_still(page)
    assert box.input_value() == "128"
    turn(page, "Working size", 128)


def test_two_visitors_use_two_models(open_page, ladder):
    one, two = open_page(ladder), open_page(ladder)
    choose(two, "two_stage")
    two.locator("#model", has_text="tiny pictures").wait_for()
    for page, name in ((one, "fusion_compact"), (two, "two_stage"), (one, "fusion_compact")):
        page.get_by_label("Color the example: rocket").click()
        wait_for_result(page, f"by {name} (bundled)")
    ask_for_new_photo(two)
    choose(two, "fusion_compact")  # the photo that is still shown is colored again, and the next can be given
    wait_for_result(two, "by fusion_compact (bundled)")
    two.get_by_text("Drop a photo here").wait_for()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_wrong_color_is_corrected(open_page, size):
    """A click colors the place below it, also while the picker is open, and each of two quick clicks counts."""
    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    automatic = pictures(page)[1]
    tools = page.get_by_role("button", name="A wrong color?")
    comparison = page.get_by_alt_text("The photo in color", exact=True)
    canvas = page.get_by_alt_text("The photo in color: click")
    assert comparison.is_visible() and not canvas.is_visible()
    tools.click()
    canvas.wait_for()
    page.wait_for_function("document.querySelector('#canvas img').naturalWidth == 512")
    assert not comparison.is_visible()  # the one stands where the other stood, and as large
    (top, height), (there, as_high) = (
        (box["y"], box["height"]) for box in (part.bounding_box() for part in (canvas, page.locator("#compare")))
    )
    assert top == pytest.approx(there, abs=2) and height == pytest.approx(as_high, abs=4)
    tools.click()
    comparison.wait_for()
    tools.click()
    undo, undo_all = (page.get_by_role("button", name=name, exact=True) for name in ("Undo", "Undo all"))
    assert undo.is_disabled() and undo_all.is_disabled()

    def click(left: float, top: float) -> None:
        box = canvas.bounding_box()
        canvas.click(position={"x": left * box["width"], "y": top * box["height"]})

    def wait_for_another(than: str) -> np.ndarray:
        page.wait_for_function("(src) => document.querySelector('#canvas img').getAttribute('src') != src", arg=than)
        wait_for_result(page)
        return pictures(page)[1]

    page.get_by_label("Color", exact=True).click()
    shades = page.get_by_role("slider", name="Saturation and brightness")
    box, source = shades.bounding_box(), canvas.get_attribute("src")
    shades.click(position={"x": 0.9 * box["width"], "y": 0.2 * box["height"]})
    hues = page.get_by_role("slider", name="Hue")
    hues.click(position={"x": hues.bounding_box()["width"] / 3, "y": 3})  # green
    click(0.8, 0.7)
    first = wait_for_another(source)
    assert not shades.is_visible()
    swatch = page.get_by_label("Color", exact=True)
    shade = "button => getComputedStyle(button).backgroundColor"
    red, green, blue = map(int, re.findall(r"\d+", swatch.evaluate(shade)))
    assert green > 150 > 60 > max(red, blue)
    assert ring_at(page, 0.8, 0.7)
    assert np.abs(first - automatic).max() > 2

    rings = """(image, [left, top]) => {
        const {x, y, width, height} = image.getBoundingClientRect();
        const [clientX, clientY] = [x + left * width, y + top * height];
        image.dispatchEvent(new MouseEvent('click', {bubbles: true, view: window, clientX, clientY}));
        return [...document.querySelectorAll('.ring')].map((ring) => {
            const place = ring.getBoundingClientRect();
            return [place.x + place.width / 2 - clientX, place.y + place.height / 2 - clientY,
                getComputedStyle(ring).backgroundColor, getComputedStyle(ring).position];
        });
    }"""
    ((across, down, *looks),) = canvas.evaluate(rings, [0.25, 0.8])  # before the network has run
    assert max(abs(across), abs(down)) <= 1 and looks == [swatch.evaluate(shade), "absolute"]
    click(0.6, 0.1)
    end = time.monotonic() + TIMEOUT / 1000
    while not (ring_at(page, 0.8, 0.7) and ring_at(page, 0.25, 0.8) and ring_at(page, 0.6, 0.1)):
        assert time.monotonic() < end, "the second of two clicks was lost"
        page.wait_for_timeout(100)
    page.wait_for_function("!document.querySelector('.ring')")  # those in the picture are in their place

    source = canvas.get_attribute("src")
    undo_all.click()
    assert np.array_equal(wait_for_another(source), automatic)
    assert undo.is_disabled()

    swatch.click()
    page.locator("#picker input").press("Escape")
    assert not shades.is_visible()
    swatch.click()
    page.locator("#picker input").fill("tomato")
    page.locator("#picker input").press("Enter")
    assert not shades.is_visible()
    assert swatch.evaluate(shade) == "rgb(255, 99, 71)"

    page.get_by_role("button", name="Denim", exact=True).click()
    page.wait_for_function(f"() => ({shade})(document.querySelector('#picker .dialog-button')) == 'rgb(74, 100, 136)'")
    source = canvas.get_attribute("src")
    click(0.2, 0.3)
    half = wait_for_another(source)
    for key, more in (("End", True), ("Home", False)):  # of the dial for its reach
        source = canvas.get_attribute("src")
        page.get_by_label("range slider for Reach").press(key)
        changed = np.abs(wait_for_another(source) - automatic).max(axis=2) > 8
        assert (changed.mean() > (np.abs(half - automatic).max(axis=2) > 8).mean()) == more


def test_a_wrong_color_is_corrected_by_keys(open_page):
    """The arrows move a cross, from the middle on, and Enter puts the color there; leaving the page is asked about."""
    page = open_page()
    canvas_of_the_astronaut(page)
    button = page.locator("#canvas button:has(img)")
    source = page.locator("#canvas img").get_attribute("src")
    button.focus()
    place = """() => {
        const cross = document.querySelector('.cross').getBoundingClientRect();
        const {x, y, width, height} = document.querySelector('#canvas img').getBoundingClientRect();
        return [(cross.x + cross.width / 2 - x) / width, (cross.y + cross.height / 2 - y) / height];
    }"""
    page.keyboard.press("Enter")  # shows it, and no more
    assert page.evaluate(place) == pytest.approx([0.5, 0.5], abs=0.005) and page.locator(".ring").count() == 0
    page.keyboard.press("Control+ArrowLeft")  # the browser's own
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place) == pytest.approx([0.7, 0.484], abs=0.005)
    page.keyboard.press("Enter")
    page.wait_for_function("(src) => document.querySelector('#canvas img').getAttribute('src') != src", arg=source)
    page.wait_for_function("!document.querySelector('.ring')")
    assert ring_at(page, 0.7, 0.484)
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    source = page.locator("#canvas img").get_attribute("src")
    page.keyboard.press("Space")
    page.wait_for_function("(src) => document.querySelector('#canvas img').getAttribute('src') != src", arg=source)
    assert ring_at(page, 0.7, 0.484) and page.evaluate(place)[0] == pytest.approx(0, abs=0.005)
    page.keyboard.press("Tab")
    assert page.locator(".cross").count() == 0

    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("setTimeout(() => location.reload())")
    page.wait_for_timeout(1000)
    assert asked == ["beforeunload"] and ring_at(page, 0.7, 0.484)
    page.get_by_role("button", name="Undo all").click()
    page.wait_for_function("document.querySelector('#undo').disabled")
    page.evaluate("setTimeout(() => location.reload())")
    page.get_by_text("Drop a photo here").wait_for()
    assert asked == ["beforeunload"]


def canvas_of_the_astronaut(page):
    """The picture of 512 x 512 that is to be clicked where a color is wrong."""
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    page.get_by_role("button", name="A wrong color?").click()
    canvas = page.get_by_alt_text("The photo in color: click")
    canvas.wait_for()
    page.wait_for_function("document.querySelector('#canvas img').naturalWidth == 512")
    return canvas


def ring_at(page, left: float, top: float) -> bool:
    """Whether the picture of 512 x 512 that is to be clicked has a ring at a place, in shares of its sides."""
    source = page.locator("#canvas img").evaluate("image => image.src")
    marked = np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")).astype(int)
    x, y = round(left * 512), round(top * 512)
    around = (slice(y - 30, y + 31), slice(x - 30, x + 31))
    rows, columns = np.nonzero(np.abs(marked[around] - pictures(page)[1][around]).max(axis=2) > 100)
    return len(rows) > 0 and max(abs(rows.mean() - 30), abs(columns.mean() - 30)) < 4


def test_a_click_while_the_picture_loads_counts(open_page):
    """As on a slow network: the result of the click before is there, and its picture on its way."""
    page = open_page()
    canvas = canvas_of_the_astronaut(page)
    box, source, on_their_way = canvas.bounding_box(), canvas.get_attribute("src"), []
    files = "**/gradio_api/file=**"
    page.route(files, lambda route: on_their_way.append(route))
    canvas.click(position={"x": 0.25 * box["width"], "y": 0.8 * box["height"]})
    page.wait_for_function(
        "(src) => document.querySelector('#canvas img').getAttribute('src') != src"
        " && !document.querySelector('#canvas img').complete && !document.querySelector('.ring')",
        arg=source,
    )
    canvas.click(position={"x": 0.6 * box["width"], "y": 0.3 * box["height"]})
    assert page.locator(".ring").count() == 1
    page.unroute(files)  # they go on
    end = time.monotonic() + TIMEOUT / 1000
    while not (ring_at(page, 0.25, 0.8) and ring_at(page, 0.6, 0.3)):
        assert time.monotonic() < end, "the second click was lost"
        page.wait_for_timeout(100)
    page.wait_for_function("!document.querySelector('.ring')")


HOLD_WHAT_CLOSES_STREAMS = r"""() => {
    const directly = window.fetch;
    window.fetch = async (...asked) => {
        const answer = await directly(...asked);
        if (!String(asked[0].url ?? asked[0]).includes('/queue/data')) return answer;
        const late = new TransformStream({transform: async (text, on) => {
            for (const words of text.split(/(?<=\n\n)/)) {
                if (words.includes('close_stream')) await new Promise((on) => setTimeout(on, 7000));
                on.enqueue(words);
            }
        }});
        const body = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(late);
        return new Response(body.pipeThrough(new TextEncoderStream()), {headers: answer.headers});
    };
    document.querySelector('#ask').addEventListener('click', () => { window.asked = true; });
}"""


def test_a_click_after_the_server_closed_its_stream_counts(open_page):
    """As on a slow network: an event begins while the word that its stream is closed is still on its way."""
    page = open_page()
    canvas = canvas_of_the_astronaut(page)
    page.evaluate(HOLD_WHAT_CLOSES_STREAMS)
    box = canvas.bounding_box()
    canvas.click(position={"x": 0.25 * box["width"], "y": 0.8 * box["height"]})
    page.wait_for_function("!document.querySelector('.ring')")  # its result is there, and nothing after it
    canvas.click(position={"x": 0.6 * box["width"], "y": 0.3 * box["height"]})
    assert page.locator(".ring").count() == 1
    page.evaluate("window.asked = false")
    page.wait_for_function("!document.querySelector('.ring')")
    assert page.evaluate("window.asked")  # or gradio's client knows by now, and need not be asked
    assert ring_at(page, 0.25, 0.8) and ring_at(page, 0.6, 0.3)


def test_a_guess_after_the_server_closed_its_stream_counts(open_page):
    """Likewise, though nothing on the page tells that it waits."""
    page = open_page()
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    page.evaluate(HOLD_WHAT_CLOSES_STREAMS)
    shown = "[...document.querySelectorAll('#compare .slider-wrap img')].at(-1).src"
    for guess in ("warmer", "cooler"):
        before = page.evaluate(shown)
        page.evaluate("window.asked = false")
        page.get_by_role("radio", name=guess).check(force=True)
        page.wait_for_function(f"(before) => {shown} != before", arg=before)
    assert page.evaluate("window.asked")


def test_the_color_picker_by_finger(open_page):
    page = open_page(**PHONE)
    page.get_by_label("Color the example: rocket").click()
    wait_for_result(page)
    wait_until_still(page)
    page.get_by_role("button", name="A wrong color?").click()
    swatch = page.get_by_label("Color", exact=True)
    swatch.click()
    hues = page.get_by_role("slider", name="Hue")
    hues.scroll_into_view_if_needed()  # a finger beside it would swipe the browser back to the page before
    wait_until_still(page)
    box, place = hues.bounding_box(), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    y = box["y"] + box["height"] / 2
    for type, at in (("touchStart", 0.1), ("touchMove", 0.3), ("touchMove", 0.66), ("touchEnd", None)):
        points = [] if at is None else [{"x": box["x"] + at * box["width"], "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": type, "touchPoints": points})
    page.wait_for_function(
        r"""() => {
            const color = getComputedStyle(document.querySelector('#picker .dialog-button')).backgroundColor;
            const [red, green, blue] = color.match(/\d+/g).map(Number);
            return blue > red + 50 && blue > green + 50;
        }"""
    )
    assert hues.is_visible() and page.evaluate("scrollY") == place


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_color_picker_fits_over_a_wide_photo(open_page, size, tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(data.coffee()).convert("L").resize((2400, 500)).save(path)
    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    upload(page, path)
    wait_for_result(page)
    wait_until_still(page)
    page.get_by_role("button", name="A wrong color?").click()
    page.get_by_label("Color", exact=True).click()
    box = page.locator("#picker input")
    box.scroll_into_view_if_needed()
    assert box.evaluate(
        """(box) => {
            const {x, y, width, height} = box.getBoundingClientRect();
            return document.elementFromPoint(x + width / 2, y + height / 2) === box;
        }"""
    )


def test_what_is_open_and_shown_is_told_to_readers_of_the_screen(open_page, photos):
    page = open_page()
    page.locator("#several input[type=file]").set_input_files(photos)
    page.locator("#album-line", has_text="3 photos").wait_for()
    panel = page.get_by_role("button", name="Use the colors of another photo", exact=True, expanded=False)
    panel.click()
    page.get_by_role("button", name="Use the colors of another photo", exact=True, expanded=True).wait_for()
    page.get_by_role("button", name="A photo in color: drop it here, or click to choose one").wait_for()
    small = page.locator("#strip .thumbnail-item")
    small.nth(2).click()
    wait_for_result(page, "640 × 427")
    assert [item.get_attribute("aria-current") for item in small.all()] == ["false", "false", "true"]


def test_a_key_asks_for_a_new_photo_and_the_next_one_chooses_it(open_page):
    page = open_page()
    page.get_by_label("Color the example: rocket").click()
    wait_for_result(page)
    page.get_by_label("number input for Colorfulness").focus()
    choosers = []  # heard from now on: asked for just before the key, it may come to Chromium after that
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Shift+Tab")  # to "New photo"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#photo')")
    wait_until_still(page)
    page.keyboard.press("Enter")
    while not choosers:  # the test's own timeout ends it
        page.wait_for_timeout(50)


def test_other_guesses(open_page):
    page = open_page()
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    first, source = pictures(page)[1], shown(page)
    buttons = page.locator("#guess label")
    looks = buttons.evaluate_all(
        """(labels) => labels.map((label) => {
            const {backgroundImage, backgroundPositionX, width, height} = getComputedStyle(label, '::before');
            return [backgroundImage, backgroundPositionX, parseFloat(width), parseFloat(height)];
        })"""
    )
    images, places, widths, heights = zip(*looks, strict=True)
    assert len(set(images)) == 1 and images[0].startswith('url("data:image/jpeg')
    assert places == ("0px", "20%", "40%", "60%", "80%", "100%")
    assert widths == heights and min(widths) > 60
    outlines = "(labels) => labels.map((label) => getComputedStyle(label).outlineStyle)"
    assert buttons.evaluate_all(outlines) == ["solid", *["none"] * 5]
    means = {}
    for guess in ("Warmer", "Cooler", "First"):
        page.get_by_role("radio", name=guess).click()
        page.wait_for_function(
            "(src) => [...document.querySelectorAll('#compare .slider-wrap img')].at(-1).getAttribute('src') != src",
            arg=source,
        )
        wait_for_result(page)
        source, means[guess] = shown(page), pictures(page)[1].mean((0, 1))
    assert means["Warmer"][0] - means["Warmer"][2] > means["Cooler"][0] - means["Cooler"][2] + 5
    assert np.array_equal(pictures(page)[1], first)
    page.get_by_role("radio", name="First").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_role("radio", name="Warmer").is_checked()
    assert buttons.evaluate_all(outlines) == ["none", "solid", *["none"] * 4]
    page.get_by_role("radio", name="Greener").click()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")
    assert page.get_by_role("radio", name="First").is_checked()  # of another photo
    page.wait_for_function(
        "(old) => getComputedStyle(document.querySelector('#guess label'), '::before').backgroundImage != old",
        arg=images[0],
    )


def test_what_is_on_its_way_keeps_the_one_before_from_being_changed(open_page, jpeg, monkeypatch):
    """It waits for the one before, whose picture is shown meanwhile: a click on it would color the next."""
    prepare = app.ColorizationPipeline.prepare
    monkeypatch.setattr(
        app.ColorizationPipeline, "prepare", lambda *args, **kwargs: (time.sleep(2), prepare(*args, **kwargs))[1]
    )
    page = open_page()
    page.get_by_label("Color the example: astronaut").click()
    page.get_by_label("Color the example: coffee").click()
    page.get_by_label("Color the example: rocket").click()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "512 × 512")
    page.wait_for_function("document.querySelector('#result').inert")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('#result').inert") and "512 × 512" in page.inner_text("#facts")
    wait_for_result(page, "600 × 400")
    page.wait_for_function("!document.querySelector('#result').inert")
    ask_for_new_photo(page)  # and one that is given keeps an example's from being changed, which comes before it
    page.get_by_label("Color the example: rocket").click()
    upload(page, jpeg)
    wait_for_result(page, "640 × 427")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('#result').inert") and "640 × 427" in page.inner_text("#facts")
    wait_for_result(page, "2400 × 1600")
    page.wait_for_function("!document.querySelector('#result').inert")


def test_a_download_has_the_correction_before_it_and_none_that_failed(open_page, monkeypatch):
    page = open_page()
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    page.get_by_role("button", name="A wrong color?").click()
    page.get_by_alt_text("The photo in color: click").wait_for()
    page.wait_for_function("document.querySelector('#canvas img').naturalWidth == 512")
    with_hints = app.Coloring.with_hints

    def slowly(*args):
        time.sleep(2)
        return with_hints(*args)

    def not_at_all(*args):
        raise MemoryError

    def saved() -> np.ndarray:
        with page.expect_download() as download:
            page.get_by_role("button", name="Download full size").click()
        return np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)

    automatic = saved()
    canvas = page.get_by_alt_text("The photo in color: click")
    monkeypatch.setattr(app.Coloring, "with_hints", not_at_all)
    canvas.click(position={"x": 100, "y": 300})
    wait_for_toast(page, "failed on the server")
    page.wait_for_function("!document.querySelector('#canvas .ring')")
    monkeypatch.setattr(app.Coloring, "with_hints", slowly)
    canvas.click(position={"x": 100, "y": 300})
    assert np.abs(saved() - automatic).max() > 20
    assert page.locator("#canvas .ring").count() == 0


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_colors_of_another_photo(open_page, size, tmp_path):
    """Given as a file or dropped, led by a dial, refused in gray, and taken away."""
    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    automatic = pictures(page)[1]
    page.get_by_role("button", name="Use the colors of another photo").click()
    page.get_by_text("A photo in color", exact=True).wait_for()
    cup = tmp_path / "cup.tif"
    Image.fromarray(data.coffee()).save(cup)
    page.locator("#reference input[type=file]").set_input_files(cup)
    wait_for_result(page, "in the colors of cup.tif")
    page.get_by_alt_text("The photo whose colors this one gets").wait_for()
    led = pictures(page)[1]
    assert np.abs(led - automatic).max() > 10

    turn(page, "Likeness", 1)
    assert np.abs(pictures(page)[1] - led).max() > 5

    drop = """(target, [name, bytes]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name));
        target.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer}));
    }"""
    for picture, name in ((data.chelsea(), "cat.tif"), (data.camera(), "gray.tif")):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "TIFF")
        page.locator("#reference").evaluate(drop, [name, base64.b64encode(file.getvalue()).decode()])
        if name == "cat.tif":
            wait_for_result(page, "in the colors of cat.tif")
    wait_for_toast(page, "gray.tif is gray")
    page.get_by_alt_text("The photo whose colors this one gets").wait_for()
    assert "in the colors of cat.tif" in page.locator("#facts").inner_text()
    assert page.locator("#compare .error").count() == 0

    page.get_by_label("Remove Image").click()
    page.wait_for_function("!document.querySelector('#facts').innerText.includes('colors of')")
    wait_for_result(page)
    assert np.array_equal(pictures(page)[1], automatic)


def test_before_and_after_in_one_picture(open_page, jpeg):
    """Side by side, or one above the other if they are wide, as they are shown."""
    page = open_page()
    for is_wide, name in ((False, "astronaut"), (True, "harvest")):
        if is_wide:
            ask_for_new_photo(page)
            upload(page, jpeg)
            wait_for_result(page, "2400 × 1600")
        else:
            page.get_by_label("Color the example: astronaut").click()
            wait_for_result(page)
        wait_until_still(page)
        before, after = pictures(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="Before and after").click()
        assert download.value.suggested_filename == f"{name}.before-after.jpg"
        with Image.open(download.value.path()) as image:
            both = np.asarray(image).astype(int)
        height, width = after.shape[:2]
        gap = both.shape[0 if is_wide else 1] - 2 * (height if is_wide else width)
        assert both.shape == ((2 * height + gap, width, 3) if is_wide else (height, 2 * width + gap, 3))
        assert 0 < gap <= max(height, width) / 50
        assert np.abs(both[:height, :width] - before).mean() < 2 < np.abs(both[-height:, -width:] - before).mean()
        assert np.abs(both[-height:, -width:] - after).mean() < 2


def test_download_is_the_full_photo_in_its_format(open_page, jpeg, tmp_path):
    page = open_page()
    upload(page, jpeg)
    wait_for_result(page)
    turn(page, "Colorfulness", 0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download full size (JPEG)").click()
    assert download.value.suggested_filename == "harvest.color.jpg"
    path = tmp_path / "out.jpg"
    download.value.save_as(path)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (2400, 1600), "RGB")
        assert image.getexif()[0x010E] == "harvest"
        assert chroma(np.asarray(image).astype(int)) < 1  # as the dial says


def test_a_format_that_browsers_cannot_show_is_colored(open_page, tmp_path):
    path = tmp_path / "scan.tif"
    Image.fromarray(data.camera().astype(np.uint16) * 257).save(path)
    page = open_page()
    upload(page, path)
    wait_for_result(page, "512 × 512")
    assert chroma(pictures(page)[1]) > 0
    with page.expect_download() as download:
        page.get_by_role("button", name="Download full size (TIFF)").click()
    assert download.value.suggested_filename.startswith("scan.color.tif")


def test_webcam(open_page):
    page = open_page()
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('#photo video')].some((video) => video.videoWidth)")
    page.get_by_label("capture photo").click()
    wait_for_result(page)
    before, after = pictures(page)
    assert before.shape == after.shape
    # Chromium's camera shows a disc that is filled clockwise, from the right on: a mirrored one is from the left on.
    for _ in range(9):
        (top_left, top_right), (bottom_left, bottom_right) = (
            [half.mean() for half in np.array_split(part, 2, axis=1)] for part in np.array_split(before, 2)
        )
        if abs(clockwise := bottom_right - bottom_left + top_left - top_right) > 2:  # neither half nor all of it
            break
        ask_for_new_photo(page)
        page.get_by_label("Capture from camera").click()
        page.get_by_text("Click to Access Webcam").click()
        page.wait_for_function("[...document.querySelectorAll('#photo video')].some((video) => video.videoWidth)")
        page.get_by_label("capture photo").click()
        page.get_by_text("Drop a photo here").wait_for(state="hidden")
        wait_for_result(page)
        before, _ = pictures(page)
    assert clockwise > 2
    ask_for_new_photo(page)
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('#photo video')].some((video) => video.videoWidth)")
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")
    page.wait_for_function("!document.querySelector('#photo video')")  # it does not go on behind the result


def test_clipboard(open_page, address):
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/"))
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 512, height: 384});
            canvas.getContext('2d').fillRect(90, 90, 300, 200);
            const image = await new Promise((done) => canvas.toBlob(done, 'image/png'));
            await navigator.clipboard.write([new ClipboardItem({'image/png': image})]);
        }"""
    )
    page.get_by_label("Paste from clipboard").click()
    wait_for_result(page, "512 × 384")


# A photo of 64 x 48 pixels as a browser has it when it is dropped or pasted.
GIVE = """async ([selector, type, kind, ...names]) => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 48});
    canvas.getContext('2d').fillRect(9, 9, 30, 20);
    const picture = await new Promise((done) => canvas.toBlob(done, 'image/png'));
    const files = new DataTransfer();
    names.forEach((name) => files.items.add(new File([picture], name, {type: kind})));
    const told = {bubbles: true, cancelable: true, clipboardData: files, dataTransfer: files};
    const event = type == 'paste' ? new ClipboardEvent(type, told) : new DragEvent(type, told);
    document.querySelector(selector).dispatchEvent(event);
    return event.defaultPrevented;
}"""


def test_the_next_photo_is_dropped_on_the_result_or_pasted_anywhere(open_page):
    """What the page does not take there, the browser would open in its place."""
    page = open_page()
    places = ("#heading", "drop"), ("#compare", "drop"), ("#facts", "paste"), ("#result input[type=range]", "paste")
    for selector, kind in places:
        page.get_by_label("Color the example: coffee").click()
        wait_for_result(page, "600 × 400")
        assert page.evaluate(GIVE, [selector, kind, "image/png", "next.png"])
        wait_for_result(page, "64 × 48")
    assert page.evaluate(GIVE, ["#compare", "dragover", "image/png", "next.png"])
    assert not page.evaluate(GIVE, ["#result input[type=number]", "paste", "image/png"])  # a number, perhaps
    assert not page.locator("#notice").is_visible()
    page.evaluate(GIVE, ["#facts", "paste", "image/png"])
    page.locator("#notice", has_text="no picture on the clipboard").wait_for()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")
    assert not page.locator("#notice").is_visible()


def test_a_photo_that_comes_too_soon_is_told(open_page, jpeg):
    page = open_page()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")
    ask_for_new_photo(page)
    page.evaluate(
        f"""(drop) => new MutationObserver(() => colorizerPage.state.isGiven && ({GIVE})(drop))
            .observe(document.querySelector('#result'), {{attributes: true}})""",
        ["#heading", "drop", "image/png", "soon.png"],
    )
    upload(page, jpeg)
    wait_for_result(page, "2400 × 1600")
    page.locator("#notice", has_text="Another photo is on its way: give this one again.").wait_for()
    page.wait_for_function("!colorizerPage.state.isGiven")


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Three photos of different sizes, and one file that is none."""
    paths = [tmp_path / name for name in ("cup.png", "letter.jpg", "cat.jpg", "rocket.tif")]
    for path, picture in zip(paths, (data.coffee, None, data.chelsea, data.rocket), strict=True):
        if picture:
            Image.fromarray(picture()).convert("L").save(path)
        else:
            path.write_text("Dear Sir or Madam")
    return paths


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_several_photos(open_page, photos, size):
    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    page.locator("#several input[type=file]").set_input_files(photos)
    wait_for_result(page, "600 × 400")
    page.locator("#album-line", has_text="3 photos").wait_for()
    assert "letter.jpg is no picture" in page.inner_text("#album-line")
    small = page.locator("#strip .thumbnail-item")
    selected = page.locator("#strip .thumbnail-item.selected")
    assert small.count() == 3 and selected.get_attribute("aria-label") == "Thumbnail 1 of 3"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    turn(page, "Colorfulness", 0)
    small.nth(2).click()
    wait_for_result(page, "640 × 427")
    wait_for_dial(page, "Colorfulness", "1.25")
    assert page.locator("#download").inner_text() == "Download full size (TIFF)"
    assert selected.get_attribute("aria-label") == "Thumbnail 3 of 3"
    page.wait_for_function("!document.querySelector('#result').inert")
    first = small.first.locator("img").get_attribute("src")
    assert chroma(np.asarray(Image.open(io.BytesIO(page.request.get(first).body()))).astype(int)) < 1  # as it was left
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    assert download.value.suggested_filename == "colored.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        files = {name: Image.open(archive.open(name)) for name in archive.namelist()}
        assert {name: (file.format, file.size) for name, file in files.items()} == {
            "cup.color.png": ("PNG", (600, 400)),
            "cat.color.jpg": ("JPEG", (451, 300)),
            "rocket.color.tif": ("TIFF", (640, 427)),
        }
        strength = {name: chroma(np.asarray(file.convert("RGB")).astype(int)) for name, file in files.items()}
    assert strength["cup.color.png"] == 0 and strength["cat.color.jpg"] > 3 and strength["rocket.color.tif"] > 3
    page.get_by_role("button", name="Download all (ZIP)", exact=True).wait_for()
    before = [image.get_attribute("src") for image in small.locator("img").all()]
    page.get_by_role("button", name="These dials for all").click()
    page.wait_for_function(
        "(before) => document.querySelector('#strip img').getAttribute('src') != before", arg=before[0]
    )
    page.locator("#album-line", has_text="3 photos").wait_for()
    small.first.click()
    wait_for_result(page, "600 × 400")
    wait_for_dial(page, "Colorfulness", "1.25")


def test_several_photos_are_dropped_and_the_next_one_joins_them(open_page):
    page = open_page()
    page.evaluate(GIVE, ["#heading", "drop", "image/png", "one.png", "two.png"])
    wait_for_result(page, "64 × 48")
    page.locator("#album-line", has_text="2 photos").wait_for()
    page.wait_for_timeout(500)
    assert page.locator("#strip .selected").get_attribute("aria-label") == "Thumbnail 1 of 2"
    page.evaluate(GIVE, ["#compare", "drop", "image/png", "three.png", "four.png"])
    page.locator("#album-line", has_text="4 photos").wait_for()
    ask_for_new_photo(page)
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page, "600 × 400")
    page.locator("#album-line", has_text="5 photos").wait_for()
    page.locator("#strip .thumbnail-item").first.click()
    wait_for_result(page, "64 × 48")
    assert not page.locator("#photo").is_visible()


def test_of_two_clicks_on_small_pictures_the_last_counts_and_bad_uploads_are_told(open_page, photos, monkeypatch):
    page = open_page()
    page.locator("#several input[type=file]").set_input_files(photos)
    page.locator("#album-line", has_text="3 photos").wait_for()
    prepare = app.ColorizationPipeline.prepare
    with monkeypatch.context() as patch:
        patch.setattr(
            app.ColorizationPipeline, "prepare", lambda *args, **kwargs: (time.sleep(1), prepare(*args, **kwargs))[1]
        )
        page.locator("#strip .thumbnail-item").nth(1).click()
        page.locator("#strip .thumbnail-item").nth(2).click()
        wait_for_result(page, "640 × 427")
        page.wait_for_function("!colorizerPage.state.underWay && !document.querySelector('#result').inert")
    assert "640 × 427" in page.inner_text("#facts")
    ask_for_new_photo(page)
    upload(page, photos[1])  # gradio has made the place for photos anew meanwhile
    wait_for_toast(page, "letter.jpg is no picture")
    page.get_by_text("Drop a photo here").wait_for()
    upload(page, photos[3])  # which gradio would open itself, or not
    page.locator("#photo").wait_for(state="hidden")


def test_several_photos_go_on_when_the_line_was_full(open_page, photos):
    page, refused = open_page(), []

    def refuse_once(route):
        step = json.loads(route.request.post_data)["trigger_id"]
        if step not in steps or step in refused:
            return route.continue_()
        refused.append(step)
        route.fulfill(status=503, content_type="application/json", body='{"detail": "Queue is full."}')

    components = page.evaluate("window.gradio_config.components")
    steps = [part["id"] for part in components if part["props"].get("elem_id") in ("next", "pack-next")]
    page.route("**/queue/join*", refuse_once)
    page.locator("#several input[type=file]").set_input_files(photos)
    page.locator("#album-line", has_text="Coloring 2 of 4").wait_for()
    wait_for_toast(page, "busy")
    page.locator("#album .error").first.wait_for(state="attached")  # gradio's, over what would have changed
    assert not any(error.is_visible() for error in page.locator("#album .error").all())
    page.locator("#album-line", has_text="3 photos").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["cup.color.png", "cat.color.jpg", "rocket.color.tif"]
    assert sorted(refused) == sorted(steps) and len(steps) == 2


@pytest.mark.parametrize(
    "source, error, sentence",
    [
        ("Capture from camera", "NotFoundError", "There is no camera here"),
        ("Capture from camera", "NotAllowedError", "does not let this page use the camera"),
        ("Paste from clipboard", "NotAllowedError", "press Ctrl+V instead"),
    ],
)
def test_a_camera_or_a_clipboard_that_cannot_be_had(open_page, source, error, sentence):
    page = open_page()
    page.evaluate(
        """(name) => {
            const refuse = () => Promise.reject(new DOMException('no', name));
            navigator.mediaDevices.getUserMedia = refuse;
            navigator.clipboard.read = refuse;
        }""",
        error,
    )
    page.get_by_label(source).click()
    if "camera" in source:
        page.get_by_text("Click to Access Webcam").click()
    page.locator("#notice", has_text=sentence).wait_for()


def test_a_photo_of_a_kind_that_the_browser_does_not_know(open_page):
    """As iPhones' photos are on many systems: the page tells the kind by the name, in all ways to give one."""
    page = open_page()
    for selector in ("#photo button", "#heading"):
        assert page.evaluate(GIVE, [selector, "drop", "", "IMG_2.HEIC"])
        wait_for_result(page, "64 × 48")  # the server looks into the file
        page.get_by_label("Color the example: coffee").click()
        wait_for_result(page, "600 × 400")
        ask_for_new_photo(page)
    assert page.locator(".toast-body").count() == 0


def test_what_is_shown_rests_while_another_photo_is_on_its_way(open_page, jpeg):
    page = open_page()
    page.get_by_label("Color the example: coffee").click()
    wait_for_result(page)
    page.evaluate(
        """() => {
            window.rested = 0;
            new MutationObserver(() => window.rested += document.querySelector('#result').inert)
                .observe(document.querySelector('#result'), {attributes: true});
        }"""
    )
    ask_for_new_photo(page)
    upload(page, jpeg)
    wait_for_result(page, "2400 × 1600")
    assert page.evaluate("window.rested") > 0
    page.wait_for_function("!document.querySelector('#result').inert")
    page.evaluate(
        """() => {
            window.busy = 0;
            const button = document.querySelector('#download');
            new MutationObserver(() => window.busy += button.ariaBusy == 'true').observe(button, {attributes: true});
        }"""
    )
    with page.expect_download():
        page.locator("#download").click()
    assert page.evaluate("window.busy") > 0
    page.wait_for_function("document.querySelector('#download').ariaBusy != 'true'")


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_page_scrolls_over_the_pictures(open_page, size):
    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    wait_until_still(page)
    page.evaluate("window.scrollTo(0, 0)")
    wait_until_still(page)
    assert page.evaluate("window.scrollY") == 0
    box = page.locator("#compare").bounding_box()
    x, y = box["x"] + 40, box["y"] + 150
    if size == "desktop":
        page.mouse.move(x, y)
        page.mouse.wheel(0, 60)
    else:
        finger = page.context.new_cdp_session(page)
        for step in range(9):
            kind = "touchMove" if step else "touchStart"
            points = [{"x": x, "y": y - 15 * step}]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("window.scrollY > 20")
    transform, whole = "(image) => getComputedStyle(image).transform", ("none", "matrix(1, 0, 0, 1, 0, 0)")
    assert page.locator("#compare img").first.evaluate(transform) in whole
    if size == "desktop":  # and enlarges them where they have all of the window
        page.get_by_label("Fullscreen").click()
        page.wait_for_function("document.querySelector('#compare .fullscreen, #compare.fullscreen')")
        wait_until_still(page)
        page.mouse.move(600, 400)
        page.mouse.wheel(0, -200)
        page.wait_for_function(f"!{list(whole)}.includes(({transform})(document.querySelector('#compare img')))")


def test_the_menu_leaves_with_the_focus(open_page, ladder):
    page = open_page(ladder)
    page.locator("#menu input").focus()
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Tab")
    page.wait_for_function(
        "[...document.querySelectorAll('[role=option]')].every((option) => !option.getClientRects().length)"
    )


def test_the_colors_that_a_photo_came_with_are_told(open_page, tmp_path):
    path = tmp_path / "color.png"
    Image.fromarray(data.coffee()).save(path)
    page = open_page()
    upload(page, path)
    wait_for_result(page, "the colors that it came with were set aside")


def test_a_bad_upload_is_told_and_the_result_stays(open_page, tmp_path, capfd):
    bad = tmp_path / "letter.jpg"
    bad.write_text("Dear Sir or Madam")
    page = open_page()
    page.get_by_label("Color the example: rocket").click()
    wait_for_result(page)
    before = shown(page)
    ask_for_new_photo(page)
    upload(page, bad)
    wait_for_toast(page, "letter.jpg")
    assert shown(page) == before
    covers = page.locator("#compare .wrap:has(> .error)")  # gradio's word for a failure, over the picture
    assert covers.count() == 1 and not covers.is_visible()
    turn(page, "Colorfulness", 0.5)  # and still answers its dials
    page.get_by_text("Drop a photo here").wait_for()  # the next one can be given at once
    Image.fromarray(data.coffee()).save(tmp_path / "cup.png")
    upload(page, tmp_path / "cup.png")
    wait_for_result(page, "600 × 400")
    assert "Traceback" not in capfd.readouterr().err


def test_fetched_model_takes_over_on_the_open_page(open_page, tiny_model, tiny_folder, tmp_path, monkeypatch):
    if colorizer.hub.DEFAULT_MODEL not in colorizer.hub.bundled_models():
        monkeypatch.setattr(colorizer.hub, "WEIGHTS", tmp_path / "weights")
        tiny_model.save_pretrained(tmp_path / "weights" / colorizer.hub.DEFAULT_MODEL)
    with LoopbackHub() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        files = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
        config = json.loads(files["config.json"])
        config["defaults"] |= {"colorfulness": 0.5}
        sha = hub.add("tester/colors", files | {"config.json": json.dumps(config).encode()})
        told = threading.Event()  # the fetch waits until the page has said that it is under way
        fetch = app.Studio.fetch
        monkeypatch.setattr(app.Studio, "fetch", lambda studio: told.wait(2 * TIMEOUT / 1000) and fetch(studio))
        monkeypatch.setenv("COLORIZER_MODEL", "tester/colors")
        blocks = app.build_app()
        app.launch(blocks, prevent_thread_lock=True, quiet=True)
        try:
            page = open_page(blocks.local_url)
            page.locator("#model", has_text="bundled; fetching tester/colors").wait_for()
            page.get_by_label("Color the example: coffee").click()
            wait_for_result(page, "by fusion_compact (bundled)")
            assert dial(page, "Colorfulness") != 0.5
            told.set()
            page.wait_for_function(
                "(name) => document.querySelector('#menu input').value == name",
                arg=f"tester/colors @ {sha[:7]} — photos (default)",
            )
            ask_for_new_photo(page)
            page.get_by_label("Color the example: camera").click()
            wait_for_result(page, f"tester/colors @ {sha[:7]}")
            wait_for_dial(page, "Colorfulness", 0.5)
            choose(page, "fusion_compact — photos")  # the bundled one is still there
            wait_for_result(page, "by fusion_compact (bundled)")
        finally:
            blocks.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_page_fits(open_page, size, tmp_path):
    """Nothing sticks out at the side; with PAGE_SCREENSHOTS set, pictures for a person to judge."""
    folder = os.environ.get("PAGE_SCREENSHOTS")

    def look(name: str) -> None:
        page.wait_for_timeout(800 if folder else 0)  # fonts, and what moves
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{size}-{name}.png")

    page = open_page(**(DESKTOP if size == "desktop" else PHONE))
    look("1-start")
    page.get_by_label("Color the example: astronaut").click()
    wait_for_result(page)
    look("2-colored")
    bad = tmp_path / "letter.jpg"
    bad.write_text("Dear Sir or Madam")
    ask_for_new_photo(page)
    upload(page, bad)
    wait_for_toast(page, "letter.jpg")
    look("3-error")


def test_headings_use_the_bundled_font(open_page):
    """gradio's semibold Source Sans Pro has next to no letters; the theme must not ask for it."""
    page = open_page()
    page.get_by_text("Drop a photo here").wait_for()
    page.wait_for_function("document.fonts.status == 'loaded'")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    for selector in ("#heading h1", "#photo h2"):
        node = session.send("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        assert [font["isCustomFont"] for font in fonts] == [True], fonts

"""Draws the pictures of the README, from scikit-image's photographs and the bundled weights, and the diagrams.

    python docs/make_figures.py

docs/example.jpg: photographs in gray, and as the bundled model colors them. docs/hints.jpg: one of them in gray,
colored, colored with three hints, and as it was. docs/reference.jpg: one of two photographs of a scene in gray and
colored, the other one, the first in its colors, and as it was. docs/guesses.jpg: all guesses at two photographs.
docs/page.jpg: the page with several photographs, by Chromium without a window.
docs/upsampling.jpg: the true ab of a photograph at the resolution that the network predicts, brought to full size
bilinearly and by the guided filter.
docs/diagram-*.png: networks of docs/ladder.md, drawn by visualtorch from the models themselves. (The other figures of
docs/ladder.md come from trained models: python train/reproduce.py --write_docs.)
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` is found

import torch  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from skimage import data  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

from colorizer import ColorizationPipeline, Hint  # noqa: E402
from colorizer.color import lab_to_rgb, rgb_to_lab  # noqa: E402
from colorizer.dials import GUESSES  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.models import create_model  # noqa: E402
from colorizer.pipeline import guide_maps, guided_band  # noqa: E402
from train.ladder_figures import diagram, save  # noqa: E402
from train.reproduce import VARIANTS  # noqa: E402

DOCS = Path(__file__).parent
PHOTOS = ("astronaut", "coffee", "rocket", "chelsea")
HEIGHT, GAP = 240, 6  # pixels of a row, and between pictures
SIDE = 180  # pixels of the picture of a guess


def example() -> Image.Image:
    """Two rows: gray, and what the model makes of it."""
    pipe = ColorizationPipeline.from_pretrained()
    columns = []
    for name in PHOTOS:
        color = Image.fromarray(getattr(data, name)())
        size = (round(color.width * HEIGHT / color.height), HEIGHT)
        pair = pipe(color, colorfulness=0), pipe(color)
        columns.append([image.convert("RGB").resize(size, Image.Resampling.LANCZOS) for image in pair])
    return mosaic([[column[row] for column in columns] for row in range(2)])


def hints() -> Image.Image:
    """Gray, as the model guesses, with two orange hints on the suit and a gray one on the wall, and the truth."""
    coloring = ColorizationPipeline.from_pretrained().prepare(Image.fromarray(data.astronaut()))
    given = ((110, 330), "#d65c28"), ((325, 330), "#d65c28"), ((120, 90), "#b4aca8")
    hinted = coloring.with_hints([Hint.from_rgb(*place, color, radius=5) for place, color in given])
    photos = coloring.gray(), coloring.render(), hinted.render(), coloring.truth
    size = (HEIGHT, HEIGHT)
    return mosaic([[photo.to_pil().convert("RGB").resize(size, Image.Resampling.LANCZOS) for photo in photos]])


def reference() -> Image.Image:
    """Gray, as the model guesses, another photograph of the scene, in its colors, and the truth."""
    photo, other = (Image.fromarray(picture) for picture in data.stereo_motorcycle()[1::-1])
    coloring = ColorizationPipeline.from_pretrained().prepare(photo)
    led = coloring.with_reference(other, 0.8).render()
    photos = [one.to_pil().convert("RGB") for one in (coloring.gray(), coloring.render(), led)]
    size = (round(photo.width * HEIGHT / photo.height), HEIGHT)
    pictures = *photos[:2], other, photos[2], photo
    return mosaic([[picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]])


def guesses() -> Image.Image:
    """A row for each of two photographs: the first guess and all others."""
    pipe = ColorizationPipeline.from_pretrained()
    colorings = [pipe.prepare(Image.fromarray(picture)) for picture in (data.coffee(), data.rocket())]
    size = (SIDE, SIDE)
    return mosaic(
        [
            [ImageOps.fit(coloring.render(guess=guess).to_pil().convert("RGB"), size) for guess in (None, *GUESSES)]
            for coloring in colorings
        ]
    )


def page() -> Image.Image:
    """The page on a desktop, with four photographs, of which the third is shown.

    Raises ColorizerError if there is no Chromium.
    """
    from playwright.sync_api import sync_playwright  # only this figure needs these two

    import app

    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        raise ColorizerError("No Chromium was found for the picture of the page; Debian's package is chromium.")
    for name in ("COLORIZER_MODEL", "COLORIZER_REVISION"):
        os.environ.pop(name, None)
    server = app.build_app()
    app.launch(server, prevent_thread_lock=True, quiet=True)
    try:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            files = [Path(folder) / f"{name}.jpg" for name in PHOTOS]
            for name, file in zip(PHOTOS, files, strict=True):
                Image.fromarray(getattr(data, name)()).convert("L").save(file, quality=95)
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            window = browser.new_page(viewport={"width": 1280, "height": 1000})
            window.goto(server.local_url)
            window.get_by_label("Color the example").last.wait_for()
            window.locator("#several input[type=file]").set_input_files(files)
            window.locator("#album-line", has_text="4 photos").wait_for()
            window.wait_for_function("document.querySelectorAll('#strip img').length == 4")
            window.locator("#strip .thumbnail-item").nth(2).click()
            window.wait_for_function(
                "document.querySelectorAll('#strip .thumbnail-item')[2].matches('.selected')"
                " && !document.querySelector('#result').inert"
            )
            window.wait_for_timeout(2000)  # until nothing moves
            return Image.open(io.BytesIO(window.screenshot())).convert("RGB")
    finally:
        server.close()


def upsampling() -> Image.Image:
    """Crops at a strong edge, enlarged three times: bilinear, guided, truth."""
    rgb = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    lab = rgb_to_lab(rgb)
    lightness, ab = lab[:, :1], lab[:, 1:]
    height, width = lightness.shape[-2:]
    # A working size of 256 has its logits at a quarter, 64.
    small, guide = (interpolate(part, size=(64, 64), mode="area") for part in (ab, lightness))
    guided = guided_band(guide_maps(guide, small), lightness[0, 0], 0, height)[None]
    bilinear = interpolate(small, size=(height, width), mode="bilinear")
    crops = [lab_to_rgb(torch.cat([lightness, part], 1))[0, :, 20:130, 330:490] for part in (bilinear, guided, ab)]
    images = [Image.fromarray((crop * 255).round().byte().permute(1, 2, 0).numpy()) for crop in crops]
    return mosaic([[image.resize((image.width * 3, image.height * 3), Image.Resampling.NEAREST) for image in images]])


def diagrams() -> None:
    """The networks of the thumbnails, layer by layer."""
    save(diagram(create_model("cifar_autoencoder"), channels=1), DOCS / "diagram-cifar_autoencoder.png")
    for variant, config in VARIANTS.items():
        for name, channels in (("color_autoencoder", 3), ("two_stage", 1)):
            save(diagram(create_model(name, **config), channels), DOCS / f"diagram-{name}-{variant}.png")


def mosaic(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures of one height, laid out on white."""
    width = sum(image.width + GAP for image in rows[0]) - GAP
    sheet = Image.new("RGB", (width, sum(row[0].height + GAP for row in rows) - GAP), "white")
    top = 0
    for row in rows:
        left = 0
        for image in row:
            sheet.paste(image, (left, top))
            left += image.width + GAP
        top += row[0].height + GAP
    return sheet


if __name__ == "__main__":
    upsampling().save(DOCS / "upsampling.jpg")
    example().save(DOCS / "example.jpg", quality=88)
    hints().save(DOCS / "hints.jpg", quality=88)
    reference().save(DOCS / "reference.jpg", quality=88)
    guesses().save(DOCS / "guesses.jpg", quality=88)
    try:
        diagrams()
        page().save(DOCS / "page.jpg", quality=85)
    except ColorizerError as error:
        print(f"make_figures.py: {error}", file=sys.stderr)
        sys.exit(2)

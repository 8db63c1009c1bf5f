"""The page: a black-and-white photo in, the photo in color out.

    python app.py

COLORIZER_MODEL (a Hub id or a folder) and COLORIZER_REVISION name another model than the bundled one. The page starts
on the bundled weights at once; the named model is fetched in the background and takes over between two requests.
"""

import contextlib
import dataclasses
import html
import os
import sys
import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio and the Hub's client read these when they are imported:
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the page makes no request that nobody asked for

try:  # ZeroGPU lends its GPU to the functions marked here, and wants to be imported before torch.
    from spaces import GPU
except ImportError:

    def GPU(function):
        return function


import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image
from skimage import data

from colorizer import Coloring, ColorizationPipeline, ColorizerError, Photo

MAX_MEGAPIXELS = 50
PREVIEW_SIDE = 2048
COLORFULNESS, TEMPERATURE, WORKING_SIZE = (0, 2), (0.1, 1), (128, 512)  # the ends of the page's dials
MAX_WORKING_SIZE = 1024  # through the API; more would keep everyone else waiting
KEEP_FILES = 60 * 60  # seconds that uploads, previews and downloads stay on the server's disk
EXAMPLES = ("astronaut", "camera", "chelsea", "coffee", "moon", "rocket")

# Everything that may run the model shares one line: one photo at a time, the others wait their turn.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}


# ---------------------------------------------------------------------------------------------------- the model


class Studio:
    """The model that runs, and what has become of the one that was asked for.

    `pipeline` is replaced as a whole: a request that has begun keeps the one that it took.
    """

    def __init__(self, source: str | None = None, revision: str | None = None):
        self.pipeline = on_lent_gpu(ColorizationPipeline.from_pretrained())
        self.wanted = source
        self.revision = revision
        self.fetching = bool(source)
        self.status = f"bundled; fetching {source}" if source else self.model_name
        if source:
            threading.Thread(target=self.fetch, name="fetch-model", daemon=True).start()

    @property
    def model_name(self) -> str:
        return self.pipeline.model.source

    def fetch(self) -> None:
        """Load the model that was asked for and put it in the bundled one's place; on failure say why."""
        try:
            self.pipeline = on_lent_gpu(ColorizationPipeline.from_pretrained(self.wanted, revision=self.revision))
            self.status = self.model_name
        except ColorizerError as error:
            self.status = f"{self.model_name}; {self.wanted} is not in use: {error}"
        except Exception as error:  # whatever happens here, the page goes on with the model that it has
            self.status = f"{self.model_name}; {self.wanted} is not in use: it could not be loaded."
            print(f"{self.wanted}: {error!r}", file=sys.stderr)
        finally:
            self.fetching = False


def on_lent_gpu(pipeline: ColorizationPipeline) -> ColorizationPipeline:
    """Let ZeroGPU run the pipeline's forward pass, and nothing else; no change on any other machine."""
    pipeline.run_network = GPU(pipeline.run_network)
    return pipeline


@dataclasses.dataclass
class Work:
    """A photo whose colors have been predicted, and by what."""

    coloring: Coloring
    has_temperature: bool  # whether the dial for caution means anything
    model_name: str

    @property
    def photo(self) -> Photo:
        return self.coloring.photo

    def render(self, colorfulness: float | None, temperature: float | None, max_side: int | None = None) -> Photo:
        return self.coloring.render(colorfulness, temperature if self.has_temperature else None, max_side)


class Shelf:
    """The latest work, so that a dial answers without the network.

    Bounded in megapixels, in number and in time: a photo of 50 megapixels takes hundreds of MB, what the network said
    of any photo takes tens, and there may be many visitors. One that has left the shelf is made again from its file.
    Used by one request at a time.
    """

    def __init__(self, megapixels: float = 120, works: int = 24, seconds: float = 20 * 60):
        self.megapixels = megapixels
        self.works = works
        self.seconds = seconds
        self.items: OrderedDict[str, tuple[float, Work]] = OrderedDict()

    def put(self, key: str, work: Work) -> None:
        self.items[key] = (time.monotonic(), work)
        self.items.move_to_end(key)
        self.tidy()

    def get(self, key: str) -> Work | None:
        self.tidy()
        if key not in self.items:
            return None
        work = self.items[key][1]
        self.put(key, work)
        return work

    def drop(self, key: str) -> None:
        self.items.pop(key, None)

    def tidy(self) -> None:
        oldest = time.monotonic() - self.seconds
        for key in [key for key, (used, _) in self.items.items() if used < oldest]:
            self.drop(key)
        while len(self.items) > 1 and (
            len(self.items) > self.works
            or sum(megapixels(work.photo) for _, work in self.items.values()) > self.megapixels
        ):
            self.items.popitem(last=False)


@dataclasses.dataclass(frozen=True)
class Session:
    """What one visitor has on the page."""

    key: str  # of the work on the shelf
    path: str  # of the photo that was given
    working_size: int | None
    dials: tuple[float | None, float | None]  # colorfulness and temperature of the picture shown
    before: str  # path of the gray preview


# ---------------------------------------------------------------------------------------------------- the work


def megapixels(photo: Photo) -> float:
    return photo.width * photo.height / 1e6


@contextlib.contextmanager
def told(path: str):
    """Show a person's mistake on the page as the sentence that it is, and leave no traceback in the log.

    The sentence names the photo as its owner knows it, without the server's folder.
    """
    try:
        yield
    except ColorizerError as error:
        sentence = str(error).replace(path, Path(path).name)
        raise gr.Error(html.escape(sentence, quote=False), print_exception=False) from None


def new_path(name: str) -> Path:
    """A path for a new file where gradio keeps its own: served from there, and deleted after KEEP_FILES."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder / name


def save_preview(photo: Photo, name: str) -> str:
    """Write what the browser shows, as a JPEG; transparent parts become white."""
    image = photo.to_pil()
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    path = new_path(f"{name}.jpg")
    image.convert("RGB").save(path, quality=90)
    return str(path)


def save_full_size(photo: Photo, source: str) -> str:
    """Write a colored photo in the format of the file that it came in, as NAME.color.EXT."""
    path = new_path(f"{Path(source).stem}.color{photo.suffix}")
    photo.save(path)
    return str(path)


def write_examples() -> list[str]:
    """Photographs that come with scikit-image, in gray, as files that the page can color."""
    folder = Path(get_upload_folder()) / "colorizer-examples"
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXAMPLES:
        part = folder / f"{name}.{uuid.uuid4().hex}.png"
        Image.fromarray(getattr(data, name)()).convert("L").save(part)
        part.replace(folder / f"{name}.png")  # at once: another page on this machine may be reading it
    return [str(folder / f"{name}.png") for name in EXAMPLES]


def hand_over_as_it_came(component: gr.Image) -> None:
    """Make the component pass on the path of the uploaded file, unopened.

    gr.Image opens the file with Pillow first, and answers one that Pillow cannot read with a traceback.
    """
    component.preprocess = lambda upload: upload.path if upload else None


# ---------------------------------------------------------------------------------------------------- the looks

THEME = gr.themes.Default(
    primary_hue="orange",
    neutral_hue="stone",
    radius_size="lg",
    # Source Sans Pro as gradio 6 bundles it has next to no letters in its semibold, so only two weights are asked for.
    font=[gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
).set(
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_text_color="white",
    slider_color="*primary_500",
    body_text_color_subdued="*neutral_600",  # the theme's own is too pale to read
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
)

# Inside @media gradio prefixes every selector with the page's own container, and splits them at every comma.
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container > .main.fillable { padding: 16px clamp(16px, 4vw, 32px) !important; }
.gradio-container :is(#heading, #model, #facts) .html-container { padding: 0; }
#heading { margin: 6px 0; }
#heading h1 { font-size: 2.1rem; line-height: 1.15; font-weight: 700; margin: 0 0 .25rem; letter-spacing: -.01em; }
#heading h1 span { background: linear-gradient(90deg, #e8590c, #d6336c 40%, #7048e8 75%, #1c7ed6);
  -webkit-background-clip: text; background-clip: text; color: transparent; }
#heading p, #model p, #facts p { margin: 0; color: var(--body-text-color-subdued); }
#heading p { font-size: 1.1rem; }
#model p, #facts p { font-size: .9rem; overflow-wrap: anywhere; }
#photo { border: 2px dashed var(--border-color-primary); background: var(--background-fill-secondary); }
#photo:has(button.upload-container:hover), #photo:focus-within { border-color: var(--color-accent) !important; }
#photo h2 { font-size: 1.5rem; font-weight: 700; color: var(--body-text-color); }
#photo .icon-wrap { width: 34px; color: var(--color-accent); }
#photo .source-selection { height: 52px; gap: 8px; border: 0; }
#photo .source-selection button { width: 44px; height: 44px; padding: 10px; }
#compare { padding: 0; overflow: hidden; background: var(--background-fill-secondary);
  --block-background-fill: var(--background-fill-secondary); }
#compare .limit_height img { max-height: min(62vh, 640px) !important; }
#compare .slider-wrap::before, #compare .slider-wrap::after { position: absolute; bottom: 10px; z-index: 30;
  padding: 2px 10px; border-radius: 999px; background: #000a; color: #fff; font-size: .8rem; pointer-events: none; }
#compare .slider-wrap::before { content: "Before"; left: 10px; }
#compare .slider-wrap::after { content: "After"; right: 10px; }
#examples .label { font-size: .95rem; }
#examples .label svg { display: none; }
#examples .gallery { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px; }
#examples .gallery-item { aspect-ratio: 4 / 3; cursor: pointer; }
#examples .gallery-item :is(span, .container) { display: block; width: 100%; height: 100%; max-width: none;
  max-height: none; border: 0; }
#examples .gallery-item img { width: 100%; height: 100%; max-width: none; max-height: none; object-fit: cover;
  transition: transform .2s; }
#examples .gallery-item:hover img { transform: scale(1.04); }
#examples .gallery-item:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 2px; }
footer .divider { display: none; }
@media (max-width: 640px) {
  #heading h1 { font-size: 1.6rem; }
  #heading p { font-size: 1rem; }
  #photo { height: 300px !important; }
  #examples .gallery { grid-template-columns: repeat(3, 1fr); gap: 8px; }
  #compare .limit_height img { max-height: 56vh !important; }
}
"""

HEADING = """
<h1>Black and white in, <span>color</span> out</h1>
<p>Give an old photo believable colors at its full resolution.</p>
"""

# What gradio has no option for: names for the examples' buttons and the two pictures.
# Each waits, for ten seconds at most, until the page has drawn what is to be named.
NAME_EXAMPLES = f"""() => {{
    const name = (tries) => {{
        const items = document.querySelectorAll('#examples .gallery-item');
        if (!items.length && tries) return setTimeout(name, 100, tries - 1);
        items.forEach((item, i) => item.setAttribute('aria-label', 'Color the example: ' + {list(EXAMPLES)}[i]));
    }};
    name(100);
}}"""
SHOW_RESULT = """() => {
    const show = (tries) => {
        const images = document.querySelectorAll('#result .slider-wrap img');
        if (images.length < 2 && tries) return setTimeout(show, 100, tries - 1);
        images.forEach((image, i) => image.alt = i ? 'The photo in color' : 'The photo in gray');
        document.querySelector('#result')?.scrollIntoView({behavior: 'smooth', block: 'nearest'});
    };
    show(100);
}"""
SHOW_TOP = "() => window.scrollTo({top: 0, behavior: 'smooth'})"
DOWNLOAD = """(file) => {
    if (!file) return;
    const link = document.createElement('a');
    link.href = file.url;
    link.download = file.orig_name;
    document.body.append(link);
    link.click();
    link.remove();
}"""


def dial_defaults(studio: Studio) -> tuple[float, float, int]:
    """Where the dials for colorfulness, caution and working size stand for the model that runs."""
    defaults = studio.pipeline.model.defaults
    wanted = (defaults["colorfulness"], defaults["temperature"] or TEMPERATURE[1], defaults["working_size"])
    return tuple(
        min(max(value, low), high)
        for value, (low, high) in zip(wanted, (COLORFULNESS, TEMPERATURE, WORKING_SIZE), strict=True)
    )


def paragraph(text: str, role: str = "") -> str:
    return f"<p{f' role={role}' if role else ''}>{html.escape(text)}</p>"


# ---------------------------------------------------------------------------------------------------- the page


def build_app(studio: Studio | None = None) -> gr.Blocks:
    """The page and its API; the model named by COLORIZER_MODEL starts to load in the background.

    Raises ColorizerError where the bundled weights cannot be loaded.
    """
    studio = studio or Studio(os.environ.get("COLORIZER_MODEL"), os.environ.get("COLORIZER_REVISION") or None)
    shelf = Shelf()
    examples = write_examples()
    starts = colorfulness, temperature, working_size = dial_defaults(studio)  # on every page that is opened

    # ---- what the events do

    def prepare(path: str | None, working_size: float | None) -> Work:
        if not path:
            raise ColorizerError("There is no photo: give one.")
        if not Path(path).is_file():
            raise ColorizerError("This photo is no longer on the server: please choose it again.")
        if working_size and working_size > MAX_WORKING_SIZE:
            raise ColorizerError(f"working_size is at most {MAX_WORKING_SIZE} here, not {working_size:g}.")
        pipeline = studio.pipeline
        working_size = working_size or min(pipeline.model.defaults["working_size"], MAX_WORKING_SIZE)
        photo = Photo.open(path, max_megapixels=MAX_MEGAPIXELS)
        coloring = pipeline.prepare(photo, working_size)
        coloring.embedding = None  # only hints would read it again, and it is the largest part
        return Work(coloring, pipeline.model.has_distribution, pipeline.model.source)

    def color(path: str | None, colorfulness, temperature, working_size, session: Session | None) -> dict:
        """Color a photo that was just given; the result takes the place of the one before."""
        if path is None:
            return gr.skip()
        start = time.perf_counter()
        with told(path):
            work = prepare(path, working_size)
            after = work.render(colorfulness, temperature, PREVIEW_SIDE)
            gray = work.render(0, temperature, PREVIEW_SIDE)
        seconds = time.perf_counter() - start
        if session:
            shelf.drop(session.key)
        before = save_preview(gray, "before")
        session = Session(uuid.uuid4().hex, path, working_size, (colorfulness, temperature), before)
        shelf.put(session.key, work)
        photo = work.photo
        facts = f"{photo.width} × {photo.height} pixels, colored in {seconds:.1f} s by {work.model_name}"
        return {
            state: session,
            compare: (before, save_preview(after, "after")),
            facts_line: paragraph(facts, role="status"),
            download: gr.Button(f"Download full size ({photo.output_format})"),
            temperature_dial: gr.Slider(visible=work.has_temperature),
            input_panel: gr.Column(visible=False),
            result_panel: gr.Column(visible=True),
            photo_input: None,
        }

    def color_example(index: int, *args) -> dict:
        return color(examples[index], *args)

    def color_again(colorfulness, temperature, working_size, session: Session | None):
        """The same photo, seen by the network at another size."""
        if session is None or session.working_size == working_size:
            return gr.skip()
        return color(session.path, colorfulness, temperature, working_size, session)

    def shelved(session: Session) -> Work:
        work = shelf.get(session.key)
        if work is None:
            work = prepare(session.path, session.working_size)
            shelf.put(session.key, work)
        return work

    def turn_dial(colorfulness, temperature, session: Session | None):
        """Render the preview again: no network runs."""
        if session is None or session.dials == (colorfulness, temperature):
            return gr.skip(), gr.skip()
        with told(session.path):
            work = shelved(session)
            after = work.render(colorfulness, temperature, PREVIEW_SIDE)
            before = session.before
            if not Path(before).is_file():  # deleted in the meantime, see KEEP_FILES
                before = save_preview(work.render(0, temperature, PREVIEW_SIDE), "before")
        session = dataclasses.replace(session, dials=(colorfulness, temperature), before=before)
        return (session.before, save_preview(after, "after")), session

    def make_download(session: Session | None) -> str | None:
        """The file at full size, made when it is asked for: on a large photo it takes longer than a dial should."""
        if session is None:
            return None
        with told(session.path):
            return save_full_size(shelved(session).render(*session.dials), session.path)

    def new_photo():
        return gr.Column(visible=True), None

    def refresh(session: Session | None):
        """The model's line; when another model has taken over, its dials too, unless someone is using them.

        No value is sent to a dial that has it: it could arrive after someone has turned the dial.
        """
        updates = [{}, {}, {"visible": True}]
        # Told so before it is seen, the dial in the accordion is drawn with the rest of the result. Otherwise gradio
        # draws it when the accordion opens, and a frame later puts it back to where it began, whatever was typed.
        if session is None:
            updates[1]["visible"] = studio.pipeline.model.has_distribution
            for update, value, start in zip(updates, dial_defaults(studio), starts, strict=True):
                if value != start:
                    update["value"] = value
        fetching = studio.fetching  # read before the status: what ends in between is told by the next tick
        return (
            paragraph(f"Model: {studio.status}"),
            gr.Timer(active=fetching),
            *[gr.Slider(**update) if update else gr.skip() for update in updates],
        )

    def colorize(
        photo: str | None,
        colorfulness: float | None = None,
        temperature: float | None = None,
        working_size: float | None = None,
    ):
        """Color a photo. Returns the file at its full size, in its own format, and {model, width, height, seconds}.

        A dial that is left out takes the model's own default.
        """
        start = time.perf_counter()
        with told(photo or ""):
            work = prepare(photo, working_size)
            path = save_full_size(work.coloring.render(colorfulness, temperature), photo)
        info = {
            "model": work.model_name,
            "width": work.photo.width,
            "height": work.photo.height,
            "seconds": round(time.perf_counter() - start, 3),
        }
        return path, info

    # ---- what stands where

    with gr.Blocks(title="Photo colorizer", analytics_enabled=False, delete_cache=(600, KEEP_FILES)) as page:
        state = gr.State(None)
        timer = gr.Timer(1, active=studio.fetching)

        gr.HTML(HEADING, elem_id="heading", padding=False)

        with gr.Column(elem_id="input") as input_panel:
            photo_input = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "webcam", "clipboard"],
                label="Photo",
                show_label=False,
                placeholder="# Drop a photo here\nor click to choose one",
                alt_text="The photo that you chose",
                buttons=[],
                height=360,
                elem_id="photo",
            )
            hand_over_as_it_came(photo_input)

        with gr.Column(visible=False, elem_id="result") as result_panel, gr.Row():
            with gr.Column(scale=3, min_width=320):
                compare = gr.ImageSlider(
                    label="Before and after",
                    show_label=False,
                    interactive=False,
                    type="filepath",
                    buttons=["fullscreen"],
                    elem_id="compare",
                )
                facts_line = gr.HTML(elem_id="facts", padding=False)
            with gr.Column(scale=1, min_width=260):
                colorfulness_dial = gr.Slider(
                    *COLORFULNESS, value=colorfulness, step=0.05, label="Colorfulness", info="From gray to vivid."
                )
                temperature_dial = gr.Slider(
                    *TEMPERATURE,
                    value=temperature,
                    step=0.01,
                    label="Caution",
                    info="Low: bold, decided colors. High: soft, safe ones.",
                    visible=studio.pipeline.model.has_distribution,
                )
                with gr.Accordion("Advanced", open=False):
                    size_dial = gr.Slider(
                        *WORKING_SIZE,
                        value=working_size,
                        step=32,
                        label="Working size",
                        info="Pixels of the short side as the network sees it. The result keeps the photo's own size.",
                    )
                download = gr.Button("Download full size", variant="primary", elem_id="download")
                another = gr.Button("New photo", elem_id="another")
                file = gr.File(visible=False)

        thumbnails = gr.Dataset(
            components=["image"],
            samples=[[path] for path in examples],
            type="index",
            label="Or try one of these",
            elem_id="examples",
        )
        model_line = gr.HTML(paragraph(f"Model: {studio.status}"), elem_id="model", padding=False)

        # ---- who calls what; only the API at the end is public

        dials = [colorfulness_dial, temperature_dial, size_dial, state]
        results = [
            state,
            compare,
            facts_line,
            download,
            temperature_dial,
            input_panel,
            result_panel,
            photo_input,
        ]
        private = {"api_visibility": "private"}

        given = photo_input.upload(
            color, [photo_input, *dials], results, show_progress_on=photo_input, **ONE_AT_A_TIME, **private
        )
        picked = thumbnails.click(
            color_example,
            [thumbnails, *dials],
            results,
            show_progress_on=[photo_input, compare],
            **ONE_AT_A_TIME,
            **private,
        )
        given.failure(lambda: None, None, photo_input, queue=False, **private)
        for done in (given, picked):
            done.success(js=SHOW_RESULT, **private)
        # Not on input: the network would run at every step of a drag, and for the first digit of a size being typed.
        size_dial.release(
            color_again,
            dials,
            results,
            show_progress_on=compare,
            trigger_mode="always_last",  # what is given while the network runs counts too
            **ONE_AT_A_TIME,
            **private,
        )

        gr.on(
            [dial.input for dial in (colorfulness_dial, temperature_dial)]
            + [dial.release for dial in (colorfulness_dial, temperature_dial)],
            turn_dial,
            [colorfulness_dial, temperature_dial, state],
            [compare, state],
            show_progress="hidden",
            trigger_mode="always_last",
            **ONE_AT_A_TIME,
            **private,
        )
        download.click(make_download, state, file, show_progress_on=download, **ONE_AT_A_TIME, **private).success(
            js=DOWNLOAD, inputs=file, **private
        )
        another.click(new_photo, None, [input_panel, photo_input], queue=False, **private).success(
            js=SHOW_TOP, **private
        )

        news = [model_line, timer, colorfulness_dial, temperature_dial, size_dial]
        timer.tick(refresh, state, news, queue=False, show_progress="hidden", **private)
        page.load(refresh, state, news, queue=False, show_progress="hidden", **private).then(
            js=NAME_EXAMPLES, **private
        )

        with gr.Row(visible=False):
            gr.Button().click(
                colorize,
                [
                    gr.File(label="photo"),
                    gr.Number(label="colorfulness"),
                    gr.Number(label="temperature"),
                    gr.Number(label="working_size", precision=0),
                ],
                [gr.File(label="file"), gr.JSON(label="info")],
                api_name="colorize",
                **ONE_AT_A_TIME,
            )

    return page.queue(max_size=20)


def launch(page: gr.Blocks, **options):
    """Serve the page with its looks; options go to gradio's launch()."""
    return page.launch(
        theme=THEME,
        css=CSS,
        max_file_size="320mb",  # 50 megapixels of 16-bit TIFF
        footer_links=["api"],
        run_history=False,
        **options,
    )


def main() -> None:
    try:
        page = build_app()
    except ColorizerError as error:
        sys.exit(f"error: {error}")
    launch(page)


if __name__ == "__main__":
    main()

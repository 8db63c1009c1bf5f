"""The page: a black-and-white photo in, the photo in color out.

    python app.py

COLORIZER_MODEL (a Hub id, a folder or a bundled name) and COLORIZER_REVISION name another model than the default. The
page starts on bundled weights at once; the named model is fetched in the background and takes over between two
requests.
Every visitor may choose another of the bundled models for the time of the visit.
"""

import atexit
import base64
import contextlib
import dataclasses
import functools
import hashlib
import html
import io
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio and the Hub's client read these when they are imported:
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the page makes no request that nobody asked for

try:  # ZeroGPU lends its GPU to the functions marked here, and wants to be imported before torch.
    from spaces import GPU
except ImportError:

    def GPU(function):
        return function


import gradio as gr
import gradio.processing_utils
import gradio.route_utils
from gradio.data_classes import ListFiles
from gradio.utils import get_upload_folder
from PIL import Image, ImageDraw, ImageOps
from skimage import data

from colorizer import Coloring, ColorizationPipeline, ColorizerError, Hint, Photo, Reference, hub
from colorizer.dials import DEFAULT_LIKENESS, DEFAULT_REACH, GUESSES, LIKENESS, REACH
from colorizer.drawing import draw_digits
from colorizer.models import Colorizer, model_class
from colorizer.pipeline import HINT_RADIUS

MAX_MEGAPIXELS = 50
PREVIEW_SIDE = 2048
# The ends of the page's dials; that for the working size reaches further where a model's default lies outside.
COLORFULNESS, TEMPERATURE, BALANCE, WORKING_SIZE = (0, 2), (0.1, 1), (0, 1), (128, 512)
MAX_WORKING_SIZE, MAX_HINTS = 1024, 100  # through the API; more would keep everyone else waiting
MAX_PHOTOS = 100  # of one visitor
KEEP_FILES = 60 * 60  # seconds that uploads, previews and downloads stay on the server's disk
# By their names' ends, the files that browsers may not know for pictures.
KINDS = {"heic": "heic", "heif": "heic", "hif": "heic", "avif": "avif", "tif": "tiff", "tiff": "tiff"}
EXAMPLES = ("astronaut", "camera", "chelsea", "coffee", "rocket")
REFERENCE_SIDE = 480  # pixels of the longer side, as it is shown
SMALL_PREVIEW = 320  # pixels; what is smaller is shown enlarged, with the edges of its pixels

TILE_SIDE = 480  # pixels of the longer side of a small picture of an example
SQUARE = 160  # pixels of the side of a guess's picture, and of a photo's among the visitor's others
DOWNLOAD_ALL = "Download all (ZIP)"
OFFER = "Or try one of these"
USUAL = {  # colors of things that photos often show; their lightness does not count
    "Skin": "#c99277",
    "Blond": "#c8a76a",
    "Brown": "#75543c",
    "Sky": "#7fb0de",
    "Sea": "#3f7f95",
    "Grass": "#6d8f3c",
    "Sand": "#cbb48e",
    "Brick": "#a5543f",
    "Denim": "#4a6488",
    "Gray": "#808080",
}
FIRST = "first"  # of the guesses at the colors: the model's own
MAIN = "default"  # in the menu: whatever model the page runs unless another is chosen
FAILED = "This failed on the server, which may be short of memory or disk: try a smaller photo, or again later."
FORGOTTEN = "The server has forgotten this photo, after a long time or a restart: please give it again."
# What a visitor should know of a model that is not made for any photo, by its name or its domain.
NOTES = {
    "alpha": "Has learned one photograph by heart, and colors every other in its colors.",
    "thumbnails": "Has learned from tiny pictures: on a photo its colors are broad washes.",
    "digits": "Paints digits, white on black, each of the ten in a color of its own. It knows nothing of photos.",
}

# What the menu says of one whose domain says too much.
PURPOSES = {"alpha": "photos, one by heart"}

# Everything that colors shares one line: one photo at a time, the others wait their turn. What the page downloads has
# another, since a large file takes seconds for which nobody else's dials should stand still.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}
ONE_FILE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "file"}
PRIVATE = {"api_visibility": "private"}  # of the page alone


# ---------------------------------------------------------------------------------------------------- the model


class Studio:
    """The model that runs, what has become of the one that was asked for, and the others that may be chosen.

    `pipeline` is replaced as a whole: a request that has begun keeps the one that it took.
    """

    def __init__(self, source: str | None = None, revision: str | None = None):
        self.bundled = bundled_colorizers()
        self.first = hub.DEFAULT_MODEL  # the bundled model that runs from the start
        if source in self.bundled and not revision:  # nothing to fetch
            self.first, source = source, None
        self.pipeline = on_lent_gpu(ColorizationPipeline.from_pretrained(self.first))
        self.loaded = {self.first: self.pipeline}  # of the bundled ones; they are small, and stay
        self.loading = threading.Lock()
        self.wanted = source
        self.revision = revision
        self.fetching = bool(source)
        self.status = f"bundled; fetching {source}" if source else self.model_name
        if revision and not source:
            self.status += f"; COLORIZER_REVISION ({revision}) is not in use: COLORIZER_MODEL names no model."
        if source:
            threading.Thread(target=self.fetch, name="fetch-model", daemon=True).start()

    @property
    def model_name(self) -> str:
        return self.pipeline.model.source

    def pipeline_of(self, choice: str | None) -> ColorizationPipeline:
        """The pipeline of what was chosen in the menu, or of a bundled model; loaded when it is first asked for.

        ColorizerError, with the names there are, for anything else: visitors name no folders and no repositories.
        """
        if not choice or choice == MAIN:
            return self.pipeline
        if choice not in self.bundled:
            raise ColorizerError(f"There is no model {choice!r} here; there are {', '.join(self.bundled)}.")
        with self.loading:
            if choice not in self.loaded:
                self.loaded[choice] = on_lent_gpu(ColorizationPipeline.from_pretrained(choice))
            return self.loaded[choice]

    def menu(self) -> list[tuple[str, str]]:
        """(label, choice) of the model that runs and of the other bundled ones."""
        pipeline = self.pipeline
        name = pipeline.model.source.removesuffix(" (bundled)")
        purpose = purpose_of(name, pipeline.model.domain, pipeline.model.defaults["working_size"])
        others = [(f"{other} — {purpose}", other) for other, purpose in self.bundled.items() if other != name]
        return [(f"{name} — {purpose} (default)", MAIN), *others]

    def note(self, choice: str | None) -> str:
        """What there is to say of a choice: of the model that runs, what has become of the one asked for."""
        pipeline = self.pipeline_of(choice)
        if pipeline is self.pipeline and self.status != self.model_name:
            return self.status
        model = pipeline.model
        purpose = purpose_of(model.name, model.domain, model.defaults["working_size"])
        return NOTES.get(model.name) or NOTES.get(purpose.partition(",")[0], "")

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


def bundled_colorizers() -> dict[str, str]:
    """What each bundled colorizer is for, by its name; those for photos first, those for digits last."""
    found = []
    for name in hub.bundled_models():
        config = hub.bundled_config(name)
        cls = model_class(config["model"])
        if cls.kind == "colorizer":
            found.append((name, purpose_of(name, cls.domain, config["defaults"]["working_size"])))
    order = ("photos", "thumbnails", "digits")
    return dict(sorted(found, key=lambda item: (order.index(item[1].partition(",")[0]), item[0])))


def purpose_of(name: str, domain: str, working_size: int) -> str:
    """What a model is for, as the menu says it; a network of thumbnails that sees larger pictures colors photos."""
    if name in PURPOSES:
        return PURPOSES[name]
    if domain == "thumbnails":
        return f"thumbnails, {working_size} px" if working_size <= 64 else "photos"
    return domain


def on_lent_gpu(pipeline: ColorizationPipeline) -> ColorizationPipeline:
    """Let ZeroGPU run the pipeline's forward pass, and nothing else; no change on any other machine."""
    pipeline.run_network = GPU(pipeline.run_network)
    return pipeline


Dials = tuple[float | None, float | None, float | None]  # colorfulness, temperature and balance; None: the default


@dataclasses.dataclass
class Work:
    """A photo whose colors have been predicted, and by what."""

    coloring: Coloring
    has_distribution: bool  # whether the dial for caution and other guesses mean anything
    has_balance: bool
    model_name: str
    pictured: tuple[Dials, Image.Image] | None = None  # the latest pictures of the guesses, and at which dials

    @property
    def photo(self) -> Photo:
        return self.coloring.photo

    def render(self, dials: Dials, guess: str, max_side: int | None = None) -> Photo:
        colorfulness, temperature, balance = dials
        if not self.has_distribution:
            temperature, guess = None, FIRST
        guess = None if guess == FIRST else guess
        return self.coloring.render(colorfulness, temperature, max_side, balance, guess=guess)

    def guesses(self, dials: Dials) -> Image.Image:
        """All guesses side by side, a square each."""
        if self.pictured is None or self.pictured[0] != dials:
            strip = Image.new("RGB", (SQUARE * (1 + len(GUESSES)), SQUARE))
            for i, guess in enumerate((FIRST, *GUESSES)):
                strip.paste(self.square(dials, guess), (i * SQUARE, 0))
            self.pictured = dials, strip
        return self.pictured[1]

    def square(self, dials: Dials, guess: str) -> Image.Image:
        """The middle of the photo, SQUARE pixels wide and high."""
        small = dataclasses.replace(self, coloring=self.small).render(dials, guess, self.small_side)
        return ImageOps.fit(on_white(small), (SQUARE, SQUARE))

    @property
    def small_side(self) -> int:
        """Pixels of the longer side where the shorter has those of a square; of very long formats it has fewer."""
        sides = self.photo.width, self.photo.height
        return round(min(4, max(sides) / min(sides)) * SQUARE)

    @functools.cached_property
    def small(self) -> Coloring:
        return self.coloring.small(self.small_side)


class Shelf:
    """The latest work, so that a dial answers without the network.

    Bounded in megapixels, in number and in time: a photo of 50 megapixels takes hundreds of MB, what the network said
    of any photo takes tens, and there may be many visitors. One that has left the shelf is made again from its file.
    """

    def __init__(self, megapixels: float = 120, works: int = 24, seconds: float = 20 * 60):
        self.megapixels = megapixels
        self.works = works
        self.seconds = seconds
        self.items: OrderedDict[str, tuple[float, Work]] = OrderedDict()
        self.lock = threading.RLock()  # a file may be made while a photo is colored

    def put(self, key: str, work: Work) -> None:
        with self.lock:
            self.items[key] = (time.monotonic(), work)
            self.items.move_to_end(key)
            self.tidy()

    def get(self, key: str) -> Work | None:
        with self.lock:
            self.tidy()
            if key not in self.items:
                return None
            work = self.items[key][1]
            self.put(key, work)
            return work

    def drop(self, key: str) -> None:
        with self.lock:
            self.items.pop(key, None)

    def tidy(self) -> None:
        """Drop what is too old or too much."""
        oldest = time.monotonic() - self.seconds
        with self.lock:
            for key in [key for key, (used, _) in self.items.items() if used < oldest]:
                self.drop(key)
            while len(self.items) > 1 and (
                len(self.items) > self.works
                or sum(megapixels(work.photo) for _, work in self.items.values()) > self.megapixels
            ):
                self.items.popitem(last=False)


@dataclasses.dataclass(frozen=True)
class Correction:
    """A color that a visitor gave a place of the photo, and how the color picker has it."""

    hint: Hint
    color: str


@dataclasses.dataclass(frozen=True)
class Session:
    """What one visitor has on the page."""

    key: str  # of the work on the shelf
    path: str  # of the photo that was given
    choice: str  # of the model
    pipeline: ColorizationPipeline  # that colored it; by now the choice may stand for another
    working_size: int | None
    dials: Dials  # of the picture shown
    dials_of: str  # their mark, see the function
    before: str  # path of the gray preview
    corrections: tuple[Correction, ...] = ()  # kept also while a model colors that takes no hints
    reference_given: Reference | None = None  # kept also while a model colors that takes none
    reference_shown: str | None = None  # path of its preview
    likeness: float = DEFAULT_LIKENESS
    guess: str = FIRST
    facts: str = ""  # of the photo and its coloring
    square: str = ""  # path of its small picture, among the visitor's other photos

    @property
    def hints(self) -> tuple[Hint, ...]:
        """What the model is told of the corrections."""
        return tuple(given.hint for given in self.corrections) if self.pipeline.model.accepts_hints else ()

    @property
    def reference(self) -> Reference | None:
        """What leads the colors, where the model can be led."""
        return self.reference_given if self.pipeline.model.has_distribution else None

    @property
    def lead(self) -> dict:
        """What the model is told of the reference."""
        return {"reference": self.reference, "likeness": self.likeness if self.reference else None}

    def all_facts(self, coloring: Coloring) -> str:
        if not (self.reference and self.likeness):
            return self.facts
        scene = ", which shows the same scene" if coloring.same_scene >= 0.5 else ""
        return f"{self.facts}; in the colors of {Path(self.reference.name).name}{scene}"


# What photos can share, and the properties that tell whether the network has to run again for it.
STYLE = ("choice", "pipeline", "working_size", "dials", "guess", "reference_given", "reference_shown", "likeness")
SEEN_BY_THE_NETWORK = ("pipeline", "working_size", "lead")


@dataclasses.dataclass(frozen=True)
class Album:
    """The photos that a visitor has given, each as it was left when another one was shown."""

    sessions: tuple[Session, ...] = ()
    waiting: tuple[Session, ...] = ()  # to be colored, or colored anew, one after the other
    asked: int = 0  # how many have waited since there was nothing to do
    refused: tuple[str, ...] = ()  # sentences

    @property
    def everything(self) -> tuple[Session, ...]:
        """Every photo once, those at the end that have not been colored yet."""
        colored = {session.path for session in self.sessions}
        return (*self.sessions, *(session for session in self.waiting if session.path not in colored))

    def with_session(self, session: Session) -> "Album":
        """With the photo as it is now, in its place or, if it is new, at the end."""
        places = {other.path: other for other in self.sessions} | {session.path: session}
        return dataclasses.replace(self, sessions=tuple(places.values())[-MAX_PHOTOS:])

    def with_waiting(self, sessions: Sequence[Session], done: int = 0, refused: Sequence[str] = ()) -> "Album":
        """With more to do; `done` have been done already of those that were asked for, some of them refused."""
        album = self if self.waiting else dataclasses.replace(self, asked=0, refused=())
        return dataclasses.replace(
            album,
            waiting=(*album.waiting, *sessions),
            asked=album.asked + done + len(sessions),
            refused=(*album.refused, *refused),
        )

    @property
    def news(self) -> str:
        """HTML that says how far it is."""
        text = f"{len(self.sessions)} photo{'s' if len(self.sessions) > 1 else ''}"
        if self.waiting:
            text = f"Coloring {self.asked - len(self.waiting) + 1} of {self.asked} …"
        role = "" if self.waiting else "status"  # not said aloud a hundred times
        return paragraph(text, role) + (f"<p>{summary(self.refused)}</p>" if self.refused else "")


NO_PHOTOS = Album()


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A ZIP file of a visitor's photos in the making: a photo at a time, so that others are served in between."""

    path: str
    sessions: tuple[Session, ...]
    names: tuple[str, ...] = ()  # of what is in it
    refused: tuple[str, ...] = ()  # sentences

    @property
    def done(self) -> int:
        return len(self.names) + len(self.refused)

    @property
    def content(self) -> list[tuple]:
        """What is to be in it; the same for the same photos in the same colors."""
        return [(at.path, at.key, at.dials, at.guess, at.likeness) for at in self.sessions]


def dials_of(choice: str) -> str:
    """A mark of the dials as the page sets them for a choice of model; it begins with that choice.

    It is new with every photo, model and reset. What comes with an older one was turned before that, and is not to be
    heard.
    """
    return f"{choice} {uuid.uuid4().hex}"


# ---------------------------------------------------------------------------------------------------- the work


def megapixels(photo: Photo) -> float:
    return photo.width * photo.height / 1e6


@contextlib.contextmanager
def told(path: str = ""):
    """Show a person's mistake on the page as the sentence that it is, and leave no traceback in the log.

    The sentence names the photo as its owner knows it, without the server's folder, and no limit that only the
    page's owner could raise. Whatever else fails leaves its traceback, and the page says that something did.
    """
    try:
        yield
    except gr.Error:
        raise
    except ColorizerError as error:
        sentence = re.sub(",? or raise the limit", "", str(error).replace(path, Path(path).name))
        sentence = re.sub(re.escape(get_upload_folder()) + r"[/\\][^/\\]+[/\\]", "", sentence)
        raise gr.Error(html.escape(sentence, quote=False), print_exception=False) from None
    except Exception as error:  # most likely memory or disk is short; gradio would show it as nothing at all
        traceback.print_exception(error)
        raise gr.Error(FAILED, print_exception=False) from None


def summary(sentences: Iterable[str]) -> str:
    """HTML of what went wrong with several photos."""
    sentences = list(dict.fromkeys(sentences))
    more = [f"… and {len(sentences) - 5} more."] if len(sentences) > 5 else []
    return "<br>".join(sentences[:5] + more)


def new_path(name: str) -> Path:
    """A path for a new file where gradio keeps its own: served from there, and deleted after KEEP_FILES."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    FOLDERS.add(folder)
    return folder / name


FOLDERS: set[Path] = set()  # of new_path; gradio itself forgets what a part shows once it has made that part anew


@atexit.register
def delete_folders(age: float | None = None) -> None:
    """Delete the folders of new_path that are over `age` seconds old (None: all of them)."""
    for folder in FOLDERS.copy():
        with contextlib.suppress(OSError):
            if age is None or time.time() - folder.lstat().st_ctime > age:
                shutil.rmtree(folder)
        if not folder.exists():
            FOLDERS.discard(folder)


def hints_of(rows: list | None) -> list[Hint]:
    """The hints that a program gives as [[x, y, color], ...], x and y in pixels of the upright photo.

    A row may have the hint's reach at its end.
    """
    rows = [] if rows is None else rows
    is_list = isinstance(rows, list) and all(isinstance(row, list) and len(row) in (3, 4) for row in rows)
    if not (is_list and all(type(number) in (int, float) for x, y, _, *reach in rows for number in (x, y, *reach))):
        raise ColorizerError(
            "hints is a list of [x, y, color] or [x, y, color, reach], such as [[320, 200, '#3f6fb5', 0.5]]."
        )
    if len(rows) > MAX_HINTS:
        raise ColorizerError(f"There are at most {MAX_HINTS} hints here, not {len(rows)}.")
    return [Hint.from_rgb(x, y, color, reach=reach[0] if reach else None) for x, y, color, *reach in rows]


def save_preview(photo: Photo, name: str, marks: Sequence[tuple[float, float, str]] = ()) -> str:
    """Write what the browser shows, as a JPEG; transparent parts become white, and tiny pictures large.

    Marks are places for a ring, (left, top, color), the place in 0..1 of the photo's width and height.
    """
    image = on_white(photo)
    if (factor := SMALL_PREVIEW // max(image.size)) > 1:
        image = image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    pen, line = ImageDraw.Draw(image), max(1, round(min(image.size) / 500))
    for left, top, color in marks:
        for radius, width, ink in ((10, 1, "black"), (9, 1, "white"), (8, 4, color), (4, 1, "black")):
            pen.circle((left * image.width, top * image.height), radius * line, outline=ink, width=width * line)
    path = new_path(f"{name}.jpg")
    image.save(path, quality=90)
    return str(path)


def on_white(photo: Photo) -> Image.Image:
    """An RGB image, with white where the photo is transparent."""
    image = photo.to_pil()
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def save_full_size(photo: Photo, source: str) -> str:
    """Write a colored photo in the format of the file that it came in, as NAME.color.EXT."""
    path = new_path(f"{Path(source).stem}.color{photo.suffix}")
    photo.save(path)
    return str(path)


def unused(name: str, names: Sequence[str]) -> str:
    """The name, or with a number where there is one of that name already."""
    path, number = Path(name), 1
    while name in names:
        number += 1
        name = path.stem.removesuffix(".color") + f" ({number}).color{path.suffix}"
    return name


def write_examples(pictures: dict[str, Image.Image]) -> list[str]:
    """Write pictures, by the names of their files, where the page's visitors may read them."""
    folder = Path(get_upload_folder()) / "colorizer-examples"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            part = folder / f"{uuid.uuid4().hex}{Path(name).suffix}"
            picture.save(part)
            part.replace(folder / name)  # at once: another page on this machine may be reading it
    except OSError as error:  # of another account, perhaps
        raise ColorizerError(
            f"The page's files cannot be written to {folder} ({error.strerror or error}): set GRADIO_TEMP_DIR to a "
            "folder of your own."
        ) from error
    return [str(folder / name) for name in pictures]


def photographs() -> dict[str, Image.Image]:
    """Those that come with scikit-image, in gray."""
    return {f"{name}.png": Image.fromarray(getattr(data, name)()).convert("L") for name in EXAMPLES}


def half_colored(pictures: dict[str, Image.Image], name: str) -> dict[str, Image.Image]:
    """Small copies of gray pictures; their right halves are colored by the bundled model of this name.

    On the CPU: ZeroGPU lends its GPU to visitors, and before the first one there is none.
    """
    pipeline = ColorizationPipeline.from_pretrained(name, device="cpu")
    halves = {}
    for file, coloring in zip(pictures, pipeline.prepare(list(pictures.values())), strict=True):
        half = coloring.render(max_side=TILE_SIDE).to_pil()
        gray, middle = coloring.gray(TILE_SIDE).to_pil(), half.width // 2
        half.paste(gray.crop((0, 0, middle, gray.height)).convert("RGB"))
        half.paste("white", (middle - 1, 0, middle + 1, half.height))
        digest = hashlib.sha256(half.tobytes()).hexdigest()[:12]  # other weights of this name have files of their own
        halves[f"{Path(file).stem}-{digest}.jpg"] = half
    return halves


def digits() -> dict[str, Image.Image]:
    """The ten digits as if written by hand, white on black, 28 x 28 pixels."""
    return {f"digit-{i}.png": Image.fromarray(picture) for i, picture in enumerate(draw_digits(list(range(10))))}


def nearest_on_the_dial(dial: gr.Slider, payload: float | None) -> float:
    """What a dial makes of a number that is typed into its box: the box comes to show the same when it is left.

    gr.Slider's own answers what lies outside of its range, and an empty box, by an error and a traceback, though a
    number may be half typed. It takes that one's place in the class: where an event sends a dial a property, gradio
    makes the dial anew.
    """
    return dial.minimum if payload is None else min(max(payload, dial.minimum), dial.maximum)


gr.Slider.preprocess = nearest_on_the_dial


def delete_old_files(blocks: gr.Blocks, age: float | None) -> None:
    """Delete what visitors left on the disk over `age` seconds ago, with the folders that empties.

    None, in the end, is for all that gradio knows of; delete_folders does the rest.

    gradio's own walks through its lists of files while requests add to them: that is an error in Python, after which
    no file is ever deleted again. And it leaves a folder for each, and what came of an upload that was broken off. It
    takes that one's place in the module. The shelf is tidied too: visitors do that, and for days there may be none.
    """
    if age is not None:
        delete_folders(age)
        if shelf := getattr(blocks, "shelf", None):
            shelf.tidy()
        uploads = Path(get_upload_folder())
        is_shared = uploads.resolve() == Path(tempfile.gettempdir()).resolve()
        for part in () if is_shared else uploads.glob("tmp*"):  # as tempfile names them
            with contextlib.suppress(OSError):
                if part.is_file() and time.time() - part.lstat().st_ctime > age:
                    part.unlink()
        for part in uploads.glob("deep_links/*"):  # what a page showed, kept for whoever asks gradio for a link to it
            with contextlib.suppress(OSError):
                if time.time() - part.lstat().st_ctime > age:
                    shutil.rmtree(part)
    kept = set().union(*(getattr(component, "keep_in_cache", ()) for component in blocks.blocks.values()))
    for files in blocks.temp_file_sets:
        for file in files.copy():  # at once, which no other thread can come between
            with contextlib.suppress(OSError):
                if file not in kept and (age is None or time.time() - os.lstat(file).st_ctime > age):
                    os.remove(file)
                    os.rmdir(os.path.dirname(file))
            if not os.path.lexists(file):
                files.discard(file)


gradio.route_utils.delete_files_created_by_app = delete_old_files


def as_it_came(component: gr.Image | gr.File | gr.UploadButton, upload) -> str | list[str] | None:
    """What events are given of an upload: the path of the file, or the paths of several, unopened.

    gr.Image opens the file with Pillow first, and answers one that Pillow cannot read with a traceback; gr.File leaves
    an empty file for each. In the classes' place, as above.
    """
    if isinstance(upload, ListFiles):
        return [file.path for file in upload]
    return upload.path if upload else None


gr.Image.preprocess = gr.File.preprocess = gr.UploadButton.preprocess = as_it_came


def example_photo(component: gr.File) -> dict:
    """What the page "Use via API" gives as a photo; gradio's own is the address of a PDF file, which is refused here.

    In the class's place, as above.
    """
    return {"path": "photo.jpg", "url": "photo.jpg", "meta": {"_type": "gradio.FileData"}}


gr.File.example_payload = example_photo


async def refuse_address(url: str, cache_dir: str) -> str:
    """Answers a program that gives an address in a file's place.

    gradio would fetch it while everyone else waits, however large it is and however slowly it comes. In the module's
    place, as above.
    """
    raise gr.Error("This server fetches no addresses: give the photo as a file.", print_exception=False)


gradio.processing_utils.async_ssrf_protected_download = refuse_address


# ---------------------------------------------------------------------------------------------------- the looks

THEME = gr.themes.Default(
    primary_hue="orange",
    neutral_hue="stone",
    radius_size="lg",
    # Source Sans Pro as gradio 6 bundles it has next to no letters in its semibold, so only two weights are asked for.
    font=[gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
).set(
    button_primary_background_fill="*primary_700",  # on 600 white is too pale to read
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
    slider_color="*primary_500",
    body_text_color_subdued="*neutral_600",  # the theme's own is too pale to read
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
)

STYLE_SHEET, SCRIPT = (Path(__file__).parent / "page" / name for name in ("style.css", "page.js"))
USUAL_COLORS = "".join(f"#usual-{name.lower()} {{ --usual: {picked}; }}\n" for name, picked in USUAL.items())

HEADING = """
<h1>Black and white in, <span>color</span> out</h1>
<p>Give an old photo believable colors at its full resolution.</p>
<p id="notice" role="alert"></p>
"""

ACCEPTS = f"""
<p>JPEG, PNG, WebP, TIFF, AVIF or HEIC, up to {MAX_MEGAPIXELS} megapixels; deleted from here within some
{KEEP_FILES // 60 + 10} minutes. The colors are guesses, not evidence of how it looked.</p>
"""

CORRECT = """
<p>Pick or type a color, then click the thing in the photo above that should have it.</p>
"""

REACHES = """
<p>The lightness stays as in the photo: black, white and gray all make a thing gray. Where a color spreads too far, or
not far enough, turn its reach (the last color's, and that of those to come), or click there, too.
<span class="keys">By keys: the arrows move a cross over the photo (with Shift by little), and Enter puts the color
there.</span></p>
"""

ALIKE = """
<p>Give a photo in color of the same scene, place, time or film. This photo gets its colors, each where it is
likeliest, and so do the next photos until you take it away.</p>
"""


def dial_defaults(model: Colorizer) -> tuple[float, float, float, int]:
    """Where the dials for colorfulness, caution, balance and working size stand for a model."""
    defaults = {"balance": 0.0} | model.defaults | {"temperature": model.defaults["temperature"] or TEMPERATURE[1]}
    ranges = {
        "colorfulness": COLORFULNESS,
        "temperature": TEMPERATURE,
        "balance": BALANCE,
        "working_size": size_range(model),
    }
    return tuple(min(max(defaults[name], low), high) for name, (low, high) in ranges.items())


def size_range(model: Colorizer) -> tuple[int, int]:
    """The ends of the dial for the working size."""
    default = model.defaults["working_size"]
    return min(WORKING_SIZE[0], default), max(WORKING_SIZE[1], min(default, MAX_WORKING_SIZE))


def looks_of(model: Colorizer) -> dict[str, dict]:
    """What a model asks of the parts of the page that depend on it: their properties, as gradio calls them."""
    colorfulness, temperature, balance, working_size = dial_defaults(model)
    low, high = size_range(model)
    paints_digits = model.domain == "digits"
    return {
        "colorfulness": {"value": colorfulness},
        "temperature": {"value": temperature, "visible": model.has_distribution},
        "balance": {"value": balance, "visible": model.keeps_lightness},
        "guess": {"value": FIRST, "visible": model.has_distribution},
        "working_size": {"minimum": low, "maximum": high, "value": working_size},
        "advanced": {"visible": model.input_size is None},
        "correct": {"visible": model.accepts_hints},
        # Hidden and not absent: what gradio draws anew has lost its name, see page.js, or comes back after it was
        # removed. It hides no accordion.
        "other": {"elem_classes": [] if model.has_distribution else ["hidden-panel"]},
        "photographs": {"visible": "hidden" if paints_digits else True},
        "digits": {"visible": True if paints_digits else "hidden"},
    }


def as_style(guesses: Image.Image) -> str:
    """HTML that shows the guesses' pictures on the buttons of the guesses, as CSS has it.

    In the page itself: six small files for every step of a dial would be six requests and six files to delete.
    """
    buffer = io.BytesIO()
    guesses.save(buffer, "JPEG", quality=80)
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"<style>#guess {{ --pictures: url({url}); }}</style>"


def paragraph(text: str, role: str = "") -> str:
    return f"<p{f' role={role}' if role else ''}>{html.escape(text)}</p>"


# ---------------------------------------------------------------------------------------------------- the page


def prepare(
    path: str | None,
    working_size: float | None,
    pipeline: ColorizationPipeline,
    hints: Sequence[Hint] = (),
    reference: Reference | None = None,
    likeness: float | None = None,
) -> Work:
    if not path:
        raise ColorizerError("There is no photo: give one.")
    if not Path(path).is_file():
        raise ColorizerError(f"{Path(path).name} is no longer on the server: please choose it again.")
    if working_size is None:
        working_size = min(pipeline.model.defaults["working_size"], MAX_WORKING_SIZE)
    if working_size > MAX_WORKING_SIZE:
        raise ColorizerError(f"working_size is at most {MAX_WORKING_SIZE} here, not {working_size:g}.")
    photo = Photo.open(path, max_megapixels=MAX_MEGAPIXELS)
    coloring = pipeline.prepare(photo, working_size, hints, reference=reference, likeness=likeness)
    return work_of(coloring, pipeline.model)


def work_of(coloring: Coloring, model: Colorizer) -> Work:
    coloring.embedding = None  # it would be the largest part on the shelf; the next hint has it computed again
    return Work(coloring, model.has_distribution, model.keeps_lightness, model.source)


def facts_of(work: Work, seconds: float) -> str:
    photo = work.photo
    facts = f"{photo.width} × {photo.height} pixels, colored in {seconds:.1f} s by {work.model_name}"
    return facts + "; the colors that it came with were set aside" if work.coloring.truth else facts


def known(session: Session | None) -> Session:
    """The session; an error where there is none, though the page shows a photo."""
    if session is None:
        raise gr.Error(FORGOTTEN, print_exception=False)
    return session


def prepared(session: Session) -> Work:
    return prepare(session.path, session.working_size, session.pipeline, session.hints, **session.lead)


def with_before(session: Session, work: Work) -> Session:
    """The session with its gray preview on the disk, from where it may have been deleted; see KEEP_FILES."""
    if Path(session.before).is_file():
        return session
    return dataclasses.replace(session, before=save_preview(work.coloring.gray(PREVIEW_SIDE), "before"))


def mark(session: Session | None, album: Album) -> dict:
    """Mark the photo that is shown, among the small ones, after another could not be."""
    paths = [at.path for at in album.sessions]
    return gr.update(selected_index=paths.index(session.path)) if session and session.path in paths else gr.skip()


def on_the_page(
    colorfulness, temperature, balance, guess: str, likeness: float, set_for: str, session: Session | None
) -> Session:
    """The session at the page's dials: the preview that follows the last turn of one may still be under way."""
    if known(session).dials_of != set_for:
        return session
    dials = colorfulness, temperature, balance
    return dataclasses.replace(session, dials=dials, guess=guess, likeness=likeness)


def new_photo():
    return gr.Column(visible=True), None


class Page:
    """The page and its API: what stands where, what its events do, and which part calls what.

    Raises ColorizerError where its files cannot be written, or the bundled weights cannot be loaded.
    """

    def __init__(self, studio: Studio):
        self.studio = studio
        self.shelf = Shelf()
        self.photographs = photographs()
        self.photograph_files, self.digit_files = write_examples(self.photographs), write_examples(digits())
        self.menu_at_start, self.looks = studio.menu(), looks_of(studio.pipeline.model)  # on every page that is opened
        with gr.Blocks(
            title="Photo colorizer", analytics_enabled=False, delete_cache=(600, KEEP_FILES)
        ) as self.blocks:
            self.draw()
            self.name_lists()
            self.connect_photos()
            self.connect_dials()
            self.connect_corrections()
            self.connect_reference()
            self.connect_downloads()
            self.connect_news()
            self.offer_api()
        self.blocks.shelf = self.shelf  # see delete_old_files

    # ---- what stands where

    def draw(self) -> None:
        self.state = gr.State(None)
        self.album_state = gr.State(NO_PHOTOS)
        self.parcel_state = gr.State(None)
        self.orders_state, self.order_key = gr.State(()), gr.Textbox(visible=False)  # of the latest downloads
        self.dials_set_for = gr.Textbox(dials_of(MAIN), visible=False)
        self.photo_shown = gr.Textbox(visible=False, elem_id="shown")  # its path
        self.left_to_color, self.left_to_pack = gr.Number(0, visible=False), gr.Number(0, visible=False)
        self.next_step, self.pack_step, self.ask = (
            gr.Button(visible="hidden", elem_id=name) for name in ("next", "pack-next", "ask")
        )
        self.timer = gr.Timer(1, active=self.studio.fetching)

        gr.HTML(HEADING, elem_id="heading", padding=False)
        with gr.Column(elem_id="input") as self.input_panel:
            self.draw_input()
        with gr.Column(visible=False, elem_id="album") as self.album_panel:
            self.draw_album()
        with gr.Column(visible=False, elem_id="result") as self.result_panel, gr.Row():
            with gr.Column(scale=3, min_width=320):
                self.draw_pictures()
                with gr.Accordion(
                    "A wrong color? Correct it", open=False, elem_id="correct", **self.looks["correct"]
                ) as self.correct_panel:
                    self.draw_tools()
                with gr.Accordion(
                    "Use the colors of another photo", open=False, elem_id="other", **self.looks["other"]
                ) as self.other_panel:
                    self.draw_reference()
            with gr.Column(scale=1, min_width=260):
                self.draw_dials()
        self.draw_examples()
        with gr.Row(elem_id="models"):
            self.menu = gr.Dropdown(self.menu_at_start, value=MAIN, label="Model", filterable=False, elem_id="menu")
            self.model_line = gr.HTML(paragraph(self.studio.note(MAIN)), elem_id="model", padding=False)

    def draw_input(self) -> None:
        self.photo_input = gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            webcam_options=gr.WebcamOptions(mirror=False),  # that would turn the picture itself around
            label="Photo",
            show_label=False,
            placeholder="# Drop a photo here\nor click to choose one",
            alt_text="The photo that you chose",
            buttons=[],
            height=360,
            elem_id="photo",
        )
        with gr.Row(elem_id="several"):  # since the button's own place for files has no name
            gr.HTML(ACCEPTS, elem_id="accepts", padding=False)
            self.several = gr.UploadButton(
                "Several photos at once",
                file_count="multiple",
                file_types=["image", *(f".{kind}" for kind in KINDS)],
                size="sm",
            )

    def draw_album(self) -> None:
        self.strip = gr.Gallery(
            show_label=False,
            interactive=False,
            allow_preview=False,
            object_fit="cover",
            height="auto",
            buttons=[],
            elem_id="strip",
        )
        with gr.Row(elem_id="all"):
            self.album_line = gr.HTML(elem_id="album-line", padding=False)
            self.all_alike = gr.Button("These dials for all", size="sm", elem_id="all-alike")
            self.download_all = gr.Button(DOWNLOAD_ALL, size="sm", elem_id="download-all")

    def draw_pictures(self) -> None:
        with gr.Column(elem_id="pictures"):  # in one place: the second while the tools for corrections are open
            self.compare = gr.ImageSlider(
                label="Before and after",
                show_label=False,
                interactive=False,
                type="filepath",
                buttons=["fullscreen"],
                elem_id="compare",
            )
            self.canvas = gr.Image(
                type="filepath",
                show_label=False,
                interactive=False,
                buttons=[],
                alt_text="The photo in color: click where a color is wrong, or move a cross there by the "
                "arrow keys and press Enter",
                elem_id="canvas",
            )
        self.both_pictures = [self.compare, self.canvas]
        self.facts_line = gr.HTML(elem_id="facts", padding=False)

    def draw_tools(self) -> None:
        gr.HTML(CORRECT, padding=False)
        with gr.Row(elem_id="tools"):
            self.picker = gr.ColorPicker("#3f6fb5", label="Color", interactive=True, min_width=100, elem_id="picker")
            self.reach_dial = gr.Slider(
                *REACH,
                value=DEFAULT_REACH,
                step=0.05,
                label="Reach",
                buttons=[],
                min_width=180,
                elem_id="reach",
            )
            self.undo, self.undo_everything = (
                gr.Button(label, size="sm", min_width=60, interactive=False, elem_id=name)
                for label, name in (("Undo", "undo"), ("Undo all", "undo-all"))
            )
        with gr.Row(elem_id="usual"):
            self.usual = {
                picked: gr.Button(name, size="sm", min_width=0, elem_id=f"usual-{name.lower()}")
                for name, picked in USUAL.items()
            }
        gr.HTML(REACHES, padding=False)

    def draw_reference(self) -> None:
        gr.HTML(ALIKE, elem_id="alike", padding=False)
        with gr.Row(elem_id="lead"):
            self.reference_input = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload"],
                show_label=False,
                placeholder="# A photo in color",
                alt_text="The photo whose colors this one gets",
                buttons=[],
                height=180,
                min_width=200,
                elem_id="reference",
            )
            self.likeness_dial = gr.Slider(
                *LIKENESS,
                value=DEFAULT_LIKENESS,
                step=0.05,
                label="Likeness",
                info="Halfway does little harm where the other photo shows something else.",
                buttons=[],
                min_width=200,
            )

    def draw_dials(self) -> None:
        self.download = gr.Button("Download full size", variant="primary", elem_id="download")
        self.pair = gr.Button("Before and after, in one picture", size="sm", elem_id="pair")
        self.another = gr.Button("New photo", elem_id="another")
        self.colorfulness_dial = gr.Slider(
            *COLORFULNESS,
            step=0.05,
            label="Colorfulness",
            info="From gray to vivid.",
            buttons=[],  # gradio's goes back to what the page began with, though the model may be another
            **self.looks["colorfulness"],
        )
        self.temperature_dial = gr.Slider(
            *TEMPERATURE,
            step=0.01,
            label="Caution",
            info="Low: bold, decided colors. High: soft, safe ones.",
            buttons=[],
            **self.looks["temperature"],
        )
        self.balance_dial = gr.Slider(
            *BALANCE,
            step=0.05,
            label="Balance",
            info="Takes away a tint that lies over the whole photo.",
            buttons=[],
            **self.looks["balance"],
        )
        self.guess_dial = gr.Radio(
            [(guess.capitalize(), guess) for guess in (FIRST, *GUESSES)],
            label="Guess",
            info="Other colors that the photo may have had.",
            elem_id="guess",
            **self.looks["guess"],
        )
        self.guess_pictures = gr.HTML(elem_id="guess-pictures", padding=False)
        self.reset = gr.Button("Reset dials", size="sm", elem_id="reset")
        with gr.Accordion("Advanced", open=False, **self.looks["advanced"]) as self.advanced:
            self.size_dial = gr.Slider(
                step=32,
                label="Working size",
                info="Pixels of the short side as the network sees it, fewer of a small photo. The result "
                "keeps the photo's own size.",
                buttons=[],
                **self.looks["working_size"],
            )
        self.file, self.zip_file = gr.File(visible=False), gr.File(visible=False)

    def draw_examples(self) -> None:
        tiles, tiles_label, first = self.photograph_files, OFFER, self.studio.first
        if self.studio.loaded[first].model.keeps_lightness:
            tiles = write_examples(half_colored(self.photographs, first))
            tiles_label += f": gray on the left, {first}'s colors on the right"
        self.photograph_row, self.digit_row = (
            gr.Dataset(
                components=["image"],
                samples=[[path] for path in pictures],
                type="index",
                label=label,
                elem_id=name,
                elem_classes="examples",
                **look,
            )
            for name, pictures, label, look in (
                ("photographs", tiles, tiles_label, self.looks["photographs"]),
                ("digits", self.digit_files, OFFER, self.looks["digits"]),
            )
        )
        # Whoever sends the path of an example back would have it deleted as an upload.
        self.photograph_row.keep_in_cache = {*self.photograph_files, *tiles}
        self.digit_row.keep_in_cache = set(self.digit_files)

    # ---- which part calls what; only the API at the end is public

    def name_lists(self) -> None:
        """The lists of parts that several events take or change."""
        self.quick_dials = [self.colorfulness_dial, self.temperature_dial, self.balance_dial]  # which need no network
        self.dials = [*self.quick_dials, self.size_dial, self.menu, self.dials_set_for, self.state, self.album_state]
        self.preview = [self.state, self.compare, self.canvas, self.guess_pictures, self.undo, self.undo_everything]
        self.changed_parts = [*self.preview, self.facts_line]
        labeled = [self.dials_set_for, self.photo_shown, self.download]
        self.result = [
            *self.changed_parts,
            *labeled,
            self.guess_dial,
            self.temperature_dial,
            self.balance_dial,
            self.result_panel,
        ]
        self.parts = {  # by the names that looks_of gives them
            "colorfulness": self.colorfulness_dial,
            "temperature": self.temperature_dial,
            "balance": self.balance_dial,
            "guess": self.guess_dial,
            "working_size": self.size_dial,
            "advanced": self.advanced,
            "correct": self.correct_panel,
            "other": self.other_panel,
            "photographs": self.photograph_row,
            "digits": self.digit_row,
        }
        self.album_parts = [self.album_state, self.album_panel, self.strip, self.album_line, self.left_to_color]
        lead = [self.reference_input, self.likeness_dial, self.reach_dial]
        self.new_result = [
            *dict.fromkeys(
                [*self.result, self.input_panel, self.photo_input, *self.parts.values(), *lead, *self.album_parts]
            )
        ]
        self.shown = [*self.quick_dials, self.guess_dial, self.likeness_dial, self.dials_set_for, self.state]
        self.shown_and_album = [*self.shown, self.album_state]

    def connect_photos(self) -> None:
        """What comes to be shown, and what the visitor's other photos are for."""
        # Before the others, which it would wait for.
        self.photo_input.upload(js="colorizerPage.given", **PRIVATE)
        gr.on([self.photograph_row.click, self.digit_row.click], js="colorizerPage.wait", **PRIVATE)
        given = self.photo_input.upload(
            self.color,
            [self.photo_input, *self.dials],
            self.new_result,
            show_progress_on=[self.photo_input, *self.both_pictures],
            trigger_mode="multiple",  # what has been uploaded while one is colored counts too
            js="colorizerPage.begin",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        self.several.upload(js="colorizerPage.given", **PRIVATE)
        several_given = self.several.upload(
            self.color_several,
            [self.several, *self.dials],
            self.new_result,
            show_progress_on=[self.photo_input, *self.both_pictures],
            trigger_mode="multiple",
            js="colorizerPage.begin",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        for taken in (given, several_given):
            for ended in (taken.success, taken.failure):  # gradio's `then` comes after a success alone
                ended(js="colorizerPage.taken", **PRIVATE)
        shown_again = self.strip.select(
            self.show,
            self.shown_and_album,
            [*self.new_result, self.menu, self.model_line],
            show_progress_on=self.both_pictures,
            trigger_mode="multiple",  # with always_last the second click would come as the first again
            js="colorizerPage.begin",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        shown_again.failure(mark, [self.state, self.album_state], self.strip, queue=False, **PRIVATE)
        picked = [
            row.click(
                function,
                [row, *self.dials],
                self.new_result,
                show_progress_on=[self.photo_input, *self.both_pictures],
                trigger_mode="always_last",  # an example that is picked while another is colored counts too
                js="colorizerPage.begin",
                **ONE_AT_A_TIME,
                **PRIVATE,
            )
            for row, function in ((self.photograph_row, self.color_photograph), (self.digit_row, self.color_digit))
        ]
        given.failure(lambda: None, None, self.photo_input, queue=False, **PRIVATE)
        for done in (given, several_given, shown_again, *picked):
            done.success(js="colorizerPage.showResult", **PRIVATE)
            done.failure(js="colorizerPage.goOn", **PRIVATE)

        all_styled = self.all_alike.click(
            self.style_all, self.shown_and_album, self.album_parts, show_progress="hidden", **ONE_AT_A_TIME, **PRIVATE
        )
        step = self.next_step.click(
            self.color_next,
            [self.state, self.album_state],
            self.album_parts,
            show_progress="hidden",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        for done in (given, several_given, shown_again, *picked, all_styled, step):  # any of them mends a broken chain
            done.success(js="colorizerPage.next", inputs=self.left_to_color, **PRIVATE)
        step.failure(js="colorizerPage.nextLater", **PRIVATE)

    def connect_dials(self) -> None:
        # Not on input: the network would run at every step of a drag, and for the first digit of a size being typed.
        self.size_dial.release(
            self.color_again,
            [*self.quick_dials, self.size_dial, self.dials_set_for, self.state],
            self.result,
            show_progress_on=self.both_pictures,
            trigger_mode="always_last",  # what is given while the network runs counts too
            **ONE_AT_A_TIME,
            **PRIVATE,
        )

        chosen = self.menu.change(  # not input, which a click on a choice fires twice
            self.choose,
            [self.menu, self.state, self.dials_set_for],
            [*dict.fromkeys([*self.result, *self.parts.values(), self.model_line, self.menu])],
            show_progress_on=self.both_pictures,
            trigger_mode="always_last",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        chosen.success(js="colorizerPage.showChoice", **PRIVATE)
        chosen.failure(
            lambda session: session.choice if session else MAIN, self.state, self.menu, queue=False, **PRIVATE
        )

        gr.on(
            [event for dial in self.quick_dials for event in (dial.input, dial.release)],
            self.turn_dial,
            [*self.quick_dials, self.dials_set_for, self.state],
            self.preview,
            show_progress="hidden",
            trigger_mode="always_last",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        self.guess_dial.input(
            self.take_guess,
            [self.guess_dial, self.dials_set_for, self.state],
            self.preview,
            show_progress="hidden",
            trigger_mode="always_last",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        self.reset.click(
            self.reset_dials,
            self.state,
            [*dict.fromkeys([*self.result, *self.quick_dials, self.size_dial, self.guess_dial])],
            show_progress_on=self.both_pictures,
            **ONE_AT_A_TIME,
            **PRIVATE,
        )

    def connect_corrections(self) -> None:
        correcting, *_ = [
            event(
                function,
                inputs,
                [*self.changed_parts, self.reach_dial],
                show_progress_on=self.canvas,
                show_progress="minimal",
                trigger_mode="multiple",  # every click counts, also while the network runs
                **ONE_AT_A_TIME,
                **PRIVATE,
            )
            for event, function, inputs in (
                (self.canvas.select, self.correct, [self.picker, self.reach_dial, self.state]),
                (self.undo.click, self.undo_one, self.state),
                (self.undo_everything.click, self.undo_all, self.state),
            )
        ]
        for usual_color, button in self.usual.items():
            button.click(js=f"() => '{usual_color}'", outputs=self.picker, **PRIVATE)
        for ended in (correcting.success, correcting.failure):
            ended(js="colorizerPage.corrected", **PRIVATE)

    def connect_reference(self) -> None:
        """What leads the photo to another one, and the dials that say how far: its likeness, a correction's reach."""
        gr.on(
            [self.reference_input.upload, self.reference_input.clear],
            self.refer,
            [self.reference_input, self.likeness_dial, self.photo_shown, self.state],
            [*self.changed_parts, self.reference_input],
            show_progress_on=self.reference_input,
            trigger_mode="always_last",
            **ONE_AT_A_TIME,
            **PRIVATE,
        ).failure(self.put_back, self.state, self.reference_input, queue=False, **PRIVATE)
        for events, dial, turn, mode in (
            (
                [self.likeness_dial.input, self.likeness_dial.release],
                self.likeness_dial,
                self.turn_likeness,
                "always_last",
            ),
            ([self.reach_dial.input], self.reach_dial, self.turn_reach, "always_last"),
            # In its turn, before the next correction or a download: it is the last one's reach.
            ([self.reach_dial.release], self.reach_dial, self.turn_reach, "multiple"),
        ):
            gr.on(
                events,
                turn,
                [dial, self.photo_shown, self.state],
                self.changed_parts,
                show_progress="hidden",
                trigger_mode=mode,
                **ONE_AT_A_TIME,
                **PRIVATE,
            )

    def connect_downloads(self) -> None:
        self.download.click(js="colorizerPage.make", **PRIVATE)  # before the other, which it would wait for
        # When what was asked for before it is there: it has another line, and would overtake a correction.
        reached = self.download.click(
            self.order,
            [*self.shown, self.orders_state],
            [self.orders_state, self.order_key],
            show_progress="hidden",
            **ONE_AT_A_TIME,
            **PRIVATE,
        )
        made = reached.success(
            self.make_download,
            [self.order_key, self.orders_state],
            self.file,
            show_progress="hidden",
            **ONE_FILE_AT_A_TIME,
            **PRIVATE,
        )
        made.success(js="colorizerPage.download", inputs=self.file, **PRIVATE)
        made.success(js="colorizerPage.made", **PRIVATE)
        for part in (reached, made):
            part.failure(js="colorizerPage.made", **PRIVATE)
        self.pair.click(js="colorizerPage.downloadPair", inputs=self.photo_shown, **PRIVATE)  # the browser has both
        reached_all = self.download_all.click(lambda: None, show_progress="hidden", **ONE_AT_A_TIME, **PRIVATE)
        begun = reached_all.success(
            self.pack,
            [*self.shown_and_album, self.parcel_state],
            [self.parcel_state, self.left_to_pack, self.download_all, self.zip_file],
            show_progress="hidden",
            **ONE_FILE_AT_A_TIME,
            **PRIVATE,
        )
        packed_one = self.pack_step.click(
            self.pack_next,
            self.parcel_state,
            [self.parcel_state, self.left_to_pack, self.download_all, self.zip_file],
            show_progress="hidden",
            **ONE_FILE_AT_A_TIME,
            **PRIVATE,
        )
        for part in (begun, packed_one):
            part.success(js="colorizerPage.packNext", inputs=[self.left_to_pack, self.zip_file], **PRIVATE)
        packed_one.failure(js="colorizerPage.packLater", **PRIVATE)
        self.another.click(new_photo, None, [self.input_panel, self.photo_input], queue=False, **PRIVATE).success(
            js="colorizerPage.showTop", **PRIVATE
        )

    def connect_news(self) -> None:
        """What nobody asks for by hand."""
        self.ask.click(
            lambda: None, show_progress="hidden", trigger_mode="multiple", concurrency_limit=None, **PRIVATE
        )
        news = [self.menu, self.model_line, self.timer, *self.parts.values()]
        self.timer.tick(self.refresh, [self.menu, self.state], news, queue=False, show_progress="hidden", **PRIVATE)
        self.blocks.load(
            self.refresh, [self.menu, self.state], news, queue=False, show_progress="hidden", **PRIVATE
        ).then(
            js=f"() => colorizerPage.start({json.dumps(EXAMPLES)}, {json.dumps(KINDS)})",
            **PRIVATE,
        )

    def offer_api(self) -> None:
        with gr.Row(visible=False):
            gr.Button().click(
                self.colorize,
                [
                    gr.File(label="photo"),
                    gr.Number(label="colorfulness"),
                    gr.Number(label="temperature"),
                    gr.Number(label="working_size", precision=0),
                    gr.Textbox(label="model"),
                    gr.Number(label="balance"),
                    gr.JSON(label="hints"),
                    gr.File(label="reference"),
                    gr.Number(label="likeness"),
                    gr.Textbox(label="guess"),
                ],
                [gr.File(label="file"), gr.JSON(label="info")],
                api_name="colorize",
                **ONE_AT_A_TIME,
            )

    # ---- what the events do

    def color(
        self,
        path: str | None,
        colorfulness,
        temperature,
        balance,
        working_size,
        choice: str,
        set_for: str,
        session: Session | None,
        album: Album = NO_PHOTOS,
    ) -> dict:
        """Color a photo that was just given; the result takes the place of the one before."""
        if path is None:
            return {self.photo_input: None}
        with told():
            pipeline = self.studio.pipeline_of(choice)
        dials, updates = (colorfulness, temperature, balance, working_size), {}
        if session:
            before = self.as_left(
                colorfulness, temperature, balance, session.guess, session.likeness, set_for, session
            )
        is_replaced = session and session.choice == choice and session.pipeline is not pipeline
        if set_for.partition(" ")[0] != choice or is_replaced:
            # The dials on the page are another model's: the menu has just been turned, or a fetched model has taken
            # over since the last photo.
            dials, updates = dial_defaults(pipeline.model), self.updates_for(pipeline.model)
        elif not colorfulness:  # the last photo was turned to gray, which nobody wants of the next
            dials = (dial_defaults(pipeline.model)[0], *dials[1:])
            updates = {self.colorfulness_dial: gr.update(value=dials[0])}
        shown = self.colored(path, *dials, choice, dials_of(choice), session, pipeline)
        if session is None:
            if pipeline is not self.studio.pipeline_of(choice):
                # A fetched model has taken over meanwhile, and `refresh` has given the page its dials.
                updates = self.updates_for(pipeline.model, dials)
            # The server may have forgotten the visitor, and the page not what it showed.
            updates = updates | {self.reference_input: None, self.likeness_dial: DEFAULT_LIKENESS}
        latest = self.pictured(shown[self.state])
        if not album.waiting:
            album = dataclasses.replace(album, refused=())  # of those before
        if session:
            album = album.with_session(before)
        return shown | {self.state: latest} | self.shown_album(album.with_session(latest), latest) | updates

    def colored(
        self,
        path: str,
        colorfulness,
        temperature,
        balance,
        working_size,
        choice: str,
        set_for: str,
        session: Session | None,
        pipeline: ColorizationPipeline,
        corrections: tuple[Correction, ...] = (),
        guess: str = FIRST,
    ) -> dict:
        """What the page shows of a photo that this pipeline colors, which the choice may no longer stand for."""
        start = time.perf_counter()
        dials = colorfulness, temperature, balance
        latest = session
        key = uuid.uuid4().hex
        session = Session(key, path, choice, pipeline, working_size, dials, set_for, "", corrections, guess=guess)
        if latest:  # photos of one place come one after the other
            kept = {name: getattr(latest, name) for name in ("reference_given", "reference_shown", "likeness")}
            session = dataclasses.replace(session, **kept)
        with told(path):
            work = prepared(session)
            after = work.render(dials, guess, PREVIEW_SIDE)
            session = with_before(session, work)
            seconds = time.perf_counter() - start
            session = dataclasses.replace(session, facts=facts_of(work, seconds))
            shown = self.pictures(session, work, after)
        if latest:
            self.shelf.drop(latest.key)
            if latest.path == path:
                session = dataclasses.replace(session, square=latest.square)
        self.shelf.put(session.key, work)
        return {
            self.state: session,
            **shown,
            **self.labels(session, work),
            self.guess_dial: gr.Radio(value=guess, visible=work.has_distribution),
            self.temperature_dial: gr.Slider(visible=work.has_distribution),
            self.balance_dial: gr.Slider(visible=work.has_balance),
            self.input_panel: gr.Column(visible="hidden"),  # and not absent: a photo may be dropped on the result
            self.result_panel: gr.Column(visible=True),
            self.photo_input: None,
        }

    def labels(self, session: Session, work: Work) -> dict:
        """What the page says of the photo that it shows."""
        return {
            self.dials_set_for: session.dials_of,
            self.photo_shown: session.path,
            self.facts_line: paragraph(session.all_facts(work.coloring), role="status"),
            self.download: gr.Button(f"Download full size ({work.photo.output_format})"),
        }

    def color_photograph(self, index: int, *args) -> dict:
        return self.color(self.photograph_files[index], *args)

    def color_digit(self, index: int, *args) -> dict:
        return self.color(self.digit_files[index], *args)

    def pictured(self, session: Session, work: Work | None = None) -> Session:
        """The session with a small picture of the photo as it is now; with the one before if it left the shelf."""
        work = work or self.shelf.get(session.key)
        if work is None:
            return session
        with told(session.path):
            path = new_path("square.jpg")
            work.square(session.dials, session.guess).save(path, quality=85)
        return dataclasses.replace(session, square=str(path))

    def as_left(self, *dials_and_session) -> Session:
        """The session as it is left for another photo, at the dials of the page; see on_the_page."""
        session = self.pictured(on_the_page(*dials_and_session))
        if session.likeness != dials_and_session[-1].likeness:
            session = dataclasses.replace(session, key=uuid.uuid4().hex)  # what is on the shelf was led otherwise
        return session

    def shown_album(self, album: Album, session: Session | None) -> dict:
        """What the page shows of a visitor's photos, less those whose files have been deleted; see KEEP_FILES."""
        there = tuple(at for at in album.sessions if Path(at.square).is_file() and Path(at.path).is_file())
        album = dataclasses.replace(album, sessions=there)
        paths = [at.path for at in album.sessions]
        return {
            self.album_state: album,
            self.album_panel: gr.Column(visible=len(album.everything) > 1 or bool(album.refused)),
            self.strip: gr.update(
                value=[at.square for at in album.sessions],
                selected_index=paths.index(session.path) if session and session.path in paths else None,
            ),
            self.album_line: album.news,
            self.left_to_color: len(album.waiting),
        }

    def color_several(self, paths: list[str] | None, *args) -> dict:
        """Color and show the first of several photos that were just given and are not here yet; the others wait, see
        color_next.

        The other arguments are those of `color`.
        """
        if not paths:
            return gr.skip()
        album, refused = args[-1], {}
        there = {at.path for at in album.waiting} | {at.path for at in album.sessions if Path(at.square).is_file()}
        paths = [path for path in dict.fromkeys(paths) if path not in there]  # the others stay as they were left
        if not paths:
            gr.Info("These photos are all here: click a small picture to see one.")
            return gr.skip()
        if len(paths) + len(there) > MAX_PHOTOS:
            sentence = f"At most {MAX_PHOTOS} photos at a time: these are {len(paths)}"
            if there:
                sentence += f", and {len(there)} are here already: reload the page first"
            raise gr.Error(f"{sentence}.", print_exception=False)
        for path in paths:
            try:
                shown = self.color(path, *args)
                break
            except gr.Error as error:
                refused[path] = error.message
        else:
            raise gr.Error(summary(refused.values()), print_exception=False)
        session, album = shown[self.state], shown[self.album_state]
        blank = dataclasses.replace(session, before="", facts="", square="")
        rest = [path for path in paths if path not in refused and path != session.path]
        waiting = [dataclasses.replace(blank, path=path, key=uuid.uuid4().hex) for path in rest]
        return shown | self.shown_album(album.with_waiting(waiting, 1 + len(refused), refused.values()), session)

    def color_next(self, session: Session | None, album: Album) -> dict:
        """Color the next of the photos that wait, for its small picture alone; the rest is done when it is shown.

        Not put on the shelf, from which a hundred of them would push what others are at work on.
        """
        if not album.waiting:
            return self.shown_album(album, session)
        first, *waiting = album.waiting
        first = next((at for at in album.sessions if at.path == first.path), first)
        album = dataclasses.replace(album, waiting=tuple(waiting))
        if first.path != known(session).path:
            try:
                with told(first.path):
                    start = time.perf_counter()
                    work = self.shelf.get(first.key) or prepared(first)
                    facts = first.facts or facts_of(work, time.perf_counter() - start)
                    album = album.with_session(self.pictured(dataclasses.replace(first, facts=facts), work))
            except gr.Error as error:
                album = dataclasses.replace(album, refused=(*album.refused, error.message))
        return self.shown_album(album, session)

    def show(
        self,
        colorfulness,
        temperature,
        balance,
        guess: str,
        likeness: float,
        set_for: str,
        latest: Session | None,
        album: Album,
        click: gr.SelectData,
    ) -> dict:
        """Another of the visitor's photos, as it was left."""
        latest = known(latest)
        if click.index >= len(album.sessions) or album.sessions[click.index].path == latest.path:
            return gr.skip()
        session = album.sessions[click.index]
        session = dataclasses.replace(session, dials_of=dials_of(session.choice))
        with told(session.path):
            start = time.perf_counter()
            work = self.shelved(session)
            facts = session.facts or facts_of(work, time.perf_counter() - start)
            session = self.pictured(dataclasses.replace(session, facts=facts), work)
            shown = self.rendered(session, work)
        album = album.with_session(session).with_session(
            self.as_left(colorfulness, temperature, balance, guess, likeness, set_for, latest)
        )
        self.shelf.drop(latest.key)
        return {
            **self.updates_for(session.pipeline.model, (*session.dials, session.working_size, session.guess)),
            **shown,
            **self.labels(session, work),
            **self.shown_album(album, session),
            self.input_panel: gr.Column(visible="hidden"),
            self.likeness_dial: session.likeness,
            **self.reach_of(session),
            self.reference_input: self.put_back(session)[self.reference_input],
            self.menu: session.choice,
            self.model_line: paragraph(self.studio.note(session.choice)),
        }

    def style_all(self, *dials_session_and_album) -> dict:
        """Give the visitor's other photos the model, the dials and the reference of the one that is shown."""
        *dials_and_session, album = dials_session_and_album
        known(dials_and_session[-1])
        session = self.as_left(*dials_and_session)
        style = {name: getattr(session, name) for name in STYLE}

        def styled(other: Session) -> Session:
            if other.path == session.path:
                return other
            alike = dataclasses.replace(other, **style)
            if any(getattr(alike, name) != getattr(other, name) for name in SEEN_BY_THE_NETWORK):
                alike = dataclasses.replace(alike, key=uuid.uuid4().hex, facts="")
            return alike

        before = album.with_session(session).sessions
        sessions, waiting = tuple(map(styled, before)), tuple(map(styled, album.waiting))
        album = dataclasses.replace(album, sessions=sessions, waiting=waiting)
        busy = {at.path for at in waiting}
        changed = [at for at, other in zip(sessions, before, strict=True) if at != other and at.path not in busy]
        return self.shown_album(album.with_waiting(changed), session)

    def again(self, dials: tuple, choice: str, set_for: str, session: Session, pipeline) -> dict:
        """Color the same photo again, with the colors that were given; the place for a new one stays as it is."""
        shown = self.colored(
            session.path, *dials, choice, set_for, session, pipeline, session.corrections, session.guess
        )
        return {part: shown[part] for part in self.result}

    def updates_for(self, model: Colorizer, values: Sequence = ()) -> dict:
        """The parts as a model asks for them, with the dials at these values or, further on, at its defaults."""
        names = ("colorfulness", "temperature", "balance", "working_size", "guess")
        updates = {self.parts[name]: gr.update(**look) for name, look in looks_of(model).items()}
        for name, value in zip(names, values, strict=False):
            updates[self.parts[name]]["value"] = value
        return updates

    def color_again(self, colorfulness, temperature, balance, working_size, set_for: str, session: Session | None):
        """The same photo, seen by the network at another size; nothing if the dial has been set anew since."""
        if known(session).dials_of != set_for or session.working_size == working_size:
            return gr.skip()
        dials = colorfulness, temperature, balance, working_size
        return self.again(dials, session.choice, set_for, session, session.pipeline)

    def choose(self, choice: str, session: Session | None, set_for: str = "") -> dict:
        """Another model, with its own dials and examples; the photo that is shown is colored by it.

        Nothing where the menu was turned by `show`, which has set the dials, too: by now another photo may be shown.
        """
        if session and choice in (session.choice, set_for.partition(" ")[0]):
            return gr.skip()
        if session and not Path(session.path).is_file():
            gr.Warning("The photo is no longer on the server: please choose it again before another model.")
            return {self.menu: session.choice}
        with told():
            pipeline = self.studio.pipeline_of(choice)
        set_for = dials_of(choice)
        updates = {self.model_line: paragraph(self.studio.note(choice)), self.dials_set_for: set_for}
        if session:
            session = dataclasses.replace(session, guess=FIRST)
            updates |= self.again(dial_defaults(pipeline.model), choice, set_for, session, pipeline)
        return updates | self.updates_for(pipeline.model)

    def shelved(self, session: Session) -> Work:
        work = self.shelf.get(session.key)
        if work is None:
            work = prepared(session)
            self.shelf.put(session.key, work)
        return work

    def turn_dial(self, colorfulness, temperature, balance, set_for: str, session: Session | None):
        """Render the preview again: no network runs. Nothing if the dial has been set anew since."""
        dials = colorfulness, temperature, balance
        if known(session).dials_of != set_for or session.dials == dials:
            return gr.skip()
        return self.turned(dials, session)

    def turned(self, dials: Dials, session: Session) -> dict:
        """The photo at other dials."""
        with told(session.path):
            return self.rendered(dataclasses.replace(session, dials=dials), self.shelved(session))

    def rendered(self, session: Session, work: Work) -> dict:
        """What changes on the page with the session's dials or corrections; no network runs."""
        session = with_before(session, work)
        after = work.render(session.dials, session.guess, PREVIEW_SIDE)
        return {self.state: session, **self.pictures(session, work, after)}

    def pictures(self, session: Session, work: Work, after: Photo) -> dict:
        """The pictures to compare, to choose from, and to click on, with a ring wherever a color was given."""
        path = marked = save_preview(after, "after")
        photo = work.photo
        if session.corrections:
            marks = [(at.hint.x / photo.width, at.hint.y / photo.height, at.color) for at in session.corrections]
            marked = save_preview(after, "marked", marks)
        return {
            self.compare: (session.before, path),
            self.canvas: marked,
            self.guess_pictures: as_style(work.guesses(session.dials)) if work.has_distribution else "",
            self.undo: gr.Button(interactive=bool(session.corrections)),
            self.undo_everything: gr.Button(interactive=bool(session.corrections)),
        }

    def correct(self, picked: str, reach: float, session: Session | None, click: gr.SelectData) -> dict:
        """The color picker's color for the place that was clicked, and for as much around it as it is to reach."""
        with told(known(session).path):
            work = self.shelved(session)
            session = with_before(session, work)
            with Image.open(session.before) as before:  # as large as the picture that was clicked
                left, top = (at / side for at, side in zip(click.index, before.size, strict=True))
            photo = work.photo
            hint = Hint.from_rgb(left * photo.width, top * photo.height, picked, reach=reach)
        near = HINT_RADIUS * photo.width / work.coloring.lightness.shape[-1]
        others = [  # a second click on a place takes the place of the first
            other
            for other in session.corrections
            if max(abs(other.hint.x - hint.x), abs(other.hint.y - hint.y)) > near
        ]
        return self.corrected(session, (*others, Correction(hint, picked)))

    def turn_reach(self, reach: float, photo: str, session: Session | None) -> dict:
        """Another reach of the last correction; the network hardly ever runs while the photo is on the shelf."""
        if known(session).path != photo or not session.corrections:
            return gr.skip()
        *others, last = session.corrections
        if last.hint.reach == reach:
            return gr.skip()
        hint = dataclasses.replace(last.hint, reach=reach)
        return self.corrected(session, (*others, dataclasses.replace(last, hint=hint)))

    def undo_one(self, session: Session | None) -> dict:
        if not known(session).corrections:
            return gr.skip()
        undone = self.corrected(session, session.corrections[:-1])
        return undone | self.reach_of(undone[self.state])

    def undo_all(self, session: Session | None) -> dict:
        return self.corrected(session, ()) if known(session).corrections else gr.skip()

    def reach_of(self, session: Session) -> dict:
        """The dial as the last correction has it."""
        return {self.reach_dial: session.corrections[-1].hint.reach} if session.corrections else {}

    def corrected(self, session: Session, corrections: tuple[Correction, ...]) -> dict:
        """The same photo with these corrections in place of those before; the network runs where they tell it more."""
        return self.changed(
            session, lambda coloring, session: coloring.with_hints(session.hints), corrections=corrections
        )

    def changed(self, session: Session, steered: Callable[[Coloring, Session], Coloring], **changes) -> dict:
        """The same photo after a change of its session, with its coloring steered by it."""
        with told(session.path):
            latest, coloring = session.key, self.shelved(session).coloring
            session = dataclasses.replace(session, key=uuid.uuid4().hex, **changes)
            work = work_of(steered(coloring, session), session.pipeline.model)
            self.shelf.drop(latest)
            self.shelf.put(session.key, work)
            return self.rendered(session, work) | {
                self.facts_line: paragraph(session.all_facts(work.coloring), role="status")
            }

    def take_guess(self, guess: str, set_for: str, session: Session | None) -> dict:
        """Another guess at the colors; no network runs. Nothing if the dials have been set anew since."""
        if known(session).dials_of != set_for or session.guess == guess:
            return gr.skip()
        return self.turned(session.dials, dataclasses.replace(session, guess=guess))

    def refer(self, path: str | None, likeness: float, photo: str, session: Session | None) -> dict:
        """The photo in the colors of another one, which is shown small; without one, as the model guesses.

        Its own reference is back in its place where another photo has come to be shown meanwhile.
        """
        if known(session).path != photo:
            gr.Info("Another photo has come to be shown: give it this reference again.")
            return self.put_back(session)
        other = shown = None
        if path:
            with told(path):
                photo = Photo.open(path, max_megapixels=MAX_MEGAPIXELS)
                other, picture = Reference(photo), photo.to_pil()
                picture.thumbnail((REFERENCE_SIDE, REFERENCE_SIDE))
                shown = save_preview(Photo.from_pil(picture), "reference")
        given = {"reference_given": other, "reference_shown": shown, "likeness": likeness}
        return self.recolored(session, **given) | {self.reference_input: shown}

    def turn_likeness(self, likeness: float, photo: str, session: Session | None) -> dict:
        if known(session).path != photo or session.likeness == likeness:
            return gr.skip()
        if session.reference is None:
            return {self.state: dataclasses.replace(session, likeness=likeness)}
        return self.recolored(session, likeness=likeness)

    def recolored(self, session: Session, **changes) -> dict:
        """The same photo led to another reference, or by another likeness, which takes no network."""
        return self.changed(session, lambda coloring, session: coloring.with_reference(**session.lead), **changes)

    def put_back(self, session: Session | None) -> dict:
        """The reference that there was, after one that is none."""
        shown = session.reference_shown if session else None
        return {self.reference_input: shown if shown and Path(shown).is_file() else None}

    def full_size(self, session: Session) -> str:
        with told(session.path):
            # Not put back on the shelf if it has left it: by now the page may show other work on the photo.
            work = self.shelf.get(session.key) or prepared(session)
            if session.reference and work.coloring.likeness != session.likeness:
                work = dataclasses.replace(work, coloring=work.coloring.with_reference(**session.lead))
            return save_full_size(work.render(session.dials, session.guess), session.path)

    def order(self, *dials_session_and_orders) -> dict:
        """Note what a download is asked of: when its turn has come the page may show another photo."""
        *dials_and_session, orders = dials_session_and_orders
        key = uuid.uuid4().hex
        return {self.orders_state: (*orders[-9:], (key, on_the_page(*dials_and_session))), self.order_key: key}

    def make_download(self, key: str, orders: tuple[tuple[str, Session], ...]) -> str:
        """The file at full size, made when it is asked for: on a large photo it takes longer than a dial should."""
        return self.full_size(known(dict(orders).get(key)))

    def pack(self, *dials_session_album_and_parcel) -> dict:
        """Begin a ZIP file of all photos as they were left, or go on with one of the same; see pack_next."""
        *dials_and_session, album, parcel = dials_session_album_and_parcel
        new = Parcel("", album.with_session(on_the_page(*dials_and_session)).everything)
        if parcel and parcel.content == new.content:
            return self.packed(parcel)
        with told():
            path = new_path("colored.zip")
            zipfile.ZipFile(path, "w").close()
        return self.packed(dataclasses.replace(new, path=str(path)))

    def packed(self, parcel: Parcel | None, path: str | None = None) -> dict:
        """What the page shows of a ZIP file in the making, or of what has become of it."""
        left = len(parcel.sessions) - parcel.done if parcel else 0
        label = f"Packing {parcel.done + 1} of {len(parcel.sessions)} …" if left else DOWNLOAD_ALL
        return {
            self.parcel_state: parcel if left else None,
            self.left_to_pack: left,
            self.download_all: gr.Button(label),
            self.zip_file: path,
        }

    def pack_next(self, parcel: Parcel | None) -> dict:
        """Put the next photo into the ZIP file; with the last one it is what the page downloads.

        Raises nothing: the page tries again a step that could not begin, since the line was full.
        """
        if parcel is None:  # it has been finished meanwhile
            return self.packed(None)
        session = parcel.sessions[parcel.done]
        try:
            path = Path(self.full_size(session))
        except gr.Error as error:
            parcel = dataclasses.replace(parcel, refused=(*parcel.refused, error.message))
        else:
            name = unused(path.name, parcel.names)
            try:
                with told():
                    Path(parcel.path).stat()  # or a new file would be begun in the place of one that was deleted
                    with zipfile.ZipFile(parcel.path, "a") as archive:
                        archive.write(path, name)
            except gr.Error as error:  # the disk is full, perhaps: the others would do no better
                parcel = dataclasses.replace(parcel, sessions=(), names=(), refused=(error.message,))
            else:
                parcel = dataclasses.replace(parcel, names=(*parcel.names, name))
            shutil.rmtree(path.parent, ignore_errors=True)
        if parcel.done < len(parcel.sessions):
            return self.packed(parcel)
        if parcel.refused:
            gr.Warning(summary(parcel.refused))
        if not parcel.names:
            shutil.rmtree(Path(parcel.path).parent, ignore_errors=True)
        return self.packed(None, parcel.path if parcel.names else None)

    def reset_dials(self, session: Session | None):
        """The dials as the model that colored the photo has them, and the preview."""
        model = known(session).pipeline.model
        *quick, working_size = dial_defaults(model)
        session = dataclasses.replace(session, guess=FIRST, dials_of=dials_of(session.choice))
        if session.working_size == working_size:
            shown = self.turned(tuple(quick), session) | {self.dials_set_for: session.dials_of}
        else:
            shown = self.again((*quick, working_size), session.choice, session.dials_of, session, session.pipeline)
        looks = looks_of(model)
        names = ("colorfulness", "temperature", "balance", "guess", "working_size")
        return shown | {self.parts[name]: gr.update(**looks[name]) for name in names}

    def refresh(self, choice: str, session: Session | None):
        """What the menu and its line say; when another model has taken over, its dials too, unless in use.

        No value is sent to a dial that has it: it could arrive after someone has turned the dial.
        """
        fetching = self.studio.fetching  # read before all else: what ends in between is told by the next tick
        updates = {part: {} for part in self.parts.values()}
        if session is None and choice == MAIN:
            for name, look in looks_of(self.studio.pipeline.model).items():
                updates[self.parts[name]] = {
                    key: value for key, value in look.items() if value != self.looks[name][key]
                }
        # Told so before it is seen, the dial in the accordion is drawn with the rest of the result. Otherwise gradio
        # draws it when the accordion opens, and a frame later puts it back to where it began, whatever was typed.
        updates[self.size_dial]["visible"] = True
        if (menu_now := self.studio.menu()) != self.menu_at_start:
            updates[self.menu] = {"choices": menu_now}
        return {part: gr.update(**update) for part, update in updates.items() if update} | {
            self.timer: gr.Timer(active=fetching),
            self.model_line: paragraph(self.studio.note(choice)),
        }

    def colorize(
        self,
        photo: str | None,
        colorfulness: float | None = None,
        temperature: float | None = None,
        working_size: float | None = None,
        model: str | None = None,
        balance: float | None = None,
        hints: list | None = None,
        reference: str | None = None,
        likeness: float | None = None,
        guess: str | None = None,
    ):
        """Color a photo. Returns the file at its full size, in its own format, and {model, width, height, seconds}.

        A dial that is left out takes the model's own default. `model` is the name of a bundled one; left out, it is
        the one that the page runs. `hints` are colors that you know, [[x, y, "#3f6fb5"], ...], x and y in pixels; a
        fourth number of a row is how far that one reaches, 0 to 1. `reference` is a photo in color, towards whose
        colors the result is led, by `likeness` from 0 to 1. `guess` is another one than the first: warmer, cooler,
        greener, rosier or plainer.
        """
        start = time.perf_counter()
        with told(reference or ""):
            other = Reference(Photo.open(reference, max_megapixels=MAX_MEGAPIXELS)) if reference else None
        with told(photo or ""):
            work = prepare(photo, working_size, self.studio.pipeline_of(model), hints_of(hints), other, likeness)
            result = work.coloring.render(colorfulness, temperature, balance=balance, guess=guess or None)
            path = save_full_size(result, photo)
        info = {
            "model": work.model_name,
            "width": work.photo.width,
            "height": work.photo.height,
            "seconds": round(time.perf_counter() - start, 3),
        }
        return path, info


def build_app(studio: Studio | None = None) -> gr.Blocks:
    """The page and its API; the model named by COLORIZER_MODEL starts to load in the background. See Page."""
    studio = studio or Studio(os.environ.get("COLORIZER_MODEL"), os.environ.get("COLORIZER_REVISION") or None)
    return Page(studio).blocks.queue(max_size=20, api_open=False)  # nothing that colors gets past the line


def launch(page: gr.Blocks, **options):
    """Serve the page with its style and its script, without which no event works; options go to gradio's launch()."""
    return page.launch(
        theme=THEME,
        css=USUAL_COLORS,
        css_paths=STYLE_SHEET,
        head=f"<script>{SCRIPT.read_text('utf-8')}</script>",
        max_file_size="320mb",  # 50 megapixels of 16-bit TIFF
        footer_links=["api"],
        run_history=False,
        state_session_capacity=1000,  # visitors, of whom gradio keeps what their page shows; its own is ten times that
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

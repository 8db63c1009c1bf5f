"""The command line: `colorizer PATH... [-o DIR]`, `colorizer models`, `push FOLDER user/repo` and `export FILE.onnx`.

Exit codes: 0 all done, 1 some photos failed or folders could not be read, 2 misuse (one sentence, before any work),
130 interrupted.
torch and the model are imported only once the arguments are known to be good and there is something to color.
"""

import argparse
import contextlib
import dataclasses
import functools
import glob
import itertools
import math
import os
import re
import sys
import tempfile
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import ImageColor
from tqdm import tqdm

from colorizer import __version__
from colorizer.dials import (
    BALANCE,
    COLORFULNESS,
    DEFAULT_LIKENESS,
    DEFAULT_REACH,
    GUESSES,
    LIKENESS,
    REACH,
    RESTRAINT,
    TEMPERATURE,
    WORKING_SIZE,
)
from colorizer.errors import ColorizerError

# A batch holds at most this many decoded pixels, whatever --batch-size says: larger photos go one at a time.
BATCH_PIXELS = 8_000_000
WRITTEN_SUFFIX = {".gif": ".png", ".bmp": ".png"}  # formats that are read but not written


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code; argparse leaves by SystemExit for --help and misuse (2)."""
    argv = sys.argv[1:] if argv is None else argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`, or of a program without a console
            setattr(sys, name, open(os.devnull, "w"))
    command = COMMANDS.get(argv[0]) if argv else None
    try:
        code = command(argv[1:]) if command else color(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # of `colorizer models | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ColorizerError, OSError) as error:
        print(f"colorizer: {shown(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("colorizer: interrupted", file=sys.stderr)
        return 130


# -- colorizer PATH... ------------------------------------------------------------------------------------------------


def color(argv: list[str]) -> int:
    start = time.perf_counter()
    if "--" in argv:  # what follows are files, which argparse would still take for flags where they begin like some
        at = argv.index("--")
        argv = argv[:at] + [word and os.path.join(".", word) for word in argv[at + 1 :]]
    args = color_parser().parse_intermixed_args(argv)
    closed: set[str] = set()

    def on_closed(error: OSError) -> None:
        if error.filename not in closed:  # "**" comes to a folder several times
            closed.add(error.filename)
            name = shown(error.filename)
            print(f"{name}: cannot be read ({error.strerror}); what is in it is left out", file=sys.stderr)

    if args.likeness is not None and args.reference is None:
        raise ColorizerError("--likeness is that to a --reference, and there is none; name one or leave it out")
    if args.reach is not None and not args.hint:
        raise ColorizerError("--reach is that of a --hint, and there is none; give one or leave it out")
    if args.reference is not None and not args.reference.is_file():
        raise ColorizerError(f"--reference: {args.reference} is no file; name a photo in color")
    jobs, results, clashes = plan(args.paths, args.output, on_closed, args.reference)
    for job, other in clashes:
        text = f"{job.source}: not colored, since {other.source} goes to {job.target}, too; give it another -o"
        print(shown(text), file=sys.stderr)
    if args.hint and len(jobs) > 1:
        raise ColorizerError(f"--hint is for one photo, and here are {len(jobs)}; color them one at a time")
    todo = [job for job in jobs if args.overwrite or not os.path.exists(job.target)]  # False for a name too long
    if (args.hint or args.reference) and jobs and not todo:
        all_of_them = "" if len(jobs) == 1 else ", as all others are"
        raise ColorizerError(f"{jobs[0].target} is there already{all_of_them}: color anew with --overwrite")
    for folder in {job.target.parent for job in todo}:
        check_writable(folder)
    run = Run(args, len(todo))
    run.failed = len(clashes)
    interrupted = False
    try:
        if todo:
            run.load()
            run.color(todo)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        run.bar.close()
    counts = [f"{run.colored} colored"]
    if skipped := len(jobs) - len(todo) + run.skipped:
        counts.append(f"{skipped} skipped (exists)")
    if results:
        counts.append(f"{results} left out (results of others)")
    if run.failed:
        counts.append(f"{run.failed} failed")
    if closed:
        counts.append(f"{len(closed)} folders not read" if len(closed) > 1 else "1 folder not read")
    if interrupted:
        counts.append(f"interrupted with {len(todo) + len(clashes) - run.colored - run.skipped - run.failed} left")
    if interrupted or not args.quiet:
        print(f"{', '.join(counts)} in {time.perf_counter() - start:.1f} s", flush=True)
    return 130 if interrupted else 1 if run.failed or closed else 0


def shown(text) -> str:
    """A message for one line: a file's name may hold line breaks, and what a terminal takes for commands."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: repr(match[0])[1:-1], str(text))


@dataclasses.dataclass(frozen=True)
class Job:
    source: Path
    target: Path


def plan(
    words: list[str], output: Path | None, on_closed: Callable[[OSError], None], reference: Path | None = None
) -> tuple[list[Job], int, list[tuple[Job, Job]]]:
    """What is to be colored and where it goes, and how many are left out as results of others that are named.

    Third, those that are left out because they become another format, and so would get the name of another that goes
    there: (job, that other). Folders that cannot be read are told to `on_closed`. ColorizerError if two others would
    have one name, or if an input or the reference would be lost.
    """
    found = {}
    for word in words:
        for source, inside in find(word, output, on_closed):
            # Named twice it is colored once; by two names, of folders that are linked, for two places.
            place, target = place_of(source), target_of(source, inside, output)
            found.setdefault((place, place_of(target)), (source, inside))
    # `colorizer *.jpg` a second time: the shell also names the first run's results, which are no inputs.
    results = {place_of(target_of(source, inside, None)) for source, inside in found.values()}
    jobs = [Job(s, target_of(s, inside, output)) for (place, _), (s, inside) in found.items() if place not in results]

    inputs = {os.path.realpath(job.source) for job in jobs}  # pathlib's would end at a link to itself
    inputs |= {os.path.realpath(reference)} if reference else set()
    inputs_folded = {folded(path) for path in inputs}
    inputs_numbered = {numbered(path) for path in inputs} - {None}
    taken, clashes = {}, []
    for job in sorted(jobs, key=lambda job: job.source.suffix.lower() in WRITTEN_SUFFIX):  # those that keep it first
        path, place = os.path.realpath(job.target), place_of(job.target)
        if ignores_case(nearest_existing(job.target.parent)):
            is_input, place = folded(path) in inputs_folded, folded(place)
        else:
            is_input = path in inputs
        if is_input or numbered(path) in inputs_numbered:
            raise ColorizerError(
                f"{job.source} would be written over the input {job.target}; name another folder with -o"
            )
        other = taken.setdefault(place, job)
        if other is not job and job.source.suffix.lower() in WRITTEN_SUFFIX:
            clashes.append((job, other))
        elif other is not job:
            raise ColorizerError(
                f"{other.source} and {job.source} would both be written to {job.target}; "
                "color them in two runs, each with its own -o"
            )
    left_out = {job for job, _ in clashes}
    return [job for job in jobs if job not in left_out], len(found) - len(jobs), clashes


def place_of(path: Path) -> str:
    """One text for a file, however its folder is named; a file that is a link is not what it leads to."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def numbered(path: str) -> tuple[int, int, str] | None:
    """The path with its folder's number for its name: a folder that is mounted twice has two names without a link.

    None if there is no such folder. Not the file's own number, which hard links share: they are not written through.
    """
    try:
        folder = os.stat(os.path.dirname(path))
    except OSError:
        return None
    return (folder.st_dev, folder.st_ino, os.path.basename(path)) if folder.st_ino else None  # 0: it has no number


def folded(path: str) -> str:
    """The path as file systems that ignore case, and how accents are written, compare it."""
    return unicodedata.normalize("NFC", path).lower()


@functools.cache
def ignores_case(folder: Path) -> bool:
    """Whether A.jpg and a.jpg are one file there, as macOS, Windows and memory cards have it."""
    try:
        with tempfile.NamedTemporaryFile(prefix="Case", dir=folder) as probe:
            return (folder / Path(probe.name).name.swapcase()).exists()
    except OSError:
        return False  # nothing can be written there: check_writable will say so


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists. ColorizerError where there is none, not even a drive."""
    for parent in (folder, *folder.absolute().parents):
        if parent.exists():
            return parent
    raise ColorizerError(f"cannot write to {folder} ({folder.anchor} is not there); name another folder")


def find(word: str, output: Path | None, on_closed: Callable[[OSError], None]):
    """The pictures that a word of the command line names, as (path, path inside the folder that was named).

    A file is taken as it is. In folders and globs only pictures count; hidden files, results of earlier runs
    (*.color.*) and the output folder do not. Folders below that cannot be read are told to `on_closed`.
    ColorizerError if there is nothing, or the folder itself cannot be read.
    """
    from colorizer.images import SUFFIXES

    if not word:  # of a variable that is not set: not the folder that one is in, as pathlib takes it
        raise ColorizerError("one PATH is empty: name a photo, a folder or a pattern")
    path = Path(word)
    if os.path.isdir(path):
        try:
            os.listdir(path)
        except OSError as error:
            raise ColorizerError(f"{word}: cannot be read ({error.strerror})") from None
        base, candidates = path, below(path, on_closed)
    elif path.exists():
        yield path, Path(path.name)
        return
    elif glob.has_magic(word):  # the shell did not expand it
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = map(Path, glob.glob(word, recursive=True))
        candidates = itertools.chain.from_iterable((match, *below(match, on_closed)) for match in matches)
    else:
        raise ColorizerError(f"{word}: no such file or folder")

    # By its path as given too: "**" comes through an output folder that is a link to elsewhere.
    outputs = [(full, Path(full(output))) for full in (os.path.realpath, os.path.abspath)] if output else []
    excluded = [(full, folder) for full, folder in outputs if Path(full(base)) in folder.parents]
    empty = True
    for picture in sorted(set(candidates)):
        inside = picture.relative_to(base)
        if (
            picture.suffix.lower() in SUFFIXES
            and not picture.stem.lower().endswith(".color")
            and not any(part.startswith(".") for part in inside.parts)
            and not any(folder in Path(full(picture)).parents for full, folder in excluded)
            and not is_loop(picture.parent, base)
            and not os.path.isdir(picture)
        ):
            yield picture, inside
            empty = False
    if empty:
        raise ColorizerError(f"{word}: no pictures here (files named *.color.* count as results)")


def below(folder: Path, on_closed: Callable[[OSError], None]) -> Iterator[Path]:
    """All files below a folder, but not behind links to other folders; nothing below what is no folder."""
    if os.path.isdir(folder):
        for parent, _, names in os.walk(folder, onerror=on_closed):
            yield from (Path(parent, name) for name in names)


@functools.cache
def is_loop(folder: Path, base: Path) -> bool:
    """Whether the path, from `base` on, comes to one folder twice, by a link that "**" would follow forever."""
    inside = folder.relative_to(base)
    places = [os.path.realpath(base / part) for part in (inside, *inside.parents)]
    return len(set(places)) < len(places)


def target_of(source: Path, inside: Path, output: Path | None) -> Path:
    suffix = WRITTEN_SUFFIX.get(source.suffix.lower(), source.suffix)
    if output is None:
        return source.with_name(f"{source.stem}.color{suffix}")
    return output / inside.with_name(source.stem + suffix)


def check_writable(folder: Path, advice: str = "name another folder with -o") -> None:
    """ColorizerError, with the advice, unless files can be made in the folder, or the nearest above it that exists."""
    try:
        tempfile.TemporaryFile(dir=nearest_existing(folder)).close()
    except OSError as error:
        raise ColorizerError(f"cannot write to {folder} ({error.strerror}); {advice}") from None


class Run:
    """One run over many photos: the pipeline, the counts and the progress bar."""

    def __init__(self, args, total: int):
        self.args = args
        self.colored = self.skipped = self.failed = 0
        self.bar = tqdm(total=total, unit="photo", disable=args.quiet or not sys.stderr.isatty(), miniters=1)

    def load(self) -> None:
        from colorizer.pipeline import ColorizationPipeline, Hint
        from colorizer.reference import Reference

        args = self.args
        with enough_memory_for("the model"):
            self.pipe = ColorizationPipeline.from_pretrained(
                args.model, revision=args.revision, token=args.token, device=args.device
            )
        model = self.pipe.model
        one_color = None if model.has_distribution else "predicts one color, not a distribution"
        paints = None if model.keeps_lightness else "paints pictures of its own"
        one_size = model.input_size and f"takes pictures of {model.input_size[1]} x {model.input_size[0]} pixels alone"
        for dial, why_not in {
            "temperature": one_color,
            "restraint": one_color,
            "balance": paints,
            "working_size": one_size,
            "hint": None if model.accepts_hints else "takes no color hints",
            "reference": one_color,
            "guess": one_color,
        }.items():
            if getattr(args, dial) and why_not:  # a restraint or balance of 0 is what such models have
                raise ColorizerError(f"--{dial.replace('_', '-')}: {model.source} {why_not}; leave it out")
        self.hints = [Hint.from_rgb(*hint, reach=args.reach) for hint in args.hint]
        with enough_memory_for(f"--reference {args.reference}"):
            self.reference = None if args.reference is None else Reference(self.read(args.reference))

    def color(self, jobs: list[Job]) -> None:
        for batch in self.batches(jobs):
            self.color_batch(batch)
            batch.clear()  # frees these photos before the next are decoded

    def batches(self, jobs: list[Job]):
        """Decodes as it goes: lists of (job, photo) of at most --batch-size photos and about BATCH_PIXELS pixels."""
        batch, pixels = [], 0
        for job in jobs:
            if self.is_there(job):
                continue
            try:
                photo = self.read(job.source)
            except Exception as error:
                self.fail(job, error)
                continue
            size = photo.width * photo.height
            if batch and pixels + size > BATCH_PIXELS:
                yield batch
                batch, pixels = [], 0
            batch.append((job, photo))
            pixels += size
            del photo
            if len(batch) == self.args.batch_size or pixels >= BATCH_PIXELS:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def is_there(self, job: Job) -> bool:
        """Whether the result is there by now, made by another run or by hand; it is counted as skipped then."""
        if self.args.overwrite or not os.path.exists(job.target):
            return False
        self.skipped += 1
        self.bar.update()
        return True

    def read(self, path: Path):
        """The Photo of a file. ColorizerError for one that cannot be read or is too large."""
        from colorizer.images import Photo

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of metadata that is torn: the picture is not
            return Photo.open(path, self.args.max_megapixels)

    def color_batch(self, batch: list) -> None:
        failure = None
        try:
            results = self.pipe(
                [photo for _, photo in batch],
                colorfulness=self.args.colorfulness,
                temperature=self.args.temperature,
                working_size=self.args.working_size,
                hints=[self.hints] * len(batch),
                batch_size=len(batch),
                balance=self.args.balance,
                restraint=self.args.restraint,
                reference=self.reference,
                likeness=self.args.likeness,
                guess=self.args.guess,
            )
        except Exception as error:
            failure = error.with_traceback(None)  # whose frames hold the memory that was short
        if failure is None:
            for (job, _), result in zip(batch, results, strict=True):
                self.save(job, result)
        elif len(batch) == 1:
            self.fail(batch[0][0], failure, self.elsewhere)
        else:  # one of them is bad, or together they are too many
            for one in batch:
                self.color_batch([one])

    def save(self, job: Job, photo) -> None:
        from colorizer.images import SUFFIXES

        if self.is_there(job):
            return
        # A name without a picture's suffix says nothing of the format: the input's own, then.
        file_format = None if job.target.suffix.lower() in SUFFIXES else photo.output_format
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            photo.save(job.target, format=file_format)
        except Exception as error:
            self.fail(job, error)
        else:
            self.colored += 1
            self.bar.update()

    @property
    def elsewhere(self) -> str:
        """What may help where a device failed that is not the CPU."""
        return "" if self.pipe.device.type == "cpu" else f" on the device {self.pipe.device}; try --device cpu"

    def fail(self, job: Job, error: Exception, advice: str = "") -> None:
        """Counts the photo as failed and says why in one sentence on stderr."""
        text = " ".join(str(error).split())
        if isinstance(error, ColorizerError):
            pass
        elif is_shortage(error):
            text = "not enough memory for this photo" + advice
        elif isinstance(error, OSError):
            text = error.strerror or text
        else:
            text = f"{type(error).__name__}: {text[:200]}{advice}"
        if " ".join(str(job.source).split()) not in text:
            text = f"{job.source}: {text}"
        tqdm.write(shown(text), file=sys.stderr)
        self.failed += 1
        self.bar.update()


def is_shortage(error: Exception) -> bool:
    """Whether memory was short: Python's own error, or one of torch's that says so."""
    return isinstance(error, MemoryError) or bool(re.search("(out of|allocate|not enough) memory", str(error)))


@contextlib.contextmanager
def enough_memory_for(what: str) -> Iterator[None]:
    """Tell in one sentence for what memory was short."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_shortage(error):
            raise
        raise ColorizerError(f"there is not enough memory for {what}") from None


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one sentence, without the usage lines
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def color_parser() -> Parser:
    parser = Parser(
        prog="colorizer",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Gives black-and-white photos color, at their own resolution and in their own format.",
        epilog="other commands:\n"
        "  colorizer models                    list the bundled models and the architectures\n"
        "  colorizer push FOLDER user/repo     put a model folder on the Hugging Face Hub\n"
        "  colorizer export FILE.onnx          write a model for programs without torch\n"
        "  (for a file called push, say, write ./push)\n\n"
        "examples:\n"
        "  colorizer photo.jpg                 writes photo.color.jpg beside it\n"
        "  colorizer scans/ -o colored/        a folder and its subfolders, names kept (GIF and BMP become PNG)\n"
        "  colorizer '**/*.tif' -o colored/    a pattern\n"
        '  colorizer photo.jpg --overwrite --hint "320,200,#75543c" --hint "80,40,#7a8fa6"\n'
        "                                      again, with two colors that you know\n"
        "  colorizer scans/ -o like-beach/ --reference beach.jpg\n"
        "                                      in the colors of a photo that has some\n",
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="photos, folders (with all below them) and patterns")
    add("-o", "--output", type=folder, metavar="DIR", help="write here (default: NAME.color.EXT beside each photo)")
    add("--overwrite", action="store_true", help="write anew what exists already (default: skip it)")
    add_model_arguments(parser)
    add("--colorfulness", type=number(*COLORFULNESS), metavar="X", help="0 gray, 1 as predicted, up to 3")
    add("--temperature", type=number(*TEMPERATURE), metavar="T", help="0.05 (bold) to 2 (muted)")
    add("--balance", type=number(*BALANCE), metavar="B", help="0 to 1: how much of a tint over all is taken away")
    add("--restraint", type=number(*RESTRAINT), metavar="R", help="0 to 1: how much softer strong colors are read")
    add(
        "--working-size",
        type=number(*WORKING_SIZE, int),
        metavar="PX",
        help="shorter side of the copy for the network; small photos are enlarged to 192 at most",
    )
    add(
        "--hint",
        type=hint,
        action="append",
        default=[],
        metavar="X,Y,COLOR",
        help="for one photo: the thing at pixel X (from the left), Y (from the top) has this color, such as "
        "320,200,#be463c or 320,200,teal (a name of CSS), but for its lightness; as often as you like",
    )
    add(
        "--reach",
        type=number(*REACH),
        metavar="R",
        help="how much of what is like a hint's place, and joined to it, gets its color, 0 (as much as the network "
        f"makes of it) to 1 (default {DEFAULT_REACH})",
    )
    add("--guess", type=guess, metavar="WORD", help=f"another guess than the first: {', '.join(GUESSES)}")
    add(
        "--reference",
        type=photo,
        metavar="PHOTO",
        help="a photo in color, of the same place or time, say, whose colors the result is led towards",
    )
    add("--likeness", type=number(*LIKENESS), metavar="L", help=f"how far, 0 to 1 (default {DEFAULT_LIKENESS})")
    add(
        "--max-megapixels",
        type=number(1, 10_000),
        default=200,
        metavar="MP",
        help="refuse larger photos (default 200)",
    )
    add("--device", type=device, help="cpu, cuda, cuda:N or mps (default: the fastest there is)")
    add("--batch-size", type=number(1, 1024, int), default=8, metavar="N", help="photos at once (default 8)")
    add("--quiet", action="store_true", help="no progress bar and no summary; failures are still told")
    add("--version", action="version", version=f"colorizer {__version__}")
    return parser


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which weights: the flags of load_model."""
    parser.add_argument("--model", metavar="NAME", help="a bundled model, a folder, or a Hub repository user/repo")
    parser.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    parser.add_argument("--token", help="Hub token for a private repository (default: HF_TOKEN or the saved login)")


def number(low, high, kind=float):
    """An argparse type: a number from low to high."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {low} to {high}")
        return value

    return parse


def hint(text: str) -> tuple[float, float, str]:
    try:
        x, y, color = (part.strip() for part in text.split(",", 2))
        ImageColor.getrgb(color)
        if not math.isfinite(float(x) + float(y)):
            raise ValueError
        return float(x), float(y), color
    except ValueError:
        what = "X,Y,COLOR, such as 320,200,#be463c or 320,200,teal"
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None


def photo(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a photo in color")
    return Path(text)


def guess(text: str) -> str:
    if text not in GUESSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(GUESSES)}")
    return text


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a folder")
    return Path(text)


def device(text: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda, cuda:N or mps")
    return text


# -- the other commands -----------------------------------------------------------------------------------------------


def models(argv: list[str]) -> int:
    parser = Parser(prog="colorizer models", description="Lists the bundled models and the registered architectures.")
    parser.parse_args(argv)
    from colorizer.hub import DEFAULT_MODEL, WEIGHTS, bundled_config, bundled_models
    from colorizer.models import list_models, model_class

    print("Bundled models (--model NAME):")
    for name in bundled_models():
        architecture = bundled_config(name)["model"]
        size = (WEIGHTS / name / "model.safetensors").stat().st_size / 1e6
        cls = model_class(architecture)
        note = " (default)" if name == DEFAULT_MODEL else ""
        if cls.kind != "colorizer":
            note = f" ({cls.kind}: colors nothing)"
        print(f"  {name:20} {size:5.1f} MB  {cls.domain:10}  {architecture}{note}")
    print("Architectures (create_model):")
    for name in list_models():
        print(f"  {name:20}           {model_class(name).domain}")
    return 0


def push(argv: list[str]) -> int:
    parser = Parser(
        prog="colorizer push", allow_abbrev=False, description="Puts a model folder on the Hugging Face Hub."
    )
    parser.add_argument("folder", metavar="FOLDER", help="holds config.json and model.safetensors; or a bundled model")
    parser.add_argument("repo_id", metavar="user/repo")
    parser.add_argument("--private", action="store_true", default=None, help="make the repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to (default: main)")
    parser.add_argument("--token", help="Hub token (default: HF_TOKEN or the saved login)")
    args = parser.parse_args(argv)
    from colorizer import hub

    print(hub.push(args.folder, args.repo_id, private=args.private, token=args.token, revision=args.revision))
    return 0


def export(argv: list[str]) -> int:
    parser = Parser(
        prog="colorizer export",
        allow_abbrev=False,
        description="Writes a model as an ONNX file, for programs without torch. It takes a minute or two.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.onnx")
    parser.add_argument("--overwrite", action="store_true", help="write anew what exists already")
    add_model_arguments(parser)
    args = parser.parse_args(argv)
    from colorizer.export import check_exportable, export_onnx
    from colorizer.hub import load_model

    check_exportable(args.file)
    if args.file.exists() and not args.overwrite:
        raise ColorizerError(f"{args.file} is there already: write it anew with --overwrite")
    check_writable(args.file.parent, "name a file in another folder")
    if sys.stderr.isatty():
        print("Following every step of the model, which takes a minute or two ...", file=sys.stderr)
    with enough_memory_for("the model"):
        inputs = export_onnx(load_model(args.model, revision=args.revision, token=args.token), args.file)
    print(f"{args.file}: {args.file.stat().st_size / 1e6:.1f} MB, from {', '.join(inputs)} to ab")
    return 0


COMMANDS = {"models": models, "push": push, "export": export}

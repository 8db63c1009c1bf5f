"""The command line, with a tiny model of random weights: what is colored, where it goes, and what is said."""

import dataclasses
import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from skimage import data

from colorizer import cli
from colorizer.errors import ColorizerError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    import torch

    from colorizer import create_model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    create_model("fusion", **TINY).save_pretrained(folder)
    return folder


TINY = dict(embedder="resnet10t", width=8, decoder_widths=(16, 16, 16))


@pytest.fixture
def colorize(tiny_model, capsys, monkeypatch, tmp_path):
    """Runs `colorizer ARGS...` in tmp_path with the tiny model; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        try:
            code = cli.main([*map(str, args), "--model", str(tiny_model), "--working-size", "64", "--device", "cpu"])
        except SystemExit as leave:
            code = leave.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def no_model(monkeypatch):
    """Fails the test if a model is loaded."""

    def load(self):
        pytest.fail("the model was loaded")

    monkeypatch.setattr(cli.Run, "load", load)


def picture(path: Path, size=(40, 30), mode="L", **options) -> Path:
    """A small photo-like picture: a smooth gradient, seeded by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[: size[1], : size[0]]
    values = 128 + 100 * np.sin(x / 9 + len(path.name)) * np.cos(y / 7)
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(path, **options)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def misuse(result, *words):
    """One sentence on stderr, nothing on stdout, exit code 2."""
    code, out, err = result
    assert (code, out) == (2, ""), result
    assert err.count("\n") == 1 and err.startswith("colorizer") and "Traceback" not in err
    for word in words:
        assert str(word) in err


# -- what is colored, and where it goes -------------------------------------------------------------------------------


def test_beside_the_input(colorize, tmp_path):
    source = picture(tmp_path / "photo.jpg", (61, 47))
    before = source.read_bytes()
    code, out, err = colorize("photo.jpg")
    assert code == 0
    assert re.fullmatch(r"1 colored in \d+\.\d s\n", out)
    assert err == ""
    assert files(tmp_path) == ["photo.color.jpg", "photo.jpg"]
    assert source.read_bytes() == before
    with Image.open(tmp_path / "photo.color.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (61, 47))


def test_tree_is_mirrored(colorize, tmp_path):
    for name in ("a.jpg", "sub/b.png", "sub/deep/c.TIF", "d.gif", "e.bmp", ".hidden.jpg", ".thumbs/f.jpg"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in/notes.txt").write_text("no picture")
    code, out, _ = colorize("in", "-o", "out")
    assert (code, out.split(" in ")[0]) == (0, "5 colored")
    assert files(tmp_path / "out") == ["a.jpg", "d.png", "e.png", "sub/b.png", "sub/deep/c.TIF"]
    formats = {name: Image.open(tmp_path / "out" / name).format for name in files(tmp_path / "out")}
    assert formats == {"a.jpg": "JPEG", "d.png": "PNG", "e.png": "PNG", "sub/b.png": "PNG", "sub/deep/c.TIF": "TIFF"}


def test_second_run_skips_and_overwrite_does_not(colorize, tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    assert colorize(".")[0] == 0
    first = (tmp_path / "a.color.png").read_bytes()
    (tmp_path / "a.color.png").write_bytes(b"mine")
    picture(tmp_path / "c.png")
    code, out, _ = colorize(".")  # a folder: the results of the first run are no inputs
    assert (code, out.split(" in ")[0]) == (0, "1 colored, 2 skipped (exists)")
    assert (tmp_path / "a.color.png").read_bytes() == b"mine"
    code, out, _ = colorize(*sorted(tmp_path.glob("*.png")))  # as the shell expands *.png
    assert (code, out.split(" in ")[0]) == (0, "0 colored, 3 skipped (exists), 3 left out (results of others)")
    code, out, _ = colorize(".", "--overwrite")
    assert (code, out.split(" in ")[0]) == (0, "3 colored")
    assert (tmp_path / "a.color.png").read_bytes() == first
    assert len(files(tmp_path)) == 6


def test_nothing_left_to_do_loads_no_model(colorize, no_model, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.color.png")
    assert colorize("a.png")[0] == 0


def test_output_folder_inside_the_input(colorize, tmp_path):
    picture(tmp_path / "a.png")
    for skipped in (0, 1):
        code, out, _ = colorize(".", "*.png", "**/*.png", "-o", "out")
        assert code == 0 and ("1 skipped" in out) == bool(skipped)
    assert files(tmp_path) == ["a.png", "out/a.png"]


def test_an_output_folder_in_the_input_that_is_a_link_to_elsewhere(colorize, tmp_path):
    picture(tmp_path / "in/sub/a.png")
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in/out")
    for skipped in (0, 1):
        for word in ("in", "in/**/*.png", tmp_path / "in/**"):
            code, out, _ = colorize(word, "-o", "in/out")
            assert code == 0 and ("1 skipped" in out) == bool(skipped or word != "in")
    assert files(tmp_path / "elsewhere") == ["sub/a.png"]


def test_input_inside_the_output_folder(colorize, tmp_path):
    picture(tmp_path / "photos/sub/a.png")
    assert colorize("photos", "-o", ".")[0] == 0
    assert files(tmp_path) == ["photos/sub/a.png", "sub/a.png"]


def test_patterns_that_the_shell_left(colorize, tmp_path):
    for name in ("x/a.png", "x/y/b.png", "x/c.jpg", "x/[d].png"):
        picture(tmp_path / name)
    assert colorize("x/**/*.png", "-o", "out")[0] == 0
    assert files(tmp_path / "out") == ["[d].png", "a.png", "y/b.png"]
    assert colorize("x/[d].png", "-o", "named")[0] == 0  # a file of that name comes before the pattern
    assert files(tmp_path / "named") == ["[d].png"]
    assert colorize("x/*", "-o", "star")[0] == 0
    assert files(tmp_path / "star") == ["[d].png", "a.png", "c.jpg", "y/b.png"]


def test_named_twice_is_colored_once(colorize, tmp_path):
    picture(tmp_path / "x/a.png")
    code, out, _ = colorize("x", "x/a.png", "./x/*.png", tmp_path / "x/a.png", "-o", "out")
    assert (code, out.split(" in ")[0]) == (0, "1 colored")


def test_files_that_are_named_like_flags(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "-a.png")
    picture(tmp_path / "b.png")
    options = ["--model", str(tiny_model), "--working-size", "64", "--device", "cpu", "--quiet"]
    assert cli.main([*options, "--", "-a.png", str(tmp_path / "b.png")]) == 0
    assert files(tmp_path) == ["-a.color.png", "-a.png", "b.color.png", "b.png"]


def test_options_between_paths(colorize, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert colorize("a.png", "-o", "out", "b.png")[0] == 0
    assert files(tmp_path / "out") == ["a.png", "b.png"]


def test_file_named_as_a_command(colorize, tmp_path):
    picture(tmp_path / "push", format="PNG")
    assert colorize("./push", "-o", "out")[0] == 0
    assert Image.open(tmp_path / "out/push").format == "PNG"
    assert colorize("models.jpg", "-o", "out")[0] == 2  # no such file, and no command


def test_batches_of_mixed_sizes(colorize, tmp_path, monkeypatch):
    """Photos go through the pipeline in batches, the large ones alone, and every one keeps its size and its name."""
    sizes = {f"{i}.png": (40 + i, 30 + 2 * i) for i in range(7)} | {"3.png": (300, 200)}
    for name, size in sizes.items():
        picture(tmp_path / "in" / name, size)
    monkeypatch.setattr(cli, "BATCH_PIXELS", 50_000)
    seen = []
    color_batch = cli.Run.color_batch
    monkeypatch.setattr(cli.Run, "color_batch", lambda run, batch: (seen.append(len(batch)), color_batch(run, batch)))
    assert colorize("in", "-o", "out", "--batch-size", "3")[0] == 0
    assert seen == [3, 1, 3]
    assert {name: Image.open(tmp_path / "out" / name).size for name in files(tmp_path / "out")} == sizes


def test_dials(colorize, tmp_path):
    picture(tmp_path / "a.png", (64, 64))
    chroma = {}
    for value in ("0", "1", "2"):
        assert colorize("a.png", "-o", value, "--colorfulness", value, "--temperature", "0.5")[0] == 0
        pixels = np.asarray(Image.open(tmp_path / value / "a.png"), dtype=float)
        chroma[value] = np.ptp(pixels, axis=-1).mean()
    assert chroma["0"] == 0 < chroma["1"] < chroma["2"]
    for dial in ("--balance", "--restraint"):
        pictures = []
        for value in ("0", "1"):
            assert colorize("a.png", "-o", f"out{dial}{value}", dial, value, "--temperature", "0.2")[0] == 0
            pictures.append((tmp_path / f"out{dial}{value}" / "a.png").read_bytes())
        assert pictures[0] != pictures[1]


def test_a_folder_that_cannot_be_read(colorize, no_model, tmp_path, monkeypatch):
    """What else there is is colored; the rest is told."""
    picture(tmp_path / "in/closed/a.png")
    picture(tmp_path / "in/open/b.png")
    picture(tmp_path / "in/open/b.color.png")
    real = os.scandir

    def scandir(folder):
        if os.path.basename(os.fspath(folder)) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        for word in ("in", "in/*", "in/**"):
            code, out, err = colorize(word)
            assert code == 1 and out.startswith("0 colored, 1 skipped (exists), 1 folder not read")
            assert err == f"{Path('in/closed')}: cannot be read (Permission denied); what is in it is left out\n"
        patch.setattr(os, "listdir", scandir)
        misuse(colorize("in/closed"), "colorizer: in/closed: cannot be read (Permission denied)")


def test_a_folder_that_can_be_listed_and_not_entered(colorize, tmp_path, monkeypatch):
    """Its files fail, as those that cannot be read do, and the others go on."""
    picture(tmp_path / "in/closed/a.png")
    picture(tmp_path / "in/open/b.png")

    def refusing(real):
        def act(path, *args, **options):
            if isinstance(path, (str, os.PathLike)) and "in/closed/" in os.fspath(path):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return real(path, *args, **options)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refusing(os.stat))
        patch.setattr("builtins.open", refusing(open))
        for word in ("in", "in/*", "in/**"):
            code, out, err = colorize(word, "-o", "out", "--overwrite")
            assert code == 1 and out.startswith("1 colored, 1 failed")
            assert err == "in/closed/a.png may not be read: check its permissions\n"
    assert files(tmp_path / "out") == ["open/b.png"]


def test_links_that_go_round(colorize, no_model, tmp_path):
    picture(tmp_path / "in/year/a.png")
    os.symlink("..", tmp_path / "in/year/up")
    jobs, *_ = cli.plan(["in/**/*.png"], Path("out"), pytest.fail)
    assert [job.target for job in jobs] == [Path("out/year/a.png")]
    (tmp_path / "in/year/b").mkdir()
    os.chdir(tmp_path / "in/year/b")
    for word in ("..", "../*.png", "."):
        if word == ".":
            picture(tmp_path / "in/year/b/c.png")
        assert cli.plan([word], tmp_path / "out", pytest.fail)[0]


def test_the_limit_of_the_size(colorize, tmp_path):
    picture(tmp_path / "a.png", (1200, 1000))
    code, _, err = colorize("a.png", "--max-megapixels", "1.1")
    assert code == 1 and "1.1 is the limit: reduce the picture or raise the limit" in err
    assert colorize("a.png", "--max-megapixels", "1.2")[0] == 0


def test_nobody_reads_on(tmp_path):
    """As in `colorizer models | head -1`."""
    run = subprocess.Popen([sys.executable, "-m", "colorizer", "models"], cwd=ROOT, stdout=-1, stderr=-1)
    run.stdout.close()
    assert (run.stderr.read(), run.wait()) == (b"", 1)


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams(closed, tiny_model, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "none.png").touch()
    words = shlex.join(command(tmp_path / "a.png", tmp_path / "none.png", "--model", tiny_model, "--device", "cpu"))
    run = subprocess.run(f"{words} {closed}", shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, "Traceback" in run.stderr) == (1, False)
    assert ("1 failed" in run.stdout, "none.png is empty" in run.stderr) == (closed == "2>&-", closed == ">&-")
    assert (tmp_path / "a.color.png").exists()


def test_names_that_would_command_the_terminal(colorize, tmp_path):
    (tmp_path / "a\n\x1b[2Jb.png").touch()
    code, _, err = colorize("a\n\x1b[2Jb.png")
    assert (code, err) == (1, "a \\x1b[2Jb.png is empty (0 bytes): give a file that holds a picture\n")
    assert colorize("c\x07.png")[2] == "colorizer: c\\x07.png: no such file or folder\n"


def test_hints(colorize, tiny_model, tmp_path):
    """As the pipeline colors with them."""
    from colorizer import ColorizationPipeline, Hint

    path = picture(tmp_path / "a.png", (64, 64))
    words = "--hint", "10,20,#0000ff", "--hint", "50.5, 40, rgb(200, 0, 0)", "--temperature", "0.05"
    assert colorize("a.png")[0] == 0
    before = (tmp_path / "a.color.png").read_bytes()
    misuse(colorize("a.png", *words), "a.color.png is there already: color anew with --overwrite")
    assert (tmp_path / "a.color.png").read_bytes() == before
    assert colorize("a.png", *words, "--overwrite")[0] == 0
    pipe = ColorizationPipeline.from_pretrained(tiny_model, device="cpu")
    dials = {"working_size": 64, "temperature": 0.05}
    hints = [Hint.from_rgb(10, 20, (0, 0, 255)), Hint.from_rgb(50.5, 40, (200, 0, 0))]
    colored = np.asarray(Image.open(tmp_path / "a.color.png"))
    assert np.array_equal(colored, pipe(path, hints=hints, **dials))
    assert not np.array_equal(colored, pipe(path, hints=hints[:1], **dials))
    assert not np.array_equal(colored, pipe(path, **dials))
    assert colorize("a.png", *words, "--overwrite", "--reach", "0.9")[0] == 0
    further = np.asarray(Image.open(tmp_path / "a.color.png"))
    hints = [dataclasses.replace(hint, reach=0.9) for hint in hints]
    assert np.array_equal(further, pipe(path, hints=hints, **dials)) and not np.array_equal(further, colored)


def test_a_hint_outside_of_the_photo(colorize, tmp_path):
    picture(tmp_path / "a.png", (64, 64))
    code, out, err = colorize("a.png", "--hint", "64,20,red")
    assert code == 1 and out.startswith("0 colored, 1 failed")
    assert err == "a.png: The hint at (64, 20) lies outside of the photo, which is 64 x 64 pixels.\n"
    assert files(tmp_path) == ["a.png"]


def test_hints_are_for_one_photo(colorize, no_model, tmp_path):
    picture(tmp_path / "in/a.png")
    picture(tmp_path / "in/b.png")
    misuse(colorize("in", "--hint", "1,2,red"), "--hint is for one photo, and here are 2; color them one at a time")


def test_a_reference_for_all_photos(colorize, tiny_model, tmp_path):
    """As the pipeline colors with it."""
    from colorizer import ColorizationPipeline

    paths = [picture(tmp_path / "in" / name, (64, 64)) for name in ("a.png", "b.png")]
    Image.fromarray(data.coffee()).save(tmp_path / "cup.png")
    assert colorize("in", "--reference", "cup.png", "--likeness", "0.9")[0] == 0
    pipe = ColorizationPipeline.from_pretrained(tiny_model, device="cpu")
    for path in paths:
        colored = np.asarray(Image.open(path.with_suffix(".color.png")))
        led = pipe(path, working_size=64, reference=tmp_path / "cup.png", likeness=0.9)
        assert np.array_equal(colored, led) and not np.array_equal(colored, pipe(path, working_size=64))


def test_another_guess(colorize, tiny_model, tmp_path):
    from colorizer import ColorizationPipeline

    path = picture(tmp_path / "a.png", (64, 64))
    assert colorize("a.png", "--guess", "greener")[0] == 0
    pipe = ColorizationPipeline.from_pretrained(tiny_model, device="cpu")
    colored = np.asarray(Image.open(tmp_path / "a.color.png"))
    assert np.array_equal(colored, pipe(path, working_size=64, guess="greener"))
    assert not np.array_equal(colored, pipe(path, working_size=64))


def test_bad_references(colorize, tmp_path):
    picture(tmp_path / "a.png")
    Image.fromarray(data.camera()).save(tmp_path / "gray.png")
    for args, words in (
        (["--reference", "gray.png"], ["gray.png is gray: a reference shows"]),
        (["--reference", "nowhere.png"], ["--reference: nowhere.png is no file; name a photo in color"]),
        (["--reference", "."], ["--reference: . is no file; name a photo in color"]),
        (["--reference", ""], ["--reference", "empty"]),
        (["--reference", "a.png", "--likeness", "2"], ["--likeness", "'2' is not a number from 0.0 to 1.0"]),
        (["--likeness", "0.5"], ["--likeness is that to a --reference, and there is none"]),
    ):
        misuse(colorize("a.png", *args), *words)
    assert files(tmp_path) == ["a.png", "gray.png"]


def test_a_reference_is_neither_overwritten_nor_in_vain(colorize, no_model, tmp_path):
    for name in ("in/a.png", "in/b.png", "out/a.png", "out/b.png"):
        picture(tmp_path / name)
    to_be_written_over = colorize("in", "-o", "out", "--overwrite", "--reference", "out/b.png")
    misuse(to_be_written_over, "in/b.png would be written over the input out/b.png")
    misuse(
        colorize("in", "-o", "out", "--reference", "in/a.png"),
        "out/a.png is there already, as all others are: color anew with --overwrite",
    )


def test_what_a_file_says_beside_its_colors_is_kept(colorize, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "A. Adams"
    picture(tmp_path / "a.jpg", exif=exif, dpi=(300, 200))
    deep = (np.mgrid[:30, :40].sum(0) * 900).astype(np.uint16)
    alpha = 65535 - deep
    tifffile.imwrite(
        tmp_path / "b.tif", np.dstack((deep, deep, deep, alpha)), photometric="rgb", extrasamples=["unassalpha"]
    )
    assert colorize("a.jpg", "b.tif", "-o", "out")[0] == 0
    with Image.open(tmp_path / "out/a.jpg") as image:
        assert image.getexif()[ExifTags.Base.Artist] == "A. Adams" and image.info["dpi"] == (300, 200)
    colored = tifffile.imread(tmp_path / "out/b.tif")
    assert colored.dtype == np.uint16 and (colored[..., :3] % 257).any()  # not 8 bits, made longer
    np.testing.assert_array_equal(colored[..., 3], alpha)


def test_results_that_are_named_beside_their_photo_are_told_of(colorize, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.color.png")
    code, out, _ = colorize("a.png", "a.color.png", "-o", "out")
    assert (code, out.split(" in ")[0]) == (0, "1 colored, 1 left out (results of others)")
    assert files(tmp_path / "out") == ["a.png"]


def test_an_output_that_is_a_link_to_itself(colorize, tmp_path):
    picture(tmp_path / "in/a.png")
    os.symlink("loop", tmp_path / "loop")
    code, _, err = colorize("in", "-o", "loop")
    assert code and "Traceback" not in err and len(err.splitlines()) == 1


# -- failures of single photos ----------------------------------------------------------------------------------------


def test_bad_files_do_not_stop_the_others(colorize, tmp_path):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.jpg").write_text("no picture")
    whole = picture(tmp_path / "in/c.jpg", (200, 200)).read_bytes()
    (tmp_path / "in/c.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/d.png").symlink_to("d.png")
    picture(tmp_path / "in/e.png")
    (tmp_path / "in/f.png").touch()
    code, out, err = colorize("in", "-o", "out")
    assert (code, out.split(" in ")[0]) == (1, "2 colored, 4 failed")
    assert [re.match(r"in.([\w.]+)\b", line)[1] for line in err.splitlines()] == ["b.jpg", "c.jpg", "d.png", "f.png"]
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["a.png", "e.png"]


def test_a_name_too_long_for_its_result_does_not_stop_the_others(colorize, tmp_path):
    picture(tmp_path / "album/a.png")
    long = picture(tmp_path / f"album/{'日' * 83}.png")  # 253 bytes of 255, without ".color"
    code, _, err = colorize("album")
    assert code == 1 and (tmp_path / "album/a.color.png").is_file()
    assert f"{long.stem}.color.png" in err and "Traceback" not in err


def test_failing_photo_does_not_take_its_batch_along(colorize, tmp_path, monkeypatch):
    from colorizer import ColorizationPipeline

    for name in "abc":
        picture(tmp_path / f"{name}.png", (50, 30) if name == "b" else (40, 30))
    call = ColorizationPipeline.__call__

    def short_of_memory(pipe, photos, **options):
        if any(photo.width == 50 for photo in photos):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes")
        return call(pipe, photos, **options)

    monkeypatch.setattr(ColorizationPipeline, "__call__", short_of_memory)
    code, out, err = colorize(".")
    assert (code, out.split(" in ")[0]) == (1, "2 colored, 1 failed")
    assert err == "b.png: not enough memory for this photo\n"
    monkeypatch.setattr(cli.Run, "elsewhere", " on the device cuda; try --device cpu")  # as where there is one
    assert colorize("b.png", "-o", "out")[2].endswith("for this photo on the device cuda; try --device cpu\n")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_for_what_all_photos_need(colorize, tmp_path, monkeypatch, error):
    picture(tmp_path / "a.png")
    picture(tmp_path / "cup.png")

    def short_of_memory(*args, **options):
        raise error

    monkeypatch.setattr("colorizer.reference.rgb_to_lab", short_of_memory)
    code, _, err = colorize("a.png", "--reference", "cup.png")
    assert (code, err) == (2, "colorizer: there is not enough memory for --reference cup.png\n")
    monkeypatch.setattr("colorizer.pipeline.ColorizationPipeline.from_pretrained", short_of_memory)
    code, _, err = colorize("a.png")
    assert (code, err) == (2, "colorizer: there is not enough memory for the model\n")


def test_full_disk_for_one(colorize, tmp_path, monkeypatch):
    from colorizer import Photo

    for name in "abc":
        picture(tmp_path / f"{name}.png")
    save = Photo.save

    def full(photo, path, **options):
        if Path(path).name.startswith("b"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(photo, path, **options)

    monkeypatch.setattr(Photo, "save", full)
    code, out, err = colorize(".")
    assert (code, out.split(" in ")[0]) == (1, "2 colored, 1 failed")
    assert err == "b.png: No space left on device\n"


# -- misuse -----------------------------------------------------------------------------------------------------------


def test_one_name_for_two(colorize, no_model, tmp_path):
    picture(tmp_path / "x/a.png")
    picture(tmp_path / "y/a.png")
    misuse(colorize("x/a.png", "y", "-o", "out"), Path("x/a.png"), Path("y/a.png"))
    assert not (tmp_path / "out").exists()


def test_pictures_that_differ_in_format_alone(colorize, tmp_path):
    """One that becomes PNG makes way for the PNG of its name, and is told; all others are colored."""
    for name in ("a.bmp", "b.bmp", "b.png", "c.bmp", "c.gif"):
        picture(tmp_path / "in" / name)
    told = "in/b.bmp: not colored, since in/b.png goes to {}/b{}.png, too", "in/c.gif: not colored, since in/c.bmp"
    for words, folder, infix in ((("in", "-o", "out"), "out", ""), (("in",), "in", ".color")):
        code, out, err = colorize(*words)
        assert (code, out.split(" in ")[0]) == (1, "3 colored, 2 failed")
        assert all(line.format(folder, infix) in err for line in told) and err.count("\n") == 2
        assert [name for name in files(tmp_path / folder) if infix in name] == [f"{name}{infix}.png" for name in "abc"]
        code, out, err = colorize(*words)
        assert (code, out.split(" in ")[0]) == (1, "0 colored, 3 skipped (exists), 2 failed")
    for name in "ab":
        with Image.open(tmp_path / f"out/{name}.png") as one, Image.open(tmp_path / f"in/{name}.color.png") as two:
            assert one.tobytes() == two.tobytes()
    by_shell = [Path("in") / name for name in files(tmp_path / "in")]  # the results, too
    code, out, _ = colorize(*by_shell)
    assert code == 1 and out.startswith("0 colored, 3 skipped (exists), 3 left out (results of others), 2 failed")


def test_what_appears_on_the_way_is_left_alone(colorize, tmp_path, monkeypatch):
    """By another run on the same folder, or by hand: before a photo is decoded, and while it is colored."""
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "in" / name)
    made = cli.Run.color_batch

    def color_batch(run, batch):
        for job, _ in batch:
            if job.source.name == "a.png":
                for name in ("a.png", "c.png"):
                    (tmp_path / "out").mkdir(exist_ok=True)
                    (tmp_path / "out" / name).write_text("theirs")
        made(run, batch)

    monkeypatch.setattr(cli.Run, "color_batch", color_batch)
    code, out, err = colorize("in", "-o", "out", "--batch-size", 1)
    assert (code, err, out.split(" in ")[0]) == (0, "", "1 colored, 2 skipped (exists)")
    assert [(tmp_path / "out" / name).read_bytes() == b"theirs" for name in ("a.png", "b.png", "c.png")] == [1, 0, 1]


def test_a_drive_that_is_not_there(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(ColorizerError, match="^cannot write to Z:/out .* is not there.; name another folder$"):
        cli.check_writable(Path("Z:/out"))


def test_names_that_differ_in_case_alone(colorize, tmp_path, monkeypatch):
    """Two files on one disk and one on another, so that the second result would take the first one's place."""
    for name in ("x/a.jpg", "y/A.JPG", "z/cafe\u0301.jpg", "w/caf\u00e9.jpg"):
        picture(tmp_path / name)
    (tmp_path / "probe").touch()
    assert cli.ignores_case(tmp_path) == (tmp_path / "PROBE").exists()
    assert files(tmp_path) == ["probe", "w/caf\u00e9.jpg", "x/a.jpg", "y/A.JPG", "z/cafe\u0301.jpg"]
    monkeypatch.setattr(cli, "ignores_case", lambda folder: False)
    if not (tmp_path / "PROBE").exists():
        assert colorize("x", "y", "w", "z", "-o", "out")[0] == 0
        assert len(files(tmp_path / "out")) == 4
    monkeypatch.setattr(cli, "ignores_case", lambda folder: True)
    misuse(colorize("x", "y", "-o", "new"), Path("x/a.jpg"), Path("y/A.JPG"), "both be written")
    misuse(colorize("z", "w", "-o", "new"), "both be written")
    picture(tmp_path / "x/A.color.JPG")
    misuse(colorize("x/a.jpg", "x/A.color.JPG"), Path("x/a.jpg"), "over the input")
    assert not (tmp_path / "new").exists()


def test_one_file_in_a_folder_of_two_names(colorize, tmp_path):
    """Once for each place that the result belongs to."""
    picture(tmp_path / "x/roll/a.png")
    os.symlink(tmp_path / "x/roll", tmp_path / "x/best")
    assert colorize("x/roll", "x/best/a.png")[1].startswith("1 colored")
    assert colorize("x/*/*.png", "-o", "out")[1].startswith("2 colored")
    assert files(tmp_path / "out") == ["best/a.png", "roll/a.png"]


def test_inputs_are_never_overwritten(colorize, no_model, tmp_path):
    source = picture(tmp_path / "x/a.png")
    before = source.read_bytes()
    for output in ("x", "x/../x", tmp_path / "x"):
        misuse(colorize("x", "-o", output, "--overwrite"), Path("x/a.png"))
    os.symlink(tmp_path / "x", tmp_path / "link")
    misuse(colorize("x", "-o", "link", "--overwrite"), Path("x/a.png"))
    assert source.read_bytes() == before


def test_inputs_are_never_overwritten_by_the_second_name_of_their_folder(colorize, tmp_path, monkeypatch):
    """As of one that is mounted twice, which no link tells of. Hard links are not written through."""
    picture(tmp_path / "in/a.png")
    shutil.copytree(tmp_path / "in", tmp_path / "again")
    real = os.stat

    def stat(path, *args, **options):
        is_name = isinstance(path, (str, os.PathLike))
        return real(os.fspath(path).replace("/again", "/in") if is_name else path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        patch.setattr(cli.Run, "load", lambda run: pytest.fail("the model was loaded"))
        misuse(colorize("in", "-o", "again", "--overwrite"), "in/a.png would be written over the input again/a.png")
        reference = picture(tmp_path / "in/b.png")
        picture(tmp_path / "other/b.png")
        misuse(colorize("other", "-o", "again", "--overwrite", "--reference", reference), "over the input again/b.png")
    before = (tmp_path / "in/a.png").read_bytes()
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "in/a.png", tmp_path / "out/a.png")
    assert colorize("in/a.png", "-o", "out", "--overwrite")[0] == 0
    assert (tmp_path / "in/a.png").read_bytes() == before != (tmp_path / "out/a.png").read_bytes()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["missing.jpg"], ["missing.jpg", "no such"]),
        (["a.png", "missing/*.jpg"], ["missing/*.jpg", "no pictures"]),
        (["empty"], ["empty", "no pictures"]),
        (["a.png", "--colorfulness", "-1"], ["--colorfulness", "-1"]),
        (["a.png", "--colorfulness", "nan"], ["--colorfulness", "nan"]),
        (["a.png", "--temperature", "0"], ["--temperature", "0"]),
        (["a.png", "--balance", "1.5"], ["--balance", "1.5"]),
        (["a.png", "--restraint", "-1"], ["--restraint", "-1"]),
        (["a.png", "--temperature", "warm"], ["--temperature", "warm"]),
        (["a.png", "--guess", "worse"], ["--guess", "'worse' is not one of warmer, cooler"]),
        (["a.png", "--hint", "1,2"], ["--hint", "'1,2' is not X,Y,COLOR"]),
        (["a.png", "--hint", "left,2,red"], ["--hint", "'left,2,red' is not X,Y,COLOR"]),
        (["a.png", "--hint", "nan,2,red"], ["--hint", "'nan,2,red' is not X,Y,COLOR"]),
        (["a.png", "--hint", "1,2,reddish"], ["--hint", "'1,2,reddish' is not X,Y,COLOR", "#be463c"]),
        (["a.png", "--hint", "1,2,red", "--reach", "1.5"], ["--reach", "1.5"]),
        (["a.png", "--reach", "0.7"], ["--reach", "--hint", "leave it out"]),
        (["a.png", "--working-size", "1.5"], ["--working-size", "1.5"]),
        (["a.png", "--batch-size", "0"], ["--batch-size", "0"]),
        (["a.png", "--device", "toaster"], ["--device", "toaster"]),
        (["a.png", "--colour", "1"], ["--colour"]),
        (["a.png", "-o", "a.png/x"], ["cannot write", "a.png"]),
        (["a.png", "-o", "a.png"], ["cannot write", "a.png"]),
        (["x" * 5000], ["xxx"]),
        ([], ["PATH"]),
        ([""], ["empty"]),
        (["a.png", "--", ""], ["empty"]),
        (["a.png", "-o", ""], ["--output", "empty"]),
    ],
)
def test_misuse(colorize, no_model, tmp_path, args, words):
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    misuse(colorize(*args), *words)
    assert files(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--device", "cuda:99"], ["cuda:99"]),
        (["--model", "no-such-model"], ["no-such-model"]),
        (["--model", "no/such-model"], ["no/such-model"]),
        (["--model", "."], ["."]),
        (["--revision", "dev"], ["revision ('dev')", "Hub repository only"]),
        (["--model", "no/such-model", "--token", "hf_a b"], ["no token"]),
        (["--model", "~nobody-of-this-name/x"], ["~nobody-of-this-name/x"]),
        (["--model", "two_stage", "--guess", "warmer"], ["--guess", "two_stage", "predicts one color"]),
        (["--model", "two_stage", "--reference", "a.png"], ["--reference", "two_stage", "predicts one color"]),
        (["--model", "two_stage", "--hint", "1,2,red"], ["--hint", "two_stage", "takes no color hints; leave it out"]),
    ],
)
def test_misuse_that_only_the_model_can_tell(colorize, tiny_model, tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    code = cli.main(["a.png", "--model", str(tiny_model), *args])  # the last --model counts
    misuse((code, *capsys.readouterr()), *words)
    assert files(tmp_path) == ["a.png"]


@pytest.mark.parametrize("dial", ["--temperature", "--restraint"])
def test_dials_of_a_distribution_for_a_model_without_one(tmp_path, capsys, dial):
    from colorizer import create_model

    create_model("fusion", **TINY, head="regression").save_pretrained(tmp_path / "model")
    picture(tmp_path / "a.png")
    code = cli.main([str(tmp_path / "a.png"), "--model", str(tmp_path / "model"), dial, "0.5"])
    misuse((code, *capsys.readouterr()), dial)
    assert cli.main([str(tmp_path / "a.png"), "--model", str(tmp_path / "model"), "--restraint", "0"]) == 0  # as it is


@pytest.mark.parametrize(("dial", "value"), [("--balance", "0.5"), ("--working-size", "64")])
def test_dials_of_photographs_for_a_model_of_digits(tmp_path, capsys, dial, value):
    picture(tmp_path / "a.png")
    misuse((cli.main([str(tmp_path / "a.png"), "--model", "mnist_cnn_bn", dial, value]), *capsys.readouterr()), dial)
    assert files(tmp_path) == ["a.png"]


def test_a_digit_is_painted(tmp_path, monkeypatch, capsys):
    from colorizer import create_model, hub
    from colorizer.drawing import draw_digits

    create_model("mnist_cnn_bn").save_pretrained(tmp_path / "weights" / "mnist_cnn_bn")
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_digits([4])[0]).save("digit.png")
    assert cli.main(["digit.png", "--model", "mnist_cnn_bn", "--device", "cpu"]) == 0
    with Image.open("digit.color.png") as image:
        assert (image.mode, image.size) == ("RGB", (28, 28))
    assert capsys.readouterr().out.startswith("1 colored")


def test_an_autoencoder_is_refused(tmp_path, monkeypatch, capsys):
    from colorizer import create_model, hub

    create_model("color_autoencoder", widths=[4, 8], latent=4).save_pretrained(tmp_path / "weights" / "first_stage")
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path / "weights")
    picture(tmp_path / "a.png")
    misuse((cli.main([str(tmp_path / "a.png"), "--model", "first_stage"]), *capsys.readouterr()), "autoencoder")
    assert cli.main(["models"]) == 0
    assert "color_autoencoder (autoencoder: colors nothing)\n" in capsys.readouterr().out


def test_quiet(colorize, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    code, out, err = colorize("a.png", "b.png", "--quiet")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "b.png" in err


# -- as a process -----------------------------------------------------------------------------------------------------


def command(*args) -> list[str]:
    return [sys.executable, "-m", "colorizer", *map(str, args)]


def test_help_and_version():
    for option, text in (("--help", "PATH"), ("--version", "colorizer 0.")):
        code = f"import sys, colorizer.cli as c\ntry: c.main(['{option}'])\nfinally: assert 'torch' not in sys.modules"
        assert text in subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)


def test_ctrl_c(tiny_model, tmp_path):
    """Ends clean: every file that is there is whole, and what was done is said."""
    first = picture(tmp_path / "in/000.jpg", (400, 300))
    for i in range(1, 400):
        shutil.copy(first, tmp_path / f"in/{i:03}.jpg")
    process = subprocess.Popen(
        command(tmp_path / "in", "-o", tmp_path / "out", "--model", tiny_model, "--batch-size", 4),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background may have been started with this signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("out/*.jpg")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    done = files(tmp_path / "out")
    assert 0 < len(done) < 400
    colored, left = map(int, re.match(r"(\d+) colored, interrupted with (\d+) left in ", out).groups())
    assert len(done) - colored in (0, 1)  # 1: interrupted between writing a file and counting it
    assert colored + left == 400
    for name in done:
        Image.open(tmp_path / "out" / name).load()


def test_progress_only_where_someone_watches(tiny_model, tmp_path):
    picture(tmp_path / "a.png")
    args = command(tmp_path / "a.png", "--model", tiny_model)
    result = subprocess.run(args, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    result = subprocess.run([*args, "--overwrite"], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    assert "1/1" in os.read(ours, 10_000).decode()
    os.close(ours)


# -- the other commands -----------------------------------------------------------------------------------------------


def test_models(capsys, tiny_model, tmp_path, monkeypatch):
    from colorizer import hub, list_models

    shutil.copytree(tiny_model, tmp_path / "fusion_tiny")
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path)
    assert cli.main(["models"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"fusion_tiny +\d+\.\d MB +photos +fusion\n", out)
    for name in list_models():
        assert f"  {name} " in out


def test_push(monkeypatch, capsys, tiny_model):
    from colorizer import hub

    misuse((cli.main(["push", "no-such-folder", "me/mine"]), *capsys.readouterr()), "no-such-folder")
    monkeypatch.chdir(tiny_model.parent)
    monkeypatch.setattr(hub, "bundled_models", lambda: [tiny_model.name])
    asked = cli.main(["push", tiny_model.name, "me/mine"])
    misuse((asked, *capsys.readouterr()), f"a folder here: write ./{tiny_model.name} for the folder")
    calls = []
    monkeypatch.setattr(hub, "push", lambda *args, **options: calls.append((*args, options)) or "URL")
    assert cli.main(["push", str(tiny_model), "me/mine", "--private", "--revision", "dev", "--token", "t"]) == 0
    assert calls == [(str(tiny_model), "me/mine", {"private": True, "token": "t", "revision": "dev"})]
    assert capsys.readouterr().out == "URL\n"
    with pytest.raises(SystemExit) as leave:
        cli.main(["push"])
    misuse((leave.value.code, *capsys.readouterr()), "FOLDER", "user/repo")

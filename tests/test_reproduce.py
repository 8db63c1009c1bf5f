"""The ladder's table and what becomes of a row. The whole of it: tests/integration/test_reproduce.py."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorizer.errors import ColorizerError
from colorizer.models import create_model
from colorizer.models.embedder import _tried_least_side
from tests.conftest import TINY
from train import ladder_figures, ladder_results, reproduce, runs
from train.recipe import parse_recipe
from train.reproduce import ROWS, Row, Source
from train.sources import list_items

ROOT = Path(__file__).parents[1]
BY_NAME = {row.name: row for row in ROWS}
SOURCE = Source(["/somewhere/train"], ["/somewhere/test"])


# --------------------------------------------------------------------------------------------------------- the table


def test_rows_fit_together():
    assert len(BY_NAME) == len(ROWS)
    for row in ROWS:
        assert row.family in ladder_results.COLUMNS
        assert row.recipe is None or (runs.RECIPES / f"{row.recipe}.yaml").is_file()
        assert row.data in reproduce.DATA or row.recipe is None
        for name in row.uses.values():  # what a row starts from comes before it
            assert ROWS.index(BY_NAME[name]) < ROWS.index(row)


@pytest.mark.parametrize("scale", ["full", "smoke"])
@pytest.mark.parametrize("row", [row for row in ROWS if row.recipe], ids=lambda row: row.name)
def test_every_row_is_a_valid_recipe(row, scale, tmp_path):
    settings = reproduce.settings_of(row, SOURCE, tmp_path, scale)
    recipe = runs.resolve(row.recipe, settings)
    assert recipe.output_dir == str(tmp_path / row.name)
    assert recipe.max_train_steps == 4 or scale == "full"
    # What the trainer is told is what was checked.
    flags = runs.command_of(row.recipe, settings, resume=False)[2:]
    assert dataclasses.asdict(parse_recipe(flags)) == dataclasses.asdict(recipe)


def test_stages_of_a_pair_have_one_decoder(tmp_path):
    for scale in ("full", "smoke"):
        for name in ("two_stage_narrow", "two_stage_wide", "two_stage_deep", "two_stage_scenes"):
            first = BY_NAME[BY_NAME[name].uses["decoder_weights"]]
            shapes = []
            for row in (first, BY_NAME[name]):
                config = reproduce.settings_of(row, SOURCE, tmp_path, scale, "wide")["model"]
                model = create_model(**config)
                shapes.append({key: value.shape for key, value in model.decoder.state_dict().items()})
            assert shapes[0] == shapes[1]


def test_codes_are_a_quarter_of_the_picture():
    for config in reproduce.VARIANTS.values():
        model = create_model("color_autoencoder", **config).eval()
        assert model.encoder(torch.zeros(1, 3, 32, 32)).numel() == 768 == 3 * 32 * 32 // 4


def test_a_row_brings_what_it_starts_from():
    def names(*wanted, **options):
        return [row.name for row in reproduce.chosen_rows(wanted, **options)]

    assert names("mnist_linear") == ["mnist_linear"]
    assert names("mnist_cnn_perceptual") == ["digit_judge", "mnist_cnn_perceptual"]
    assert names("two_stage_deep") == ["autoencoder_deep", "two_stage_deep"]
    assert names("two_stage_scenes", scenes_variant="deep") == ["autoencoder_scenes", "two_stage_scenes"]
    assert names("two_stage_scenes")[:3] == ["autoencoder_narrow", "autoencoder_wide", "autoencoder_deep"]
    assert names() == [row.name for row in ROWS]


# ------------------------------------------------------------------------------------------------------- one run's end


def describe(row=BY_NAME["mnist_linear"], source=SOURCE, output=Path("/runs"), scale="full", **changes):
    settings = reproduce.settings_of(row, source, output, scale) | changes
    return runs.describe(runs.resolve(row.recipe, settings), scale=scale, uses=reproduce.uses_of(row, output))


def finish(folder):
    """What a run leaves in the end."""
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}")


def test_what_is_trained_is_left_and_what_is_begun_goes_on(tmp_path):
    folder = tmp_path / "mnist_linear"
    assert runs.prepare_folder(folder, describe()) == "new"
    (folder / "metrics.jsonl").write_text("of a run that was stopped early")
    assert runs.prepare_folder(folder, describe()) == "new"
    assert not (folder / "metrics.jsonl").exists()
    (folder / "checkpoint-5").mkdir()
    assert runs.prepare_folder(folder, describe()) == "begun"
    finish(folder)
    assert runs.prepare_folder(folder, describe()) == "trained"
    assert runs.prepare_folder(folder, describe(logging_steps=7)) == "trained"  # no other weights by that
    moved = Source(["/elsewhere/train"], ["/elsewhere/test"])
    assert runs.prepare_folder(folder, describe(source=moved, output=Path("/other"))) == "trained"
    assert not list(tmp_path.glob("*.old-*"))


@pytest.mark.parametrize("other", [{"learning_rate": 0.5}, {"model": {"name": "mnist_cnn"}}, {"scale": "smoke"}])
def test_another_recipe_begins_anew_and_keeps_the_old_run(tmp_path, other, capsys):
    folder = tmp_path / "mnist_linear"
    for number in (1, 2):
        runs.prepare_folder(folder, describe())
        finish(folder)
        assert runs.prepare_folder(folder, describe(**other)) == "new"
        assert (tmp_path / f"mnist_linear.old-{2 * number - 1}/model/config.json").exists()
        assert "by another recipe" in capsys.readouterr().out


def test_other_weights_to_start_from_begin_anew(tmp_path):
    row = BY_NAME["two_stage_deep"]
    giver = tmp_path / "autoencoder_deep/model"
    giver.mkdir(parents=True)
    (giver / "config.json").write_text("{}")
    (giver / "model.safetensors").write_text("one")
    before = describe(row, output=tmp_path)
    assert runs.is_same(before, describe(row, output=tmp_path))
    (giver / "model.safetensors").write_text("two")
    assert not runs.is_same(before, describe(row, output=tmp_path))


def test_a_key_that_is_newer_than_the_run_has_its_default():
    row = BY_NAME["mnist_cnn"]
    before = describe(row)
    del before["recipe"]["decoder_weights"], before["recipe"]["augmentation"]
    assert not runs.is_same(before, describe(row))  # the recipe wants shifts, and the default is crops
    del before["recipe"]["streaming"]
    before["recipe"]["augmentation"] = "shifts"
    assert runs.is_same(before, describe(row))


def test_another_embedder_begins_anew():
    row = BY_NAME["fusion"]
    before = describe(row, embedder_weights="pretrained")
    assert not runs.is_same(before, describe(row, embedder_weights="/my/weights"))


def test_why_a_row_is_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert reproduce.why_not(BY_NAME["beta"], Source([], []), tmp_path) == "--photos is not given"
    assert "starts from autoencoder_deep" in reproduce.why_not(BY_NAME["two_stage_deep"], SOURCE, tmp_path)
    assert "needs a GPU" in reproduce.why_not(BY_NAME["fusion"], SOURCE, tmp_path)
    assert reproduce.why_not(BY_NAME["beta"], SOURCE, tmp_path) is None


# --------------------------------------------------------------------------------------------------------- the runner


@pytest.fixture
def script(tmp_path):
    """code -> the command that runs it as train.py."""

    def write(code: str) -> list[str]:
        path = tmp_path / "train.py"
        path.write_text("import sys, time\n" + code)
        return [sys.executable, str(path)]

    return write


def test_a_failure_is_told_in_the_trainer_s_sentence(script, capfd):
    assert runs.run(script("print('fine', file=sys.stderr)")) is None
    assert capfd.readouterr().err == "fine\n"
    problem = "print('bar\\rbar', 'train.py: No such thing.', 'a warning', sep='\\n', file=sys.stderr); sys.exit(2)"
    assert runs.run(script(problem)) == "No such thing."
    assert runs.run(script("raise ValueError('odd')")) == "ValueError: odd"
    assert runs.run(script("sys.exit(3)")) == "train.py ended with the code 3."
    assert "SIGKILL" in runs.run(script("import os; os.kill(os.getpid(), 9)"))
    assert runs.run(script("sys.exit(128 + 15)")) == "train.py was ended by SIGTERM."  # after it had saved
    assert runs.run(script("sys.exit(255)")) == "train.py ended with the code 255."


@pytest.mark.parametrize("error", [ColorizerError("No such thing."), OSError(errno.ENOSPC, "No space left", "a.json")])
def test_a_script_ends_with_a_sentence(error, capsys):
    def fails():
        raise error

    with pytest.raises(SystemExit) as end:
        runs.run_script("judge.py", fails)
    wanted = "No such thing." if isinstance(error, ColorizerError) else "a.json cannot be written (No space left): "
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f"judge.py: {wanted}")


def test_a_script_ends_with_its_code_and_hides_no_fault():
    with pytest.raises(SystemExit) as end:
        runs.run_script("judge.py", lambda: 1)
    assert end.value.code == 1
    with pytest.raises(FileNotFoundError):
        runs.run_script("judge.py", Path("/no/such/file").read_text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once(number, script, tmp_path):
    before = signal.getsignal(number)
    code = f"""
import signal
seen = []
signal.signal({int(number)}, lambda *_: seen.append(1))
open({str(tmp_path / "ready")!r}, 'w').close()
while not seen: time.sleep(0.01)
time.sleep(0.2)
open({str(tmp_path / "seen")!r}, 'w').write(str(len(seen)))
"""

    def send():
        while not (tmp_path / "ready").exists():
            threading.Event().wait(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(runs.Stopped):
        runs.run(script(code))
    assert (tmp_path / "seen").read_text() == "1"
    assert signal.getsignal(number) is before


# -------------------------------------------------------------------------------------------------------- the results


def test_training_loss_is_of_the_last_epoch():
    lines = [
        {"step": 4, "epoch": 1.0, "loss": 9.0},
        {"step": 4, "epoch": 1.0, "validation_loss": 9.0},
        {"step": 7, "epoch": 1.75, "loss": 5.0, "mse": 3.0},  # of steps 5 to 7
        {"step": 8, "epoch": 2.0, "loss": 9.0, "mse": 1.0},
    ]
    assert ladder_results.train_loss(lines) == pytest.approx((3 * 3.0 + 1.0) / 4)
    assert ladder_results.train_loss(lines[:2]) == 9.0


def write_run(folder, loss, scale="full"):
    folder.mkdir(parents=True)
    finish(folder)
    row = describe(BY_NAME["two_stage_deep_scratch"], output=folder.parent, scale=scale)
    (folder / "row.json").write_text(json.dumps(row))
    lines = [
        {"step": 10, "epoch": 1.0, "minutes": 2.5, "loss": 0.5},
        {"step": 10, "epoch": 1.0, "validation_loss": loss},
    ]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"minutes": 2.5} | line) + "\n" for line in lines) + '{"st'
    )


def test_best_variant_has_the_least_held_out_loss(tmp_path):
    variants = ("narrow", "wide", "deep")
    for variant, loss in zip(variants[:2], (0.3, 0.2), strict=True):
        write_run(tmp_path / f"two_stage_{variant}", loss)
    assert ladder_results.best_variant(tmp_path, variants, "full") is None  # one is not trained
    write_run(tmp_path / "two_stage_deep", 0.25)
    assert ladder_results.best_variant(tmp_path, variants, "full") == "wide"
    assert ladder_results.best_variant(tmp_path, variants, "smoke") is None


def test_figures_of_a_run(tmp_path):
    write_run(tmp_path / "run", 0.3)
    recipe = runs.saved_recipe(json.loads((tmp_path / "run/row.json").read_text()))
    figures = ladder_results.figures_of_run(tmp_path / "run", recipe)
    assert figures == {"images": 640, "minutes": 2.5, "train_loss": 0.5, "held_out_loss": 0.3}


def test_costs():
    single = ladder_results.cost(create_model("mnist_single"))
    assert single == {"parameters": 784 * 2352 + 2352, "flops": 2 * 784 * 2352, "input": [28, 28]}
    autoencoder = create_model("color_autoencoder")
    assert ladder_results.cost(autoencoder, 32)["flops"] * 4 == ladder_results.cost(autoencoder, 64)["flops"]
    fusion = create_model("fusion", **TINY)
    _tried_least_side.cache_clear()  # what is found out once costs no picture anything
    assert ladder_results.cost(fusion, 64) == ladder_results.cost(fusion, 64)
    planned = ladder_results.planned_cost({"model": {"name": "alpha"}, "defaults": {"working_size": 64}})
    model = create_model("alpha")
    model.defaults["working_size"] = 64
    assert planned == ladder_results.cost(model)


@pytest.mark.parametrize(
    "value, text", [(12, "12"), (309_155, "309 k"), (1_846_320, "1.85 M"), (12_900_000, "12.9 M"), (41.4e9, "41.4 G")]
)
def test_counts_in_three_digits(value, text):
    assert ladder_results.compact(value) == text


def results_of(**rows):
    plain = {"shows": "", "recipe": "x", "reason": ""}
    entries = {name: plain | {"family": BY_NAME[name].family} | entry for name, entry in rows.items()}
    return {"command": "python train/reproduce.py", "scale": "full", "rows": entries}


def test_the_table_says_what_is_not_trained():
    figures = {"parameters": 1000, "images": 5000, "minutes": 1.25, "train_loss": 0.5, "held_out_loss": 0.25}
    text = ladder_results.markdown(
        results_of(
            mnist_single={"status": "trained", "machine": "on one", "accuracy": 0.44, **figures},
            mnist_cnn={"status": "failed", "reason": "The loss is no number."},
            fusion={"status": "not trained", "reason": "it needs a GPU", "parameters": 62_200_000},
            fusion_paper={"status": "not trained", "reason": "it needs a GPU"},
        )
        | {"gray_loss_thumbnails": None}
    )
    lines = text.splitlines()
    assert "| mnist_single | 1 k |  | 5 k | 1.2 | 0.50000 | 0.25000 | 44.00% |" in lines
    assert any(line.startswith("| mnist_cnn |  |  | failed |") for line in lines)
    assert any(line.startswith("| fusion | 62.2 M |  | not trained |") for line in lines)
    assert "mnist_cnn: failed: The loss is no number." in lines
    assert "fusion, fusion_paper: not trained: it needs a GPU." in lines
    assert "Trained on one." in lines
    assert all(line.count("|") == lines[i - 1].count("|") for i, line in enumerate(lines) if line.startswith("|---"))


def test_photographs_stand_between_gray_and_truth():
    results = results_of(fusion_compact={"status": "bundled", "parameters": 12_900_000})
    judged = {"gray": {"rmse": 15.0}, "fusion_compact": {"rmse": 14.0}, "truth": {"rmse": 0.0}}
    results["photographs"] = {"photographs": 950, "rows": judged}
    rows = [line for line in ladder_results.markdown(results).splitlines() if line.startswith("| ")]
    names = [line.split("|")[1].strip() for line in rows]
    assert names[-3:] == ["gray", "fusion_compact", "truth"]
    assert "| 14.00 |" in rows[-2] and "950 held-out photographs" in ladder_results.markdown(results)


def test_photographs_figures_stay_where_nothing_is_measured(tmp_path, monkeypatch):
    """In a later command without --photos_test; so does the command in the heading, where nothing is trained."""
    monkeypatch.setattr(reproduce, "ROWS", (BY_NAME["fusion_compact"],))
    monkeypatch.setattr(ladder_figures, "draw_all", lambda *_: [])
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    reproduce.write_pictures(tmp_path / "held-out", {"one": picture})

    def after(*flags):
        assert reproduce.main(["--output_dir", str(tmp_path / "ladder"), *flags]) == 0
        return json.loads((tmp_path / "ladder/results.json").read_text())

    first = after("--photos_test", str(tmp_path / "held-out"))
    assert list(first["photographs"]["rows"]) == ["gray", "fusion_compact", "truth"]
    assert after("--report_only") == first
    reproduce.write_pictures(tmp_path / "elsewhere", {"one": picture})
    again = after("--report_only", "--photos_test", str(tmp_path / "elsewhere"))
    assert again["photographs"] == first["photographs"] and "--photos_test elsewhere" in again["command"]
    later = after("--rows", "fusion_compact")
    assert later["photographs"] == first["photographs"] and "--rows fusion_compact" in later["command"]
    path = tmp_path / "ladder/fusion_compact/evaluation.json"
    measured = json.loads(path.read_text())
    runs.write_json(path, measured | {"key": [measured["key"][0], 1]})  # as if there were other weights now
    assert list(after("--report_only")["photographs"]["rows"]) == ["gray", "truth"]


# ----------------------------------------------------------------------------------------------- made data and figures


def test_made_digits_are_in_mnist_s_format(tmp_path):
    source = reproduce.make_digits(tmp_path)
    training, test = (list_items(source.train, part=part) for part in ("train", "test"))
    assert (len(training), len(test)) == (200, 40)
    assert {item.label for item in training} == set("0123456789")
    assert training[3].read().shape == (28, 28)
    reproduce.make_digits(tmp_path)  # a second time leaves the same


def test_made_photos_are_disjoint(tmp_path):
    source = reproduce.make_photos(tmp_path, "thumbnails")
    training, test = list_items(source.train), list_items(source.test)
    assert len(training) == 18 and len(test) == 6
    assert Image.open(tmp_path / "data/thumbnails/test/rocket-0.png").size == (32, 32)


def test_figures_are_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    for name in ("a.png", "a.jpg"):
        path = ladder_figures.save(Image.fromarray(noise), tmp_path / name)
        assert Image.open(path).size == (700, 500)
    plain = ladder_figures.save(Image.new("RGB", (900, 900), "red"), tmp_path / "b.png")
    assert plain.stat().st_size < ladder_figures.LARGEST


def test_digit_samples_need_no_data(tmp_path):
    folder = tmp_path / "single"
    create_model("mnist_single").save_pretrained(folder)
    path = ladder_figures.samples("digits", {"mnist_single": str(folder)}, tmp_path)
    height = 3 * (56 + ladder_figures.LABEL + ladder_figures.GAP)
    assert Image.open(path).size == (10 * (56 + ladder_figures.GAP) - ladder_figures.GAP, height)


def test_diagrams_are_drawn_from_the_model(tmp_path):
    pytest.importorskip("visualtorch")
    pictures = {}
    for name, config in reproduce.VARIANTS.items():
        pictures[name] = ladder_figures.diagram(create_model("two_stage", **config), channels=1)
        assert ladder_figures.save(pictures[name], tmp_path / "a.png").stat().st_size < 60_000
    assert pictures["deep"].width > pictures["narrow"].width  # which has a level less


def test_curves_are_drawn_from_the_runs_own_files(tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    names = ("two_stage_narrow", "autoencoder_narrow", "mnist_cnn", "digit_judge", "alpha", "beta")
    for name in names:
        write_run(tmp_path / name, 0.3)
    for family, rows in (("thumbnails", names[:2]), ("digits", names[2:4]), ("photographs", names[4:])):
        path = ladder_figures.curves(family, rows, tmp_path, tmp_path / f"{family}.png", gray_loss=0.2)
        assert min(Image.open(path).size) > 300


# ------------------------------------------------------------------------------------------------------- as a command


def start(*arguments, cwd, **env):
    command = [sys.executable, str(ROOT / "train/reproduce.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True)


def test_explains_itself_from_anywhere(tmp_path):
    result = start("--help", cwd=tmp_path)
    assert result.returncode == 0 and "usage:" in result.stdout and "mnist_cnn_perceptual" in result.stdout


def test_a_folder_whose_name_is_no_text_loses_no_table(tmp_path):
    """Also where standard output is strict, as it is in most locales."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme")
    os.mkdir(folder)
    result = start("--digits", folder, "--report_only", cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert result.returncode == 0, result.stderr
    assert "na?me" in (tmp_path / "runs/ladder/results.md").read_text("utf-8")


def test_mistakes_are_one_sentence(as_script, tmp_path):
    result = as_script(ROOT / "train/reproduce.py", "--rows", "mnist_liner")
    assert result.returncode == 2 and result.stderr.startswith("reproduce.py: --rows has no row 'mnist_liner'")
    with pytest.raises(ColorizerError, match="--photos: there is no .*nowhere"):
        reproduce.parse_arguments(["--photos", str(tmp_path / "nowhere")])


def test_photographs_that_cannot_be_measured_are_told_before_the_first_training(tmp_path):
    folders = [tmp_path / name / "val" for name in ("a", "b")]
    for folder in folders:
        reproduce.write_pictures(folder, {"one": np.zeros((40, 40, 3), np.uint8)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ColorizerError, match="--photos_test: the folders must have different names, unlike val, val"):
        reproduce.parse_arguments(["--photos_test", *map(str, folders)])
    with pytest.raises(ColorizerError, match="empty holds no pictures"):
        reproduce.parse_arguments(["--photos_test", str(folders[0]), str(tmp_path / "empty")])
    assert reproduce.parse_arguments(["--photos_test", str(folders[0])]).photos_test == [str(folders[0])]


def test_gray_photographs_are_told_before_the_first_training(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "train_row", lambda *_: pytest.fail("a row was trained"))
    reproduce.write_pictures(tmp_path / "gray", {"one": np.full((40, 40, 3), 99, np.uint8)})
    flags = ["--scale", "smoke", "--rows", "beta", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(ColorizerError, match="photographs of gray are gray"):  # and not made ones in their place
        reproduce.main([*flags, "--photos_test", str(tmp_path / "gray")])


def test_the_arena_s_folder_is_refused_and_left_as_it_is(tmp_path):
    """Its rows would be put aside, and its results.json overwritten."""
    runs.make_folder(tmp_path / "lab_cnn/model")
    (tmp_path / "lab_cnn/model/config.json").write_text("{}")
    runs.write_json(tmp_path / "lab_cnn" / runs.RUN_FILE, {"recipe": {}})
    with pytest.raises(ColorizerError, match="has lab_cnn of train/arena.py: give another --output_dir"):
        reproduce.main(["--report_only", "--output_dir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["lab_cnn"]
    (tmp_path / "lab_cnn").rename(tmp_path / "lab_cnn.old-1")  # one that was put aside is no row
    assert not runs.saved_rows(tmp_path)


def test_a_row_that_cannot_be_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    """A recipe that is refused: the row has failed, in its sentence, and the next one is looked at."""
    broken = Row("broken", "digits", "", "mnist_single", "digits", {"learning_rate": -1.0})
    alone = Row("alone", "photographs", "", "beta", "photos")
    monkeypatch.setattr(reproduce, "ROWS", (broken, alone))
    monkeypatch.setattr(reproduce, "find_data", lambda *_: {"digits": SOURCE, "photos": Source([], [])})
    assert reproduce.main(["--output_dir", str(tmp_path)]) == 1
    results = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert results["broken"]["status"] == "failed" and "learning_rate must be more" in results["broken"]["reason"]
    assert results["alone"]["status"] == "not trained" and results["alone"]["reason"] == "--photos is not given"
    assert "failed: broken" in capsys.readouterr().err

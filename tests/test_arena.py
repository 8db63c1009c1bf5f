"""The arena: its rows, its protocol, and one recipe all the way."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage import data

from colorizer.color import rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from tests.conftest import runs_in_this_process
from train import arena, arena_results, runs
from train.checkpoints import as_plain

ROOT = Path(__file__).parents[1]
BY_NAME = {row.name: row for row in arena.ROWS}
PROTOCOL = ("train_data_dir", "picture_size", "max_train_samples", "train_batch_size", "max_train_steps",
            "lr_scheduler", "lr_warmup_steps", "mixed_precision", "seed", "augment", "augmentation")  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs: train/ and test/."""
    folder = tmp_path_factory.mktemp("photos")
    for part, names in {"train": ("astronaut", "coffee", "chelsea"), "test": ("rocket",)}.items():
        (folder / part).mkdir()
        for name in names:
            for number in range(4):
                crop = getattr(data, name)()[40 * number : 40 * number + 90, 50 * number : 50 * number + 100]
                Image.fromarray(crop).save(folder / part / f"{name}-{number}.png")
    return folder


def arguments_of(photos, tmp_path, *more):
    return arena.parse_arguments(
        [
            "--train_data_dir",
            str(photos / "train"),
            "--data",
            str(photos / "test"),
            "--output_dir",
            str(tmp_path),
            *more,
        ]
    )


def resolved(row, arguments, seed=0):
    return as_plain(runs.resolve(row.recipe, arena.settings_of(row, seed, arguments)))


def test_rows_are_told_apart_and_say_what_they_are_for():
    assert len(BY_NAME) == len(arena.ROWS) and arena_results.REFERENCE in BY_NAME
    for row in arena.ROWS:
        assert row.part in arena_results.PARTS and row.shows
        assert row.part == "field" or (row.why and row.prediction)


@pytest.mark.parametrize("row", arena.ROWS, ids=BY_NAME)
def test_every_row_is_a_recipe_under_the_same_protocol(row, photos, tmp_path):
    arguments = arguments_of(photos, tmp_path)
    recipe, reference = resolved(row, arguments), resolved(BY_NAME[arena_results.REFERENCE], arguments)
    assert recipe["ema_decay"] == (0 if row.name == "no_average" else arena.EMA_DECAY)
    for key in PROTOCOL:
        assert recipe[key] == reference[key], key
    assert recipe["max_train_steps"] == 1334 and (recipe["resolutions"] == {0.0: 96} or "resolutions" in row.overrides)
    config = dict(recipe["model"])
    with torch.device("meta"):
        create_model(config.pop("name"), **config)
    if row.part == "ablation":  # one change, and no other
        changed = {key for key in recipe if recipe[key] != reference[key]} - {"output_dir"}
        assert changed == ({"model"} if row.model else set(row.overrides))
        assert len(row.model) + len(row.overrides) == 1


def test_a_seed_has_a_folder_and_a_run_of_its_own(photos, tmp_path):
    row, arguments = BY_NAME["no_skips"], arguments_of(photos, tmp_path)
    first, second = (arena.settings_of(row, seed, arguments) for seed in (0, 1))
    assert first["seed"] == 0 and second["seed"] == 1
    assert [Path(settings["output_dir"]).name for settings in (first, second)] == ["no_skips", "no_skips-seed1"]


def test_the_perceptual_row_looks_through_a_network_of_ones_choice(photos, tmp_path):
    row, other = BY_NAME["perceptual"], BY_NAME["flagship"]
    by_default = resolved(row, arguments_of(photos, tmp_path))
    assert (by_default["perceptual_network"], by_default["perceptual_weights"]) == ("vgg16", "pretrained")
    chosen = arguments_of(photos, tmp_path, "--perceptual", "resnet18", "runs/judge/model")
    recipe = resolved(row, chosen)
    assert (recipe["perceptual_network"], recipe["perceptual_weights"]) == ("resnet18", "runs/judge/model")
    assert resolved(other, chosen) == resolved(other, arguments_of(photos, tmp_path))


def test_which_rows_are_run(photos, tmp_path):
    def chosen(*flags):
        return [row.name for row in arena.chosen_rows(arguments_of(photos, tmp_path, *flags))]

    smoke = str(ROOT / "train/recipes/smoke.yaml")
    assert chosen() == list(BY_NAME)
    assert chosen("--rows", "flagship", "lab_cnn") == ["lab_cnn", "flagship"]
    assert chosen("--recipes", smoke) == ["smoke"]
    assert chosen("--recipes", smoke, "--rows", "flagship") == ["flagship", "smoke"]
    for taken in ("flagship.yaml", "fusion_compact.yaml", "bundled.yaml", "gray.yaml", "one color.yaml", "truth.yaml"):
        (tmp_path / taken).write_text("model: {name: fusion}")
        with pytest.raises(ColorizerError, match="a name of its own"):
            chosen("--recipes", str(tmp_path / taken))
    with pytest.raises(ColorizerError, match="a name of its own"):
        chosen("--recipes", smoke, smoke)
    (tmp_path / "flagship-seed1.yaml").write_text("model: {name: fusion}")  # whose folder is that of a row's seed
    with pytest.raises(ColorizerError, match="flagship-seed1.yaml needs another name"):
        chosen("--recipes", str(tmp_path / "flagship-seed1.yaml"), "--rows", "flagship", "--seeds", "1")


def test_new_bundled_weights_are_measured_without_any_row(photos, tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(arena, "measure", lambda source, *_: measured.append(source))
    flags = ["--train_data_dir", str(photos / "train"), "--data", str(photos / "test"), "--output_dir", str(tmp_path)]
    assert arena.main([*flags, "--report_only"]) == 0 and measured == []
    assert arena.main([*flags, "--rows"]) == 0 and measured == [arena.BUNDLED]


def test_a_recipe_of_ones_own_keeps_what_the_rows_leave_out(photos, tmp_path):
    """Aging, for one, which the rows are compared without; but not steps of more views."""
    mine = tmp_path / "mine.yaml"
    mine.write_text((ROOT / "train/recipes/fusion_compact.yaml").read_text() + "gradient_accumulation_steps: 4\n")
    arguments = arguments_of(photos, tmp_path, "--recipes", str(mine))
    (row,) = arena.chosen_rows(arguments)
    assert resolved(row, arguments)["aging"] == 0.4
    assert resolved(row, arguments)["gradient_accumulation_steps"] == 1
    for key in ("aging", "documents", "levels"):
        assert resolved(BY_NAME[key], arguments)[key] and not resolved(BY_NAME["flagship"], arguments)[key]
    assert resolved(row, arguments)["optimizer"] == resolved(BY_NAME["muon"], arguments)["optimizer"] == "muon"
    assert resolved(BY_NAME["flagship"], arguments)["optimizer"] == "adamw"
    assert resolved(BY_NAME["flagship"], arguments)["defaults"] == arena.DIALS


def test_a_training_that_was_stopped_is_not_taken_for_a_trained_one(photos, tmp_path, monkeypatch):
    """Someone else may have told train.py alone to stop, which it does in good order."""
    settings = arena.settings_of(BY_NAME["regression"], 0, arguments_of(photos, tmp_path))
    monkeypatch.setattr(runs, "run", lambda command: None)
    status, why = runs.train("fusion_compact", settings)
    assert status == "failed" and "stopped" in why

    def trained(command):
        folder = Path(settings["output_dir"]) / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(runs, "run", trained)
    assert runs.train("fusion_compact", settings) == ("trained", "")


def test_only_what_followed_the_protocol_is_told(photos, tmp_path, capsys):
    """Runs of other views, begun ones, figures of another working size, and folders that only look like a row's."""
    arguments = arguments_of(photos, tmp_path)
    rows = [BY_NAME[name] for name in ("regression", "no_hints", "no_skips")]
    for row, changed in zip(rows, ({}, {"max_train_steps": 7}, {}), strict=True):
        settings = arena.settings_of(row, 0, arguments) | changed
        folder = tmp_path / row.name
        runs.make_folder(folder)
        description = runs.describe(runs.resolve(row.recipe, settings)) | {"machine": "a"}
        del description["recipe"]["documents"]  # as in a run of before there was that key
        runs.write_json(folder / runs.RUN_FILE, description)
        if row.name != "no_skips":
            tiny = {"head": "regression", "embedder": "test_resnet", "width": 4, "decoder_widths": [8, 8, 8]}
            create_model("fusion", **tiny).save_pretrained(folder / "model")
            line = {"step": 1334, "minutes": 2.0, "epoch": 1.0, "loss": 0.5}
            (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "regression-seed3.bak").mkdir()
    (tmp_path / "regression-seed3.bak" / runs.RUN_FILE).write_text("{}")

    def told():
        results = arena.collect(arguments, {})
        judged = results["sets"].get("test", {"rows": {}})["rows"]
        return results["rows"], judged, arena_results.markdown(results, [])

    cut = tmp_path / "regression-seed1"  # as after a disk was full: it costs its own row only
    shutil.copytree(tmp_path / "regression", cut)
    settings = arena.settings_of(rows[0], 1, arguments)
    runs.write_json(cut / runs.RUN_FILE, runs.describe(runs.resolve("fusion_compact", settings)) | {"machine": "a"})
    (cut / "metrics.jsonl").write_text("")
    entries = told()[0]
    assert (
        entries["regression-seed1"]["status"] == "failed" and "is not whole" in entries["regression-seed1"]["reason"]
    )
    (cut / "model/model.safetensors").unlink()
    assert told()[0]["regression-seed1"]["status"] == "failed"
    shutil.rmtree(cut)

    entries, judged, table = told()
    assert [entries[row.name]["status"] for row in rows] == ["trained", "not run", "begun"]
    assert "another protocol" in entries["no_hints"]["reason"] and not judged
    assert "| no_hints | no view carries hints | not run: what is in its folder" in table

    for given, status in ((5, "not run"), (arena.training_checksum(arguments)(), "trained")):
        saved = runs.read_json(tmp_path / "regression" / runs.RUN_FILE)
        runs.write_json(tmp_path / "regression" / runs.RUN_FILE, saved | {"pictures": given})
        entry = told()[0]["regression"]
        assert entry["status"] == status and ("on other photographs" in entry.get("reason", "")) == (given == 5)

    source, measured = str(tmp_path / "regression/model"), tmp_path / "regression/evaluation"
    figures = {"rmse_to_gray": -0.1, "colorfulness_to_truth": 0.5, "gain": None}
    labels = dict.fromkeys(("gray", "one color", "/elsewhere/model"), figures)
    moved = {"dials": {"/elsewhere/model": {}}, "data": {"test": {"photographs": 4, "rows": labels}}}
    measured.mkdir()
    runs.write_json(measured / "results.json", moved)
    pictures = arena.pictures_of(arguments)
    runs.write_json(measured / arena.KEY_FILE, arena.measurement(source, pictures, working_size=64))
    assert not told()[1] and "of other weights, photographs or settings" in capsys.readouterr().out
    runs.write_json(measured / arena.KEY_FILE, arena.measurement(source, pictures, arguments.working_size))
    entries, judged, table = told()
    assert (
        set(judged) == {"gray", "one color", "regression"}
        and "| regression | -10.0% | 0.50 |" in table
        and "elsewhere" not in table
    )
    assert "regression-seed3.bak" not in entries
    results = arena.collect(arguments, {"regression": "no room"})
    assert results["rows"]["regression"]["status"] == "failed" and not results["sets"]

    (tmp_path / "bundled").mkdir()  # whose figures are of more photographs, whatever its key says
    moved["data"]["test"]["photographs"] = 5
    runs.write_json(tmp_path / "bundled/results.json", moved)
    runs.write_json(tmp_path / "bundled" / arena.KEY_FILE, arena.measurement(arena.BUNDLED, pictures, None))
    with pytest.raises(ColorizerError, match="bundled has 5 photographs of test where other rows have 4"):
        told()


def test_what_was_measured_on_other_photographs_is_measured_again(photos, tiny_folder, tmp_path, monkeypatch):
    """Of a folder of the same name, or one that gained or lost some; but not where the same ones lie elsewhere."""
    started = []
    monkeypatch.setattr(arena, "run", started.append)  # which fails not

    def measured_again(root):
        before = len(started)
        arguments = arguments_of(root, tmp_path)
        pictures = functools.partial(arena.pictures_of, arguments)
        assert arena.measure(str(tiny_folder), tmp_path / "evaluation", arguments, 64, pictures) is None
        return len(started) > before

    (tmp_path / "evaluation").mkdir()
    assert measured_again(photos) and not measured_again(photos)
    shutil.copytree(photos, tmp_path / "moved")
    assert not measured_again(tmp_path / "moved")
    one, other = sorted((tmp_path / "moved/test").iterdir())[:2]
    shutil.copy(one, one.with_name("more.png"))
    assert measured_again(tmp_path / "moved")
    one.with_name("more.png").unlink()
    assert measured_again(tmp_path / "moved")
    shutil.copy(one, other)
    assert measured_again(tmp_path / "moved") and not measured_again(tmp_path / "moved")
    (tmp_path / "moved/train/coffee-0.png").unlink()  # the mean color is another
    assert measured_again(tmp_path / "moved")


def test_a_table_without_figures_reads_no_photographs(photos, tmp_path, monkeypatch):
    arguments = arguments_of(photos, tmp_path)
    settings = arena.settings_of(BY_NAME["no_skips"], 0, arguments)  # of before its photographs were noted down
    runs.make_folder(tmp_path / "no_skips")
    runs.write_json(tmp_path / "no_skips" / runs.RUN_FILE, runs.describe(runs.resolve("fusion_compact", settings)))
    for reader in ("pictures_of", "mean_color", "checksum"):
        monkeypatch.setattr(arena, reader, lambda *_: pytest.fail("photographs were read"), raising=False)
    rows = arena.collect(arguments, {})["rows"]
    assert rows[arena.BUNDLED]["status"] == "bundled" and rows["no_skips"]["status"] == "begun"


def test_rows_of_other_machines_are_added_where_there_is_none_here(photos, tmp_path):
    arguments = arguments_of(photos, tmp_path)
    elsewhere = arena.collect(arguments, {})
    figures = {"rmse_to_gray": -0.123, "colorfulness_to_truth": 0.5, "gain": None, "curve": []}
    trained = {"status": "trained", "machine": "on another", "parameters": 10, "flops": 20, "minutes": 3.0}
    for name in ("regression", "no_hints", "unet"):
        elsewhere["rows"][name] |= trained
    elsewhere["sets"]["test"] = {
        "photographs": 4,
        "rows": dict.fromkeys(("gray", "one color", "regression", "no_hints", "fusion_compact"), figures),
    }
    path = tmp_path / "elsewhere.json"
    runs.write_json(path, elsewhere)
    results = arena.collect(arguments, {"no_hints": "no room"})
    results["sets"]["test"] = {"photographs": 4, "rows": {"gray": {"rmse_to_gray": 0.0}}}
    arena.add_others(results, str(path))
    judged = results["sets"]["test"]["rows"]
    # What was measured here stays, and no weights come that may be others now.
    assert judged == {"gray": {"rmse_to_gray": 0.0}, "one color": figures, "regression": figures}
    assert results["rows"]["unet"]["status"] == "trained" and results["rows"]["no_hints"]["status"] == "failed"
    table = arena_results.markdown(results, [])
    assert "Trained on another." in table and "| regression | -12.3% | 0.50 |" in table
    del judged["one color"]  # which is measured with the bundled weights, and they may not be yet
    assert "| one color |" in table and "| one color |" not in arena_results.markdown(results, [])

    for change, sentence in (
        ({"views": 7}, "has views 7 where this arena has 64000"),
        ({"sets": {"test": {"photographs": 5, "rows": {}}}}, "has 5 photographs of test where this arena has 4"),
    ):
        runs.write_json(path, elsewhere | change)
        with pytest.raises(ColorizerError, match=sentence):
            arena.add_others(results, str(path))
    row, judged = elsewhere["rows"]["unet"], {"photographs": 4, "rows": {}}
    for change in (
        {"rows": [row]}, {"rows": {"unet": "trained"}}, {"rows": {"unet": {}}}, {"sets": ["test"]},
        {"sets": {"test": 4}}, {"sets": {"test": judged | {"rows": ["unet"]}}}, {"sets": {"test": {"rows": {}}}},
    ):  # fmt: skip
        runs.write_json(path, elsewhere | change)
        with pytest.raises(ColorizerError, match="is no results.json"):
            arena.add_others(results, str(path))
    path.write_text("[]")
    with pytest.raises(ColorizerError, match="is no results.json"):
        arena.add_others(results, str(path))


def test_what_failed_at_once_and_odd_names_are_told(photos, tmp_path):
    """A seed that failed before it had a folder, a recipe with signs in its name, and no path of a machine."""
    recipe = tmp_path / "my[1].yaml"
    shutil.copy(ROOT / "train/recipes/lab_cnn.yaml", recipe)
    arguments = arguments_of(photos, tmp_path, "--recipes", str(recipe), "--seeds", "1")
    rows = arena.collect(arguments, {"lab_cnn-seed1": "no room"})["rows"]
    assert rows["lab_cnn-seed1"]["status"] == "failed" and "lab_cnn" not in rows
    (row,) = arena.chosen_rows(arguments)
    folder = arena.folder_of(row, 1, arguments)
    runs.make_folder(folder)
    runs.write_json(
        folder / runs.RUN_FILE, runs.describe(runs.resolve(row.recipe, arena.settings_of(row, 1, arguments)))
    )
    rows = arena.collect(arguments, {})["rows"]
    assert rows["my[1]-seed1"]["status"] == "begun" and rows["my[1]-seed1"]["recipe"] == "my[1].yaml"


def test_the_documented_table_can_be_added(photos, tmp_path):
    documented = json.loads((ROOT / "docs/arena.json").read_text())
    results = arena.collect(arguments_of(photos, tmp_path), {})
    arena.add_others(results, str(ROOT / "docs/arena.json"))
    trained = {name for name, row in documented["rows"].items() if row["status"] == "trained"}
    assert trained and trained == {name for name, row in results["rows"].items() if row["status"] == "trained"}
    assert set(results["sets"]) == set(documented["sets"])


def test_the_ladder_s_folder_is_refused_and_left_as_it_is(photos, tmp_path):
    """Its rows would be put aside, and its results.json overwritten."""
    runs.make_folder(tmp_path / "lab_cnn")
    runs.write_json(tmp_path / "lab_cnn" / runs.RUN_FILE, {"recipe": {}, "scale": "full", "uses": {}})
    flags = ["--train_data_dir", str(photos / "train"), "--data", str(photos / "test"), "--report_only"]
    with pytest.raises(ColorizerError, match="has lab_cnn of train/reproduce.py: give another --output_dir"):
        arena.main([*flags, "--output_dir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["lab_cnn"]


def test_a_documented_command_tells_folders_of_one_name_apart():
    words = ["--scenes", "/a/train/scenes", "--scenes_test", "/a/test/scenes/", "--photos", "/b/photos"]
    command = runs.documented("train/reproduce.py", words)
    told = "--scenes train/scenes --scenes_test test/scenes --photos photos"
    assert command == f"python train/reproduce.py {told}"


def test_the_mean_color_is_of_the_pictures(tmp_path, monkeypatch):
    """Red, which fills two pictures, and blue, which fills one of another size."""
    (tmp_path / "train").mkdir()
    colors = {"red": (200, 40, 40), "redder": (210, 40, 40), "blue": (30, 60, 180)}
    for name, color in colors.items():
        picture = np.full((60, 60 if name == "red" else 90, 3), color, np.uint8)
        picture[:30, :30] += np.arange(30, dtype=np.uint8)[:, None]  # plain ones would be taken for copies
        Image.fromarray(picture).save(tmp_path / "train" / f"{name}.png")
    arguments = arena.parse_arguments(
        ["--train_data_dir", str(tmp_path / "train"), "--data", str(tmp_path), "--output_dir", str(tmp_path)]
    )
    found = arena.mean_color(arguments)
    wanted = torch.stack([rgb_to_lab(torch.tensor(c).reshape(1, 3, 1, 1) / 255)[0, 1:, 0, 0] for c in colors.values()])
    assert found == pytest.approx(wanted.mean(0).tolist(), abs=3)
    with monkeypatch.context() as patch:
        patch.setattr(arena, "prepare_pictures", lambda *_: pytest.fail("decoded again"))
        assert arena.mean_color(arguments) == found  # kept beside the rows
    (tmp_path / "train/blue.png").unlink()
    wanted = wanted[:2]
    assert arena.mean_color(arguments) == pytest.approx(wanted.mean(0).tolist(), abs=3)
    runs.write_json(tmp_path / "mean_color.json", {"key": [["train"], None], "ab": [0.0, 0.0]})  # an older version's
    assert arena.mean_color(arguments) == pytest.approx(wanted.mean(0).tolist(), abs=3)


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "train/arena.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )


def test_a_recipe_goes_all_the_way_and_is_not_trained_twice(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load((ROOT / "train/recipes/smoke.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))

    def run_arena(train: Path) -> tuple[str, str]:
        """What it says on both streams."""
        command = [
            "--train_data_dir", train, "--data", photos / "test", "--output_dir", "arena", "--recipes", "mine.yaml",
            "--views", 12, "--batch_size", 4, "--resolution", 32, "--working_size", 64, "--seeds", 1,
        ]  # fmt: skip
        with runs_in_this_process():
            code = arena.main([str(word) for word in command])
        said = capsys.readouterr()
        assert code == 0, said
        return said

    first, _ = run_arena(photos / "train")
    results = json.loads((tmp_path / "arena/results.json").read_text())
    row, folder = results["rows"]["mine-seed1"], tmp_path / "arena/mine-seed1"
    assert (row["status"], row["seed"], row["images"]) == ("trained", 1, 12)
    assert row["parameters"] > 0 and row["flops"] > 0 and row["machine"]
    assert (folder / "evaluation/results.json").is_file()
    assert list((folder / "evaluation").glob("test-*.jpg"))
    assert results["rows"]["flagship"]["status"] == "not run"
    judged = results["sets"]["test"]
    assert judged["photographs"] == 4
    assert set(judged["rows"]) == {"gray", "one color", "mine-seed1", "fusion_compact", "truth"}
    assert len(judged["rows"]["fusion_compact"]["curve"]) == 7
    table = (tmp_path / "arena/results.md").read_text()
    assert table in first and "| mine-seed1 |" in table and str(tmp_path) not in table
    with Image.open(tmp_path / "arena/arena-yours.png") as figure:
        assert figure.width > 400

    written = (folder / "model/model.safetensors").stat().st_mtime_ns
    second, progress = run_arena(photos / "train")
    assert second.count("is trained already") == 1
    assert "curve of" not in progress  # nor measured again
    assert (folder / "model/model.safetensors").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "arena/results.json").read_text()) == results

    # Other photographs in a folder of the same name: what was trained on the first stays, and is no row any more.
    shutil.copytree(photos / "train", tmp_path / "train")
    (tmp_path / "train/coffee-0.png").unlink()
    third, progress = run_arena(tmp_path / "train")
    assert "is trained already" not in third and "curve of" in progress
    assert (tmp_path / "arena/mine-seed1.old-1/model/model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--max_train_samples", "-5"], "--max_train_samples must be 1 or more, not -5."),
        (["--seeds", "0", "-1"], "--seeds must be 0 or more, not -1."),
        (["--working_size", "8"], "--working_size must be 32 to 2048 pixels, not 8."),
        (["--working_size", "4096"], "--working_size must be 32 to 2048 pixels, not 4096."),
        (["--data", "{a}/test", "{b}/test"], "--data: the folders must have different names, unlike test, test."),
        (["--data", "{empty}"], ".*empty holds no pictures"),
        (["--rows", "flagshp"], "--rows has no row 'flagshp'; there are "),
        (["--views", "0"], "--views must be 1 or more, not 0."),
        (["--also", "none.json"], "--also: there is no "),
    ],
)
def test_what_would_fail_after_a_training_is_refused_before(flags, sentence, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(photos / "test", tmp_path / "b/test")
    places = {"a": photos, "b": tmp_path / "b", "empty": tmp_path / "empty"}
    with pytest.raises(ColorizerError, match=f"^{sentence}"):
        arguments_of(photos, tmp_path, *(flag.format(**places) for flag in flags))


def test_a_folder_whose_name_is_no_text_loses_no_table(photos, tmp_path, monkeypatch):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme")
    os.symlink(photos / "test", folder)
    monkeypatch.setattr(arena, "print", lambda *words, **options: None, raising=False)  # run_script sees to that
    arguments = ["--train_data_dir", str(photos / "train"), "--data", folder, "--report_only"]
    assert arena.main([*arguments, "--output_dir", str(tmp_path / "out")]) == 0
    assert "na?me" in (tmp_path / "out/results.md").read_text("utf-8")


def test_a_mistake_is_told_in_a_sentence(photos, as_script):
    flags = ["--train_data_dir", photos / "train", "--data", photos / "test", "--recipes", "none.yaml"]
    result = as_script(ROOT / "train/arena.py", *flags)
    assert result.returncode == 2 and result.stderr.startswith("arena.py: --recipes: there is no ")
    assert not result.stdout


def test_a_row_that_fails_is_told_and_the_others_go_on(photos, tmp_path):
    (tmp_path / "broken.yaml").write_text("model: {name: fusion, head: hat}")
    result = run(
        "--train_data_dir", photos / "train", "--data", photos / "test", "--output_dir", "arena", "--recipes",
        "broken.yaml", "--views", 4, "--batch_size", 4, "--resolution", 32, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1 and "head must be 'bins' or 'regression'" in result.stderr
    row = json.loads((tmp_path / "arena/results.json").read_text())["rows"]["broken"]
    assert row["status"] == "failed" and "head must be" in row["reason"]

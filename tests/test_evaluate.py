"""The judge of colorizers, as people start it, and its figures by hand."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from PIL import Image
from skimage import data
from torch import nn

from colorizer.color import AbBins, rgb_to_lab
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from tests.conftest import TINY
from train import evaluate

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_processes_left():
    """What one test found out of its processes must not hold in the next."""
    yield
    PartialState._reset_state()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs, as source/class/name.png: five, three of them of the classifier's classes;
    and a single one."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("astronaut", "coffee", "chelsea", "rocket", "retina")):
        picture = getattr(data, name)()[60:180, 100 : 250 + 10 * number]
        for to in ("many", "single") if name == "coffee" else ("many",):
            (folder / to / "skimage" / name).mkdir(parents=True)
            Image.fromarray(picture).save(folder / to / "skimage" / name / "0.png")
    return folder


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    classes = ["skimage/astronaut", "skimage/coffee", "skimage/chelsea", "skimage/moon"]
    create_model("classifier", classes=classes, size=32).save_pretrained(folder)
    return folder


def run(*command, cwd, **env):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        text=True,
    )


def two_processes(*arguments, cwd):
    return run(
        "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1,
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0,
        ROOT / "train/evaluate.py", *arguments, cwd=cwd, ACCELERATE_USE_CPU="true",
    )  # fmt: skip


def same(one, other, path=""):
    """Asserts that two results are equal, numbers to a millionth of theirs."""
    if isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-12), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            same(one[key], other[key], f"{path}/{key}")
    else:
        assert one == other, path


def test_two_processes_find_what_one_finds(photos, tiny_folder, classifier_folder, tmp_path):
    """Also on fewer photographs than processes."""
    arguments = ["--model", tiny_folder, "--data", photos / "many", photos / "single", "--working_size", "64"]
    arguments += ["--classifier", classifier_folder, "--short_side", "96", "--device", "cpu"]
    arguments += ["--one_color", "5", "10.5", "--curve", "3"]
    one = run(ROOT / "train/evaluate.py", *arguments, "--output_dir", "one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    two = two_processes(*arguments, "--output_dir", "two", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("### many") == 1  # one process prints
    assert two.stderr.count("many:") == one.stderr.count("many:") > 0  # and shows how far it is

    single, double = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert single["processes"] == 1 and double["processes"] == 2
    same(single["data"], double["data"])
    assert (tmp_path / "one/results.md").read_text() == (tmp_path / "two/results.md").read_text()

    many = single["data"]["many"]
    assert many["photographs"] == 5 and many["labeled"] == 3 and single["data"]["single"]["labeled"] == 1
    assert list(many["rows"]) == ["gray", "one color", str(tiny_folder), "truth"]
    points = many["rows"][str(tiny_folder)]["curve"]
    assert [point["temperature"] for point in points] == list(evaluate.CURVE_TEMPERATURES)
    assert many["rows"][str(tiny_folder)]["cross_entropy"] > 3 and "cross_entropy" not in many["rows"]["gray"]
    colors = [point["colorfulness_to_truth"] for point in points]
    assert colors == sorted(colors, reverse=True) and colors[0] > colors[-1] > 0  # bold to soft
    assert points[0]["rmse_to_gray"] > points[-1]["rmse_to_gray"]  # an untrained model's boldness is error
    assert many["rows"]["truth"]["rmse"] == 0 and many["rows"]["truth"]["ssim"] == pytest.approx(1)
    assert many["rows"]["gray"]["rmse_to_gray"] == 0 and many["rows"]["gray"]["accuracy"] is not None
    dials = {"colorfulness": 1.0, "temperature": 1.0, "working_size": 64, "balance": 0.0, "restraint": 0.0}
    assert single["dials"][str(tiny_folder)] == dials
    assert single["device"] == "cpu" and set(single["versions"]) == {"torch", "timm", "accelerate", "colorizer"}
    assert single["command"].startswith("train/evaluate.py --model")

    files = {path.name for path in (tmp_path / "two").iterdir()}
    label = "--".join(tiny_folder.parts[-2:])
    assert files == {"results.json", "results.md", f"many-{label}.jpg", f"single-{label}.jpg"}
    sheets = [Image.open(tmp_path / name / f"many-{label}.jpg") for name in ("one", "two")]
    assert np.array_equal(*map(np.asarray, sheets))


def test_mistakes_are_one_sentence_and_exit_code_2(photos, as_script):
    result = as_script(ROOT / "train/evaluate.py", "--data", photos / "none")
    assert result.returncode == 2 and result.stderr.startswith("evaluate.py: ") and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"--data": ["nothing"]}, "nothing"),
        ({"--data": ["{empty}"]}, "no pictures"),
        ({"--data": ["{photos}", "{photos}"]}, "different names"),
        ({"--model": ["no_such_model"]}, "no model 'no_such_model'"),
        ({"--model": ["{classifier}"]}, "is a classifier: it colors nothing"),
        ({"--classifier": ["{tiny}"]}, "--classifier takes a model 'classifier'"),
        ({"--classifier": ["{classifier}"], "--data": ["{rocket}"]}, "No photograph lies in a folder source/class"),
        ({"--limit": ["0"]}, "--limit must be 1 or more, not 0"),
        ({"--short_side": ["8"]}, "--short_side must be 32 or more"),
        ({"--sheet_photos": ["-1"]}, "--sheet_photos must be 0 or more"),
        ({"--sheet_photos": ["1401"]}, "--sheet_photos must be 1400 or less"),
        ({"--model": ["fusion_compact", "truth"]}, "has its own row truth: .* --model ./truth"),
        ({"--data": ["{gray}"]}, "are gray"),
        ({"--data": ["{tiny_photo}"]}, "can be read|32 pixels or more"),
        ({"--output_dir": ["{file}"]}, "cannot be written to"),
        ({"--output_dir": ["/proc"]}, "output_dir /proc cannot be written to"),
    ],
)
def test_what_cannot_be_judged(photos, tiny_folder, classifier_folder, tmp_path, options, words):
    places = {"photos": photos / "many", "rocket": photos / "many/skimage/rocket", "tiny": tiny_folder}
    places |= {"classifier": classifier_folder} | {
        name: tmp_path / name for name in ("empty", "gray", "file", "tiny_photo")
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "gray/skimage/camera").mkdir(parents=True)
    Image.fromarray(data.camera()[:64, :64]).convert("RGB").save(tmp_path / "gray/skimage/camera/0.png")
    (tmp_path / "tiny_photo").mkdir()
    Image.fromarray(data.coffee()[:20, :64]).save(tmp_path / "tiny_photo/0.png")
    (tmp_path / "file").write_text("")
    given = {"--data": ["{photos}"], "--model": ["{tiny}"], "--output_dir": [str(tmp_path / "out")]} | options
    argv = [word for option, values in given.items() for word in (option, *(v.format(**places) for v in values))]
    with pytest.raises(ColorizerError, match=words) as caught:
        evaluate.main(argv)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_one_sentence(photos, tiny_folder, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import secrets\nsecrets.token_hex = lambda *_: 'a'")
    (tmp_path / ".a.partial").symlink_to("/dev/full")
    arguments = ["--model", tiny_folder, "--working_size", 32, "--data", photos / "single", "--sheet_photos", 0]
    arguments += ["--no_ssim", "--output_dir", tmp_path]
    result = run(ROOT / "train/evaluate.py", *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("evaluate.py: ") and result.stderr.endswith("make room.\n")


@pytest.mark.parametrize("temperature, words", [("9", "a number from 0.05 to 2"), ("1", "predicts one color")])
def test_dials_are_checked_before_the_first_photograph(photos, tiny_folder, tmp_path, monkeypatch, temperature, words):
    create_model("lab_cnn", width=4).save_pretrained(tmp_path / "regression")
    monkeypatch.setattr(evaluate, "judge", lambda *args, **options: pytest.fail("photographs were colored"))
    models = ["--model", str(tiny_folder), str(tmp_path / "regression"), "--temperature", temperature]
    with pytest.raises(ColorizerError, match=words):
        evaluate.main([*models, "--data", str(photos / "many"), "--output_dir", str(tmp_path / "out")])


def test_gray_and_the_truth_can_be_measured_alone(photos, tmp_path):
    options = ["--data", str(photos / "single"), "--no_ssim", "--device", "cpu", "--output_dir", str(tmp_path)]
    evaluate.main(["--model", *options])
    rows = json.loads((tmp_path / "results.json").read_text())["data"]["single"]["rows"]
    assert list(rows) == ["gray", "truth"] and rows["gray"]["rmse"] > rows["truth"]["rmse"] == 0


def test_names_that_are_no_text_lose_no_table(photos, tiny_folder, tmp_path):
    """Also where standard output is strict, as it is in most locales."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme")
    os.symlink(photos / "single", folder)
    arguments = ["--model", tiny_folder, "--working_size", 32, "--data", folder, "--sheet_photos", 0, "--no_ssim"]
    result = run(ROOT / "train/evaluate.py", *arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("### na\\udcffme (1 photographs)\n")
    assert (tmp_path / "runs/evaluation/results.md").read_text("utf-8").startswith("### na?me (1 photographs)\n")


def test_folders_are_told_apart_by_their_whole_names(photos, tmp_path, monkeypatch):
    for name in ("scans.2019", "scans.2020"):
        (tmp_path / name).symlink_to(photos / "single")
    sets = evaluate.read_sets([str(tmp_path / name) for name in ("scans.2019", "scans.2020")], 96, None)
    assert [photos.name for photos in sets] == ["scans.2019", "scans.2020"]
    monkeypatch.chdir(photos / "single")
    assert evaluate.read_sets(["."], 96, None)[0].name == "single"


# ------------------------------------------------------------------------------------------------------- the figures


def judged(results, truths):
    return evaluate.measure(results, truths, evaluate.mean_colorfulness(truths))[:2]


def test_without_ssim_all_else_is_the_same():
    truths = [data.coffee()[:64, :64], data.astronaut()[:64, :64]]
    halves = [((truth.astype(int) + evaluate.to_gray(truth)) // 2).astype(np.uint8) for truth in truths]
    wanted = evaluate.mean_colorfulness(truths)
    (whole, errors, _), (without, same_errors, _) = (
        evaluate.measure(halves, truths, wanted, ssim=ssim) for ssim in (True, False)
    )
    assert 0.5 < whole.pop("ssim") < 1 and without == whole and (errors == same_errors).all()


def test_cross_entropy():
    """Uniform, it is log K times the weights' mean; less for who knows, and more for who takes one for the other."""
    truths = [data.coffee()[:64, :64], data.astronaut()[:64, :64]]
    cost, bins = evaluate.CrossEntropy(truths), AbBins()

    def colors(truth, size=64):
        return nn.functional.adaptive_avg_pool2d(rgb_to_lab(evaluate.to_tensor(truth))[:, 1:], size)

    def knowing(truth):
        index, share = bins.encode(colors(truth))
        return torch.zeros(1, len(bins), 64, 64).scatter_(1, index, 10 * share)

    def mean(logits):
        return np.mean([cost(one, truth) for one, truth in zip(logits, truths, strict=True)])

    for size in (64, 16):  # the truth is averaged over the places of a coarser grid
        nearest = torch.cat([bins.encode(colors(truth, size))[0][:, 0] for truth in truths])
        uniform = mean([torch.zeros(1, len(bins), size, size)] * 2)
        assert uniform == pytest.approx(math.log(len(bins)) * cost.loss.weights[nearest].mean().item(), rel=1e-4)
    known = [knowing(truth) for truth in truths]
    assert mean(known) < 0.8 * uniform and mean(known) < 0.8 * mean(known[::-1])
    assert cost.loss.weights.max() > 2 * cost.loss.weights.min()  # a rare color's and a common one's


def test_rows_of_the_table():
    truths = [data.coffee()[:64, :64], data.astronaut()[:64, :64]]
    grays = [evaluate.to_gray(truth) for truth in truths]
    halves = [((t.astype(int) + g) // 2).astype(np.uint8) for t, g in zip(truths, grays, strict=True)]
    rows, errors = {}, {}
    for name, results in {"gray": grays, "half": halves, "truth": truths}.items():
        rows[name], errors[name] = judged(results, truths)
    for row in rows.values():
        evaluate.compare(row, rows["gray"], rows["truth"])
    half = rows["half"]
    assert -0.65 < half["rmse_to_gray"] < -0.35  # half of the way to the truth
    assert 1.7 < half["gain"] < 2.3
    assert half["equal_rmse_to_gray"] < -0.8  # amplified, it is the truth but for the blend's nonlinearity
    assert rows["gray"]["gain"] is None and rows["gray"]["colorfulness"] < 1
    assert rows["gray"]["histogram_distance"] > half["histogram_distance"] > rows["truth"]["histogram_distance"] == 0
    assert rows["gray"]["ssim"] < half["ssim"] < rows["truth"]["ssim"] == pytest.approx(1)
    ab, true_ab = (
        [rgb_to_lab(evaluate.to_tensor(picture))[:, 1:] for picture in pictures] for pictures in (halves, truths)
    )
    counts = sum(evaluate.metrics.ab_error_counts(*pair) for pair in zip(ab, true_ab, strict=True))
    assert half["auc"] == evaluate.metrics.area_under_curve(counts)
    assert half["auc_rebalanced"] == evaluate.metrics.area_under_curve(counts, rebalanced=True) < half["auc"]
    assert 0.3 < half["colorfulness_to_truth"] < 0.7 and rows["truth"]["colorfulness_to_truth"] == 1
    assert half["dcf"] == pytest.approx(rows["truth"]["colorfulness"] - half["colorfulness"])
    assert rows["gray"]["psnr"] < half["psnr"] < 40
    assert errors["half"].shape == (2,)
    assert half["rmse"] == pytest.approx((errors["half"] ** 2).mean() ** 0.5)
    table = evaluate.markdown("set", 2, rows)
    assert table.count("\n") == 7 and "| half |" in table
    assert "SSIM" in table and "accuracy" not in table and "FID" not in table  # what was not measured is left out


class TellsRed(nn.Module):
    """A classifier by hand: red where red is the greatest channel, on average, else blue."""

    classes = ["s/red", "s/blue"]

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, rgb):
        red, _, blue = rgb.mean((2, 3)).unbind(1)
        return self.scale * torch.stack([red, blue], dim=1)


def test_accuracy_counts_the_photographs_whose_class_is_known():
    flat = {name: np.full((4, 4, 3), color, np.uint8) for name, color in (("red", (9, 0, 0)), ("blue", (0, 0, 9)))}
    pictures = [flat["red"], flat["blue"], flat["blue"], flat["red"], flat["red"]]
    labels = ["s/red", "s/red", "s/blue", None, "s/green"]
    right = evaluate.recognize(pictures, labels, TellsRed())
    assert right.tolist() == [True, False, True]


def test_accuracy_has_wilsons_interval():
    row = evaluate.accuracy(np.array([True] * 8 + [False] * 2))
    assert row["accuracy"] == 80
    assert row["accuracy_interval"] == pytest.approx([49.02, 94.33], abs=0.01)  # as tables of it say
    assert evaluate.accuracy(np.ones(10, bool))["accuracy_interval"][1] == pytest.approx(100)


def test_a_model_beside_the_first():
    """The interval of a difference that all photographs share holds it closely; where they differ it is wide."""
    generator = np.random.default_rng(1)
    first = generator.uniform(2, 4, 200)
    for other, least, most in ((first + 0.1, 0, 1e-6), (generator.permutation(first) + 0.1, 0.18, 0.28)):
        row = evaluate.beside("cost", lambda first, other: other - first, [first, other])
        low, high = row["cost_beside_first_interval"]
        assert row["cost_beside_first"] == pytest.approx(0.1)
        assert least <= high - low <= most and (low + high) / 2 == pytest.approx(0.1, abs=0.02)
    assert row == evaluate.beside("cost", lambda first, other: other - first, [first, other])  # seeded


def test_the_second_model_is_held_against_the_first(photos, tiny_folder, tmp_path):
    torch.manual_seed(1)
    create_model("fusion", **TINY).save_pretrained(tmp_path / "other")
    first, other = str(tiny_folder), str(tmp_path / "other")
    argv = ["--data", str(photos / "many"), "--no_ssim", "--sheet_photos", "0", "--working_size", "32"]
    evaluate.main(["--model", first, other, *argv, "--output_dir", str(tmp_path)])
    rows = json.loads((tmp_path / "results.json").read_text())["data"]["many"]["rows"]
    for whole, key in (
        ("equal_rmse_to_gray", "equal_rmse_beside_first"),
        ("cross_entropy", "cross_entropy_beside_first"),
    ):
        assert key not in rows[first]
        assert rows[other][key] == pytest.approx(rows[other][whole] - rows[first][whole], abs=1e-6)
        low, high = rows[other][f"{key}_interval"]
        assert low < rows[other][key] < high
    assert "RMSE at equal CF beside the first's" in (tmp_path / "results.md").read_text()


def test_gap_closed():
    """Of 400 photographs 100 are recognized in gray, 300 real, and 150 recolored: a quarter of the gap."""
    order = np.arange(400)
    row = evaluate.gap_closed(order < 100, order < 150, order < 300)
    assert row["gap_closed"] == 0.25
    low, high = row["gap_closed_interval"]
    assert 0.15 < low < 0.22 and 0.28 < high < 0.35
    assert row == evaluate.gap_closed(order < 100, order < 150, order < 300)  # seeded

    # The same by resampling the photographs themselves.
    drawn = np.random.default_rng(1).integers(400, size=(4000, 400))
    gray, colored, real = ((drawn < n).sum(1) for n in (100, 150, 300))
    assert [low, high] == pytest.approx(np.percentile((colored - gray) / (real - gray), [2.5, 97.5]), abs=0.01)

    assert evaluate.gap_closed(order < 100, order < 150, order < 100) == {"gap_closed": None}
    assert "gap_closed_interval" not in evaluate.gap_closed(order[:4] < 1, order[:4] < 2, order[:4] < 2)
    assert "25% [" in evaluate.markdown("set", 400, {"model": row})


# --------------------------------------------------------------------------------------------------------------- FID


class MeanColor(nn.Module):
    """Features by hand: the mean color and its square."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, pictures):
        assert pictures.dtype == torch.uint8
        mean = (pictures * self.scale).mean((2, 3))
        return torch.cat([mean, mean**2], dim=1)


def test_frechet_distance_by_the_formula():
    """Of Gaussians whose covariances are diagonal: |difference of means|^2 + sum (deviation - deviation)^2."""
    pytest.importorskip("torchmetrics")
    signs = np.array([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    unbiased = (4 / 3) ** 0.5  # of the deviation of four values
    distance = evaluate.frechet_distance(signs * [3, 1] + [5, 0], signs)
    assert distance == pytest.approx(25 + (2 * unbiased) ** 2, rel=1e-6)
    assert evaluate.frechet_distance(signs, signs) == pytest.approx(0, abs=1e-6)


def test_fid_of_the_rows(photos, tiny_folder, tmp_path, monkeypatch):
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr(evaluate, "load_inception", lambda device: MeanColor())
    options = ["--model", str(tiny_folder), "--working_size", "64", "--sheet_photos", "0", "--fid", "--device", "cpu"]
    evaluate.main(["--data", str(photos / "many"), *options, "--output_dir", str(tmp_path)])
    rows = json.loads((tmp_path / "results.json").read_text())["data"]["many"]["rows"]
    assert rows["gray"]["fid"] > 0 and rows[str(tiny_folder)]["fid"] > 0 and "fid" not in rows["truth"]
    assert "FID" in (tmp_path / "results.md").read_text() and not list(tmp_path.glob("*.jpg"))
    with pytest.raises(ColorizerError, match="two photographs or more"):
        evaluate.main(["--data", str(photos / "single"), *options, "--output_dir", str(tmp_path)])


def test_fid_without_its_network_is_one_sentence(photos, tiny_folder, tmp_path, monkeypatch):
    pytest.importorskip("torchmetrics")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing answers
    with pytest.raises(ColorizerError, match="cannot be had .*leave --fid out") as caught:
        evaluate.main(["--data", str(photos / "many"), "--model", str(tiny_folder), "--fid"])
    assert "\n" not in str(caught.value)


def test_fid_without_its_library_says_which_to_install(photos, tiny_folder, tmp_path, monkeypatch):
    """By its name in the registry, where ours is not to be had."""
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    options = ["--model", str(tiny_folder), "--fid", "--output_dir", str(tmp_path)]
    with pytest.raises(ColorizerError, match=r"pip install 'torchmetrics\[image\]'"):
        evaluate.main(["--data", str(photos / "many"), *options])


# -------------------------------------------------------------------------------------------------------- the sheets


def test_best_median_and_worst():
    relative = np.array([0.9, 0.2, 1.5, 0.4, 0.8, 0.6, 1.1, 0.3, 0.7])
    chosen = evaluate.extremes(relative)
    assert chosen == {"best": [1, 7, 3], "median": [5, 8, 4], "worst": [2, 6, 0]}
    assert evaluate.extremes(np.ones(1)) == {"best": [0], "median": [0], "worst": [0]}
    many = evaluate.extremes(np.random.default_rng(0).random(100))
    assert {len(part) for part in many.values()} == {evaluate.EXTREMES}


def test_contact_sheet():
    """The best stands first; pictures that are not square lose their sides."""
    blue, red = (np.full((50, 90, 3), color, np.uint8) for color in ((0, 0, 255), (255, 0, 0)))
    blue[:, :20] = red[:, -20:] = 255
    sheet = evaluate.contact_sheet([red, blue], [blue, blue], relative=np.array([2.0, 0.0]), shown=2)
    side, line = evaluate.SIDE, evaluate.LINE
    assert sheet.size == (2 * (3 * side + evaluate.GAP) - evaluate.GAP, 4 * (line + side + line))
    middle = line + side // 2
    gray, prediction, truth = (sheet.getpixel((int((column + 0.5) * side), middle)) for column in range(3))
    assert len(set(gray)) == 1 and prediction == truth == (0, 0, 255)
    assert sheet.getpixel((side + 2, middle)) == sheet.getpixel((2 * side - 2, middle)) == (0, 0, 255)
    worst = 2 * (line + side + line) + middle
    assert sheet.getpixel((side + side // 2, worst)) == (255, 0, 0)
    heading = np.asarray(sheet)[:line, :side]
    assert (heading != 255).any()  # "best"


def test_the_dials_that_are_given_are_those_of_the_results(photos, tiny_folder, tmp_path):
    argv = ["--model", str(tiny_folder), "--data", str(photos / "single"), "--no_ssim", "--sheet_photos", "0"]
    evaluate.main([*argv, "--working_size", "32", "--colorfulness", "0", "--output_dir", str(tmp_path)])
    (judged,) = json.loads((tmp_path / "results.json").read_text())["data"].values()
    assert judged["rows"][str(tiny_folder)]["colorfulness_to_truth"] < 0.01


def test_a_curve_of_photographs_that_are_gray_by_chance(photos, tiny_folder):
    gray = np.repeat(data.camera()[:64, :64, None], 3, 2)
    pipe = evaluate.ColorizationPipeline.from_pretrained(tiny_folder, device="cpu")
    given = dict.fromkeys(evaluate.DIALS) | {"working_size": 32}
    points = evaluate.curve(evaluate.PhotoSet("gray", [gray], [None], 1), pipe, 1, given, "tiny")
    assert all(math.isfinite(point["rmse_to_gray"]) for point in points)


def test_a_gray_set_is_told_before_any_other_is_colored(photos, tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "gray").mkdir()
    Image.fromarray(data.camera()[:64, :64]).save(tmp_path / "gray/0.png")
    monkeypatch.setattr(evaluate, "judge", lambda *args, **options: pytest.fail("photographs were colored"))
    argv = ["--model", str(tiny_folder), "--data", str(photos / "many"), str(tmp_path / "gray")]
    with pytest.raises(ColorizerError, match="^The photographs of gray are gray"):
        evaluate.main([*argv, "--output_dir", str(tmp_path / "out")])


def test_sheets_of_different_models_have_different_names():
    sources = ["fusion_compact", "runs/mine/model", "runs/other/model", "/a/x/model", "/b/x/model", "user/repo"]
    labels = [evaluate.file_label(source, sources) for source in sources]
    assert labels == ["fusion_compact", "mine--model", "other--model", "a--x--model", "b--x--model", "user--repo"]
    assert evaluate.file_label(".", ["."]) == "."
    sources = ["a/model", "../a/model", "b/a/model"]
    assert [evaluate.file_label(source, sources) for source in sources] == [
        "a--model--1",
        "a--model--2",
        "b--a--model",
    ]


def test_the_limit_draws_the_same_photographs_every_time(photos):
    (all_of_them,) = evaluate.read_sets([photos / "many"], 96, None)
    (three,) = evaluate.read_sets([photos / "many"], 96, 3)
    (again,) = evaluate.read_sets([photos / "many"], 96, 3)
    assert all_of_them.total == 5 and three.total == len(three.truths) == 3
    assert all(map(np.array_equal, three.truths, again.truths))
    assert all_of_them.labels[0] == "skimage/astronaut"  # labels are 'source/class'


def test_explains_itself_from_anywhere(tmp_path):
    result = run(ROOT / "train/evaluate.py", "--help", cwd=tmp_path)
    assert result.returncode == 0 and "usage:" in result.stdout
    said = " ".join(result.stdout.split())
    assert "it says nothing against published numbers" in said and "pip install 'torchmetrics[image]'" in said

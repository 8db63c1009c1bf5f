"""The examination of a colorizer, as people start it, and its rules by hand."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer.color import lab_to_rgb
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from colorizer.pipeline import ColorizationPipeline
from train import examine

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four crops of scikit-image's photographs, of several shapes."""
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("astronaut", "coffee", "chelsea", "rocket")):
        Image.fromarray(getattr(data, name)()[60:180, 100 : 220 + 20 * number]).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def truths(photos):
    return examine.read_photos(str(photos), 512, 4)


@pytest.fixture(scope="module")
def bundled():
    return ColorizationPipeline.from_pretrained("fusion_compact", device="cpu")


@pytest.fixture(scope="module")
def regression():
    """A model without a distribution that takes no hints, with random weights."""
    return ColorizationPipeline(create_model("alpha"), device="cpu")


def run(*arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, str(ROOT / "train/examine.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        text=True,
    )


def test_all_parts_from_the_command_line(photos, tiny_folder, tmp_path):
    arguments = ["--model", tiny_folder, "--data", photos, "--photos", 3, "--short_side", 64, "--output_dir", "out"]
    result = run(*arguments, "--device", "cpu", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "aged: 100%" in result.stderr  # how far it is
    report = json.loads((tmp_path / "out/results.json").read_text())
    assert list(report["parts"]) == list(examine.PARTS)
    assert len(report["photographs"]) == 3 and report["model"] == str(tiny_folder) and report["device"] == "cpu"
    text = (tmp_path / "out/results.md").read_text()
    for name, part in report["parts"].items():
        assert part["says"] in text and part["says"] in result.stdout and f"### {name}\n" in text
        assert all(np.isfinite(v) for row in part["rows"] for v in row.values() if isinstance(v, float))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "results.json",
        "results.md",
        "broken-1.jpg",
        "hints.jpg",
        "reach.jpg",
        "references.jpg",
        "guesses.jpg",
        "aged.jpg",
        "gray.jpg",
    }


def test_some_parts_alone(photos, tiny_folder, tmp_path):
    options = ["--model", str(tiny_folder), "--data", str(photos), "--output_dir", str(tmp_path)]
    examine.main([*options, "--only", "formats", "broken", "--photos", "2"])
    assert list(json.loads((tmp_path / "results.json").read_text())["parts"]) == ["broken", "formats"]


def test_names_that_are_no_text_lose_no_table(tiny_folder, tmp_path):
    """Also where standard output is strict, as it is in most locales."""
    (tmp_path / "photos").mkdir()
    name = os.fsdecode(b"na\xffme.png")
    Image.new("RGB", (40, 40), (0, 0, 255)).save(tmp_path / "photos" / name)  # a cast, whatever it is colored
    arguments = ["--model", tiny_folder, "--data", tmp_path / "photos", "--only", "broken", "--output_dir", "out"]
    result = run(*arguments, cwd=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert result.returncode == 0, result.stderr
    assert "| na\\udcffme.png | cast " in result.stdout
    assert "| na?me.png | cast " in (tmp_path / "out/results.md").read_text("utf-8")
    assert json.loads((tmp_path / "out/results.json").read_text())["photographs"] == [name]


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "options, words",
    [
        ({"--only": ["broken", "colors"]}, "--only takes broken, hints, .*, not 'colors'"),
        ({"--data": ["{empty}"]}, "no pictures"),
        ({"--data": ["nothing"]}, "nothing"),
        ({"--data": ["{gray}"]}, "are gray"),
        ({"--data": ["{small}"]}, "32 pixels or more"),
        ({"--model": ["no_such_model"]}, "no model 'no_such_model'"),
        ({"--photos": ["0"]}, "--photos must be 1 or more, not 0"),
        ({"--short_side": ["8"]}, "--short_side must be 32 or more"),
        ({"--output_dir": ["{file}"]}, "cannot be written to"),
        ({"--output_dir": ["/proc"]}, "output_dir /proc cannot be written to"),
    ],
)
def test_what_cannot_be_examined(photos, tiny_folder, tmp_path, options, words):
    places = {name: tmp_path / name for name in ("empty", "gray", "small", "file")}
    for name in ("empty", "gray", "small"):
        places[name].mkdir()
    Image.fromarray(data.camera()[:64, :64]).convert("RGB").save(tmp_path / "gray/0.png")
    Image.fromarray(data.coffee()[:20, :64]).save(tmp_path / "small/0.png")
    (tmp_path / "file").write_text("")
    given = {"--data": [str(photos)], "--model": [str(tiny_folder)], "--output_dir": [str(tmp_path / "out")]} | options
    argv = [word for option, values in given.items() for word in (option, *(v.format(**places) for v in values))]
    with pytest.raises(ColorizerError, match=words) as caught:
        examine.main(argv)
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_sentence_and_exit_code_2(as_script):
    result = as_script(ROOT / "train/examine.py", "--data", "nothing")
    assert result.returncode == 2 and result.stderr.startswith("examine.py: ") and result.stderr.count("\n") == 1


def test_explains_itself_from_anywhere(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0 and "usage:" in result.stdout and "calibration" in result.stdout


# --------------------------------------------------------------------------------------------------------- the parts


def one_color(a, b, size=100):
    return np.full((2, size, size), 1.0) * np.array([a, b])[:, None, None]


def test_a_vivid_block_breaks_a_photograph():
    truth = one_color(10, 10)
    result = truth.copy()
    result[:, :10, :50] = [[[61]], [[0]]]  # 5% of the picture
    assert examine.breakage(result, truth)["why"] == ""
    result[:, 10, 0] = [61, 0]
    found = examine.breakage(result, truth)
    assert found["why"] == "block 5%" and found["block"] == pytest.approx(0.0501)
    vivid_truth = truth + one_color(15, 0)  # where the truth has color too, the block may be right
    assert examine.breakage(result, vivid_truth)["why"] == ""
    pale = truth.copy()
    pale[:, :10] = [[[59]], [[0]]]
    assert examine.breakage(pale, truth)["why"] == ""


def test_scattered_places_and_corners_are_no_block():
    truth, result = one_color(0, 0), one_color(0, 0)
    chessboard = np.indices((100, 100)).sum(0) % 2 == 0  # half of the picture, touching at corners alone
    result[0, chessboard] = 61
    result[0, ~chessboard] = -61 * 0.9  # so that there is no cast
    found = examine.breakage(result, truth)
    assert found["block"] == pytest.approx(1e-4) and found["why"] == ""


def test_a_cast_breaks_a_photograph():
    truth = one_color(5, -5)
    assert examine.breakage(truth + one_color(0, 24), truth)["why"] == ""
    assert examine.breakage(truth + one_color(0, -26), truth)["why"] == "cast 26"
    found = examine.breakage(truth + one_color(18, 18), truth)
    assert found["why"] == "cast 25"  # Euclidean: 25.5
    assert found["tint"] == pytest.approx(np.hypot(23, 13)) and found["true_tint"] == pytest.approx(np.hypot(5, 5))


class Repainted:
    """A pipeline whose results are painted over, by a function of sRGB (H, W, 3) uint8."""

    def __init__(self, pipe, paint):
        self.pipe, self.model, self.paint = pipe, pipe.model, paint

    def prepare(self, image):
        return RepaintedColoring(self.pipe.prepare(image), self.paint)


class RepaintedColoring:
    def __init__(self, coloring, paint):
        self.coloring, self.paint = coloring, paint

    def render(self, **dials):
        photo = self.coloring.render(**dials)
        return photo.replace(self.paint(photo.pixels))


def reddened(pixels):
    return (pixels * [1.0, 0.4, 0.4]).astype(np.uint8)


def test_broken_photographs_are_named_and_marked(truths, bundled, tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "PAGE", 3)
    found = examine.broken(Repainted(bundled, reddened), truths, tmp_path)
    assert found["broken"] == len(found["rows"]) > 0 and found["photographs"] == 4
    assert [row["name"] for row in found["measured"]] == [truth.name for truth in truths]
    assert {row["name"] for row in found["rows"]} <= {truth.name for truth in truths}
    pages = [np.asarray(Image.open(tmp_path / f"broken-{page}.jpg")).astype(int) for page in (1, 2)]  # 3 and 1
    assert pages[0].shape[1] > pages[1].shape[1] and not (tmp_path / "broken-3.jpg").exists()
    corner = [page[examine.LINE, 0] for page in pages]  # of the first strip's frame
    broken = {row["name"] for row in found["rows"]}
    for first, (red, green, _) in zip((truths[0], truths[3]), corner, strict=True):
        assert (red - green > 120) == (first.name in broken)


def test_broken_says_what_leaving_them_gray_would_break(truths, bundled, tmp_path):
    photos = [*truths, examine.Truth("sunset", reddened(truths[0].pixels))]
    found = examine.broken(Repainted(bundled, examine.to_gray), photos, tmp_path)
    assert found["broken"] == found["broken_if_gray"] and found["rows"][-1]["name"] == "sunset"
    assert found["says"].endswith(f"Left gray, {found['broken']} would be.")
    assert examine.broken(Repainted(bundled, reddened), photos, tmp_path)["broken_if_gray"] == found["broken"]


def test_hints_with_the_truth_help_and_stay_where_they_are(truths, bundled, tmp_path):
    found = examine.hints(bundled, truths, tmp_path)
    assert [row["hints"] for row in found["rows"]] == [0, 1, 5, 20]
    assert found["rows"][0]["rmse_to_automatic"] == 0 and found["rows"][-1]["rmse_to_automatic"] < -0.1
    assert found["moves"]["near"] > 3 * found["moves"]["far"]
    assert found["another_color"]["thing"] < 0
    assert found == examine.hints(bundled, truths, tmp_path)  # seeded
    assert Image.open(tmp_path / "hints.jpg").width > 7 * 60


def test_a_thing_goes_around_a_corner_and_keeps_its_texture():
    """Two dark bars on a light ground that are joined at an end, and one apart; grain stays grain."""
    lab = torch.zeros(3, 96, 96)
    lab[0] = 90
    for top in (8, 32, 72):
        lab[0, top : top + 12, 8:88] = 30
    lab[0, 8:44, 76:88] = 30
    lab[1] += torch.randn(96, 96)
    bars = lab[0] == 30
    ab = examine.painted(lab, 12, 14, 40 - 10j)
    inner, ground = (torch.nn.functional.max_pool2d(part[None] * 1.0, 5, 1, 2)[0] == 0 for part in (~bars, bars))
    joined, apart = inner.clone(), inner.clone()
    joined[60:], apart[:60] = False, False
    assert (ab[0][joined] - 40).abs().mean() < 2 and ab[0][joined].std() > 0.8 and ab[0, joined].min() > 30
    assert torch.equal(ab[:, apart], lab[1:, apart])
    torch.testing.assert_close(ab[:, ground], lab[1:, ground], atol=0.5, rtol=0)


def test_what_a_hint_does_to_a_thing_is_told_in_it_and_elsewhere():
    """Of a network that paints just the thing, and of one that paints everything."""
    lab = torch.zeros(1, 3, 60, 80)
    lab[:, 0], lab[:, 0, :, 40:] = 60, 30

    def picture(lab: torch.Tensor) -> np.ndarray:
        return (255 * lab_to_rgb(lab)[0].permute(1, 2, 0)).round().numpy().astype(np.uint8)

    asked, thing, hint = examine.another_color(picture(lab), examine.Hint(20, 30, 0, 0, 2), random.Random(3))
    assert np.hypot(hint.a, hint.b) > 15 and (hint.x, hint.y, hint.radius) == (20, 30, 2)
    assert thing[:, :40].all() and not thing[:, 40:].any()
    just, everything = lab.clone(), lab.clone()
    just[0, 1:, :, :40] = torch.tensor([hint.a, hint.b])[:, None, None]
    everything[0, 1:] = torch.tensor([hint.a, hint.b])[:, None, None]
    results = [picture(part) for part in (lab, just, everything)]
    (before, rest), (after, kept), (after_all, spilt) = examine.errors_of_thing(results, asked, thing)
    assert before == pytest.approx((hint.a**2 + hint.b**2) / 2, rel=0.1) and max(after, after_all) < 0.02 * before
    assert rest == kept < 20 and spilt > 100
    changes = examine.changes_in_things([[[4.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 7.0]]])
    assert changes == [[pytest.approx(-0.5), pytest.approx(1.0)]]
    assert examine.changes_in_things([[[0.0, 1.0], [0.0, 1.0]]]) == [[0.0, 0.0]]


def test_the_reach_of_hints(truths, bundled, tmp_path):
    found = examine.reach(bundled, truths, tmp_path)
    assert [row["reach"] for row in found["rows"]] == [0, 0.25, 0.5, 0.75, 1]
    none, _, middle, _, _ = found["rows"]
    assert middle["thing"] < none["thing"] < 0
    assert found["rows"][-1]["near"] > none["near"]
    at_default = examine.hints(bundled, truths, tmp_path)
    assert at_default["another_color"] == {name: middle[name] for name in ("thing", "elsewhere")}
    assert at_default["moves"]["far"] == middle["far"]
    assert at_default["rows"][1]["rmse_to_automatic"] == pytest.approx(middle["true_hint"])
    assert Image.open(tmp_path / "reach.jpg").width > 8 * 60


def test_a_ring_marks_the_place_of_a_hint_and_leaves_its_color():
    plain = np.full((100, 200, 3), 120, np.uint8)
    ringed = examine.ringed(plain, examine.Hint(150, 40, 0, 0, 1))
    rows, columns = np.nonzero((ringed != plain).any(-1))
    assert abs(rows.mean() - 40) < 1 and abs(columns.mean() - 150) < 1 and np.ptp(columns) < 15
    assert (ringed[39:42, 149:152] == 120).all() and (plain == 120).all()


def test_hints_carry_the_mean_color_below_them():
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[:, :45], picture[:, 45:] = (200, 60, 60), (60, 60, 200)
    ab = examine.ab_of(picture)
    for hint in examine.true_hints(picture, 20, working_width=90, seed=0):
        assert 0 <= hint.x < 90 and 0 <= hint.y < 60 and hint.radius in range(5)
        if hint.x + hint.radius < 45 or hint.x - hint.radius >= 45:
            assert [hint.a, hint.b] == pytest.approx(ab[:, int(hint.y), int(hint.x)].tolist(), abs=1e-3)


def test_references(truths, bundled, tmp_path):
    found = examine.references(bundled, truths, tmp_path)
    rows = {(row["name"], row["likeness"]): row for row in found["rows"]}
    assert len(rows) == 5 * 5
    names = "itself", "its left half", "another view", "the most alike", "another one"
    assert all(rows[name, 0]["rmse_to_automatic"] == 0 for name in names)
    assert rows["another view", 0.5]["rmse_to_automatic"] < -0.3
    gains = [rows["itself", likeness]["rmse_to_automatic"] for likeness in (0, 0.25, 0.5)]
    assert gains[0] == 0 and max(gains[1:]) < -0.7
    assert rows["another one", 1]["rmse"] > rows["itself", 1]["rmse"]
    assert rows["itself", 0]["rmse"] == rows["another one", 0]["rmse"] != rows["its left half", 0]["rmse"]
    assert Image.open(tmp_path / "references.jpg").width > 6 * 60


def test_two_views_of_a_scene():
    """The left part is as it was, and the other shows the right of it, askew, to within the picture."""
    rows, columns = np.mgrid[:100, :200]
    picture = np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8)
    for seed in range(5):
        part, view = examine.views_of_a_scene(picture, seed)
        assert np.array_equal(part, picture[:, :140])
        assert view.dtype == np.uint8 and 75 <= view.shape[0] <= 125 and 0.7 < view.shape[1] / view.shape[0] < 1.8
        assert np.array_equal(examine.views_of_a_scene(picture, seed)[1], view)
        across, down = view[..., 0].astype(int), view[..., 1].astype(int)  # but for exposure and white
        assert across.min() > 20 and across.max() > 150 and (view[:, 0, 1] != np.arange(len(view))).any()
        assert (np.diff(across, axis=1) >= 0).mean() > 0.99 and (np.diff(down, axis=0) >= 0).mean() > 0.99
    assert not np.array_equal(examine.views_of_a_scene(picture, 0)[1], view)
    part, view = examine.views_of_a_scene(np.zeros((1, 1, 3), np.uint8), 0)
    assert part.shape == view.shape == (1, 1, 3)


def test_the_most_alike(bundled, truths):
    """Of three photographs, one twice: those two are each other's."""
    assert examine.most_alike(bundled, [truths[0], truths[1], truths[0]])[::2] == [2, 0]
    assert examine.most_alike(bundled, truths[:1]) == []


def test_guesses(truths, bundled, tmp_path):
    found = examine.guesses(bundled, truths, tmp_path)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows)[:6] == ["first", "warmer", "cooler", "greener", "rosier", "plainer"] and len(rows) == 8
    assert rows["plainer"]["colorfulness_to_truth"] < rows["first"]["colorfulness_to_truth"]
    errors = [row["rmse"] for row in found["rows"]]
    assert errors[6] <= min(errors[:6]) and errors[7] <= errors[0]
    assert rows["the nearest of six"]["histogram_distance"] is None
    assert rows["first"]["rmse_to_automatic"] == 0 and rows["first"]["rmse_to_gray"] < 0
    assert Image.open(tmp_path / "guesses.jpg").width > 8 * 60


def test_dials(truths, bundled, tmp_path):
    found = examine.dials(bundled, truths, tmp_path)
    rows = {(row["dial"], row["value"]): row for row in found["rows"]}
    assert len(rows) == sum(map(len, (examine.COLORFULNESS_STEPS, examine.BALANCE_STEPS, examine.TEMPERATURE_STEPS)))
    assert rows["balance", 0]["colorfulness_to_truth"] > 1.1 * rows["balance", 1]["colorfulness_to_truth"]
    assert rows["colorfulness", 0]["colorfulness_to_truth"] == pytest.approx(0, abs=0.01)
    assert rows["colorfulness", 0]["rmse_to_gray"] == pytest.approx(0, abs=0.01)
    assert rows["colorfulness", 2]["colorfulness_to_truth"] > 1.3 * rows["colorfulness", 1]["colorfulness_to_truth"]
    assert found["steps"]["colorfulness"]["monotone"]
    curve = [rows["colorfulness", value]["colorfulness_to_truth"] for value in examine.COLORFULNESS_STEPS]
    assert found["steps"]["colorfulness"]["largest_jump"] == pytest.approx(np.diff(curve).max())


def test_calibration(truths, bundled, tmp_path):
    found = examine.calibration(bundled, truths, tmp_path)
    confidence = [row["confidence"] for row in found["rows"]]
    assert len(confidence) == examine.GROUPS and confidence == sorted(confidence, reverse=True)
    assert -1 <= found["rank_correlation"] <= 1
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["expected"] / row["error"])
        assert 0 < row["confidence"] < 1


def test_aged_versions_are_what_they_are_called():
    gray = data.camera()[100:200, 150:250]
    made = examine.aged_versions(gray, seed=1)
    assert all(picture.dtype == np.uint8 and picture.shape[:2] == gray.shape for picture in made.values())
    assert np.array_equal(made["as it is"], gray)
    again, other = (examine.aged_versions(gray, seed)["grain"] for seed in (1, 2))
    assert np.array_equal(made["grain"], again) and not np.array_equal(made["grain"], other)
    spread = {name: picture.std() for name, picture in made.items()}
    assert spread["faded"] < 0.5 * spread["as it is"] < spread["as it is"] < spread["high contrast"]
    assert made["dark"].mean() < 0.5 * gray.mean() < made["faded"].mean()
    detail = {name: np.abs(np.diff(picture.astype(int), axis=1)).mean() for name, picture in made.items()}
    assert detail["blur"] < 0.7 * detail["as it is"] and detail["blur"] < detail["soft"] < detail["as it is"]
    assert detail["sharpened"] > 1.2 * detail["as it is"]
    assert made["sepia"].ndim == 3 and (made["sepia"][..., 0] >= made["sepia"][..., 2]).all()


def test_aged(truths, bundled, tmp_path):
    found = examine.aged(bundled, truths, tmp_path)
    assert [row["name"] for row in found["rows"]][:2] == ["as it is", "grain"] and len(found["rows"]) == 11
    width, height = Image.open(tmp_path / "aged.jpg").size
    assert width == 12 * examine.SIDE and height == examine.LINE + 4 * (examine.SIDE + examine.LINE)


def test_middle_strip():
    assert examine.middle_strip(90, 120, 1 / 3) == (slice(0, 90), slice(45, 75))
    assert examine.middle_strip(90, 120, 3) == (slice(25, 65), slice(0, 120))
    assert examine.middle_strip(300, 60, 1 / 3) == (slice(60, 240), slice(0, 60))


def test_formats(truths, regression, tmp_path):
    rows = examine.formats(regression, truths, tmp_path)["rows"]
    assert [row["name"] for row in rows] == ["tall strip 1:3", "wide strip 3:1", "enlarged 3x"]
    whole = examine.Tally()
    for truth in truths:
        whole.add(examine.rendered(regression.prepare(Image.fromarray(truth.pixels))), truth.pixels)
    assert rows[2]["whole_rmse_to_gray"] == pytest.approx(whole.row("rmse_to_gray")["rmse_to_gray"])


def test_beside_edges():
    """An edge of lightness and color counts, one of either alone does not."""
    lab = np.full((3, 100, 160), 50.0, np.float32)
    lab[0, :, 40:] += 20  # lightness alone
    lab[1, :, 80:] -= 40  # color alone
    lab[:, :, 120:] += 30
    beside = examine.beside_edges(lab)
    assert beside[:, 118:122].all() and not beside[:, :112].any() and not beside[:, 128:].any()
    assert not examine.beside_edges(np.zeros((3, 20, 20), np.float32)).any()


def test_colors_stay_behind_strong_edges(bundled, tmp_path):
    """Red on blue, both flat: enlarged bilinearly they run into each other, guided by the lightness hardly."""
    pixels = np.full((300, 400, 3), (30, 50, 120), np.uint8)
    pixels[70:230, 90:310] = (230, 120, 90)
    found = examine.edges(bundled, [examine.Truth("square", pixels)], tmp_path)
    bilinear, guided, own = (row["rmse_to_gray"] for row in found["rows"])
    assert -0.8 < bilinear < -0.3 and guided < bilinear - 0.2 and own > guided
    assert all(abs(1 + row["elsewhere_rmse_to_gray"]) < 0.1 for row in found["rows"][:2])


def test_gray(bundled, tmp_path):
    names = [row["name"] for row in examine.gray(bundled, [], tmp_path)["rows"]]
    assert names[:3] == ["page", "text", "line drawing"] and names[-1] == "gravel"
    for picture in examine.drawings().values():
        assert picture.mode == "L" and len(picture.getcolors(256)) >= 2  # ink and paper


def test_models_with_one_color_and_no_hints(truths, regression, tmp_path):
    for part in (examine.hints, examine.reach):
        assert part(regression, truths, tmp_path) == {"says": "The model alpha takes no hints.", "rows": []}
    assert examine.references(regression, truths, tmp_path)["rows"] == []
    assert examine.guesses(regression, truths, tmp_path)["rows"] == []
    assert "no distribution" in examine.calibration(regression, truths, tmp_path)["says"]
    rows = examine.dials(regression, truths[:1], tmp_path)["rows"]
    assert {row["dial"] for row in rows} == {"colorfulness", "balance"}
    assert len(examine.edges(regression, truths[:1], tmp_path)["rows"]) == 3
    painter = ColorizationPipeline(create_model("mnist_cnn"), device="cpu")
    assert "paints whole pictures" in examine.edges(painter, truths[:1], tmp_path)["says"]
    found = examine.gray(regression, [], tmp_path)
    assert found["rows"][0]["confidence"] is None and "confidence" not in examine.markdown("gray", found)


def test_tally_by_hand():
    truth = data.coffee()[:64, :64]
    uncolored, same = examine.Tally(), examine.Tally()
    uncolored.add(examine.to_gray(truth), truth)
    same.add(truth, truth)
    row = uncolored.row("rmse_to_gray", "colorfulness_to_truth", "cast_a", "cast_b", "chroma")
    assert row["rmse_to_gray"] == pytest.approx(0, abs=0.01) and row["chroma"] < 0.1
    mean = examine.ab_of(truth).mean((1, 2)).tolist()
    assert [row["cast_a"], row["cast_b"]] == pytest.approx([-value for value in mean], abs=0.1)
    assert same.row("rmse", "colorfulness_to_truth", "histogram_distance") == {
        "rmse": 0,
        "colorfulness_to_truth": 1,
        "histogram_distance": 0,
    }


def test_the_photographs_are_the_same_every_time(photos):
    names = [truth.name for truth in examine.read_photos(str(photos), 96, 4)]
    assert sorted(names) == ["astronaut.png", "chelsea.png", "coffee.png", "rocket.png"]
    assert [truth.name for truth in examine.read_photos(str(photos), 96, 2)] == names[:2]

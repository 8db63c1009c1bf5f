"""The trainer, its data and its judge, as people start them."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer.color import AbBins
from colorizer.errors import ColorizerError
from colorizer.hub import load_model
from train.data import NO_LABEL, CenterViews, TrainingViews, load_pictures, simulate_hints
from train.evaluate import compare, markdown, measure, to_gray
from train.losses import RebalancedCrossEntropy, bin_prior
from train.recipe import parse_recipe

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "train/recipes/smoke.yaml"


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs, as source/class/name.png."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee"):
        image = getattr(data, name)()
        (folder / "skimage" / name).mkdir(parents=True)
        for i in range(8):
            crop = image[20 * i : 20 * i + 120, 25 * i : 25 * i + 150]
            Image.fromarray(crop).save(folder / "skimage" / name / f"{i}.png")
    return folder


def run(*command, cwd, **env):
    """A command of the repository, from another folder, with the package not installed but beside the script."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} | env,
        capture_output=True,
        text=True,
    )


def launch(*arguments, cwd):
    return run(
        "-m", "accelerate.commands.launch", "--num_processes=1", "--num_machines=1", "--mixed_precision=no",
        "--dynamo_backend=no", ROOT / "train/train.py", *arguments, cwd=cwd,
    )  # fmt: skip


def test_pictures_from_folders_and_tars(photos, tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, content in (
            ("web/all/a.png", (photos / "skimage/coffee/0.png").read_bytes()),
            ("web/all/b.png", b"no"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    pictures = load_pictures([photos, tmp_path], short_side=60, min_class_size=8)
    assert len(pictures) == 25  # the broken one is left out
    assert pictures.classes == ["skimage/astronaut", "skimage/chelsea", "skimage/coffee"]
    assert pictures.labels == [0] * 8 + [1] * 8 + [2] * 8 + [NO_LABEL]
    assert {array.shape for array in pictures.arrays} == {(60, 75, 3)}


def test_no_pictures_is_one_sentence(tmp_path):
    with pytest.raises(ColorizerError, match="no pictures"):
        load_pictures([tmp_path], 64)
    with pytest.raises(ColorizerError, match="does not exist"):
        load_pictures([tmp_path / "missing"], 64)


def test_split_leaks_nothing(photos):
    training, validation = load_pictures([photos], 64).split(0.25, seed=3)
    assert len(training) == 18 and len(validation) == 6
    assert not set(training.names) & set(validation.names)
    assert training.names == load_pictures([photos], 64).split(0.25, seed=3)[0].names


def test_views_depend_on_seed_epoch_and_index_alone(photos):
    pictures = load_pictures([photos], 64)
    views, others = TrainingViews(pictures, 48, seed=1), TrainingViews(pictures, 48, seed=1)
    assert views[3]["rgb"].shape == (3, 48, 48) and views[3]["rgb"].dtype == torch.uint8
    others[5]
    assert torch.equal(views[3]["rgb"], others[3]["rgb"])
    others.epoch = 1
    assert not torch.equal(views[3]["rgb"], others[3]["rgb"])
    assert torch.equal(
        CenterViews(pictures, 64)[0]["rgb"], torch.from_numpy(pictures.arrays[0][:, 8:72]).permute(2, 0, 1)
    )


def test_hints_carry_the_color_below_them():
    ab = torch.full((64, 2, 40, 40), 30.0)
    ab[:, 1] = -12
    hints = simulate_hints(ab, torch.Generator().manual_seed(0), share=0.5)
    mask = hints[:, 2]
    assert set(mask.unique().tolist()) == {0, 1}
    assert torch.equal(hints[:, 0], 30 * mask) and torch.equal(hints[:, 1], -12 * mask)
    hinted = mask.flatten(1).any(1).float().mean()
    assert 0.3 < hinted < 0.7
    assert simulate_hints(ab, torch.Generator().manual_seed(0), share=0).abs().max() == 0


def test_rebalanced_cross_entropy_by_hand():
    """Two places, one gray and one red; the weights turn a rare red's error into more of the loss."""
    bins = AbBins()
    ab = torch.zeros(1, 2, 1, 2)
    ab[0, :, 0, 1] = torch.tensor([60.0, 50.0])
    logits = torch.zeros(1, len(bins), 1, 2)
    gray, red = bins.encode(ab)[0][0, 0, 0]
    logits[0, gray] = 3.0
    prior = torch.full((len(bins),), 0.1 / (len(bins) - 1))
    prior[gray] = 0.9
    losses = {}
    for mix in (1.0, 0.5):
        loss = RebalancedCrossEntropy(prior, mix)
        assert (loss.weights * prior).sum().item() == pytest.approx(1)
        losses[mix] = loss(logits, ab, bins).item()
    index, share = bins.encode(ab)
    entropy = -(torch.log_softmax(logits, 1).gather(1, index) * share).sum(1)[0, 0]
    assert losses[1.0] == pytest.approx(entropy.mean().item(), rel=1e-5)
    weight = 1 / (0.5 * prior + 0.5 / len(bins))
    expected = (entropy[0] * weight[gray] + entropy[1] * weight[red]) / (weight[gray] + weight[red])
    assert losses[0.5] == pytest.approx(expected.item(), rel=1e-5)


def test_prior_is_the_share_of_colors():
    bins = AbBins()
    ab = torch.zeros(2, 2, 4, 4)
    ab[1] = 50
    prior = bin_prior([ab[:1], ab[1:]], bins)
    assert prior.sum().item() == pytest.approx(1)
    mean = prior @ bins.centers
    assert torch.allclose(mean, torch.tensor([25.0, 25.0]), atol=1.0)


def test_recipe_flags_override_the_file(photos):
    recipe = parse_recipe(["--recipe", str(SMOKE), "--train_data_dir", str(photos), "--learning_rate", "0.5"])
    assert recipe.learning_rate == 0.5 and recipe.train_batch_size == 4 and recipe.train_data_dir == [str(photos)]


@pytest.mark.parametrize("recipe", sorted((ROOT / "train/recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_recipes_are_valid(recipe):
    assert parse_recipe(["--recipe", str(recipe), "--train_data_dir", "x"]).model["name"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("lerning_rate: 1", "no key 'lerning_rate'"),
        ("model: {name: fusion}\nmixed_precision: bf17", "bf17"),
        ("model: {embedder: resnet18}", "needs a name"),
        ("model: fusion", "must be of type"),
        ("model: {name: fusion}\nmax_train_steps: many", "must be of type int"),
        ("model: {name: fusion}\nresolutions: {0.5: 64}", "beginning with 0"),
        ("just words", "key: value"),
        ("a: [", "not valid YAML"),
        ("learning_rate: 1", "needs 'model'"),
    ],
)
def test_bad_recipes_are_one_sentence(tmp_path, text, words):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ColorizerError, match=words):
        parse_recipe(["--recipe", str(tmp_path / "bad.yaml"), "--train_data_dir", "x"])


def test_trains_saves_resumes_and_is_judged(photos, tmp_path):
    """The path of a researcher: accelerate launch, more of it, and the table."""
    options = ["--recipe", SMOKE, "--train_data_dir", photos, "--output_dir", tmp_path / "run"]
    done = launch(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model = load_model(str(tmp_path / "run/model"))
    assert model.name == "fusion" and model.config["width"] == 4
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6 and 0 < lines[-1]["validation_ab_rmse"] < 200
    sheet = Image.open(tmp_path / "run/samples.png")
    assert sheet.size == (5 * 64, 3 * 64)  # five held-out pictures; gray, prediction, truth
    assert not list((tmp_path / "run").rglob("*.partial"))

    more = launch(*options, "--max_train_steps", "9", "--resume_from_checkpoint", "latest", cwd=tmp_path)
    assert more.returncode == 0 and "at step 6" in more.stdout, more.stderr
    again = load_model(str(tmp_path / "run/model"))
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    judged = run(
        ROOT / "train/evaluate.py", "--model", tmp_path / "run/model", "--data", photos, "--limit", "4",
        "--output_dir", tmp_path / "judged", cwd=tmp_path,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    (rows,) = json.loads((tmp_path / "judged/results.json").read_text()).values()
    assert list(rows) == ["gray", str(tmp_path / "run/model"), "truth"]
    assert rows["truth"]["rmse"] == 0 and rows["gray"]["rmse_to_gray"] == 0
    assert len(list((tmp_path / "judged").glob("*.jpg"))) == 1


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_scripts_explain_themselves_from_anywhere(script, tmp_path):
    result = run(ROOT / "train" / script, "--help", cwd=tmp_path)
    assert result.returncode == 0 and "usage:" in result.stdout


def test_a_persons_mistake_is_one_sentence_and_exit_code_2(tmp_path):
    result = launch("--recipe", SMOKE, "--train_data_dir", tmp_path / "nothing", cwd=tmp_path)
    assert "train.py: " in result.stderr and "does not exist" in result.stderr
    assert result.returncode != 0
    result = run(ROOT / "train/evaluate.py", "--data", tmp_path, "--output_dir", tmp_path / "o", cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr


def test_rows_of_the_table():
    truths = [data.coffee()[:64, :64], data.astronaut()[:64, :64]]
    rows = {"gray": measure([to_gray(t) for t in truths], truths), "truth": measure(truths, truths)}
    rows["half"] = measure([((t.astype(int) + to_gray(t)) // 2).astype(np.uint8) for t in truths], truths)
    for row in rows.values():
        compare(row, rows["gray"], rows["truth"])
    half = rows["half"]
    assert -0.65 < half["rmse_to_gray"] < -0.35  # half of the way to the truth
    assert 1.7 < half["gain"] < 2.3
    assert half["equal_rmse_to_gray"] < -0.8  # amplified, it is the truth but for the blend's nonlinearity
    assert rows["gray"]["gain"] is None and rows["gray"]["colorfulness"] < 1
    assert rows["gray"]["histogram_distance"] > half["histogram_distance"] > rows["truth"]["histogram_distance"] == 0
    table = markdown("set", 2, rows)
    assert table.count("\n") == 7 and "| half |" in table

"""The ladder end to end, at the scale smoke on made data: trained, measured, drawn, and not trained twice."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from colorizer.hub import load_model
from tests.conftest import runs_in_this_process
from train import reproduce

pytestmark = pytest.mark.timeout(900)  # a dozen trainings

ROOT = Path(__file__).parents[2]
# One of each kind at least: with another row in its loss, or to start from; ab and RGB; without a GPU; bundled.
ROWS = ["mnist_linear", "mnist_cnn_perceptual", "two_stage_narrow", "two_stage_scenes", "alpha", "plain_autoencoder",
        "fusion_paper", "fusion_compact"]  # fmt: skip
FIRST = ["digit_judge", "autoencoder_narrow", "autoencoder_scenes"]  # what those start from
TRAINED = {*ROWS[:6], *FIRST}


def words_of(output: Path) -> list[str]:
    return ["--scale", "smoke", "--output_dir", str(output), "--rows", *ROWS, "--scenes_variant", "narrow"]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """The output folder, and what was printed."""
    output, said = tmp_path_factory.mktemp("reproduce") / "ladder", io.StringIO()
    with runs_in_this_process(), contextlib.redirect_stdout(said):
        assert reproduce.main(words_of(output)) == 0
    return output, said.getvalue()


def test_every_row_is_trained_and_loads(ladder):
    output, _ = ladder
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert {name for name, row in rows.items() if row["status"] == "trained"} == TRAINED
    for name in TRAINED:
        model = load_model(str(output / name / "model"))
        assert sum(p.numel() for p in model.parameters()) == rows[name]["parameters"]
        assert rows[name]["flops"] > 0 and rows[name]["train_loss"] > 0 and rows[name]["held_out_loss"] > 0
        assert rows[name]["images"] == (4 if name == "alpha" else 16)
    assert 0 <= rows["mnist_linear"]["accuracy"] <= 1
    assert rows["alpha"]["own_psnr"] > 5
    assert rows["fusion_paper"]["status"] == "not trained" and "GPU" in rows["fusion_paper"]["reason"]
    assert rows["mnist_cnn"] | {"reason": ""} == rows["mnist_cnn"] | {"status": "not trained", "reason": ""}


def test_the_table_has_all_families_and_the_photographs_figures(ladder):
    output, printed = ladder
    table = (output / "results.md").read_text()
    assert table in printed
    for words in ("## Digits", "## Thumbnails", "## Scenes", "## Photographs", "The figures mean nothing", "torch "):
        assert words in table
    assert "| fusion_paper | 62.4 M | 41.4 G | not trained |" in table
    results = json.loads((output / "results.json").read_text())
    judged = results["photographs"]["rows"]
    assert list(judged) == ["gray", "alpha", "plain_autoencoder", "fusion_compact", "truth"]
    assert judged["truth"]["rmse"] == 0 and judged["gray"]["rmse"] > 0
    # Gray's loss is that of the same pictures as the models': of the color of which gray knows nothing.
    assert 0 < results["gray_loss_thumbnails"] < 0.1


def test_figures_are_there_and_small(ladder):
    pytest.importorskip("matplotlib")
    output, _ = ladder
    figures = sorted(path.name for path in (output / "figures").iterdir())
    families = ("digits", "photographs", "scenes", "thumbnails")
    ending = {"photographs": "jpg"}
    assert figures == [
        name for f in families for name in (f"ladder-{f}-curves.png", f"ladder-{f}-samples.{ending.get(f, 'png')}")
    ]
    for name in figures:
        assert (output / "figures" / name).stat().st_size < 200_000
        assert min(Image.open(output / "figures" / name).size) > 100


def test_nothing_is_trained_twice_and_what_was_begun_is_resumed(ladder):
    """One model is gone and its checkpoint is there, as if that run had been stopped before its end; in processes."""
    output, _ = ladder
    (output / "mnist_linear/model").rename(output / "mnist_linear/taken-away")
    kept = [*output.glob("*/model/model.safetensors"), *output.glob("**/evaluation.json")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) == len(TRAINED) - 1 + 3  # three rows are measured on photographs
    # Without a GPU, also where there is one.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, ROOT / "train/reproduce.py", *words_of(output)]
    result = subprocess.run(command, cwd=output.parent, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    printed = result.stdout
    assert printed.count("is trained already") == len(TRAINED) - 1
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert "resumed from" in printed and "--resume_from_checkpoint latest" in printed
    assert (output / "mnist_linear/model/model.safetensors").is_file()

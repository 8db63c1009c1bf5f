"""From a training to the Hub: a real run, the real client, a Hub on loopback."""

import json
from pathlib import Path

import pytest
import yaml

from colorizer.errors import ColorizerError
from colorizer.hub import load_model
from tests.loopback_hub import LoopbackHub
from train.recipe import parse_recipe
from train.train import Training

pytestmark = pytest.mark.usefixtures("signals_as_before")

SMOKE = Path(__file__).parents[2] / "train/recipes/smoke.yaml"
REPO = "tester/colors"


@pytest.fixture
def loopback(monkeypatch, tmp_path):
    with LoopbackHub() as loopback:
        loopback.use(monkeypatch, tmp_path / "cache", token="hf_test")
        yield loopback


def run(photos, output, **flags) -> None:
    given = {
        "recipe": SMOKE, "train_data_dir": photos, "output_dir": output, "push_to_hub": "true", "hub_model_id": REPO,
        "objectives": "{rebalanced_cross_entropy: 1}", "max_train_steps": 4, "checkpointing_steps": 2, **flags,
    }  # fmt: skip
    Training(parse_recipe([part for key, value in given.items() for part in (f"--{key}", str(value))])).fit()


def test_a_run_is_pushed_with_its_card(loopback, photos, tmp_path):
    run(photos, tmp_path / "run", hub_private_repo="true", push_checkpoints="true", push_samples="true")
    assert loopback.repos[REPO].private
    files = loopback.files(REPO)
    assert files.keys() >= {"README.md", "config.json", "model.safetensors", "step-000004.png"}
    _, front, body = files["README.md"].decode().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["pipeline_tag"] == "image-to-image" and facts["tags"] == ["image-colorization"]
    (result,) = facts["model-index"][0]["results"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures["validation_ab_rmse"] == pytest.approx(lines[-1]["validation_ab_rmse"], abs=1e-4)
    assert f'from_pretrained("{REPO}")' in body and "name: fusion" in body
    assert str(photos) not in body.split("```yaml")[1]  # settings name no folder of the machine
    assert sorted(loopback.repos[REPO].branches) == ["checkpoint-2", "checkpoint-4", "main"]
    pulled = load_model(REPO, token="hf_test")
    assert pulled.source.startswith(f"{REPO} @ ") and pulled.config["width"] == 4


def test_samples_stay_at_home_unless_asked_for(loopback, photos, tmp_path):
    run(photos, tmp_path / "run")
    assert not [name for name in loopback.files(REPO) if name.endswith(".png")]
    assert list(loopback.repos[REPO].branches) == ["main"]


def test_a_wrong_token_is_told_before_the_training(loopback, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ColorizerError, match="does not accept your token"):
        run(photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_hub_is_told_before_the_training(loopback, photos, tmp_path):
    loopback.die()
    with pytest.raises(ColorizerError, match="cannot be reached"):
        run(photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_push_that_fails_loses_nothing(loopback, photos, tmp_path, capsys, monkeypatch):
    """The Hub dies while the model is trained: the run ends well, and says how to repeat the push."""
    finish = Training.finish

    def die_first(self):
        loopback.die()
        finish(self)

    monkeypatch.setattr(Training, "finish", die_first)
    run(photos, tmp_path / "run")
    told = capsys.readouterr().err
    assert "not pushed: The Hub" in told and f"`colorizer push {tmp_path / 'run/model'} {REPO}` repeats it" in told
    assert load_model(str(tmp_path / "run/model")).name == "fusion"

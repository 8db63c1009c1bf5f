"""What the trainer needs for the smaller colorizers: RGB, autoencoders, digits, one photograph. In this process."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from colorizer import load_model
from colorizer.drawing import draw_digits
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from colorizer.models.mnist import paint
from train.data import difference_hash
from train.losses import Objective
from train.recipe import parse_recipe
from train.train import Training
from train.trainee import checkpoint_gradients
from train.views import draw, training_views

pytestmark = pytest.mark.usefixtures("signals_as_before")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Drawn digits in MNIST's own format: 60 of each to train on, 10 of each to test on."""
    folder = tmp_path_factory.mktemp("mnist")
    for part, count in {"train": 60, "t10k": 10}.items():
        labels = np.arange(10 * count, dtype=np.uint8) % 10
        for kind, array in {"images-idx3": draw_digits(labels.tolist(), count), "labels-idx1": labels}.items():
            header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder


def run(name, folder, output, **changes):
    """Trains a recipe of the ladder, with these changes; gives the lines of its metrics."""
    changes = {"train_data_dir": folder, "output_dir": output, "report_to": "none"} | changes
    flags = [part for key, value in changes.items() for part in (f"--{key}", str(value))]
    Training(parse_recipe(["--recipe", str(ROOT / f"train/recipes/{name}.yaml"), *flags])).fit()
    return [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]


SHORT = {"max_train_steps": 8, "train_batch_size": 4, "logging_steps": 4, "validation_steps": 8,
         "checkpointing_steps": 8, "min_colorfulness": 0}  # fmt: skip


@pytest.mark.parametrize("name", ["mnist_linear", "mnist_cnn_bn"])
def test_digits_learn_their_colors(digits, tmp_path, name):
    """On drawn digits, which are easier than handwritten ones, a few epochs color much of the ink right."""
    lines = run(
        name, digits, tmp_path, validation_data_dir=digits, train_batch_size=20, num_train_epochs=10, min_class_size=1
    )
    judged = [line for line in lines if "validation_accuracy" in line]
    assert [line["epoch"] for line in judged] == list(range(1, 11))  # once an epoch
    assert judged[-1]["validation_accuracy"] > 0.4  # a tenth by chance
    assert judged[-1]["validation_accuracy"] > judged[0]["validation_accuracy"] + 0.1
    assert judged[-1]["validation_loss"] < judged[0]["validation_loss"]
    assert all(line["grad_norm"] > 0 for line in lines if "loss" in line)
    assert load_model(str(tmp_path / "model")).domain == "digits"


def test_digits_need_their_classes(photos, tmp_path):
    with pytest.raises(ColorizerError, match="classes 0 to 9"):
        run("mnist_linear", photos, tmp_path, min_class_size=1)


def test_digits_do_not_age(digits, tmp_path):
    with pytest.raises(ColorizerError, match="mnist_linear model colors no photographs"):
        run("mnist_linear", digits, tmp_path, validation_data_dir=digits, min_class_size=1, aging=0.5)


def test_an_autoencoder_lends_its_decoder(photos, tmp_path):
    """The first stage rebuilds color pictures, and the second starts from its decoder, exactly."""
    model = "widths: [4, 8], latent: 4"
    first = run(
        "color_autoencoder", photos, tmp_path / "first", model=f"{{name: color_autoencoder, {model}}}", **SHORT
    )
    assert first[-1]["validation_loss"] > 0 and "validation_ab_rmse" not in first[-1]
    assert list((tmp_path / "first/samples").glob("*.png"))
    giver = load_model(str(tmp_path / "first/model"))
    assert giver.kind == "autoencoder"

    flags = {"model": f"{{name: two_stage, {model}}}", "decoder_weights": tmp_path / "first/model"}
    recipe = ["--recipe", str(ROOT / "train/recipes/two_stage.yaml"), "--train_data_dir", str(photos)]
    recipe += [part for key, value in {**flags, **SHORT}.items() for part in (f"--{key}", str(value))]
    training = Training(parse_recipe([*recipe, "--output_dir", str(tmp_path / "second"), "--report_to", "none"]))
    for key, tensor in training.model.decoder.state_dict().items():
        assert torch.equal(tensor, giver.decoder.state_dict()[key]), key
    training.fit()
    lines = [json.loads(line) for line in (tmp_path / "second/metrics.jsonl").read_text().splitlines()]
    assert {"validation_loss", "validation_ab_rmse", "validation_colorfulness"} <= lines[-1].keys()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("{name: two_stage, widths: [4, 16], latent: 4}", "shape"),
        ("{name: two_stage, widths: [4], latent: 4}", "is not that of the recipe's model"),
        ("{name: mnist_linear}", "needs two models with a decoder"),
    ],
)
def test_a_decoder_that_does_not_fit(photos, tmp_path, model, sentence):
    create_model("color_autoencoder", widths=[4, 8], latent=4).save_pretrained(tmp_path / "giver")
    with pytest.raises(ColorizerError, match=sentence):
        run("two_stage", photos, tmp_path / "run", model=model, decoder_weights=tmp_path / "giver", **SHORT)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("plain_autoencoder", {"model": "{name: plain_autoencoder, width: 4}"}),
        ("cifar_autoencoder", {"model": "{name: cifar_autoencoder, widths: [4, 8], latent: 4}"}),
        ("beta", {"model": "{name: beta, width: 4}", "picture_size": 32, "resolutions": "{0: 32}"}),
        ("lab_cnn", {"model": "{name: lab_cnn, width: 4}", "resolutions": "{0: 32, 0.5: 64}"}),
    ],
)
def test_recipes_of_the_ladder_train(photos, tmp_path, name, changes):
    lines = run(name, photos, tmp_path, validation_share=0.2, **SHORT | changes)
    assert lines[-1]["step"] == 8 and lines[-1]["validation_loss"] > 0 and lines[-1]["validation_ab_rmse"] > 0
    model = load_model(str(tmp_path / "model"))
    assert model.name == name and "held-out" in (tmp_path / "model/README.md").read_text()


def test_alpha_learns_one_photograph_by_heart(tmp_path):
    """Validated on the photograph that it is trained on, and said so."""
    (tmp_path / "one").mkdir()
    Image.fromarray(data.coffee()[:256, :256]).save(tmp_path / "one/coffee.png")
    lines = run(
        "alpha", tmp_path / "one", tmp_path / "run", picture_size=64, resolutions="{0: 64}", max_train_steps=200,
        checkpointing_steps=200, validation_steps=200,
    )  # fmt: skip
    assert lines[-1]["validation_ab_rmse"] < 0.7 * lines[-1]["gray_ab_rmse"]
    card = (tmp_path / "run/model/README.md").read_text()
    assert "none was held out" in card and "On the 1 training pictures" in card


def test_what_an_autoencoder_cannot_be_asked(photos, tmp_path):
    with pytest.raises(ColorizerError, match="knows no hints"):
        run("color_autoencoder", photos, tmp_path, hint_share=0.5, **SHORT)
    with pytest.raises(ColorizerError, match="adversarial objective judges ab"):
        run("two_stage", photos, tmp_path, objectives="{mse: 1, adversarial: 0.1}", **SHORT)


def test_chroma_leaves_brightness_out(photos, tmp_path):
    objective = Objective({"chroma": 1.0})
    truth = torch.full((2, 3, 8, 8), 0.5)
    assert objective({"rgb": truth + 0.3}, {"rgb": truth})[0].item() == pytest.approx(0, abs=1e-10)
    red = truth.clone()
    red[:, 0] += 0.3  # 0.2, -0.1 and -0.1 without the mean
    assert objective({"rgb": red}, {"rgb": truth})[0].item() == pytest.approx(0.02 * 0.5, rel=1e-4)
    assert objective({"rgb": red - truth}, {"rgb": 0 * truth})[0].item() == 0  # nobody sees the color of black
    with pytest.raises(ColorizerError, match="paint RGB"):
        run("lab_cnn", photos, tmp_path, objectives="{mse: 1, chroma: 1}", **SHORT)


def test_shifts_move_and_turn_a_little():
    """A dot in the middle stays within a pixel and a bit; nothing is mirrored, and the same draws move alike."""
    rgb = torch.zeros(64, 3, 28, 28, dtype=torch.uint8)
    rgb[:, :, 13:15, 13:15] = 255
    batch = {"rgb": rgb, "aspect": torch.ones(64)}
    draws = draw(0, 0, torch.arange(64))
    views = training_views(batch, draws, 28, "shifts")
    place = torch.arange(28.0)
    weight = views[:, 0].sum((1, 2))
    y, x = ((views[:, 0].sum(axis) * place).sum(1) / weight - 13.5 for axis in (2, 1))
    assert max(y.abs().max(), x.abs().max()) < 1.3 and y.std() > 0.4 and x.std() > 0.4
    assert torch.equal(training_views(batch, draws, 28, "shifts"), views)
    mirrored = training_views({**batch, "rgb": torch.arange(28).expand(64, 3, 28, 28).byte()}, draws, 28, "shifts")
    assert (mirrored[:, 0, 14, -1] > mirrored[:, 0, 14, 0]).all()


def test_flips_keep_the_whole_picture():
    batch = {"rgb": torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8), "aspect": torch.ones(16)}
    views = training_views(batch, draw(0, 0, torch.arange(16)), 8, "flips")
    same = torch.isclose(views, batch["rgb"] / 255, atol=1e-6).flatten(1).all(1)
    flipped = torch.isclose(views.flip(-1), batch["rgb"] / 255, atol=1e-6).flatten(1).all(1)
    assert (same | flipped).all() and same.any() and flipped.any()


def test_digits_that_look_alike_are_no_copies():
    one, other = (Image.fromarray(picture) for picture in draw_digits([1, 1]))
    assert difference_hash(one) != difference_hash(other)
    assert difference_hash(one) == difference_hash(one.copy())


def test_paint_is_gray_times_the_color_of_the_class():
    gray = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    painted = paint(gray, torch.tensor([7]))
    assert torch.allclose(painted[..., 1], 0.5 * painted[..., 2]) and painted[..., 0].abs().max() == 0


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("mnist_cnn", {"picture_size": 32, "resolutions": "{0: 32}", "train_batch_size": 4}, "pictures of 28 pixels"),
        (
            "color_autoencoder",
            {"objectives": "{rebalanced_cross_entropy: 1}", "train_batch_size": 4},
            "no distribution",
        ),
        ("two_stage", {"model": "{name: two_stage, widths: [4, 0]}"}, "widths must be a whole number, 1 or more"),
        ("two_stage", {"model": "{name: two_stage, widths: [1, 1, 1, 1, 1, 1, 1]}"}, "1 to 6 numbers"),
        ("lab_cnn", {"model": "{name: lab_cnn, width: 2}"}, "width must be a whole number, 4 or more"),
    ],
)
def test_what_the_models_of_the_ladder_cannot_be(digits, photos, tmp_path, name, changes, sentence):
    with pytest.raises(ColorizerError, match=sentence):
        run(name, digits if name.startswith("mnist") else photos, tmp_path, min_class_size=1, **changes)


@pytest.mark.parametrize("name", ["plain_autoencoder", "two_stage", "cifar_autoencoder", "lab_cnn", "beta"])
def test_gradients_are_those_of_a_checkpointed_run(name):
    torch.manual_seed(0)
    model = create_model(name).train()
    lightness = torch.rand(2, 1, 16, 16) * 100
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(lightness).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        if len(gradients) == 1:
            checkpoint_gradients(model)
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(*gradients, strict=True))

"""The mean of models."""

import pytest
import torch

from colorizer import load_model
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from tests.conftest import TINY
from train.average import average, main


@pytest.fixture
def folders(tmp_path):
    """Three models of one network with other weights and batch statistics each."""
    names = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = create_model("fusion", **TINY)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
        model.defaults["temperature"] = 0.3 + 0.1 * seed
        names.append(str(tmp_path / f"model {seed}"))
        model.save_pretrained(names[-1])
    return names


def test_every_weight_and_statistic_is_the_mean(folders):
    mean, states = average(folders).state_dict(), [load_model(folder).state_dict() for folder in folders]
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = torch.stack([state[name] for state in states]).double().mean(0)
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
    assert not all(torch.equal(mean[name], states[0][name]) for name in mean)


def test_named_twice_counts_twice(folders):
    first, second = (load_model(folder).state_dict() for folder in folders[:2])
    mean = average([folders[0], folders[1], folders[0]]).state_dict()
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (2 * first[name] + second[name]) / 3)


def test_the_command_writes_a_model_with_the_first_ones_dials(folders, tmp_path, capsys):
    main([*folders, "--output_dir", str(tmp_path / "mean")])
    assert "the mean of 3 models" in capsys.readouterr().out
    model = load_model(tmp_path / "mean")
    assert model.defaults == load_model(folders[0]).defaults != load_model(folders[1]).defaults
    lightness = torch.rand(1, 1, 32, 32) * 100
    # Weights are saved as float16.
    torch.testing.assert_close(model(lightness), average(folders)(lightness), rtol=0.02, atol=0.1)


def test_another_network_is_refused(folders, tmp_path):
    create_model("fusion", **TINY | {"width": 6}).save_pretrained(tmp_path / "wider")
    with pytest.raises(ColorizerError, match="wider is another network than .*model 0 .*only be averaged"):
        main([folders[0], str(tmp_path / "wider"), "--output_dir", str(tmp_path / "mean")])
    assert not (tmp_path / "mean").exists()


def test_a_folder_that_holds_a_model_is_left_alone(folders):
    before = load_model(folders[0]).state_dict()
    with pytest.raises(ColorizerError, match="model 0 holds a model already; name another folder"):
        main([*folders, "--output_dir", folders[0]])
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_model(folders[0]).state_dict().items())


def test_one_that_is_not_there(folders):
    with pytest.raises(ColorizerError, match="There is no model 'nowhere'"):
        average([folders[0], "nowhere"])


def test_a_folder_that_cannot_be_written_is_told_before_the_models_are_read(monkeypatch):
    monkeypatch.setattr("train.average.average", lambda sources: pytest.fail("models were read"))
    with pytest.raises(ColorizerError, match="output_dir /proc cannot be written to"):
        main(["fusion_compact", "--output_dir", "/proc"])

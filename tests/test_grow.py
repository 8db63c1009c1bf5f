"""A trained model with a second embedder, or a shorter one."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from colorizer import load_model
from colorizer.errors import ColorizerError
from colorizer.models import create_model
from tests.conftest import TINY
from train.grow import grow, main


@pytest.fixture
def second_weights(tmp_path):
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "second.safetensors")
    return str(tmp_path / "second.safetensors")


@pytest.mark.parametrize("options", [{}, {"fusion": "film"}, {"embedding": "pooled"}])
def test_a_second_embedder_begins_without_a_say(options, tmp_path, second_weights, capsys):
    torch.manual_seed(1)
    model = create_model("fusion", **TINY | options)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    model.defaults["colorfulness"] = 1.5
    model.save_pretrained(tmp_path / "model")
    main(
        [str(tmp_path / "model"), "--second_embedder", "test_efficientnet", "--second_embedder_weights"]
        + [second_weights, "--output_dir", str(tmp_path / "grown")]
    )
    assert "million parameters" in capsys.readouterr().out
    old, grown = load_model(tmp_path / "model"), load_model(tmp_path / "grown")
    assert grown.config == old.config | {"second_embedder": "test_efficientnet"} and grown.defaults == old.defaults
    lightness = torch.rand(2, 1, 64, 96) * 100
    with torch.no_grad():
        before = old.logits(lightness)
        torch.testing.assert_close(grown.logits(lightness), before, rtol=1e-4, atol=1e-4)

        # It has one as soon as the decoder's weights for it are no longer zero.
        for parameter in grown.fusion.parameters():
            parameter[parameter == 0] = 1.0
        assert (grown.logits(lightness) - before).abs().max() > 0.01


def test_attention_begins_without_a_say(tmp_path):
    create_model("fusion", **TINY).save_pretrained(tmp_path / "model")
    main([str(tmp_path / "model"), "--attention_blocks", "2", "--output_dir", str(tmp_path / "grown")])
    old, grown = load_model(tmp_path / "model"), load_model(tmp_path / "grown")
    assert grown.config == old.config | {"attention_blocks": 2} and len(grown.attention) == 2
    lightness = torch.rand(2, 1, 64, 96) * 100
    with torch.no_grad():
        before = old.logits(lightness)
        assert torch.equal(grown.logits(lightness), before)
        for attention in grown.attention:
            torch.nn.init.normal_(attention.block.attn.proj.weight)
        assert (grown.logits(lightness) - before).abs().max() > 0.01
    with pytest.raises(ColorizerError, match="has 2 attention blocks already: give .* more of them"):
        grow(str(tmp_path / "grown"), None, None, "none", 2)
    main(
        [str(tmp_path / "model"), "--attention_blocks", "1", "--attention_for_hints", "--output_dir"]
        + [str(tmp_path / "for-hints")]
    )
    assert load_model(tmp_path / "for-hints").config == old.config | {
        "attention_blocks": 1,
        "attention_for_hints": True,
    }
    with pytest.raises(ColorizerError, match="needs --attention_blocks"):
        grow(str(tmp_path / "model"), None, None, "none", attention_for_hints=True)
    with pytest.raises(ColorizerError, match="attention for all pictures: leave out"):
        grow(str(tmp_path / "grown"), None, None, "none", 3, attention_for_hints=True)


def test_the_second_embedder_has_the_weights_that_it_was_given(tmp_path, second_weights):
    create_model("fusion", **TINY).save_pretrained(tmp_path / "model")
    grown = grow(str(tmp_path / "model"), None, "test_efficientnet", second_weights)
    given, got = load_file(second_weights), grown.second_embedder.network.state_dict()
    assert got and all(torch.equal(value, given[key]) for key, value in got.items())


def test_the_second_embedder_sees_more_with_the_same_weights(tmp_path):
    create_model("fusion", **TINY, second_embedder="test_convnext").save_pretrained(tmp_path / "model")
    grown = tmp_path / "grown"
    main([str(tmp_path / "model"), "--second_embedder_scale", "1.5", "--output_dir", str(grown)])
    old, grown = load_model(tmp_path / "model"), load_model(grown)
    assert grown.config == old.config | {"second_embedder_scale": 1.5}
    state = old.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in grown.state_dict().items())
    with pytest.raises(ColorizerError, match="from 1.25 to 2, not 0.5"):
        grow(str(tmp_path / "model"), None, None, "none", second_scale=0.5)
    with pytest.raises(ColorizerError, match="needs a second_embedder"):
        create_model("fusion", **TINY).save_pretrained(tmp_path / "one")
        grow(str(tmp_path / "one"), None, None, "none", second_scale=1.5)


def test_a_shorter_embedder_is_the_beginning_of_the_longer(tmp_path):
    create_model("fusion", **TINY | {"embedder": "resnet18"}).save_pretrained(tmp_path / "model")
    old, short = load_model(tmp_path / "model"), grow(str(tmp_path / "model"), "resnet16", None, "none")
    assert len(short.embedder.network.layer4) == 1 and len(old.embedder.network.layer4) == 2
    state = old.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in short.state_dict().items())


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "nothing to do"),
        ({"embedder": "resnet34"}, "resnet34 is no part of the test_resnet of .*model: embedder.* differs"),
        ({"second": "no_such_net"}, "plain timm architecture"),
        ({"second": "test_resnet"}, "pretrained weights of test_resnet cannot be had"),
        ({"second": "resnet16"}, "timm has no weights of resnet16: give a safetensors file"),
        ({"second": "test_vit4"}, "cannot be built so|cannot be had"),
    ],
)
def test_what_cannot_grow_is_one_sentence(options, words, tmp_path):
    create_model("fusion", **TINY).save_pretrained(tmp_path / "model")
    with pytest.raises(ColorizerError, match=words) as error:
        grow(str(tmp_path / "model"), **{"embedder": None, "second": None, "second_weights": "pretrained"} | options)
    assert "\n" not in str(error.value)


def test_weights_of_no_second_embedder_are_refused(tmp_path):
    options = ["--attention_blocks", "1", "--second_embedder_weights", "lite2.safetensors"]
    create_model("fusion", **TINY).save_pretrained(tmp_path / "model")
    with pytest.raises(ColorizerError, match="give --second_embedder, too"):
        main([str(tmp_path / "model"), *options, "--output_dir", str(tmp_path / "grown")])
    assert not (tmp_path / "grown").exists()


def test_only_a_fusion_model_with_one_embedder_grows(tmp_path, second_weights):
    with pytest.raises(ColorizerError, match="alpha is a .*alpha model, and only a fusion model"):
        grow("alpha", None, "resnet18", "none")
    create_model("fusion", **TINY, second_embedder="test_convnext").save_pretrained(tmp_path / "two")
    with pytest.raises(ColorizerError, match="has a second embedder already"):
        grow(str(tmp_path / "two"), None, "test_efficientnet", second_weights)

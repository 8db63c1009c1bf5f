"""What the trainer refuses to shard; tests/integration/test_fsdp.py shards."""

from types import SimpleNamespace

import pytest
from accelerate.utils import DynamoBackend, FullyShardedDataParallelPlugin

from colorizer.errors import ColorizerError
from train.recipe import make_recipe
from train.sharding import check_same_sharding, check_sharding


def check(plugin: dict, dynamo=DynamoBackend.NO, **recipe) -> FullyShardedDataParallelPlugin:
    plugin = FullyShardedDataParallelPlugin(**({"fsdp_version": 2} | plugin))
    state = SimpleNamespace(fsdp_plugin=plugin, dynamo_plugin=SimpleNamespace(backend=dynamo))
    recipe = {"model": {"name": "fusion"}, "train_data_dir": ["photos"], "max_train_steps": 1} | recipe
    check_sharding(SimpleNamespace(state=state), make_recipe(recipe))
    return plugin


@pytest.mark.parametrize(
    "words, plugin, recipe",
    [
        ("set fsdp_version: 2", {"fsdp_version": 1}, {}),
        ("adversarial", {}, {"objectives": {"mse": 1.0, "adversarial": 0.1}}),
        ("torch_compile", {}, {"torch_compile": True}),
        ("dynamo_backend", {}, {"dynamo": DynamoBackend.INDUCTOR}),
        ("not SIZE_BASED_WRAP", {"auto_wrap_policy": "size_based_wrap", "min_num_params": 1000}, {}),
        ("fsdp_offload_params", {"cpu_offload": True}, {}),
        ("fsdp_ignored_modules", {"ignored_modules": "embedder"}, {}),
        ("gradient_checkpointing", {"activation_checkpointing": True}, {}),
    ],
)
def test_refused_in_one_sentence(words, plugin, recipe):
    with pytest.raises(ColorizerError, match=words) as error:
        check(plugin, **recipe)
    assert str(error.value).count(". ") == 0 and str(error.value).endswith(".")


def test_what_the_plugin_is_told():
    """accelerate's launcher turns efficient loading on, which fails at batch norm; bfloat16 is autocast's matter."""
    plugin = check({"cpu_ram_efficient_loading": True, "mixed_precision_policy": "bf16"})
    assert not plugin.cpu_ram_efficient_loading and plugin.mixed_precision_policy is None


@pytest.mark.parametrize("sharded", [False, True])
def test_a_checkpoint_goes_on_as_it_was(tmp_path, sharded):
    (tmp_path / ("model.safetensors" if sharded else "pytorch_model_fsdp_0")).mkdir()
    with pytest.raises(ColorizerError, match=f"was saved {'without' if sharded else 'with'} FSDP"):
        check_same_sharding(tmp_path, tmp_path, sharded)
    check_same_sharding(tmp_path, tmp_path, not sharded)

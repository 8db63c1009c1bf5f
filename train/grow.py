"""Gives a trained fusion colorizer a second embedder, attention or a shorter embedder, and keeps what it knows.

    python train/grow.py runs/mine/model --second_embedder tf_efficientnet_lite2 --output_dir runs/grown
    python train/train.py --recipe train/recipes/fusion_compact.yaml --model null \\
        --pretrained_model_name_or_path runs/grown ...

A second embedder begins without a say: the decoder's weights for what it tells are zero, so that the grown model
colors as the one that it was grown from, until it is trained (after Net2Net, Chen et al. 2016, arXiv:1511.05641). With
`--attention_blocks` transformer blocks are added likewise, whose branches end in weights that are zero. With
`--second_embedder_scale 1.5` the second embedder sees every picture that much larger, which alters the colors at once.
With `--embedder resnet16` the last block of a ResNet-18 is left out: 4.7 million of its weights, and some of what it
knows.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402

from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.hub import load_model  # noqa: E402
from colorizer.models import Colorizer  # noqa: E402
from train.runs import make_folder, model_folder, run_script  # noqa: E402
from train.weights import load_embedder_weights, new_model  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="a fusion model: a bundled name, a folder or a Hub id")
    parser.add_argument("--embedder", help="a shortened one, such as resnet16 of a resnet18 (default: as it is)")
    parser.add_argument("--second_embedder", metavar="NAME", help="a timm architecture")
    parser.add_argument(
        "--second_embedder_weights",
        metavar="WEIGHTS",
        help="pretrained (timm's), a safetensors file of timm's, or a model's folder (default: pretrained)",
    )
    parser.add_argument(
        "--attention_blocks", type=int, metavar="N", help="as many transformer blocks after the decoder's first stage"
    )
    parser.add_argument(
        "--attention_for_hints", action="store_true", help="ask these blocks for pictures with hints alone"
    )
    parser.add_argument(
        "--second_embedder_scale",
        type=float,
        metavar="SCALE",
        help="how much larger than the picture the second embedder sees it: 1, or 1.25 to 2 (default: as it is)",
    )
    parser.add_argument("--output_dir", required=True, help="the folder that the grown model is written to")
    arguments = parser.parse_args(argv)
    if arguments.second_embedder_weights and not arguments.second_embedder:
        raise ColorizerError("--second_embedder_weights are of a new one: give --second_embedder, too.")
    folder = model_folder(arguments.output_dir)
    model = grow(
        arguments.model,
        arguments.embedder,
        arguments.second_embedder,
        arguments.second_embedder_weights or "pretrained",
        arguments.attention_blocks,
        arguments.second_embedder_scale,
        arguments.attention_for_hints,
    )
    make_folder(folder)
    model.save_pretrained(folder)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters are in {folder}")


def grow(
    source: str,
    embedder: str | None,
    second: str | None,
    second_weights: str,
    attention_blocks: int | None = None,
    second_scale: float | None = None,
    attention_for_hints: bool = False,
) -> Colorizer:
    """The fusion model `source` with another embedder, a second one beside it, attention blocks (for hints alone or
    not), another scale of what the second one sees, or several of these; in eval mode.

    Raises ColorizerError, in one sentence, if it is no fusion model, has a second embedder or as many blocks already,
    the embedder asked for is not a part of its own, or the scale is not one that a fusion model takes.
    """
    old = load_model(source)
    if old.name != "fusion":
        raise ColorizerError(f"{source} is a {old.name} model, and only a fusion model has embedders to change.")
    if old.second_embedder is not None and second:
        raise ColorizerError(f"{source} has a second embedder already: leave out --second_embedder.")
    had = old.config["attention_blocks"]
    if attention_blocks is not None and attention_blocks <= had:
        raise ColorizerError(f"{source} has {had} attention blocks already: give --attention_blocks more of them.")
    if attention_for_hints and had and not old.config["attention_for_hints"]:
        raise ColorizerError(f"{source} asks its attention for all pictures: leave out --attention_for_hints.")
    if attention_for_hints and not (attention_blocks or had):
        raise ColorizerError("--attention_for_hints needs --attention_blocks.")
    if not (embedder or second or attention_blocks or second_scale is not None):
        raise ColorizerError(
            "There is nothing to do: give --embedder, --second_embedder, --second_embedder_scale or "
            "--attention_blocks."
        )
    changes = {"embedder": embedder} if embedder else {}
    changes |= {"second_embedder": second} if second else {}
    changes |= {"attention_blocks": attention_blocks} if attention_blocks else {}
    changes |= {"attention_for_hints": True} if attention_for_hints else {}
    changes |= {"second_embedder_scale": second_scale} if second_scale is not None else {}
    model = new_model("fusion", old.config | changes)
    if second:
        load_embedder_weights(model.second_embedder, second, second_weights)
    _take_over(model, old, source)
    model.defaults = old.defaults
    return model.eval()


def _take_over(model: Colorizer, old: Colorizer, source: str) -> None:
    """Fills the model with the tensors of `old`; where it has more input channels than those, with zeros behind."""
    had, state = old.state_dict(), model.state_dict()
    for key, tensor in state.items():
        if key.startswith(("second_embedder.", "attention.")) and key not in had:
            continue
        given = had.get(key)
        if given is not None and given.shape == tensor.shape:
            tensor.copy_(given)
        elif given is not None and key.startswith("fusion.") and given.shape[0] == tensor.shape[0]:
            tensor.zero_()[:, : given.shape[1]] = given
        else:
            raise ColorizerError(
                f"{model.config['embedder']} is no part of the {old.config['embedder']} of {source}: {key} differs."
            )


if __name__ == "__main__":
    run_script("grow.py", main)

"""Averages the weights of models of one kind, tensor by tensor, into a model.

    python train/average.py runs/mine/checkpoint-* --output_dir runs/mean
    python train/average.py fusion_compact fusion_compact runs/tuned/model --output_dir runs/mean

A model that is named twice counts twice. Weights along one training, or of a model and of one that was fine-tuned
from it, are near enough to each other that their mean is a colorizer, and on photographs of other sources often a
better one than the last of them: Izmailov et al. 2018 (SWA, arXiv:1803.05407), Wortsman et al. 2022 (WiSE-FT,
arXiv:2109.01903), Cha et al. 2021 (SWAD, arXiv:2102.08604). Not always, and the mean of two trainings from different
random weights is far worse than either: train/evaluate.py tells.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import argparse  # noqa: E402
from collections.abc import Iterable  # noqa: E402

from torch.optim.swa_utils import AveragedModel  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.hub import CONFIG_FILE, load_model  # noqa: E402
from colorizer.models import Colorizer  # noqa: E402
from train.runs import make_folder, model_folder, run_script  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a bundled name, a folder or a Hub id")
    parser.add_argument("--output_dir", required=True, help="the folder that the mean is written to")
    arguments = parser.parse_args(argv)
    folder = model_folder(arguments.output_dir)
    model = average(tqdm(arguments.models, "read", disable=None))
    make_folder(folder)
    model.save_pretrained(folder)
    print(f"the mean of {len(arguments.models)} models is in {folder}")


def average(sources: Iterable[str]) -> Colorizer:
    """The mean of models, in eval mode: the class, arguments and dials of the first, all one's weights and statistics.

    Raises ColorizerError, in one sentence, if one cannot be loaded, or is another network than the first.
    """
    mean = None
    for source in sources:
        model = load_model(source)
        if mean is None:
            first, mean = model, AveragedModel(model, use_buffers=True)
        elif (model.name, model.config) != (first.name, first.config):
            raise ColorizerError(
                f"{model.source} is another network than {first.source} (their {CONFIG_FILE} differ), and weights can "
                "only be averaged with those of the same one."
            )
        mean.update_parameters(model)
    return mean.module.eval()


if __name__ == "__main__":
    run_script("average.py", main)

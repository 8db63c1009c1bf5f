"""The model card that a run writes for its model."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from colorizer.hub import INSTALL, RUN_MARK, is_repo_id
from train.checkpoints import as_plain
from train.runs import without_place

if TYPE_CHECKING:
    from train.recipe import Recipe
    from train.train import Training

LIBRARIES = ("torch", "timm", "accelerate", "huggingface-hub", "safetensors")
# What the card's table of settings leaves out: it says nothing of the model, or names folders of a person's machine.
NOT_SHOWN = ("output_dir", "train_data_dir", "validation_data_dir", "resume_from_checkpoint", "dataset_name")

TEMPLATE = """---
{{ card_data }}
---
{{ mark }}

# {{ name }}

A `{{ model }}` network with {{ parameters }} million parameters{{ purpose }}, trained with the recipe below.

{% if colors %}```python
from colorizer import ColorizationPipeline

pipe = ColorizationPipeline.from_pretrained("{{ repo_id }}")
pipe("photo.jpg").save("photo.color.jpg")
```

or, from a shell, `colorizer photo.jpg --model {{ repo_id }}`. {{ install }}

The colors are plausible, not the historical ones.
{% endif %}
## Data

{{ data }}

## Results

On the {{ validation }} {{ held_out }} pictures, at {{ resolution }} pixels, after {{ steps }} steps{{ explanation }}:

| figure | value |
|---|---:|
{{ results }}

## Training

```sh
{{ command }}
```

{{ steps }} steps of {{ batch }} pictures over {{ processes }} process(es) on {{ device }}, {{ minutes }} minutes;
{{ versions }}.

```yaml
{{ recipe }}```
"""

PURPOSE = {
    "colorizer": " that colors black-and-white photographs",
    "autoencoder": " that rebuilds color pictures from a code",
    "classifier": " that tells what a photograph shows",
}
EXPLANATION = (
    " (RMSE of ab in CIE Lab units; colorfulness after Hasler and Suesstrunk 2003; the model's default temperature)"
)


def write_card(path: Path, run: Training) -> None:
    """Writes a README.md for the model of a finished run, with the front matter that the Hub sorts and compares by."""
    recipe, model = run.recipe, run.model
    repo_id = recipe.hub_model_id or f"user/{run.output.name}"
    name = repo_id.split("/")[-1]
    figures = run.validated
    colors = model.kind == "colorizer"
    held_out = _has_held_out(recipe)
    task = "image-classification" if run.is_classifier else "image-to-image"
    is_of_the_hub = _is_of_the_hub(recipe.dataset_name)
    measured_type = recipe.dataset_name if is_of_the_hub and not recipe.validation_data_dir else "imagefolder"
    measured_on = _folders(recipe.validation_data_dir) or (
        "pictures held out from the training data" if held_out else "the training pictures"
    )
    data = ModelCardData(
        model_name=name,
        pipeline_tag=task,
        tags=["image-colorization"] if colors else [],
        library_name="colorizer",
        datasets=[recipe.dataset_name] if is_of_the_hub else None,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=measured_type,
                dataset_name=measured_on,
                metric_type=key,
                metric_name=key.replace("_", " "),
                metric_value=round(value, 4),
            )
            for key, value in figures.items()
            if key.startswith("validation")
        ]
        or None,
    )
    settings = {key: _for_others(value) for key, value in as_plain(recipe).items() if key not in NOT_SHOWN}
    card = ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        mark=RUN_MARK,
        name=name,
        repo_id=repo_id,
        model=model.name,
        colors=colors,
        install=INSTALL,
        purpose=PURPOSE[model.kind],
        parameters=f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}",
        data=_data(run),
        validation=f"{len(run.validation):,}",
        held_out="held-out" if held_out else "training",
        resolution=run.resolution,
        steps=f"{run.progress.step:,}",
        explanation=EXPLANATION if "validation_ab_rmse" in figures else "",
        results="\n".join(f"| {key.replace('_', ' ')} | {value:.4g} |" for key, value in figures.items()),
        command=f"accelerate launch train/train.py {shlex.join(_for_others(sys.argv[1:]))}",
        batch=run.step_pictures,
        processes=run.accelerator.num_processes,
        device=run.accelerator.device.type,
        minutes=f"{run.progress.seconds / 60:.1f}",
        versions=", ".join(f"{library} {importlib.metadata.version(library)}" for library in LIBRARIES),
        recipe=yaml.safe_dump(settings, sort_keys=False),
    )
    path.write_bytes(card.content.encode(errors="replace"))  # folders may have names that are no text


def _for_others(value: Any) -> Any:
    """A setting, or words of the command line, with without_place of each text in it."""
    if isinstance(value, list):
        return [_for_others(each) for each in value]
    if isinstance(value, dict):
        return {key: _for_others(each) for key, each in value.items()}
    return without_place(value) if isinstance(value, str) else value


def _is_of_the_hub(dataset: str | None) -> bool:
    """Whether a dataset_name is an id of the Hub, not a place of files: the Hub refuses cards that name a path."""
    return bool(dataset) and is_repo_id(dataset) and not dataset.endswith(".parquet") and not Path(dataset).exists()


def _has_held_out(recipe: Recipe) -> bool:
    return bool(recipe.validation_share or recipe.validation_data_dir)


def _folders(places: list[str]) -> str:
    """The names of folders, without where they are."""
    return ", ".join(Path(place).absolute().name for place in places)


def _data(run: Training) -> str:
    recipe = run.recipe
    folders = _folders(recipe.train_data_dir)
    dataset = recipe.dataset_name
    if dataset and not _is_of_the_hub(dataset):
        dataset = Path(dataset).name  # the folders above are of a person's machine
    source = dataset or folders or f"{len(recipe.train_shards)} pattern(s) of shards"
    if run.is_stream:
        return f"Streamed from {source}."
    classes = f" in {len(run.training.classes)} classes" if run.training.classes else ""
    held_out = f"{len(run.validation):,} were held out" if _has_held_out(recipe) else "none was held out"
    if recipe.validation_data_dir:
        validation = f"the {len(run.validation):,} pictures of {_folders(recipe.validation_data_dir)}"
        held_out = f"so were copies of {validation} that the model was validated on"
    return (
        f"{len(run.training):,} pictures{classes} of {source}; pictures less colorful than "
        f"{recipe.min_colorfulness:g} (Hasler and Suesstrunk) or smaller than {recipe.min_side} pixels were left out, "
        f"and {held_out}."
    )

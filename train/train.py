"""Trains a colorizer.

    accelerate launch train/train.py --recipe train/recipes/fusion_compact.yaml \
        --train_data_dir photos/ --output_dir runs/fusion_compact

Everything that makes the run stands in the recipe (train/recipe.py lists the keys); a flag of the same name overrides
it. The output folder gets recipe.yaml (as resolved), metrics.jsonl, samples.png (gray, prediction, truth of held-out
pictures), checkpoint/ (to resume from) and model/, which `colorizer --model` and `from_pretrained` load at any time.
"""

import copy
import json
import math
import shutil
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import dataclasses  # noqa: E402

import torch  # noqa: E402
import yaml  # noqa: E402
from accelerate import Accelerator  # noqa: E402
from accelerate.utils import DataLoaderConfiguration, set_seed  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer.color import lab_to_rgb, rgb_to_lab  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.models import Colorizer, create_model  # noqa: E402
from train.data import NO_LABEL, CenterViews, TrainingViews, load_pictures, simulate_hints  # noqa: E402
from train.losses import RebalancedCrossEntropy, bin_prior  # noqa: E402
from train.recipe import Recipe, parse_recipe  # noqa: E402


class Trainee(nn.Module):
    """The colorizer and, beside it, a linear classifier on the embedder's vector, which only the training needs."""

    def __init__(self, colorizer: Colorizer, classes: int) -> None:
        super().__init__()
        self.colorizer = colorizer
        self.classifier = nn.Linear(colorizer.embedder.channels, classes) if classes else None

    def forward(self, lightness: torch.Tensor, hints: torch.Tensor | None):
        """Logits of the ab bins (N, K, h, w) and of the classes (N, C) or None, for lightness (N, 1, H, W)."""
        embedding = self.colorizer.embed(lightness)
        logits = self.colorizer.logits(lightness, hints, embedding)
        return logits, self.classifier(embedding[0]) if self.classifier else None


class Progress:
    """How far the run is; saved in each checkpoint."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict:
        return vars(self).copy()

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)

    def share(self, recipe: Recipe) -> float:
        """The share of the run that is done, 0..1, by steps or by minutes, whichever is further."""
        share = self.step / recipe.max_train_steps
        if recipe.max_train_minutes:
            share = max(share, self.seconds / 60 / recipe.max_train_minutes)
        return min(share, 1.0)


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Linear warm-up, then a half cosine down to a hundredth."""
    warmup = min(1.0, (progress.step + 1) / max(1, recipe.lr_warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress.share(recipe)))
    return recipe.learning_rate * warmup * (0.01 + 0.99 * cosine)


def replace_folder(new: Path, old: Path) -> None:
    """Puts the finished folder `new` in the place of `old`, which stays beside it until then."""
    aside = old.with_name(old.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def to_lab(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lightness (N, 1, H, W) and ab (N, 2, H, W) of uint8 sRGB (N, 3, H, W)."""
    lab = rgb_to_lab(rgb.float() / 255)
    return lab[:, :1], lab[:, 1:]


def main() -> None:
    recipe = parse_recipe(description=__doc__)
    accelerator = Accelerator(
        mixed_precision=recipe.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=recipe.seed),
        step_scheduler_with_optimizer=False,
    )
    set_seed(recipe.seed)
    output = Path(recipe.output_dir)
    output.mkdir(parents=True, exist_ok=True)

    with accelerator.main_process_first():
        pictures = load_pictures(recipe.train_data_dir, recipe.short_side)
    training, validation = pictures.split(recipe.validation_share, recipe.seed)
    views = TrainingViews(training, recipe.resolutions[min(recipe.resolutions)], recipe.seed)
    loader = DataLoader(
        views, recipe.train_batch_size, shuffle=True, drop_last=True, num_workers=recipe.dataloader_num_workers
    )
    if not len(loader):
        raise ColorizerError(
            f"There are {len(training)} pictures to train on, fewer than the batch of {recipe.train_batch_size}; "
            "lower train_batch_size or add pictures."
        )
    validation_views = CenterViews(validation, max(recipe.resolutions.values()))

    config = dict(recipe.model)
    colorizer = create_model(config.pop("name"), **config)
    if not colorizer.has_distribution:
        raise ColorizerError("This trainer's loss needs a model with `head: bins`; a regression head has no bins.")
    colorizer.defaults |= recipe.defaults
    trainee = Trainee(colorizer, len(pictures.classes) if recipe.label_loss else 0)
    trainee = trainee.to(memory_format=torch.channels_last)
    decayed = [p for p in trainee.parameters() if p.ndim > 1]
    others = [p for p in trainee.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    # The color statistics of the data: from as many pictures as make them steady.
    sample = DataLoader(CenterViews(training, 64), 64)
    prior = bin_prior((to_lab(batch["rgb"])[1] for _, batch in zip(range(64), sample, strict=False)), colorizer.bins)
    color_loss = RebalancedCrossEntropy(prior, recipe.rebalancing_mix).to(accelerator.device)

    ema = AveragedModel(colorizer, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), device=accelerator.device)
    trainee, optimizer, loader = accelerator.prepare(trainee, optimizer, loader)
    progress = Progress()
    accelerator.register_for_checkpointing(ema, progress)
    if recipe.resume_from_checkpoint:
        folder = Path(recipe.resume_from_checkpoint)
        if recipe.resume_from_checkpoint == "latest":
            # The older one is all there is when a run was killed between two renamings.
            folder = next((f for f in (output / "checkpoint", output / "checkpoint.old") if f.exists()), output)
        if not (folder / "model.safetensors").exists():
            raise ColorizerError(
                f"There is no checkpoint in {folder}; leave out resume_from_checkpoint to begin anew."
            )
        accelerator.load_state(str(folder))
        accelerator.print(f"resumed from {folder} at step {progress.step}")

    batch_total = recipe.train_batch_size * accelerator.num_processes
    accelerator.print(
        f"{len(training):,} pictures to train on, {len(validation):,} to validate on, "
        f"{len(pictures.classes)} classes; {accelerator.num_processes} process(es) on {accelerator.device.type}, "
        f"batch {batch_total}; {sum(p.numel() for p in colorizer.parameters()) / 1e6:.1f} M parameters"
    )
    if accelerator.is_main_process:
        (output / "recipe.yaml").write_text(yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False))

    def save() -> None:
        """Writes model/, samples.png, a line of metrics.jsonl and checkpoint/, each whole or not at all."""
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            model = copy.deepcopy(ema.module)
            if progress.share(recipe) < recipe.freeze_norm_from or recipe.freeze_norm_from == 1:
                calibrate(model, TrainingViews(training, validation_views.resolution, recipe.seed), recipe.hint_share)
            model.eval()
            metrics = validate(model, validation_views, accelerator.device, output / "samples.png")
            model.save_pretrained(output / "model.partial")
            replace_folder(output / "model.partial", output / "model")
            log({"step": progress.step, **metrics})
        accelerator.save_state(str(output / "checkpoint.partial"))
        if accelerator.is_main_process:
            replace_folder(output / "checkpoint.partial", output / "checkpoint")
        accelerator.wait_for_everyone()

    def log(values: dict) -> None:
        if accelerator.is_main_process:
            with open(output / "metrics.jsonl", "a") as file:
                file.write(json.dumps({"minutes": round(progress.seconds / 60, 2), **values}) + "\n")
            tqdm.write(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()))

    norms = [module for module in trainee.modules() if isinstance(module, nn.BatchNorm2d)]
    bar = tqdm(
        total=recipe.max_train_steps, initial=progress.step, mininterval=10, disable=not accelerator.is_main_process
    )
    model = accelerator.unwrap_model(trainee).colorizer
    steps_per_epoch = len(loader)
    last_save, clock = progress.seconds, time.perf_counter()
    while progress.share(recipe) < 1:
        views.epoch = epoch = progress.step // steps_per_epoch
        loader.set_epoch(epoch)
        done = progress.step % steps_per_epoch
        for batch in accelerator.skip_first_batches(loader, done) if done else loader:
            # The next batch's size: the loader is one batch ahead of the step.
            views.resolution = recipe.resolutions[max(s for s in recipe.resolutions if s <= progress.share(recipe))]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, progress)
            trainee.train()
            if progress.share(recipe) >= recipe.freeze_norm_from:
                # What is trained from here on is what is used: with the statistics of no batch, hinted or not.
                for norm in norms:
                    norm.eval()
            lightness, ab = to_lab(batch["rgb"].to(memory_format=torch.contiguous_format))
            generator = torch.Generator().manual_seed(
                hash((recipe.seed, progress.step, accelerator.process_index)) % 2**63
            )
            hints = simulate_hints(ab, generator, recipe.hint_share) if model.accepts_hints else None
            with accelerator.autocast():
                logits, class_logits = trainee(lightness, hints)
            loss = color_loss(logits, ab, model.bins)
            values = {"loss": loss.detach()}
            if class_logits is not None and (batch["label"] != NO_LABEL).any():
                label_loss = functional.cross_entropy(class_logits.float(), batch["label"], ignore_index=NO_LABEL)
                loss = loss + recipe.label_loss * label_loss
                values["label_loss"] = label_loss.detach()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trainee.parameters(), recipe.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ema.update_parameters(model)

            progress.step += 1
            now = time.perf_counter()
            progress.seconds, clock = progress.seconds + now - clock, now
            bar.update()
            if progress.step % 50 == 0:
                numbers = {key: value.item() for key, value in values.items()}
                log({"step": progress.step, **numbers, "lr": learning_rate(recipe, progress)})
            if progress.seconds - last_save > 60 * recipe.save_minutes:
                last_save = progress.seconds
                save()
                clock = time.perf_counter()
            if progress.share(recipe) >= 1:
                break
    bar.close()
    save()
    accelerator.print(f"the model is in {output / 'model'}")
    accelerator.end_training()


@torch.no_grad()
def calibrate(model: Colorizer, views: TrainingViews, hint_share: float, batches: int = 24) -> None:
    """Gives averaged weights the batch-norm statistics that belong to them, and leaves the model in eval mode.

    The average of the statistics is not the statistics of the average: while the weights still move, it gives one
    brown for everything. Views carry hints as often as in training: without them the statistics are others again.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    generator = torch.Generator().manual_seed(views.seed)
    device = next(model.parameters()).device
    model.train()
    for _, batch in zip(range(batches), DataLoader(views, 48, shuffle=True, generator=generator), strict=False):
        lightness, ab = to_lab(batch["rgb"].to(device))
        model(lightness, simulate_hints(ab, generator, hint_share) if model.accepts_hints else None)
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def validate(model: Colorizer, views: CenterViews, device: torch.device, sheet: Path, shown: int = 12) -> dict:
    """ab RMSE (Lab units) of the model at its default temperature and of gray; a sheet of the first pictures."""
    squared = gray = 0.0
    rows = []
    for batch in DataLoader(views, 32):
        lightness, ab = to_lab(batch["rgb"].to(device))
        predicted = model(lightness)
        squared += (predicted - ab).square().sum().item()
        gray += ab.square().sum().item()
        if not rows:
            parts = torch.zeros_like(ab), predicted, ab
            rows = [lab_to_rgb(torch.cat([lightness, part], dim=1))[:shown] for part in parts]
    pixels = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).cpu().numpy()).save(sheet)
    total = len(views) * 2 * views.resolution**2
    return {"validation_ab_rmse": math.sqrt(squared / total), "gray_ab_rmse": math.sqrt(gray / total)}


if __name__ == "__main__":
    try:
        main()
    except ColorizerError as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)

"""Trains a colorizer.

    accelerate launch train/train.py --recipe train/recipes/fusion_compact.yaml \
        --train_data_dir photos/ --output_dir runs/fusion_compact

Everything that makes the run stands in the recipe (train/recipe.py lists the keys); a flag of the same name overrides
it. The run's folder gets recipe.yaml (as resolved), metrics.jsonl, samples/ (gray, prediction, truth of held-out
pictures), checkpoint-<step>/ (to resume from, and each one a model folder) and, in the end, model/, which
`colorizer --model` and `from_pretrained` load. docs/training.md shows it all.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, so that `train` and `colorizer` are found

import contextlib  # noqa: E402
import copy  # noqa: E402
import dataclasses  # noqa: E402
import datetime  # noqa: E402
import importlib.util  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from accelerate import Accelerator, InitProcessGroupKwargs  # noqa: E402
from accelerate.utils import (  # noqa: E402
    SCALER_NAME,
    DataLoaderConfiguration,
    GradientAccumulationPlugin,
    ProjectConfiguration,
    gather_object,
    parse_flag_from_env,
    send_to_device,
    set_seed,
)
from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402
from tqdm import tqdm  # noqa: E402

from colorizer import metrics  # noqa: E402
from colorizer.color import lab_to_rgb  # noqa: E402
from colorizer.errors import ColorizerError  # noqa: E402
from colorizer.hub import (  # noqa: E402
    FILES,
    LONGEST_NAME,
    MAX_NAMES,
    RUN_MARK,
    WEIGHTS_FILE,
    check_defaults,
    check_token,
    load_model,
    push,
)
from colorizer.models import Colorizer  # noqa: E402
from colorizer.models.mnist import paint, painting_accuracy  # noqa: E402
from colorizer.pipeline import stretched  # noqa: E402
from train.card import write_card  # noqa: E402
from train.checkpoints import (  # noqa: E402
    FULL_DISK,
    STATE,
    as_plain,
    check_same_network,
    check_same_run,
    describe_run,
    digest_weights,
    find_checkpoint,
    list_checkpoints,
    replace_folder,
    save_checkpoint,
    set_aside_others,
)
from train.data import NO_LABEL, ReadingError, Stream, batches_of, load_data, training_loader  # noqa: E402
from train.losses import Objective, PatchCritic, bin_prior, critic_loss, squared_error  # noqa: E402
from train.optimizers import make_optimizer  # noqa: E402
from train.recipe import Recipe, parse_recipe  # noqa: E402
from train.runs import check_joined, check_writable, make_folder  # noqa: E402
from train.sharding import (  # noqa: E402
    ShardedAverage,
    check_same_sharding,
    check_sharding,
    is_sharded,
    prepare_sharded,
    share_statistics,
    whole,
)
from train.trainee import (  # noqa: E402
    AutoencoderTrainee,
    ClassifierTrainee,
    Trainee,
    batch_norms,
    calibrate,
    checkpoint_gradients,
    still_parts,
    synchronized,
)
from train.views import age, documents, draw, recolor, simulate_hints, to_lab, training_views, with_documents  # noqa: E402
from train.weights import load_decoder_weights, load_embedder_weights, new_model  # noqa: E402

SAMPLE_EPOCH = 2**31  # no epoch of the training: seeds the views of what is looked at beside it
SHEET_PICTURES = 12
CALIBRATED = 1152  # pictures by which an average's batch norm is measured
GPU_SIGNAL_PASSES = 10  # between looks at whether any process was told to stop; each look waits for the GPU


class Progress:
    """How far the run is, and what it has seen since the last line of metrics; saved in each checkpoint."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0
        self.sums: dict[str, Tensor | float] = {}  # of each value, and over how many steps
        self.counts: dict[str, int] = {}
        self.logged_step, self.logged_seconds = 0, 0.0
        self.validated_step = 0  # of the latest validation, whose sample sheet has its name

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.float()
            self.counts[name] = self.counts.get(name, 0) + 1

    def share_sums(self) -> None:
        """Puts the mean over the processes in each sum's place, in all of them: only one process's are saved.

        With fp16 one process may have left out a step that another has not, so the counts are shared too.
        """
        gathered = gather_object([({name: float(value) for name, value in self.sums.items()}, self.counts)])
        names = list(dict.fromkeys(name for sums, _ in gathered for name in sums))
        self.sums = {name: math.fsum(sums.get(name, 0.0) for sums, _ in gathered) / len(gathered) for name in names}
        self.counts = {name: sum(counts.get(name, 0) for _, counts in gathered) / len(gathered) for name in names}

    def means(self) -> dict[str, float]:
        """The mean of each value since the last call, over all processes."""
        self.share_sums()
        means = {name: value / self.counts[name] for name, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


class Training:
    """One run: built from a recipe, then `fit`."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.output = Path(recipe.output_dir)
        self.accelerator = accelerator = make_accelerator(recipe, self.output)
        self.is_sharded = is_sharded(accelerator)
        if recipe.push_to_hub and accelerator.is_main_process:
            check_token(recipe.hub_model_id)
        set_seed(recipe.seed)
        check_writable(self.output)
        check_beside(self.output, recipe.train_data_dir + recipe.validation_data_dir)
        self.stopped_by: int | None = None
        self.finished: tuple[int, Colorizer] | None = None  # the latest finished_model, and its step
        self.validated: dict[str, float] | None = None  # the figures of this step
        self.disk_is_full = False
        self.beginning: list = []  # what `sample` has read, where that is not in memory

        # The model first: weights that cannot be had are told before the pictures are decoded. A classifier's last
        # layer has to wait for them.
        waits = (recipe.model or {}).get("name") == "classifier" and "classes" not in recipe.model
        colorizer = None if waits else self.make_model()
        self.teachers = [self.load_teacher(source) for source in recipe.teacher]
        self.training, self.validation = load_data(recipe, accelerator)
        self.is_stream = isinstance(self.training, Stream)
        if waits:
            colorizer = self.make_model(classes=self.training.classes)
        self.is_classifier = colorizer.kind == "classifier"
        self.reads_color = colorizer.kind != "colorizer"
        self.paints_digits = colorizer.domain == "digits"
        if self.is_classifier or self.paints_digits:
            self.keep_labeled(list(colorizer.config["classes"]) if self.is_classifier else [str(d) for d in range(10)])
        self.loader = training_loader(self.training, recipe, accelerator)
        self.steps_per_epoch = math.inf if self.is_stream else len(self.loader) // recipe.gradient_accumulation_steps
        for name in ("checkpointing_steps", "validation_steps", "logging_steps"):
            if getattr(recipe, name) is None:
                setattr(recipe, name, self.steps_per_epoch)
        self.max_steps = recipe.max_train_steps or max(1, round(recipe.num_train_epochs * self.steps_per_epoch))
        if recipe.lr_warmup_steps >= self.max_steps:
            accelerator.print(
                f"the {recipe.lr_warmup_steps:,} lr_warmup_steps are no fewer than the {self.max_steps:,} steps of "
                f"the run, so the learning rate comes near {recipe.learning_rate:g} in the end at best: give some "
                f"{max(1, self.max_steps // 10):,}"
            )
        self.resolution = max(recipe.resolutions.values())  # that the model is validated at
        self.progress = Progress()

        self.build(colorizer)
        self.checkpoint: Path | None = None  # the latest
        if recipe.resume_from_checkpoint:
            self.checkpoint = find_checkpoint(recipe.resume_from_checkpoint, self.output)
            self.resume(self.checkpoint)
        elif list_checkpoints(self.output) and not recipe.dry_run:
            raise ColorizerError(
                f"{self.output} holds an earlier run: go on with it by --resume_from_checkpoint latest, or give "
                "another output_dir."
            )
        elif (self.output / "model" / "config.json").is_file() and not recipe.dry_run:
            raise ColorizerError(
                f"{self.output} holds the model of an earlier run, which this one would replace: move it, or give "
                "another output_dir."
            )
        make_folder(self.output)
        if recipe.documents:  # or each process would draw them amid its first steps, and the others wait for it
            documents(recipe.picture_size)
        # Last, by the embedder that the run goes on with: a checkpoint brings its own.
        self.embeddings = self.embed_all() if recipe.cache_embeddings else None

    # ------------------------------------------------------------------------------------------------------ building

    def make_model(self, **config) -> Colorizer:
        """The model to train: new, or with the weights that the recipe starts from."""
        recipe = self.recipe
        source, config = recipe.pretrained_model_name_or_path, {**(recipe.model or {}), **config}
        # One process of a machine downloads, the others find it in the cache.
        with self.accelerator.local_main_process_first():
            if source:
                if recipe.embedder_weights != "none" and not recipe.resume_from_checkpoint:
                    self.accelerator.print(f"embedder_weights is left out: {source} has an embedder's own")
                model = load_model(source)
                found = {"name": model.name, **model.config}
                for key, value in config.items():
                    if found.get(key) != value:
                        raise ColorizerError(
                            f"{source} has {key} {found.get(key)!r} and the recipe wants {value!r}: leave out `model` "
                            "to take the one of the weights."
                        )
            else:
                name = config.pop("name")
                model = new_model(name, config)
                if recipe.embedder_weights != "none":
                    if getattr(model, "embedder", None) is None:
                        raise ColorizerError(f"A {name} model has no embedder: leave out embedder_weights.")
                    if not recipe.resume_from_checkpoint:  # a checkpoint has its own
                        load_embedder_weights(model.embedder, model.config["embedder"], recipe.embedder_weights)
            if recipe.decoder_weights and not recipe.resume_from_checkpoint:
                load_decoder_weights(model, recipe.decoder_weights)
        model.defaults = check_defaults(model.defaults | recipe.defaults, "The recipe")
        if (model.defaults["temperature"] is None) == model.has_distribution:
            wanted = "a number" if model.has_distribution else "null"
            raise ColorizerError(f"The recipe's default temperature must be {wanted} for this model.")
        check_loadable(model)
        model.source = None
        return model

    def build(self, colorizer: Colorizer) -> None:
        """The trainee, its objective, optimizer and averages, and the critic where the recipe has one."""
        recipe, accelerator = self.recipe, self.accelerator
        weights = {name: weight for name, weight in recipe.objectives.items() if weight}
        classes = len(self.training.classes)
        for key in ("aging", "documents", "levels"):
            if getattr(recipe, key) and (self.reads_color or self.paints_digits):
                raise ColorizerError(f"A {colorizer.name} model colors no photographs: leave out {key}.")
        if recipe.levels and colorizer.domain != "photos":
            raise ColorizerError(
                f"A {colorizer.name} model colors {colorizer.domain}, whose levels the pipeline leaves as they are: "
                "leave out levels."
            )
        if self.is_classifier:
            weights = {"labels": 1.0}
            if recipe.hint_share or recipe.changes_embedders:
                raise ColorizerError("A classifier knows no hints and no embedder: leave out those keys.")
            trainee = ClassifierTrainee(colorizer)
        elif self.reads_color:
            if recipe.hint_share or recipe.changes_embedders or "labels" in weights:
                raise ColorizerError(f"A {colorizer.name} model knows no hints, embedder or labels: leave them out.")
            if "rebalanced_cross_entropy" in weights:
                raise ColorizerError(f"A {colorizer.name} model predicts no distribution: take mse or smooth_l1.")
            trainee = AutoencoderTrainee(colorizer)
        else:
            if "rebalanced_cross_entropy" in weights and not colorizer.has_distribution:
                raise ColorizerError(
                    f"rebalanced_cross_entropy needs a model with a distribution (`head: bins`), which this "
                    f"{colorizer.name} model does not have: take mse or smooth_l1."
                )
            if "labels" in weights and not (classes and self.labeled):
                del weights["labels"]
                accelerator.print(
                    f"there are no classes (folders of {recipe.min_class_size} pictures or more, and no stream), so "
                    "the objective labels is left out"
                )
            if recipe.hint_share and not colorizer.accepts_hints:
                raise ColorizerError(f"This {colorizer.name} model takes no hints: leave out hint_share.")
            if recipe.cache_embeddings and getattr(getattr(colorizer, "embedder", None), "embedding", "") == "maps":
                raise ColorizerError("cache_embeddings keeps vectors, and this embedder gives maps: leave it out.")
            if recipe.cache_embeddings and getattr(colorizer, "second_embedder", None) is not None:
                raise ColorizerError("cache_embeddings keeps one embedder's vectors, and there are two: leave it out.")
            needs_ab = bool(weights.keys() - {"rebalanced_cross_entropy", "labels"})
            trainee = Trainee(
                colorizer,
                classes if "labels" in weights else 0,
                needs_ab,
                recipe.freeze_embedder,
                recipe.freeze_second_embedder,
                recipe.second_embedder_stages,
                recipe.learning_parts,
                recipe.embedding_dropout,
            )
            if recipe.learning_parts == ["attention"] and colorizer.attention_for_hints and not recipe.hint_share:
                raise ColorizerError(
                    "Attention that is for hints alone learns nothing without them: raise hint_share."
                )
            if recipe.second_embedder_rate != 1 and getattr(colorizer, "second_embedder", None) is None:
                raise ColorizerError("The model has no second embedder: leave out second_embedder_rate.")
        if "adversarial" in weights and (colorizer.output != "ab" or self.reads_color):
            raise ColorizerError(f"The adversarial objective judges ab, which a {colorizer.name} model does not give.")
        if "chroma" in weights and (colorizer.output != "rgb" or self.is_classifier):
            raise ColorizerError("The objective chroma is for models that paint RGB; of ab, mse is the same.")
        if recipe.channels_last and not self.is_sharded:  # FSDP takes no weights that are laid out otherwise
            trainee = trainee.to(memory_format=torch.channels_last)

        self.try_resolutions(trainee)
        prior = None
        if "rebalanced_cross_entropy" in weights:
            prior = bin_prior((ab for _, ab in self.sample_lab(4096, 64)), colorizer.bins)
        self.objective = Objective(
            weights,
            colorizer.ab_unit,
            prior,
            self.labeled,
            recipe.rebalancing_mix,
            recipe.teacher_share,
            recipe.perceptual_network,
            recipe.perceptual_weights,
        ).to(accelerator.device)

        # The averages are made before the processes are coupled: batch norm that is synchronized has the same state.
        self.averaged = None
        self.whole = copy.deepcopy(colorizer) if self.is_sharded else None  # what sharded weights are gathered into
        if recipe.ema_decay and not self.is_sharded:
            average = get_ema_multi_avg_fn(recipe.ema_decay)
            self.averaged = AveragedModel(colorizer, multi_avg_fn=average, device=accelerator.device)
            self.averaged.requires_grad_(False)
        if recipe.gradient_checkpointing:
            checkpoint_gradients(colorizer)
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            trainee = synchronized(trainee)
        if recipe.torch_compile:
            trainee.compile(dynamic=False)  # one program for each resolution: dynamic ones fail to compile
        self.bare = trainee  # the same weights, without what couples the processes
        optimizer = make_optimizer(trainee, recipe)
        if self.is_sharded:
            self.trainee, self.optimizer = prepare_sharded(accelerator, trainee, optimizer)
            if recipe.ema_decay:
                self.averaged = ShardedAverage(self.model, recipe.ema_decay)
        else:
            self.trainee, self.optimizer = accelerator.prepare(trainee, optimizer)
        self.critic = None
        if "adversarial" in weights:
            if self.critic_judges_from >= self.max_steps:
                raise ColorizerError(
                    f"The critic would never judge: it comes in after {self.critic_comes_at:,} of {self.max_steps:,} "
                    f"steps and learns for {recipe.critic_warmup_steps:,}: lower adversarial_from or "
                    "critic_warmup_steps."
                )
            self.bare_critic = PatchCritic()
            self.critic, self.critic_optimizer = accelerator.prepare(
                self.bare_critic,
                torch.optim.Adam(self.bare_critic.parameters(), recipe.critic_learning_rate, betas=(0.0, 0.99)),
            )
        kept = [self.progress] + ([self.averaged] if self.averaged else [])
        accelerator.register_for_checkpointing(*kept)

    def load_teacher(self, source: str) -> Colorizer:
        """A trained colorizer whose predictions are to be learned."""
        with self.accelerator.local_main_process_first():
            teacher = load_model(source)
        if not getattr(teacher, "has_distribution", False):
            raise ColorizerError(f"The teacher {source} predicts no distribution: take one with `head: bins`.")
        teacher = teacher.to(self.accelerator.device).requires_grad_(False)
        return teacher.to(memory_format=torch.channels_last) if self.recipe.channels_last else teacher

    def keep_labeled(self, classes: list[str]) -> None:
        """Leaves the pictures that have a class; the model's `classes` must be those of the data, in their order."""
        if self.is_stream or classes != self.training.classes:
            found = "a stream" if self.is_stream else ", ".join(self.training.classes) or "none"
            raise ColorizerError(
                "The digits' colorizers learn from the classes 0 to 9 (MNIST's own files, or folders of these names "
                f"with min_class_size pictures or more), and the training pictures have other ones: {found}."
                if self.paints_digits
                else f"The classifier's classes must be those of the training pictures, in this order: {found}."
            )
        self.training, self.validation = (
            pictures.subset(np.flatnonzero(pictures.labels != NO_LABEL))
            for pictures in (self.training, self.validation)
        )
        if not len(self.validation):
            raise ColorizerError("No picture for validation has a class: raise validation_share.")

    def try_resolutions(self, trainee: nn.Module) -> None:
        """One forward pass at each resolution, so that one that the network cannot take is told before the start."""
        trial = copy.deepcopy(trainee).train()
        wanted = trainee.colorizer.input_size
        for size in sorted(set(self.recipe.resolutions.values())):
            if wanted and (size, size) != tuple(wanted):
                raise ColorizerError(
                    f"A {trainee.colorizer.name} model takes pictures of {wanted[0]} pixels and no others: set "
                    f"resolutions: {{0: {wanted[0]}}}."
                )
            pictures = min(self.recipe.train_batch_size, 2)
            try:
                with torch.no_grad():
                    trial(torch.full((pictures, 3 if self.reads_color else 1, size, size), 0.5))
            except (RuntimeError, ValueError, AssertionError) as error:  # the last from timm's networks of one size
                raise ColorizerError(
                    f"This model cannot be trained on batches of {self.recipe.train_batch_size} at {size} pixels "
                    f"({' '.join(str(error).split())[:150]}): raise resolutions or train_batch_size."
                ) from None

    def describe(self) -> dict:
        processes, teachers = self.accelerator.num_processes, [digest_weights(teacher) for teacher in self.teachers]
        return describe_run(self.recipe, self.training.digest, processes, teachers)

    def load_state(self, folder: Path) -> None:
        """The state of a checkpoint, but for what the recipe says of the optimizers, which may have changed since."""
        accelerator, decays = self.accelerator, [group["weight_decay"] for group in self.optimizer.param_groups]
        scaler = accelerator.scaler
        if scaler and not (folder / STATE / SCALER_NAME).exists():  # it was trained without fp16: that begins anew
            if self.is_sharded:  # accelerate takes a step while it loads these, which needs the scaler
                raise ColorizerError(f"{folder} was trained without fp16, and sharded weights cannot go on with it.")
            accelerator.scaler = None
        # By the CPU: the optimizer keeps its step counts where they are loaded, and on a GPU it would wait for each.
        accelerator.load_state(str(folder / STATE), map_location="cpu")
        accelerator.scaler = scaler
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        for group in self.critic_optimizer.param_groups if self.critic else ():
            group["lr"] = self.recipe.critic_learning_rate

    def resume(self, folder: Path) -> None:
        changed = check_same_run(folder, self.describe(), self.is_sharded)
        check_same_network(folder, self.model)
        check_same_sharding(folder, folder / STATE, self.is_sharded)
        self.load_state(folder)
        self.accelerator.wait_for_everyone()  # with reading: it may get its name back
        if self.accelerator.is_main_process:
            for aside in set_aside_others(self.output, folder, self.progress.step):
                print(f"a checkpoint of another attempt is now {aside.name}")
        if folder.resolve().parent == self.output.resolve():
            self.checkpoint = self.output / f"checkpoint-{self.progress.step}"
        self.accelerator.print(f"resumed from {folder} at step {self.progress.step}")
        for change in changed:
            self.accelerator.print(f"changed since: {change}")
        self.accelerator.wait_for_everyone()

    @property
    def model(self) -> Colorizer:
        """The colorizer as it is trained."""
        return self.bare.colorizer

    @property
    def labeled(self) -> float:
        """The share of the training pictures that have a class."""
        return 1.0 if self.is_stream else float((self.training.labels != NO_LABEL).mean())

    @property
    def step_pictures(self) -> int:
        """Pictures of one step, of all processes together."""
        recipe = self.recipe
        return recipe.train_batch_size * recipe.gradient_accumulation_steps * self.accelerator.num_processes

    @property
    def share(self) -> float:
        """The share of the run that is done, 0..1."""
        return min(1.0, self.progress.step / self.max_steps)

    # ------------------------------------------------------------------------------------------------------ training

    def fit(self) -> int:
        """Trains to the end, or until SIGINT or SIGTERM, which save a checkpoint first.

        Returns the exit code: 0, or 128 + the signal.
        """
        recipe, progress, accelerator = self.recipe, self.progress, self.accelerator
        self.say_what_runs()
        if accelerator.is_main_process:
            for unfinished in self.output.glob("*.partial"):
                unfinished.unlink() if unfinished.is_file() else shutil.rmtree(unfinished, ignore_errors=True)
            again = dataclasses.replace(recipe, resume_from_checkpoint=None)  # another run may begin with it
            (self.output / "recipe.yaml").write_text(yaml.safe_dump(as_plain(again), sort_keys=False))
            self.cut_metrics()
        self.start_trackers()
        bar = tqdm(
            total=self.max_steps, initial=progress.step, disable=not accelerator.is_main_process, smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 10, desc="train",
        )  # fmt: skip
        self.clock = time.perf_counter()
        steps = self.steps()
        with self.signals_ask():  # after the last checkpoint all is on the disk: what follows may be broken off
            while progress.step < self.max_steps:
                values = next(steps)
                # Without a number for a loss the scaler of fp16 has left out the step, and so do the means.
                if recipe.mixed_precision != "fp16" or math.isfinite(values["loss"]):
                    progress.add(values)
                progress.step += 1
                self.validated = None
                now = time.perf_counter()
                progress.seconds, self.clock = progress.seconds + now - self.clock, now
                bar.update()
                last = progress.step == self.max_steps
                if progress.step % recipe.logging_steps == 0 or last:
                    line = self.log_training()
                    bar.set_postfix({name: f"{line[name]:.4g}" for name in ("loss", "lr", "images/s")}, refresh=False)
                    if recipe.logging_steps == self.steps_per_epoch and accelerator.is_main_process:
                        tqdm.write(f"epoch {progress.step / self.steps_per_epoch:g}: average loss {line['loss']:.5g}")
                if progress.step % recipe.validation_steps == 0:
                    self.validate()
                stop = self.should_stop()
                if progress.step % recipe.checkpointing_steps == 0 or last or stop:
                    self.save(must=last or stop)
                if stop and not last:
                    bar.close()
                    name = signal.Signals(self.stopped_by).name if self.stopped_by else "a signal"
                    accelerator.print(
                        f"stopped by {name} at step {progress.step}; --resume_from_checkpoint latest goes on from "
                        f"{self.checkpoint}"
                    )
                    self.leave()
                    return 128 + (self.stopped_by or signal.SIGTERM)  # another process was told which
        bar.close()
        if self.validated is None:
            self.validate()
        self.finish()
        return 0

    @contextlib.contextmanager
    def signals_ask(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask for a checkpoint and the end; after that they do what they did before."""
        before = {number: signal.signal(number, self.ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: none of Python's

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Takes one optimizer step after the other; gives each one's loss and objectives."""
        batches = self.batches()
        while True:
            yield self.take_step(batches, self.recipe.resolution_at(self.share), self.adversary())

    def take_step(self, batches: Iterator, resolution: int, adversary: str | None) -> dict[str, Tensor]:
        """One optimizer step on the next batches, at `resolution` pixels, with that part of the critic's."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate() * group.get("lr_scale", 1.0)
        self.bare.freeze_norm = self.norm_is_frozen(self.progress.step)
        self.trainee.train()
        parts = self.recipe.gradient_accumulation_steps
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            inputs = self.see(*next(batches), resolution)
            self.seed_network(1 + part, self.accelerator.process_index)
            # Gradients are exchanged once, with the last part.
            with contextlib.ExitStack() as exchange:
                if part < parts - 1:
                    for module in (self.trainee, self.critic) if self.critic else (self.trainee,):
                        exchange.enter_context(self.accelerator.no_sync(module))
                values = self.learn(inputs, parts, adversary)
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value / parts
        sums |= self.update(adversary)
        if self.is_sharded:
            share_statistics(self.bare)
            self.finished = None  # whole weights take their room only while they are needed
        return sums

    def seed_network(self, *place: int) -> None:
        """Has what the network draws itself (dropout, drop path) follow from the seed and the place in the run alone,
        so that a resumed run, or one that is validated more often, draws the same."""
        state = np.random.SeedSequence((self.recipe.seed, self.progress.step, *place)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))

    def norm_is_frozen(self, step: int) -> bool:
        """Whether batch norm keeps its statistics in the step after `step` ones."""
        return step / self.max_steps >= self.recipe.freeze_norm_from

    def batches(self) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Batches of this process, with their epoch, from where the run stands, without end."""
        parts = self.recipe.gradient_accumulation_steps
        if self.is_stream:
            skipped = self.progress.step * parts  # a stream must be read again up to here
            for number, batch in enumerate(telling(self.loader)):
                if number >= skipped:
                    yield batch, 0
        while True:
            epoch, done = divmod(self.progress.step, self.steps_per_epoch)
            self.loader.set_epoch(epoch)  # before skip_first_batches, which hands the epoch over
            loader = self.accelerator.skip_first_batches(self.loader, done * parts) if done else self.loader
            # What does not fill a step at an epoch's end is left out.
            for _, batch in zip(range((self.steps_per_epoch - done) * parts), telling(loader), strict=False):
                yield batch, epoch

    def see(self, batch: dict[str, Tensor], epoch: int, resolution: int) -> dict[str, Tensor | None]:
        """What the network is given of a batch, and what it should say: views in Lab, hints, labels.

        A colorizer is shown "seen" (N, 1, H, W), which is "lightness" but for its age and its levels.
        """
        recipe, device = self.recipe, self.accelerator.device
        index = batch["index"]
        draws = draw(recipe.seed, epoch, index).to(device, non_blocking=True)
        batch = send_to_device(batch, device, non_blocking=True)
        if recipe.documents:
            batch = with_documents(batch, draws, recipe.documents)
        rgb = training_views(batch, draws if recipe.augment else None, resolution, recipe.augmentation)
        inputs = self.truth_of(rgb, batch["label"])
        if not self.reads_color:
            inputs["seen"] = self.shown(age(inputs["lightness"], draws, recipe.aging))
            accepts_hints = self.model.accepts_hints
            if recipe.recolored:
                inputs["ab"] = self.recolored(inputs, draws, batch.get("drawn"))
            inputs["hints"] = simulate_hints(inputs["ab"], draws, recipe.hint_share) if accepts_hints else None
            inputs["embedding"] = None if self.embeddings is None else (self.embeddings[index].to(device),)
            inputs["drawn"] = batch.get("drawn")
        return inputs

    def recolored(self, inputs: dict[str, Tensor], draws: Tensor, drawn: Tensor | None) -> Tensor:
        """The ab (N, 2, H, W) of views with things of other colors; of drawn documents as it was."""
        ab = recolor(inputs["lightness"], inputs["ab"], draws, self.recipe.recolored)
        return ab if drawn is None else torch.where(drawn[:, None, None, None], inputs["ab"], ab)

    @torch.no_grad()
    def ask_teachers(self, inputs: dict[str, Tensor | None]) -> Tensor:
        """The mean (N, K, h, w) of the probabilities that the teachers give the ab bins; they are shown no age."""
        lightness, hints = self.shown(inputs["lightness"]), inputs["hints"]
        with self.accelerator.autocast():
            logits = [teacher.logits(lightness, hints if teacher.accepts_hints else None) for teacher in self.teachers]
        return torch.stack([torch.softmax(one.float(), dim=1) for one in logits]).mean(0)

    def shown(self, lightness: Tensor) -> Tensor:
        """The lightness (N, 1, H, W) of views as a colorizer is shown it."""
        return stretched(lightness) if self.recipe.levels else lightness

    def truth_of(self, rgb: Tensor, label: Tensor) -> dict[str, Tensor]:
        """What pictures (N, 3, H, W) look like in color, and in gray for a colorizer: "rgb", "lightness", "ab".

        A digit has no color of its own, and gets that of its class.
        """
        truth = {"rgb": rgb, "label": label}
        if not self.reads_color:
            truth["lightness"], truth["ab"] = to_lab(rgb)
        if self.paints_digits:
            truth["gray"] = rgb[:, :1]
            truth["rgb"] = paint(rgb[:, :1], label)
        return truth

    def learn(self, inputs: dict[str, Tensor | None], parts: int, adversary: str | None) -> dict[str, Tensor]:
        """Forward and backward over one batch, a `parts`-th of a step. Gives the loss and the objectives' values."""
        if self.reads_color:
            out = self.trainee(inputs["rgb"])
        else:
            out = self.trainee(inputs["seen"], inputs["hints"], inputs["embedding"])
        truth = inputs | {"taught": self.ask_teachers(inputs)} if self.teachers else inputs
        loss, values = self.objective(out, truth, getattr(self.model, "bins", None))
        if adversary:
            lightness, ab = inputs["lightness"], inputs["ab"]
            colored = out["ab"].float().detach()
            real_score, colored_score = self.critic(torch.cat([lightness, lightness]), torch.cat([ab, colored])).chunk(
                2
            )
            values["critic"] = critic_loss(real_score, colored_score)
            self.accelerator.backward(values["critic"] / parts)
            values["critic"] = values["critic"].detach()
        if adversary == "judges":
            self.bare_critic.requires_grad_(False)  # the colors' gradient passes through it and leaves none there
            values["adversarial"] = -self.bare_critic(lightness, out["ab"].float()).mean()
            loss = loss + self.recipe.objectives["adversarial"] * values["adversarial"]
        self.accelerator.backward(loss / parts)
        if adversary == "judges":
            self.bare_critic.requires_grad_(True)
            values["adversarial"] = values["adversarial"].detach()
        return {"loss": loss.detach(), **values}

    def update(self, adversary: str | None) -> dict[str, Tensor]:
        """Moves the weights by the gradients, and the averages after them. Gives the gradient's norm, unclipped."""
        recipe, values = self.recipe, {}
        if adversary:
            self.critic_optimizer.step()
            self.critic_optimizer.zero_grad(set_to_none=True)
        norm = self.accelerator.clip_grad_norm_(self.trainee.parameters(), recipe.max_grad_norm or math.inf)
        if recipe.mixed_precision != "fp16":  # whose first steps overflow on purpose
            values["grad_norm"] = (norm.full_tensor() if self.is_sharded else norm).detach()
        self.optimizer.step()
        if self.averaged:
            self.averaged.update_parameters(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        return values

    def adversary(self) -> str | None:
        """The critic's part in this step, after DeOldify's NoGAN: none at first, then it learns, then it also judges.

        So the colors are nearly finished when it has a say, and it has little time to spoil them. While it learns they
        go on by the other objectives (NoGAN's stand still), so that no step of the run is lost for them.
        """
        if self.critic is None or self.progress.step < self.critic_comes_at:
            return None
        return "learns" if self.progress.step < self.critic_judges_from else "judges"

    @property
    def critic_comes_at(self) -> int:
        return round(self.recipe.adversarial_from * self.max_steps)

    @property
    def critic_judges_from(self) -> int:
        return self.critic_comes_at + self.recipe.critic_warmup_steps

    def learning_rate(self) -> float:
        """Linear warm-up, then constant, or a half cosine down to a hundredth."""
        recipe = self.recipe
        warmup = min(1.0, (self.progress.step + 1) / max(1, recipe.lr_warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * self.share)) if recipe.lr_scheduler == "cosine" else 1.0
        return recipe.learning_rate * warmup * (0.01 + 0.99 * cosine)

    def ask_to_stop(self, number: int, frame) -> None:
        self.stopped_by = number

    def should_stop(self) -> bool:
        """Whether any process was told to stop; all processes learn it in the same step."""
        accelerator = self.accelerator
        if accelerator.num_processes == 1:
            return self.stopped_by is not None
        every = max(1, GPU_SIGNAL_PASSES // self.recipe.gradient_accumulation_steps)
        if accelerator.device.type != "cpu" and self.progress.step % every:
            return False
        if self.stopped_by is not None:
            accelerator.set_trigger()
        return accelerator.check_trigger()

    # ------------------------------------------------------------------------------------------------------ watching

    def say_what_runs(self) -> None:
        recipe, accelerator = self.recipe, self.accelerator
        pictures = "a stream of pictures" if self.is_stream else f"{len(self.training):,} pictures"
        held_out = "others" if recipe.validation_share or recipe.validation_data_dir else "of them"
        parameters = sum(p.numel() for p in self.trainee.parameters() if p.requires_grad)
        accelerator.print(
            f"{pictures} to train on, {len(self.validation):,} {held_out} to validate on, "
            f"{len(self.training.classes)} classes\n"
            f"{accelerator.num_processes} process(es) on {accelerator.device.type} ({accelerator.mixed_precision}"
            f"{', weights sharded' if self.is_sharded else ''}); "
            f"{self.max_steps:,} steps of {self.step_pictures} pictures ({recipe.train_batch_size} per process); "
            f"{parameters / 1e6:.1f} M parameters to train in a {self.model.name} model"
        )
        if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu" and emulates_bfloat16():
            accelerator.print(
                "This processor has no instructions for bfloat16 (AVX512-BF16, AMX): it is emulated, and many times "
                "slower than --mixed_precision no."
            )

    def start_trackers(self) -> None:
        if self.recipe.report_to != "none":
            # Trackers take plain values only.
            plain = {k: v if isinstance(v, (str, int, float)) else str(v) for k, v in as_plain(self.recipe).items()}
            self.accelerator.init_trackers("colorizer", plain)

    def log_training(self) -> dict[str, float]:
        """A line of metrics: means since the last one, over all processes."""
        progress = self.progress
        line = progress.means()
        self.check_finite("The loss", math.isfinite(line.get("loss", math.nan)))  # none: all were left out
        line["lr"] = self.optimizer.param_groups[0]["lr"]
        steps, seconds = progress.step - progress.logged_step, progress.seconds - progress.logged_seconds
        line["images/s"] = self.step_pictures * steps / seconds
        progress.logged_step, progress.logged_seconds = progress.step, progress.seconds
        self.log(line)
        return line

    def check_finite(self, what: str, is_finite: bool) -> None:
        """Ends the run in all processes when `what` is no number in one of them; to be called by all."""
        if not all(gather_object([is_finite])):
            where = f"; {self.checkpoint} is the latest checkpoint" if self.checkpoint else ""
            raise ColorizerError(
                f"{what} at step {self.progress.step} is no number: lower learning_rate, raise lr_warmup_steps, or "
                f"take bf16 instead of fp16{where}."
            )

    def log(self, values: dict[str, float]) -> None:
        """Writes values to metrics.jsonl and to the trackers."""
        with self.going_on():
            self.accelerator.log(values, step=self.progress.step)
            if self.accelerator.is_main_process:
                line = {"step": self.progress.step, "minutes": round(self.progress.seconds / 60, 2)}
                if not self.is_stream:
                    line["epoch"] = round(self.progress.step / self.steps_per_epoch, 3)
                line |= values
                with open(self.output / "metrics.jsonl", "a") as file:
                    file.write(json.dumps(line) + "\n")

    def cut_metrics(self) -> None:
        """Leaves the lines up to this step: later ones will be measured again, or are of an attempt that is gone."""
        path = self.output / "metrics.jsonl"
        with self.going_on():
            if path.exists():
                lines = [line for line in path.read_text().splitlines() if _step_of(line) <= self.progress.step]
                _write(path, "".join(line + "\n" for line in lines))

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Tells once that what only watches the run could not be written, and goes on."""
        try:
            yield
        except OSError as error:
            if not self.disk_is_full:
                print(f"metrics and samples cannot be written ({error}); the training goes on.", file=sys.stderr)
            self.disk_is_full = True

    def finished_model(self) -> Colorizer:
        """A copy of the model as it is evaluated and saved: the averaged weights, in eval mode."""
        if self.finished and self.finished[0] == self.progress.step:
            return self.finished[1]
        if self.is_sharded:
            model = self.gather_model()
        else:
            model = copy.deepcopy(self.averaged.module if self.averaged else self.model)
        if self.averaged and not self.norm_is_frozen(self.progress.step - 1):
            frozen = still_parts(model, *self.bare.still)
            self.seed_network()  # the same in every process
            calibrate(model, self.sample_inputs(CALIBRATED), frozen)
        self.finished = self.progress.step, model.eval()
        return model

    def gather_model(self) -> Colorizer:
        """The model with its sharded weights, averaged if they are, as a whole. To be called by all processes."""
        averages = self.averaged.gather() if self.averaged else {}
        self.whole.load_state_dict(whole(self.model.state_dict()) | averages)
        return copy.deepcopy(self.whole).to(self.accelerator.device)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Measures the model on the held-out pictures, which the processes share, and draws the sample sheet."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.progress.validated_step = self.progress.step
        if world > 1 and not self.averaged:  # averages have their own
            share_statistics(self.bare)
        model = self.finished_model()
        mine = range(rank, len(self.validation), world)
        rows = []
        for batch in batches_of(self.validation, 32, mine):
            rows += zip(batch["index"].tolist(), self.judge(model, batch), strict=True)
        # In the pictures' order and in float64, so that the figures are those of any number of processes.
        rows = [row for _, row in sorted(gather_object(rows), key=lambda row: row[0])]
        means = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
        line = {}
        if "right" in means:
            line["validation_accuracy"] = means["right"]
        if "loss" in means:
            line["validation_loss"] = means["loss"]
        if "squared" in means:
            line |= {
                "validation_ab_rmse": math.sqrt(means["squared"]),
                "gray_ab_rmse": math.sqrt(means["gray_squared"]),
                "validation_colorfulness": means["colorfulness"],
                "truth_colorfulness": means["true_colorfulness"],
            }
        if self.accelerator.is_main_process and not self.is_classifier:
            with self.going_on():
                self.draw_samples(model)
        self.log(line)
        self.validated = line
        if self.accelerator.is_main_process:
            tqdm.write(f"step {self.progress.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in line.items()))
        self.clock = time.perf_counter()  # the time of training, not of looking at it
        return line

    def judge(self, model: Colorizer, batch: dict[str, Tensor]) -> list[dict[str, float]]:
        """Per-picture figures of a batch of held-out pictures, at the model's default temperature."""
        truth, result = self.look(model, batch)
        columns = {}
        if self.is_classifier:
            label = truth["label"]
            columns["right"] = (result.argmax(1) == label).float()
            columns["loss"] = nn.functional.cross_entropy(result, label, ignore_index=NO_LABEL, reduction="none")
        elif model.output == "rgb" or "mse" in self.objective.terms:
            columns["loss"] = squared_error({model.output: result}, truth, model.ab_unit)
        if self.paints_digits:
            columns["right"] = painting_accuracy(result, truth["gray"], truth["label"])
        elif not self.reads_color:
            lightness, ab = truth["lightness"], truth["ab"]
            # Of a painted picture the product takes the chroma alone.
            colored = to_lab(result)[1] if model.output == "rgb" else result
            columns |= {
                "squared": metrics.ab_mse(colored, ab),
                "gray_squared": ab.square().flatten(1).mean(1),
                "colorfulness": metrics.colorfulness(lab_to_rgb(torch.cat([lightness, colored], dim=1))),
                "true_colorfulness": metrics.colorfulness(truth["rgb"]),
            }
        lists = {name: values.cpu().double().tolist() for name, values in columns.items()}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]

    def look(self, model: Colorizer, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The center squares of a batch of held-out pictures (as truth_of gives them), and what the model says."""
        batch = send_to_device(batch, self.accelerator.device)
        truth = self.truth_of(training_views(batch, None, self.resolution), batch["label"])
        return truth, model(truth["rgb"] if self.reads_color else self.shown(truth["lightness"])).float()

    @property
    def sheet(self) -> Path:
        """Where the sample sheet of the latest validation is: of this run, and of no attempt that was left."""
        return self.output / "samples" / f"step-{self.progress.validated_step:06d}.png"

    def draw_samples(self, model: Colorizer) -> None:
        """Rows of gray, prediction and truth of the same held-out pictures, as samples/step-<step>.png."""
        shown = range(min(SHEET_PICTURES, len(self.validation)))
        truth, result = self.look(model, next(batches_of(self.validation, SHEET_PICTURES, shown)))
        if model.output == "rgb":
            rows = [result.clamp(0, 1), truth["rgb"]]
        else:
            rows = [lab_to_rgb(torch.cat([truth["lightness"], part], dim=1)) for part in (result, truth["ab"])]
        if not self.reads_color:
            gray = torch.cat([truth["lightness"], torch.zeros_like(truth["ab"])], dim=1)
            rows.insert(0, lab_to_rgb(gray))
        pixels = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
        sheet = (pixels * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        self.sheet.parent.mkdir(exist_ok=True)
        Image.fromarray(sheet).save(self.sheet)
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_image("samples", sheet, self.progress.step, dataformats="HWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({"samples": [sheet]}, step=self.progress.step)

    # ------------------------------------------------------------------------------------- looking at the data beside

    def sample(self, most: int) -> Iterator[dict[str, Tensor]]:
        """Batches, nearly alike in size, of up to `most` training pictures, the same in every process."""
        if not self.is_stream:
            indices = np.random.default_rng(self.recipe.seed).permutation(len(self.training))[:most]
            batches = batches_of(self.training, _even(len(indices), 48), indices.tolist())
            if self.training.rgb is None and most == CALIBRATED:
                # Kept, since it is asked for at every checkpoint, and a scheduler's SIGTERM leaves half a minute.
                self.beginning = batches = self.beginning or list(batches)
            yield from batches
            return
        if not self.beginning:
            alone = Stream(self.recipe, 0, 1, self.training.held_out)
            self.beginning = [row for _, row in zip(range(480), alone, strict=False)]
        beginning = self.beginning[:most]
        size = _even(len(beginning), 48)
        for start in range(0, len(beginning), size):
            yield torch.utils.data.default_collate(beginning[start : start + size])

    def sample_inputs(self, most: int) -> Iterator[tuple[Tensor | None, ...]]:
        """What the model is called with in training, of up to `most` pictures: (lightness, hints), or (rgb,)."""
        for batch in self.sample(most):
            inputs = self.see(batch, SAMPLE_EPOCH, self.resolution)
            yield (inputs["rgb"],) if self.reads_color else (inputs["seen"], inputs["hints"])

    def sample_lab(self, most: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Lightness and ab of whole pictures' center squares, on the CPU."""
        for batch in self.sample(most):
            yield to_lab(training_views(send_to_device(batch, torch.device("cpu")), None, size))

    @torch.no_grad()
    def embed_all(self) -> Tensor:
        """The frozen embedder's vectors (P, E) of all training pictures; the processes share the work."""
        model = self.gather_model() if self.is_sharded else self.model
        model, resolution = model.eval(), self.recipe.resolution_at(0)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        rows = []
        mine = range(rank, len(self.training), world)
        for batch in tqdm(
            batches_of(self.training, 32, mine),
            "embed",
            -(-len(mine) // 32),
            disable=not self.accelerator.is_main_process,
        ):
            batch = send_to_device(batch, self.accelerator.device)
            with self.accelerator.autocast():
                (vectors,) = model.embed(to_lab(training_views(batch, None, resolution))[0])
            rows += zip(batch["index"].tolist(), vectors.float().cpu().numpy(), strict=True)
        table = np.empty((len(self.training), model.embedder.channels), np.float32)
        for index, vector in gather_object(rows):
            table[index] = vector
        return torch.from_numpy(table)

    # -------------------------------------------------------------------------------------------------------- saving

    def write_model(self, folder: Path) -> None:
        """Puts a loadable model into `folder`: the averaged weights."""
        self.finished_model().save_pretrained(folder)

    def save(self, must: bool) -> None:
        """A checkpoint of this step. One that cannot be written is told and ends nothing, unless it `must`."""
        weights = [weight.to_local() if self.is_sharded else weight for weight in self.trainee.parameters()]
        # Told before it takes the place of a checkpoint that can be gone on from.
        self.check_finite("A weight", all(weight.isfinite().all() for weight in weights))
        if not self.averaged or self.recipe.freeze_norm_from < 1:  # averages are measured anew, until it is frozen
            statistics = [buffer for norm in batch_norms(self.bare) for buffer in norm.buffers()]
            self.check_finite("A batch-norm statistic", all(buffer.isfinite().all() for buffer in statistics))
        self.progress.share_sums()
        self.check_finite("The loss", math.isfinite(self.progress.sums.get("loss", 0.0)))
        if self.is_sharded:
            self.finished_model()  # only the main process writes it, and all must gather it
        problem = save_checkpoint(self.accelerator, self.output, self.progress.step, self.describe(), self.write_model)
        if problem:
            reason, is_full = problem
            older = list_checkpoints(self.output)
            sentence = f"The checkpoint at step {self.progress.step} could not be written ({reason}); " + (
                f"{older[-1]} is the latest that there is" if older else "there is no earlier one"
            )
            if must:
                mend = "make room" if is_full else "mend that"
                raise ColorizerError(f"{sentence}: {mend}, and go on with --resume_from_checkpoint latest.")
            self.accelerator.print(f"{sentence}, and the training goes on.")
        else:
            self.checkpoint = self.output / f"checkpoint-{self.progress.step}"
            if self.recipe.push_checkpoints and self.accelerator.is_main_process:
                self.push(self.checkpoint, revision=self.checkpoint.name)
        self.clock = time.perf_counter()

    def finish(self) -> None:
        """The last checkpoint's model as model/, with a card, and to the Hub if the recipe says so."""
        if self.accelerator.is_main_process:
            partial = self.output / "model.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            for name in ("config.json", "model.safetensors"):
                shutil.copy(self.checkpoint / name, partial / name)
            card = self.output / "model" / "README.md"
            if card.is_file() and RUN_MARK not in card.read_text(errors="replace"):  # a person has made it theirs
                shutil.copy(card, partial / "README.md")
            else:
                write_card(partial / "README.md", self)
            replace_folder(partial, self.output / "model")
            self.accelerator.print(f"the model is in {self.output / 'model'}")
            if self.recipe.push_to_hub:
                self.push(self.output / "model")
        self.accelerator.wait_for_everyone()
        self.leave()

    def leave(self) -> None:
        """Ends the trackers and the group of processes.

        With the group end gloo's threads, but only when nothing holds it any more, as the wrapped networks do. A
        thread that lets go of a gradient while Python shuts down would abort the process (pytorch/pytorch issue
        190489).
        """
        self.trainee = self.critic = None
        self.accelerator.free_memory()
        self.accelerator.end_training()

    def push(self, folder: Path, revision: str | None = None) -> None:
        """To the Hub. What goes wrong there is told and ends nothing: everything is on the disk."""
        recipe = self.recipe
        sheets = [self.sheet] if recipe.push_samples and self.sheet.is_file() else []
        try:
            url = push(
                folder, recipe.hub_model_id, private=recipe.hub_private_repo, revision=revision, extra_files=sheets
            )
            print("pushed to", url)
        except ColorizerError as error:
            print(f"not pushed: {error}", file=sys.stderr)

    def dry_run(self) -> None:
        """Two steps of each kind, a validation, a checkpoint; tells how long the run would take.

        Steps differ by their resolution, and by the critic when it judges, which takes the most memory.
        """
        self.say_what_runs()
        recipe, batches = self.recipe, self.batches()
        judged_from = self.critic_comes_at / self.max_steps if self.critic else 1.0
        training = 0.0
        for start_share, end_share in itertools.pairwise(sorted({*recipe.resolutions, judged_from, 1.0})):
            resolution = recipe.resolution_at(start_share)
            adversary = "judges" if start_share >= judged_from else None
            for _ in range(2):  # the first one of a kind is slow
                start = time.perf_counter()
                self.progress.add(self.take_step(batches, resolution, adversary))
                self.progress.step += 1
                loss = float(self.progress.sums["loss"]) / self.progress.counts["loss"]  # waits for the GPU
                seconds = time.perf_counter() - start
            training += seconds * (end_share - start_share) * self.max_steps
        start = time.perf_counter()
        self.validate()
        validation = time.perf_counter() - start
        start = time.perf_counter()
        self.save(must=True)
        checkpoint = time.perf_counter() - start
        if self.is_sharded or self.checkpoint.exists():  # on other machines there is a part of one
            self.load_state(self.checkpoint)
        if self.accelerator.is_main_process:
            load_model(str(self.checkpoint))
        total = (
            training
            + validation * -(-self.max_steps // recipe.validation_steps)
            + checkpoint * -(-self.max_steps // recipe.checkpointing_steps)
        )
        size = sum(path.stat().st_size for path in self.checkpoint.rglob("*") if path.is_file())
        self.accelerator.print(
            f"dry run: loss {loss:.4f}; {training / self.max_steps:.2f} s a step, {validation:.1f} s a validation, "
            f"{checkpoint:.1f} s and {size / 1e6:.0f} MB a checkpoint, which loads; {self.max_steps:,} steps would "
            f"take {datetime.timedelta(seconds=round(total))}"
        )
        self.accelerator.wait_for_everyone()
        self.leave()


def make_accelerator(recipe: Recipe, output: Path) -> Accelerator:
    tracker = recipe.report_to
    if recipe.dry_run or (tracker == "tensorboard" and importlib.util.find_spec("tensorboard") is None):
        tracker = recipe.report_to = "none"
    if tracker == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ColorizerError("report_to: wandb needs the wandb library: pip install wandb.")
    for name, flag in (("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"), ("Megatron-LM", "ACCELERATE_USE_MEGATRON_LM")):
        if parse_flag_from_env(flag):
            raise ColorizerError(f"The trainer does not run under {name}: launch it with --multi_gpu, or by FSDP2.")
    accelerator = Accelerator(
        mixed_precision=recipe.mixed_precision,
        # The trainer divides by its own parts; without a plugin, a variable of the environment would once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # Its default sampler cannot be resumed exactly.
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=recipe.seed),
        step_scheduler_with_optimizer=False,
        log_with=None if tracker == "none" else tracker,
        project_config=ProjectConfiguration(project_dir=str(output), logging_dir=str(output / "logs")),
        # The first process decodes all pictures while the others wait.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=datetime.timedelta(hours=4))],
    )
    if recipe.mixed_precision == "fp16" and accelerator.device.type == "cpu":  # accelerate would take float32
        raise ColorizerError("mixed_precision fp16 needs a GPU, and there is none here: give bf16 or no.")
    check_joined(accelerator.num_processes)
    if is_sharded(accelerator):
        check_sharding(accelerator, recipe)
    return accelerator


def emulates_bfloat16() -> bool:
    """Whether this is an x86 processor without instructions for bfloat16; of others torch does not tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.8 has none
    return not any(capabilities.get(name, True) for name in ("avx512_bf16", "amx_bf16"))


def telling(loader) -> Iterator[dict[str, Tensor]]:
    """The loader's batches; an error of a worker of it becomes the one sentence that it was."""
    try:
        yield from loader
    except ColorizerError as error:
        raise ReadingError(str(error).strip().splitlines()[-1].split("ColorizerError: ")[-1]) from None


def check_beside(output: Path, data: list[str]) -> None:
    """Refuses a run inside of its data: its sample sheets would be taken for pictures."""
    for folder in data:
        if Path(os.path.realpath(folder)) in (own := Path(os.path.realpath(output)), *own.parents):
            raise ColorizerError(f"output_dir {output} is in {folder}, whose pictures are read: name one beside it.")


def check_loadable(model: Colorizer) -> None:
    """Refuses, before hours are spent, a model of which load_model would refuse the folder (colorizer/hub.py)."""
    classes = model.config.get("classes", [])
    if len(classes) > MAX_NAMES:
        raise ColorizerError(
            f"There are {len(classes):,} classes, and a model has {MAX_NAMES:,} at most: raise min_class_size or join "
            "folders."
        )
    for name in classes:
        if len(name) > LONGEST_NAME:
            raise ColorizerError(
                f"The class {name[:40]!r}... has a name of {len(name)} characters, and {LONGEST_NAME} are the most: "
                "rename its folder."
            )
    size = 0
    for name, tensor in model.state_dict().items():  # as save_pretrained writes it
        is_halved = tensor.is_floating_point() and not name.endswith(("running_mean", "running_var"))
        size += tensor.numel() * (2 if is_halved else tensor.element_size())
    if size > (limit := FILES[WEIGHTS_FILE]):
        raise ColorizerError(
            f"The model's weights would take {size / 1e6:,.1f} MB, and {limit / 1e6:,.0f} MB are the most that "
            "load_model takes: choose a smaller network."
        )


def _even(count: int, most: int) -> int:
    """The size of as few batches as hold `count` pictures, `most` at once: a short last one would count too much."""
    return math.ceil(count / math.ceil(count / most))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # cut off by a kill


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def main() -> int:
    """Returns the exit code: 0, or 128 + the signal that ended the run before its last step."""
    recipe = parse_recipe(description=__doc__)
    if not recipe.dry_run:
        return Training(recipe).fit()
    check_writable(Path(recipe.output_dir))
    check_beside(Path(recipe.output_dir), recipe.train_data_dir + recipe.validation_data_dir)
    # The launcher's process is what the processes of a machine have in common.
    own = os.getppid() if "LOCAL_RANK" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"colorizer-dry-run-{own}"
    try:
        changes = {
            "output_dir": str(folder),
            "resume_from_checkpoint": None,
            "push_to_hub": False,
            "push_checkpoints": False,
        }
        Training(dataclasses.replace(recipe, **changes)).dry_run()
    finally:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    try:
        if code := main():
            sys.exit(code)
    except ColorizerError as error:
        # The other processes of a machine have the same to say, but for what they read alone.
        if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(error, ReadingError):
            print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print(
            f"train.py: {error.filename or 'A file'} cannot be written ({error.strerror}): make room.", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:  # before the first step, or after the last; others save first
        sys.exit(130)

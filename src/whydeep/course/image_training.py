"""Training on labelled images, and evaluation on both splits: what experiments on images share."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr

from whydeep.claims import Need
from whydeep.course import text
from whydeep.course.optimization import (
    AS_IN_THE_REPORT,
    SIZE_AND_DIVERGENCE,
    TrainingSetting,
    size_and_divergence,
    training_seconds,
)
from whydeep.course.styles import SPLIT_STYLES
from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import CrossEntropy, Evaluator, Population, Samples, Stream, Training
from whydeep.population.optimizers import LearningRate
from whydeep.report.charts import Column, Curve, Guide, Lines, Panel
from whydeep.study import Plan, Run
from whydeep.variables import SHARE, Variable


@dataclass(frozen=True, kw_only=True)
class ImageSetting(TrainingSetting):
    """One network, what it is trained on and for how long; experiments add what tells their settings apart.

    `evaluations` is how often it is evaluated on all images in an epoch.
    """

    epochs: int
    train_images: int
    test_images: int
    batch_size: int
    evaluations: ClassVar[int] = 0

    @classmethod
    def from_plan(cls, plan: Plan) -> Iterator[Self]:
        """Make the settings of a design; see `image_settings`."""
        return (cls(**values) for values in image_settings(plan))

    @property
    def cost(self) -> float:
        """Predicted seconds of one seed on one core."""
        steps = training_seconds(self.widths, self.batch_size, self.train_images / self.batch_size)
        evaluation = evaluation_seconds(self.widths, self.train_images + self.test_images)
        return self.epochs * (steps + self.evaluations * evaluation)

    @property
    def disk(self) -> float:
        """Predicted bytes of the unit of one seed."""
        return 1e4 + 40.0 * self.epochs

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * -(-self.train_images // self.batch_size)


def evaluation_seconds(widths: Sequence[int], images: int) -> float:
    """Predict the seconds of one evaluation of a network on so many images, on one core."""
    return training_seconds(widths, 1000, images / 1000) / 3


def image_settings(plan: Plan, *, prefixes: tuple[str, Mapping[str, str]] = ("", {})) -> Iterator[dict[str, Any]]:
    """Go through a design: the fields of an `ImageSetting` for each combination.

    `hidden`, the widths of the hidden layers, becomes `widths` with the inputs and classes of the data set.
    `train_images` and `test_images` are at most the images that there are, `batch_size` and every other field that ends
    in `_images` at most the training images.

    Args:
        prefixes: a field, and from its values to prefixes, such as "wide_": where it has that value, a field such as
            `wide_epochs` takes the place of `epochs`.

    Raises:
        SettingError: a user set more images than there are.
    """
    assert plan.images is not None
    for values in plan.combinations():
        prefix = prefixes[1].get(values.get(prefixes[0], ""), "")
        common = [name for name in values if not name.startswith(tuple(filter(None, prefixes[1].values())))]
        names = {name: f"{prefix}{name}" if f"{prefix}{name}" in values else name for name in common}
        fields = {field: values[name] for field, name in names.items()}
        limits = {"train_images": plan.images.train_images, "test_images": plan.images.test_images}
        for field in (*limits, "batch_size", *(name for name in fields if name.endswith("_images"))):
            limit = limits.get(field, fields["train_images"])
            if fields[field] > limit and names[field] in plan.changed:
                given = f"{names[field]} is {fields[field]:,}"
                raise SettingError(f"{given}, and at most {limit:,} images are used: give {limit} or less")
            fields[field] = min(fields[field], limit)
        if "hidden" in fields:
            fields["widths"] = (plan.images.features, *fields.pop("hidden"), plan.images.classes)
        yield fields


def load_samples(setting: ImageSetting, run: Run, *, train_images: int | None = None) -> dict[str, Samples]:
    """Return the first so many training and test images; another number of the former may take the setting's place."""
    images = run.images().subset(train_images or setting.train_images, setting.test_images)
    return {
        "train": Samples(images.train_inputs, images.train_labels),
        "test": Samples(images.test_inputs, images.test_labels),
    }


def start_training(
    setting: ImageSetting,
    run: Run,
    samples: Samples,
    *,
    inits: Sequence[Stream] | None = None,
    orders: Sequence[Stream] | None = None,
    learning_rate: LearningRate | None = None,
) -> Training:
    """Begin to train one network per stream on cross entropy, in mini batches.

    Args:
        inits: streams of the initial weights; by default those of the setting.
        orders: streams of the order of images; by default shared by all settings, so that these are paired.
        learning_rate: takes the place of the setting's where members differ.
    """
    return Training(
        Population.initialise(
            lambda: MLP(setting.widths, setting.activation),
            run.streams("init") if inits is None else inits,
            device=run.device,
        ),
        samples,
        objective=CrossEntropy(),
        optimizer=setting.make_optimizer(setting.steps, learning_rate),
        batch_size=setting.batch_size,
        orders=run.streams("order", shared=True) if orders is None else orders,
    )


def train(training: Training, epochs: int, run: Run, *, share: float = 1.0) -> None:
    """Train for so many epochs, which are the first share of the work."""
    for epoch in run.loop(range(1, epochs + 1), training):
        training.run_epoch()
        run.progress(share * epoch / epochs)


def evaluators(population: Population, samples: Mapping[str, Samples]) -> dict[str, Evaluator]:
    """Make an evaluator of cross entropy and accuracy for each set of samples."""
    return {name: Evaluator(population, split, CrossEntropy()) for name, split in samples.items()}


def evaluate(evaluators: Mapping[str, Evaluator]) -> dict[str, np.ndarray]:
    """Losses and accuracies now, [member] each: NAME_loss and NAME_accuracy for each evaluator."""
    measured = {}
    for name, evaluator in evaluators.items():
        evaluation = evaluator()
        assert evaluation.accuracy is not None
        measured[f"{name}_loss"] = evaluation.loss.cpu().numpy()
        measured[f"{name}_accuracy"] = evaluation.accuracy.cpu().numpy()
    return measured


def train_and_evaluate(
    training: Training,
    setting: ImageSetting,
    run: Run,
    evaluated: Mapping[str, Evaluator],
    before_epoch: Callable[[int], None] = lambda epoch: None,
    **per_seed: np.ndarray,
) -> xr.Dataset:
    """Train, and evaluate after every epoch: losses and accuracies [seed, epoch].

    Args:
        evaluated: name -> evaluator; the mapping is read again after every epoch.
        before_epoch: called with 1, 2, ... before each epoch.
        per_seed: more variables [seed].
    """
    measured: dict[str, list[np.ndarray]] = defaultdict(list)
    for epoch in run.loop(range(1, setting.epochs + 1), training, measured):
        before_epoch(epoch)
        training.run_epoch()
        for name, values in evaluate(evaluated).items():
            measured[name].append(values)
        run.progress(epoch / setting.epochs)
    curves = {name: ("epoch", np.stack(values, axis=1)) for name, values in measured.items()}
    return run.dataset(curves | size_and_divergence(training) | per_seed, epoch=np.arange(1, setting.epochs + 1))


def final_values(training: Training, samples: Mapping[str, Samples]) -> dict[str, np.ndarray]:
    """Losses, accuracies, number of parameters and divergence of a training that has ended, [member] each."""
    return evaluate(evaluators(training.population, samples)) | size_and_divergence(training)


VARIABLES = SIZE_AND_DIVERGENCE | {
    "train_loss": Variable("cross entropy on all training images", "nat", log=True),
    "train_accuracy": Variable("share of training images classified right", limits=SHARE),
    "test_loss": Variable("cross entropy on all test images", "nat", log=True),
    "test_accuracy": Variable("share of test images classified right", limits=SHARE),
}

Y_LABELS = {"loss": "cross entropy (nat)", "accuracy": "accuracy, {dataset}"}


def both_splits_panel(quantity: str, *, title: str = "", guides: tuple[Guide, ...] = (), **place: Any) -> Panel:
    """A panel with a quantity, loss or accuracy, on training and on test images; `place` is where it is taken."""
    curves = tuple(
        Curve(f"{split}_{quantity}", label, at=place, colour=colour, line=line)
        for split, (label, colour, line) in SPLIT_STYLES.items()
    )
    return Panel(curves, title=title, y_label=Y_LABELS[quantity], guides=guides)


accuracy_lines = partial(Lines, x="epoch", share_y=True, legend=(0, 1))
"""A figure with `accuracy_panels`."""


def accuracy_panels(
    each: str,
    *,
    titles: tuple[str, str] = ("training images", "test images"),
    guides: tuple[Guide, ...] = (),
    y_limits: tuple[float, float] | None = None,
    **style: Any,
) -> tuple[tuple[Panel, ...]]:
    """A row of two panels, accuracy on training and on test images: a curve for each label of a dimension.

    Args:
        each: the dimension.
        titles, guides, y_limits: of the panels.
        style: colours and lines of a `Curve`.
    """
    accuracies = (Curve(f"{split}_accuracy", each=each, parameters=True, **style) for split in SPLIT_STYLES)
    return (
        tuple(
            Panel((accuracy,), title, Y_LABELS["accuracy"], guides, y_limits=y_limits)
            for accuracy, title in zip(accuracies, titles, strict=True)
        ),
    )


FINAL_VALUES = (
    Column("training loss", "train_loss"),
    Column("test loss", "test_loss"),
    Column("training accuracy", "train_accuracy"),
    Column("test accuracy", "test_accuracy"),
)


def both_splits(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """Put a quantity on training and on test images side by side [images, ...]."""
    labels = xr.DataArray(["training images", "test images"], dims="images", name="images")
    return xr.concat([results[f"train_{quantity}"], results[f"test_{quantity}"]], dim=labels)


def slope(values: xr.DataArray) -> xr.DataArray:
    """Slope of the straight line through values of successive epochs, by least squares; not-a-number for one epoch."""
    epochs = values.epoch - values.epoch.mean()
    squares = (epochs**2).sum()
    return (values * epochs).sum("epoch", skipna=False) / squares.where(squares > 0)


def trained_for(
    epochs: int, *, hidden: tuple[int, ...] | None = None, batch_size: int | None = None, **where: Any
) -> tuple[Need, ...]:
    """What a claim of the course report needs: MNIST, its epochs, and the same network and way to train.

    Args:
        hidden, batch_size: of the course report; None where settings differ in it.
        where: field of a setting -> value: only these settings need so many epochs and images.
    """
    counts = {"epochs": epochs, "train_images": 60_000, "test_images": 10_000}
    needs = [Need("dataset", equals="MNIST")]
    needs += [Need(name, least=count, where=where) for name, count in counts.items()]
    needs += [Need("widths", equals=(784, *hidden, 10), where=where)] if hidden else []
    needs += [Need("batch_size", equals=batch_size, where=where)] if batch_size else []
    return (*needs, *AS_IN_THE_REPORT)


image_experiment = partial(text.course_experiment, uses_images=True)
"""An `Experiment` of the course on images."""

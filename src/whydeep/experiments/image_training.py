"""Training on labelled images, and evaluation on both splits: what E2 and E6 to E9 share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from whydeep.claims import Interval, mean_interval
from whydeep.experiments.experiment import Plan, training_seconds
from whydeep.networks import MLP
from whydeep.population import Adam, CrossEntropy, Evaluator, Population, Samples, Stream, Training
from whydeep.population.optimizers import LearningRate
from whydeep.runs import Context
from whydeep.variables import SHARE, Variable


@dataclass(frozen=True, kw_only=True)
class ImageSetting:
    """One network, what it is trained on and for how long; experiments add what tells their settings apart."""

    widths: tuple[int, ...]
    epochs: int
    train_images: int
    test_images: int
    batch_size: int
    learning_rate: float = 1e-3

    def seconds(self, evaluated_images: int = 0) -> float:
        """Predict the seconds of one seed on one core, with an evaluation on so many images after each epoch."""
        epoch = training_seconds(self.widths, self.batch_size, self.train_images / self.batch_size)
        return self.epochs * (epoch + evaluation_seconds(self.widths, evaluated_images))


def evaluation_seconds(widths: Sequence[int], images: int) -> float:
    """Predict the seconds of one evaluation of a network on so many images, on one core."""
    return training_seconds(widths, 1000, images / 1000) / 3


def image_counts(plan: Plan, train: Mapping[str, int], test: Mapping[str, int]) -> tuple[int, int]:
    """Training and test images at the plan's scale, at most those that there are."""
    return min(plan.train_images, train[plan.scale]), min(plan.test_images, test[plan.scale])


def load_samples(context: Context, train_images: int, test_images: int) -> dict[str, Samples]:
    """Return the first so many training and test images."""
    images = context.source.load().subset(train_images, test_images)
    return {
        "train": Samples(images.train_inputs, images.train_labels),
        "test": Samples(images.test_inputs, images.test_labels),
    }


def start_training(
    context: Context,
    setting: ImageSetting,
    samples: Samples,
    *,
    inits: Sequence[Stream],
    orders: Sequence[Stream],
    learning_rate: LearningRate | None = None,
) -> Training:
    """Begin to train one network per stream with Adam on cross entropy, in mini batches.

    `learning_rate` takes the place of the setting's where members differ.
    """
    return Training(
        Population.initialise(lambda: MLP(setting.widths), inits, device=context.device),
        samples,
        objective=CrossEntropy(),
        optimizer=Adam(setting.learning_rate if learning_rate is None else learning_rate),
        batch_size=setting.batch_size,
        orders=orders,
    )


def train(training: Training, epochs: int, progress: Callable[[float], None]) -> None:
    """Train for so many epochs, and tell the share that is done after each."""
    for epoch in range(1, epochs + 1):
        training.run_epoch()
        progress(epoch / epochs)


def evaluators(population: Population, samples: Mapping[str, Samples]) -> dict[str, Evaluator]:
    """Make an evaluator of cross entropy and accuracy for each set of samples."""
    return {name: Evaluator(population, some, CrossEntropy()) for name, some in samples.items()}


def evaluate(evaluators: Mapping[str, Evaluator]) -> dict[str, np.ndarray]:
    """Losses and accuracies now, [member] each: NAME_loss and NAME_accuracy for each evaluator."""
    measured = {}
    for name, evaluator in evaluators.items():
        evaluation = evaluator()
        assert evaluation.accuracy is not None
        measured[f"{name}_loss"] = evaluation.loss.cpu().numpy()
        measured[f"{name}_accuracy"] = evaluation.accuracy.cpu().numpy()
    return measured


def both_splits(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """Put a quantity on training and on test images side by side [images, ...]."""
    labels = xr.DataArray(["training images", "test images"], dims="images", name="images")
    return xr.concat([results[f"train_{quantity}"], results[f"test_{quantity}"]], dim=labels)


def interval_cells(results: xr.Dataset, *names: str) -> tuple[str, ...]:
    """Means over seeds with their intervals, for a table: of losses on the logarithm, of accuracies as shares."""

    def interval(name: str) -> Interval:
        if name.endswith("loss"):
            return mean_interval(results[name], log=True)
        return mean_interval(results[name], limits=SHARE)

    return tuple(str(interval(name)) for name in names)


VARIABLES = {
    "train_loss": Variable("cross entropy on all training images", "nat"),
    "train_accuracy": Variable("share of training images classified right"),
    "test_loss": Variable("cross entropy on all test images", "nat"),
    "test_accuracy": Variable("share of test images classified right"),
    "parameters": Variable("weights and biases"),
    "diverged_at": Variable("first step whose loss is not finite; not-a-number if none"),
}

LOSS_DEFINITION = (
    "mean cross entropy over the whole training or test set, in nats, with the parameters that the network has at the "
    "time; not the average over the batches of an epoch."
)
ACCURACY_DEFINITION = "share of images whose largest output is at the true class."

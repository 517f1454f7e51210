"""Training on labelled images, and evaluation on both splits: what E2 and E6 to E9 share."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from whydeep.experiments.experiment import Plan, Variable, training_seconds
from whydeep.networks import MLP
from whydeep.population import Adam, CrossEntropy, Evaluator, Population, Samples, Stream, Training
from whydeep.population.optimizers import LearningRate
from whydeep.runs import Context


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
    widths: Sequence[int],
    samples: Samples,
    *,
    inits: Sequence[Stream],
    orders: Sequence[Stream],
    batch_size: int,
    learning_rate: LearningRate = 1e-3,
) -> Training:
    """Begin to train one network per stream with Adam on cross entropy, in mini batches."""
    return Training(
        Population.initialise(lambda: MLP(widths), inits, device=context.device),
        samples,
        objective=CrossEntropy(),
        optimizer=Adam(learning_rate),
        batch_size=batch_size,
        orders=orders,
    )


def training_and_evaluation_seconds(
    widths: Sequence[int], batch_size: int, images: int, epochs: int, evaluated_images: int = 0
) -> float:
    """Predict the seconds of some epochs on one core, with an evaluation on so many images after each."""
    trained = training_seconds(widths, batch_size, images / batch_size)
    return epochs * (trained + training_seconds(widths, 1000, evaluated_images / 1000) / 3)


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


def diverged_at(training: Training) -> np.ndarray:
    """First step whose loss is not finite [member]; not-a-number where there is none."""
    steps = training.diverged_at.cpu().numpy()
    return np.where(steps < 0, np.nan, steps)


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

"""E8. Generalization: the loss on the line through two solutions."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import Claim, Test, mean_interval
from whydeep.experiments import image_training
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.image_training import (
    ACCURACY_DEFINITION,
    LOSS_DEFINITION,
    ImageSetting,
    both_splits,
    evaluate,
    evaluation_seconds,
    evaluators,
    image_counts,
    load_samples,
    start_training,
    train,
)
from whydeep.experiments.results import size_and_divergence
from whydeep.instruments import interpolate, loss_barrier
from whydeep.population import Stream
from whydeep.population.streams import Purpose
from whydeep.report.style import GREY, SPLIT_STYLES, draw_band, frame, log_scale, new_figure, percent_scale
from whydeep.runs import Context
from whydeep.variables import SHARE, Variable

NAME = "interpolation"

# ---------------------------------------------------------------------------------------------------------
# Design

HIDDEN = (30,)  # for images of 28 x 28 in ten classes: 23,860 parameters
LEARNING_RATE, SECOND_LEARNING_RATE = 0.001, 0.01
INITIALISATIONS = ("different", "shared")
ALPHAS = np.round(np.linspace(-1, 2, 61), 2)
EPOCHS = {"smoke": 1, "quick": 3, "full": 10}
TRAIN_IMAGES = {"smoke": 500, "quick": 60_000, "full": 60_000}
TEST_IMAGES = {"smoke": 300, "quick": 10_000, "full": 10_000}
EVALUATED_IMAGES = {"smoke": 500, "quick": 10_000, "full": 60_000}
"""Training images on which the networks of the line are evaluated."""


@dataclass(frozen=True, kw_only=True)
class Setting(ImageSetting):
    """Two networks that differ in their learning rate, from different and from the same initial weights."""

    second_learning_rate: float
    evaluated_images: int

    @property
    def name(self) -> str:
        """The two networks."""
        return "two learning rates"

    @property
    def coordinates(self) -> dict[str, str | float]:
        """All that varies is measured together."""
        return {}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        line = len(INITIALISATIONS) * len(ALPHAS) * (self.evaluated_images + self.test_images)
        return 3 * self.seconds() + evaluation_seconds(self.widths, line)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's two networks."""
    train_images, test_images = image_counts(plan, TRAIN_IMAGES, TEST_IMAGES)
    return (
        Setting(
            widths=(plan.features, *HIDDEN, plan.classes),
            learning_rate=LEARNING_RATE,
            second_learning_rate=SECOND_LEARNING_RATE,
            epochs=EPOCHS[plan.scale],
            train_images=train_images,
            test_images=test_images,
            evaluated_images=min(train_images, EVALUATED_IMAGES[plan.scale]),
            batch_size=min(25, train_images),
        ),
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train three networks per seed: the first, the second from other initial weights, the second from the same."""
    samples = load_samples(context, setting.train_images, setting.test_images)

    def streams(network: str, purpose: Purpose) -> list[Stream]:
        return [Stream(context.root_seed, NAME, network, seed, purpose) for seed in seeds]

    n = len(seeds)
    training = start_training(
        context,
        setting,
        samples["train"],
        inits=[*streams("first", "init"), *streams("second", "init"), *streams("first", "init")],
        orders=[*streams("first", "order"), *streams("second", "order"), *streams("second", "order")],
        learning_rate=[setting.learning_rate] * n + [setting.second_learning_rate] * 2 * n,
    )
    train(training, setting.epochs, lambda share: context.progress(0.7 * share))
    networks = training.population.select(range(n)), training.population.select(range(n, 3 * n))
    evaluated = load_samples(context, setting.evaluated_images, setting.test_images)
    lines = []
    for number in range(len(INITIALISATIONS)):
        second = networks[1].select(range(number * n, (number + 1) * n))
        line = interpolate(networks[0], second, ALPHAS)
        measured = evaluate(evaluators(line, evaluated))
        lines.append({name: values.reshape(n, len(ALPHAS)) for name, values in measured.items()})
        context.progress(0.7 + 0.3 * (number + 1) / len(INITIALISATIONS))
    curves = {name: np.stack([one[name] for one in lines], axis=1) for name in lines[0]}
    # The first of the three networks that diverges counts; they are of one size.
    per_seed = {name: np.fmin.reduce(values.reshape(3, n)) for name, values in size_and_divergence(training).items()}
    return xr.Dataset(
        {name: (("seed", "initialisation", "alpha"), values) for name, values in curves.items()}
        | {name: ("seed", values) for name, values in per_seed.items()},
        coords={"seed": list(seeds), "initialisation": list(INITIALISATIONS), "alpha": ALPHAS},
    )


VARIABLES = image_training.VARIABLES | {
    "train_loss": Variable("cross entropy on the training images that are evaluated", "nat"),
    "train_accuracy": Variable("share of these training images classified right"),
    "diverged_at": Variable("first step at which the loss of one of the three networks is not finite, if any"),
}

DEFINITIONS = {
    "Line": "networks whose weights and biases are (1 - alpha) times those of the first, learning rate "
    f"{LEARNING_RATE}, plus alpha times those of the second, learning rate {SECOND_LEARNING_RATE}.",
    "Initialisation": "different: the two networks start from weights of their own. Shared: from the same weights. "
    "Each sees the images in an order of its own.",
    "Loss": f"{LOSS_DEFINITION} On the line, of the training set the images that are evaluated.",
    "Accuracy": ACCURACY_DEFINITION,
    "Barrier": "the greatest distance, over alpha from 0 to 1, of the loss above the straight line between its values "
    "at 0 and 1; it is 0 where the loss is nowhere above.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def barriers(results: xr.Dataset, split: str) -> xr.DataArray:
    """Loss barrier of each seed [..., seed]."""
    loss = results[f"{split}_loss"].transpose(..., "alpha")
    height = loss_barrier(loss.alpha.values, torch.tensor(loss.values)).numpy()
    return xr.DataArray(height, {name: loss[name] for name in loss.dims[:-1]}, loss.dims[:-1])


def _best_elsewhere(results: xr.Dataset) -> xr.DataArray:
    """How far the best accuracy elsewhere is above the lower one of the two ends [images, seed]."""
    accuracy = both_splits(results.sel(initialisation="different", drop=True), "accuracy")
    ends = accuracy.alpha.isin([0, 1])
    return accuracy.where(~ends).max("alpha") - accuracy.where(ends).min("alpha")


CLAIMS = (
    Claim(
        "C20",
        "Accuracy peaks at alpha 0 and 1, and is poorer elsewhere.",
        (
            Test(
                "best accuracy at any other alpha in [-1, 2], minus that of the poorer end; different initial weights",
                _best_elsewhere,
                high=0.002,
            ),
        ),
        reading="“poorer” means at most 0.002 above the poorer end, on a grid of 0.05. Where the ends are of different "
        "heights, a neighbour of the better one can lie above the poorer one and be against the claim, though both are "
        "peaks.",
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Loss and accuracy along the line."""
    n, data = results.sizes["seed"], results.attrs["dataset"]
    return (
        Figure(
            "figure-15",
            f"Figure 15. On the line through two solutions, {data}",
            "Cross entropy (logarithmic axis, geometric mean) and accuracy (mean) at 61 points of the line, alpha from "
            f"-1 to 2, over n = {n} seeds with 95 % intervals (t, of the loss on the logarithm). The trained networks "
            "are at the vertical lines. "
            "Look for a barrier between them, and whether it is lower on the right, where both started from the same "
            "weights.",
            "Four line charts against alpha: loss above, accuracy below; different initial weights left, shared right.",
            lambda: _draw(results),
        ),
    )


def _draw(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(9.6, 6.4)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, initialisation in enumerate(INITIALISATIONS):
        one = results.sel(initialisation=initialisation)
        for row, quantity in enumerate(("loss", "accuracy")):
            _draw_line(panels[row, column], one, quantity)
        panels[0, column].set_title(f"{initialisation} initial weights")
        panels[1, column].set_xlabel("alpha")
    for row, quantity in enumerate(("loss", "accuracy")):
        frame(panels[row, 0], np.stack([results[f"{s}_{quantity}"] for s in SPLIT_STYLES]), log=quantity == "loss")
    log_scale(panels[0, 0])
    percent_scale(panels[1, 0])
    panels[0, 0].set_ylabel("cross entropy (nat)")
    panels[1, 0].set_ylabel(f"accuracy, {results.attrs['dataset']}")
    panels[0, 0].legend()
    return figure


def _draw_line(axes: Axes, results: xr.Dataset, quantity: str) -> None:
    log = quantity == "loss"
    for split, (label, colour, line) in SPLIT_STYLES.items():
        values = results[f"{split}_{quantity}"].transpose("seed", "alpha").values
        draw_band(axes, ALPHAS, values, label=label, colour=colour, line=line, log=log, share=not log)
    for end in (0, 1):
        axes.axvline(end, color=GREY, linewidth=1, linestyle="--")


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Both ends, the worst point between them and the barrier, for both initialisations."""
    between = results.sel(alpha=slice(0, 1))
    rows = tuple(
        (
            f"{initialisation}, {label}",
            *(str(mean_interval(one[f"{split}_loss"].sel(alpha=alpha), log=True)) for alpha in (0, 1)),
            str(mean_interval(barriers(one, split), limits=(0, inf))),
            *(str(mean_interval(one[f"{split}_accuracy"].sel(alpha=alpha), limits=SHARE)) for alpha in (0, 1)),
            str(
                mean_interval(
                    between.sel(initialisation=initialisation)[f"{split}_accuracy"].min("alpha"), limits=SHARE
                )
            ),
        )
        for initialisation in INITIALISATIONS
        for one in [results.sel(initialisation=initialisation)]
        for split, (label, _, _) in SPLIT_STYLES.items()
    )
    header = (
        *("initial weights", "loss at 0", "loss at 1", "barrier"),
        *("accuracy at 0", "accuracy at 1", "lowest accuracy between"),
    )
    caption = f"Mean over n = {results.sizes['seed']} seeds with 95 % interval (losses at the ends: geometric mean)"
    return (Table(caption, header, rows),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E8. Interpolation",
    question="Does a barrier lie between two networks that were trained with different learning rates?",
    uses_images=True,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)

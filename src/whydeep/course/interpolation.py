"""E8. Generalization: the loss on the line through two solutions."""

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
import xarray as xr

from whydeep.claims import Need, Test
from whydeep.course import image_training as images
from whydeep.course.optimization import training_design
from whydeep.course.text import reported
from whydeep.instruments import interpolate, loss_barrier
from whydeep.population.streams import Purpose, Stream
from whydeep.report.charts import Column, Guide, Lines, Panel, Rows
from whydeep.study import Field, Run, Scaled
from whydeep.variables import SHARE, Variable

INITIALISATIONS = ("different", "shared")

DESIGN = training_design(
    hidden=(30,),  # for images of 28 x 28 in ten classes: 23,860 parameters
    second_learning_rate=Field(0.01, least=1e-12, most=1e6),
    epochs=Scaled(1, 3, 10),
    train_images=Scaled(500, 60_000, 60_000),
    test_images=Scaled(300, 10_000, 10_000),
    evaluated_images=Scaled(500, 10_000, 60_000),
    batch_size=25,
    alpha_steps=20,
    beyond=Field(1.0, least=0, most=10),
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """Two networks that differ in their learning rate, from different and from the same initial weights.

    Attributes:
        evaluated_images: training images on which the networks of the line are evaluated.
        alpha_steps: steps of the line from one network to the other.
        beyond: how far the line goes on at both ends, in distances of the two.
    """

    second_learning_rate: float
    evaluated_images: int
    alpha_steps: int = 20
    beyond: float = 1.0

    @property
    def name(self) -> str:
        """The two networks."""
        return "two learning rates"

    @property
    def alphas(self) -> np.ndarray:
        """Places on the line; the two networks are at 0 and 1."""
        outside = round(self.beyond * self.alpha_steps)
        return np.arange(-outside, self.alpha_steps + outside + 1) / self.alpha_steps

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        line = len(INITIALISATIONS) * len(self.alphas) * (self.evaluated_images + self.test_images)
        return 3 * super().cost + images.evaluation_seconds(self.widths, line)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train three networks per seed: the first, the second from other initial weights, the second from the same."""
    n = len(run.seeds)

    def streams(purpose: Purpose, *networks: str) -> list[Stream]:
        return [stream for network in networks for stream in run.streams(purpose, name=network)]

    training = images.start_training(
        setting,
        run,
        images.load_samples(setting, run)["train"],
        inits=streams("init", "first", "second", "first"),
        orders=streams("order", "first", "second", "second"),
        learning_rate=[setting.learning_rate] * n + [setting.second_learning_rate] * 2 * n,
    )
    images.train(training, setting.epochs, run, share=0.7)
    first, *seconds = (training.population.select(range(start, start + n)) for start in (0, n, 2 * n))
    evaluated = images.load_samples(setting, run, train_images=setting.evaluated_images)
    lines = []
    for number, second in enumerate(seconds, 1):
        line = images.evaluate(images.evaluators(interpolate(first, second, setting.alphas), evaluated))
        lines.append({name: values.reshape(n, -1) for name, values in line.items()})
        run.part(0.7, 1)(number / len(seconds))
    curves = {name: (("initialisation", "alpha"), np.stack([line[name] for line in lines], 1)) for name in lines[0]}
    by_network = images.size_and_divergence(training)  # the first of the three that diverges counts
    by_seed = {name: np.fmin.reduce(values.reshape(3, n)) for name, values in by_network.items()}
    return run.dataset(curves | by_seed, initialisation=list(INITIALISATIONS), alpha=setting.alphas)


VARIABLES = images.VARIABLES | {
    "train_loss": Variable("cross entropy on the training images that are evaluated", "nat", log=True),
    "train_accuracy": Variable("share of these training images classified right", limits=SHARE),
    "diverged_at": Variable("first step at which the loss of one of the three networks is not finite, if any"),
}


def _barrier(results: xr.Dataset) -> xr.DataArray:
    """Loss barrier of each seed [images, initialisation, seed]."""
    loss = images.both_splits(results, "loss").transpose(..., "alpha")
    height = loss_barrier(loss.alpha.values, torch.tensor(loss.values)).numpy()
    return loss.isel(alpha=0, drop=True).copy(data=height)


def _best_other(results: xr.Dataset) -> xr.DataArray:
    """How far the best accuracy elsewhere is above the lower one of the two ends [images, seed]."""
    accuracy = images.both_splits(results.sel(initialisation="different", drop=True), "accuracy")
    ends = accuracy.alpha.isin([0, 1])
    return accuracy.where(~ends).max("alpha") - accuracy.where(ends).min("alpha")


LINE = {"second_learning_rate": 0.01, "alpha_steps": 20, "beyond": 1}
SAME_LINE = Need("evaluated_images", least=10_000), *(Need(name, equals=value) for name, value in LINE.items())

CLAIMS = (
    reported(
        "C20. Accuracy peaks at alpha 0 and 1, and is poorer elsewhere.",
        Test("best other accuracy minus that of the poorer end, different initial weights", _best_other, high=0.002),
        reading="“poorer” means at most 0.002 above the poorer end, at all other alphas in [-1, 2], 0.05 apart. Where "
        "the ends are of different heights, a neighbour of the better one can lie above the poorer one and be against "
        "the claim, though both are peaks.",
        needs=(*images.trained_for(10, hidden=(30,), batch_size=25), *SAME_LINE),
    ),
)


def _panel(quantity: str, initialisation: str) -> Panel:
    title = f"{initialisation} initial weights" if quantity == "loss" else ""
    solutions = Guide(0, vertical=True), Guide(1, vertical=True)
    return images.both_splits_panel(quantity, title=title, guides=solutions, initialisation=initialisation)


def _by_images(results: xr.Dataset) -> xr.Dataset:
    """Loss and accuracy on the line, the barrier, and the lowest accuracy between the networks, of both splits."""
    accuracy = images.both_splits(results, "accuracy")
    return xr.Dataset(
        {
            "loss": images.both_splits(results, "loss"),
            "barrier": _barrier(results),
            "accuracy": accuracy,
            "lowest": accuracy.sel(alpha=slice(0, 1)).min("alpha"),
        }
    )


EXPERIMENT = images.image_experiment(
    "interpolation",
    "Does a barrier lie between two networks that were trained with different learning rates?",
    Setting.from_plan,
    measure,
    design=DESIGN,
    title="E8. Interpolation",
    variables=VARIABLES,
    terms="Line, Initialisation, Loss, Accuracy, Barrier",
    claims=CLAIMS,
    figures=(
        Lines(
            "figure-15",
            "Figure 15. On the line through two solutions, {dataset}",
            shows="Cross entropy (above) and accuracy (below) at {number_of_alpha} points of the line, from different "
            "initial weights (left) and from the same (right); the trained networks are at the vertical lines",
            look="Look at whether the loss rises between them, and whether that depends on the initial weights.",
            x="alpha",
            panels=tuple(
                tuple(_panel(quantity, initialisation) for initialisation in INITIALISATIONS)
                for quantity in ("loss", "accuracy")
            ),
            share_y=True,
        ),
    ),
    tables=(
        Rows(
            "On the line",
            ("initialisation", "images"),
            (
                *(Column(f"loss at {end}", "loss", at={"alpha": end}, log=True) for end in (0, 1)),
                Column("barrier", "barrier", log=False, limits=(0, inf)),
                *(Column(f"accuracy at {end}", "accuracy", at={"alpha": end}, limits=SHARE) for end in (0, 1)),
                Column("lowest accuracy between", "lowest", limits=SHARE),
            ),
            select=_by_images,
        ),
    ),
)

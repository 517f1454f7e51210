"""E9. Generalization: what the size of the batches does to accuracy, sensitivity and sharpness."""

from dataclasses import dataclass
from functools import partial
from itertools import product, starmap
from math import inf

import numpy as np
import xarray as xr

from whydeep.claims import Claim, Need, Test, rank_correlation
from whydeep.course import image_training as images
from whydeep.course.optimization import training_design
from whydeep.course.text import count_column, reported
from whydeep.instruments import input_sensitivity, sharpness
from whydeep.landscape import Landscape
from whydeep.population import CrossEntropy
from whydeep.report.charts import Column, Curve, Lines, Panel, Rows
from whydeep.report.style import GREEN, PURPLE
from whydeep.study import Each, Run, Scaled, dimension
from whydeep.variables import CORRELATION, SHARE, Variable

BEST = (125, 500)  # of the course report's sizes, those that it calls best
EPSILONS = (1e-3, 5e-4)
SPACES = ("full space", "random subspace")
DIRECTIONS = 100

DESIGN = training_design(
    batch_size=Each(5, 25, 125, 500, 1500),
    hidden=(20, 30),  # for images of 28 x 28 in ten classes: 16,640 parameters
    epochs=Scaled(1, 5, 40),
    train_images=Scaled(1500, 60_000, 60_000),
    test_images=Scaled(300, 10_000, 10_000),
    sharpness_images=Scaled(200, 2000, 10_000),
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """One network, trained in batches of one size."""

    batch_size: int = dimension()
    sharpness_images: int

    @property
    def name(self) -> str:
        """The size of the batches."""
        return f"batches of {self.batch_size}"

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return super().cost + 2.5e-4 * self.sharpness_images


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed; then evaluate it, and measure its sensitivity and its sharpness."""
    samples = images.load_samples(setting, run)
    inits = run.streams("init", shared=True)  # by the sizes, which are compared
    training = images.start_training(setting, run, samples["train"], inits=inits)
    images.train(training, setting.epochs, run, share=0.8)
    part = images.load_samples(setting, run, train_images=setting.sharpness_images)
    on_test = Landscape(training.population, part["test"], CrossEntropy())
    on_train = Landscape(training.population, part["train"], CrossEntropy())

    def measure_seed(member: int, alone: Run) -> xr.Dataset:
        (probe,) = alone.streams("probe", shared=True)
        return _derivatives(on_test.select(member), on_train.select(member), probe.torch_seed())

    measured = run.each_seed(measure_seed, 0.8, 1)
    values = run.dataset(images.final_values(training, samples))
    return xr.concat(measured, dim=values.seed).assign(values.data_vars)


def _derivatives(test: Landscape, train: Landscape, seed: int) -> xr.Dataset:
    """Sensitivity on test images, and sharpness on training images, of one network."""
    sensitivity = input_sensitivity(test)
    spaces = (None, min(DIRECTIONS, train.size))
    rises = [[sharpness(train, epsilon, subspace=space, seed=seed) for space in spaces] for epsilon in EPSILONS]
    dims = ("epsilon", "space")
    return xr.Dataset(
        {
            "sensitivity": sensitivity.loss_gradient.item(),
            "jacobian_norm": sensitivity.jacobian.item(),
            "sharpness": (dims, [[rise.value.item() for rise in row] for row in rises]),
            "sharpness_converged": (dims, [[float(rise.converged) for rise in row] for row in rises]),
        },
        coords={"epsilon": list(EPSILONS), "space": list(SPACES)},
    )


VARIABLES = images.VARIABLES | {
    "sensitivity": Variable("norm of the gradient of the loss by one test image, mean over all test images", log=True),
    "jacobian_norm": Variable("Frobenius norm of the Jacobian of the outputs by one test image, mean of all", log=True),
    "sharpness": Variable("greatest rise of the training loss in a small box, in percent of 1 + loss", log=True),
    "sharpness_converged": Variable("1 if no step in the box promises more, 0 if the ascent was cut off", limits=SHARE),
}


def _advantage(results: xr.Dataset, variable: str) -> xr.DataArray:
    """Mean of the sizes called best minus each of the others [batch_size, seed]."""
    values = results[variable]
    best = values.sel(batch_size=list(BEST)).mean("batch_size", skipna=False)
    return best - values.isel(batch_size=np.flatnonzero(~values.batch_size.isin(BEST)))


def _above_ends(results: xr.Dataset) -> xr.DataArray:
    """Accuracy of each size between the smallest and the largest, minus that of these [batch_size, end, seed]."""
    accuracy = results.test_accuracy
    return accuracy.isel(batch_size=slice(1, -1)) - accuracy.isel(batch_size=[0, -1]).rename(batch_size="end")


def _correlation(results: xr.Dataset) -> xr.DataArray:
    return rank_correlation(results.sensitivity, results.batch_size.astype(float), "batch_size", skipna=False)


SEEN = "This was decided after results at quick scale had been seen, before those at full scale."
SIZES = Need("batch_size", labels=DESIGN["batch_size"].default.values), *images.trained_for(40, hidden=(20, 30))


def _best_sizes(statement: str, variable: str, low: float = -inf, high: float = inf) -> Claim:
    statistic = f"{variable.replace('_', ' ')}, mean of sizes 125 and 500 minus that of each other size"
    reading = "each of the other sizes is compared, as the best of them, chosen within each seed, would be too good."
    test = Test(statistic, partial(_advantage, variable=variable), low, high)
    return reported(statement, test, reading=f"{reading} {SEEN}", needs=SIZES)


CLAIMS = (
    _best_sizes("C21. Accuracy is best at batch sizes of 100 to 1,000.", "test_accuracy", low=0),
    _best_sizes("C22. The loss is lowest there too.", "test_loss", high=0),
    reported(
        "C23. Sensitivity falls as the batch size grows.",
        Test("rank correlation of sensitivity with the batch size", _correlation, high=0, limits=CORRELATION),
        needs=SIZES,
    ),
    reported(
        "C24. Accuracy is lowest below 10 and above 1,000.",
        Test("test accuracy, each other size minus the smallest and minus the largest size", _above_ends, low=0),
        reading=f"each size in between is compared with the smallest and with the largest. {SEEN}",
        needs=SIZES,
    ),
)

against_sizes = partial(Lines, x="batch_size", log_x=True, seeds="dots")


def _norm(variable: str, title: str, colour: str) -> Panel:
    return Panel((Curve(variable, title, colour=colour),), title, "norm of the derivative by the image")


def _beside_sensitivity(number: int, quantity: str, look: str) -> Lines:
    sensitivity = _norm("sensitivity", "sensitivity: gradient of the loss", GREEN)
    jacobian_norm = _norm("jacobian_norm", "Jacobian of the outputs", PURPLE)
    return against_sizes(
        f"figure-{number}",
        f"Figure {number}. {quantity.capitalize()} and sensitivity against the batch size, {{dataset}}",
        shows=f"Left: final {quantity}; middle and right: norms of the derivatives of loss and of outputs by one image",
        look=f"Look at {look} All sizes were trained for as many epochs.",
        panels=((images.both_splits_panel(quantity), sensitivity, jacobian_norm),),
    )


def _sharpness_panel(space: str) -> Panel:
    return Panel((Curve("sharpness", "epsilon = {}", at={"space": space}, each="epsilon"),), space, "sharpness (%)")


def _sharpness_column(space: str, epsilon: float) -> Column:
    return Column(f"{space}, epsilon = {epsilon:g}", "sharpness", at={"epsilon": epsilon, "space": space})


EXPERIMENT = images.image_experiment(
    "batch-size",
    "Do networks trained in small batches generalise better, and are they less sensitive and less sharp?",
    Setting.from_plan,
    measure,
    design=DESIGN,
    title="E9. Batch size",
    variables=VARIABLES,
    terms="Loss, Accuracy, Epochs, Sensitivity, Jacobian norm, Sharpness, Random subspace, Rank correlation",
    numbers={"directions": DIRECTIONS},
    claims=CLAIMS,
    figures=(
        _beside_sensitivity(16, "accuracy", "how sensitivity and accuracy change with the size of the batches."),
        _beside_sensitivity(17, "loss", "where the test loss is lowest, and at its distance from the training loss."),
        against_sizes(
            "sharpness",
            "Sharpness against the batch size, {dataset}",
            shows="How far the training loss rises in a small box around the network, in percent (Keskar et al. 2017)",
            look="Look at whether sharpness depends on the size of the batches; losses may differ as well (figure 17).",
            panels=(tuple(map(_sharpness_panel, SPACES)),),
        ),
    ),
    tables=(
        Rows("Final values", "batch_size", (*images.FINAL_VALUES, "sensitivity", "jacobian_norm")),
        Rows(
            "Sharpness in percent",
            "batch_size",
            (*starmap(_sharpness_column, product(SPACES, EPSILONS)), count_column("converged", "sharpness_converged")),
            note="converged: ascents that no step would have led further",
        ),
    ),
)

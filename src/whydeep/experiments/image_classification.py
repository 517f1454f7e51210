"""E2. Deep against shallow: classifying images with the same number of parameters."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator

from whydeep.claims import Claim, Test, mean_interval
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.image_training import (
    ACCURACY_DEFINITION,
    LOSS_DEFINITION,
    VARIABLES,
    ImageSetting,
    evaluate,
    evaluators,
    image_counts,
    interval_cells,
    load_samples,
    start_training,
)
from whydeep.experiments.results import count_text, size_and_divergence
from whydeep.networks import parameter_count, widths_for_budget
from whydeep.population import Stream
from whydeep.report.style import NETWORK_COLOURS, NETWORK_LINES, draw_band, frame, log_scale, new_figure, percent_scale
from whydeep.runs import Context
from whydeep.variables import SHARE

NAME = "image-classification"

# ---------------------------------------------------------------------------------------------------------
# Design

REPORTED_WIDTHS = {  # for images of 28 x 28 in ten classes
    "shallow": (784, 30, 10),
    "medium": (784, 25, 60, 38, 10),
    "deep": (784, 20, 40, 60, 50, 30, 10),
}
EPOCHS = {"smoke": 2, "quick": 20, "full": 80}
TRAIN_IMAGES = {"smoke": 2000, "quick": 60_000, "full": 60_000}
TEST_IMAGES = {"smoke": 1000, "quick": 10_000, "full": 10_000}
LAST_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class Setting(ImageSetting):
    """One network on one data set."""

    network: str

    @property
    def name(self) -> str:
        """The network."""
        return self.network

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"network": self.network}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return self.seconds(evaluated_images=self.train_images + self.test_images)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The three networks of the report; for other images three networks of the same budget."""
    train_images, test_images = image_counts(plan, TRAIN_IMAGES, TEST_IMAGES)
    return tuple(
        Setting(
            network=network,
            widths=_widths(widths, plan),
            epochs=EPOCHS[plan.scale],
            train_images=train_images,
            test_images=test_images,
            batch_size=min(50, plan.train_images),
        )
        for network, widths in REPORTED_WIDTHS.items()
    )


def _widths(reported: tuple[int, ...], plan: Plan) -> tuple[int, ...]:
    if (plan.features, plan.classes) == (reported[0], reported[-1]):
        return reported
    budget = parameter_count(REPORTED_WIDTHS["shallow"])
    smallest = parameter_count((plan.features, *(1,) * (len(reported) - 2), plan.classes))
    return widths_for_budget(len(reported) - 2, plan.features, plan.classes, max(budget, 20 * smallest))


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed; after every epoch, evaluate on all training and test images."""
    samples = load_samples(context, setting.train_images, setting.test_images)
    inits = [Stream(context.root_seed, NAME, setting.name, seed, "init") for seed in seeds]
    orders = [Stream(context.root_seed, NAME, "", seed, "order") for seed in seeds]  # shared by networks
    training = start_training(
        context,
        setting,
        samples["train"],
        inits=inits,
        orders=orders,
    )
    whole_sets = evaluators(training.population, samples)
    measured: dict[str, list[np.ndarray]] = defaultdict(list)
    for epoch in range(1, setting.epochs + 1):
        training.run_epoch()
        for name, values in evaluate(whole_sets).items():
            measured[name].append(values)
        context.progress(epoch / setting.epochs)
    return xr.Dataset(
        {name: (("seed", "epoch"), np.stack(values, axis=1)) for name, values in measured.items()}
        | {name: ("seed", values) for name, values in size_and_divergence(training).items()},
        coords={"seed": list(seeds), "epoch": np.arange(1, setting.epochs + 1)},
    )


DEFINITIONS = {
    "Loss": LOSS_DEFINITION,
    "Accuracy": ACCURACY_DEFINITION,
    "Last epochs": f"the last {LAST_EPOCHS} epochs, or all where there are fewer.",
    "Relative change": "exp(slope * number) - 1, of a straight line through the logarithm of the training loss over "
    "the last epochs, and their number; the spread is the root mean square distance from that line.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _last(values: xr.DataArray) -> xr.DataArray:
    return values.isel(epoch=slice(-LAST_EPOCHS, None))


def _trend(loss: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Relative change over the last epochs, and the spread around it, of a loss [..., epoch]; at least three."""
    logs = xr.apply_ufunc(np.log, _last(loss))
    epochs = logs.epoch - logs.epoch.mean()
    slope = (logs * epochs).sum("epoch", skipna=False) / (epochs**2).sum()
    residuals = logs - logs.mean("epoch", skipna=False) - slope * epochs
    change, spread = xr.apply_ufunc(np.expm1, slope * logs.sizes["epoch"]), residuals.std("epoch", skipna=False)
    enough = logs.sizes["epoch"] > 2  # a line through two points has no spread around it
    return change.where(enough), spread.where(enough)


def _test_difference(results: xr.Dataset, network: str, other: str) -> xr.DataArray:
    accuracy = _last(results.test_accuracy).mean("epoch", skipna=False)
    return accuracy.sel(network=network, drop=True) - accuracy.sel(network=other, drop=True)


CLAIMS = (
    Claim(
        "C6",
        "Training has converged after about 80 epochs; noise remains.",
        (
            Test(
                "relative change of the training loss over the last epochs",
                lambda r: _trend(r.train_loss)[0],
                low=-0.1,
                high=0.1,
            ),
            Test(
                "spread of the logarithm of the training loss over the last epochs",
                lambda r: _trend(r.train_loss)[1],
                low=0.01,
            ),
        ),
    ),
    Claim(
        "C7",
        "Training accuracy is above test accuracy for all three networks.",
        (
            Test(
                "training minus test accuracy, mean over the last epochs",
                lambda r: _last(r.train_accuracy - r.test_accuracy).mean("epoch", skipna=False),
                low=0,
            ),
        ),
    ),
    Claim(
        "C8",
        "The medium network is best on test images.",
        (
            Test(
                "test accuracy, medium minus shallow, mean over the last epochs",
                lambda r: _test_difference(r, "medium", "shallow"),
                low=0,
            ),
            Test(
                "test accuracy, medium minus deep, mean over the last epochs",
                lambda r: _test_difference(r, "medium", "deep"),
                low=0,
            ),
        ),
    ),
    Claim(
        "C9",
        "99 % on training images, a plateau of 95-96 % on test images.",
        (
            Test(
                "final training accuracy",
                lambda r: r.train_accuracy.isel(epoch=-1, drop=True),
                low=0.99,
                limits=SHARE,
            ),
            Test(
                "test accuracy, mean over the last epochs",
                lambda r: _last(r.test_accuracy).mean("epoch", skipna=False),
                low=0.95,
                high=0.97,
                limits=SHARE,
            ),
        ),
        reading="“99 %” means more than 99 % after the last epoch, “95-96 %” from 95 up to 97 % in the mean of the "
        "last epochs. That the curve is flat is not tested.",
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Learning curves, and accuracies on training and test images."""
    n, data = results.sizes["seed"], results.attrs["dataset"]
    return (
        Figure(
            "figure-05",
            f"Figure 5. Learning curves, {data}",
            f"Cross entropy on all training images after each epoch: geometric mean over n = {n} seeds with its "
            "95 % interval (t on the logarithm). Look at whether the curves still fall at the end.",
            f"Line chart of the training loss of three networks on {data}, per epoch.",
            lambda: _draw_learning_curves(results),
        ),
        Figure(
            "figure-06",
            f"Figure 6. Accuracy on training and test images, {data}",
            f"Mean over n = {n} seeds with its 95 % interval (t). Look at the distance between the left and the "
            "right panel, and at the order of the networks on the right.",
            f"Two line charts of the accuracy of three networks on training and test images of {data}, per epoch.",
            lambda: _draw_accuracies(results),
        ),
    )


def _draw_curves(axes: Axes, results: xr.Dataset, variable: str, *, log: bool) -> None:
    epochs = results.epoch.values
    for network in results.network.values.tolist():
        one = results.sel(network=network)
        draw_band(
            axes,
            epochs,
            one[variable].transpose("seed", "epoch").values,
            label=f"{network} ({count_text(one.parameters)} parameters)",
            colour=NETWORK_COLOURS[network],
            line=NETWORK_LINES[network],
            log=log,
            share=not log,
            markers=len(epochs) < 5,
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_learning_curves(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure()
    axes = figure.subplots()
    _draw_curves(axes, results, "train_loss", log=True)
    frame(axes, results.train_loss, log=True)
    log_scale(axes)
    axes.set(ylabel="training loss (cross entropy, nat)", title=results.attrs["dataset"])
    axes.legend()
    return figure


def _draw_accuracies(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, split in ((left, "train"), (right, "test")):
        _draw_curves(axes, results, f"{split}_accuracy", log=False)
        axes.set_title({"train": "training images", "test": "test images"}[split])
        percent_scale(axes)
    frame(left, np.stack([results.train_accuracy, results.test_accuracy]))
    left.set_ylabel(f"accuracy, {results.attrs['dataset']}")
    right.legend(loc="lower right")
    return figure


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Numbers behind the figures, one row per network."""
    final = results.isel(epoch=-1)
    rows = tuple(
        (
            network,
            count_text(one.parameters),
            *interval_cells(one, "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
            str(
                mean_interval(
                    _last(results.sel(network=network).test_accuracy).mean("epoch", skipna=False), limits=SHARE
                )
            ),
        )
        for network in results.network.values.tolist()
        for one in [final.sel(network=network)]
    )
    header = (
        *("network", "parameters", "training loss", "test loss"),
        *("training accuracy", "test accuracy", "test accuracy, last epochs"),
    )
    caption = (
        f"After {int(final.epoch)} epochs: mean over n = {results.sizes['seed']} seeds with 95 % interval "
        "(losses: geometric mean)"
    )
    return (Table(caption, header, rows),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E2. Image classification",
    question="Does a deep network classify images better than a shallow one with as many parameters?",
    uses_images=True,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)

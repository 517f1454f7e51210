"""E9. Generalization: what the size of the batches does to accuracy, sensitivity and sharpness."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import NullLocator

from whydeep.claims import Claim, Need, Test, mean_interval, rank_correlation
from whydeep.experiments import image_training
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.image_training import (
    ACCURACY_DEFINITION,
    LOSS_DEFINITION,
    ImageSetting,
    evaluate,
    evaluators,
    image_counts,
    interval_cells,
    load_samples,
    start_training,
    train,
)
from whydeep.experiments.results import size_and_divergence
from whydeep.instruments import input_sensitivity, sharpness
from whydeep.landscape import Landscape
from whydeep.population import CrossEntropy, Samples, Stream
from whydeep.report.style import (
    BLUE,
    GREEN,
    LINE_STYLES,
    PURPLE,
    SPLIT_STYLES,
    VERMILION,
    LineStyle,
    draw_band,
    frame,
    log_scale,
    new_figure,
    percent_scale,
)
from whydeep.runs import Context
from whydeep.variables import CORRELATION, Variable

NAME = "batch-size"

# ---------------------------------------------------------------------------------------------------------
# Design

HIDDEN = (20, 30)  # for images of 28 x 28 in ten classes: 16,640 parameters
BATCH_SIZES = (5, 25, 125, 500, 1500)
BEST = (125, 500)  # of these sizes, those that the course report calls best
EPSILONS = (1e-3, 5e-4)
SUBSPACES = {"full space": None, "random subspace": 100}
EPOCHS = {"smoke": 1, "quick": 5, "full": 40}
TRAIN_IMAGES = {"smoke": 1500, "quick": 60_000, "full": 60_000}
TEST_IMAGES = {"smoke": 300, "quick": 10_000, "full": 10_000}
SHARPNESS_IMAGES = {"smoke": 200, "quick": 2000, "full": 10_000}


@dataclass(frozen=True, kw_only=True)
class Setting(ImageSetting):
    """One network, trained in batches of one size."""

    sharpness_images: int

    @property
    def name(self) -> str:
        """The size of the batches."""
        return f"batches of {self.batch_size}"

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"batch_size": self.batch_size}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return self.seconds() + 2.5e-4 * self.sharpness_images


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's five sizes; sizes above the number of images become that number."""
    train_images, test_images = image_counts(plan, TRAIN_IMAGES, TEST_IMAGES)
    return tuple(
        Setting(
            batch_size=size,
            widths=(plan.features, *HIDDEN, plan.classes),
            epochs=EPOCHS[plan.scale],
            train_images=train_images,
            test_images=test_images,
            sharpness_images=min(train_images, SHARPNESS_IMAGES[plan.scale]),
        )
        for size in dict.fromkeys(min(size, train_images) for size in BATCH_SIZES)
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed; then evaluate it, and measure its sensitivity and its sharpness."""
    samples = load_samples(context, setting.train_images, setting.test_images)
    training = start_training(
        context,
        setting,
        samples["train"],
        inits=[Stream(context.root_seed, NAME, "", seed, "init") for seed in seeds],  # shared by the sizes
        orders=[Stream(context.root_seed, NAME, "", seed, "order") for seed in seeds],
    )
    train(training, setting.epochs, lambda share: context.progress(0.8 * share))
    measured = evaluate(evaluators(training.population, samples)) | size_and_divergence(training)
    inputs, labels = samples["train"].inputs, samples["train"].targets
    part = Samples(inputs[: setting.sharpness_images], labels[: setting.sharpness_images])
    test_landscape = Landscape(training.population, samples["test"], CrossEntropy())
    train_landscape = Landscape(training.population, part, CrossEntropy())
    looked_at = []
    for index, seed in enumerate(seeds):
        probe = Stream(context.root_seed, NAME, "", seed, "probe").torch_seed()
        looked_at.append(_look(test_landscape.select(index), train_landscape.select(index), probe))
        context.progress(0.8 + 0.2 * (index + 1) / len(seeds))
    own = xr.concat(looked_at, dim=xr.DataArray(list(seeds), dims="seed", name="seed"))
    return own.assign({name: ("seed", values) for name, values in measured.items()})


def _look(test: Landscape, train: Landscape, seed: int) -> xr.Dataset:
    """Sensitivity on test images, and sharpness on training images, of one network."""
    found = input_sensitivity(test)
    sharp = [
        [sharpness(train, epsilon, subspace=subspace, seed=seed) for subspace in SUBSPACES.values()]
        for epsilon in EPSILONS
    ]
    return xr.Dataset(
        {
            "sensitivity": found.loss_gradient.item(),
            "jacobian_norm": found.jacobian.item(),
            "sharpness": (("epsilon", "space"), [[one.value.item() for one in row] for row in sharp]),
            "sharpness_converged": (("epsilon", "space"), [[float(one.converged) for one in row] for row in sharp]),
        },
        coords={"epsilon": list(EPSILONS), "space": list(SUBSPACES)},
    )


VARIABLES = image_training.VARIABLES | {
    "sensitivity": Variable("norm of the gradient of the loss by one test image, mean over all test images"),
    "jacobian_norm": Variable(
        "Frobenius norm of the Jacobian of the outputs by one test image, mean over all test images"
    ),
    "sharpness": Variable("greatest rise of the training loss in a small box, in percent of 1 + loss"),
    "sharpness_converged": Variable("1 where no step in the box promises more, 0 where the ascent was cut off"),
}

DEFINITIONS = {
    "Loss": LOSS_DEFINITION,
    "Accuracy": ACCURACY_DEFINITION,
    "Sensitivity": "Frobenius norm of the gradient of the loss of one image with respect to that image, averaged over "
    "all test images. It does not depend on the batches in which it is computed.",
    "Logit-Jacobian norm": "Frobenius norm of the derivative of all outputs, before the softmax, with respect to one "
    "image, averaged over all test images; after Novak et al. (2018), who take the probabilities.",
    "Sharpness": "100 * (greatest loss in a box - loss) / (1 + loss), on the first training images, where the box "
    "holds every weight w within epsilon * (|w| + 1): metric 2.1 of Keskar et al. (2017). Random subspace: the same "
    "in the space of 100 standard normal directions A, with steps y in the box |y| <= epsilon * (|A^+ w| + 1), which "
    "moves weights further than the full box does: its values can be larger. The greatest loss is the greatest that "
    "random draws and projected gradient ascent find, a lower bound. It depends on the scale of weights (Dinh et al. "
    "2017): here all networks are of one kind.",
    "Epochs": "all sizes see every image equally often, so that large batches take fewer steps.",
    "Rank correlation": "Spearman's, over the sizes of one seed.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _compared(results: xr.Dataset, variable: str) -> xr.DataArray:
    """A variable of all sizes; not-a-number where the largest, for want of images, is not above 1,000."""
    return results[variable].where(results.batch_size.max() > 1000)


def _advantage(values: xr.DataArray) -> xr.DataArray:
    """Mean of the sizes called best minus each of the others [batch_size, seed].

    (The best of the others, chosen within each seed, would be too good: it is chosen by its luck as well.)
    """
    best = values.sel(batch_size=list(BEST)).mean("batch_size", skipna=False)
    return best - values.isel(batch_size=np.flatnonzero(~values.batch_size.isin(BEST)))


def _above_ends(values: xr.DataArray) -> xr.DataArray:
    """Each size between the smallest and the largest, minus each of these two [batch_size, end, seed]."""
    ends = values.isel(batch_size=[0, -1]).rename(batch_size="end")
    return values.isel(batch_size=slice(1, -1)) - ends


EACH = (
    "each of the other sizes is compared, as the best of them, chosen within each seed, would be too good. This was "
    "decided after results at quick scale had been seen, before those at full scale."
)
NEEDS = (Need("batch_size", labels=(BATCH_SIZES[0], *BEST)),)

CLAIMS = (
    Claim(
        "C21",
        "Accuracy is best at batch sizes of 100 to 1,000.",
        (
            Test(
                "test accuracy, mean of sizes 125 and 500 minus that of each other size",
                lambda r: _advantage(_compared(r, "test_accuracy")),
                low=0,
            ),
        ),
        reading=EACH,
        needs=NEEDS,
    ),
    Claim(
        "C22",
        "The loss is lowest there too.",
        (
            Test(
                "test loss, mean of sizes 125 and 500 minus that of each other size",
                lambda r: _advantage(_compared(r, "test_loss")),
                high=0,
            ),
        ),
        reading=EACH,
        needs=NEEDS,
    ),
    Claim(
        "C23",
        "Sensitivity falls as the batch size grows.",
        (
            Test(
                "rank correlation of sensitivity with the batch size",
                lambda r: rank_correlation(r.sensitivity, r.batch_size.astype(float), "batch_size", skipna=False),
                high=0,
                limits=CORRELATION,
            ),
        ),
    ),
    Claim(
        "C24",
        "Accuracy is lowest below 10 and above 1,000.",
        (
            Test(
                "test accuracy, each other size minus the smallest and minus the largest size",
                lambda r: _above_ends(_compared(r, "test_accuracy")),
                low=0,
            ),
        ),
        reading="each size in between is compared with the smallest and with the largest. This was decided after "
        "results at quick scale had been seen, before those at full scale.",
        needs=NEEDS,
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Accuracy and loss beside the sensitivity; sharpness."""
    n, data = results.sizes["seed"], results.attrs["dataset"]
    band = f"mean over n = {n} seeds with its 95 % interval (t), and every seed as a dot"
    geometric_band = "geometric " + band.replace("(t)", "(t on the logarithm)")
    norms = "Middle and right: norms of the derivatives of loss and of outputs by one test image (geometric means)."
    return (
        Figure(
            "figure-16",
            f"Figure 16. Accuracy and sensitivity against the batch size, {data}",
            f"Left: final accuracy, {band}. {norms} Look at whether sensitivity falls to the right, and whether "
            "accuracy has its peak in the middle. All sizes were trained for as many epochs.",
            "Three line charts against the batch size: accuracy on both splits, and two norms of input derivatives.",
            lambda: _draw_with_sensitivity(results, "accuracy"),
        ),
        Figure(
            "figure-17",
            f"Figure 17. Loss and sensitivity against the batch size, {data}",
            f"Left: final cross entropy, {geometric_band}. {norms} Look at where the test loss is lowest, and how far "
            "the training loss is below it.",
            "Three line charts against the batch size: loss on both splits, and two norms of input derivatives.",
            lambda: _draw_with_sensitivity(results, "loss"),
        ),
        Figure(
            "sharpness",
            f"Sharpness against the batch size, {data}",
            "How far the training loss rises in a small box around the network, in percent (Keskar et al. 2017): "
            f"{geometric_band}. Look at whether solutions of large batches are sharper; the losses that they have "
            "reached differ (figure 17).",
            "Two line charts of sharpness against the batch size, in the full space and in a random subspace.",
            lambda: _draw_sharpness(results),
        ),
    )


def _draw(axes: Axes, values: xr.DataArray, label: str, colour: str, line: LineStyle, *, log: bool) -> None:
    sizes, curves = values.batch_size.values, values.transpose("seed", "batch_size").values
    draw_band(
        axes, sizes, curves, label=label, colour=colour, line=line, log=log, share=not log, markers=True, seeds=True
    )
    axes.set(xscale="log", xlabel="batch size")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_with_sensitivity(results: xr.Dataset, quantity: str) -> MatplotlibFigure:
    log = quantity == "loss"
    figure = new_figure(11, 4)
    left, middle, right = figure.subplots(1, 3)
    for split, (label, colour, line) in SPLIT_STYLES.items():
        _draw(left, results[f"{split}_{quantity}"], label, colour, line, log=log)
    frame(left, np.stack([results[f"{split}_{quantity}"] for split in SPLIT_STYLES]), log=log)
    if log:
        log_scale(left)
    else:
        percent_scale(left)
    left.set_ylabel(f"{'cross entropy (nat)' if log else 'accuracy'}, {results.attrs['dataset']}")
    left.legend()
    for axes, norms, title, colour in (
        (middle, results.sensitivity, "sensitivity: gradient of the loss", GREEN),
        (right, results.jacobian_norm, "Jacobian of the outputs", PURPLE),
    ):
        _draw(axes, norms, title, colour, LINE_STYLES[0], log=True)
        frame(axes, norms, log=True)
        log_scale(axes)
        axes.set_title(title, fontsize=10)
    middle.set_ylabel("norm of the derivative by the image")
    return figure


def _draw_sharpness(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(9.6, 4.2)
    panels = figure.subplots(1, 2)
    for axes, space in zip(panels, SUBSPACES, strict=True):
        for epsilon, colour, line in zip(EPSILONS, (BLUE, VERMILION), LINE_STYLES, strict=False):
            values = results.sharpness.sel(space=space, epsilon=epsilon)
            _draw(axes, values, f"epsilon = {epsilon:g}", colour, line, log=True)
        frame(axes, results.sharpness.sel(space=space), log=True)
        log_scale(axes)
        axes.set_title(space)
    panels[0].set_ylabel("sharpness (%)")
    panels[0].legend()
    return figure


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Numbers behind the figures, one row per batch size."""
    n = results.sizes["seed"]
    rows, sharp = [], []
    for size in results.batch_size.values.tolist():
        one = results.sel(batch_size=size)
        rows.append(
            (
                f"{size:,}",
                *interval_cells(one, "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
                str(mean_interval(one.sensitivity, log=True)),
                str(mean_interval(one.jacobian_norm, log=True)),
            )
        )
        cells = [one.sharpness.sel(epsilon=epsilon, space=space) for space in SUBSPACES for epsilon in EPSILONS]
        converged = one.sharpness_converged
        sharp.append(
            (
                f"{size:,}",
                *(str(mean_interval(cell, log=True)) for cell in cells),
                f"{int(converged.sum())} of {int(converged.count())}",
            )
        )
    header = (
        *("batch size", "training loss", "test loss", "training accuracy", "test accuracy"),
        *("sensitivity", "logit-Jacobian norm"),
    )
    caption = f"Final values: mean over n = {n} seeds with 95 % interval (losses and norms: geometric mean)"
    spaces = [f"{space}, epsilon = {epsilon:g}" for space in SUBSPACES for epsilon in EPSILONS]
    return (
        Table(caption, header, tuple(rows)),
        Table(
            f"Sharpness in percent: geometric mean over n = {n} seeds with 95 % interval; converged: ascents that "
            "ended where no step promises more",
            ("batch size", *spaces, "converged"),
            tuple(sharp),
        ),
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="E9. Batch size",
    question="Do networks trained in small batches generalise better, and are they less sensitive and less sharp?",
    uses_images=True,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)

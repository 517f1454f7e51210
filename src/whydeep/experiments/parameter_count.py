"""E7. Generalization: loss and accuracy against the number of parameters."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as MatplotlibFigure

from whydeep.claims import Claim, Need, Test, mean_interval, rank_correlation
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.image_training import (
    ACCURACY_DEFINITION,
    LOSS_DEFINITION,
    VARIABLES,
    ImageSetting,
    both_splits,
    evaluate,
    evaluators,
    image_counts,
    interval_cells,
    load_samples,
    start_training,
    train,
)
from whydeep.experiments.results import count_text, size_and_divergence
from whydeep.population import Stream
from whydeep.report.style import SPLIT_STYLES, draw_band, frame, log_scale, new_figure, percent_scale
from whydeep.runs import Context
from whydeep.variables import CORRELATION

NAME = "parameter-count"

# ---------------------------------------------------------------------------------------------------------
# Design

HIDDEN = (  # for images of 28 x 28 in ten classes: 1,645 to 952,410 parameters
    *((2, 5), (4, 8), (10, 20), (20, 30), (50, 25)),
    *((100, 50), (200, 100), (400, 200), (600, 300), (800, 400)),
)
ENOUGH, MOST = "200-100", "800-400"
EPOCHS = {"smoke": 1, "quick": 6, "full": 70}
TRAIN_IMAGES = {"smoke": 500, "quick": 10_000, "full": 60_000}
TEST_IMAGES = {"smoke": 1000, "quick": 10_000, "full": 10_000}


@dataclass(frozen=True, kw_only=True)
class Setting(ImageSetting):
    """One network with two hidden layers."""

    hidden: str

    @property
    def name(self) -> str:
        """Widths of its hidden layers."""
        return self.hidden

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"hidden": self.hidden}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return self.seconds()


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's ten networks."""
    train_images, test_images = image_counts(plan, TRAIN_IMAGES, TEST_IMAGES)
    return tuple(
        Setting(
            hidden="-".join(map(str, hidden)),
            widths=(plan.features, *hidden, plan.classes),
            epochs=EPOCHS[plan.scale],
            train_images=train_images,
            test_images=test_images,
            batch_size=min(50, train_images),
        )
        for hidden in HIDDEN
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed, and evaluate it on all images at the end."""
    samples = load_samples(context, setting.train_images, setting.test_images)
    training = start_training(
        context,
        setting,
        samples["train"],
        inits=[Stream(context.root_seed, NAME, setting.name, seed, "init") for seed in seeds],
        orders=[Stream(context.root_seed, NAME, "", seed, "order") for seed in seeds],  # shared by networks
    )
    train(training, setting.epochs, context.progress)
    measured = evaluate(evaluators(training.population, samples)) | size_and_divergence(training)
    return xr.Dataset({name: ("seed", values) for name, values in measured.items()}, coords={"seed": list(seeds)})


DEFINITIONS = {
    "Parameters": "weights and biases of all layers.",
    "Loss": LOSS_DEFINITION,
    "Accuracy": ACCURACY_DEFINITION,
    "Gap": "training minus test accuracy.",
    "Rank correlation": "Spearman's, over the ten networks of one seed.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


ALL = (Need("hidden", labels=tuple("-".join(map(str, hidden)) for hidden in HIDDEN)),)


def _correlation(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """Rank correlation with the number of parameters, of seeds in which all networks have a value [images, seed]."""
    return rank_correlation(both_splits(results, quantity), results.parameters, "hidden", skipna=False)


def _final(results: xr.Dataset, hidden: str) -> xr.DataArray:
    return results.test_accuracy.sel(hidden=hidden, drop=True)


def _are_as_large_as_claimed(results: xr.Dataset) -> xr.DataArray:
    """Whether one network has about 200,000 parameters and the other many more, as for images of 28 x 28."""
    sizes = results.parameters
    enough = sizes.sel(hidden=ENOUGH, drop=True)
    return (enough > 100_000) & (enough < 300_000) & (sizes.sel(hidden=MOST, drop=True) > 300_000)


CLAIMS = (
    Claim(
        "C17",
        "The more parameters, the better accuracy and loss.",
        (
            Test(
                "rank correlation of accuracy with the number of parameters",
                lambda r: _correlation(r, "accuracy"),
                low=0,
                limits=CORRELATION,
            ),
            Test(
                "rank correlation of loss with the number of parameters",
                lambda r: _correlation(r, "loss"),
                high=0,
                limits=CORRELATION,
            ),
        ),
        reading="over all ten sizes together: what the smallest gain can carry it, and the largest may be worse than "
        "those in between. The table has every size.",
        needs=ALL,
    ),
    Claim(
        "C18",
        "There is little gain past about 200,000 parameters.",
        (
            Test(
                f"test accuracy of {MOST} minus that of {ENOUGH}",
                lambda r: (_final(r, MOST) - _final(r, ENOUGH)).where(_are_as_large_as_claimed(r)),
                low=-0.005,
                high=0.005,
            ),
        ),
        reading="“little gain” means a difference of less than half a point, either way.",
    ),
    Claim(
        "C19",
        "The gap between training and test accuracy never closes.",
        (Test("training minus test accuracy", lambda r: r.train_accuracy - r.test_accuracy, low=0),),
        needs=ALL,
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Loss and accuracy against the number of parameters."""
    n, data = results.sizes["seed"], results.attrs["dataset"]
    return (
        Figure(
            "figure-13",
            f"Figure 13. Loss against the number of parameters, {data}",
            f"Final cross entropy of ten networks with two hidden layers: geometric mean over n = {n} seeds with its "
            "95 % interval (t on the logarithm), and every seed as a dot. Look at where the test loss stops falling, "
            "and how far the training loss goes below it.",
            "Line chart of final training and test loss against the number of parameters, both axes logarithmic.",
            lambda: _draw(results, "loss"),
        ),
        Figure(
            "figure-14",
            f"Figure 14. Accuracy against the number of parameters, {data}",
            f"Final accuracy of the same networks: mean over n = {n} seeds with its 95 % interval (t), and every seed "
            "as a dot. Look at the gap between the curves, and at how little is gained on the right.",
            "Line chart of final training and test accuracy against the number of parameters, logarithmic axis.",
            lambda: _draw(results, "accuracy"),
        ),
    )


def _draw(results: xr.Dataset, quantity: str) -> MatplotlibFigure:
    log = quantity == "loss"
    parameters = results.parameters.max("seed").values
    figure = new_figure()
    axes = figure.subplots()
    for split, (label, colour, line) in SPLIT_STYLES.items():
        values = results[f"{split}_{quantity}"].transpose("seed", "hidden").values
        draw_band(
            axes,
            parameters,
            values,
            label=label,
            colour=colour,
            line=line,
            log=log,
            share=not log,
            markers=True,
            seeds=True,
        )
    frame(axes, both_splits(results, quantity), log=log)
    axes.set(
        xscale="log",
        xlabel="parameters",
        ylabel="cross entropy (nat)" if log else "accuracy",
        title=f"{results.attrs['dataset']}, two hidden layers",
    )
    axes.set_xlim(np.nanmin(parameters) / 1.3, np.nanmax(parameters) * 1.3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if log:
        log_scale(axes)
    else:
        percent_scale(axes)
    axes.legend()
    return figure


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Numbers behind the figures, one row per network."""
    rows = tuple(
        (
            hidden,
            count_text(one.parameters),
            *interval_cells(one, "train_loss", "test_loss", "train_accuracy", "test_accuracy"),
            str(mean_interval(one.train_accuracy - one.test_accuracy)),
        )
        for hidden in results.hidden.values.tolist()
        for one in [results.sel(hidden=hidden)]
    )
    header = (
        *("hidden layers", "parameters", "training loss", "test loss"),
        *("training accuracy", "test accuracy", "gap"),
    )
    caption = f"Final values: mean over n = {results.sizes['seed']} seeds with 95 % interval (losses: geometric mean)"
    return (Table(caption, header, rows),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E7. Parameter count",
    question="Do networks with more parameters than they need generalise worse?",
    uses_images=True,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)

"""E7. Generalization: loss and accuracy against the number of parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import xarray as xr

from whydeep.claims import Need, Selection, Test, rank_correlation
from whydeep.course import image_training as images
from whydeep.course.optimization import training_design
from whydeep.course.text import reported
from whydeep.report.charts import PARAMETERS, Column, Lines, Rows
from whydeep.study import Each, Plan, Run, Scaled, dimension
from whydeep.variables import CORRELATION

HIDDEN = (  # for images of 28 x 28 in ten classes: 1,645 to 952,410 parameters
    *((2, 5), (4, 8), (10, 20), (20, 30), (50, 25)),
    *((100, 50), (200, 100), (400, 200), (600, 300), (800, 400)),
)
ENOUGH, MOST = "200-100", "800-400"

DESIGN = training_design(
    hidden=Each(*HIDDEN),
    epochs=Scaled(1, 6, 70),
    train_images=Scaled(500, 10_000, 60_000),
    test_images=Scaled(1000, 10_000, 10_000),
    batch_size=50,
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """One network, named by the widths of its hidden layers."""

    hidden: str = dimension()


def settings(plan: Plan) -> Iterator[Setting]:
    """The course report's ten networks."""
    for values in images.image_settings(plan):
        yield Setting(hidden="-".join(map(str, values["widths"][1:-1])), **values)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed, and evaluate it on all images at the end."""
    samples = images.load_samples(setting, run)
    training = images.start_training(setting, run, samples["train"])
    images.train(training, setting.epochs, run)
    return run.dataset(images.final_values(training, samples))


def _correlation(results: xr.Dataset, quantity: str) -> xr.DataArray:
    """Rank correlation with the number of parameters, of seeds in which all networks have a value [images, seed]."""
    return rank_correlation(images.both_splits(results, quantity), results.parameters, "hidden", skipna=False)


def _gap(results: xr.Dataset) -> xr.DataArray:
    return results.train_accuracy - results.test_accuracy


REFERENCE = images.trained_for(70, batch_size=50)
ALL_SIZES = (Need("hidden", labels=tuple("-".join(map(str, hidden)) for hidden in HIDDEN)), *REFERENCE)

GAIN = Selection("test_accuracy", at={"hidden": MOST}, minus={"hidden": ENOUGH})
CORRELATED = "rank correlation with the number of parameters"

CLAIMS = (
    reported(
        "C17. The more parameters, the better accuracy and loss.",
        Test(f"{CORRELATED}, accuracy", partial(_correlation, quantity="accuracy"), low=0, limits=CORRELATION),
        Test(f"{CORRELATED}, loss", partial(_correlation, quantity="loss"), high=0, limits=CORRELATION),
        reading="over all ten sizes together: what the smallest gain can carry it, and the largest may be worse than "
        "those in between. The table has every size.",
        needs=ALL_SIZES,
    ),
    reported(
        "C18. There is little gain past about 200,000 parameters.",
        Test(f"test accuracy of {MOST} minus that of {ENOUGH}", GAIN, low=-0.005, high=0.005),
        reading="“little gain” means a difference of less than half a point, either way.",
        needs=(
            Need("hidden", labels=(ENOUGH, MOST)),
            Need("parameters", least=100_000, most=300_000, where={"hidden": ENOUGH}),
            Need("parameters", least=300_000, where={"hidden": MOST}),
            *REFERENCE,
        ),
    ),
    reported(
        "C19. The gap between training and test accuracy never closes.",
        Test("training minus test accuracy", _gap, low=0),
        needs=ALL_SIZES,
    ),
)


def _against_parameters(number: int, quantity: str, look: str) -> Lines:
    return Lines(
        f"figure-{number}",
        f"Figure {number}. {quantity.capitalize()} against the number of parameters, {{dataset}}",
        shows=f"Final {quantity} of {{number_of_hidden}} networks with two hidden layers",
        look=f"Look at {look}",
        x="parameters",
        log_x=True,
        seeds="dots",
        panels=images.both_splits_panel(quantity, title="{dataset}, two hidden layers"),
    )


EXPERIMENT = images.image_experiment(
    "parameter-count",
    "Do networks with more parameters than they need generalise worse?",
    settings,
    measure,
    design=DESIGN,
    title="E7. Parameter count",
    variables=images.VARIABLES,
    terms="Parameters, Loss, Accuracy, Gap, Rank correlation",
    claims=CLAIMS,
    figures=(
        _against_parameters(
            13, "loss", "how both losses change with the number of parameters, and at the distance between them."
        ),
        _against_parameters(
            14, "accuracy", "how both accuracies change with the number of parameters, and at the gap between them."
        ),
    ),
    tables=(Rows("Final values", "hidden", (PARAMETERS, *images.FINAL_VALUES, Column("gap", _gap))),),
)

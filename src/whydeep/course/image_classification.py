"""E2. Deep against shallow: classifying images with the same number of parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from whydeep.claims import Need, Selection, Test
from whydeep.course import image_training as images
from whydeep.course.optimization import training_design
from whydeep.course.styles import NETWORK_COLOURS, NETWORK_LINES
from whydeep.course.text import derived, reported
from whydeep.errors import SettingError
from whydeep.networks import parameter_count, widths_for_budget
from whydeep.report.charts import PARAMETERS, Column, Curve, Lines, Panel, Rows
from whydeep.study import Each, Field, Plan, Run, Scaled, dimension
from whydeep.study.design import read_widths
from whydeep.variables import SHARE

HIDDEN = {"shallow": (30,), "medium": (25, 60, 38), "deep": (20, 40, 60, 50, 30)}
INPUTS, CLASSES = 784, 10
BUDGET = parameter_count((INPUTS, *HIDDEN["shallow"], CLASSES))  # about the same for all three
LAST_EPOCHS = 10

DESIGN = training_design(
    network=Each(*HIDDEN),
    budget=Field(BUDGET, least=100),
    epochs=Scaled(2, 20, 80),
    train_images=Scaled(2000, 60_000, 60_000),
    test_images=Scaled(1000, 10_000, 10_000),
    batch_size=50,
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """One network on one data set."""

    network: str = dimension()
    evaluations: ClassVar[int] = 1


def settings(plan: Plan) -> Iterator[Setting]:
    """The three networks of the course report; for other images or another budget three of as many hidden layers.

    A network can also be given by the widths of its hidden layers, such as 100-50: these are taken as they are.

    Raises:
        SettingError: a network that is neither, or a budget that cannot be met.
    """
    assert plan.images is not None
    for values in images.image_settings(plan):
        budget = values.pop("budget")
        hidden = HIDDEN.get(values["network"]) or read_widths(values["network"])
        if hidden is None:
            raise SettingError(f"network {values['network']!r}: give {', '.join(HIDDEN)}, or widths such as 100-50")
        widths = (plan.images.features, *hidden, plan.images.classes)
        as_given = (plan.images.features, plan.images.classes) == (INPUTS, CLASSES) and "budget" not in plan.changed
        if values["network"] in HIDDEN and not as_given:
            if "budget" not in plan.changed:  # enough for images of any size
                budget = max(budget, 20 * parameter_count((widths[0], *(1,) * len(hidden), widths[-1])))
            widths = widths_for_budget(len(hidden), widths[0], widths[-1], budget)
        yield Setting(widths=widths, **values)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed; after every epoch, evaluate on all training and test images."""
    samples = images.load_samples(setting, run)
    training = images.start_training(setting, run, samples["train"])
    return images.train_and_evaluate(training, setting, run, images.evaluators(training.population, samples))


def _last_epochs(results: xr.Dataset) -> xr.Dataset:
    """Statistics of the last epochs [network, seed]; a line through the logarithm of the loss needs three."""
    last = results.isel(epoch=slice(-LAST_EPOCHS, None))
    number = last.sizes["epoch"]
    logs = xr.apply_ufunc(np.log, last.train_loss.where(number > 2))
    epochs = logs.epoch - logs.epoch.mean()
    slope = images.slope(logs)
    residuals = logs - logs.mean("epoch", skipna=False) - slope * epochs
    return xr.Dataset(
        {
            "change": xr.apply_ufunc(np.expm1, slope * number),
            "spread": residuals.std("epoch", skipna=False),
            "accuracy": last.test_accuracy.mean("epoch", skipna=False),
            "gap": (last.train_accuracy - last.test_accuracy).mean("epoch", skipna=False),
        }
    )


CHANGE, SPREAD, ACCURACY, GAP = (derived(_last_epochs, name) for name in ("change", "spread", "accuracy", "gap"))


def _lead_of_medium(results: xr.Dataset) -> xr.DataArray:
    accuracy = ACCURACY(results)
    return accuracy.sel(network="medium", drop=True) - accuracy.sel(network=["shallow", "deep"])


NEEDS = (
    Need("network", labels=tuple(HIDDEN)),
    Need("parameters", least=20_000, most=30_000),
    *images.trained_for(80, batch_size=50),
)

CLAIMS = (
    reported(
        "C6. Training has converged after about 80 epochs; noise remains.",
        Test("relative change of the training loss over the last epochs", CHANGE, low=-0.1, high=0.1),
        Test("spread of the logarithm of the training loss over the last epochs", SPREAD, low=0.01),
        needs=NEEDS,
    ),
    reported(
        "C7. Training accuracy is above test accuracy for all three networks.",
        Test("training minus test accuracy, mean over the last epochs", GAP, low=0),
        needs=NEEDS,
    ),
    reported(
        "C8. The medium network is best on test images.",
        Test("test accuracy of medium minus that of each other, mean over the last epochs", _lead_of_medium, low=0),
        needs=NEEDS,
    ),
    reported(
        "C9. 99 % on training images, a plateau of 95-96 % on test images.",
        Test("final training accuracy", Selection("train_accuracy", at={"epoch": "last"}), low=0.99),
        Test("test accuracy, mean over the last epochs", ACCURACY, low=0.95, high=0.97, limits=SHARE),
        reading="“99 %” means more than 99 % after the last epoch, “95-96 %” from 95 up to 97 % in the mean of the "
        "last epochs. That the curve is flat is not tested.",
        needs=NEEDS,
    ),
)

STYLE: dict[str, Any] = {"colour": NETWORK_COLOURS, "line": NETWORK_LINES}


LAST_ACCURACY = Column("test accuracy, last epochs", "last_accuracy", limits=SHARE)

EXPERIMENT = images.image_experiment(
    "image-classification",
    "Does a deep network classify images better than a shallow one with as many parameters?",
    settings,
    measure,
    design=DESIGN,
    title="E2. Image classification",
    variables=images.VARIABLES,
    terms="Loss, Accuracy, Last epochs, Relative change",
    numbers={"last_epochs": LAST_EPOCHS},
    claims=CLAIMS,
    figures=(
        Lines(
            "figure-05",
            "Figure 5. Learning curves, {dataset}",
            shows="Cross entropy on all training images after each epoch",
            look="Look at the slopes of the curves at the end, and at the order of the networks.",
            x="epoch",
            panels=Panel(
                (Curve("train_loss", each="network", parameters=True, **STYLE),),
                "{dataset}",
                "training loss (cross entropy, nat)",
            ),
        ),
        images.accuracy_lines(
            "figure-06",
            "Figure 6. Accuracy on training and test images, {dataset}",
            shows="Accuracy after each epoch",
            look="Look at the distance between the panels, and at the order of the networks on the right.",
            panels=images.accuracy_panels("network", **STYLE),
        ),
    ),
    tables=(
        Rows(
            "After {epochs} epochs",
            "network",
            (PARAMETERS, *images.FINAL_VALUES, LAST_ACCURACY),
            select=lambda results: results.isel(epoch=-1).assign(last_accuracy=ACCURACY(results)),
        ),
    ),
)

"""E6. Generalization: what a network learns from labels that mean nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from whydeep.claims import Need, Test
from whydeep.course import image_training as images
from whydeep.course.optimization import AS_IN_THE_REPORT, training_design
from whydeep.course.text import reported
from whydeep.data import noisy_labels
from whydeep.population import Samples
from whydeep.report.charts import PARAMETERS, Column, Curve, Guide, Lines, Panel, Rows
from whydeep.report.style import BLUE, ORANGE, VERMILION
from whydeep.study import Each, Field, Plan, Run, Scaled, dimension
from whydeep.variables import SHARE, Variable, read_settings

SMALL, REDRAWN, WIDE = "small network", "labels redrawn", "wide network"
PREFIXES = {SMALL: "", REDRAWN: "redrawn_", WIDE: "wide_"}  # of fields that a training has for itself
MANY_FEATURES = 400
"""Of fewer features the wide network learns labels by heart more slowly, and is given as many times more epochs."""
FITTED, STILL_LEARNING = 0.99, 0.005
"""An accuracy at which labels are learnt, and a rise in the last tenth of the epochs of a network that still learns."""

DESIGN = training_design(
    training=Field(Each(*PREFIXES), choices=tuple(PREFIXES)),
    hidden=(10, 15),  # for images of 28 x 28 in ten classes: 8,175 parameters
    epochs=Scaled(4, 25, 400),
    train_images=Scaled(1000, 60_000, 60_000),
    test_images=Scaled(1000, 10_000, 10_000),
    redrawn_epochs=Scaled(2, 8, 50),
    wide_hidden=(512,),  # 407,050 parameters, several hundred for every image that it learns
    wide_epochs=Scaled(4, 60, 100),
    wide_train_images=Scaled(200, 1000, 2000),
    wide_test_images=Scaled(100, 1000, 2000),
    batch_size=50,
    noise=Field(1.0, least=0, most=1),
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """One network on images whose labels are random classes; `noise` is the share of labels that are replaced."""

    training: str = dimension()
    labels: str  # drawn "once", or for "every epoch"
    noise: float = 1.0
    evaluations: ClassVar[int] = 1


def settings(plan: Plan) -> Iterator[Setting]:
    """The course report's network, the same one with labels redrawn, and one that is large enough."""
    for fields in images.image_settings(plan, prefixes=("training", PREFIXES)):
        if fields["training"] == WIDE and "wide_epochs" not in plan.changed:
            fields["epochs"] = round(fields["epochs"] * max(1, MANY_FEATURES / fields["widths"][0]))
        yield Setting(labels="every epoch" if fields["training"] == REDRAWN else "once", **fields)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed on its own random labels; after every epoch, evaluate on them and on test images."""
    samples = images.load_samples(setting, run)
    streams, classes = run.streams("labels", shared=True), setting.widths[-1]

    def draw(split: str, part: int) -> Samples:
        """Images whose labels have noise, for each seed its own."""
        inputs, labels = samples[split].inputs, samples[split].targets
        noisy = [noisy_labels(labels, classes, setting.noise, stream.numpy(part)) for stream in streams]
        return Samples(inputs, torch.stack(noisy), own_targets=True)

    inits = run.streams("init", name=str(setting.widths))  # the same with labels redrawn
    training = images.start_training(setting, run, draw("train", 0), inits=inits)
    splits = {"train": training.samples, "test": samples["test"], "random_test": draw("test", 1)}
    evaluated = images.evaluators(training.population, splits)

    def redraw(epoch: int) -> None:
        if setting.labels == "every epoch":
            training.relabel(draw("train", 1 + epoch).targets)
            evaluated.update(images.evaluators(training.population, {"train": training.samples}))

    number = np.full(len(streams), float(classes))
    return images.train_and_evaluate(training, setting, run, evaluated, redraw, classes=number)


VARIABLES = images.VARIABLES | {
    "train_loss": Variable("cross entropy on all training images with the labels of the epoch", "nat", log=True),
    "train_accuracy": Variable("share of training images whose largest output is at the epoch's label", limits=SHARE),
    "random_test_loss": Variable("cross entropy on all test images with random labels", "nat", log=True),
    "random_test_accuracy": Variable("share of test images whose largest output is at a random label", limits=SHARE),
    "classes": Variable("number of classes"),
}


def _select(results: xr.Dataset, training: str = SMALL) -> xr.Dataset:
    """One training with the epochs that it has; others may have more."""
    settings = read_settings(results)
    epochs = next(setting["epochs"] for setting in settings if setting["training"] == training)
    return results.sel(training=training, epoch=slice(None, epochs), drop=True)


def _at_the_end(results: xr.Dataset) -> xr.Dataset:
    """Every training after its last epoch."""
    ends = [_select(results, training).isel(epoch=-1) for training in results.training.values]
    return xr.concat(ends, dim=results.training)


def _below_guessing(results: xr.Dataset) -> xr.DataArray:
    end = _select(results).isel(epoch=-1, drop=True)
    return end.train_loss - np.log(end.classes)


def _slope(results: xr.Dataset) -> xr.DataArray:
    """Change of the small network's training loss in a hundred epochs, over the second half."""
    loss = _select(results).train_loss
    half = loss.isel(epoch=slice(loss.sizes["epoch"] // 2, None))
    return 100 * images.slope(half)


def _rise(results: xr.Dataset) -> xr.DataArray:
    """Rise of the small network's test loss with true and with random labels since the first epoch [labels, seed]."""
    losses = _select(results)[["test_loss", "random_test_loss"]]
    rise = losses.isel(epoch=-1, drop=True) - losses.isel(epoch=0, drop=True)
    return rise.to_dataarray("labels").assign_coords(labels=["true labels", "random labels"])


def _fitted(results: xr.Dataset) -> xr.DataArray:
    """Final training accuracy of the trainings whose labels were drawn once [training, seed].

    Not-a-number for a network that still learns: how much it can fit is not known.
    """
    fitted = {}
    for training in (SMALL, WIDE):
        accuracy = _select(results, training).train_accuracy
        before = accuracy.shift(epoch=max(1, accuracy.sizes["epoch"] // 10))
        learnt = (accuracy >= FITTED) | (accuracy - before <= STILL_LEARNING)
        fitted[training] = accuracy.where(learnt).isel(epoch=-1, drop=True)
    return xr.Dataset(fitted).to_dataarray("training")


SMALL_NETWORK = images.trained_for(400, hidden=(10, 15), batch_size=50, training=SMALL)
LONG = Need("training", labels=(SMALL,)), *SMALL_NETWORK, Need("noise", equals=1)
ALL_RANDOM = Need("noise", equals=1), Need("batch_size", equals=50), *AS_IN_THE_REPORT
wide = partial(Need, where={"training": WIDE})
WIDE_ENOUGH = wide("train_images", least=1000), wide("parameters", least=20_000)

CLAIMS = (
    reported(
        "C14. The training loss on random labels gets low.",
        Test("final training loss minus that of guessing, ln(classes)", _below_guessing, high=0),
        Test("slope of the training loss over the second half, per 100 epochs", _slope, high=0),
        reading="“low” means below the loss of guessing, however little, and still falling in the second half.",
        needs=LONG,
    ),
    reported(
        "C15. The test loss rises while the network trains.",
        Test("test loss, final minus after the first epoch", _rise, low=0),
        needs=LONG,
    ),
    reported(
        "C16. Networks do not fit arbitrary labels.",
        Test("accuracy on labels drawn once, of networks that no longer learn", _fitted, high=FITTED, limits=SHARE),
        reading=f"“fit” means a training accuracy of {FITTED:.0%}. One network that fits contradicts the claim: the "
        "small one of the course report, or the wide one, of which Zhang et al. (2017) make us expect it. That a "
        "network which still learns decides nothing was added after results at quick scale had been seen.",
        needs=(Need("training", labels=(SMALL, WIDE)), *WIDE_ENOUGH, *ALL_RANDOM),
    ),
)

LOSSES = (
    Curve("train_loss", "training images, random labels", at={"training": SMALL}, colour=BLUE),
    Curve("test_loss", "test images, true labels", at={"training": SMALL}, colour=VERMILION),
    Curve("random_test_loss", "test images, random labels", at={"training": SMALL}, colour=ORANGE),
)
GUESSED_LOSS = Guide(lambda results: float(np.log(results.classes.max())), "guessing")
GUESSED_ACCURACY = Guide(lambda results: 1 / float(results.classes.max()), "guessing")
LABELS = "training images, labels trained on", "test images, true labels"

EXPERIMENT = images.image_experiment(
    "random-labels",
    "Can a network learn labels that have nothing to do with the images?",
    settings,
    measure,
    design=DESIGN,
    title="E6. Random labels",
    variables=VARIABLES,
    terms="Random labels, Labels redrawn, Loss, Training accuracy, No longer learn, Slope, Guessing",
    numbers={"fitted": FITTED, "still_learning": STILL_LEARNING},
    claims=CLAIMS,
    figures=(
        Lines(
            "figure-12",
            "Figure 12. Loss on random labels, {dataset}",
            shows="Cross entropy after each epoch; dashed, with equal probabilities for all classes",
            look="Look at the side of the dashed line on which each loss is at the end.",
            x="epoch",
            panels=Panel(LOSSES, "{dataset}, random labels", images.Y_LABELS["loss"], (GUESSED_LOSS,), log_y=False),
        ),
        images.accuracy_lines(
            "random-labels-fitted",
            "Accuracy on labels that were trained on and on true ones, {dataset}",
            shows="Accuracy after each epoch; dashed, that of guessing",
            look="Look at where the curves are, compared with the dashed line; trainings differ in their images.",
            x_label="epoch (logarithmic)",
            log_x=True,  # trainings are of very different length
            panels=images.accuracy_panels("training", titles=LABELS, guides=(GUESSED_ACCURACY,), y_limits=(0, 1.02)),
        ),
    ),
    tables=(
        Rows(
            "After the last epoch",
            "training",
            (PARAMETERS, Column("epochs", "epoch", count=True), *images.FINAL_VALUES, "random_test_loss"),
            select=_at_the_end,
            note="training with the labels trained on; test with true labels, where nothing else is said",
        ),
    ),
)

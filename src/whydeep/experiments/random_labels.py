"""E6. Generalization: what a network learns from labels that mean nothing."""

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from whydeep.claims import Claim, Test
from whydeep.data import noisy_labels
from whydeep.experiments import image_training
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table
from whydeep.experiments.image_training import (
    LOSS_DEFINITION,
    ImageSetting,
    evaluate,
    evaluators,
    image_counts,
    interval_cells,
    load_samples,
    start_training,
)
from whydeep.experiments.results import count_text, size_and_divergence
from whydeep.population import Samples, Stream
from whydeep.report.style import (
    BLUE,
    GREEN,
    GREY,
    LINE_STYLES,
    ORANGE,
    VERMILION,
    LineStyle,
    draw_band,
    frame,
    new_figure,
    percent_scale,
)
from whydeep.runs import Context
from whydeep.variables import SHARE, Variable

NAME = "random-labels"

# ---------------------------------------------------------------------------------------------------------
# Design

REPORTED_HIDDEN = (10, 15)  # 784-10-15-10: 8,175 parameters
WIDE_HIDDEN = (512,)  # on images of 28 x 28: 407,050 parameters, several hundred for every image that it learns
MANY_FEATURES = 400
"""Of fewer features the wide network learns labels by heart more slowly, and is given as many times more epochs."""
FITTED = 0.99
STILL_LEARNING = 0.005
"""A network whose accuracy rose by more than half a point in the last tenth of its epochs has not learnt all it can."""
SMALL, REDRAWN, WIDE = "small network", "labels redrawn", "wide network"
EPOCHS = {
    SMALL: {"smoke": 4, "quick": 25, "full": 400},
    REDRAWN: {"smoke": 2, "quick": 8, "full": 50},
    WIDE: {"smoke": 4, "quick": 60, "full": 100},
}
TRAIN_IMAGES = {"smoke": 1000, "quick": 60_000, "full": 60_000}
WIDE_IMAGES = {"smoke": 200, "quick": 1000, "full": 2000}
TEST_IMAGES = {"smoke": 1000, "quick": 10_000, "full": 10_000}
WIDE_TEST_IMAGES = {"smoke": 100, "quick": 1000, "full": 2000}


@dataclass(frozen=True, kw_only=True)
class Setting(ImageSetting):
    """One network on images whose labels are random classes."""

    training: str
    labels: str  # drawn "once", or for "every epoch"

    @property
    def name(self) -> str:
        """Which of the three trainings it is."""
        return self.training

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"training": self.training}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return self.seconds(evaluated_images=self.train_images + 2 * self.test_images)


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's network, the same one on labels that never stay, and one that is large enough."""
    train_images, test_images = image_counts(plan, TRAIN_IMAGES, TEST_IMAGES)
    few_images, few_test_images = image_counts(plan, WIDE_IMAGES, WIDE_TEST_IMAGES)
    return tuple(
        Setting(
            training=training,
            widths=(plan.features, *hidden, plan.classes),
            labels=labels,
            epochs=round(EPOCHS[training][plan.scale] * more),
            train_images=images,
            test_images=tested,
            batch_size=min(50, images),
        )
        for training, hidden, labels, images, tested, more in (
            (SMALL, REPORTED_HIDDEN, "once", train_images, test_images, 1),
            (REDRAWN, REPORTED_HIDDEN, "every epoch", train_images, test_images, 1),
            (WIDE, WIDE_HIDDEN, "once", few_images, few_test_images, max(1, MANY_FEATURES / max(1, plan.features))),
        )
    )


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train one network per seed on its own random labels; after every epoch, evaluate on them and on test images."""
    samples = load_samples(context, setting.train_images, setting.test_images)
    classes = setting.widths[-1]
    streams = [Stream(context.root_seed, NAME, "", seed, "labels") for seed in seeds]

    def draw(labels: Tensor, part: int) -> Tensor:
        """All labels replaced, for each seed [seed, sample]."""
        return torch.stack([noisy_labels(labels, classes, 1.0, stream.numpy(part)) for stream in streams])

    inputs, truth = samples["train"].inputs, samples["train"].targets
    train = Samples(inputs, draw(truth, 0), own_targets=True)
    test, random_test = samples["test"], draw(samples["test"].targets, 1)
    training = start_training(
        context,
        setting,
        train,
        inits=[Stream(context.root_seed, NAME, str(setting.widths), seed, "init") for seed in seeds],
        orders=[Stream(context.root_seed, NAME, "", seed, "order") for seed in seeds],
    )
    tests = {"test": test, "random_test": Samples(test.inputs, random_test, own_targets=True)}
    whole_sets = evaluators(training.population, {"train": training.samples, **tests})
    measured: dict[str, list[np.ndarray]] = defaultdict(list)
    for epoch in range(1, setting.epochs + 1):
        if setting.labels == "every epoch":
            training.relabel(draw(truth, 1 + epoch))
            whole_sets |= evaluators(training.population, {"train": training.samples})
        training.run_epoch()
        for name, values in evaluate(whole_sets).items():
            measured[name].append(values)
        context.progress(epoch / setting.epochs)
    per_seed = size_and_divergence(training) | {"classes": np.full(len(seeds), float(classes))}
    return xr.Dataset(
        {name: (("seed", "epoch"), np.stack(values, axis=1)) for name, values in measured.items()}
        | {name: ("seed", values) for name, values in per_seed.items()},
        coords={"seed": list(seeds), "epoch": np.arange(1, setting.epochs + 1)},
    )


VARIABLES = image_training.VARIABLES | {
    "train_loss": Variable("cross entropy on all training images with the labels of the epoch", "nat"),
    "train_accuracy": Variable("share of training images whose largest output is at the label of the epoch"),
    "random_test_loss": Variable("cross entropy on all test images with random labels", "nat"),
    "random_test_accuracy": Variable("share of test images whose largest output is at a random label"),
    "classes": Variable("number of classes"),
}

DEFINITIONS = {
    "Random labels": "every training label is replaced by a uniformly random class, once, before training; each seed "
    "draws its own. Some labels are right by chance, one in as many as there are classes.",
    "Labels redrawn": "the control: all labels are drawn again for every epoch, so that every batch has new ones. "
    "Training loss and accuracy are those with the labels of the epoch that has just ended.",
    "Loss": LOSS_DEFINITION + " On test images: once with their true labels, once with random ones.",
    "Training accuracy": "share of training images whose largest output is at the label that was trained on, however "
    "wrong that label is.",
    "No longer learn": f"a training accuracy of {FITTED:.0%} or more, or a rise of at most {STILL_LEARNING:.1%} in "
    "the last tenth of the epochs.",
    "Slope": "of a straight line through the training loss after each epoch, over the second half of the epochs.",
    "Guessing": "a loss of ln(number of classes), an accuracy of 1 / number of classes.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _of(results: xr.Dataset, training: str) -> xr.Dataset:
    """One training with the epochs that it has; others may have more."""
    settings = {one["training"]: one for one in json.loads(results.attrs["settings"])}
    return results.sel(training=training, drop=True).sel(epoch=slice(None, settings[training]["epochs"]))


def _small(results: xr.Dataset) -> xr.Dataset:
    return _of(results, SMALL)


def _final(values: xr.DataArray) -> xr.DataArray:
    return values.isel(epoch=-1, drop=True)


def _fitted(results: xr.Dataset) -> xr.DataArray:
    """Final training accuracy of the trainings whose labels were drawn once [training, seed].

    Not-a-number for a network that still learns: how much it can fit is not known.
    """
    names = [SMALL, WIDE]

    def reached(accuracy: xr.DataArray) -> xr.DataArray:
        before = accuracy.isel(epoch=-1 - max(1, accuracy.sizes["epoch"] // 10), drop=True)
        final = _final(accuracy)
        return final.where((final >= FITTED) | ~(final - before > STILL_LEARNING))

    return xr.concat(
        [reached(_of(results, name).train_accuracy) for name in names],
        dim=xr.DataArray(names, dims="training", name="training"),
    )


def _slope(loss: xr.DataArray) -> xr.DataArray:
    """Change of the loss [seed, epoch] in a hundred epochs, over the second half."""
    half = loss.isel(epoch=slice(loss.sizes["epoch"] // 2, None))
    epochs = half.epoch - half.epoch.mean()
    return 100 * (half * epochs).sum("epoch", skipna=False) / (epochs**2).sum()


def _test_losses(results: xr.Dataset) -> xr.DataArray:
    """Test loss of the reported network with true and with random labels [labels, seed, epoch]."""
    one = _small(results)
    return xr.concat(
        [one.test_loss, one.random_test_loss],
        dim=xr.DataArray(["true labels", "random labels"], dims="labels", name="labels"),
    )


CLAIMS = (
    Claim(
        "C14",
        "The training loss on random labels gets low.",
        (
            Test(
                "final training loss minus that of guessing, ln(classes)",
                lambda r: _final(_small(r).train_loss) - np.log(_small(r).classes),
                high=0,
            ),
            Test(
                "slope of the training loss over the second half, per 100 epochs",
                lambda r: _slope(_small(r).train_loss),
                high=0,
            ),
        ),
        reading="“low” means below the loss of guessing, however little, and still falling in the second half.",
    ),
    Claim(
        "C15",
        "The test loss rises while the network trains.",
        (
            Test(
                "test loss, final minus after the first epoch",
                lambda r: _final(_test_losses(r)) - _test_losses(r).isel(epoch=0, drop=True),
                low=0,
            ),
        ),
    ),
    Claim(
        "C16",
        "Networks do not fit arbitrary labels.",
        (
            Test(
                "final training accuracy on labels that were drawn once, of networks that no longer learn",
                _fitted,
                high=FITTED,
                limits=SHARE,
            ),
        ),
        reading=f"“fit” means a training accuracy of {FITTED:.0%}, and one network that does contradicts the claim: "
        "the small one of the course report, or the wide one that Zhang et al. (2017) make us expect it of. "
        "That a network which still learns decides nothing was added after results at quick scale had been seen.",
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """Losses of the reported network, and accuracies of all three trainings."""
    n, data = results.sizes["seed"], results.attrs["dataset"]
    band = f"mean over n = {n} seeds with its 95 % interval (t)"
    return (
        Figure(
            "figure-12",
            f"Figure 12. Loss on random labels, {data}",
            f"Cross entropy after each epoch: geometric {band[:-1]} on the logarithm). The dashed line is the loss of "
            "a network that gives every class the same probability. Look at how far the training loss falls below it, "
            "and the test losses rise above it: what is learned from such labels is learned by heart.",
            "Line chart of training loss and two test losses per epoch, with a line at the loss of guessing.",
            lambda: _draw_losses(results),
        ),
        Figure(
            "random-labels-fitted",
            f"Who can learn random labels by heart, {data}",
            f"Accuracy after each epoch: {band}. Left: on the training images, with the labels that were trained on. "
            "Look at how many labels the small network learns of all images, and the wide one of few; labels that are "
            "drawn again for every epoch are the control. Right: on test images with their true labels; the dashed "
            "line is chance.",
            "Two line charts per epoch, of training accuracy and of test accuracy, for three trainings.",
            lambda: _draw_accuracies(results),
        ),
    )


TRAININGS = {SMALL: (BLUE, LINE_STYLES[0]), REDRAWN: (VERMILION, LINE_STYLES[1]), WIDE: (GREEN, LINE_STYLES[2])}


def _draw_losses(results: xr.Dataset) -> MatplotlibFigure:
    one = _small(results)
    guessing = np.log(results.classes.max().item())
    curves = {
        "train_loss": ("training images, random labels", BLUE, LINE_STYLES[0]),
        "test_loss": ("test images, true labels", VERMILION, LINE_STYLES[1]),
        "random_test_loss": ("test images, random labels", ORANGE, LINE_STYLES[2]),
    }
    figure = new_figure()
    axes = figure.subplots()
    for variable, (label, colour, line) in curves.items():
        _draw(axes, one[variable], label, colour, line, log=True)
    axes.axhline(guessing, color=GREY, linestyle="--", linewidth=1, label="guessing")
    frame(axes, np.append(np.stack([one[variable] for variable in curves]), guessing))
    axes.set(ylabel="cross entropy (nat)", title=f"{results.attrs['dataset']}, random labels")
    axes.legend()
    return figure


def _draw(axes: Axes, values: xr.DataArray, label: str, colour: str, line: LineStyle, *, log: bool = False) -> None:
    draw_band(
        axes,
        values.epoch.values,
        values.transpose("seed", "epoch").values,
        label=label,
        colour=colour,
        line=line,
        log=log,
        share=not log,
        markers=values.sizes["epoch"] < 5,
    )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_accuracies(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(9.6, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, split in zip(panels, ("train", "test"), strict=True):
        for training, (colour, line) in TRAININGS.items():
            one = _of(results, training)
            label = f"{training} ({count_text(one.parameters)} parameters)"
            _draw(axes, one[f"{split}_accuracy"], label, colour, line)
        axes.axhline(1 / float(results.classes.max()), color=GREY, linestyle="--", linewidth=1, label="guessing")
        axes.set_title({"train": "training images, labels trained on", "test": "test images, true labels"}[split])
        percent_scale(axes)
        epochs = results.sizes["epoch"]
        axes.set(xlim=(0.9, 1.1 * epochs), xscale="log", xlabel="epoch (logarithmic)")  # of very different length
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[0].set(ylabel=f"accuracy, {results.attrs['dataset']}", ylim=(0, 1.02))
    panels[1].legend(loc="upper right")
    return figure


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Numbers behind the figures, one row per training."""
    rows = []
    for training in TRAININGS:
        one = _of(results, training)
        losses = ("train_loss", "test_loss", "random_test_loss")
        rows.append(
            (
                training,
                count_text(one.parameters),
                str(one.sizes["epoch"]),
                *interval_cells(one.isel(epoch=-1), *losses, "train_accuracy", "test_accuracy"),
            )
        )
    header = (
        *("training", "parameters", "epochs", "training loss", "test loss, true labels", "test loss, random labels"),
        *("training accuracy", "test accuracy, true labels"),
    )
    caption = (
        f"After the last epoch: mean over n = {results.sizes['seed']} seeds with 95 % interval (losses: geometric mean)"
    )
    return (Table(caption, header, tuple(rows)),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E6. Random labels",
    question="Can a network learn labels that have nothing to do with the images?",
    uses_images=True,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)

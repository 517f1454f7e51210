"""Does learning-rate warm-up change test accuracy?

whydeep run examples/warm_up.py --scale smoke
whydeep run examples/warm_up.py --set warm-up.learning_rate=0.003 --seeds 10
"""

from collections.abc import Iterator
from dataclasses import dataclass

import xarray as xr

from whydeep.claims import Claim, Need, Selection, Test
from whydeep.course import image_training as images
from whydeep.course.optimization import training_design
from whydeep.report.charts import Curve, Lines, Panel
from whydeep.study import Each, Experiment, Plan, Run, Scaled, dimension

DESIGN = training_design(
    schedule=Each("constant", "warm-up"),
    hidden=(30,),
    learning_rate=0.01,
    epochs=Scaled(smoke=2, quick=5, full=20),
    train_images=Scaled(smoke=1000, quick=10_000, full=60_000),
    test_images=Scaled(smoke=1000, quick=10_000, full=10_000),
    batch_size=50,
)


@dataclass(frozen=True, kw_only=True)
class Setting(images.ImageSetting):
    """One network, trained with one schedule of the learning rate."""

    schedule: str = dimension()


def settings(plan: Plan) -> Iterator[Setting]:
    """The same network with and without warm-up."""
    return (Setting(**values) for values in images.image_settings(plan))


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed, from weights that both schedules share; evaluate it after every epoch."""
    samples = images.load_samples(setting, run)
    training = images.start_training(setting, run, samples["train"], inits=run.streams("init", shared=True))
    return images.train_and_evaluate(training, setting, run, images.evaluators(training.population, samples))


ACCURACY = Selection("test_accuracy", at={"schedule": "warm-up", "epoch": "last"}, minus={"schedule": "constant"})

EXPERIMENT = Experiment(
    "warm-up",
    "Does learning-rate warm-up change test accuracy?",
    settings,
    measure,
    design=DESIGN,
    uses_images=True,
    variables=images.VARIABLES,
    claims=(
        Claim(
            "W1",
            "Warm-up changes the final test accuracy by less than half a point.",
            (Test("test accuracy after the last epoch, with minus without warm-up", ACCURACY, -0.005, 0.005),),
            needs=(Need("schedule", labels=("constant", "warm-up")), Need("epochs", least=5)),
        ),
    ),
    figures=(
        Lines(
            "warm-up",
            "Test accuracy with and without warm-up, {dataset}",
            shows="Accuracy on all test images after each epoch",
            look="Compare the ends of the curves.",
            x="epoch",
            panels=Panel((Curve("test_accuracy", each="schedule"),), y_label="test accuracy"),
        ),
    ),
)

"""Training on all points of a function at once: what the experiments on functions share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Self

import numpy as np
import torch
import xarray as xr

from whydeep.claims import Need
from whydeep.course.optimization import AS_IN_THE_REPORT, SIZE_AND_DIVERGENCE, TrainingSetting
from whydeep.data import sample, target_function
from whydeep.errors import SettingError
from whydeep.networks import MLP
from whydeep.population import MeanSquaredError, Population, Recorder, Samples, Stream, Training, loss, predictions
from whydeep.study import Plan, Run
from whydeep.variables import Variable

INTERVAL = (-10.0, 10.0)
END, MIDDLE = 8, 5
"""Points at the ends of the interval have |x| above the one, those in its middle up to the other."""
WINDOW, IMPROVEMENT = 500, 0.01
"""A loss has converged where its mean over so many iterations is not by this share below that of as many before."""
PARTS = 100
"""Of a training, between which it tells its progress and may be interrupted."""
SETTLED = 0.05
"""A loss has settled where it stays below this share of the target's variance."""


@dataclass(frozen=True, kw_only=True)
class FunctionSetting(TrainingSetting):
    """A network, the function that it learns, and its number of training points."""

    function: str
    points: int
    kept: ClassVar[int] = 1
    """Numbers of every iteration that are kept."""

    @property
    def disk(self) -> float:
        """Predicted bytes of the unit of one seed."""
        iterations = getattr(self, "most_iterations", getattr(self, "iterations", 0))
        return 3e4 + 4 * self.kept * iterations

    @classmethod
    def from_plan(cls, plan: Plan) -> Iterator[Self]:
        """Make the settings of a design; see `function_settings`."""
        return (cls(**values) for values in function_settings(plan))


def function_settings(plan: Plan) -> Iterator[dict[str, Any]]:
    """Go through a design: the fields of a `FunctionSetting` for each combination.

    `hidden`, the widths of the hidden layers, becomes `widths` with one input and one output.

    Raises:
        SettingError: a function that is not finite on the interval, or constant; more iterations at least than at most.
    """
    for values in plan.combinations():
        least, most = values.get("least_iterations", 0), values.get("most_iterations", inf)
        if least > most:
            if "least_iterations" in plan.changed:
                raise SettingError(f"least_iterations is {least:,}, above most_iterations, {most:,}")
            values["least_iterations"] = most
        function = target_function(values["function"])
        sample(function, INTERVAL, 10_000, np.random.default_rng(0))
        values["function"] = function.name
        if "hidden" in values:
            values["widths"] = (1, *values.pop("hidden"), 1)
        yield values


def equation(function: str) -> str:
    """Write what is learned.

    >>> equation("cos"), equation("x**2")
    ('y = cos(x)', 'y = x**2')
    """
    return f"y = {function}(x)" if function.isidentifier() and function != "x" else f"y = {function}"


def draw_points(
    function: str, points: int, generators: Sequence[np.random.Generator], *, ordered: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw x uniformly from the interval, and compute y: [seed, point] each, with x in ascending order if `ordered`."""
    drawn = [sample(target_function(function), INTERVAL, points, generator) for generator in generators]
    x, y = (np.stack(values) for values in zip(*drawn, strict=True))
    if ordered:
        order = np.argsort(x, axis=1)
        x, y = np.take_along_axis(x, order, axis=1), np.take_along_axis(y, order, axis=1)
    return x, y


def to_samples(x: np.ndarray, y: np.ndarray) -> list[Samples]:
    """Turn points [seed, point] into samples of each seed, in single precision."""
    return [Samples(_column(inputs), _column(targets)) for inputs, targets in zip(x, y, strict=True)]


def training_points(setting: FunctionSetting, run: Run) -> list[Samples]:
    """Draw the training points of each seed, which has the same x in all settings of an experiment."""
    generators = [stream.numpy() for stream in run.streams("data", shared=True)]
    return to_samples(*draw_points(setting.function, setting.points, generators))


def predict(population: Population, x: np.ndarray) -> np.ndarray:
    """Return the output of each member at its own points [member, point]."""
    outputs = [predictions(population.select([member]), _column(points)) for member, points in enumerate(x)]
    return torch.cat(outputs)[:, :, 0].double().cpu().numpy()


def _column(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1).float()


def start_training(
    setting: FunctionSetting, run: Run, samples: Samples, inits: Sequence[Stream], steps: int
) -> Training:
    """Begin to train one network per stream on the mean squared error of all points, for so many steps."""
    return Training(
        Population.initialise(lambda: MLP(setting.widths, setting.activation), inits, device=run.device),
        samples,
        objective=MeanSquaredError(),
        optimizer=setting.make_optimizer(steps),
    )


def train(
    training: Training, iterations: int, run: Run, recorders: Sequence[Recorder] = (), *, share: float = 1.0
) -> None:
    """Take iterations, which are the first share of the work."""
    for steps in run.loop(np.diff(np.linspace(0, iterations, PARTS + 1).astype(int)).tolist(), training, *recorders):
        training.run(steps, recorders)
        run.progress(share * training.step / iterations)


def train_until(
    training: Training,
    ends: Callable[[np.ndarray], bool],
    *,
    every: int,
    bounds: tuple[int, int],
    run: Run,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train until each network's own end; each keeps the parameters of its own last iteration.

    Args:
        ends: told the losses of a network so far [iteration], says whether it has come to its end.
        every: iterations after which it is asked.
        bounds: the least and the most iterations of any network.

    Returns:
        Losses [member, most iterations], not-a-number after a network's last one; its iterations, and whether it came
        to its end [member].
    """
    least, most = bounds
    recorder = Recorder(loss)
    final = training.population.flat.clone()
    stops, ended = np.zeros(len(final), dtype=int), np.zeros(len(final), dtype=bool)
    for _ in run.loop(range(0, most, every), training, recorder, final, stops, ended):
        training.run(min(every, most - training.step), [recorder])
        run.progress(training.step / most)
        losses = recorder.values.cpu().numpy()
        for member in np.flatnonzero(stops == 0):
            ended[member] = training.step >= least and ends(losses[member])
            if ended[member] or training.step == most:
                stops[member], final[member] = training.step, training.population.flat[member]
        if stops.all():
            break
    losses = recorder.values.cpu().numpy()
    training.population.flat.copy_(final)
    # Always as long as the most: the shape must not depend on which networks train together.
    padded = np.full((len(losses), most), np.nan, dtype=losses.dtype)
    padded[:, : losses.shape[1]] = losses
    padded[np.arange(most) >= stops[:, None]] = np.nan
    return padded, stops, ended


def count_diverged(values: xr.DataArray, results: xr.Dataset) -> xr.DataArray:
    """Make statistics of the only function [seed] infinite where a seed that was measured has none, as its training
    diverged: it then counts."""
    return values.where(values.notnull() | results.parameters.isnull().isel(function=0, drop=True), inf)


def trained_for(*, hidden: tuple[int, ...], **counts: int) -> tuple[Need, ...]:
    """What a claim of the course report about cos needs: its network, the same way to train, and at least so many
    iterations, points, and more by name."""
    least = (Need(name, least=count) for name, count in counts.items())
    return (Need("function", equals="cos"), *least, Need("widths", equals=(1, *hidden, 1)), *AS_IN_THE_REPORT)


VARIABLES = SIZE_AND_DIVERGENCE | {
    "loss": Variable("MSE on the training points before each iteration", log=True),
}
"""Of experiments that write down every iteration."""

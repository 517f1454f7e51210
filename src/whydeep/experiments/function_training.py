"""Training on all points of a function at once: what E3, E4 and E5 share."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from whydeep.data import sample, target_function
from whydeep.population import Recorder, Samples, Stream, Training
from whydeep.runs import Context

INTERVAL = (-10.0, 10.0)


def draw_points(experiment: str, function: str, points: int, seed: int, context: Context) -> Samples:
    """Draw the training points of a seed, uniformly from the interval; the same for all settings of an experiment."""
    generator = Stream(context.root_seed, experiment, "", seed, "data").numpy()
    x, y = (torch.from_numpy(v).unsqueeze(1) for v in sample(target_function(function), INTERVAL, points, generator))
    return Samples(x.float(), y.float())


def train(
    training: Training, iterations: int, progress: Callable[[float], None], recorders: Sequence[Recorder] = ()
) -> None:
    """Take iterations, and tell the share that is done now and then."""
    for steps in np.diff(np.linspace(0, iterations, 21).astype(int)).tolist():
        training.run(steps, recorders)
        progress(training.step / iterations)

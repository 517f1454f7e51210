"""The experiments, each in a file that reads from question to figures.

experiment             what an experiment is made of
function_fitting       E1  deep against shallow on functions of one variable   (figures 1-4)
image_classification   E2  deep against shallow on images                      (figures 5-6)
weight_trajectories    E3  paths of the weights beside random walks            (figures 7-8)
gradient_norm          E4  the norm of the gradient while the loss falls       (figures 9-10)
critical_points        E5  where the gradient vanishes, and how the loss curves  (figure 11)
random_labels          E6  labels that mean nothing, learned by heart          (figure 12)
parameter_count        E7  from 1,645 to 952,410 parameters                     (figures 13-14)
interpolation          E8  the line through two solutions                       (figure 15)
batch_size             E9  size of batches, sensitivity and sharpness           (figures 16-17)
image_training         what E2 and E6 to E9 share
function_training      what E3, E4 and E5 share
study                  runs experiments and writes what they found
"""

from whydeep.errors import SettingError, near_names
from whydeep.experiments import (
    batch_size,
    critical_points,
    function_fitting,
    gradient_norm,
    image_classification,
    interpolation,
    parameter_count,
    random_labels,
    weight_trajectories,
)
from whydeep.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        function_fitting.EXPERIMENT,
        image_classification.EXPERIMENT,
        weight_trajectories.EXPERIMENT,
        gradient_norm.EXPERIMENT,
        critical_points.EXPERIMENT,
        random_labels.EXPERIMENT,
        parameter_count.EXPERIMENT,
        interpolation.EXPERIMENT,
        batch_size.EXPERIMENT,
    )
}
"""Every experiment, in the order of the study: a new one is one line here."""


def find_experiment(name: str) -> Experiment:
    """Return the experiment with this name.

    Raises:
        SettingError: there is none; the message names those that are meant.
    """
    if name not in EXPERIMENTS:
        raise SettingError(f"no experiment is called {name!r}: {near_names(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


__all__ = ["EXPERIMENTS", "Experiment", "find_experiment"]

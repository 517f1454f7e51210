"""The experiments, each in a file that reads from question to figures.

experiment             what an experiment is made of
function_fitting       E1  deep against shallow on functions of one variable   (figures 1-4)
image_classification   E2  deep against shallow on images                      (figures 5-6)
weight_trajectories    E3  paths of the weights beside random walks            (figures 7-8)
gradient_norm          E4  the norm of the gradient while the loss falls       (figures 9-10)
critical_points        E5  where the gradient vanishes, and how the loss curves  (figure 11)
function_training      what E3, E4 and E5 share
study                  runs experiments and writes what they found
"""

from whydeep.experiments import (
    critical_points,
    function_fitting,
    gradient_norm,
    image_classification,
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
    )
}
"""Every experiment, in the order of the study: a new one is one line here."""

__all__ = ["EXPERIMENTS", "Experiment"]

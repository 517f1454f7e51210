"""The experiments, each in a file that reads from question to figures.

experiment             what an experiment is made of
function_fitting       E1  deep against shallow on functions of one variable   (figures 1-4)
image_classification   E2  deep against shallow on images                      (figures 5-6)
gradient_norm          E4  the norm of the gradient while the loss falls       (figures 9-10)
study                  runs experiments and writes what they found
"""

from whydeep.experiments import function_fitting, gradient_norm, image_classification
from whydeep.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (function_fitting.EXPERIMENT, image_classification.EXPERIMENT, gradient_norm.EXPERIMENT)
}
"""Every experiment, in the order of the study: a new one is one line here."""

__all__ = ["EXPERIMENTS", "Experiment"]

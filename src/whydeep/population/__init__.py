"""Populations: many networks of one architecture that train at once.

population   Population: M networks side by side in one flat buffer
layout       where each parameter lies in that buffer
streams      Stream: random numbers that depend on their purpose and on nothing else
samples      Samples: inputs and targets, shared or one set per member
batches      full batches, and mini batches in each member's own order
objectives   CrossEntropy, MeanSquaredError, LossFunction
optimizers   Adam, AdamW, SGD: a learning rate per member, clipping; what they do at a step is in `updates`
schedules    Constant, Step, Cosine, WarmUp: how the learning rates change; `hyperparameters` checks numbers
arguments    what Training, Evaluator and landscapes accept as data and as a loss
engines      how losses and gradients are computed:
  compiled     fully connected networks on a CPU: `kernels`, compiled by `compiler`; `network` says where parts lie
  stacked      fully connected networks in tensors; `layers`, and inputs from `feed`
  modules      any nn.Module: vectorised over members, or one by one
trial        what a network and a loss must be, tried on some samples
training     Training: the loop, checkpoints, divergence; `denormals` keeps it fast
recorders    what is written down per step
evaluation   Evaluator: loss and accuracy on a whole data set
"""

from whydeep.population.evaluation import Evaluation, Evaluator, predictions
from whydeep.population.objectives import CrossEntropy, MeanSquaredError, Objective
from whydeep.population.optimizers import SGD, Adam, AdamW, Optimizer
from whydeep.population.population import Population
from whydeep.population.recorders import (
    Recorder,
    gradient_norm,
    gradient_norm_by_layer,
    gradient_norm_by_parameter,
    layers,
    loss,
    weights,
)
from whydeep.population.samples import Samples
from whydeep.population.schedules import Constant, Cosine, Schedule, Step, WarmUp
from whydeep.population.streams import Stream
from whydeep.population.training import Training

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Evaluation",
    "Evaluator",
    "MeanSquaredError",
    "Objective",
    "Optimizer",
    "Population",
    "Recorder",
    "Samples",
    "Schedule",
    "Step",
    "Stream",
    "Training",
    "WarmUp",
    "gradient_norm",
    "gradient_norm_by_layer",
    "gradient_norm_by_parameter",
    "layers",
    "loss",
    "predictions",
    "weights",
]

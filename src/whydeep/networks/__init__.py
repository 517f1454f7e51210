"""The networks that are trained.

mlp           fully connected networks of any widths, and their parameter count
activations   one record for each activation: its module, how it is computed in place, its derivatives
functional    a module as a function of named parameters and buffers
structure     what a module is beside their values, and what these may be
budget        the solver from a parameter budget to widths
rounding      ReLU with rounded corners
"""

from whydeep.networks.activations import ACTIVATIONS
from whydeep.networks.budget import widths_for_budget
from whydeep.networks.mlp import MLP, Architecture, parameter_count, recognise

__all__ = ["ACTIVATIONS", "MLP", "Architecture", "parameter_count", "recognise", "widths_for_budget"]

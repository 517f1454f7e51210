"""The networks that are trained.

mlp      fully connected networks of any widths, and their parameter count
budget   the solver from a parameter budget to widths
"""

from whydeep.networks.budget import widths_for_budget
from whydeep.networks.mlp import ACTIVATIONS, MLP, Architecture, parameter_count, recognise

__all__ = ["ACTIVATIONS", "MLP", "Architecture", "parameter_count", "recognise", "widths_for_budget"]

"""Landscapes: the loss over a whole data set as a function of the parameters.

landscape     Landscape: losses, gradients, Hessians and products with them, for any module and for populations
reading       data of any form as batches, and what batches must be so that their means can be joined
engines       how they are computed:
  closed_form  fully connected networks, written out (fast)
  autograd     any module, by differentiating twice
derivatives   whether what is differentiated is the derivative
"""

from whydeep.landscape.landscape import Landscape

__all__ = ["Landscape"]

"""What the course's experiments say of themselves in common: who made the claims, methods, references."""

from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from whydeep.claims import Claim, Need, Selection, Test
from whydeep.course import glossary
from whydeep.report.charts import Column
from whydeep.study import Experiment

REPORT = "S. Khamkar (2023), the course report"
"""The source of the claims."""


def reported(sentence: str, *tests: Test, needs: tuple[Need, ...], reading: str = "", source: str = REPORT) -> Claim:
    """Make a claim of the course report from a sentence with its id, such as "C7. Training accuracy is ..."."""
    id, _, statement = sentence.partition(". ")
    return Claim(id, statement, tests, source=source, reading=reading, needs=needs)


def derived(
    statistics: Callable[[xr.Dataset], xr.Dataset], variable: str, **labels: Mapping[str, Any]
) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return a measure: a `Selection` (at, minus) of a statistic that a function derives from the results."""
    selection = Selection(variable, **labels)
    return lambda results: selection(statistics(results))


def count_column(header: str, variable: str) -> Column:
    """A column of a table for a variable that is 1 or 0: how many of all values are 1, such as "4 of 5"."""
    return Column(header, lambda row: f"{int(row[variable].sum())} of {int(row[variable].count())}", count=True)


METHODS = (
    (
        "Networks and training",
        "fully connected, with biases; ReLU between the layers, none after the last, where nothing else is said. "
        "Weights and biases start uniformly within 1 / sqrt(inputs of the layer), as PyTorch's do. All are trained "
        "with Adam (beta 0.9 and 0.999, epsilon 1e-8) in single precision, where no other optimiser was set: functions "
        "with the mean squared error of all points at every step, images with the cross entropy of one batch. What "
        "phase two of E5 does is in double precision. Pixels that are bytes are divided by 255, scikit-learn's digits "
        "by 16; other numbers are taken as they are. Each epoch has every image once, in a new order; its last batch "
        "may be smaller.",
    ),
    (
        "Several networks of a seed",
        "in E3, E5 and E8 several networks are trained for each seed, of which a seed's numbers are made.",
    ),
)

REFERENCES = (
    "S. Khamkar (2023): CPSC 8430 Deep Learning, Homework 1. The report whose experiments are repeated.",
    "National Taiwan University (2018): Machine Learning and having it Deep and Structured, Homework 1.",
    "D. P. Kingma, J. Ba (2015): Adam: a method for stochastic optimization. ICLR.",
    "J. M. Antognini, J. Sohl-Dickstein (2018): PCA of high dimensional random walks with comparison to neural network "
    "training. NeurIPS. The random walks beside the paths of weights.",
    "C. G. Frye, J. Simon, N. S. Wadia, A. Ligeralde, M. R. DeWeese, K. E. Bouchard (2021): Critical point-finding "
    "methods reveal gradient-flat regions of deep network losses. Neural Computation 33. The index of critical points.",
    "Y. N. Dauphin, R. Pascanu, C. Gulcehre, K. Cho, S. Ganguli, Y. Bengio (2014): Identifying and attacking the "
    "saddle point problem in high-dimensional non-convex optimization. NeurIPS. Newton steps away from saddles, and "
    "the share of negative eigenvalues, which falls with the loss.",
    "M. K. Transtrum, J. P. Sethna (2012): Improvements to the Levenberg-Marquardt algorithm for nonlinear "
    "least-squares minimization. arXiv:1201.5885. Steps along bent valleys.",
    "C. Zhang, S. Bengio, M. Hardt, B. Recht, O. Vinyals (2017): Understanding deep learning requires rethinking "
    "generalization. ICLR. Random labels, learned by heart.",
    "I. J. Goodfellow, O. Vinyals, A. M. Saxe (2015): Qualitatively characterizing neural network optimization "
    "problems. ICLR. The line between two sets of parameters.",
    "J. Frankle, G. K. Dziugaite, D. M. Roy, M. Carbin (2020): Linear mode connectivity and the lottery ticket "
    "hypothesis. ICML. Barriers, with shared and with different beginnings.",
    "R. Novak, Y. Bahri, D. A. Abolafia, J. Pennington, J. Sohl-Dickstein (2018): Sensitivity and generalization in "
    "neural networks: an empirical study. ICLR. The norm of the input-output Jacobian.",
    "N. S. Keskar, D. Mudigere, J. Nocedal, M. Smelyanskiy, P. T. P. Tang (2017): On large-batch training for deep "
    "learning: generalization gap and sharp minima. ICLR. Sharpness, metric 2.1.",
    "L. Dinh, R. Pascanu, S. Bengio, Y. Bengio (2017): Sharp minima can generalize for deep nets. ICML. Why sharpness "
    "depends on the scale of the weights.",
    "Y. LeCun, C. Cortes, C. J. C. Burges (1998): The MNIST database of handwritten digits.",
)


def course_experiment(
    *arguments: Any, terms: str, numbers: Mapping[str, float] | None = None, **options: Any
) -> Experiment:
    """Make an `Experiment` with the methods and references of the course, and definitions from its glossary.

    Args:
        terms: that the experiment uses, separated by commas.
        numbers: take the place of what their definitions have in curly brackets.
    """
    options |= {"definitions": glossary.define(terms, **numbers or {}), "methods": METHODS, "references": REFERENCES}
    return Experiment(*arguments, **options)

"""What is known of the points at which training ends, at the reference scale; minutes each."""

import numpy as np
import pytest

from whydeep.course.critical_points import EXPERIMENT
from whydeep.instruments import Stationarity
from whydeep.study import Plan, Run

pytestmark = pytest.mark.slow


def measured(activation):
    settings = EXPERIMENT.make_settings(Plan("full", EXPERIMENT.design.values_at("full")))
    setting = next(setting for setting in settings if setting.activation == activation)
    return EXPERIMENT.measure(setting, Run(EXPERIMENT.name, setting, (0,)))


def test_relu_networks_end_at_critical_points_or_kinks():
    """All but five of a hundred are told apart; minimal ratio and loss fall together (Dauphin et al. 2014)."""
    results = measured("relu")
    assert (results.kind == Stationarity.NOT_CONVERGED).sum() <= 5
    kinks = (results.kind == Stationarity.KINK).values
    assert kinks.any()
    assert (results.gradient_norm.values[kinks] > 1e-6).all()
    assert (results.subgradient_norm.values[kinks] <= 1e-6).all()
    (correlation,) = EXPERIMENT.claims[1].tests
    assert correlation.measure(results.expand_dims(activation=["relu"])).item() < -0.4


def test_smooth_networks_end_where_the_gradient_vanishes():
    results = measured("tanh")
    assert (results.gradient_norm <= 1e-6).mean() >= 0.9
    assert np.isnan(results.kinks).all()

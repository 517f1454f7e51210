"""Every experiment, killed again and again: it goes on from its checkpoints to the same bytes."""

import pytest
from image_reference import DIGITS, settings_of

from interrupted import until_done
from whydeep.course import EXPERIMENTS
from whydeep.data import locate
from whydeep.runs import checkpoint, netcdf
from whydeep.study import Run

SEEDS = (0, 1)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_what_was_interrupted_comes_out_the_same(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    monkeypatch.setattr(checkpoint, "SHORT", 0.0)
    lengths = {"epochs": 3, "least_iterations": 1500, "most_iterations": 1500}
    longer = {name: value for name, value in lengths.items() if name in experiment.design}
    settings = settings_of(experiment, images=DIGITS if experiment.uses_images else None, **longer)
    setting = settings[-1]

    def measure(kept=None):
        options = {"checkpoint": kept} if kept else {}
        return experiment.measure(
            setting, Run(experiment.name, setting, SEEDS, source=locate("digits", None), **options)
        )

    lives = {"critical-points": 200, "weight-trajectories": 40}.get(experiment.name, 1)
    measured, deaths = until_done(measure, tmp_path / "a.checkpoint", lives)
    assert netcdf.to_bytes(measured) == netcdf.to_bytes(measure())
    assert deaths > 0

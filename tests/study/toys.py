"""Two experiments that run in milliseconds: walks, whose length can be set, and dice, which are thrown once."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from whydeep.claims import Claim, Need, Selection, Test
from whydeep.report.charts import Curve, Lines, Panel, Rows
from whydeep.study import Design, Each, Experiment, Field, Registry, Scaled, Setting, dimension
from whydeep.variables import SHARE, Variable


@dataclass(frozen=True, kw_only=True)
class Walk(Setting):
    kind: str = dimension()
    steps: int
    factor: float
    start: float = 1.0


def walks(plan):
    return (Walk(**values) for values in plan.combinations())


def walk(setting, run):
    factor = setting.factor if setting.kind == "wide" else 1
    steps = np.stack([stream.numpy().standard_normal(setting.steps) for stream in run.streams("data", shared=True)])
    distance = factor * (setting.start + np.abs(steps.cumsum(axis=1)))
    return run.dataset({"distance": ("time", distance)}, time=np.arange(setting.steps))


def ratio(results: xr.Dataset) -> xr.DataArray:
    last = results.distance.isel(time=-1)
    return last.sel(kind="wide") / last.sel(kind="narrow")


BOTH = Need("kind", labels=("narrow", "wide"))

WALK = Experiment(
    "walk",
    "How far does a random walk go?",
    walks,
    walk,
    design=Design(
        {"dropout": "a walk leaves nothing out"},
        kind=Each("narrow", "wide"),
        steps=Scaled(5, 20, 100),
        factor=2.0,
        start=Field(1.0, least=0),
    ),
    title="T1. Walks",
    variables={"distance": Variable("distance from the start", "step", log=True)},
    definitions={"Distance": "without a sign."},
    claims=(
        Claim("W1", "Wide walks go 1.5 times as far.", (Test("ratio", ratio, 1.5),), needs=(BOTH,)),
        Claim(
            "W2",
            "Walks of 20 steps go far.",
            (Test("distance", Selection("distance", at={"kind": "wide", "time": "last"}), 2.5),),
            source="a toy",
            reading="“far” means more than 2.5 steps.",
            needs=(Need("steps", least=20),),
        ),
    ),
    figures=(
        Lines("walks", "Walks", "Distance", "Look at the end.", "time", Panel((Curve("distance", each="kind"),))),
    ),
    tables=(Rows("Ends", "kind", ("distance",), select=lambda results: results.isel(time=-1)),),
)


@dataclass(frozen=True, kw_only=True)
class Throw(Setting):
    throws: int


def throws(plan):
    return [Throw(**values) for values in plan.combinations()]


def throw(setting, run):
    sixes = [(stream.numpy().integers(1, 7, setting.throws) == 6).mean() for stream in run.streams("data")]
    return run.dataset({"sixes": np.array(sixes)})


DICE = Experiment(
    "dice",
    "How often is a six thrown?",
    throws,
    throw,
    design=Design(throws=Scaled(60, 600, 6000)),
    variables={"sixes": Variable("share of sixes", limits=SHARE)},
    claims=(Claim("D1", "Less than half of all throws are sixes.", (Test("share", Selection("sixes"), high=0.5),)),),
)

TOYS = Registry([WALK, DICE])

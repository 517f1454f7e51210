"""Claims whose conditions the run does not meet: shown as previews wherever verdicts are, never counted among them."""

import html
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from whydeep.cli import _parse
from whydeep.study import Registry
from whydeep.study.resolve import resolve
from whydeep.study.verdicts import deciding_command

RUN = ("run", "walk", "--scale", "smoke", "--seeds", 4, "--out", "run")


def records(folder="run"):
    return {record["id"]: record for record in json.loads((Path(folder) / "claims.json").read_text())["claims"]}


def report(folder="run"):
    return html.unescape((Path(folder) / "report.html").read_text(encoding="utf-8"))


def test_a_scale_that_a_claim_is_not_about_makes_it_a_preview(workplace, toys, whydeep):
    _, out, _ = whydeep(*RUN)
    record = records()["W2"]
    assert (record["verdict"], record["p"], record["p_adjusted"]) == ("preview", None, None)
    assert (record["needs"], record["unmet"]) == (["steps at least 20"], ["5 of 20 steps"])
    assert record["reason"].startswith("at 5 of 20 steps: ")
    decided, previews = out.split("Previews: ")
    assert "W2" not in decided
    assert f"W2  PREVIEW: {record['statement']}" in previews
    assert "1 preview, " in previews
    verdicts, table = report().split('<section class="scroll previews"')
    assert "#claim-W2" not in verdicts
    assert "#claim-W2" in table
    assert " 1 claims have no verdict" in verdicts
    assert 'id="claim-W2"' in table


def test_an_override_makes_a_preview_and_another_decides(workplace, toys, whydeep):
    whydeep(*RUN, "--scale", "quick", "--set", "walk.steps=6")
    assert records()["W2"]["unmet"] == ["6 of 20 steps"]
    assert records()["W2"]["decided_by"] == "whydeep run walk --out run"  # without the change
    whydeep(*RUN, "--set", "walk.steps=30")
    assert records()["W2"]["verdict"] in ("supported", "contradicted", "undecided")
    assert records()["W2"]["decided_by"] == ""


def test_changes_that_fit_are_kept_in_the_command(workplace, toys, whydeep):
    whydeep(*RUN, "--set", "walk.factor=3")
    assert records()["W2"]["decided_by"] == "whydeep run walk --set walk.factor=3 --out run"
    status, _, _ = whydeep(*shlex.split(records()["W2"]["decided_by"])[1:], "--out", "other")
    assert status == 0
    assert records("other")["W2"]["verdict"] in ("supported", "contradicted", "undecided")


def test_other_verdicts_are_as_if_it_were_not_there(workplace, toys, whydeep):
    whydeep(*RUN)
    whydeep("run", "dice", "--scale", "smoke", "--seeds", 4, "--out", "run")
    with_preview = records()
    Path("own.toml").write_text(
        '[[claims]]\nid = "short"\nexperiment = "walk"\nstatement = "Walks go far."\nvariable = "distance"\n'
        'at = {kind = "wide", time = "last"}\nlow = 2.5\n[claims.needs]\nsteps = {least = 1000}\n'
    )
    whydeep("claims", "run", "--claims", "own.toml")
    more = records()
    assert more.pop("short")["verdict"] == "preview"
    assert more == with_preview
    ps = {name: record["p"] for name, record in more.items() if record["p"] is not None}
    assert set(ps) == {"W1", "D1"}
    smallest = min(ps, key=ps.get)
    assert more[smallest]["p_adjusted"] == pytest.approx(min(1, 2 * ps[smallest]))


EXPERIMENTS = Registry.installed()
OF_IMAGES = ("train_images", "test_images", "evaluated_images", "widths")  # digits are fewer and smaller
CLAIMS = [(name, claim) for name, experiment in EXPERIMENTS.items() for claim in experiment.claims]


@pytest.mark.parametrize(("name", "claim"), CLAIMS, ids=[claim.id for _, claim in CLAIMS])
@pytest.mark.parametrize("changes", [(), ("epochs=3",), ("optimizer=sgd",)], ids=str)
def test_the_command_that_decides_resolves_and_meets_the_conditions(name, claim, changes, workplace):
    """For every claim of the course, from the smallest scale, on images of the size of MNIST's."""
    experiment = EXPERIMENTS[name]
    words = [f"{name}.{change}" for change in changes if change.partition("=")[0] in experiment.design]
    given = [word for change in words for word in ("--set", change)]
    plain = resolve(_parse(["run", name, "--scale", "smoke", "--dataset", "digits", *given]))
    attributes = {
        "changes": json.dumps(plain.changes(name)),
        "scale": "smoke",
        "dataset_asked_for": "",
        "size_asked_for": 28,
        "dataset": "MNIST",
        "images": "null",
        "root_seed": 0,
    }
    attributes["settings"] = json.dumps([vars(job.setting) for job in plain.jobs()])
    results = xr.Dataset(
        {"parameters": ("hidden", np.array([198_710.0]))}, {"hidden": ["200-100"], "seed": range(5)}, attributes
    )
    command = deciding_command(experiment, claim, results)
    measured = {need.name for need in claim.needs} & set(results.variables)
    if not command:
        assert measured or not claim.needs  # what only a measurement can tell
        return
    request = _parse(shlex.split(command)[1:])
    assert (request.experiments, request.size) == ((name,), 28)
    study = resolve(replace(request, dataset="digits", size=0))
    for job in study.jobs():
        for need in claim.needs:
            if need.labels is None and need.name in vars(job.setting) and need.name not in OF_IMAGES:
                alone = xr.Dataset(attrs={"settings": json.dumps([vars(job.setting)])})
                assert need.unmet(alone) == "" or need.where

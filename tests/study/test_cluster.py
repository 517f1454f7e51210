"""A study on a Dask cluster: what the command says, and what it writes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from whydeep.errors import SettingError
from whydeep.population.compiler import COMPILED
from whydeep.runs import cluster
from whydeep.study import Request
from whydeep.study.files import PortableFunction, load_file
from whydeep.study.measurement import Requirements
from whydeep.study.resolve import resolve

distributed = pytest.importorskip("distributed")


@pytest.fixture
def address(monkeypatch):
    """A scheduler with two workers, in threads of this process."""
    monkeypatch.setattr(cluster, "LOOK", 0.1)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=":0", memory_limit=0
    ) as local:
        yield local.scheduler_address


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder, "units").rglob("*.nc")}


def test_a_run_on_a_cluster_is_the_same_run(toys, workplace, whydeep, address):
    words = ("run", "--scale", "smoke", "--seeds", 2)
    status, out, err = whydeep(*words, "--cluster", address, "--out", "there")
    assert (status, err) == (0, "")
    assert "with 2 workers" in out
    whydeep(*words, "--out", "here")
    assert files("there") == files("here")
    record = json.loads(Path("there/manifest.json").read_text())
    (count,) = record["machines"].values()
    assert count == len(files("there"))
    assert record["command"][-4:] == ["--out", "there", "--cluster", address]
    assert whydeep("verify", "there", "--redo", 2)[0] == 0


def test_the_cluster_is_not_asked_where_nothing_is_missing(toys, workplace, whydeep):
    words = ("run", "--scale", "smoke", "--seeds", 2, "--out", "here")
    whydeep(*words)
    status, out, _ = whydeep(*words, "--cluster", "tcp://no-such-host.invalid:8786")
    assert status == 0
    assert "0 units measured" in out


def test_a_scheduler_that_is_not_there_is_one_line(toys, workplace, whydeep):
    status, _, err = whydeep("run", "--scale", "smoke", "--cluster", "tcp://127.0.0.1:1", "--out", "here")
    assert status == 2
    assert err.startswith("whydeep: no Dask scheduler answers at tcp://127.0.0.1:1 (")
    assert err.count("\n") == 1


def send(experiment):
    return pickle.loads(pickle.dumps(Requirements(None, (PortableFunction(experiment.measure),), COMPILED)))


def test_workers_must_have_the_code_of_experiments(toys, tmp_path, monkeypatch):
    send(toys["walk"])()
    digests = iter(["here", "there"])
    monkeypatch.setattr("whydeep.study.files._imported_digest", lambda _: next(digests))
    with pytest.raises(SettingError, match=r"^toys has other content than where the run began"):
        send(toys["walk"])()
    file = tmp_path / "steps.py"
    file.write_text("def measure(setting, run):\n    pass\n")
    pickled = pickle.dumps(Requirements(None, (PortableFunction(load_file(file).measure),), COMPILED))
    pickle.loads(pickled)()
    for text, says in (("measure = 1\n", "was changed"), (None, "cannot be read")):
        file.write_text(text) if text else file.unlink()
        with pytest.raises(SettingError, match=says):
            pickle.loads(pickled)()


def test_workers_may_run_in_another_directory(workplace, monkeypatch):
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target
    np.savez("my.npz", x_train=images[:900], y_train=labels[:900], x_test=images[900:], y_test=labels[900:])
    requirements = resolve(Request(("gradient-norm",), scale="smoke", dataset="my.npz")).requirements
    (workplace / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    requirements()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cluster", "head"), "must be the address of a Dask scheduler such as tcp://host:8786"),
        (("--cluster", "http://head:8787"), "must be the address"),
        (("--cluster", "tcp://head:99999"), "must be the address"),
        (("--cluster", ""), "must be the address"),
        (("--cluster", "tcp://head:1", "--workers", 3), "tcp://head:1 has its own: leave --workers out"),
        (("--cluster", "tcp://head:1", "--memory", "4G"), "leave --memory out"),
        (("--cluster", "slurm"), "needs --workers N"),
        (("--cluster", "local", "--device", "cuda"), "not on GPUs"),
    ],
)
def test_clusters_that_are_none_and_options_that_do_not_go_with_them(whydeep, words, says):
    status, out, err = whydeep("run", *words)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1

"""E6: labels drawn as written down again here, training on them against a plain loop, claims on curves made by hand."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from image_reference import (
    DIGITS,
    MNIST,
    loss_and_accuracy,
    measure,
    settings_of,
    statistics,
    stream,
    train_plain,
    unmet,
)

from whydeep.course.random_labels import EXPERIMENT, REDRAWN, SMALL, WIDE
from whydeep.data import locate
from whydeep.errors import SettingError
from whydeep.networks import parameter_count
from whydeep.study.design import Images


def test_networks_are_those_of_the_course_report():
    settings = settings_of(EXPERIMENT, "full", MNIST)
    assert [parameter_count(setting.widths) for setting in settings] == [8175, 8175, 407_050]
    assert [setting.epochs for setting in settings] == [400, 50, 100]
    assert [setting.labels for setting in settings] == ["once", "every epoch", "once"]
    assert {setting.batch_size for setting in settings} == {50}


@pytest.mark.parametrize(("features", "epochs"), [(784, 100), (64, 625), (3072, 100)])
def test_of_few_features_labels_are_learnt_for_longer(features, epochs):
    images = Images("", features, 10, 60_000, 10_000)
    assert [setting.epochs for setting in settings_of(EXPERIMENT, "full", images)] == [400, 50, epochs]


def test_what_is_set_for_one_training_leaves_the_others():
    settings = settings_of(EXPERIMENT, wide_epochs=3, redrawn_epochs=1, wide_hidden=7, wide_train_images=60)
    assert [(setting.epochs, setting.widths[1], setting.train_images) for setting in settings] == [
        (4, 10, 1000),
        (1, 10, 1000),
        (3, 7, 60),
    ]
    (only,) = settings_of(EXPERIMENT, training=REDRAWN)
    assert only.name == REDRAWN
    with pytest.raises(SettingError, match="wide_train_images is 2,000, and at most 1,442 images are used"):
        settings_of(EXPERIMENT, wide_train_images=2000)
    with pytest.raises(SettingError, match="noise is '2', and must be a number, from 0 to 1"):
        settings_of(EXPERIMENT, noise=2)


def drawn_labels(labels, seed, part):
    """As the experiment draws them: a permutation of the places, then a class for each."""
    generator = stream(EXPERIMENT, "", seed, "labels").numpy(part)
    places = generator.permutation(len(labels))
    drawn = np.empty(len(labels), dtype=np.int64)
    drawn[places] = generator.integers(10, size=len(labels))
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("number", [0, 1], ids=["once", "every epoch"])
def test_random_labels_are_those_that_were_trained_on(number):
    setting, images = settings_of(EXPERIMENT)[number], locate("digits", None).load()
    results = measure(EXPERIMENT, setting, (2,)).isel(seed=0)
    truth = images.train_labels[: setting.train_images]

    def labels(epoch):
        return drawn_labels(truth, 2, 0 if setting.labels == "once" else 2 + epoch)

    network = train_plain(
        setting,
        images,
        init=stream(EXPERIMENT, str(setting.widths), 2, "init"),
        order=stream(EXPERIMENT, "", 2, "order"),
        labels=labels,
    )
    test = images.test_inputs[: setting.test_images], images.test_labels[: setting.test_images]
    expected = {
        "train": loss_and_accuracy(network, images.train_inputs[: len(truth)], labels(setting.epochs - 1)),
        "test": loss_and_accuracy(network, *test),
        "random_test": loss_and_accuracy(network, test[0], drawn_labels(test[1], 2, 1)),
    }
    for name, (loss, accuracy) in expected.items():
        assert results[f"{name}_loss"].values[-1] == pytest.approx(loss, rel=1e-4)
        assert results[f"{name}_accuracy"].values[-1] == pytest.approx(accuracy, abs=0.005)


def test_a_seed_does_not_depend_on_the_others():
    setting = settings_of(EXPERIMENT, train_images=200)[1]
    both = measure(EXPERIMENT, setting, (0, 4))
    xr.testing.assert_identical(both.sel(seed=[4]), measure(EXPERIMENT, setting, (4,)))


def test_a_share_of_the_labels_can_be_kept():
    """Without noise the labels are the true ones, and the network of random labels learns the classes."""
    for noise, learns in ((0.0, True), (1.0, False)):
        (setting,) = settings_of(EXPERIMENT, training=SMALL, noise=noise, learning_rate=0.02)
        end = measure(EXPERIMENT, setting, (0,)).isel(seed=0, epoch=-1)
        assert bool(end.test_accuracy > 0.6) == learns
        assert bool(end.test_loss == end.random_test_loss) == learns


def results_of_two(**curves):
    """Results of two trainings of different length; curves are [training][seed][epoch]."""
    names, epochs = [SMALL, WIDE], (4, 2)
    settings = [{"training": name, "epochs": count} for name, count in zip(names, epochs, strict=True)]
    return xr.Dataset(
        {name: (("training", "seed", "epoch"), np.array(values, dtype=float)) for name, values in curves.items()}
        | {"classes": (("training", "seed"), np.full((2, 1), 10.0))},
        coords={"training": names, "seed": [0], "epoch": np.arange(1, 5)},
        attrs={"settings": json.dumps(settings)},
    )


def test_claims_are_about_the_epochs_that_each_training_has():
    nan = np.nan
    results = results_of_two(
        train_loss=[[[2.5, 2.4, 2.3, 2.2]], [[1.0, 0.5, nan, nan]]],
        train_accuracy=[[[0.1, 0.1, 0.3, 0.3]], [[0.5, 1.0, nan, nan]]],
        test_loss=[[[2.3, 2.2, 2.4, 2.6]], [[2.0, 3.0, nan, nan]]],
        random_test_loss=[[[2.3, 2.5, 2.5, 2.2]], [[2.0, 3.0, nan, nan]]],
    )
    below, slope = statistics(EXPERIMENT, "C14", results)
    assert below == pytest.approx(2.2 - np.log(10))
    assert slope == pytest.approx(-10)  # 0.1 an epoch
    assert statistics(EXPERIMENT, "C15", results)[0] == pytest.approx([0.3, -0.1])
    assert statistics(EXPERIMENT, "C16", results)[0] == pytest.approx([0.3, 1.0])
    results.train_accuracy[1, 0, 1] = 0.9  # nobody knows where that ends
    assert statistics(EXPERIMENT, "C16", results)[0] == pytest.approx([0.3, nan], nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_one_epoch_has_no_slope_and_an_open_end():
    curves = {name: [[[2.3]], [[2.3]]] for name in ("train_loss", "train_accuracy")}
    results = xr.Dataset(
        {name: (("training", "seed", "epoch"), np.array(values)) for name, values in curves.items()},
        coords={"training": [SMALL, WIDE], "seed": [0], "epoch": [1]},
        attrs={"settings": json.dumps([{"training": name, "epochs": 1} for name in (SMALL, WIDE)])},
    ).assign(classes=10.0)
    assert np.isnan(statistics(EXPERIMENT, "C14", results)[1])
    still_learning = results.assign(train_accuracy=results.train_accuracy * 0 + 0.5)
    assert np.isnan(statistics(EXPERIMENT, "C16", still_learning)).all()


def test_what_claims_need():
    def results(scale, images=MNIST, **changes):
        settings = [vars(setting) for setting in settings_of(EXPERIMENT, scale, images, **changes)]
        labels = {"training": [setting["training"] for setting in settings]}
        parameters = {"parameters": ("training", [float(parameter_count(setting["widths"])) for setting in settings])}
        return xr.Dataset(parameters, labels, {"settings": json.dumps(settings)})

    for claim in ("C14", "C15", "C16"):
        assert unmet(EXPERIMENT, claim, results("full")) == ()
    assert unmet(EXPERIMENT, "C14", results("quick")) == ("25 of 400 epochs (training small network)",)
    assert unmet(EXPERIMENT, "C16", results("quick")) == ()
    assert unmet(EXPERIMENT, "C16", results("quick", DIGITS)) == ()
    assert unmet(EXPERIMENT, "C16", results("smoke")) == ("200 of 1,000 train images (training wide network)",)
    assert unmet(EXPERIMENT, "C15", results("full", noise=0.5)) == ("noise 0.5 instead of 1",)

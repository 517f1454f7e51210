"""What the numbers of inputs mean: by type and range of both splits together, said, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.data.dataset import make_dataset
from whydeep.data.inputs import MOST_VALUES, check_size
from whydeep.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 4, 4)).astype(np.uint8)
PIXELS[0, 0, 0], PIXELS[0, 0, 1] = 0, 255
UNIT = PIXELS / 255
STANDARDISED = (UNIT - 0.5) / 0.29


def made(train, test=None):
    test = train[:20] if test is None else test
    labels = (np.arange(len(inputs)) % 2 for inputs in (train, test))
    return make_dataset("mine", *zip((train, test), labels, strict=True), origin="here")


ACCEPTED = {
    # what is given: (inputs, what they become, what is said)
    "bytes": (PIXELS, UNIT, "bytes divided by 255"),
    "bytes as float64": (PIXELS.astype(float), UNIT, "inputs divided by 255, the largest of both splits"),
    "bytes as float16": (PIXELS.astype(np.float16), UNIT, "inputs divided by 255, the largest of both splits"),
    "bytes as int64": (PIXELS.astype(int), UNIT, "inputs divided by 255, the largest of both splits"),
    "bytes as uint16": (PIXELS.astype(np.uint16), UNIT, "inputs divided by 255, the largest of both splits"),
    "bytes as big-endian": (PIXELS.astype(">i4"), UNIT, "inputs divided by 255, the largest of both splits"),
    "resized bytes": (PIXELS * 0.998, UNIT, "inputs divided by 254.49, the largest of both splits"),
    "16 bits": (PIXELS.astype(np.uint16) * 257, UNIT, "inputs divided by 65535, the largest of both splits"),
    "16 bits as floats": (PIXELS * 257.0, UNIT, "inputs divided by 65535, the largest of both splits"),
    "digits of 0 to 16": (np.round(UNIT * 16), np.round(UNIT * 16) / 16, "inputs divided by 16, the largest of both splits"),
    "signed bytes": (PIXELS.astype(int) - 128, (PIXELS.astype(int) - 128) / 128, "inputs divided by 128, the largest of both splits"),
    "floats to 1": (UNIT, UNIT, "inputs as they are, from 0 to 1"),
    "a little above 1": (UNIT * 1.001, UNIT, "inputs divided by 1.001, the largest of both splits"),
    "bools": (UNIT > 0.5, UNIT > 0.5, "inputs as they are, from 0 to 1"),
    "ints of 0 and 1": ((UNIT > 0.5).astype(int), UNIT > 0.5, "inputs as they are, from 0 to 1"),
    "minus 1 to 1": (UNIT * 2 - 1, UNIT * 2 - 1, "inputs as they are, from -1 to 1"),
    "standardised": (STANDARDISED, STANDARDISED, "inputs as they are, from -1.72414 to 1.72414"),
}  # fmt: skip


@pytest.mark.parametrize("what", ACCEPTED)
def test_inputs_are_scaled_by_type_and_range(what):
    inputs, expected, said = ACCEPTED[what]
    data = made(inputs)
    assert (data.preprocessing, data.notice) == (said, "")
    np.testing.assert_allclose(data.train_inputs, np.reshape(expected, (60, 16)), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(data.train_inputs[:20], data.test_inputs)


@pytest.mark.parametrize("what", ACCEPTED)
def test_both_splits_have_one_scale_whatever_the_range_of_each(what):
    inputs = ACCEPTED[what][0].reshape(60, 16)
    train, test = inputs, inputs[30:].copy()
    test[:15][test[:15] > inputs.max() / 2] = np.median(inputs)
    data = made(train, test)
    divisor = float(train.max()) / data.train_inputs.max().item()
    np.testing.assert_allclose(data.test_inputs * divisor, test.astype(float), rtol=1e-3, atol=1e-6)


def test_the_scale_depends_on_the_order_of_samples_and_splits_in_no_way():
    ramp = np.arange(16 * 60, dtype=float).reshape(60, 16)
    even, odd = made(ramp[::2], ramp[1::2]), made(ramp[1::2], ramp[::2])
    assert even.preprocessing == odd.preprocessing == "inputs divided by 959, the largest of both splits"
    assert even.train_inputs.tolist() == odd.test_inputs.tolist()


UNLIKE = {
    "bytes and floats to 255": (PIXELS.astype(float), PIXELS),
    "bytes and floats to 1": (PIXELS, UNIT),
    "bytes and ints": (PIXELS, PIXELS.astype(int)),
    "bytes and bools": (PIXELS, PIXELS > 99),
    "0 to 1 and 0 to 255": (UNIT, UNIT * 255),
    "ints of 0 to 255, and floats to 1": (PIXELS.astype(int), UNIT),
    "0 to 255, and bools": (PIXELS.astype(int), PIXELS > 99),
    "0 to 16 and 0 to 1": (UNIT * 16, UNIT),
    "8 and 16 bits": (PIXELS.astype(np.uint16), PIXELS.astype(np.uint16) * 257),
    "0 to 1, and dark of 0 to 255": (UNIT, np.where(UNIT == 1, 255, UNIT * 4)),
    "divided, and cut to bytes": (PIXELS, UNIT.astype(np.uint8)),
    "standardised and not": (STANDARDISED, UNIT),
    "centred and not": (UNIT - 0.5, UNIT),
    "standardised and 0 to 255": (STANDARDISED, UNIT * 255),
    "all zero": (UNIT, UNIT * 0),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("what", UNLIKE)
def test_splits_that_are_not_scaled_alike_are_refused(what, turned):
    train, test = UNLIKE[what][::-1] if turned else UNLIKE[what]
    with pytest.raises(DataError) as error:
        made(train, test)
    text = str(error.value)
    assert text.startswith(f"here: training inputs {'are ' if 'bytes and' in what else 'go '}")
    assert "save both in one type" in text or "scale both splits in the same way" in text
    assert "\n" not in text


@given(
    st.sampled_from([1.0, 255.0, 65535.0, 16.0, 100.0]),
    st.sampled_from([1.0, 255.0, 65535.0, 16.0, 100.0]),
    st.integers(0, 1000),
)
def test_one_scale_is_accepted_and_two_never_pass(first, second, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.random((40, 9)) ** 2, rng.random((12, 9)) ** 2
    scales = sorted((first, second))
    if scales[1] >= 10 * scales[0]:
        with pytest.raises(DataError, match="scale both splits in the same way"):
            made(train * first, test * second)
    elif scales[0] == scales[1]:
        data = made(train * first, test * second)
        ratio = data.train_inputs.numpy().mean() / train.mean()
        np.testing.assert_allclose(data.test_inputs, test * ratio, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_features_of_other_samples_are_not_taken_for_another_scale(seed):
    """Heavy tails, few samples, dark images in test: the largest or the mean may differ, not both by as much."""
    rng = np.random.default_rng(seed)
    made(rng.lognormal(0, 2, (200, 5)), rng.lognormal(0, 2, (50, 5)))
    made(rng.normal(size=(500, 3)), rng.normal(size=(10, 3)))
    made(rng.poisson(0.3, (500, 20)), rng.poisson(0.3, (20, 20)))
    dark = np.where(rng.random((20, 4, 4)) < 0.05, 250, 1).astype(np.uint8)
    made(PIXELS, dark)


@pytest.mark.parametrize(
    ("inputs", "notice"),
    [
        (PIXELS // 128, "Bytes are divided by 255, and none exceeds 1, so that networks see them as nearly black: "
         "save them as another type of integers, which is divided by its largest."),
        (PIXELS // 16, "Bytes are divided by 255, and none exceeds 15, so that networks see them as nearly black: "
         "save them as another type of integers, which is divided by its largest."),
        (UNIT / 255, "Inputs reach 0.00392157 in magnitude, so that networks see them as nearly black: scale them to "
         "about 1."),
        (UNIT * 2e4 - 1e4, "Inputs reach 10000 in magnitude, so that networks train badly: scale them to about 1."),
        (UNIT * 0 + 0.5, "All training samples are equal: nothing can be learned from them."),
        (PIXELS * 0, "All training samples are equal: nothing can be learned from them."),
    ],
)  # fmt: skip
def test_inputs_that_networks_hardly_learn_from_have_a_notice(inputs, notice):
    assert made(inputs).notice == notice


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.where(UNIT == 1, np.nan, UNIT), "inputs hold values that are not finite in float32"),
        (np.where(UNIT == 1, np.inf, UNIT), "inputs hold values that are not finite in float32"),
        (np.where(UNIT == 1, -np.inf, UNIT).astype(np.float16), "inputs hold values that are not finite in float32"),
        (UNIT * 1e300, "inputs hold values that are not finite in float32"),
        (UNIT.astype(np.longdouble) * np.finfo(float).max, "inputs hold values that are not finite in float32"),
        (UNIT.astype(object), "inputs are object, not numbers"),
        (UNIT.astype(complex), "inputs are complex128, not numbers"),
        (UNIT.astype(str), "inputs are <U32, not numbers"),
        (UNIT.astype("M8[s]"), "inputs are datetime64[s], not numbers"),
        (np.zeros((60, 4), dtype="i4, i4"), "inputs are [('f0', '<i4'), ('f1', '<i4')], not numbers"),
        (UNIT[:, 0, 0], "inputs have shape (60,), expected (samples, features ...), none 0"),
        (UNIT[:, :0], "inputs have shape (60, 0, 4), expected (samples, features ...), none 0"),
        (UNIT[:0], "inputs have shape (0, 4, 4), expected (samples, features ...), none 0"),
    ],
)
def test_inputs_that_are_no_numbers(inputs, message):
    with pytest.raises(DataError) as error:
        made(inputs, inputs)
    assert str(error.value) == f"here: training {message}"


@pytest.mark.parametrize(
    ("shapes", "accepted"),
    [
        (((4, 4, 3), (4, 4, 3)), True),
        (((3, 4, 4), (3, 4, 4)), True),
        (((16,), (16,)), True),
        (((4, 4), (4, 4, 3)), False),
        (((3, 4, 4), (4, 4, 3)), False),
        (((4, 4), (4, 5)), False),
        (((4, 4), (16,)), False),
        (((4, 4), (4, 4, 1)), False),
    ],
)
def test_samples_of_both_splits_have_one_shape(shapes, accepted):
    train, test = (RNG.random((6, *shape)) for shape in shapes)
    if accepted:
        assert made(train, test).input_shape == shapes[0]
        return
    with pytest.raises(DataError) as error:
        made(train, test)
    assert str(error.value) == (
        f"here: training samples have shape {shapes[0]} and test samples {shapes[1]}; they must have the same"
    )


def test_no_data_set_takes_all_memory():
    check_size("here", MOST_VALUES)
    with pytest.raises(DataError) as error:
        check_size("here", 60_000 * 224 * 224 * 3)
    assert str(error.value) == (
        "here: has 9,031,680,000 numbers, and at most 1,073,741,824 are read: give fewer or smaller samples"
    )
    view = np.broadcast_to(np.zeros(1, np.uint8), (2**20, 2**10))
    with pytest.raises(DataError, match=r"^here: has .* numbers"):
        make_dataset("mine", (view, np.zeros(2**20)), (view[:1], np.zeros(1)), origin="here")

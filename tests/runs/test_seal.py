import io
import json
import tomllib
from xml.etree import ElementTree

import h5py
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from whydeep.runs import netcdf
from whydeep.runs.seal import DamagedError, UnsealedError, seal, unseal, without_seal


def image():
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "png")
    return file.getvalue()


CONTENTS = {
    "units/toy/a-0/seed-0000.nc": netcdf.to_bytes(xarray.Dataset({"a": ("x", [1.0, 2.0])})),
    "claims.json": b'{\n "claims": []\n}\n',
    "figures/figure-01.svg": b"<svg/>\n",
    "figures/figure-01.png": image(),
    "own-claims.toml": b"a = 1",
    "report.html": b"<p>all</p>\n",
}
each_kind = pytest.mark.parametrize("name", CONTENTS)


@each_kind
def test_what_is_sealed_comes_back_and_can_still_be_read(name):
    content, sealed = CONTENTS[name], seal(CONTENTS[name], name)
    assert unseal(sealed, name)[0] == without_seal(sealed, name) == without_seal(content, name) == content
    read = {
        "nc": lambda data: h5py.File(io.BytesIO(data))["a"][...].tolist(),
        "json": lambda data: json.loads(data)["claims"],
        "svg": lambda data: ElementTree.fromstring(data).tag,
        "png": lambda data: Image.open(io.BytesIO(data)).tobytes(),
        "toml": lambda data: tomllib.loads(data.decode())["a"],
        "html": lambda data: data[:10],
    }[name.rpartition(".")[2]]
    assert read(sealed) == read(content)


@each_kind
@given(data=st.data())
def test_no_flipped_bits_go_unnoticed(name, data):
    sealed = bytearray(seal(CONTENTS[name], name))
    for bit in data.draw(st.sets(st.integers(0, 8 * len(sealed) - 1), min_size=1, max_size=8)):
        sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError):
        unseal(bytes(sealed), name)


@each_kind
@given(data=st.data())
def test_no_file_of_another_length_goes_unnoticed(name, data):
    sealed = seal(CONTENTS[name], name)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for other in (sealed[:cut], sealed[cut + 1 :], sealed + b"0" * (cut + 1), sealed[:cut] + b"0" + sealed[cut:]):
        with pytest.raises(DamagedError):
            unseal(other, name)


@each_kind
def test_the_file_of_another_is_named(name):
    folder, _, ending = name.rpartition(".")
    with pytest.raises(DamagedError, match=f"it is {name}"):
        unseal(seal(CONTENTS[name], name), f"{folder}-2.{ending}")
    with pytest.raises(UnsealedError, match="no checksum"):
        unseal(CONTENTS[name], name)


@given(st.binary(max_size=300))
def test_whatever_is_in_a_file_comes_back(content):
    once = seal(content, "a.toml")
    assert unseal(seal(once, "b.toml"), "b.toml")[0] == once
    assert unseal(once, "a.toml")[0] == content

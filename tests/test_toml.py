"""Files in TOML: what is read, and that anything else is refused at once, in one line."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whydeep.errors import SettingError
from whydeep.toml import DEEPEST, LARGEST, read_toml


def refused(path):
    began = time.monotonic()
    with pytest.raises(SettingError) as error:
        read_toml(path)
    assert time.monotonic() - began < 5
    text = str(error.value)
    assert text.isprintable()
    assert len(text) <= 500
    return text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a = 1" + b"0" * 400, "whole number of more than 64 bits"),
        (b"a = 1" + b"0" * 5000, "is not TOML"),
        (b"a = 0x" + b"f" * 20_000, "whole number of more than 64 bits"),
        (b"a = [1, {b = -9223372036854775809}]", "whole number of more than 64 bits"),
        (b"a = " + b"[" * 3000, "is not TOML"),
        (b"a = " + b"[" * 3000 + b"]" * 3000, "is not TOML"),
        (b"a = " + b"{a = " * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), "levels deep"),
        (b"a" + b".b" * 5000 + b" = 1", "levels deep"),
        (b"[" + b"a." * 5000 + b"a]", "levels deep"),
        (b"a = 1\na = 2", "is not TOML"),
        (b"a = 'x\0y'", "is not TOML"),
        (b"a = '\xe9'", "is not TOML: byte 6 is not UTF-8"),
        ("a = 1".encode("utf-16"), "is not TOML: byte 1 is not UTF-8"),
        (b"#" * (LARGEST + 1), "is larger than 1,000,000 bytes"),
        (b"\x1b[31m" * 10_000, "is not TOML"),
        (b'"' + b"\\u001b" * 10_000, "is not TOML"),
    ],
    ids=str,
)
def test_what_no_setting_needs_is_refused_at_once(tmp_path, content, says):
    (tmp_path / "file.toml").write_bytes(content)
    assert says in refused(tmp_path / "file.toml")


def test_files_that_are_none(tmp_path):
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "nothing.toml")
    assert "cannot be read (Is a directory)" in refused(tmp_path)
    assert "cannot be read (File name too long)" in refused(tmp_path / ("a" * 300))


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "file.toml").write_bytes(b"\xef\xbb\xbfa = 9223372036854775807\r\nb = 1979-05-27\r\n")
    assert read_toml(tmp_path / "file.toml")["a"] == 2**63 - 1


@given(st.binary(max_size=200) | st.text(alphabet="ab=.[]{}\"'0x_-#,\n\\u \t", max_size=60).map(str.encode))
def test_anything_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        read = read_toml(path)
    except SettingError:
        refused(path)
    else:
        assert isinstance(read, dict)

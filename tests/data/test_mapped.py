import pickle

import pytest
import torch

from whydeep.data import locate, map_dataset


def test_a_mapped_data_set_is_the_same(tmp_path):
    images = locate("digits").load()
    mapped = pickle.loads(pickle.dumps(map_dataset(images, tmp_path / "images")))
    loaded = mapped.load()
    for name, value in vars(images).items():
        other = getattr(loaded, name)
        assert torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value
    assert len(pickle.dumps(mapped)) < 3000


def test_what_a_process_writes_to_it_is_its_own(tmp_path):
    mapped = map_dataset(locate("digits").load(), tmp_path / "images")
    before = (tmp_path / "images" / "train_inputs.npy").read_bytes()
    mapped.load().train_inputs[0] = 7
    assert (tmp_path / "images" / "train_inputs.npy").read_bytes() == before


def test_where_it_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        map_dataset(locate("digits").load(), tmp_path / "file" / "images")

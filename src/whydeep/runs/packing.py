"""Nested values of arrays, tensors, data sets, numbers and texts as bytes, without code that reading would run."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import torch
import xarray

from whydeep.runs import netcdf

_STRUCTURE = "structure"


def pack(value: Any) -> bytes:
    """Return a value as bytes.

    Args:
        value: numbers, texts, bytes, None, tensors, arrays and data sets, in lists, tuples and dictionaries whose keys
            are texts.

    Raises:
        TypeError: something else.

    >>> unpack(pack({"step": 3, "parts": [torch.ones(2), (1.5, "a")]}))
    {'step': 3, 'parts': [tensor([1., 1.]), (1.5, 'a')]}
    """
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_take_apart(value, arrays))
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{_STRUCTURE: np.array(structure)}, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> Any:
    """Return the value; tensors lie on the devices where they were.

    Raises:
        ValueError: the bytes are something else.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _put_together(json.loads(str(arrays[_STRUCTURE])), arrays)
    except (KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"not a packed value ({error})") from None


def _take_apart(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Turn a value into JSON, and its arrays into entries."""

    def keep(array: np.ndarray) -> str:
        arrays[name := f"array-{len(arrays)}"] = array
        return name

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_take_apart(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_take_apart(item, arrays) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _take_apart(item, arrays) for key, item in value.items()}}
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        kind = str(value.dtype).removeprefix("torch.")
        return {"tensor": keep(raw), "dtype": kind, "shape": list(value.shape), "device": str(value.device)}
    if isinstance(value, xarray.Dataset):
        return {"dataset": keep(np.frombuffer(netcdf.to_bytes(value), dtype=np.uint8))}
    if isinstance(value, bytes):
        return {"bytes": keep(np.frombuffer(value, dtype=np.uint8))}
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return {"array" if isinstance(value, np.ndarray) else "scalar": keep(np.asarray(value))}
    raise TypeError(f"{type(value).__name__} cannot be kept: give tensors, arrays, data sets, numbers or texts")


def _put_together(part: Any, arrays: Any) -> Any:
    if isinstance(part, list):
        return [_put_together(item, arrays) for item in part]
    if not isinstance(part, dict):
        return part
    if "tuple" in part:
        return tuple(_put_together(item, arrays) for item in part["tuple"])
    if "dict" in part:
        return {key: _put_together(item, arrays) for key, item in part["dict"].items()}
    if "tensor" in part:
        raw, dtype = torch.from_numpy(arrays[part["tensor"]]), getattr(torch, part["dtype"])
        tensor = raw.view(dtype) if len(raw) else torch.empty(0, dtype=dtype)  # nothing cannot be viewed
        return tensor.reshape(part["shape"]).to(part["device"])
    if "dataset" in part:
        return netcdf.from_bytes(arrays[part["dataset"]].tobytes())
    if "bytes" in part:
        return arrays[part["bytes"]].tobytes()
    return arrays[part["array"]] if "array" in part else arrays[part["scalar"]][()]

"""Arrays of numpy, torch and jax: how they are recognised, and how bytes go in and out.

No framework is imported here before the user has: an array of one cannot exist otherwise.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np

from holdfast.errors import CaptureError, MismatchError
from holdfast.state import dtypes
from holdfast.state.tree import Array, Leaf, View

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "I64": "int64", "U64": "uint64", "F64": "float64",
    "C64": "complex64", "<c16": "complex128", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_FROM_TORCH = {f"torch.{spelling}": name for name, spelling in _TORCH.items()}


# --- what an array is ------------------------------------------------------------------------------------------------


def framework_of(value: object) -> str | None:
    """ "numpy", "torch" or "jax" for an array of one of them, else None."""
    if type(value) is np.ndarray or isinstance(value, np.ndarray):
        return "numpy"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return "torch"
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, jax.Array):
        return "jax"
    return None


def is_jax_key(value: object) -> bool:
    """Whether this is an array of jax's typed random keys, or a place for one."""
    jax = sys.modules.get("jax")
    return (
        jax is not None
        and isinstance(value, jax.Array | jax.ShapeDtypeStruct)
        and bool(jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key))
    )


def is_abstract(value: object) -> bool:
    """Whether this is a jax.ShapeDtypeStruct: a place for an array, without bytes."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.ShapeDtypeStruct)


def is_uninitialised(value: object) -> bool:
    """Whether this is a parameter or a buffer of a lazy module of torch, which has no shape yet."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and bool(torch.nn.parameter.is_lazy(value))


def dtype_of(value: Any, framework: str) -> str:
    """The name of an array's dtype, as state/dtypes.py has it.

    Raises:
        CaptureError: it is one whose bytes cannot be kept.
    """
    if framework == "torch":
        name = _FROM_TORCH.get(str(value.dtype))
        if name is None:
            raise CaptureError(
                f"a tensor of {value.dtype} cannot be kept; convert it to another dtype, as to torch.float32 or "
                "torch.complex64"
            )
        return name
    return _dtype_name(np.dtype(value.dtype))


@lru_cache(maxsize=256)
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtypes.from_numpy(dtype)


def item_size(value: Any, framework: str) -> int:
    """Bytes that one element of an array takes."""
    return int(value.element_size() if framework == "torch" else np.dtype(value.dtype).itemsize)


def check(value: Any, framework: str) -> None:
    """Raises CaptureError for an array without plain bytes of its own; says what would work."""
    kind = type(value)
    if framework == "numpy":
        if kind not in (np.ndarray, np.memmap):
            raise CaptureError(
                f"a {kind.__name__} is more than an array; keep numpy.asarray of it, and beside that what else it holds"
            )
        if value.dtype.kind == "T":
            raise CaptureError("an array of numpy's StringDType cannot be kept; keep value.astype('U')")
        if value.dtype.hasobject:
            raise CaptureError(
                "an array of Python objects holds addresses, not values; keep a list, or an array of numbers or strings"
            )
    elif framework == "torch":
        _check_tensor(value, kind)
    else:
        jax = sys.modules["jax"]
        if isinstance(value, jax.core.Tracer):
            raise CaptureError("this is traced by jax.jit, jax.grad or the like and has no values; save outside of it")
        if value.is_deleted():
            raise CaptureError(
                "the jax array was deleted, probably donated to a jitted function; save what that returned"
            )
        if not value.is_fully_addressable:
            raise CaptureError("the jax array lies on devices of other processes, which one process cannot save")


def refuses_writes(value: Any, framework: str) -> str | None:
    """What an array is that nobody can write to; None for every other."""
    if framework == "numpy":
        return None if value.flags.writeable else "an array that is read-only"
    if framework == "torch" and value.is_inference() and not sys.modules["torch"].is_inference_mode_enabled():
        return "an inference tensor, which can be written to only inside torch.inference_mode()"
    return None


def _check_tensor(value: Any, kind: type) -> None:
    torch = sys.modules["torch"]
    if value.is_meta:
        raise CaptureError("a tensor on the meta device has no values; materialise it first, as module.to_empty() does")
    if kind not in (torch.Tensor, torch.nn.Parameter):
        if is_uninitialised(value):
            raise CaptureError(f"an {kind.__name__} has no shape yet; keep its module, or run the module once first")
        raise CaptureError(
            f"a {kind.__module__}.{kind.__qualname__} is more than a tensor; keep the plain tensors it is made of "
            "(of a DTensor: full_tensor())"
        )
    if value.is_quantized:
        raise CaptureError(
            "a quantized tensor cannot be kept; keep value.int_repr() with its scale and zero point, or "
            "value.dequantize()"
        )
    if value.layout != torch.strided:
        raise CaptureError(
            f"a tensor of layout {value.layout} cannot be kept; keep value.to_dense(), or the tensors it is made of. A "
            "gradient of that layout waits for an optimizer step: take the snapshot right after a step, or give the "
            "module (of an Embedding: sparse=False) dense gradients"
        )
    if value.is_nested:
        raise CaptureError("a nested tensor cannot be kept; keep the list value.unbind()")


class Window:
    """Memory at an address, for numpy.asarray; the array made of it keeps `owner`, and with it the memory."""

    def __init__(self, address: int, shape: tuple[int, ...], owner: object, dtype: str = "|u1") -> None:
        self.owner = owner
        self.__array_interface__ = {"data": (address, False), "shape": shape, "typestr": dtype, "version": 3}


# --- bytes out -------------------------------------------------------------------------------------------------------


def address_of(value: Any) -> int:
    """Where the bytes of an array lie in main memory, in C order; 0 where they do not lie so, or there are none."""
    if isinstance(value, np.ndarray):
        if not value.nbytes or not value.flags.c_contiguous:
            return 0
        address: int = value.ctypes.data
        return address
    if framework_of(value) != "torch" or not value.is_cpu or value.is_conj() or value.is_neg():
        return 0
    return int(value.data_ptr()) if value.numel() and value.is_contiguous() else 0


def copy_into(leaf: Leaf, out: Bytes) -> None:
    """Copy the bytes of a leaf, in C order, into `out`: uint8 of shape (leaf.nbytes,)."""
    source = leaf.source
    if not leaf.nbytes:
        return
    framework = framework_of(source)
    if framework == "torch":
        torch = sys.modules["torch"]
        plain = source.detach().resolve_conj().resolve_neg()
        torch.from_numpy(out).view(plain.dtype).view(plain.shape).copy_(plain)
    elif framework == "jax":
        whole = out.view(carrier(leaf.dtype)).reshape(leaf.shape)
        for shard in source.addressable_shards:
            if shard.replica_id == 0:  # of each part once
                # the shard's own array: asking the user's would leave a copy cached in it
                whole[shard.index] = np.asarray(shard.data).view(whole.dtype)
    elif source.flags.c_contiguous:
        np.copyto(out, source.reshape(-1).view(np.uint8))
    else:
        np.copyto(raw(out.view(source.dtype).reshape(source.shape)), raw(source), casting="no")


def raw(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same elements as bytes where they have fields: numpy copies these one by one, and never what pads them."""
    return array if array.dtype.names is None else array.view(np.dtype((np.void, array.itemsize)))


def value_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The bytes of every element in C order, without what pads its fields."""
    names = array.dtype.names
    return array.tobytes() if names is None else b"".join([value_bytes(array[name]) for name in names])


def bytes_of(leaf: Leaf) -> Bytes:
    """The bytes of a leaf in C order: uint8 of shape (leaf.nbytes,); a view where they lie so, else a copy."""
    source = leaf.source
    if isinstance(source, np.ndarray) and source.flags.c_contiguous:
        return source.reshape(-1).view(np.uint8) if source.nbytes else np.empty(0, np.uint8)
    out = np.empty(leaf.nbytes, np.uint8)
    copy_into(leaf, out)
    return out


def carrier(dtype: str) -> np.dtype[Any]:
    """A numpy dtype that holds a dtype's bits: its own where numpy has it without help, else an int of its size."""
    return np.dtype(f"<u{dtypes.item_size(dtype)}") if _is_foreign(dtype) else dtypes.to_numpy(dtype)


def _is_foreign(dtype: str) -> bool:
    """Whether numpy has it only through ml_dtypes."""
    return dtype == "BF16" or dtype.startswith("F8") or not (dtype in dtypes.ITEM_SIZES or dtype[:1] in "<>|{[")


def shape_of(node: Array) -> tuple[int, ...]:
    return node.leaf.shape if node.view is None else node.view.shape


def dtype_name(node: Array) -> str:
    return node.leaf.dtype if node.view is None else node.view.dtype


def carried(node: Array, data: Bytes | None = None) -> np.ndarray[Any, Any]:
    """The array of a node, its bits in a carrier dtype: a view of `data`, by default of the leaf's bytes."""
    if data is None:
        data = bytes_of(node.leaf)
    view = node.view or View(0, node.leaf.dtype, node.leaf.shape, ())
    dtype = carrier(view.dtype)
    if 0 in view.shape or not dtype.itemsize:
        return np.empty(view.shape, dtype)
    if node.view is None:
        return data.view(dtype).reshape(view.shape)
    found: np.ndarray[Any, Any] = np.ndarray(view.shape, dtype, data.data, view.offset, view.strides)
    return found


def can_cast(found: str, wanted: str, casting: Any) -> bool:
    """Whether bits of one dtype may become those of another.

    Raises:
        UnknownFormatError: numpy does not have one of them.
    """
    return _is_same(found, wanted) or bool(np.can_cast(dtypes.to_numpy(found), dtypes.to_numpy(wanted), casting))


def cast(array: np.ndarray[Any, Any], found: str, wanted: str) -> np.ndarray[Any, Any]:
    """Carried bits of one dtype as carried bits of another, which can_cast has allowed.

    Raises:
        ValueError, TypeError: an element, such as a text, has no counterpart.
    """
    if _is_same(found, wanted):
        return array if found == wanted else array.view(carrier(wanted))
    values, target = array.view(dtypes.to_numpy(found)), dtypes.to_numpy(wanted)
    if values.dtype.kind == "c" and target.kind in "biuf":
        values = values.real  # numpy would warn of what the caller allowed
    with np.errstate(all="ignore"):
        return values.astype(target).view(carrier(wanted))


def _is_same(found: str, wanted: str) -> bool:
    """Whether the bits are the same: numpy writes dtypes of ml_dtypes into an npz as bytes without a type."""
    return found == wanted or (_is_foreign(wanted) and found == f"|V{dtypes.item_size(wanted)}")


# --- bytes in --------------------------------------------------------------------------------------------------------


def fill(target: Any, framework: str, array: np.ndarray[Any, Any]) -> None:
    """Copy carried bits of the target's own dtype and shape into a numpy array or a torch tensor, in place."""
    if framework == "numpy":
        if target.nbytes:
            np.copyto(raw(target.view(array.dtype)), raw(array))
        return
    torch = sys.modules["torch"]
    with torch.no_grad():
        target.detach().copy_(_tensor(array, target.dtype))


def wrap(array: np.ndarray[Any, Any], dtype: str, framework: str, device: Any = None, like: Any = None) -> Any:
    """An array of a framework over carried bits: of jax, a new one; of torch, writable, so that the memory must be.

    Args:
        device: of torch or jax.
        like: a jax array; where there is no device, the new one is placed as this is.
    Raises:
        UnknownFormatError: numpy has no such dtype, or only with ml_dtypes.
        MismatchError: the framework has no such dtype.
    """
    if framework == "torch":
        tensor = _tensor(array, torch_dtype(dtype))
        return tensor if device is None else tensor.to(device)
    array = array.view(dtypes.to_numpy(dtype)) if array.dtype.itemsize else array
    return on_jax(np.ascontiguousarray(array).reshape(array.shape), like, device) if framework == "jax" else array


def torch_dtype(name: str) -> Any:
    """torch's own dtype of that name.

    Raises:
        MismatchError: there is none.
    """
    found = getattr(sys.modules["torch"], _TORCH.get(name, ""), None)
    if found is None:
        raise MismatchError(f"torch has no dtype for {name}; load it with framework='numpy'")
    return found


def on_jax(array: np.ndarray[Any, Any], like: Any = None, device: Any = None) -> Any:
    """A new jax array of a numpy array, whose memory nobody else may write to: jax may keep it.

    Args:
        like: a jax array, or a place for one: it says where the new one goes unless `device` does, and whether its
            dtype gives way to others' (a weak type).
    Raises:
        MismatchError: jax would change the dtype.
    """
    jax = sys.modules["jax"]
    sharding = getattr(like, "sharding", None)
    if device is None and sharding is not None and getattr(like, "committed", True):
        device = sharding
    try:
        made = jax.device_put(_weakly_typed(array) if getattr(like, "weak_type", False) else array, device)
    except TypeError as error:
        raise MismatchError(f"jax has no dtype {array.dtype}: {error}") from None
    if made.dtype != array.dtype:
        raise MismatchError(f"jax makes {made.dtype} of {array.dtype}; set jax_enable_x64, or convert it")
    return made


def _weakly_typed(array: np.ndarray[Any, Any]) -> Any:
    """The same as a jax array of a weak type, which only Python's numbers have; unchanged where they have another."""
    jnp = sys.modules["jax"].numpy
    zero = {"i": 0, "f": 0.0, "c": 0j}.get(array.dtype.kind)
    place = None if zero is None else jnp.broadcast_to(jnp.asarray(zero), array.shape)
    return array if place is None or place.dtype != array.dtype else place.at[...].set(array)


def _tensor(array: np.ndarray[Any, Any], dtype: Any) -> Any:
    """A tensor over the memory of an array of carried bits, which must outlive it or belong to it alone."""
    torch = sys.modules["torch"]
    if not array.size:
        return torch.empty(array.shape, dtype=dtype)
    if not array.dtype.isnative or (
        not array.flags.c_contiguous and any(stride < 0 or stride % array.itemsize for stride in array.strides)
    ):
        array = np.ascontiguousarray(array).reshape(array.shape)
    if not array.flags.writeable:
        owned = Window(array.ctypes.data, (), array)
        owned.__array_interface__ |= {"shape": array.shape, "strides": array.strides, "typestr": array.dtype.str}
        array = np.asarray(owned)  # torch warns of read-only memory, which is only read here
    tensor = torch.from_numpy(array)
    return tensor if tensor.dtype == dtype else tensor.view(dtype)

"""What torch.save writes is read as torch.load reads it: names, dtypes, shapes, bytes."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_oracle import KINDS, load, name_all, read, save, scan, splice

from git_theta.errors import CheckpointError
from theta_pytorch.storages import DTYPES, LEGACY_DTYPES

QUANTIZED = "ignore:.*quantized tensor creation functions:UserWarning"

kinds = pytest.mark.parametrize("kind", KINDS)


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def of_any_dtype(name: str, nbytes: int = 48) -> torch.Tensor:
    raw = torch.arange(nbytes, dtype=torch.uint8)
    return (raw % 2 if name == "bool" else raw).view(getattr(torch, name))


def trained() -> dict[str, Any]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    model(numbers(5, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    states = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    return {"epoch": 3, "state_dict": model.state_dict(), **states}


def views() -> dict[str, Any]:
    base = numbers(6, 8)
    return {
        "base": base,
        "rows": base[2:4],
        "columns": base[:, 3:5],
        "transposed": base.t(),
        "every_second": base.flatten()[1::2],
        "diagonal": base.diagonal(),
        "scalar": base[1, 1],
        "expanded": base[0].expand(5, 8),
        "overlapping": base.flatten().unfold(0, 4, 2),
        "empty_slice": base[3:3],
        "one_wide": base[:1],
        "same": base,
        "viewed": base.view(4, 12),
    }


OBJECTS: dict[str, Callable[[], Any]] = {
    "state dict": lambda: torch.nn.TransformerEncoderLayer(8, 2, 16).state_dict(),
    "training checkpoint": trained,
    "views": views,
    "nested": lambda: {"a": [numbers(2), {"b": (numbers(3), [[numbers(1)]])}], 7: {0: numbers(4)}},
    "odd keys": lambda: {"": numbers(1), None: numbers(2), True: numbers(3), 2.5: numbers(4)},
    "a tensor": lambda: numbers(2, 3),
    "a parameter": lambda: torch.nn.Parameter(numbers(2, 3)),
    "a list": lambda: [numbers(2), numbers(3)],
    "parameters": lambda: OrderedDict(w=torch.nn.Parameter(numbers(4), requires_grad=False)),
    "unicode": lambda: {"größe.权重": numbers(2), "sp ace\n": numbers(3)},
    "empty": lambda: {"none": torch.empty(0), "square": torch.empty(3, 0, 2), "real": numbers(1)},
    "scalars": lambda: {"zero": torch.tensor(0.5), "int": torch.tensor(3), "n": 4, "text": "x"},
    "nothing": lambda: {},
    "a number": lambda: 5,
}


@kinds
@pytest.mark.parametrize("name", OBJECTS)
def test_groups_are_those_that_torch_loads(name: str, kind: str) -> None:
    data = save(OBJECTS[name](), kind)
    assert scan(data)[0].name == kind
    assert read(data) == name_all(load(data))


@kinds
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.filterwarnings("ignore:ComplexHalf support:UserWarning")
def test_every_dtype_is_read_and_spliced(name: str, kind: str) -> None:
    tensor = of_any_dtype(name)
    content = {"t": tensor, "part": tensor[1:3], "m": tensor.reshape(3, -1)}
    data = save(content, kind)
    assert read(data) == name_all(content)
    other = bytes(byte ^ 1 for byte in read(data)["t"].data)
    spliced = splice(data, {"t": other})
    assert read(spliced)["t"].data == other
    if kind == "pytorch" or DTYPES[name] in LEGACY_DTYPES:
        assert read(spliced) == name_all(load(spliced))


@kinds
def test_strided_views_of_new_dtypes_are_read(kind: str) -> None:
    tensor = of_any_dtype("float8_e4m3fn").reshape(6, 8)
    content = {"t": tensor.t(), "u": tensor[:, 2:]}
    assert read(save(content, kind)) == name_all(content)


def test_views_of_other_dtypes_are_named_where_a_layout_can_tell_them() -> None:
    storage = of_any_dtype("uint16")
    same_size, bytes_of_it = storage[2:], storage.view(torch.float8_e5m2)
    data = save({"u16": storage, "more": same_size, "f8": bytes_of_it, "late": bytes_of_it[1:]})
    expected = name_all(load(data))
    del expected["late"]  # an offset in elements of another size
    assert read(data) == expected


def test_aliases_share_one_buffer() -> None:
    _, layout = scan(save(views()))
    assert len(layout.buffers) == 1
    assert {tensor.name: tensor.strides for tensor in layout.tensors}["transposed"] == (1, 8)
    assert all(tensor.strides is None for tensor in layout.tensors if tensor.name == "viewed")


@pytest.mark.filterwarnings(QUANTIZED)
def test_storages_without_a_tensor_are_buffers() -> None:
    conjugated = torch.complex(numbers(3), numbers(3)).conj()
    quantized = torch.quantize_per_channel(
        numbers(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), 0, torch.qint8
    )
    content = {"raw": torch.UntypedStorage(7), "conjugated": conjugated, "quantized": quantized}
    _, layout = scan(save(content))
    assert sorted((buffer.dtype, buffer.nbytes) for buffer in layout.buffers) == [
        ("C64", 24),
        ("F64", 16),
        ("I64", 16),
        ("I8", 6),
        ("U8", 7),
    ]
    assert {t.name for t in layout.tensors} == {"quantized.scales", "quantized.zero_points"}


@pytest.mark.filterwarnings(QUANTIZED)
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
@kinds
def test_quantized_bytes_are_kept(dtype: torch.dtype, kind: str) -> None:
    quantized = torch.quantize_per_tensor(numbers(4, 3), 0.1, 10, dtype)
    _, layout = scan(save({"q": quantized}, kind))
    assert layout.tensors == ()
    assert [buffer.nbytes for buffer in layout.buffers] == [12 * quantized.element_size()]


@kinds
def test_parts_of_sparse_tensors_are_groups(kind: str) -> None:
    dense = torch.eye(3) * 2
    data = save({"coo": dense.to_sparse(), "plain": dense}, kind)
    coo = load(data)["coo"]
    parts = {"coo.indices": coo._indices(), "coo.values": coo._values(), "plain": dense}
    assert read(data) == name_all(parts)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_parts_of_compressed_sparse_tensors_are_groups() -> None:
    csr = (torch.eye(3) * 2).to_sparse_csr()
    parts = {"crow_indices": csr.crow_indices(), "col_indices": csr.col_indices()}
    assert read(save(csr)) == name_all({**parts, "values": csr.values()})


def test_meta_tensors_have_no_group() -> None:
    data = save({"meta": torch.empty(4, device="meta"), "real": numbers(2)})
    assert set(read(data)) == {"real"}


class Subclass(torch.Tensor):
    """A tensor with attributes of its own."""


class Wrapper(torch.Tensor):
    """A tensor that has no storage itself, and parts that do."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapper:
        made: Wrapper = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise NotImplementedError(func)


def test_subclasses_and_their_attributes_are_named() -> None:
    tensor = numbers(3).as_subclass(Subclass)
    tensor.scale = numbers(2)
    parameter = torch.nn.Parameter(numbers(4))
    parameter.extra = numbers(1)
    data = save({"t": tensor, "p": parameter})
    assert read(data) == name_all(
        {"t": numbers(3), "t.scale": numbers(2), "p": numbers(4), "p.extra": numbers(1)}
    )


def test_parts_of_wrapper_subclasses_are_named() -> None:
    data = save({"w": Wrapper(numbers(3)), "t": numbers(2)})
    assert read(data) == name_all({"w.inner": numbers(3), "t": numbers(2)})


class Configuration:
    """A class that only the author of a checkpoint has."""

    def __init__(self) -> None:
        self.weights = {"w": numbers(3)}
        self.itself = self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return super().__reduce_ex__(protocol)


class Slotted:
    """A class whose attributes pickle sets in another way."""

    __slots__ = ("weight",)

    def __init__(self) -> None:
        self.weight = numbers(2)


class Mapping(dict[str, Any]):
    """A dict that pickle fills after making it."""


@kinds
def test_custom_classes_are_inert_and_named_by_their_attributes(kind: str) -> None:
    content = {"hyper_parameters": Configuration(), "state_dict": {"w": numbers(4)}}
    content["slotted"], content["mapping"] = Slotted(), Mapping(x=numbers(5))
    content["default"] = defaultdict(list, y=[numbers(6)])
    data = save(content, kind)
    assert read(data) == name_all(
        {
            "hyper_parameters.weights.w": numbers(3),
            "state_dict.w": numbers(4),
            "slotted.weight": numbers(2),
            "mapping.x": numbers(5),
            "default.y.0": numbers(6),
        }
    )
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        load(data, weights_only=True)


@kinds
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
def test_whole_modules_have_the_names_of_their_state_dict(kind: str) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    data = save({"model": module}, kind)
    assert read(data) == name_all({"model": module})


def test_graph_modules_have_the_names_of_their_state_dict() -> None:
    module = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    assert read(save(module)) == name_all(module)


def test_tied_weights_are_named_twice_and_stored_once() -> None:
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    second.weight = first.weight
    module = torch.nn.ModuleDict({"embed": first, "head": second})
    for content in (module, module.state_dict()):
        _, layout = scan(save(content))
        buffers = {tensor.name: tensor.buffer for tensor in layout.tensors}
        assert buffers["embed.weight"] == buffers["head.weight"]
        assert len(layout.buffers) == 3


def test_equal_paths_get_numbers() -> None:
    data = save({"a": {"b": numbers(1)}, "a.b": numbers(2), "a.b#2": numbers(3), 1: [numbers(4)]})
    shapes = {name: value.shape for name, value in read(data).items()}
    assert shapes == {"a.b": (1,), "a.b#2": (2,), "a.b#2#2": (3,), "1.0": (4,)}


def test_huge_expanded_views_have_no_group() -> None:
    data = save({"huge": torch.zeros(1).expand(2**40), "some": torch.ones(1).expand(9)})
    assert set(read(data)) == {"some"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@kinds
def test_every_pickle_protocol_of_torch_is_read(protocol: int, kind: str) -> None:
    data = save(trained(), kind, pickle_protocol=protocol)
    assert read(data) == name_all(load(data, weights_only=protocol == 2))


def test_a_legacy_pickle_longer_than_the_first_read_is_read() -> None:
    content = {"text": ["x" * 4000 + str(n) for n in range(5000)], "w": numbers(3)}
    assert set(read(save(content, "pytorch-legacy"))) == {"w"}


def test_ordered_dicts_of_python_2_are_read() -> None:
    data = save({"w": numbers(3)}, "pytorch-legacy")
    new = b"}q\x00X\x01\x00\x00\x00w"
    assert new in data
    old = b"ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x01w"
    head, _, tail = data.partition(new)
    body, _, rest = tail.partition(b"s.")  # SETITEM, STOP
    changed = head + old + body + b"ea\x85R." + rest
    assert read(changed) == name_all({"w": numbers(3)})
    assert name_all(load(changed, weights_only=False)) == read(changed)


@settings(max_examples=60)
@given(
    st.recursive(
        st.integers(0, 5) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("ab.#2", max_size=2) | st.integers(0, 3), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_any_nesting_has_all_its_tensors(content: Any) -> None:
    def grow(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: grow(value) for key, value in part.items()}
        if isinstance(part, list):
            return [grow(value) for value in part]
        return torch.full((part,), 0.5) if isinstance(part, int) else part

    def count(part: Any) -> int:
        parts = part.values() if isinstance(part, dict) else part
        return sum(map(count, parts)) if isinstance(part, dict | list) else isinstance(part, int)

    data = save(grow(content))
    found, expected = read(data), name_all(load(data))
    assert len(found) == count(content)
    assert {name: found[name].dtype for name in expected} == dict.fromkeys(expected, "F32")


@kinds
def test_a_tensor_outside_its_storage_is_refused(kind: str) -> None:
    data = save({"w": numbers(3, 5)}, kind)
    assert data.count(b"K\x03K\x05\x86") == 1
    with pytest.raises(CheckpointError, match=r"ends at byte 64 of storage"):
        scan(data.replace(b"K\x03K\x05\x86", b"K\x03K\x06\x86"))

"""What an object of a pickle holds, each part with its name: as torch's ``state_dict`` has it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from theta_pytorch.pickles.stand_ins import Global, Inert, Pairs

Children = Iterator[tuple[str | None, object]]
"""Parts of an object; a part with None for a name hangs where the object does."""

# What nn.Module keeps in these attributes, state_dict names without them.
_MODULE = ("_parameters", "_buffers", "_modules")

_SIMPLE = (str, int, float, bool, type(None))

_SPARSE = {
    "torch.sparse_coo": ("indices", "values"),
    "torch.sparse_csr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_bsr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_csc": ("ccol_indices", "row_indices", "values"),
    "torch.sparse_bsc": ("ccol_indices", "row_indices", "values"),
}

_WRAPPERS = {
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
    ("torch.fx.graph_module", "reduce_graph_module"),
    ("torch.fx.graph_module", "reduce_deploy_graph_module"),
}

_SUBCLASSED = {
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch._tensor", "_rebuild_from_type"),
    ("torch.tensor", "_rebuild_from_type"),
}


def unwrap(record: Inert) -> tuple[object, object] | None:
    """What is inside a record that only decorates a value, and the attributes that it adds.

    Returns
    -------
    tuple or None
        The value and the attributes; None where the record is no decoration.
    """
    function, args = record.type, record.args
    if not isinstance(function, Global) or type(args) is not tuple or not args:
        return None
    name = (function.module, function.name)
    if name in _WRAPPERS or function.module == "torch.jit._pickle":
        return args[0], args[3] if function.name.endswith("_with_state") and args[3:] else None
    if name in _SUBCLASSED and len(args) > 3:
        return Inert(args[0], args[2]), args[3]
    return None


def list_children(value: object) -> Children:
    """The named parts of an object; nothing for what has none."""
    if isinstance(value, Pairs):
        return _list_items(value)
    if isinstance(value, list | tuple):
        return ((str(index), part) for index, part in enumerate(value))
    if isinstance(value, Inert):
        return _list_parts(value)
    return iter(())


def list_attributes(record: Inert) -> Children:
    """What was added to an object after it was made: attributes, items."""
    state = record.state
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and those in slots
        yield from ((None, part) for part in state)
    elif state is not None:
        yield None, state
    yield None, record.pairs
    yield None, record.items


def _list_parts(record: Inert) -> Children:
    function, args = record.type, record.args
    named = (function.module, function.name) if isinstance(function, Global) else ("", "")
    match named, args:
        case ("torch._utils", "_rebuild_sparse_tensor"), (Inert(args=(str() as layout,)), parts):
            yield from zip(_SPARSE.get(layout, ()), _sequence(parts), strict=False)
        case ("torch._utils", "_rebuild_qtensor"), (_, _, _, _, (_, scales, zero_points, _), *_):
            yield "scales", scales
            yield "zero_points", zero_points
        case ("collections", "OrderedDict"), ([[_, _], *_] as pairs,):  # as Python 2 wrote it
            halves = [_sequence(pair) for pair in pairs]
            yield None, Pairs(part for pair in halves if len(pair) == 2 for part in pair)
        case _:
            yield None, args
    yield from list_attributes(record)


def _list_items(pairs: Pairs) -> Children:
    keys, values = pairs[::2], pairs[1::2]
    if not all(type(key) in _SIMPLE for key in keys):
        yield from ((f"({n})", value) for n, value in enumerate(values))
        return
    items: dict[Hashable, tuple[object, object]] = {}
    for key, value in zip(keys, values, strict=True):
        same = identify(key)
        first, _ = items.get(same, (key, None))
        items[same] = first, value  # of equal keys the first one names and the last value holds
    module = all(name in items for name in _MODULE)
    for key, value in items.values():
        yield None if module and key in _MODULE else str(key), value


def identify(key: object) -> Hashable:
    """What two keys of a dict share if, and only if, they are equal; NaN equals NaN here.

    A number is told by its digits: Python salts the hashes of text, so a file cannot choose keys
    that collide. With numbers it can, small ones too, and a dict of them takes quadratic time.
    """
    match key:
        case float() if not key.is_integer():
            return "float", key.hex()
        case int() | float():  # True is 1 is 1.0
            return "int", hex(int(key))
        case _:
            return key


def _sequence(value: object) -> list[object] | tuple[object, ...]:
    return value if isinstance(value, list | tuple) else ()

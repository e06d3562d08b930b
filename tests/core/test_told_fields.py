"""What may be told of a group: fields that fit it become updates, all others are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from git_theta.errors import UpdateFileError
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.updates.interface import Numbers

_NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
}


def _numbers(tensor: torch.Tensor) -> Numbers:
    data = tensor.contiguous().view(torch.uint8) if tensor.ndim else tensor[None].view(torch.uint8)
    return Numbers(BytesSource(data.numpy().tobytes()), _NAMES[tensor.dtype], tuple(tensor.shape))


def _tell(kind: str, base: torch.Tensor, **fields: torch.Tensor) -> torch.Tensor | None:
    """The base after an update, or None when it changes nothing."""
    numbers = _numbers(base)
    update_type = installed().update_type(kind)
    update = update_type.tell(numbers, {name: _numbers(told) for name, told in fields.items()})
    if update is None:
        return None
    bases = [numbers.data] if update_type.max_bases else []
    decoded = update_type.decode(update, bases, numbers.dtype, numbers.data.size)
    found = torch.frombuffer(bytearray(decoded.read(0, decoded.size)), dtype=base.dtype)
    return found.reshape(base.shape)


def _csr(positions: list[int], values: list[float], shape: tuple[int, ...]) -> dict:
    return {
        "data": torch.tensor(values, dtype=torch.float32),
        "indices": torch.tensor(positions, dtype=torch.int32),
        "indptr": torch.tensor([0, len(positions)]),
        "shape": torch.tensor(shape),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@given(data=st.data())
def test_sparse_values_are_added_at_their_indices(dtype, data):
    shape = data.draw(st.sampled_from([(7,), (3, 5), (2, 3, 4)]))
    base = torch.arange(torch.tensor(shape).prod(), dtype=torch.float32).reshape(shape).to(dtype)
    at = data.draw(st.lists(st.integers(0, base.numel() - 1), unique=True, min_size=1))
    values = data.draw(st.lists(st.floats(-4, 4, width=16), min_size=len(at), max_size=len(at)))
    expected = base.clone().double()
    expected.view(-1)[at] += torch.tensor(values, dtype=torch.float64)
    found = _tell("sparse", base, **_csr(at, values, shape))
    assert torch.equal(base if found is None else found, expected.to(dtype))


def test_a_sparse_matrix_may_have_the_rows_of_its_group():
    fields = _csr([2, 0, 1], [1.0, 2.0, 3.0], (2, 3)) | {"indptr": torch.tensor([0, 1, 3])}
    found = _tell("sparse", torch.zeros(2, 3), **fields)
    assert found.tolist() == [[0, 0, 1], [2, 3, 0]]


def test_a_convolution_takes_factors_as_a_matrix():
    base = torch.randn(8, 4, 3, 3)
    left, right = torch.randn(8, 2), torch.randn(2, 4, 3, 3)
    expected = base + (left @ right.reshape(2, -1)).reshape(base.shape)
    torch.testing.assert_close(_tell("low-rank", base, R=left, C=right), expected)


def test_zeros_change_nothing():
    base = torch.randn(8, 8)
    assert _tell("low-rank", base, R=torch.zeros(8, 1), C=torch.randn(1, 8)) is None
    assert _tell("sparse", base, **_csr([], [], (8, 8))) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": torch.tensor([3, 2])}, r"the shape \[2, 3\], found \[3, 2\]"),
        ({"indices": torch.tensor([0, 6])}, "indices below 6, found 6"),
        ({"indices": torch.tensor([0, -1])}, "indices below 6"),
        ({"indices": torch.tensor([1, 1])}, "each index once"),
        ({"indices": torch.tensor([1])}, "data and indices of one length"),
        ({"indices": torch.tensor([[0, 1]])}, "data and indices of one length"),
        ({"indptr": torch.tensor([0, 1])}, "an indptr that cuts them into 1 row or 2"),
        ({"indptr": torch.tensor([0, 3, 2])}, "an indptr that cuts them"),
        ({"indptr": torch.tensor([0, 1, 1, 2])}, "an indptr that cuts them"),
        ({"indptr": torch.tensor([], dtype=torch.int64)}, "an indptr that cuts them"),
        ({"indices": torch.tensor([0.0, 1.0])}, "indices is F32, expected whole numbers"),
        ({"data": torch.tensor([1, 2])}, "data is I64, expected one of"),
        ({"data": torch.tensor([1.0, torch.inf])}, "infinite or NaN"),
    ],
)
def test_sparse_fields_that_do_not_fit_are_refused(change, message):
    fields = _csr([0, 5], [1.0, 2.0], (2, 3)) | change
    with pytest.raises(UpdateFileError, match=message):
        _tell("sparse", torch.zeros(2, 3), **fields)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 300.0), (torch.bfloat16, 3e19)])
def test_factors_whose_sum_leaves_the_dtype_are_refused(dtype, size):
    base = torch.zeros(8, 8, dtype=dtype)
    with pytest.raises(UpdateFileError, match="too large"):
        _tell("low-rank", base, R=torch.full((8, 1), size), C=torch.full((1, 8), size))
    with pytest.raises(UpdateFileError, match="too large"):
        _tell("sparse", torch.full((2,), 6e4).half(), **_csr([1], [6e4], (2,)))


def test_numbers_that_are_not_finite_stay_where_a_product_is_added():
    base = torch.zeros(8, 8).half()
    base[1, 2] = torch.inf
    found = _tell("low-rank", base, R=torch.ones(8, 1), C=torch.ones(1, 8))
    assert found[1, 2] == torch.inf
    assert found[0, 0] == 1


@pytest.mark.parametrize("kind", ["low-rank", "sparse"])
def test_whole_numbers_cannot_be_told_by_floats(kind):
    fields = {"R": torch.ones(4, 1), "C": torch.ones(1, 4)} | _csr([0], [1.0], (4, 4))
    with pytest.raises(UpdateFileError, match="Expected a group of floats, found I64"):
        _tell(kind, torch.zeros(4, 4, dtype=torch.int64), **fields)


def test_dense_values_must_be_of_the_groups_dtype_and_shape():
    base = torch.zeros(4)
    assert torch.equal(_tell("dense", base, parameter=torch.ones(4)), torch.ones(4))
    for other in (torch.ones(4).double(), torch.ones(2, 2)):
        with pytest.raises(UpdateFileError, match=r"Expected F32 of shape \[4\], found"):
            _tell("dense", base, parameter=other)


def test_types_that_nothing_tells_say_so():
    with pytest.raises(UpdateFileError, match="An update of type delta cannot be told"):
        _tell("delta", torch.zeros(4))


def test_more_numbers_than_memory_is_for_are_refused_unread():
    class Endless(Source):
        size = 4 * 2**40

        def _read(self, offset, nbytes):
            raise AssertionError("nothing of it is to be read")

    huge = Numbers(Endless(), "F32", (2**20, 2**20))
    base = _numbers(torch.zeros(2**10, 2**10))
    with pytest.raises(UpdateFileError, match="R has 1099511627776 numbers, expected at most"):
        installed().update_type("low-rank").tell(base, {"R": huge, "C": huge})

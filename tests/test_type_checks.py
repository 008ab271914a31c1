"""Annotations of the packages are checked in all tests, wherever a function is defined."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import type_checks
from beartype import beartype
from jaxtyping import Float, Int, TypeCheckError

from uqdm.drawn.colours import Colours
from uqdm.exact.grids import CAPACITIES
from uqdm.exact.tiles import in_tiles

checked = functools.partial(type_checks.checked, typechecker=beartype)
Rows = Float[np.ndarray, "rows columns"]


@checked
def plain(number: int, *names: str, scale: float = 1.0) -> int:
    return number if scale else "none"  # type: ignore[return-value]


@checked
def sums(first: Rows, second: Rows | None = None) -> Float[np.ndarray, " columns"]:
    return first.sum(0) if second is None else second.sum(1)


@checked
def counting(count: int) -> Iterator[int]:
    yield from range(count)


class Box:
    @checked
    def same(self, other: "Box") -> "Box":
        return self


def within(count: int) -> Callable:
    """A function that is made anew in every call."""

    @checked
    def taken(values: Int[np.ndarray, "n m"], other: Int[np.ndarray, " n"], *, name: str = "") -> int | None:
        return None if len(values) == count else "many"  # type: ignore[return-value]

    return taken


def within_of_arrays(size: int) -> Callable:
    @checked
    def made(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.zeros(size)

    return made


def test_what_is_annotated_may_pass():
    assert plain(3, "a", scale=2.0) == 3
    assert sums(np.zeros((3, 2))).shape == (2,)
    assert sums(np.zeros((2, 2)), np.zeros((2, 2))).shape == (2,)
    assert list(counting(3)) == [0, 1, 2]
    assert Box().same(Box())
    for count in (2, 3):  # another function of the same code
        assert within(count)(np.zeros((count, 4), int), np.zeros(count, int)) is None
        assert within_of_arrays(count)(np.zeros(count)).shape == (count,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: plain("3"),
        lambda: plain(3, 4),
        lambda: plain(3, scale="2"),
        lambda: plain(3, scale=0.0),
        lambda: sums(np.zeros(3)),
        lambda: sums(np.zeros((3, 2), np.float32).astype(int)),
        lambda: sums(np.zeros((3, 2)), np.zeros((2, 3))),
        lambda: sums(np.zeros((3, 2)), np.zeros((3, 2))),
        lambda: counting("3"),
        lambda: Box().same("box"),
        lambda: within(2)(np.zeros((2, 3)), np.zeros(2, int)),
        lambda: within(2)(np.zeros((2, 3), int), np.zeros(3, int)),
        lambda: within(2)(np.zeros((2, 3), int), other=np.zeros(3, int)),
        lambda: within(2)(np.zeros((2, 3), int), np.zeros(2, int), name=4),
        lambda: within(3)(np.zeros((2, 3), int), np.zeros(2, int)),
        lambda: within_of_arrays(3)(np.zeros(2)),
    ],
)
def test_what_is_not_may_not(call):
    with pytest.raises((type_checks.AnnotationError, TypeCheckError)):
        call()


def test_functions_of_the_packages_are_checked():
    with pytest.raises(type_checks.AnnotationError):
        Colours("1", 4)
    with pytest.raises(type_checks.AnnotationError):
        CAPACITIES[0].holds(1.5, 2, 3)
    with pytest.raises(type_checks.AnnotationError):
        in_tiles(lambda tile, inside: (tile,), 1, [[1]])

"""The matrix multiplies out as in GitHub Actions."""

from collections.abc import Mapping

import pytest

from runner.errors import Mark
from runner.manifest.matrix import axis_values, cells
from runner.manifest.model import AxisValue, MatrixSpec, value_text

HERE = Mark("m.yaml", 1, 1)


def matrix(
    axes: Mapping[str, tuple[AxisValue, ...]],
    include: tuple[Mapping[str, AxisValue], ...] = (),
    exclude: tuple[Mapping[str, AxisValue], ...] = (),
) -> MatrixSpec:
    """A matrix without places."""
    return MatrixSpec(HERE, axes, include, exclude)


def test_no_matrix_is_one_cell() -> None:
    """A target without a matrix makes one job for each product."""
    assert cells(None) == ({},)


def test_order() -> None:
    """The last axis varies fastest; keys keep the order of the axes."""
    made = cells(matrix({"b": (1, 2), "a": ("x", "y")}))
    assert [tuple(cell.items()) for cell in made] == [
        (("b", 1), ("a", "x")),
        (("b", 1), ("a", "y")),
        (("b", 2), ("a", "x")),
        (("b", 2), ("a", "y")),
    ]


def test_exclude_matches_in_part() -> None:
    """An exclude removes every combination that it agrees with."""
    made = cells(matrix({"a": (1, 2), "b": (1, 2), "c": (1,)}, exclude=({"a": 1, "b": 2}, {"b": 1})))
    assert made == ({"a": 2, "b": 2, "c": 1},)


def test_include_as_github_documents_it() -> None:
    """The worked example of GitHub's documentation: fruit and animal."""
    include: tuple[Mapping[str, AxisValue], ...] = (
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    )
    assert cells(matrix({"fruit": ("apple", "pear"), "animal": ("cat", "dog")}, include)) == (
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    )


def test_include_alone() -> None:
    """Without axes every include is a combination of its own."""
    assert cells(matrix({}, ({"a": 1}, {"a": 2, "b": 3}))) == ({"a": 1}, {"a": 2, "b": 3})


def test_include_may_bring_back_what_exclude_removed() -> None:
    """Exclude comes first."""
    assert cells(matrix({"a": (1, 2)}, ({"a": 1, "b": 9},), ({"a": 1},))) == ({"a": 2}, {"a": 1, "b": 9})


def test_values_are_compared_as_text() -> None:
    """An exclude written as text matches the number, because job keys hold text."""
    assert cells(matrix({"a": (1, True, "x")}, exclude=({"a": "1"}, {"a": "true"}))) == ({"a": "x"},)


def test_true_is_not_one() -> None:
    """Python's equality of true and 1 does not leak into the matrix."""
    assert cells(matrix({"a": (1, True)}, exclude=({"a": True},))) == ({"a": 1},)


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (1, "1"), (1.5, "1.5"), ("x", "x")])
def test_values_as_text(value: AxisValue, text: str) -> None:
    """Axis values stand in job keys as YAML writes them."""
    assert value_text(value) == text


def test_axis_values() -> None:
    """Every value that really occurs, includes counted, excluded ones not."""
    assert axis_values(matrix({"a": (1, 2, 3)}, ({"a": 4, "b": "x"},), ({"a": 2},))) == {"a": ("1", "3", "4"), "b": ("x",)}
    assert axis_values(None) == {}

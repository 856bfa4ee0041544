"""Products at rest: keys, derived fields, filter, problems, digest, and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.catalogue import MAX_PROBLEMS, Catalogue
from runner.errors import CatalogueError, ManifestError, Mark, Problem, TemplateError
from runner.model import JSON, Product
from runner.naming import fold
from runner.sources import open_source

STEADY = settings(derandomize=True, database=None, deadline=None)

Fields = Mapping[str, JSON]


def rows(*products: Fields) -> list[tuple[int, Fields]]:
    """Rows as a source gives them, numbered from 2."""
    return list(enumerate(products, start=2))


def read(*products: Fields, key: str = "sku") -> Catalogue:
    """A catalogue of these products."""
    return Catalogue.read(rows(*products), file="p.csv", key=key)


def problems(*products: Fields, key: str = "sku") -> list[Problem]:
    """Everything that is wrong with these products."""
    with pytest.raises(ManifestError) as caught:
        read(*products, key=key)
    return caught.value.problems


# ------------------------------------------------------------------------------------------------------ what comes back


def test_products_come_back_by_number() -> None:
    """Products are numbered in the order of their rows, keep their types, and can be read in any order and again."""
    nested: JSON = {"l": [1, {"x": None}], "f": 1.5, "t": True, "s": "Größe 👩‍🚀", "big": 2**64 - 1, "neg": -(2**63)}
    with read({"sku": "A", "n": nested}, {"sku": "B/1"}, {"sku": 7}) as catalogue:
        assert len(catalogue) == 3
        assert catalogue[2] == catalogue[-1] == Product("7", {"sku": 7}, "p.csv", 4)
        assert catalogue[0] == Product("A", {"sku": "A", "n": nested}, "p.csv", 2)
        assert [product.key for product in catalogue] == ["A", "B/1", "7"]
        assert list(catalogue[0].fields) == ["sku", "n"]
        with pytest.raises(IndexError):
            catalogue[3]
        walk = iter(catalogue)
        next(walk)
        assert catalogue[0].key == "A"
        assert next(walk).key == "B/1"


def test_an_empty_catalogue() -> None:
    """No rows are no products, and no error here."""
    with read() as catalogue:
        assert (len(catalogue), list(catalogue), catalogue.dropped) == (0, [], 0)


def test_closing_twice() -> None:
    """Closing is final and may be repeated."""
    catalogue = read({"sku": "A"})
    catalogue.close()
    catalogue.close()
    with pytest.raises(ValueError, match="closed"):
        catalogue[0]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(STEADY, max_examples=40)
@given(st.lists(st.dictionaries(st.text("abc", max_size=2), JSON_VALUES, max_size=3), max_size=5))
def test_any_json_comes_back(products: list[dict[str, JSON]]) -> None:
    """Whatever JSON can say survives the shelf."""
    given_fields = [{**product, "sku": f"K{number}"} for number, product in enumerate(products)]
    with read(*given_fields) as catalogue:
        assert [product.fields for product in catalogue] == given_fields


# ----------------------------------------------------------------------------------------------------------------- keys


def test_keys_may_be_nested() -> None:
    """A dotted key leads into mappings and lists; a column of that very name comes first."""
    with read({"a": {"b": "x"}, "v": [{"sku": "y"}]}, key="a.b") as catalogue:
        assert catalogue[0].key == "x"
    with read({"a": {"b": "x"}, "v": [{"sku": "y"}]}, key="v.0.sku") as catalogue:
        assert catalogue[0].key == "y"
    with read({"a": {"b": "x"}, "a.b": "z"}, key="a.b") as catalogue:
        assert catalogue[0].key == "z"


@pytest.mark.parametrize(
    ("value", "code", "word"),
    [
        ("", "key-empty", "empty"),
        (None, "key-empty", "empty"),
        ("  ", "key-unusable", "is empty"),
        ("../x", "key-unusable", ".."),
        ("/x", "key-unusable", "outside"),
        ("a\nb", "key-unusable", "U+000A"),
        ("x" * 501, "key-unusable", "501"),
        (1.5, "key-type", "fraction"),
        (True, "key-type", "not text"),
        (["a"], "key-type", "not text"),
        ({"a": 1}, "key-type", "not text"),
    ],
)
def test_unusable_keys(value: JSON, code: str, word: str) -> None:
    """A key that is no key is a problem with the row's mark and the next thing to do."""
    (problem,) = problems({"sku": "A"}, {"sku": value})
    assert (problem.code, problem.mark.file, problem.mark.line, problem.mark.column) == (code, "p.csv", 3, 1)
    assert word in problem.message
    assert problem.hint


def test_all_problems_are_shown() -> None:
    """Every bad row is listed, in order, with the offending key."""
    found = problems({"sku": "A"}, {"sku": ""}, {"sku": "B"}, {"sku": "A"}, {"sku": "/b"}, {"name": "x"}, {"sku": "A"})
    assert [(problem.mark.line, problem.code, problem.mark.text) for problem in found] == [
        (3, "key-empty", ""),
        (5, "duplicate-key", "A"),
        (6, "key-unusable", "/b"),
        (7, "key-missing", ""),
        (8, "duplicate-key", "A"),
    ]
    assert "row 2" in found[1].message


def test_a_missing_column_is_said_once() -> None:
    """When no row has the key's column, that is one problem, with what was probably meant and what there is."""
    (problem,) = problems(*({"SKU": str(n), "title": "x"} for n in range(500)))
    assert problem.mark == Mark("p.csv", 2, 1)
    assert "no row has a column 'sku'" in problem.message
    assert "did you mean 'SKU'?" in problem.hint
    assert "SKU, title" in problem.hint


def test_many_problems_are_counted() -> None:
    """Beyond the limit problems are counted, and a fault of the file is listed all the same."""

    def torn() -> Iterator[tuple[int, Fields]]:
        yield 2, {"sku": "A"}
        for row in range(3, 5003):
            yield row, {"sku": ""}
        raise CatalogueError("torn", file="p.csv", row=5003, hint="mend it")

    with pytest.raises(ManifestError) as caught:
        Catalogue.read(torn(), file="p.csv", key="sku")
    found = caught.value.problems
    assert len(found) == MAX_PROBLEMS + 2
    assert (found[-2].message, found[-2].mark.line, found[-2].hint) == ("torn", 5003, "mend it")
    assert "4,800 more" in found[-1].message


def test_a_fault_of_the_whole_file() -> None:
    """A source's error without a row is marked at the first line."""

    class Closed:
        """A source whose file cannot be opened."""

        def __iter__(self) -> Iterator[tuple[int, Fields]]:
            raise CatalogueError("no such file", file="p.csv", hint="look")

    with pytest.raises(ManifestError) as caught:
        Catalogue.read(Closed(), file="p.csv", key="sku")
    assert caught.value.problems == [Problem(Mark("p.csv", 1, 1), "no such file", "look", "catalogue")]


def test_keys_that_are_alike() -> None:
    """Keys that a file system may confuse are fine and known; the same key twice among them is still found."""
    with read({"sku": "ABC"}, {"sku": "abc"}, {"sku": "aBc"}, {"sku": "x"}, {"sku": "\u212b"}, {"sku": "A\u030a"}) as catalogue:
        assert catalogue.clashing == {fold("abc"), fold("\u00c5")}
        assert len(catalogue) == 6
    (problem,) = problems({"sku": "ABC"}, {"sku": "abc"}, {"sku": "Abc"}, {"sku": "abc"})
    assert (problem.mark.line, problem.code, "row 3" in problem.message) == (5, "duplicate-key", True)


@STEADY
@given(st.lists(st.text("aAßsSé\u0301e", min_size=1, max_size=3), max_size=12))
def test_duplicates_and_clashes_are_exact(keys: list[str]) -> None:
    """A key is a duplicate exactly when it came before; a fold clashes exactly when two different keys have it."""
    expected = [number + 2 for number, key in enumerate(keys) if key in keys[:number]]
    folds = [fold(key) for key in set(keys)]
    if expected:
        assert [problem.mark.line for problem in problems(*({"sku": key} for key in keys))] == expected
        return
    with read(*({"sku": key} for key in keys)) as catalogue:
        assert catalogue.clashing == {one for one in folds if folds.count(one) > 1}


# ----------------------------------------------------------------------------------------------------- derive and keep


def test_derived_fields_see_those_before_them() -> None:
    """Derived fields are made in order, may replace columns, and the filter sees them all."""
    with Catalogue.read(
        rows({"sku": "A", "price": "5"}, {"sku": "B", "price": "25"}),
        file="p.csv",
        key="sku",
        derive={
            "amount": lambda product: float(str(product.fields["price"])),
            "double": lambda product: 2 * float(str(product.fields["amount"])),
            "price": lambda product: f"{product.key}: {product.fields['price']}",
        },
        keep=lambda product: float(str(product.fields["double"])) > 20,
    ) as catalogue:
        assert (len(catalogue), catalogue.dropped) == (1, 1)
        assert catalogue[0].fields == {"sku": "B", "price": "B: 25", "amount": 25.0, "double": 50.0}


def test_the_rows_handed_in_stay_as_they_are() -> None:
    """Deriving does not write into the caller's mappings."""
    mine: dict[str, JSON] = {"sku": "A"}
    Catalogue.read([(1, mine)], file="p.csv", key="sku", derive={"x": lambda _: 1}).close()
    assert mine == {"sku": "A"}


def test_rows_left_out_need_no_key() -> None:
    """What the filter leaves out is no product: its key may be empty, bad or taken."""
    given_rows = rows({"sku": "A", "on": 1}, {"sku": "", "on": 0}, {"sku": "A", "on": 0}, {"sku": "../", "on": 0}, {"on": 0})
    with Catalogue.read(given_rows, file="p.csv", key="sku", keep=lambda product: bool(product.fields["on"])) as catalogue:
        assert ([product.key for product in catalogue], catalogue.dropped) == (["A"], 4)


def test_template_errors_are_problems_of_their_row() -> None:
    """A derived field or filter that cannot be rendered is listed with the row, and the others go on."""

    def shaky(product: Product) -> JSON:
        if product.key in ("B", "D"):
            raise TemplateError("'price' is undefined", mark=Mark("m.yaml", 7, 3), product=product.key, hint="name a column")
        return 1

    with pytest.raises(ManifestError) as caught:
        Catalogue.read(rows(*({"sku": key} for key in "ABCD")), file="p.csv", key="sku", derive={"x": shaky})
    assert caught.value.problems == [
        Problem(Mark("p.csv", 3, 1, "B"), "'price' is undefined (template at m.yaml:7:3)", "name a column", "template"),
        Problem(Mark("p.csv", 5, 1, "D"), "'price' is undefined (template at m.yaml:7:3)", "name a column", "template"),
    ]


@pytest.mark.parametrize(
    ("value", "word"),
    [("a\ud800", "surrogate"), (2**64, "64 bits"), (-(2**63) - 1, "64 bits")],
)
def test_values_that_cannot_be_kept(value: JSON, word: str) -> None:
    """A value outside what can be stored is a problem that names its column."""
    (problem,) = problems({"sku": "A"}, {"sku": "B", "bad": value})
    assert (problem.mark.line, "'bad'" in problem.message, word in problem.message) == (3, True, True), problem.message


def test_values_nested_without_end() -> None:
    """A bottomless value is a problem, not a crash."""
    deep: JSON = "x"
    for _ in range(100_000):
        deep = [deep]
    (problem,) = problems({"sku": "A", "bad": deep})
    assert "nested" in problem.message


# --------------------------------------------------------------------------------------------------------------- digest


def digest(*products: Fields) -> str:
    """The digest of a catalogue of these products."""
    with read(*products) as catalogue:
        return catalogue.digest


def test_the_digest_follows_the_products() -> None:
    """It changes with any key, value, type or order of products, and not with row numbers or the order of columns."""
    base = digest({"sku": "A", "x": "1"}, {"sku": "B"})
    assert digest({"x": "1", "sku": "A"}, {"sku": "B"}) == base
    with Catalogue.read([(10, {"sku": "A", "x": "1"}), (20, {"sku": "B"})], file="other.csv", key="sku") as catalogue:
        assert catalogue.digest == base
    others = {
        digest({"sku": "A", "x": "2"}, {"sku": "B"}),
        digest({"sku": "A", "x": 1}, {"sku": "B"}),
        digest({"sku": "B"}, {"sku": "A", "x": "1"}),
        digest({"sku": "A", "x": "1"}),
        digest({"sku": "A", "x": "1", "y": ""}, {"sku": "B"}),
        digest(),
    }
    assert len(others | {base}) == 7


# --------------------------------------------------------------------------------------------------------------- memory


def test_memory_stays_flat(tmp_path: Path) -> None:
    """50,000 products of 450 bytes go through a file to numbers in a fraction of their own size."""
    path = tmp_path / "p.csv"
    with path.open("w") as out:
        out.write("sku,title,text\n")
        out.writelines(f'SKU-{number},Title {number},"{"words, " * 60}"\n' for number in range(50_000))
    tracemalloc.start()
    try:
        with Catalogue.read(open_source(path, None).rows(), file="p.csv", key="sku") as catalogue:
            resting = tracemalloc.get_traced_memory()[0]
            peak = tracemalloc.get_traced_memory()[1]
            assert len(catalogue) == 50_000
            assert catalogue[49_999].key == "SKU-49999"
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 16_000_000, "while reading: one short digest a product and the buffer"
    assert resting < 2_000_000, "at rest: one offset a product"


def test_from_file_to_products(tmp_path: Path) -> None:
    """A Shopify export's products are keyed by their first variant's SKU."""
    path = tmp_path / "export.csv"
    path.write_text(
        "Handle,Title,Variant SKU,Variant Price,Image Src\ntee,Tee,T-S,10,https://x/1.jpg\ntee,,T-M,11,\nmug,Mug,M,5,\n"
    )
    with Catalogue.read(
        open_source(path, None).rows(),
        file="export.csv",
        key="sku",
        keep=lambda product: product.fields["price"] != "5",
        derive={"picture": lambda product: product.fields["Image Src"]},
    ) as catalogue:
        assert [(product.key, product.row, product.fields["picture"]) for product in catalogue] == [("T-S", 2, "https://x/1.jpg")]

"""CSV and its relatives, as spreadsheets, shops and enemies write them."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.bounds import USUAL
from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources import open_source

STEADY = settings(derandomize=True, database=None, deadline=None)

Row = tuple[int, dict[str, JSON]]


def read(tmp_path: Path, content: str | bytes, name: str = "a.csv", encoding: str | None = None) -> list[Row]:
    """All rows of a file with this content."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row, dict(fields)) for row, fields in open_source(path, None, encoding=encoding).rows()]


def refused(tmp_path: Path, content: str | bytes, name: str = "a.csv", encoding: str | None = None) -> CatalogueError:
    """The error that reading this content ends with."""
    with pytest.raises(CatalogueError) as caught:
        read(tmp_path, content, name, encoding)
    assert caught.value.hint, "every refusal says what to do next"
    assert caught.value.file == str(tmp_path / name)
    return caught.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found_out(tmp_path: Path, delimiter: str) -> None:
    """A .csv may have any of the four usual delimiters, whatever else its values hold."""
    content = delimiter.join(["sku", '"ti,tle"', "price"]) + "\n" + delimiter.join(["A1", '"a,b;c"', "1.5"]) + "\n"
    assert read(tmp_path, content) == [(2, {"sku": "A1", "ti,tle": "a,b;c", "price": "1.5"})]


def test_sep_line(tmp_path: Path) -> None:
    """Excel's ``sep=`` line names the delimiter and is no header."""
    assert read(tmp_path, "sep=;\r\nsku;title\r\nA,1;x\r\n") == [(3, {"sku": "A,1", "title": "x"})]


def test_single_column(tmp_path: Path) -> None:
    """One column without any delimiter is a catalogue too."""
    assert read(tmp_path, "sku\nA\nB") == [(2, {"sku": "A"}), (3, {"sku": "B"})]


@pytest.mark.parametrize(
    "content",
    [
        "sku,title\r\nA,ü\r\n".encode(),
        "\ufeffsku,title\r\nA,ü\r\n".encode(),
        "sku,title\rA,ü\r".encode(),
        "\ufeffsku,title\nA,ü\n".encode("utf-16-le"),
        "\ufeffsku,title\nA,ü\n".encode("utf-16-be"),
        "sku,title\nA,ü\n".encode("utf-16-le"),
        "sku,title\nA,ü\n".encode("utf-16-be"),
        "\ufeffsku,title\nA,ü\n".encode("utf-32-le"),
        '\ufeff"sku",title\nA,ü'.encode(),
    ],
)
def test_encodings_that_announce_themselves(tmp_path: Path, content: bytes) -> None:
    """UTF-8 and UTF-16, with and without a byte order mark, and every line end read the same."""
    assert read(tmp_path, content) == [(2, {"sku": "A", "title": "ü"})]


def test_eight_bit_encodings_are_named_not_guessed(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is refused with its line and what it would be; with the encoding named, it is read."""
    content = "sku,title\nA,plain\nB,Café\n".encode("cp1252")
    error = refused(tmp_path, content)
    assert error.row == 3
    assert "0xE9" in error.message
    assert "'é'" in error.message
    assert read(tmp_path, content, encoding="cp1252")[1] == (3, {"sku": "B", "title": "Café"})
    assert read(tmp_path, "\ufeffsku\né\n".encode(), encoding="cp1252") == [(2, {"sku": "é"})]
    assert "no encoding" in refused(tmp_path, content, encoding="klingon").message
    assert "encoding of text" in refused(tmp_path, content, encoding="rot13").message


@pytest.mark.parametrize("content", [b"\xff\xfes\0k\0u\0\n\0A\0\n", b"\xff\xfes\0\n\0\x41\xd8\x41\x00"])
def test_torn_utf16(tmp_path: Path, content: bytes) -> None:
    """UTF-16 that is cut in the middle of a character, or pairs wrongly, is refused."""
    assert refused(tmp_path, content).row >= 1


def test_rows_are_the_lines_on_which_records_begin(tmp_path: Path) -> None:
    """Quoted line ends, blank lines and records of nothing but delimiters do not put the count out."""
    content = '\n\nsku,"ti\ntle"\nA,"one\n\ntwo"\n\n  \n,\nB,x\n'
    assert read(tmp_path, content) == [(5, {"sku": "A", "ti\ntle": "one\n\ntwo"}), (11, {"sku": "B", "ti\ntle": "x"})]


def test_short_and_long_rows(tmp_path: Path) -> None:
    """Missing values are empty text; surplus ones are an error, unless there is nothing in them."""
    assert read(tmp_path, "a,b,c\n1\n1,2,3,,\n") == [(2, {"a": "1", "b": "", "c": ""}), (3, {"a": "1", "b": "2", "c": "3"})]
    error = refused(tmp_path, "a,b\n1,2\n1,2,3\n")
    assert error.row == 3
    assert "3 values" in error.message


def test_header_names(tmp_path: Path) -> None:
    """Space around names goes, their spelling stays; nameless columns are numbered, or dropped at the edge."""
    assert read(tmp_path, " Sku , ,Ti tle,,\n1,2,3,,\n") == [(2, {"Sku": "1", "column_2": "2", "Ti tle": "3"})]
    error = refused(tmp_path, "a,b,a \n1,2,3\n")
    assert (error.row, "columns 1 and 3 are both called 'a'" in error.message) == (1, True)
    assert refused(tmp_path, ",,\n1,2,3\n").row == 1


def test_values_are_not_touched(tmp_path: Path) -> None:
    """Leading zeros, spaces, formulas and template marks stay what they are: text."""
    values = ["007", " x ", "=1+1", "{{ 7*7 }}", "TRUE", "1e5", "'5"]
    row = read(tmp_path, "a,b,c,d,e,f,g\n" + ",".join(values) + "\n")[0][1]
    assert list(row.values()) == values


@pytest.mark.parametrize(
    ("content", "row", "word"),
    [
        ("", 0, "empty"),
        ("\n \n", 0, "empty"),
        ("\ufeff", 0, "empty"),
        ('a,b\n1,"2\n3,4\n', 2, "never closed"),
        ('a,b\n1,"2"x,3\n', 2, "closing quote"),
        ('a;b\n1;"2"x;3\n', 2, "semicolon"),
        ("a,b\n1,2\n3\0,4\n", 3, "zero character"),
        ('"a,b\n1,2\n', 1, "never closed"),
        ("<!DOCTYPE html>\n<html>", 0, "web page"),
        (b"PK\x03\x04\x14\x00", 0, "spreadsheet"),
        (b"\x1f\x8b\x08\x00", 0, "gzip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", 0, "Excel"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: str | bytes, row: int, word: str) -> None:
    """What cannot be read is refused at its line, in words."""
    error = refused(tmp_path, content)
    assert error.row == row
    assert word in error.message


def test_rows_before_a_fault_are_given(tmp_path: Path) -> None:
    """Reading is lazy: a fault further down does not hide what stands above it."""
    path = tmp_path / "a.csv"
    path.write_text('sku\nA\nB\n"C\n')
    rows = open_source(path, None).rows()
    assert next(rows)[1] == {"sku": "A"}
    assert next(rows)[1] == {"sku": "B"}
    with pytest.raises(CatalogueError):
        next(rows)


def test_huge_values(tmp_path: Path) -> None:
    """A value up to the limit is read; one beyond it is refused where its record begins."""
    assert len(str(read(tmp_path, f'a,b\n1,"{"x" * USUAL.catalogue_value_chars}"\n')[0][1]["b"])) == USUAL.catalogue_value_chars
    error = refused(tmp_path, f'a,b\n1,2\n3,"4\n{"x" * (USUAL.catalogue_value_chars + 1)}"\n')
    assert error.row == 3
    assert "longer than 1,048,576" in error.message


def test_tsv_does_not_sniff(tmp_path: Path) -> None:
    """A .tsv has tabs, however many commas its header holds: Google's text feed reads as it is."""
    content = "id\ttitle\timage link\tcolors,a,b\n1\tShoes, red\thttps://x/1.jpg\tr\n"
    row = read(tmp_path, content, "feed.tsv")[0][1]
    assert row == {"id": "1", "title": "Shoes, red", "image link": "https://x/1.jpg", "colors,a,b": "r"}
    assert read(tmp_path, content.replace("colors,a,b", "c"), "feed.txt")[0][1]["image link"] == "https://x/1.jpg"


@STEADY
@given(
    st.lists(
        st.lists(
            st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_a_csv_writer_writes_is_read(rows: list[list[str]]) -> None:
    """Any text survives a proper CSV writer and this reader."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), out.getvalue())
    expected = [row for row in rows if any(cell.strip() for cell in row)]
    assert [list(fields.values()) for _, fields in found] == expected

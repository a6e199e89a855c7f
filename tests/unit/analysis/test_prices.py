"""The price book: every figure with a date and a source, and a reason where there is none."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.prices import UNITS, Price, PriceBook, PriceUnavailable
from loadgen.errors import DataError, InputError

ROW = {
    "region": "eu-west-1",
    "item": "serverless",
    "usd": 0.00002,
    "unit": "GB-second",
    "as_of": "2026-11",
    "source": "x",
}


def book_of(*rows, **fields):
    """Return the text of a price file."""
    return json.dumps({"format": 2, "currency": "USD", "entries": list(rows)} | fields)


@pytest.mark.parametrize(
    ("memory_mb", "usd"), [(1024, 2e-5), (2048, 4e-5), (3072, 6e-5), (4096, 8e-5), (5120, 1e-4), (6144, 1.2e-4)]
)
@pytest.mark.parametrize("region", ["us-east-1", "us-east-2"])
def test_serverless_prices_are_the_published_ones(region, memory_mb, usd):
    """Six sizes have AWS's published price per second in the two known regions."""
    price = PriceBook.builtin().serverless(region)

    assert price.usd * memory_mb / 1024 == pytest.approx(usd)


@pytest.mark.parametrize(
    ("region", "name", "usd"),
    [
        ("us-east-1", "ml.t2.medium", 0.056),
        ("us-east-1", "ml.c5.large", 0.102),
        ("us-east-1", "ml.c5.xlarge", 0.204),
        ("us-east-1", "ml.m5.large", 0.115),
        ("us-east-1", "ml.g5.48xlarge", 20.36),
        ("us-east-1", "ml.p5.48xlarge", 113.068),
        ("eu-west-1", "ml.m5.large", 0.128),
        ("eu-west-1", "ml.g5.12xlarge", 7.91),
    ],
)
def test_instance_prices_match_their_sources(region, name, usd):
    """A sample of the hosting prices, entered a second time."""
    assert PriceBook.builtin().instance(region, name).usd == usd


def test_every_builtin_price_has_a_date_and_a_source():
    """Every entry has a date, a source and a price above 0."""
    rows = PriceBook.builtin().entries

    assert len(rows) == 6 + 34 + 8
    assert all(row.usd > 0 and len(row.source) > 10 and re.match(r"20\d\d", row.as_of) for row in rows)
    assert {row.item for row in rows} == set(UNITS)


@pytest.mark.parametrize("region", ["eu-west-1", "ap-south-1", "us-east-3", "", "US-EAST-1"])
def test_an_unknown_region_has_a_reason_and_no_price(region):
    """A region that is not in the book has neither 0 nor another region's price."""
    found = PriceBook.builtin().serverless(region)

    assert isinstance(found, PriceUnavailable)
    assert (region or "unknown region") in found.reason
    assert "no serverless price" in str(found)


def test_an_unknown_instance_has_a_reason():
    """The reason names the instance and the region."""
    found = PriceBook.builtin().instance("us-east-2", "ml.c5.large")

    assert "ml.c5.large" in found.reason
    assert "us-east-2" in found.reason


def test_provisioned_concurrency_has_two_prices():
    """Reserving 2 GB costs 0.00001 USD/s and executing on it 0.0000233 USD/s."""
    book = PriceBook.builtin()

    assert 2 * book.provisioned_reservation("us-east-1").usd == pytest.approx(0.00001)
    assert 2 * book.provisioned_execution("us-east-1").usd == pytest.approx(0.0000233)


def test_the_source_and_date_are_described():
    """describe() names source and date of a region's price, or that there is none."""
    book = PriceBook.builtin()

    assert "2026-09-01" in book.describe("us-east-1")
    assert "no serverless price for eu-north-1" in book.describe("eu-north-1")


def test_a_price_file_is_read(tmp_path):
    """A price file in the built-in format adds a region that the built-in book lacks."""
    path = tmp_path / "ours.json"
    path.write_text(book_of(ROW), encoding="utf-8")

    book = PriceBook.read(path)

    assert book.serverless("eu-west-1") == Price(**ROW)
    assert book.name == "the price file ours.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "not a price file"),
        ("[" * 100_000, "not JSON"),
        (book_of(ROW, format=1), "not a price file"),
        (book_of(ROW, currency="EUR"), "not a price file"),
        (book_of(), "no entries"),
        (book_of(ROW, ROW), "two prices"),
        (book_of("x"), "entry 1 is not an object"),
        (book_of(ROW | {"usd": 0}), "above 0"),
        (book_of(ROW | {"usd": -1}), "above 0"),
        (book_of(ROW | {"usd": True}), "above 0"),
        (book_of(ROW | {"usd": "0.1"}), "above 0"),
        (book_of(ROW | {"usd": float("nan")}), "above 0"),
        (book_of(ROW | {"usd": float("inf")}), "above 0"),
        (book_of(ROW | {"unit": "hour"}), "GB-second"),
        (book_of(ROW | {"item": "lunch"}), "known items"),
        (book_of(ROW | {"as_of": "yesterday"}), "2026-02-28"),
        (book_of(ROW | {"as_of": "2026-13"}), "2026-02-28"),
        (book_of(ROW | {"source": ""}), "lacks a region or a source"),
        (book_of(ROW | {"region": ""}), "lacks a region or a source"),
        (book_of(ROW | {"name": "ml.c5.large"}), "only an instance has a name"),
        (book_of(ROW | {"region": 7}), "must be text"),
        (book_of(ROW | {"colour": "red"}), "'colour'"),
        (book_of({key: value for key, value in ROW.items() if key != "source"}), "lacks source"),
    ],
)
def test_an_invalid_price_file_is_rejected(tmp_path, text, words):
    """The message names what is wrong in a price file and where."""
    path = tmp_path / "prices.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataError) as caught:
        PriceBook.read(path)

    assert words in str(caught.value)


def test_a_price_file_that_cannot_be_read_is_an_input_error(tmp_path):
    """A missing file is an InputError, a file that is not UTF-8 a DataError."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InputError):
        PriceBook.read(tmp_path / "none.json")
    with pytest.raises(DataError):
        PriceBook.read(tmp_path / "binary")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["format", "currency", "entries", "region", "item", "usd"]), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_book_or_a_data_error(value):
    """Any JSON is either a price book or a DataError."""
    for text in (json.dumps(value), book_of(value), book_of(ROW | {"usd": value}), book_of(ROW, name=value)):
        try:
            rows = PriceBook.parse(text, where="x").entries
        except DataError:
            continue
        assert all(row.usd > 0 for row in rows)

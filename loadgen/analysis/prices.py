"""Price book: AWS prices by region, each with its date and its source.

A price that is not in the book is a `PriceUnavailable` with the reason, never 0 and never that of another region.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from loadgen.errors import DataError, InputError

FORMAT = 2  # of a price file. 1 (2026-11): initial; 2 (2026-11): `entries` and `unit` instead of `rows` and `per`
# Item -> its unit. Only entries of `instance` have a name.
UNITS: Mapping[str, str] = {
    "serverless": "GB-second",
    "provisioned_reservation": "GB-second",
    "provisioned_execution": "GB-second",
    "data": "GB",
    "instance": "hour",
}
_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_ENTRY_FIELDS = frozenset({"region", "item", "name", "usd", "unit", "as_of", "source"})


@dataclass(frozen=True, slots=True)
class Price:
    """One entry of a price book.

    Args:
        region: such as `us-east-1`.
        item: `serverless`, `data`, `provisioned_reservation`, `provisioned_execution` or `instance`.
        usd: US dollars per unit, above 0.
        unit: unit of the item, as in UNITS.
        as_of: year, month or day of the price, such as `2026-02`.
        source: where the price was found, human-readable.
        name: instance type such as `ml.c5.large`; empty for other items.

    Raises:
        DataError: a value is invalid.
    """

    region: str
    item: str
    usd: float
    unit: str
    as_of: str
    source: str
    name: str = ""

    def __post_init__(self) -> None:
        what = f"the price of {self.item!r} {self.name!r} in {self.region!r}"
        if self.item not in UNITS:
            raise DataError(what, hint=f"known items: {', '.join(UNITS)}")
        if self.unit != UNITS[self.item]:
            raise DataError(f"{what} is per {self.unit!r}", hint=f"it must be per {UNITS[self.item]!r}")
        if isinstance(self.usd, bool) or not isinstance(self.usd, (int, float)) or not 0 < self.usd < math.inf:
            raise DataError(f"{what} is {self.usd!r}", hint="a price is a number above 0")
        if not self.region or not self.source or bool(self.name) != (self.item == "instance"):
            raise DataError(f"{what} lacks a region or a source", hint="only an instance has a name, and it needs one")
        if not _DATE.fullmatch(self.as_of):
            raise DataError(f"{what} is as of {self.as_of!r}", hint="write 2026, 2026-02 or 2026-02-28")


@dataclass(frozen=True, slots=True)
class PriceUnavailable:
    """The reason why there is no price, human-readable."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by region, with their dates and sources.

    Args:
        name: name for messages, such as "the built-in price book of 2026-11".
        entries: all prices; one per region, item and name.

    Raises:
        DataError: two entries give the same price.

    Example:
        >>> book = PriceBook.builtin()
        >>> print(book.serverless("us-east-1").usd)
        2e-05
        >>> print(book.serverless("eu-west-1"))
        no serverless price for eu-west-1 in the built-in price book of 2026-11
    """

    name: str
    entries: tuple[Price, ...]

    def __post_init__(self) -> None:
        seen: set[tuple[str, str, str]] = set()
        for entry in self.entries:
            key = (entry.region, entry.item, entry.name)
            if key in seen:
                raise DataError(f"{self.name} has two prices for {' '.join(filter(None, key))}")
            seen.add(key)

    @classmethod
    def builtin(cls) -> "PriceBook":
        """Read the price book of the installed package."""
        file = resources.files("loadgen.analysis").joinpath("prices.json")
        return cls.parse(file.read_text(encoding="utf-8"), where="prices.json")

    @classmethod
    def read(cls, path: str | Path) -> "PriceBook":
        """Read a price file in the format of the built-in one.

        Raises:
            InputError: the file cannot be read.
            DataError: it is not a price file, or an entry is invalid; the message names the entry.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"price file {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"price file {path} is not UTF-8 text") from error
        return cls.parse(text, where=str(path))

    @classmethod
    def parse(cls, text: str, *, where: str) -> "PriceBook":
        """Parse the JSON text of a price file; error messages name `where`.

        Raises:
            DataError: it is not a price file, or an entry is invalid.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"price file {where} is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("currency") != "USD":
            raise DataError(f"{where} is not a price file", hint=f'it needs "format": {FORMAT} and "currency": "USD"')
        entries = document.get("entries")
        if not isinstance(entries, list) or not entries:
            raise DataError(f"price file {where} has no entries")
        name = document.get("name")
        return cls(
            name if isinstance(name, str) and name else f"the price file {Path(where).name}",
            tuple(
                _parse_entry(entry, f"price file {where}, entry {number}")
                for number, entry in enumerate(entries, start=1)
            ),
        )

    def find(self, region: str, item: str, name: str = "") -> Price | PriceUnavailable:
        """Return the price, or why there is none."""
        for entry in self.entries:
            if (entry.region, entry.item, entry.name) == (region, item, name):
                return entry
        where = region or "an unknown region"
        return PriceUnavailable(f"no {name or item.replace('_', ' ')} price for {where} in {self.name}")

    def serverless(self, region: str) -> Price | PriceUnavailable:
        """Return USD per GB-second of on-demand execution."""
        return self.find(region, "serverless")

    def data(self, region: str) -> Price | PriceUnavailable:
        """Return USD per GB of payload, in or out."""
        return self.find(region, "data")

    def provisioned_reservation(self, region: str) -> Price | PriceUnavailable:
        """Return USD per GB-second of reserved provisioned concurrency."""
        return self.find(region, "provisioned_reservation")

    def provisioned_execution(self, region: str) -> Price | PriceUnavailable:
        """Return USD per GB-second of execution on provisioned concurrency."""
        return self.find(region, "provisioned_execution")

    def instance(self, region: str, name: str) -> Price | PriceUnavailable:
        """Return USD per hour of a real-time instance such as `ml.c5.large`."""
        return self.find(region, "instance", name)

    def describe(self, region: str) -> str:
        """Return the source and date of the region's serverless price, or why there is none."""
        price = self.serverless(region)
        if isinstance(price, PriceUnavailable):
            return price.reason
        return f"{self.name}: serverless price of {region} as of {price.as_of}, from {price.source}"


def _parse_entry(entry: Any, where: str) -> Price:
    if not isinstance(entry, dict):
        raise DataError(f"{where} is not an object")
    if unknown := sorted(entry.keys() - _ENTRY_FIELDS):
        raise DataError(
            f"{where} has {', '.join(map(repr, unknown))}", hint=f"known: {', '.join(sorted(_ENTRY_FIELDS))}"
        )
    if missing := sorted(_ENTRY_FIELDS - {"name"} - entry.keys()):
        raise DataError(f"{where} lacks {', '.join(missing)}")
    if wrong := [key for key, value in entry.items() if key != "usd" and not isinstance(value, str)]:
        raise DataError(f"{where}: {', '.join(wrong)} must be text")
    try:
        return Price(**entry)
    except DataError as error:
        raise DataError(f"{where}: {error.message}", hint=error.hint) from error

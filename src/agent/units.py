"""Units and currencies behind (and before) numbers, each form of one under one name. Nothing is converted: "1 h" and "60 min" differ."""

from __future__ import annotations

import re
from functools import lru_cache

# Written in any case.
_WORDS = {
    "percent": "percent|per cent",
    "percentage point": "percentage points?",
    "basis point": "basis points?",
    "USD": "(?:us )?dollars?",
    "EUR": "euros?",
    "GBP": "pounds? sterling",
    "pound": "pounds?",
    "pence": "pence|penny|pennies",
    "cent": "cents?",
    "JPY": "yen",
    "millisecond": "milliseconds?",
    "second": "seconds?|secs?",
    "minute": "minutes?|mins?",
    "hour": "hours?|hrs?",
    "day": "(?:(?:working|business|calendar|full|consecutive) )?days?",
    "week": "(?:(?:full|consecutive) )?weeks?",
    "month": "(?:(?:calendar|full|consecutive) )?months?",
    "year": "(?:(?:calendar|full|consecutive) )?years?|yrs?",
    "decade": "decades?",
    "century": "century|centuries",
    "microgram": "micrograms?|mcg",
    "mg": "milligrams?",
    "g": "gram(?:me)?s?",
    "kg": "kilogram(?:me)?s?|kilos?",
    "tonne": "tonnes?|tons?",
    "lb": "lbs?",
    "ounce": "ounces?|oz",
    "mm": "millimet(?:re|er)s?",
    "cm": "centimet(?:re|er)s?",
    "m": "met(?:re|er)s?",
    "km": "kilomet(?:re|er)s?",
    "mile": "miles?",
    "inch": "inch(?:es)?",
    "foot": "foot|feet|ft",
    "yard": "yards?",
    "m²": "square met(?:re|er)s?|sqm",
    "square foot": "square f(?:oo|ee)t",
    "m³": "cubic met(?:re|er)s?",
    "ml": "millilit(?:re|er)s?",
    "l": "lit(?:re|er)s?",
    "gallon": "gallons?",
    "bar": "bars?",
    "mbar": "mbar|millibars?",
    "psi": "psi",
    "V": "volts?",
    "A": "amps?|amperes?",
    "W": "watts?",
    "kW": "kilowatts?",
    "MW": "megawatts?",
    "kWh": "kilowatt[ -]hours?|kwh",
    "°C": "degrees? (?:celsius|centigrade)",
    "°F": "degrees? fahrenheit",
    "bit": "bits?",
    "byte": "bytes?",
    "kB": "kilobytes?",
    "MB": "megabytes?",
    "GB": "gigabytes?",
    "TB": "terabytes?",
}
# Case says which: "mW" and "MW".
_SYMBOLS = {
    "percent": "%",
    "USD": r"US\$|USD|\$",
    "EUR": "EUR|€",
    "GBP": "GBP|£",
    "JPY": "JPY|¥",
    "CHF": "CHF",
    "pence": "p",
    "millisecond": "ms",
    "hour": "h",
    "microgram": "[µμ]g",
    "kB": "[kK]B",
    "ml": "m[lL]",
    "l": "[lL]",
    "m²": "m²|m2",
    "m³": "m³|m3",
    "°C": "° ?C|℃",
    "°F": "° ?F|℉",
}
_PLAIN_SYMBOLS = """
    mg g kg mm cm m km kPa MPa Pa mV V kV mA A mW W kW MW GW Wh kWh MWh GWh kJ MJ Hz kHz MHz GHz MB GB TB PB KiB MiB GiB TiB Kbps Mbps Gbps
"""
_SYMBOLS |= {symbol: symbol for symbol in _PLAIN_SYMBOLS.split()}
_AMBIGUOUS = {"pound": frozenset({"GBP", "lb"})}

CURRENCY = r"US\$|[$€£¥]|USD|EUR|GBP|JPY|CHF"
"""What stands before a number."""
_ANY_WORD = "|".join(_WORDS.values())
_ANY_SYMBOL = "|".join(
    f"(?:{forms})" if name in ("percent", "USD", "EUR", "GBP", "JPY") else rf"(?:{forms})(?!\w)" for name, forms in _SYMBOLS.items() if name != "pence"
)
UNIT = rf"[\s-]?(?P<unit>(?i:(?:{_ANY_WORD})\b)|(?-i:(?:{_ANY_SYMBOL}))(?!\d)|(?<=\d)(?-i:p)\b)"
"""What stands behind one, as group ``unit``."""
_NAMES = [(name, re.compile(forms, re.IGNORECASE)) for name, forms in _WORDS.items()] + [(name, re.compile(forms)) for name, forms in _SYMBOLS.items()]


@lru_cache(maxsize=1000)
def unit_of(text: str | None) -> str:
    """The one name of a unit or currency in any form; empty where there is none."""
    return next((name for name, pattern in reversed(_NAMES) if pattern.fullmatch(text)), "") if text else ""


def agree(one: str, other: str) -> bool:
    """Whether two kinds may stand for one: equal, one of them unknown, or "pounds", which are money or weight."""
    return one == other or "" in (one, other) or other in _AMBIGUOUS.get(one, ()) or one in _AMBIGUOUS.get(other, ())

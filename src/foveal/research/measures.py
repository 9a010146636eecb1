"""Units of measure: how they are written, and what of which base each is, so that 600 ms and 0.6 s are the same.

    UNITS["milligrams"]         # "mg"
    in_base("mg", "ml")         # (("g", "l"), 1.0): the base of mg/ml, and how much of it one is

Known are lengths, weights, volumes, times, amounts of substance, bytes, frequencies, power, energy, money, per cent.
Miles, feet and pounds are units of their own: texts give them rounded. A GB may be 1000³ or 1024³ bytes: texts mean
either.
"""

from __future__ import annotations

_WRITTEN = {
    "%": "% percent pct",
    "nm": "nm nanometre nanometres nanometer nanometers",
    "µm": "µm μm micrometre micrometres micrometer micrometers micron microns",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "km": "km kilometre kilometres kilometer kilometers",
    "mile": "mile miles mi",
    "foot": "foot feet ft",
    "ng": "ng nanogram nanograms",
    "µg": "µg μg mcg microgram micrograms",
    "mg": "mg milligram milligrams",
    "g": "g gram grams gramme grammes",
    "kg": "kg kilogram kilograms kilo kilos",
    "lb": "lb lbs",
    "tonne": "tonne tonnes ton tons",
    "µl": "µl μl microlitre microlitres microliter microliters",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "dl": "dl decilitre decilitres deciliter deciliters",
    "l": "l litre litres liter liters",
    "pmol": "pmol",
    "nmol": "nmol",
    "µmol": "µmol μmol",
    "mmol": "mmol",
    "mol": "mol moles",
    "ns": "ns nanosecond nanoseconds",
    "µs": "µs μs microsecond microseconds",
    "ms": "ms millisecond milliseconds",
    "second": "s seconds second sec",
    "minute": "minute minutes min",
    "hour": "h hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "kb": "kb kib kilobyte kilobytes",
    "mb": "mb mib megabyte megabytes",
    "gb": "gb gib gigabyte gigabytes",
    "tb": "tb tib terabyte terabytes",
    "hz": "hz hertz",
    "khz": "khz kilohertz",
    "mhz": "mhz megahertz",
    "ghz": "ghz gigahertz",
    "kw": "kw kilowatt kilowatts",
    "megawatt": "megawatt megawatts",
    "gw": "gw gigawatt gigawatts",
    "kwh": "kwh",
    "iu": "iu",
    "kcal": "kcal",
    "$": "$ dollar dollars usd",
    "€": "€ euro euros eur",
    "£": "£ gbp",
    "°c": "°c celsius",
    "°f": "°f fahrenheit",
}
UNITS = {word.casefold(): name for name, words in _WRITTEN.items() for word in words.split()} | {
    "percentage point": "points", "percentage points": "points",
}  # fmt: skip
"""A unit as it is written, in small letters -> its name."""

_BASES: dict[str, dict[str, float]] = {
    "m": {"nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "km": 1e3},
    "g": {"ng": 1e-9, "µg": 1e-6, "mg": 1e-3, "kg": 1e3, "tonne": 1e6},
    "l": {"µl": 1e-6, "ml": 1e-3, "dl": 1e-1},
    "mol": {"pmol": 1e-12, "nmol": 1e-9, "µmol": 1e-6, "mmol": 1e-3},
    "second": {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0},
    "month": {"year": 12.0},
    "mb": {"kb": 1e-3, "gb": 1e3, "tb": 1e6},
    "hz": {"khz": 1e3, "mhz": 1e6, "ghz": 1e9},
    "megawatt": {"kw": 1e-3, "gw": 1e3},
}
_IN_BASE = {name: (base, factor) for base, names in _BASES.items() for name, factor in names.items()}


def in_base(unit: str, per: str = "") -> tuple[tuple[str, str], float]:
    """The bases of a unit and of what it is counted by, and how much of the one in the other it is."""
    (base, factor), (below, divisor) = (_IN_BASE.get(one, (one, 1.0)) for one in (unit, per))
    return (base, below), factor / divisor

"""Quantities: what they mean, how they are written, and what is none."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import quantity

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5}

numbers = st.integers(0, 4_000)
decimals = st.tuples(numbers, st.sampled_from(sorted(DECIMAL)))
binaries = st.tuples(numbers, st.sampled_from(sorted(BINARY)))


def meaning(text: str) -> Fraction:
    return Fraction(quantity.parse(text).nano, quantity.NANO)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1.5Gi", "1536Mi"), ("1024Ki", "1Mi"), ("0.5", "500m"), ("1000m", "1"), ("1e3", "1e3"), ("1000", "1k"), ("12e6", "12e6"), ("0", "0"),
        ("0Gi", "0"), ("1E", "1E"), ("100u", "100u"), ("0.1n", "1n"), ("-1.5", "-1500m"), ("+5", "5"), (".5", "500m"), ("5.", "5"), ("512", "512"),
        ("0.5Ki", "512"), ("1025Ki", "1025Ki"), (1.5, "1500m"), (3, "3"), ("99999999999999999999", "9223372036854775807"), (" 1 ", "1"),
    ],
)  # fmt: skip
def test_quantities_are_written_with_the_largest_suffix_that_needs_no_fraction(written: object, canonical: str) -> None:
    assert quantity.canonical(written) == canonical


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "1mm", "--1", "1.2.3", "Gi", ".", "1e", True, None, [], {}])
def test_what_is_no_quantity_is_refused_with_the_expression_it_fails(text: object) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@given(decimals)
def test_decimal_suffixes_are_powers_of_ten(pair: tuple[int, str]) -> None:
    number, suffix = pair
    assert meaning(f"{number}{suffix}") == number * Fraction(10) ** DECIMAL[suffix]


@given(binaries)
def test_binary_suffixes_are_powers_of_1024(pair: tuple[int, str]) -> None:
    number, suffix = pair
    assert meaning(f"{number}{suffix}") == min(number * 1024 ** BINARY[suffix], 2**63 - 1)


@given(st.one_of(decimals, binaries))
def test_writing_canonically_changes_nothing_and_is_done_once(pair: tuple[int, str]) -> None:
    text = f"{pair[0]}{pair[1]}"
    once = quantity.canonical(text)
    assert quantity.canonical(once) == once
    assert quantity.compare(once, text) == 0


@given(decimals, decimals)
def test_sums_and_differences_are_exact(a: tuple[int, str], b: tuple[int, str]) -> None:
    x, y = f"{a[0]}{a[1]}", f"{b[0]}{b[1]}"
    assert meaning(quantity.add(x, y)) == meaning(x) + meaning(y)
    assert quantity.compare(quantity.sub(quantity.add(x, y), y), x) == 0


@given(st.integers(0, 10**9))
def test_fractions_are_rounded_up_to_whole_units_and_thousandths(nano: int) -> None:
    text = f"{nano}n"
    assert quantity.value(text) == -(-nano // 10**9)
    assert quantity.milli_value(text) == -(-nano // 10**6)


def test_a_sum_is_written_in_the_family_of_the_first() -> None:
    assert quantity.add("1Gi", "1Gi") == "2Gi"
    assert quantity.add("1500m", "500m") == "2"
    assert quantity.add("0", "1Gi") == "1Gi"

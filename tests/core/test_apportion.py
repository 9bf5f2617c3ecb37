import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.apportion import apportion, apportion_usage
from pipeline.types import Usage

weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)
tokens = st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole_in, whole_out = draw(tokens), draw(tokens)
    cached = draw(st.integers(0, whole_in))
    written = draw(st.integers(0, whole_in - cached))
    return Usage(whole_in, whole_out, cached, written, draw(st.integers(0, whole_out)), draw(st.booleans()))


def test_equal_remainders_go_to_the_earlier_share() -> None:
    assert apportion(100, [1, 1, 1]) == [34, 33, 33]


def test_the_largest_remainder_is_rounded_up() -> None:
    # Quotas 1.4, 2.1 and 3.5.
    assert apportion(7, [2, 3, 5]) == [1, 2, 4]


def test_a_small_weight_with_the_larger_remainder_is_rounded_up() -> None:
    # Quotas 0.9 and 3.1.
    assert apportion(4, [9, 31]) == [1, 3]


def test_weights_of_zero_share_equally_when_all_are_zero() -> None:
    assert apportion(5, [0, 0, 0]) == [2, 2, 1]


def test_a_weight_of_zero_gets_nothing_beside_others() -> None:
    assert apportion(5, [0, 3, 0]) == [0, 5, 0]


def test_the_only_share_is_everything() -> None:
    assert apportion(12345, [0]) == [12345]


@pytest.mark.parametrize(("total", "parts"), [(-1, [1]), (1, []), (1, [2, -1]), (1, [-1])])
def test_negative_numbers_and_no_weights_are_refused(total: int, parts: list[int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        apportion(total, parts)


@given(st.integers(0, 10**18), weights)
def test_shares_add_up_and_are_quotas_rounded_down_or_up(total: int, parts: list[int]) -> None:
    shares = apportion(total, parts)

    assert sum(shares) == total
    whole = sum(parts)
    if whole:
        assert all(-whole < share * whole - total * part < whole for share, part in zip(shares, parts, strict=True))
    else:
        assert max(shares) - min(shares) <= 1


@given(st.integers(0, 10**9), weights)
def test_a_larger_weight_never_gets_less(total: int, parts: list[int]) -> None:
    ordered = [share for _, share in sorted(zip(parts, apportion(total, parts), strict=True))]

    assert ordered == sorted(ordered)


def test_a_batch_of_three_shares_its_tokens_by_weight() -> None:
    usage = Usage(input=100, output=11, cached=50, cache_write=10, reasoning=4)

    assert apportion_usage(usage, [10, 30, 60]) == [
        Usage(10, 1, 5, 1, 0),
        Usage(30, 3, 15, 3, 1),
        Usage(60, 7, 30, 6, 3),
    ]


def test_what_is_written_to_the_cache_goes_where_the_input_is_not_cached() -> None:
    usage = Usage(input=10, cached=9, cache_write=1)

    assert apportion_usage(usage, [1, 1]) == [Usage(input=5, cached=5), Usage(input=5, cached=4, cache_write=1)]


def test_output_follows_its_own_weights() -> None:
    shares = apportion_usage(Usage(input=10, output=10), [1, 1], [9, 1])

    assert shares == [Usage(input=5, output=9), Usage(input=5, output=1)]


def test_shares_of_an_estimate_are_estimates() -> None:
    assert [share.estimated for share in apportion_usage(Usage(9, estimated=True), [1, 2])] == [True, True]


@given(usages(), weights)
def test_shares_of_a_usage_add_up_and_keep_parts_within_wholes(usage: Usage, parts: list[int]) -> None:
    shares = apportion_usage(usage, parts)

    assert [sum(kind) for kind in list(zip(*shares, strict=True))[:5]] == list(usage[:5])
    for share in shares:
        assert min(share) >= 0
        assert share.cached + share.cache_write <= share.input
        assert share.reasoning <= share.output

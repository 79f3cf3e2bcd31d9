"""Counter-based randomness: uniform, independent of neighbours, vectorised, and pinned for ever."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core import randomness
from townlet_core.errors import UsageError


def chi_square_limit(cells):
    """The value that a chi-square statistic over `cells` cells exceeds once in 10,000 times (Wilson and Hilferty)."""
    freedom = cells - 1
    return freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2 / expected).sum()


STREAMS = {
    "counters": lambda count: randomness.uniform(randomness.key(0, "act"), np.arange(count)),
    "ticks": lambda count: randomness.uniform(randomness.key(0, "act", np.arange(count))),
    "worlds": lambda count: randomness.uniform(randomness.key(0, "act", np.arange(count), 0, 0)),
    "episodes": lambda count: randomness.uniform(randomness.key(0, "act", 0, np.arange(count), 0)),
    "seeds": lambda count: randomness.uniform(randomness.key(np.arange(count), "act", 1, 2)),
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("cells", [2, 10, 1000])
def test_numbers_are_uniform_along_every_coordinate(stream, cells):
    numbers = STREAMS[stream](200_000)
    counts = np.bincount((numbers * cells).astype(int), minlength=cells)
    assert len(counts) == cells
    assert chi_square(counts) < chi_square_limit(cells)


@pytest.mark.parametrize("stream", STREAMS)
def test_every_bit_is_set_half_of_the_time(stream):
    words = (STREAMS[stream](100_000) * 2.0**53).astype(np.uint64)
    shares = [((words >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(53)]
    assert np.abs(np.array(shares) - 0.5).max() < 4.5 * 0.5 / math.sqrt(100_000)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("lag", [1, 2, 64])
def test_neighbours_along_a_coordinate_are_independent(stream, lag):
    numbers = STREAMS[stream](100_000)
    assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 4.5 / math.sqrt(100_000)
    pairs = (numbers[:-lag] * 8).astype(int) * 8 + (numbers[lag:] * 8).astype(int)
    pairs = pairs[:: lag + 1]  # pairs that do not overlap
    assert chi_square(np.bincount(pairs, minlength=64)) < chi_square_limit(64)


def test_purposes_seeds_and_the_order_of_coordinates_give_independent_streams():
    count = 100_000
    ticks = np.arange(count)
    streams = [
        randomness.uniform(randomness.key(0, "act", 1, ticks)),
        randomness.uniform(randomness.key(0, "evaluate", 1, ticks)),
        randomness.uniform(randomness.key(1, "act", 1, ticks)),
        randomness.uniform(randomness.key(0, "act", ticks, 1)),
        randomness.uniform(randomness.key(0, "act", 2, ticks)),
        randomness.uniform(randomness.key(0, "act", 1), ticks),
    ]
    correlation = np.corrcoef(streams)
    assert np.abs(correlation - np.eye(len(streams))).max() < 4.5 / math.sqrt(count)


def test_keys_of_a_large_grid_are_all_different():
    keys = randomness.key(3, "act", np.arange(256)[:, None], np.arange(2048))
    assert np.unique(keys).size == keys.size


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    numbers = randomness.normal(randomness.key(0, "weights", np.arange(1000)), 200).ravel()
    error = 4.5 / math.sqrt(numbers.size)
    assert abs(numbers.mean()) < error
    assert abs(numbers.var() - 1) < error * math.sqrt(2)
    assert abs((numbers**3).mean()) < error * math.sqrt(15)
    assert abs((numbers**4).mean() - 3) < error * math.sqrt(96)
    assert (np.abs(numbers) < 1.959964).mean() == pytest.approx(0.95, abs=0.0025)


def test_the_box_muller_transform_is_finite_at_the_ends_of_its_domain():
    last = np.nextafter(1.0, 0.0)
    ends = np.array([0.0, 0.0, last, last]), np.array([0.0, last, 0.0, last])
    numbers = randomness.box_muller(*ends)
    assert np.isfinite(numbers).all()
    assert numbers[:2].tolist() == [0.0, 0.0]
    assert numbers[2] == pytest.approx(math.sqrt(2 * 53 * math.log(2)))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**63 - 1))
def test_a_permutation_has_every_number_once(size, seed):
    shuffled = randomness.permutation(randomness.key(seed, "minibatches", np.arange(3)), size)
    assert shuffled.shape == (3, size)
    assert shuffled.dtype == np.int64
    assert (np.sort(shuffled, axis=1) == np.arange(size)).all()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_permutations_are_equally_likely(size):
    shuffled = randomness.permutation(randomness.key(0, "minibatches", np.arange(60_000)), size)
    codes = shuffled @ 10 ** np.arange(size)
    possible = [sum(digit * 10**place for place, digit in enumerate(one)) for one in permutations(range(size))]
    counts = np.array([(codes == code).sum() for code in possible])
    assert counts.sum() == 60_000
    assert chi_square(counts) < chi_square_limit(len(possible))


@settings(deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
)
def test_many_keys_at_once_equal_one_at_a_time(seed, worlds, counters):
    keys = randomness.key(seed, "act", np.array(worlds), 5)
    single = [randomness.key(seed, "act", world, 5) for world in worlds]
    assert keys.tolist() == np.concatenate(single).tolist()
    table = randomness.uniform(keys[:, None], np.array(counters))
    for row, own in zip(table, single, strict=True):
        assert row.tolist() == [randomness.uniform(own, counter)[0] for counter in counters]
    assert randomness.normal(keys, 3).tolist() == [randomness.normal(own, 3)[0].tolist() for own in single]
    assert randomness.permutation(keys, 6).tolist() == [randomness.permutation(own, 6)[0].tolist() for own in single]


def test_the_first_permutation_numbers_do_not_move_when_a_key_is_used_again():
    keys = randomness.key(9, "act", np.arange(4))
    before = keys.tobytes()
    first = randomness.uniform(keys, 3).tobytes()
    randomness.fold(keys, 1), randomness.normal(keys, 2), randomness.permutation(keys, 5)
    assert keys.tobytes() == before
    assert randomness.uniform(keys, 3).tobytes() == first


def test_the_stream_is_pinned():
    """These numbers may never change: every recorded run, and every seed in a paper, depends on them."""
    keys = randomness.key(12345, "act", np.arange(3), 2)
    assert [f"{int(word):016x}" for word in keys] == ["198d61cef79555ba", "1e6a7884159761a9", "551c0de00700c40a"]
    assert f"{int(randomness.key(0, 'environment')[0]):016x}" == "12d167577f44c208"
    assert f"{int(randomness.key(2**63 - 1, 'weights', 7, 0)[0]):016x}" == "182dee233ce9d8cc"
    words = [f"{int(word):016x}" for word in randomness.bits(keys[:1], np.arange(4))]
    assert words == ["76b3b72e444ee9f1", "78e9c08d06ffa0fc", "6b05943617d8f126", "15f627f19e1a4dbe"]
    numbers = [number.hex() for number in randomness.uniform(keys)]
    assert numbers == ["0x1.dacedcb9113bap-2", "0x1.9edf2c0b363bcp-3", "0x1.15058c104393fp-1"]
    assert randomness.permutation(keys, 8).tolist() == [
        [3, 7, 2, 0, 1, 4, 6, 5],
        [7, 3, 0, 6, 1, 5, 4, 2],
        [1, 4, 7, 5, 0, 3, 2, 6],
    ]
    assert randomness.integer_seed(keys) == [214348007, 255147074, 713950960]
    expected = [float.fromhex("-0x1.f16dee2405596p-1"), float.fromhex("0x1.f0d7ada6f62a3p-1")]
    assert randomness.normal(keys[:1], 2)[0] == pytest.approx(expected, rel=1e-14)  # libm's last bit differs by CPU


def test_the_output_function_is_splitmix64():
    """Known answers of the published generator: the key is its seed, the counter numbers its outputs."""
    words = randomness.bits(np.array([1234567], np.uint64), np.arange(3))
    assert words.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 1.5, "7", None, [0, -3], np.array([0.5]), True])
def test_a_seed_that_is_none_is_refused_by_value(seed):
    with pytest.raises(UsageError, match="is not a seed: seeds are integers from 0 to 2\\*\\*63 - 1"):
        randomness.key(seed, "act")


@pytest.mark.parametrize("coordinate", [-1, 2**64, 0.5, np.array([1, -1]), "tick"])
def test_a_coordinate_that_would_wrap_is_refused(coordinate):
    with pytest.raises(ValueError, match="cannot be part of a key"):
        randomness.key(0, "act", coordinate)


def test_integer_seeds_fit_31_bits_and_differ():
    seeds = randomness.integer_seed(randomness.key(0, "environment", np.arange(10_000)))
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) > 9_990

"""What fuzzing has found once."""

import numpy as np

from townlet_core.replay.moments import quartiles


def test_a_signalling_nan_is_counted_without_a_warning():
    numbers = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    found = quartiles(numbers)
    assert (found.non_finite, found.mean) == (1, 1.0)

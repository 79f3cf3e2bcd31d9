"""What fuzzing has found once."""

import numpy as np
import pytest

from townlet_core.errors import ConfigError
from townlet_core.replay.moments import quartiles
from townlet_core.spaces import space_from_json


def test_a_signalling_nan_is_counted_without_a_warning():
    numbers = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    found = quartiles(numbers)
    assert (found.non_finite, found.mean) == (1, 1.0)


@pytest.mark.parametrize("dtype", ["a", "(" * 99, "f4,f4", "O", "float31", "longdouble64", "S4", "f3", None, 4])
def test_a_dtype_that_numpy_would_have_its_own_opinion_of_is_refused(dtype):
    with pytest.raises(ConfigError, match="not a space"):
        space_from_json({"type": "Box", "shape": [1], "dtype": dtype, "low": 0, "high": 1})

"""What a world returns besides observations (a reward, a flag, an action mask), checked and converted.

Legend: K actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.environments.faults import FieldError

if TYPE_CHECKING:
    from townlet_core.arrays import Array

ACTION_MASK = "action_mask"
_NUMBERS = (float, int, np.floating, np.integer)
_FLAGS = (bool, np.bool_)


def reward_number(reward: Any) -> float:
    """Return a reward as a plain float.

    Raises:
        FieldError: it is not one number.
    """
    if isinstance(reward, np.ndarray) and reward.ndim == 0:
        reward = reward[()]
    if not isinstance(reward, _NUMBERS):
        raise FieldError("reward", f"is {reward!r} ({type(reward).__name__}), expected a number")
    return float(reward)


def require_flag(name: str, flag: Any) -> bool:
    """Return `terminated` or `truncated` as a plain bool.

    Raises:
        FieldError: it is something else.
    """
    if not isinstance(flag, _FLAGS):
        raise FieldError(name, f"is {flag!r} ({type(flag).__name__}), expected True or False")
    return bool(flag)


def flat_action_mask(name: str, mask: Any, num_actions: int) -> Array:
    """Return an action mask as (K,) flags; that of MultiDiscrete actions may be a tuple of one array per choice.

    Raises:
        FieldError: it has another size, or is not made of flags or integers.
    """
    flat = np.concatenate([np.ravel(part) for part in mask]) if isinstance(mask, tuple) else np.ravel(mask)
    if flat.shape != (num_actions,) or flat.dtype.kind not in "biu":
        raise FieldError(name, f"has shape {flat.shape} and dtype {flat.dtype}, expected {num_actions} flags")
    return flat

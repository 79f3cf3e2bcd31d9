"""How many threads learn, chosen by the size of what is multiplied, once per run.

In closed form every thread works on whole shards and makes its products alone: bytes are those of one thread, threads
that wait do not spin, and a second one pays as soon as a minibatch is more than one group of shards. Torch shares out
each product instead: its bytes depend on the number, it pays for large products only, and on a busy machine it hurts.
"""

from __future__ import annotations

import warnings
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from townlet_core.environments.limits import usable_processors
from townlet_core.errors import TownletWarning
from townlet_core.torch.device import limited_threads
from townlet_strategies_ppo.batch import count_groups
from townlet_strategies_ppo.closed_form import GROUP_ROWS
from townlet_strategies_ppo.update import is_closed_form, make_gradient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.settings import PPOSettings
    from townlet_strategies_ppo.update import Gradient

TORCH_ROWS = 8192
"""Rows of a minibatch from which on torch's own threads paid on a quiet machine (28 ms fell to 17 on two)."""
MOST_TORCH_THREADS = 8


def choose_threads(network: TorchNetwork, num_shards: int, size: int) -> int:
    """Return how many threads pay for minibatches of `num_shards` shards of `size` rows."""
    if is_closed_form(network):
        return min(usable_processors(), count_groups(num_shards, size, GROUP_ROWS))
    pays = network.parameters.device.type == "cpu" and num_shards * size >= TORCH_ROWS
    return min(usable_processors(), MOST_TORCH_THREADS) if pays else 1


@contextmanager
def learning(network: TorchNetwork, settings: PPOSettings, num_threads: int) -> Iterator[Gradient]:
    """Differentiate with so many threads, and end them after that."""
    if is_closed_form(network) and settings.precision != "float32":
        text = (
            f"strategies.ppo.precision = {settings.precision} changes nothing: this network learns in float32, in NumPy"
        )
        warnings.warn(text, TownletWarning, stacklevel=2)
    with (
        limited_threads(1 if is_closed_form(network) else num_threads),
        closing(make_gradient(network, num_threads=num_threads, precision=settings.precision)) as gradient,
    ):
        yield gradient

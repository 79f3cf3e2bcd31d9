"""What runs in a worker process: a block of worlds on shared arrays, told what to do through a pipe.

Messages are bytes that hold JSON, never pickles. The parent sends ``{"reset": [seeds, indices]}``, ``STEP`` or closes
the pipe; the worker answers ``{"ready": true}`` once, ``{"masked": bool}`` to a reset, ``QUIET`` or ``ENDED`` to a
step, and ``{"fault": text}`` when a world failed. Running episodes are made again by ``{"replay": fields}`` of
`RunningEpisodes` and then ``REPLAY`` for each step, which are answered by ``QUIET`` or ``{"lost": text}``.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from townlet_core.environments.block_arrays import BlockLayout
from townlet_core.environments.episode_replay import EpisodeReplay, RunningEpisodes
from townlet_core.environments.faults import Place
from townlet_core.environments.gym_source import GymSource
from townlet_core.environments.world_block import WorldBlock
from townlet_core.environments.worlds import close_worlds, make_worlds
from townlet_core.errors import EnvironmentFault, EpisodesLostError, TownletError
from townlet_core.spaces import space_from_json

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STEP, REPLAY, QUIET, ENDED = b"s", b"r", b"q", b"e"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What a terminal, or a scheduler that ends a job, sends to the whole process group."""


def run_worker(pipe: Connection, buffer: Any, assignment: str) -> None:
    """Serve until the pipe is closed.

    Args:
        pipe: to the parent.
        buffer: the shared memory that holds the arrays of all worlds.
        assignment: JSON: `source`, `num_worlds` (of all workers), `first` and `last` (exclusive), and both spaces.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, _leave_it_to_the_parent)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    task = json.loads(assignment)
    source = GymSource(**task["source"])
    try:
        block = _make_block(source, buffer, task)
    except Exception as error:  # noqa: BLE001  (it is told to the parent, which raises it)
        told = (
            error
            if isinstance(error, TownletError)
            else Place(environment=source.name, world=None).fault(str(error), cause=error)
        )
        with contextlib.suppress(OSError):
            _send(pipe, {"fault": str(told)})
        return
    with contextlib.suppress(EOFError, OSError):  # the parent closed the pipe, or died
        _send(pipe, {"ready": True})
        _serve(pipe, *block)
    block[0].close()


def _make_block(source: GymSource, buffer: Any, task: dict[str, Any]) -> tuple[WorldBlock, Any]:
    source.prepare()
    first, last = task["first"], task["last"]
    spaces = space_from_json(task["observation_space"]), space_from_json(task["action_space"])
    worlds, limits = make_worlds(source, last - first, like=spaces)
    try:
        arrays = BlockLayout(task["num_worlds"], *spaces).arrays(buffer).rows(first, last)
        return WorldBlock(worlds, limits, name=source.name, first=first, arrays=arrays), arrays
    except BaseException:
        close_worlds(worlds)
        raise


def _serve(pipe: Connection, block: WorldBlock, arrays: Any) -> None:
    replay: EpisodeReplay | None = None
    while True:
        command = pipe.recv_bytes()
        try:
            if command == STEP:
                pipe.send_bytes(ENDED if block.step(arrays.actions) else QUIET)
            elif command == REPLAY and replay is not None:
                replay.step([arrays.actions[row : row + 1] for row in range(len(arrays.actions))])
                pipe.send_bytes(QUIET)
            elif "replay" in (message := json.loads(command)):
                replay = EpisodeReplay(block.single_worlds(), RunningEpisodes(**message["replay"]))
                pipe.send_bytes(QUIET)
            else:
                seeds, indices = message["reset"]
                _send(pipe, {"masked": block.reset(seeds, indices)})
        except EpisodesLostError as lost:
            _send(pipe, {"lost": str(lost)})
        except EnvironmentFault as fault:
            _send(pipe, {"fault": str(fault)})
            return


def _leave_it_to_the_parent(number: int, frame: object) -> None:
    """Do nothing: the parent gets the signal too, and decides what it means.

    A handler, and not SIG_IGN, which the programs that a world may start would inherit, and could then not be ended.
    """
    del number, frame


def _send(pipe: Connection, message: dict[str, Any]) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

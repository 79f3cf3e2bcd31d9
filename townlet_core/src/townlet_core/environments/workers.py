"""Gymnasium worlds stepped by worker processes on shared memory: the bytes of `sync`, on several cores."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import signal
import time
import weakref
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from townlet_core.environments.block_arrays import BlockLayout
from townlet_core.environments.faults import Place
from townlet_core.environments.gymnasium_adapter import GymnasiumAdapter
from townlet_core.environments.limits import require_memory
from townlet_core.environments.worker_process import ENDED, QUIET, REPLAY, STEP, STOP_SIGNALS, run_worker
from townlet_core.environments.worlds import close_worlds
from townlet_core.errors import EnvironmentFault, EpisodesLostError
from townlet_core.randomness import integer_seed, key
from townlet_core.spaces import space_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from townlet_core.arrays import Array
    from townlet_core.environments.block_arrays import BlockArrays
    from townlet_core.environments.episode_replay import RunningEpisodes
    from townlet_core.environments.gym_source import GymSource

_LOOK_SEC = 0.25
_START_SEC = 120.0
_LEAVE_SEC = 1.0


class GymnasiumWorkers(GymnasiumAdapter):
    """N worlds, split into contiguous parts, one for each worker.

    A worker that dies is noticed within a second, one that hangs after `step_timeout_sec`; both, and a world that
    fails, raise `EnvironmentFault` after all workers are gone.

    Args:
        source: what makes a world.
        num_worlds: N.
        num_workers: processes; no more than N are started.
        step_timeout_sec: longest time for one reset or step.

    Raises:
        ConfigError: a space is not supported, or the arrays do not fit into memory.
        UnavailableError: an optional package is missing.
        EnvironmentFault: a worker could not make its worlds.
    """

    def __init__(self, source: GymSource, num_worlds: int, *, num_workers: int, step_timeout_sec: float) -> None:
        probe, _ = source.make()
        observation_space, action_space = probe.observation_space, probe.action_space
        close_worlds([probe])
        layout = BlockLayout(num_worlds, observation_space, action_space)
        num_bytes = layout.num_bytes()
        require_memory(num_bytes, what=f"{num_worlds} worlds of '{source.name}'", remedy="lower environment.num_worlds")
        context = multiprocessing.get_context("spawn")
        buffer = context.RawArray("b", num_bytes)  # an unlinked file: nothing is left over, however the processes end
        super().__init__(
            name=source.name,
            num_worlds=num_worlds,
            observation_space=observation_space,
            action_space=action_space,
            arrays=layout.arrays(buffer),
        )
        self._timeout_sec = step_timeout_sec
        self._seeds: tuple[list[int], list[int]] = ([], [])
        self._workers: list[_Worker] = []
        count = min(num_workers, num_worlds)
        task = {
            "source": source.to_json(),
            "num_worlds": num_worlds,
            "observation_space": space_to_json(observation_space),
            "action_space": space_to_json(action_space),
        }
        _OPEN.add(self)
        try:
            with _stop_signals_held():
                for index in range(count):
                    first, last = index * num_worlds // count, (index + 1) * num_worlds // count
                    part = json.dumps({**task, "first": first, "last": last})
                    self._workers.append(
                        _Worker(context, buffer, part, arrays=self._arrays.rows(first, last), first=first)
                    )
            self._gather(max(_START_SEC, step_timeout_sec))
        except BaseException:
            self.close()
            raise

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def _reset_worlds(self, seeds: list[int], indices: list[int]) -> bool:
        self._seeds = seeds, indices
        self._arrays.episodes.fill(0)
        self._arrays.ages.fill(0)
        for worker in self._workers:
            rows = slice(worker.first, worker.first + len(worker.arrays.ages))
            self._tell(worker, json.dumps({"reset": [seeds[rows], indices[rows]]}).encode())
        masked = {json.loads(answer)["masked"] for answer in self._gather(self._timeout_sec)}
        if len(masked) > 1:
            raise Place(environment=self.name, world=None).fault("info has 'action_mask' in some worlds only")
        return bool(masked.pop())

    def _step_worlds(self, actions: Array) -> bool:
        self._arrays.actions[...] = actions
        for worker in self._workers:
            self._tell(worker, STEP)
        return ENDED in self._gather(self._timeout_sec)

    def _begin_replay(self, running: RunningEpisodes) -> Callable[[Array], None]:
        for worker in self._workers:
            part = running.part(worker.first, worker.first + len(worker.arrays.ages))
            self._tell(worker, json.dumps({"replay": asdict(part)}).encode())
        self._gather_replayed()
        return self._replay_step

    def _replay_step(self, actions: Array) -> None:
        self._arrays.actions[...] = actions
        for worker in self._workers:
            self._tell(worker, REPLAY)
        self._gather_replayed()

    def _gather_replayed(self) -> None:
        for answer in self._gather(self._timeout_sec):
            if answer != QUIET:
                raise EpisodesLostError(json.loads(answer)["lost"])

    def _close_worlds(self) -> None:
        """End all workers: by closing their pipes, and after a second by force."""
        for worker in self._workers:
            worker.pipe.close()
        deadline = time.monotonic() + _LEAVE_SEC
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_LEAVE_SEC)

    def _tell(self, worker: _Worker, message: bytes) -> None:
        try:
            worker.pipe.send_bytes(message)
        except OSError as error:
            raise self._died(worker) from error

    def _gather(self, timeout_sec: float) -> list[bytes]:
        """Return one answer of each worker, in any order.

        Raises:
            EnvironmentFault: a worker failed, died, or was silent for too long.
        """
        answers: list[bytes] = []
        waiting = {worker.pipe: worker for worker in self._workers}
        deadline = time.monotonic() + timeout_sec
        while waiting:
            ready: list[Any] = wait(list(waiting), _LOOK_SEC)
            answers.extend(self._answer(waiting.pop(pipe)) for pipe in ready)
            if not ready:
                for worker in waiting.values():
                    if not worker.process.is_alive() and not worker.pipe.poll():
                        raise self._died(worker)
                if time.monotonic() > deadline:
                    worker = next(iter(waiting.values()))
                    raise self._place(worker).fault(
                        f"no answer within {timeout_sec:g} s (environment.step_timeout_sec): it hangs"
                    )
        return answers

    def _answer(self, worker: _Worker) -> bytes:
        try:
            answer = worker.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died(worker) from error
        if answer not in (QUIET, ENDED) and "fault" in (message := json.loads(answer)):
            raise EnvironmentFault(message["fault"])
        return answer

    def _died(self, worker: _Worker) -> EnvironmentFault:
        worker.process.join(_LEAVE_SEC)
        code = worker.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        hint = ""
        if not self._seeds[0]:
            hint = (
                " before it was ready (its own message is above). In a script, build environments below "
                "`if __name__ == '__main__':`, since each worker imports the script"
            )
        return self._place(worker).fault(f"its worker (process {worker.process.pid}) ended {how}{hint}")

    def _place(self, worker: _Worker) -> Place:
        """Return where a worker stands, as it last wrote into the shared arrays."""
        row = int(worker.arrays.current[0])
        world = worker.first + row
        episode, step = int(worker.arrays.episodes[row]), int(worker.arrays.ages[row])
        seeds, indices = self._seeds
        seed = integer_seed(key(seeds[world], "environment", indices[world], episode))[0] if seeds else None
        return Place(environment=self.name, world=world, episode=episode, seed=seed, step=step)


class _Worker:
    """One process, its pipe and its rows."""

    def __init__(self, context: Any, buffer: Any, assignment: str, *, arrays: BlockArrays, first: int) -> None:
        self.arrays = arrays
        self.first = first
        self.pipe: Connection
        self.pipe, far_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=run_worker, args=(far_end, buffer, assignment), daemon=True)
        self.process.start()
        far_end.close()  # so that the pipe ends when the worker does


@contextmanager
def _stop_signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back, here and in processes started within, until those can leave them to us."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it with the first process would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_OPEN: weakref.WeakSet[GymnasiumWorkers] = weakref.WeakSet()


@atexit.register
def _close_what_is_open() -> None:
    """End workers that nobody closed; multiprocessing's own exit, which comes later, would wait for them."""
    for environment in list(_OPEN):
        environment.close()

"""Several rollouts of one run are one dataset, whose episodes have numbers of their own."""

from lives import LivesEnvironment, StepPolicy

from townlet_core.orchestrator.training_capture import TrainingCapture
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.schema import Source

SOURCE = Source(kind="training", environment="lives", policy="ppo")


def test_a_second_rollout_begins_where_the_first_one_was_cut(tmp_path):
    capture = TrainingCapture(tmp_path / "capture", SOURCE)
    environment = LivesEnvironment(2)
    for seeds, num_steps in ((3, 10), ([4, 5], 3)):
        rollout = capture.start(environment, StepPolicy(), seeds=seeds)
        for _ in range(num_steps):
            rollout.step()
    capture.finish()
    dataset = Dataset(tmp_path / "capture")
    dataset.require_intact()
    found = [pair for pair in dataset.trajectories() if pair[0].agent == 1]
    said = [(entry.group, entry.num_steps, entry.ending, *entry.metadata.values()) for entry, _ in found]
    assert said == [
        (0, 6, "truncated", 3, 0, 0),
        (1, 6, "truncated", 3, 1, 0),
        (2, 4, "cut", 3, 0, 1),
        (3, 4, "cut", 3, 1, 1),
        (4, 3, "cut", 4, 0, 0),
        (5, 3, "cut", 5, 1, 0),
    ]
    assert [one.final["final.observation"].tolist() for _, one in found[2:]] == [
        [3, 1, 4, 1],
        [3, 1, 4, 1],
        [4, 0, 3, 1],
        [5, 0, 3, 1],
    ]
    (events,) = dataset.events()
    assert sorted(set(events["event.group"].tolist())) == list(range(6))


def test_where_nothing_was_recorded_there_is_no_dataset(tmp_path):
    capture = TrainingCapture(tmp_path / "capture", SOURCE)
    capture.finish()
    capture.start(LivesEnvironment(2), StepPolicy(), seeds=3)
    capture.finish()
    assert not (tmp_path / "capture").exists()

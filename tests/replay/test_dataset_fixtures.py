"""The datasets that tests are made of have nothing wrong, and edits of them stay whole."""

from datasets import edit_episodes, make_events, write_dataset


def test_a_dataset_of_the_builder_is_intact_and_has_several_shards(tmp_path):
    dataset = write_dataset(tmp_path / "d", events=make_events())
    assert (dataset.num_episodes, dataset.num_rows) == (6, 36)
    assert len(dataset.shards) > 1
    assert list(dataset.verify()) == []


def test_an_edited_dataset_is_intact_too(tmp_path):
    dataset = edit_episodes(write_dataset(tmp_path / "d"), lambda entries: entries[0].update(agent=9))
    assert list(dataset.verify()) == []
    assert dataset.episodes.agent[0] == 9

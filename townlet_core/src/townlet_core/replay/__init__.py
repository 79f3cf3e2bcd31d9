"""Recorded experience: a directory of column files that is written and read as a stream, and what is done with it.

- `schema`, `documents`: what `dataset.json` and a shard's `episodes.json` say, and how they are written and read
- `columns`: what the columns of a dataset have to be
- `trajectory`: one agent's episode, the unit that is written, filtered and split
- `writer`: `DatasetWriter`, shard by shard; what was finished when it is killed is a valid dataset
- `dataset`, `shard`, `column_file`: `Dataset`, memory-mapped and verified, down to the bytes of a file
- `batches`: shuffled batches in bounded memory
- `minari`: datasets of Minari, in and out
- `legacy`: recordings of the earlier town, in and out
- `files`, `npz`: files from outside, within bounds
- `convert`: from any of these formats to any other
"""

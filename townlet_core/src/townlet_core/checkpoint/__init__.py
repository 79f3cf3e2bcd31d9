"""Atomic, verified files: what is read back is what was written, or it is refused by name.

- `atomic`: `write_file`, `write_directory`
- `manifest`: `read_directory`, and the sizes and SHA-256 that it verifies
- `store`: `CheckpointStore`, numbered checkpoints of which the newest good one is found again
- `filesystem`: the calls that all of them make, in one small object that tests replace
"""

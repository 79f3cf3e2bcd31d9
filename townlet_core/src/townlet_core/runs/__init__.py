"""Run directories: where a run's files stand, who may write them, and how far it got.

- `layout`: `RunDirectory`, the paths
- `lock`: `RunLock`, one writer for each run
- `status`: `RunRecord`, what `run.json` says
- `listing`: all runs of a directory, and the one to resume
"""

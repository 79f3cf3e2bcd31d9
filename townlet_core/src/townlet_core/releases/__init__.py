"""Releases: policies that were judged, kept by content, and the log of every move of the champion.

- `state`: `ReleaseState`, what follows from a row of events
- `log`: `EventLog`, the hash-chained lines, which alone say how things stand
- `bundle`: policies and evidence, each under the digest of its contents
- `store`: `ReleaseStore`, one writer, one line for each transaction
- `verify`: every byte of a store, compared
"""

"""Minari datasets in and out (the extra `minari`): an HDF5 file with one group per episode, and JSON about it.

What is trusted: Minari's own reader builds an environment where a dataset names no spaces, follows links to other
files, and reads whatever size a file claims. So files are read here with h5py alone: hard links only, numbers only,
sizes compared with what is stored before anything is allocated, no environment and no object ever built from the
file. What remains is libhdf5, a parser in C with a history of faults: files from strangers deserve a process of their
own. Writing goes through Minari, so that what it reads is what it wrote.
"""

from townlet_core.replay.minari.reading import import_minari
from townlet_core.replay.minari.writing import export_minari

__all__ = ["export_minari", "import_minari"]

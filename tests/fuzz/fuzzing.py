"""What the targets share: files that an input replaces, the inputs to begin with, and the start of libFuzzer.

An input is a byte for the mode and a list of records: a byte that chooses a file, two bytes of length (little-endian),
and the file's contents; the last record takes what is left. Files that it does not name keep their good contents.
"""

import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

from mutating import mutator

FINDINGS = Path(__file__).parents[2] / "build" / "fuzz"
"""Where inputs are written that break something; given as an argument of a target, one is run again."""


class Files:
    """A directory of good files, some of which an input replaces.

    Attributes:
        root: the directory.
        made: what the function returned that wrote it.
        paths: the files, sorted.
        good: their contents.
        named: those that the last input replaced.
    """

    def __init__(self, write):
        """Call `write(root)`, which writes the good files."""
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)) / "root"
        self.root.mkdir()
        self.made = write(self.root)
        self.paths = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.named = set()
        self.good = {path: path.read_bytes() for path in self.paths}
        self._changed = set()

    def contents(self, data):
        """Return the files that the records in `data` name, with the contents that they give them."""
        contents = {}
        while data:
            length, rest = int.from_bytes(data[1:3], "little"), data[3:]
            contents[self.paths[data[0] % len(self.paths)]] = rest[:length]
            data = rest[length:]
        return contents

    def record(self, path, data):
        """Return the record that gives a file other contents, of at most 64 KiB."""
        data = data[:0xFFFF]
        return bytes([self.paths.index(path)]) + len(data).to_bytes(2, "little") + data

    def put(self, data):
        """Replace the files that the records in `data` name, and put the good ones back for those of the last input."""
        contents = self.contents(data)
        for path in self._changed - contents.keys():
            path.write_bytes(self.good[path])
        for path, changed in contents.items():
            path.write_bytes(changed)
        self.named, self._changed = set(contents), set(contents)

    def write(self, path, data):
        """Write a file that the input does not name; it is good again with the next input."""
        path.write_bytes(data)
        self._changed.add(path)


def fuzz(atheris, name, files, num_modes, one_input):
    """Run libFuzzer with options from the command line, which ends the process.

    Args:
        atheris: the module.
        name: of the target.
        files: what inputs replace.
        num_modes: how many first bytes differ.
        one_input: called with each input; whatever it raises is a finding.
    """
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for mode in range(num_modes):
            Path(corpus, str(mode)).write_bytes(bytes([mode]))
        given = sys.argv[1:]
        options = [
            "-max_len=16384",
            "-len_control=0",
            "-reduce_inputs=0",
            "-timeout=20",
            "-rss_limit_mb=1500",
            f"-artifact_prefix={FINDINGS}/{name}-",
        ]
        replayed = any(not argument.startswith("-") for argument in given)
        arguments = [sys.argv[0], *options, *given, *([] if replayed else [corpus])]
        atheris.Setup(arguments, one_input, custom_mutator=mutator(atheris, files, num_modes))
        try:
            atheris.Fuzz()
        finally:
            shutil.rmtree(files.root.parent)


def strictly(ignored=()):
    """Make warnings findings, but for the classes in `ignored`, which are meant for the user."""
    warnings.simplefilter("error")
    for kind in ignored:
        warnings.simplefilter("ignore", kind)

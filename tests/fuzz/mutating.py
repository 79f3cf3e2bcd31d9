"""How one input is made from another: a file of it, or a good one, changed as bytes or as the JSON that it is.

Left alone, libFuzzer shrinks inputs to what gives the same coverage, and what most readers see is garbage in line 1.
"""

import json
from random import Random

NUMBERS = (0, 1, -1, 3, 2**31, 2**53, 2**63, 2**64, 2**80, 0.5, -1.5, 1e308, float("nan"), float("inf"))
TEXTS = ("", "a", "../x", "/etc/passwd", "a\0b", "\ud800", "x" * 300, "inf", "<f4", "|O", "a.npz")
VALUES = (None, True, False, *NUMBERS, *TEXTS, [], {}, [0], [[]], {"": 0}, {"type": "Box"})


def mutator(atheris, files, num_modes):
    """Return a function that libFuzzer calls for the next input: (input, most bytes, seed) -> input."""

    def mutate(data, max_size, seed):
        random = Random(seed)
        mode = random.randrange(num_modes) if not data or random.random() < 0.2 else data[0]
        contents = files.contents(data[1:])
        if contents and random.random() < 0.2:
            del contents[random.choice(list(contents))]
        path = random.choice(list(contents) if contents and random.random() < 0.5 else files.paths)
        changed = contents.get(path, files.good[path])
        for _ in range(random.choice((1, 1, 2, 4))):
            changed = change(changed, random, atheris.Mutate, max_size)
        contents[path] = changed
        return (bytes([mode]) + b"".join(files.record(path, data) for path, data in contents.items()))[:max_size]

    return mutate


def change(data, random, mutate_bytes, max_size):
    """Return `data` with one change: of a value if it is JSON, mostly, else of bytes."""
    if random.random() < 0.8:
        try:
            document = [json.loads(data)]
            change_value(document, random)
            return json.dumps(document[0]).encode()
        except (ValueError, RecursionError):  # it is no JSON, or none any more
            pass
    kind = random.randrange(4)
    place, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + data[place:end] * 2 + data[end:]
    return mutate_bytes(data, max(1, min(max_size, len(data) + 64)))


def change_value(document, random):
    """Change one value somewhere in a list, in place: replace it, take it out, or put another one of the list there."""
    places = []

    def collect(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                collect(node[key])

    collect(document)
    node, key = random.choice(places)
    kind = random.random()
    if kind < 0.15 and node is not document:
        del node[key]
    elif kind < 0.3:
        other, place = random.choice(places)
        node[key] = json.loads(json.dumps(other[place]))
    elif kind < 0.4 and isinstance(node, dict):
        node[random.choice(("more", "type", "name", "x" * 50, ""))] = random.choice(VALUES)
    elif kind < 0.6 and isinstance(node[key], int) and not isinstance(node[key], bool):
        node[key] += random.choice((-1, 1, 2, -(2**31)))
    else:
        node[key] = random.choice(VALUES)

"""What a configuration file may hold, and how everything else is refused with its place."""

import math

import pytest

from townlet_core.config.document import MAX_BYTES, parse_yaml, read_document
from townlet_core.errors import ConfigError, MissingInputError, StorageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("no", "no"), ("yes", "yes"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),  # noqa: E501  (a table)
        ("1e-4", 1e-4), ("3E5", 3e5), (".5", 0.5), ("-1.", -1.0), ("1_000", 1000), ("007", 7), ("+3", 3), ("1:30", "1:30"),  # noqa: E501  (a table)
        ("2026-11-23", "2026-11-23"), ("'1'", "1"), ('"null"', "null"), ("[1, [a, .5]]", [1, ["a", 0.5]]), ("{}", {}),
        ("gymnasium:CartPole-v1", "gymnasium:CartPole-v1"), ("<<", "<<"), ("1e", "1e"), ("--", "--"), ("é", "é"),
    ],
)  # fmt: skip
def test_scalars_follow_the_yaml_1_2_core_rules(text, value):
    parsed = parse_yaml(f"key: {text}", source="x").values["key"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_infinity_and_nan_are_read_as_what_they_are_so_that_the_models_can_refuse_them():
    values = parse_yaml("[.inf, -.Inf, .NaN, 1e999]", source="x").values
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])
    assert values[3] == math.inf


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("training:\n  seed: 1\n  device: cpu\n  seed: 2\n", 4, "the key 'training.seed' stands here a second time (first in line 2)"),  # noqa: E501  (a table)
        ("a: {b: 1,\n 'b': 2}\n", 2, "a second time"),
        ("- {b: 1, b: 2}\n", 1, "a second time"),
        ("training: &t\n  seed: 1\nother: *t\n", 3, "the alias '*t' is not supported"),
        ("a: !!python/object/apply:os.system [echo]\n", 1, "is not supported"),
        ("a: 1\nb: !!str 5\n", 2, "is not supported"),
        ("a:\n  1: x\n", 2, "the key '1' is not text"),
        ("a:\n  null: x\n", 2, "the key 'null' is not text"),
        ("? [a, b]\n: x\n", 1, "is not text"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested more than 32 levels deep"),
        ("a: " + "[" * 300_000, 1, "nested more than 32 levels deep"),
        ("a: 1\n  b: 2\n", 2, "mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, ""),
        ("a: [1, 2\n", 2, ""),
        ("a: 1\n---\nb: 2\n", 2, "document"),
        ("a: " + "9" * 5000, 1, "not a number that can be read"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_file_and_the_line(write, text, line, words):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


def test_a_bomb_of_aliases_is_refused_at_once(write):
    rows = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    with pytest.raises(ConfigError, match="alias"):
        read_document(write("\n".join(rows)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"training": {"seed": 1, "seed": 2}}', "the key 'seed' stands twice"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": 1,}', ":1: "),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested more than 32 levels deep"),
        ('{"a": ' + "[" * 200_000, "nested more than 32 levels deep"),
        ('{"a": ' + "9" * 5000 + "}", "not a number that can be read"),
        ("[1]", "must be a mapping of sections"),
    ],
)
def test_json_files_are_held_to_the_same_rules(write, text, words):
    path = write(text, "run.json")
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read(write):
    assert read_document(write(b"#" * (MAX_BYTES - 1) + b"\n")).values == {}
    with pytest.raises(ConfigError, match="larger than 1000000 bytes"):
        read_document(write(b"#" * MAX_BYTES + b"\n"))


def test_a_file_that_is_not_utf8_is_refused_with_the_line(write):
    with pytest.raises(ConfigError, match=r"run.yaml:2: not UTF-8"):
        read_document(write(b"a: 1\nb: \xff\n"))


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert read_document(write(b"\xef\xbb\xbftraining: {seed: 1}\n")).values == {"training": {"seed": 1}}


def test_a_missing_file_is_a_missing_input_and_a_directory_is_unreadable(tmp_path):
    with pytest.raises(MissingInputError, match="no configuration file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(StorageError, match="cannot read"):
        read_document(tmp_path)

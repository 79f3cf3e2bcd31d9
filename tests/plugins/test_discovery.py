"""What is installed is found from its metadata as Python itself would find it, and damage stays where it is."""

from importlib import metadata

import pytest

from townlet_core.plugins.discovery import installed_sources, normalized


def found(*shelves):
    return [(s.distribution, s.version, s.name, s.value) for s in installed_sources([str(s.path) for s in shelves])]


def test_discovery_agrees_with_importlib_metadata_on_a_well_formed_shelf(shelf):
    for number, value in enumerate(["package.plugin", "package.plugin : attribute.inner", "package:x [extra, more]"]):
        ours = f"# comment\n[townlet]\nfirst = {value}\n\n# more\nsecond= {value}\n"
        shelf.write_metadata(f"dist-{number}", f"[console_scripts]\na = b:c\n\n{ours}[z]\nx = y\n")
    theirs = [
        (point.dist.name, point.dist.version, point.name, point.value)
        for distribution in metadata.distributions(path=[str(shelf.path)])
        for point in distribution.entry_points.select(group="townlet")
    ]
    assert len(theirs) == 6
    assert sorted(found(shelf)) == sorted(theirs)


def test_the_first_distribution_of_a_name_on_the_path_hides_later_ones(tmp_path, shelf):
    other = type(shelf)(tmp_path / "other")
    shelf.write_metadata("Same.Name", "[townlet]\na = new\n", version="2.0")
    other.write_metadata("same-name", "[townlet]\na = old\n", version="1.0")
    assert found(shelf, other) == [("Same.Name", "2.0", "a", "new")]
    assert found(other, shelf) == [("same-name", "1.0", "a", "old")]


def test_a_newer_version_without_entry_points_hides_an_older_one_that_has_them(tmp_path, shelf):
    other = type(shelf)(tmp_path / "other")
    shelf.write_metadata("thing", "[console_scripts]\na = b:c\n", version="2.0")
    other.write_metadata("thing", "[townlet]\na = old\n", version="1.0")
    assert found(shelf, other) == []


def test_metadata_left_behind_by_a_failed_uninstall_is_no_plugin(shelf):
    (shelf.write_metadata("thing", "[townlet]\na = b\n")).rename(shelf.path / "~hing-1.2.dist-info")
    assert found(shelf) == []


def test_a_development_install_with_egg_info_is_found(shelf):
    info = shelf.path / "my_plugin.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 0.3.dev1\n")
    (info / "entry_points.txt").write_text("[townlet]\nmine = my_plugin.plugin\n")
    assert found(shelf) == [("my-plugin", "0.3.dev1", "mine", "my_plugin.plugin")]


def test_metadata_that_is_missing_or_not_text_does_not_stop_the_others(shelf):
    (shelf.write_metadata("damaged", "[townlet]\nx = y\n") / "METADATA").unlink()
    (shelf.write_metadata("binary", "") / "entry_points.txt").write_bytes(b"\xff\xfe[townlet]\n\xff = \xff\n")
    (shelf.write_metadata("directory", "") / "entry_points.txt").unlink()
    (shelf.path / "directory-1.2.dist-info" / "entry_points.txt").mkdir()
    shelf.write_metadata("good", "[townlet]\na = b\n")
    assert ("damaged", "1.2", "x", "y") in found(shelf)
    assert ("good", "1.2", "a", "b") in found(shelf)


@pytest.mark.parametrize("line", ["no equals sign", "name = ", "name = not a module!", "name = a:b:c"])
def test_a_malformed_line_is_an_import_error_that_quotes_it(shelf, line):
    shelf.write_metadata("malformed", f"[townlet]\n{line}\n")
    (source,) = installed_sources([str(shelf.path)])
    with pytest.raises(ImportError, match="is not of the form") as error:
        source.load()
    assert line.strip() in str(error.value)


def test_places_on_the_path_that_are_no_directories_are_passed_over(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK")
    assert list(installed_sources([str(tmp_path / "archive.zip"), str(tmp_path / "absent")])) == []


def test_names_are_compared_as_package_indexes_do():
    assert normalized("My.Own__Plug-in") == normalized("my-own_plug.in") == "my-own-plug-in"

import os

import pytest

from foveal.evaluation.files import whole_file


def test_a_file_appears_whole_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b.json"
    with whole_file(path) as partial:
        assert partial.suffix == ".json"
        assert not path.exists()
        partial.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, OSError])
def test_a_write_cut_short_leaves_the_old_file(tmp_path, stopped):
    path = tmp_path / "b.json"
    path.write_text("old", encoding="utf-8")

    def write():
        with whole_file(path) as partial:
            partial.write_text("ne", encoding="utf-8")
            raise stopped

    with pytest.raises(stopped):
        write()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

import foveal
from foveal.database import Database
from foveal.errors import InputError, ModelUnavailable
from foveal.library import Library
from foveal.papers.mail.settings import MailSettings
from foveal.papers.secrets import secret_of
from foveal.ranking.chosen import choose
from foveal.research.trained_planner import planner_folder
from foveal.settings import Settings, load_part


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(tmp_path):
    (tmp_path / "foveal.toml").write_text('encoder = "none"\nmax_file_mb = 3\n')
    settings = Settings.load(tmp_path, environment={"FOVEAL_MAX_FILE_MB": "7"})
    assert (settings.encoder, settings.max_file_mb, settings.segmenter) == ("none", 7, "headings")
    assert settings.max_bytes == 7 * 2**20


def test_home_comes_from_the_argument_then_the_environment(tmp_path):
    env = {"FOVEAL_HOME": str(tmp_path / "b")}
    assert Settings.load(tmp_path / "a", environment=env).home == tmp_path / "a"
    assert Settings.load(environment=env).home == tmp_path / "b"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("encoder = ", "not valid TOML"),
        ("colour = 3", "which is no setting. There are: encoder"),
        ("[headlnes]", r"'headlnes', which is no setting. There are: .*\[headlines\]"),
        ("max_file_mb = -1", "a whole number above 0"),
        ('allow_private_addresses = "maybe"', "true or false"),
        ("papers = 3", "papers got 3; it needs a table of foveal.toml"),
    ],
)
def test_a_wrong_file_is_named_and_the_mend_told(tmp_path, content, said):
    (tmp_path / "foveal.toml").write_text(content)
    with pytest.raises(InputError, match=said):
        Settings.load(tmp_path, environment={})


def test_what_may_be_nothing_may_be_said_to_be_nothing(tmp_path):
    (tmp_path / "foveal.toml").write_text('\ufeffclassifier = ""\n[mail]\nhost = ""\n', encoding="utf-8")  # of Notepad
    settings = Settings.load(tmp_path, environment={})
    assert settings.classifier == ""
    assert load_part("mail", MailSettings, tmp_path, environment={"FOVEAL_MAIL_USER": ""}).host == ""
    with pytest.raises(InputError, match="The setting encoder got ''; it needs a name"):
        Settings.load(tmp_path, environment={"FOVEAL_ENCODER": ""})


def test_a_variable_that_is_no_setting_is_said_once(tmp_path, caplog):
    """A warning: Kubernetes sets FOVEAL_WEB_PORT and the like for a service that is called foveal-web."""
    given = {"FOVEAL_MAIL_HOTS": "smtp.example.org", "FOVEAL_MAIL_PORT": "26", "FOVEAL_MAIL_": "x", "FOVEAL_WEB_X": "y"}
    for _ in range(2):
        assert load_part("mail", MailSettings, tmp_path, environment=given).port == 26
    (said,) = (one.getMessage() for one in caplog.records)
    assert said.startswith("FOVEAL_MAIL_, FOVEAL_MAIL_HOTS: no setting of [mail]. There are: host, port,")


def test_a_table_is_handed_on_as_it_stands(tmp_path):
    (tmp_path / "foveal.toml").write_text('[papers.sources.cs]\nfrom = "arxiv"\nask = "cs.CL"\n')
    settings = Settings.load(tmp_path, environment={})
    assert settings.papers == {"sources": {"cs": {"from": "arxiv", "ask": "cs.CL"}}}
    assert Settings.load(tmp_path / "other", environment={}).papers is None
    assert isinstance(hash(settings), int)
    with pytest.raises(InputError, match=r"it needs a table of foveal\.toml"):
        Settings.load(tmp_path, environment={"FOVEAL_PAPERS": "cs.CL"})


def test_a_home_on_an_object_store_keeps_all_but_the_library_on_this_machine(tmp_path):
    env = {"FOVEAL_HOME": str(tmp_path)}
    for named in ("s3://bucket/papers", "s3://bucket/papers/", Path("s3://bucket/papers")):
        settings = Settings.load(named, environment=env)
        assert settings.home == tmp_path
        assert (settings.library_uri, settings.place) == ("s3://bucket/papers/library", "s3://bucket/papers")
    assert Settings.load(environment={"FOVEAL_HOME": "gs://bucket"}).library_uri == "gs://bucket/library"
    here = Settings.load(tmp_path, environment={})
    assert (here.library_uri, here.place) == (str(tmp_path / "library"), str(tmp_path))


def test_the_library_is_in_the_home_or_on_an_object_store(tmp_path):
    with pytest.raises(InputError, match="it needs home, or the URI of an object store"):
        Settings.load(tmp_path, environment={"FOVEAL_LIBRARY_AT": "/elsewhere"})


def test_no_name_that_a_person_gives_meets_the_home_of_a_user_that_there_is_not(tmp_path):
    source = Path(foveal.__file__).parent
    bare = [path.name for path in source.rglob("*.py") if ".expanduser()" in path.read_text(encoding="utf-8")]
    assert bare == ["settings.py"]  # which minds it
    with pytest.raises(ModelUnavailable, match="No planner is called"):
        planner_folder("~no-such-user/planner", tmp_path)


@pytest.mark.parametrize("way", ["library", "papers", "secret", "ranker"])
def test_a_new_home_is_its_owners_alone_and_one_that_is_there_keeps_its_rights(tmp_path, way):
    """Addresses, mails and keys lie in it, whatever the umask is."""

    def make(home):
        settings = replace(Settings.load(home, environment={}), encoder="none")
        match way:
            case "library":
                Library.open(settings=settings)
            case "papers":
                Database.open(settings).close()
            case "secret":
                secret_of(settings.home)
            case "ranker":
                choose(settings.home, "mine")

    (tmp_path / "shared").mkdir(mode=0o755)
    before = os.umask(0o000)
    try:
        make(tmp_path / "new" / "home")
        (tmp_path / "shared").chmod(0o775)
        make(tmp_path / "shared")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new/home", "shared")]
    assert modes == [0o700, 0o775]

"""The table [mail], and addresses as they are kept."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.papers.mail.settings import MailSettings, load_mail, password_of
from foveal.papers.mail_addresses import canonical
from foveal.settings import Settings

DOCS = Path(__file__).parents[3] / "docs" / "mail.md"


def load(home: Path) -> MailSettings:
    return load_mail(Settings.load(home, environment={}))


def test_the_table_and_the_environment_are_read(tmp_path, monkeypatch):
    (tmp_path / "foveal.toml").write_text('encoder = "none"\n[mail]\nhost = "smtp.example.org"\nport = 465\nrate = 9\n')
    monkeypatch.setenv("FOVEAL_MAIL_RATE", "3")
    mail = load(tmp_path)
    assert (mail.host, mail.port, mail.rate, mail.security) == ("smtp.example.org", 465, 3, "starttls")
    assert Settings.load(tmp_path, environment={}).encoder == "none"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('colour = "red"', "which is no setting. There are: host"),
        ('port = "many"', "mail.port got 'many'; it needs a whole number"),
        ('security = "ssl"', "starttls, tls, none"),
        ('security = "none"\nhost = "smtp.example.org"', "another machine"),
        ('url = "http://papers.example.org"', "https, since"),
        ('url = "papers.example.org"', "needs the site's address"),
        ('sender = "Papers <nobody>"', "no e-mail address"),
        ('postal = "Street\\nBcc: victim@example.org"', "line break"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, table, said):
    (tmp_path / "foveal.toml").write_text(f"[mail]\n{table}\n")
    with pytest.raises(InputError, match=said):
        load(tmp_path)


def test_a_value_in_the_place_of_the_table_is_named(tmp_path):
    (tmp_path / "foveal.toml").write_text('mail = "smtp.example.org"\n')
    with pytest.raises(InputError, match=r"write \[mail\]"):
        load(tmp_path)


def test_what_is_missing_is_named_before_anything_is_sent():
    with pytest.raises(InputError, match="sender, url, postal"):
        MailSettings(host="smtp.example.org").complete()


def test_the_password_comes_from_a_file_of_the_home_and_is_not_shown(tmp_path):
    (tmp_path / "smtp.password").write_text("s3cret word\nignored\n")
    mail = MailSettings(user="u", password_file="smtp.password", password="other")
    assert password_of(mail, tmp_path) == "s3cret word"
    assert "other" not in repr(mail)
    with pytest.raises(InputError, match="cannot be read"):
        password_of(MailSettings(password_file="nowhere"), tmp_path)


def test_every_setting_is_documented():
    page = DOCS.read_text(encoding="utf-8")
    for one in fields(MailSettings):
        default = f"`{one.default}`" if isinstance(one.default, str) and one.default else str(one.default)
        assert f"| `{one.name}` | {default} |" in page, one.name
    assert not re.search(r"/(work|root|tmp|home)/", page)


@pytest.mark.parametrize(
    ("given_address", "kept"),
    [
        (" Ana+Papers@EXAMPLE.org ", "Ana+Papers@example.org"),
        ("ana@straße.example", "ana@xn--strae-oqa.example"),
        ("ana@STRASSE.example", "ana@strasse.example"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("o'neil.x_y@a-b.example.co", "o'neil.x_y@a-b.example.co"),
    ],
)
def test_addresses_as_they_are_kept(given_address, kept):
    assert canonical(given_address) == kept


@pytest.mark.parametrize(
    "address",
    [
        "", "ana", "@example.org", "ana@", "ana@example", "a b@example.org", "ana@exa mple.org", ".ana@example.org",
        "a..b@example.org", "ana@-x.org", "ana@[127.0.0.1]", '"a b"@example.org', "ana@example.org\nBcc: x@y.org",
        "ana@example.org\r\n", "ána@example.org", "x" * 65 + "@example.org", "a@" + "b." * 130 + "org", "a@b@c@",
        "<ana@example.org>", "ana@example.org,bo@example.org", "a@\u202eexample.org",
        "=?utf-8?q?abc?=@example.org", "a=?b@example.org",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address):
    if address.endswith("\r\n"):
        assert canonical(address) == "ana@example.org"  # white space around it is the keyboard's
        return
    with pytest.raises(InputError, match="no e-mail address"):
        canonical(address)


@given(st.text(max_size=60))
def test_an_address_has_one_form_and_no_line_breaks(text):
    try:
        kept = canonical(text)
    except InputError:
        return
    assert canonical(kept) == kept
    assert kept.isascii()
    assert not set(kept) & set("\r\n <>,")

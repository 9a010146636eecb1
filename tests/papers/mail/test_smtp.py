"""A conversation with real servers: encrypted or not at all, and every no is told apart from silence."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from foveal.bench.mail_keys import certificate
from foveal.bench.mail_server import MailServer
from foveal.errors import MailFailed
from foveal.papers.mail.postman import Postman, send_now
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.smtp import Gone, Refused, connect, opened


@pytest.fixture(scope="module")
def trusted(tmp_path_factory, key):
    """A server's context and the file of the authority that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "key.pem").write_bytes(key.pem)
    (folder / "cert.pem").write_bytes(certificate(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


def settings(server, **changes):
    return replace(
        MailSettings(
            host="127.0.0.1", port=server.port, security="none", sender="papers@example.org",
            url="https://papers.example.org", postal="x", timeout_s=5,
        ),
        **changes,
    )  # fmt: skip


def say(mail, home, to="ana@example.org", body=b"Subject: x\r\n\r\n.dot\r\n..\r\n"):
    with connect(mail, home) as server:
        server.begin("papers@example.org", to)
        return server.finish(body)


def test_starttls_with_a_password(tmp_path, trusted):
    context, authority = trusted
    with MailServer(tls=context, passwords={"papers": "s3cret"}) as server:
        mail = settings(server, security="starttls", authority=authority, user="papers", password="s3cret")
        assert say(mail, tmp_path) == "2.0.0 taken"
        with pytest.raises(MailFailed, match="does not let papers in"):
            opened(replace(mail, password="wrong"), tmp_path)
        with pytest.raises(MailFailed, match="could not prove that it is"):
            opened(replace(mail, authority=""), tmp_path)
        with pytest.raises(MailFailed, match=r"mail\.authority cannot be used"):
            opened(replace(mail, authority="gone.pem"), tmp_path)
    assert [taken.raw for taken in server.taken] == [b"Subject: x\r\n\r\n.dot\r\n..\r\n"]


def test_tls_from_the_first_byte(tmp_path, trusted):
    context, authority = trusted
    with MailServer(tls=context, implicit=True) as server:
        assert say(settings(server, security="tls", authority=authority), tmp_path) == "2.0.0 taken"
        with pytest.raises(MailFailed, match="could not prove"):
            opened(settings(server, security="tls"), tmp_path)


def test_nothing_is_sent_in_the_clear_where_encryption_was_asked_for(tmp_path):
    with MailServer() as server:
        with pytest.raises(MailFailed, match="offers no STARTTLS"):
            opened(settings(server, security="starttls"), tmp_path)
        with pytest.raises(MailFailed, match="does not let papers in"):
            opened(settings(server, user="papers", password="x"), tmp_path)
    assert server.taken == []


def whole(connection, to):
    connection.begin("papers@example.org", to)
    connection.finish(b"Subject: x\r\n\r\n")


@pytest.mark.parametrize(
    ("fault", "stage", "code"), [("later", "rcpt", 450), ("never", "rcpt", 550), ("policy", "body", 554)]
)
def test_refusals_are_told_with_stage_and_code_and_the_connection_goes_on(tmp_path, fault, stage, code):
    with (
        MailServer(fault=lambda who, _: fault if who.startswith("bad") else "") as server,
        connect(settings(server), tmp_path) as connection,
    ):
        with pytest.raises(Refused) as refused:
            whole(connection, "bad@example.org")
        assert (refused.value.stage, refused.value.code) == (stage, code)
        whole(connection, "good@example.org")
    assert [taken.recipient for taken in server.taken] == ["good@example.org"]


def test_silence_is_gone(tmp_path):
    with MailServer(fault=lambda *_: "stall", stall_s=3) as server, pytest.raises(Gone):
        say(settings(server, timeout_s=1), tmp_path)
    for fault in ("drop", "drop-kept", "drop-lost"):
        with MailServer(fault=lambda *_, fault=fault: fault) as server, pytest.raises(Gone):
            say(settings(server), tmp_path)
        assert len(server.taken) == (fault == "drop-kept")
    with pytest.raises(Gone, match="does not answer"):
        opened(settings(server), tmp_path)  # it is no more


def test_a_message_left_in_the_middle_is_not_taken(tmp_path):
    with MailServer() as server:
        connection = opened(settings(server), tmp_path)
        connection.begin("papers@example.org", "ana@example.org")
        connection.drop()
        say(settings(server), tmp_path, "bo@example.org")
    assert [taken.recipient for taken in server.taken] == ["bo@example.org"]


def arrived(post, server, count):
    """Who was written to, once so many were."""
    for _ in range(200):
        if len(server.taken) >= count:
            break
        post._stop.wait(0.02)
    return [taken.recipient for taken in server.taken]


def test_a_letter_that_cannot_be_written_holds_up_no_other(tmp_path, caplog):
    with MailServer() as server, Postman(tmp_path, settings(server), waits_s=()) as post:
        post("=?utf-8?q?abc?=@example.org", "Sign in", "x")
        post("ana@example.org", "Sign in", "x")
        assert arrived(post, server, 1) == ["ana@example.org"]
        assert "a mail could not be sent" in caplog.text


def test_a_password_that_comes_late_is_read_for_the_next_letter(tmp_path, trusted, caplog):
    context, authority = trusted
    with MailServer(tls=context, passwords={"papers": "s3cret"}) as server:
        mail = settings(server, security="starttls", authority=authority, user="papers", password_file="smtp.password")
        with Postman(tmp_path, mail, waits_s=()) as post:
            post("ana@example.org", "Sign in", "x")
            for _ in range(200):
                if "cannot be read" in caplog.text:
                    break
                post._stop.wait(0.02)
            (tmp_path / "smtp.password").write_text("s3cret\n")
            post("bo@example.org", "Sign in", "x")
            assert arrived(post, server, 1) == ["bo@example.org"]


def test_a_thread_that_ended_is_followed_by_another(tmp_path):
    with MailServer() as server, Postman(tmp_path, settings(server), waits_s=()) as post:
        for number, address in enumerate(["ana@example.org", "bo@example.org"], 1):
            post(address, "Sign in", "x")
            assert arrived(post, server, number)[-1] == address
            post._letters.put(None)
            post._thread.join()


def test_single_mails_are_tried_again_and_do_not_hold_up_who_hands_them_over(tmp_path, caplog):
    with MailServer(fault=lambda _, attempt: "later" if attempt < 3 else "") as server:
        with Postman(tmp_path, settings(server), waits_s=(0.01, 0.01, 0.01)) as post:
            post("ana@example.org", "Sign in", "Open https://papers.example.org/x")
            for _ in range(200):
                if server.taken:
                    break
                post._stop.wait(0.02)
        assert [taken.recipient for taken in server.taken] == ["ana@example.org"]
    with MailServer(fault=lambda *_: "never") as server, caplog.at_level(logging.WARNING, "foveal.papers.mail"):
        with Postman(tmp_path, settings(server), waits_s=()) as post:
            post("gone@example.org", "Sign in", "x")
        with pytest.raises(Refused):
            send_now(tmp_path, settings(server), "gone@example.org", "Sign in", "x")
    assert "a mail was refused: 550" in caplog.text
    assert "gone@example.org" not in caplog.text  # no addresses in logs


def test_a_letter_that_comes_after_the_end_is_told_of(tmp_path, caplog):
    with MailServer() as server:
        with Postman(tmp_path, settings(server), waits_s=()) as post:
            pass
        post("ana@example.org", "Sign in", "x")
        assert server.taken == []
    assert "a mail was dropped" in caplog.text
    assert "ana@example.org" not in caplog.text


def test_letters_that_are_left_when_the_time_is_over_are_told_of(tmp_path, caplog):
    waiting = threading.Event()
    with MailServer() as server:
        post = Postman(tmp_path, settings(server), waits_s=(), dkim=SimpleNamespace(sign=lambda _: waiting.wait(10)))
        for _ in range(3):
            post("ana@example.org", "Sign in", "x")
        post.close(timeout_s=0.1)
        assert "3 mails were not sent" in caplog.text
        waiting.set()
        post._thread.join()  # what it logs of them, and of the server's end, is no later test's

"""Mail at /settings: what comes is seen, changed and left there; mails about answers are a switch."""

from __future__ import annotations

import pytest
from lxml import html
from visitors import Visitor

from foveal.papers.mail import subscriptions
from foveal.papers.mail.replies import wants_replies
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Preferences
from foveal.papers.schema import TopicRow


@pytest.fixture
def mailing(app, visitor, database) -> Visitor:
    """Somebody signed in at a site that sends mail."""
    app.state.site.mail = MailSettings(
        host="127.0.0.1", security="none", sender="papers@example.org", url="https://papers.example.org", postal="Here"
    )
    with database.writing() as session:
        session.add(TopicRow(id="sparse", title="Sparse attention", query="sparse attention"))
    visitor.person = visitor.sign_in("ana")
    return visitor


def subscribed(app, address: str, **wanted: object) -> subscriptions.Subscription:
    site, sent = app.state.site, []
    subscriptions.subscribe(
        site.database,
        app.state.secret,
        address,
        Preferences(**wanted),  # type: ignore[arg-type]
        deliver=lambda *mail: sent.append(mail[2]),
        links=subscriptions.Links("https://papers.example.org"),
    )
    return subscriptions.confirm(site.database, sent[0].split("/mail/confirm/")[1].split()[0])


def panel(visitor: Visitor) -> str:
    (found,) = html.fromstring(visitor.get("/settings").text).xpath("//section[@id='mail']")
    return " ".join(found.text_content().split())


def test_without_mail_there_is_nothing_to_choose(app, visitor, database):
    person = visitor.sign_in("ana")
    assert panel(visitor) == "Mail This site sends no mail yet."
    assert not wants_replies(database, person)


def test_answers_are_a_switch(app, mailing, database):
    assert "Off" in panel(mailing)
    assert mailing.submit("/settings/replies", "/settings", on="yes").headers["location"] == "/settings#mail"
    assert wants_replies(database, mailing.person)
    assert "On ✓" in panel(mailing)
    mailing.submit("/settings/replies", "/settings", on="no")
    assert not wants_replies(database, mailing.person)


def test_a_digest_is_seen_changed_and_left(app, mailing, database):
    one = subscribed(app, "ana@example.org", hour=7, zone="Europe/Paris", topics=("sparse",))
    assert "Daily digest, on weekdays, at 07:00 Europe/Paris Sparse attention" in panel(mailing)
    form = mailing.get(f"/settings/mail/{one.id}")
    assert form.headers["cache-control"] == "private, no-store"
    assert f'action="/settings/mail/{one.id}"' in form.text
    token = unsubscribe_token(app.state.secret, one.seed)
    assert token not in form.text
    mailing.submit(
        f"/settings/mail/{one.id}", f"/settings/mail/{one.id}", cadence="weekly", query="maps", hour=9, zone="UTC"
    )
    assert "Weekly digest, on Mondays, at 09:00 UTC “maps”" in panel(mailing)
    mailing.submit(f"/settings/mail/{one.id}/leave", "/settings")
    assert "No digest comes to ana@example.org." in panel(mailing)
    assert subscriptions.subscriptions(database)[0].state == "unsubscribed"


@pytest.mark.parametrize("path", ["/settings/mail/{}", "/settings/mail/{}/leave"])
def test_other_peoples_digests_are_out_of_reach(app, mailing, database, path):
    other = subscribed(app, "bo@example.org")
    assert "No digest comes" in panel(mailing)
    assert mailing.get(f"/settings/mail/{other.id}").status_code == 404
    assert mailing.submit(path.format(other.id), "/settings", cadence="weekly").status_code == 404
    assert subscriptions.subscriptions(database)[0].preferences.cadence == "daily"
    stranger = Visitor(app)
    assert stranger.submit(path.format(other.id), "/login").status_code == 303
    assert stranger.submit("/settings/replies", "/login").headers["location"].startswith("/login")


def test_without_a_form_token_nothing_changes(app, mailing, database):
    one = subscribed(app, "ana@example.org")
    for path in ("/settings/replies", f"/settings/mail/{one.id}", f"/settings/mail/{one.id}/leave"):
        assert mailing.post(path, data={"on": "yes"}).status_code == 403
    assert not wants_replies(database, mailing.person)
    assert subscriptions.subscriptions(database)[0].state == "confirmed"


def test_the_link_of_a_mail_about_answers_leads_to_leaving(app, mailing, database):
    mailing.submit("/settings/replies", "/settings", on="yes")
    token = unsubscribe_token(app.state.secret, subscriptions.subscriptions(database)[0].seed)
    assert mailing.get(f"/mail/{token}").headers["location"] == f"/u/{token}"
    assert "gets mails about answers" in mailing.get(f"/u/{token}").text
    for _ in range(2):  # by the mail provider, without a cookie
        answer = Visitor(app).post(f"/u/{token}", data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    assert "is not sent mails about answers any more" in answer.text
    assert not wants_replies(database, mailing.person)

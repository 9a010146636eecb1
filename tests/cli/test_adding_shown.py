"""What the bar of `foveal add` says: sources, the passages that are left to encode, the pages of a long source."""

from foveal.cli.adding_shown import LONGEST_NAME, how_far
from foveal.retrieval.adding import AddReport
from foveal.text.sources import Part


def test_sources_count_until_one_takes_long_and_passages_once_all_are_read():
    report = AddReport(added=["a"], passages=40, encoded=40, cut=40, sources=3, sources_read=1, seconds={"load": 20.0})
    assert how_far(report) == ("1 document, 40 passages (2/s); sources", 1, 3)
    report.part = Part("file:///books/the%20eye.pdf", "pages", 312, 1000)
    assert how_far(report) == ("1 document; pages of the eye.pdf", 312, 1000)
    report.part, report.sources_read, report.cut = None, 3, 100
    assert how_far(report) == ("1 document; 2 passages a second:", 40, 100)


def test_nothing_is_said_of_a_rate_before_there_is_one():
    """A long text that goes on where it was is cut again first: "0 passages a second" would say that it stands."""
    report = AddReport(sources=1, seconds={"load": 20.0})
    assert how_far(report) == ("0 documents; sources", 0, 1)
    report.sources_read, report.cut, report.encoded, report.resumed = 1, 100, 64, 64
    assert how_far(report) == ("0 documents; passages", 64, 100)
    report.encoded += 10
    assert how_far(report) == ("0 documents; 0.5 passages a second:", 74, 100)
    report.cut = 0
    assert how_far(report) == ("0 documents, 74 passages (0.5/s); sources", 1, 1)


def test_a_long_name_is_shortened_and_an_address_without_one_is_shown_itself():
    report = AddReport(sources=1, part=Part(f"file:///{'x' * 200}.pdf", "pages", 1, 2))
    assert len(how_far(report)[0]) < LONGEST_NAME + 30
    assert Part("arxiv:2103.00020", "pages", 1, 2).name == "2103.00020"
    assert Part("https://example.org/", "pages", 1, 2).name == "https://example.org/"

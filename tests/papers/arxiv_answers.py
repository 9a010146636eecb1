"""Answers in the shapes of arXiv's interfaces, written by hand: the API, RSS, OAI-PMH in three forms."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from servers import Call

ATOM = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom"
      xmlns="http://www.w3.org/2005/Atom">
  <id>https://arxiv.org/api/x</id><title>arXiv Query</title><updated>2026-10-02T00:00:00Z</updated>
  <opensearch:itemsPerPage>{size}</opensearch:itemsPerPage><opensearch:totalResults>{total}</opensearch:totalResults>
  <opensearch:startIndex>{start}</opensearch:startIndex>{entries}
</feed>"""

ENTRY = """
  <entry>
    <id>http://arxiv.org/abs/{id}v{version}</id>
    <title>{title}</title>
    <updated>2026-09-30T17:59:46Z</updated>
    <link href="https://arxiv.org/abs/{id}v{version}" rel="alternate" type="text/html"/>
    <link href="https://arxiv.org/pdf/{id}v{version}" rel="related" type="application/pdf" title="pdf"/>{more_links}
    <summary>  {abstract}
</summary>
    <category term="{category}" scheme="http://arxiv.org/schemas/atom"/>
    <category term="cs.AI" scheme="http://arxiv.org/schemas/atom"/>
    <published>2026-09-29T08:00:01Z</published>{extra}
    <arxiv:primary_category term="{category}"/>
    <author><name>Léa Martin</name><arxiv:affiliation>Somewhere</arxiv:affiliation><arxiv:affiliation>Elsewhere &amp;
      Co</arxiv:affiliation></author>
    <author><name>Bo Li</name></author>
  </entry>"""

ERROR = """
  <entry><id>https://arxiv.org/api/errors#start_must_be_non-negative</id><title>Error</title>
  <summary>start must be non-negative</summary><updated>2026-10-02T00:00:00Z</updated>
  <author><name>arXiv api core</name></author></entry>"""


def entry(paper: str = "2609.00001", version: int = 1, title: str = "Where to Look", **told: str) -> str:
    given = {"abstract": "We choose where to look.", "category": "cs.CL", "more_links": "", "extra": "", **told}
    return ENTRY.format(id=paper, version=version, title=title, **given)


def atom(*entries: str, total: int | None = None, start: int = 0, size: int = 100) -> bytes:
    count = len(entries) if total is None else total
    return ATOM.format(entries="".join(entries), total=count, start=start, size=size).encode()


ODD = (
    entry("2609.00002", 3, "Attention in $O(n)$\n  for all a &lt; b", abstract="$a &lt; b$.\n  We\n  show &amp; tell"),
    entry("hep-th/9901001", 1, "0", category="hep-th", extra="\n<arxiv:doi>10.1000/eye</arxiv:doi>"
          "<arxiv:journal_ref>Eyes 1 (2021)\n  2-3</arxiv:journal_ref>",
          more_links='\n<link href="https://doi.org/10.1000/eye" rel="related" title="doi"/>'),
    entry("math.GT/0309136", 2, "Old Knots", extra="<arxiv:comment>9 pages. https://github.com/a/b.c.</arxiv:comment>"),
    entry("2609.00003", 2, "Gone", extra="<arxiv:comment>This paper has been withdrawn by the authors</arxiv:comment>"),
)  # fmt: skip


class PagedApi:
    """An API that holds `papers`, and answers by start and max_results; `trouble` may answer in its place."""

    def __init__(self, papers: int, trouble: Callable[[int, int], bytes | None] = lambda *_: None) -> None:
        self.papers = [f"2609.{n:05d}" for n in range(papers)]
        self.asked: list[int] = []
        self.trouble = trouble

    def __call__(self, call: Call) -> None:
        query = parse_qs(urlsplit(call.asked.path).query)
        start, size = int(query["start"][0]), int(query["max_results"][0])
        self.asked.append(start)
        body = self.trouble(start, self.asked.count(start))
        if body is None:
            held = self.papers[start : start + size]
            body = atom(
                *(entry(one, title=f"Paper {one}") for one in held), total=len(self.papers), start=start, size=size
            )
        call.start(200, {"Content-Type": "application/atom+xml"})
        call.write(body)


RSS = """<?xml version='1.0' encoding='UTF-8'?>
<rss xmlns:arxiv="http://arxiv.org/schemas/atom" xmlns:dc="http://purl.org/dc/elements/1.1/"
     xmlns:atom="http://www.w3.org/2005/Atom" xmlns:content="http://purl.org/rss/1.0/modules/content/" version="2.0">
  <channel><title>cs.CL updates on arXiv.org</title><link>http://rss.arxiv.org/rss/cs.CL</link>
  <description>cs.CL updates</description><atom:link href="http://rss.arxiv.org/rss/cs.CL" rel="self"/>
  <pubDate>Fri, 02 Oct 2026 00:00:00 -0400</pubDate><skipDays><day>Sunday</day><day>Saturday</day></skipDays>{items}
  </channel></rss>"""

ITEM = """<item>
   <title>{title}</title><link>https://arxiv.org/abs/{id}</link>
   <description>arXiv:{id}v{version} Announce Type: {kind}
Abstract: {abstract}</description>
   <guid isPermaLink="false">oai:arXiv.org:{id}v{version}</guid><category>cs.CL</category><category>cs.IR</category>
   <pubDate>Fri, 02 Oct 2026 00:00:00 -0400</pubDate><arxiv:announce_type>{kind}</arxiv:announce_type>
   <dc:rights>http://creativecommons.org/licenses/by/4.0/</dc:rights><dc:creator>{authors}</dc:creator>
   <arxiv:DOI>10.1/x</arxiv:DOI><arxiv:journal_reference>J 1</arxiv:journal_reference></item>"""


def item(paper: str, kind: str = "new", version: int = 1, **told: str) -> str:
    given = {
        "title": f"Paper {paper}",
        "abstract": "We look &amp; see $a &lt; b$.",
        "authors": "Léa Martin, Bo Li",
        **told,
    }
    return ITEM.format(id=paper, kind=kind, version=version, **given)


def rss(*items: str) -> bytes:
    return RSS.format(items="".join(items)).encode()


OAI = """<?xml version="1.0" encoding="UTF-8"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>2026-10-02T00:00:00Z</responseDate>
<request verb="ListRecords">http://oaipmh.arxiv.org/oai</request>{body}</OAI-PMH>"""

RECORD = """<record><header{deleted}><identifier>oai:arXiv.org:{id}</identifier><datestamp>2026-10-01</datestamp>
<setSpec>cs:cs:CL</setSpec></header>{metadata}</record>"""

IN_ARXIV = """<metadata><arXiv xmlns="http://arxiv.org/OAI/arXiv/"><id>{id}</id><created>2026-09-29</created>
<updated>2026-09-30</updated><authors><author><keyname>Martin</keyname><forenames>Léa N.</forenames><suffix>Jr</suffix>
<affiliation>Somewhere</affiliation></author><author><keyname>The Eye Collaboration</keyname></author></authors>
<title>Where to
  Look</title><categories>cs.CL cs.AI</categories><comments>9 pages</comments><journal-ref>J 1</journal-ref>
<doi>10.1/x</doi><license>http://creativecommons.org/licenses/by/4.0/</license><abstract>  We choose $a &lt; b$.
  Then we look.</abstract></arXiv></metadata>"""

IN_RAW = """<metadata><arXivRaw xmlns="http://arxiv.org/OAI/arXivRaw/"><id>{id}</id><submitter>Léa Martin</submitter>
<version version="v1"><date>Tue, 29 Sep 2026 08:00:01 GMT</date><size>9kb</size></version>
<version version="v2"><date>Wed, 30 Sep 2026 17:59:46 GMT</date><size>9kb</size><source_type>D</source_type></version>
<title>Where to Look</title>
<authors>Léa Martin (1 and 2), Bo Li (3) and Ana Sol ((1) Somewhere, (2) Else, (3) There)</authors>
<categories>cs.CL cs.AI</categories><comments>9 pages</comments><license>L</license>
<abstract>We choose.</abstract></arXivRaw></metadata>"""

IN_DC = """<metadata><oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/"
xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Where to Look</dc:title><dc:creator>Martin, Léa</dc:creator>
<dc:creator>Li, Bo</dc:creator><dc:subject>Computer Science - Computation and Language</dc:subject>
<dc:description>We choose.</dc:description><dc:description>Comment: 9 pages</dc:description>
<dc:date>2026-09-29</dc:date>
<dc:date>2026-09-30</dc:date><dc:type>text</dc:type><dc:identifier>http://arxiv.org/abs/{id}</dc:identifier>
<dc:identifier>doi:10.1/x</dc:identifier></oai_dc:dc></metadata>"""

DELETED = RECORD.format(id="2609.00009", deleted=' status="deleted"', metadata="")


def oai_record(form: str, paper: str = "2609.00001") -> str:
    return RECORD.format(id=paper, deleted="", metadata=form.format(id=paper))


def oai(*records: str, token: str = "") -> bytes:
    end = f"<resumptionToken>{token}</resumptionToken>" if token else ""
    return OAI.format(body=f"<ListRecords>{''.join(records)}{end}</ListRecords>").encode()


def oai_error(code: str, said: str = "") -> bytes:
    return OAI.format(body=f'<error code="{code}">{said}</error>').encode()

"""Canonical topics: which headings mean the same, so that "Liability cap" and "Limitation of liability" are one topic.

    table = TopicTable.terms()                           # of terms, policies and contracts
    table = TopicTable.read("topics.json")               # {"topic": ["a heading", "another one"], …}
    table.of("12. Limitation of Liability")              # "limitation of liability"

Match     letters only, in small ones: the heading itself, else the longest entry that stands in it as whole words. The
          paper matches whole headings only, over 554 variants of 82 topics, which are not public as text: this table
          is our own, shorter, and finds more by looking inside
Source    Aumiller et al., ICAIL 2021
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from foveal.errors import InputError

_LETTERS = re.compile(r"[^\W\d_]+")

_TERMS: Mapping[str, str] = {
    "acceptance": (
        "acceptance of terms, acceptance of these terms, acceptance, accepting these terms, agreement to terms, your "
        "acceptance, agreement to be bound"
    ),
    "accounts": (
        "account, accounts, your account, registration, account registration, user account, account terms, password, "
        "creating an account, account security, login"
    ),
    "advertising": "advertising, advertisements, ads, advertisers, sponsored listings",
    "age and eligibility": "eligibility, age requirements, age, who may use, minors, age restrictions",
    "apps and app stores": "mobile application, app stores, apple, ios, android, mobile app",
    "arbitration": (
        "arbitration, arbitration agreement, agreement to arbitrate, class action waiver, class action, jury trial "
        "waiver, binding arbitration"
    ),
    "assignment": "assignment, non assignability, transfer of rights, assignment and delegation",
    "availability": (
        "availability, service availability, downtime, maintenance, interruption, uptime, service levels, beta, "
        "previews"
    ),
    "cancellation": "cancellation, cancellations, cancelling, right of withdrawal, withdrawal, cancellation policy",
    "changes to services": (
        "changes to the service, modification of the services, changes to services, updates, service limitations and "
        "modifications, modifications to the service"
    ),
    "changes to terms": (
        "changes to these terms, modification of these terms, amendments, changes to the agreement, modifications, "
        "changes, amendment, changes to terms, modification of terms, updating these terms, variation, changes to "
        "this policy, changes to this privacy, revisions"
    ),
    "children": "children, children s privacy, information from children, information for minors",
    "commissions and fees": (
        "fees, commission, commissions, fees and charges, service fees, charges, pricing, price, prices, fee "
        "schedule, costs"
    ),
    "complaints": (
        "complaints, complaint, complaint handling, internal complaint handling system, your concerns, complaints "
        "handling"
    ),
    "compliance with laws": (
        "compliance with laws, compliance, legal compliance, applicable laws and regulations, anti corruption, export "
        "control, sanctions, export, trade control"
    ),
    "confidentiality": "confidentiality, confidential information, non disclosure, confidential",
    "contact": "contact us, contact, contact information, how to contact us, questions, get in touch, contacting us",
    "content standards": (
        "content standards, prohibited content, content policy, content guidelines, illegal content, content removal, "
        "removal of content, content moderation"
    ),
    "content of users": (
        "user content, your content, content, user generated content, user submissions, submissions, contributions, "
        "your materials, materials"
    ),
    "cookies": "cookies, cookie policy, what are cookies, use of cookies, cookies and tracking technologies, tracking",
    "copyright complaints": (
        "dmca, copyright policy, copyright infringement, notice and takedown, infringement claims, copyright "
        "complaints, copyright, counter notice"
    ),
    "customer support": "customer support, support, customer service, technical support, help",
    "data protection": (
        "data protection, data processing, processing of personal data, gdpr, data processing agreement, personal "
        "data processing, data privacy, data controller, legal bases, lawful bases, legal basis, data processor"
    ),
    "data retention": "data retention, retention, how long we keep, storage of data, retention of data, deletion",
    "definitions": "definitions, definition, defined terms, interpretation, glossary, definitions and interpretation",
    "delivery and shipping": "delivery, shipping, shipment, delivery terms, dispatch, logistics",
    "disclaimer of warranties": (
        "disclaimer, disclaimers, disclaimer of warranties, no warranty, warranty disclaimer, as is, warranty and "
        "disclaimer, exclusion of warranties, no warranties"
    ),
    "dispute resolution": (
        "dispute resolution, disputes, mediation, legal disputes, dispute, settlement of disputes, disputes between "
        "users"
    ),
    "entire agreement": "entire agreement, complete agreement, order of precedence, whole agreement",
    "feedback": "feedback, suggestions, ideas, feedback and suggestions",
    "force majeure": "force majeure, events beyond our control, circumstances beyond control",
    "general": (
        "miscellaneous, general, general provisions, general terms, other, other matters, final provisions, other "
        "provisions, additional terms, other legal terms, miscellaneous provisions"
    ),
    "governing law": (
        "governing law, applicable law, jurisdiction, applicable law and jurisdiction, choice of law, governing law "
        "and jurisdiction, venue, law and jurisdiction, jurisdiction and applicable law"
    ),
    "guarantees of quality": (
        "warranties, warranty, guarantee, legal guarantee, guarantees, representations and warranties, representation "
        "and warranty, representations"
    ),
    "indemnification": "indemnification, indemnity, indemnify, indemnities, hold harmless",
    "information collected": (
        "information we collect, information collected, data we collect, personal data we collect, collection of "
        "information, collection of personal, what information, types of data, what we collect, information you "
        "provide"
    ),
    "information shared": (
        "sharing, how we share, information we share, disclosure of information, disclosures, recipients, sharing of "
        "information, who we share, disclosure of personal, third party access"
    ),
    "information used": (
        "how we use, use of information, use of personal data, purposes, how your data is used, use of your "
        "information, how is your data used, purpose of processing"
    ),
    "insurance": "insurance, insurances, coverage",
    "intellectual property": (
        "intellectual property, intellectual property rights, ownership, proprietary rights, our intellectual "
        "property, trademarks, trademark, logos, brand features, ownership of content"
    ),
    "international transfers": (
        "international transfers, international data transfers, transfer of data, transfers, cross border, "
        "international transfer of personal data"
    ),
    "introduction": (
        "introduction, about us, about these terms, overview, welcome, preamble, scope, general information, "
        "recitals, who we are, purpose, about this agreement, agreement summary, summary"
    ),
    "liability": (
        "limitation of liability, liability, limitations of liability, limitation on liability, our liability, limits "
        "on liability, exclusion of liability, liability limit"
    ),
    "licence": (
        "license, licence, license grant, licenses, licence grant, grant of rights, license restrictions, limited "
        "license, grant of license, rights you grant, license to use"
    ),
    "links": (
        "links, links to other sites, links to third party, links from our site, external links, third party links"
    ),
    "listing": (
        "listing, listings, listing items, managing your listing, listing conditions, product listings, listing your "
        "items"
    ),
    "marketing messages": (
        "marketing, communications, electronic communications, newsletter, emails, email, sms, promotional, "
        "notifications, messages"
    ),
    "notices": "notices, notice, legal notices, written notice",
    "obligations of sellers": (
        "seller obligations, obligations of the seller, obligations of sellers, seller responsibilities, selling, "
        "sellers, seller, selling items, obligations of the partner, host terms, obligations of the host, merchants, "
        "merchant"
    ),
    "obligations of users": (
        "your obligations, your responsibilities, user obligations, your responsibility, user responsibilities, your "
        "conduct, user conduct, obligations of users, obligations of the user, customer obligations, member "
        "responsibilities, responsibilities"
    ),
    "orders": (
        "orders, order, ordering, conclusion of contract, conclusion of the contract, purchase, purchases, "
        "purchasing, placing an order, buying"
    ),
    "payment": (
        "payment, payments, payment terms, billing, invoicing, payouts, payout, payment processing, invoices, "
        "remittance"
    ),
    "privacy": "privacy, privacy policy, your privacy, privacy notice",
    "prohibited uses": (
        "prohibited uses, acceptable use, prohibited activities, restrictions, prohibited conduct, use restrictions, "
        "acceptable use policy, prohibited, unacceptable use, misuse"
    ),
    "ranking": "ranking, search results, ranking parameters, rankings, how we rank, ranked, search ranking, rank",
    "refunds": "refunds, refund, refund policy, returns, returns and refunds, return policy, money back",
    "relationship of the parties": (
        "relationship, independent contractors, relationship of the parties, no agency, independence, no partnership"
    ),
    "reservations": "reservations, booking, bookings, reservation, booking modifications",
    "reviews": "reviews, ratings, ratings and reviews, review, guest reviews, rating",
    "rights of data subjects": (
        "your rights, your choices, your privacy rights, your rights and choices, access and correction, exercising "
        "your rights, rights of the data subject, right to access, opt out, access to data"
    ),
    "security": "security, security measures, data security, information security, how we protect",
    "services": (
        "services, the service, description of service, our services, description of the service, provision of "
        "services, use of the service, the services, use of services, access to our site, our role, scope of services"
    ),
    "severability": "severability, severance, invalidity, partial invalidity",
    "subcontractors": "subprocessors, sub processors, subcontractors, subcontracting, service providers, affiliates",
    "subscriptions": "subscription, subscriptions, automatic renewal, renewal, free trial, trial, plans, renewals",
    "survival": "survival, surviving provisions",
    "suspension": "suspension, suspension and termination, account suspension, restriction of access, suspended",
    "taxes": "taxes, tax, vat, tax information, taxation",
    "term and termination": (
        "termination, term, term and termination, duration, effect of termination, duration and termination, ending "
        "these terms, termination of services, termination of the agreement, expiry"
    ),
    "third parties": (
        "third party services, third parties, third party content, third party websites, third party rights, third "
        "party software, third party products"
    ),
    "waiver": "waiver, no waiver, waivers",
}
"""Topic -> headings, in our own words, after reading those of many policies."""


@dataclass(frozen=True)
class TopicTable:
    """Topics and the headings that mean them."""

    topics: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        if len(self.topics) < 2 or not all(self.topics.values()):
            raise InputError("A table of topics needs at least two topics, each with at least one heading.")

    @classmethod
    def terms(cls) -> TopicTable:
        """The topics of terms of service, policies and contracts, in English."""
        return _terms()

    @classmethod
    def read(cls, path: str | Path) -> TopicTable:
        """The table in a JSON file: an object of topics, each with a list of headings. InputError: it is none."""
        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} holds no table of topics ({error}). It needs to be a JSON object.") from error
        lists = isinstance(told, dict) and all(
            isinstance(found, list) and all(isinstance(one, str) for one in found) for found in told.values()
        )
        if not lists:
            raise InputError(f"{path} holds no table of topics; each topic needs a list of headings, as strings.")
        return cls(told)

    def of(self, heading: str) -> str | None:
        """The topic of a heading; None where no entry stands in it. Of equally long entries the first counts."""
        words = plain_heading(heading)
        if not words:
            return None
        if words in self._entries:
            return self._entries[words]
        inside = f" {words} "
        return next((topic for entry, topic in self._longest if f" {entry} " in inside), None)

    def of_path(self, path: Sequence[str], *, highest: bool = False) -> str | None:
        """The topic of the lowest heading of a path (from the highest down) that has one, or of the highest."""
        return next((topic for title in (path if highest else reversed(path)) if (topic := self.of(title))), None)

    @cached_property
    def _entries(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for topic, headings in self.topics.items():
            for heading in headings:
                found.setdefault(plain_heading(heading), topic)
        return found

    @cached_property
    def _longest(self) -> list[tuple[str, str]]:
        return sorted(self._entries.items(), key=lambda entry: -len(entry[0]))


def plain_heading(heading: str) -> str:
    """A heading's letters in small ones, one space between words."""
    return " ".join(_LETTERS.findall(heading.lower()))


@lru_cache(1)
def _terms() -> TopicTable:
    return TopicTable({topic: headings.split(", ") for topic, headings in _TERMS.items()})

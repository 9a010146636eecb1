"""The daily papers: what is new in a field today, on a site of a group's own.

sources/, ingest.py, schedule.py   where papers come from, how they are read in, and when
schema.py, store.py                the tables of the one SQL database, and what a page asks of them
ranking.py, trending.py            orders of papers: each formula a pure function; rising.py, trend_forecast.py: topics
paper_index.py, paper_search.py    search over papers: a library of their own, one passage a paper
accounts.py, sessions.py           people: signing in without a password; votes.py, discussion.py, moderation.py
headlines.py, headline_writer.py   TeClass: how far an article bears its headline out, and headlines that it does
mail/                              the morning mail
"""

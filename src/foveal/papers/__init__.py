"""The daily papers: what is new in a field today. So far: headlines, judged and written (`headlines.py`)."""

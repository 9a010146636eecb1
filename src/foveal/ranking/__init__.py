"""Order candidates anew: rankers that see the query and a passage together (`Ranker.rank`).

cross_encoder   one forward pass over query and passage (monoBERT, MiniLM, ...)
learned         a model of features: scores and ranks of several retrievers, words, titles, dates
"""

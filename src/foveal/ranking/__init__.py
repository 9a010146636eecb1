"""Order candidates anew: rankers that see the query and a passage together (`Ranker.rank`).

cross_encoder   one forward pass over query and passage (monoBERT, MiniLM, ...)
blockrank       a language model reads all candidates at once; where its middle layer looks is the ranking
listwise        its baselines: full attention, windows, yes or no for each passage, retrieval heads
neural/         eighteen neural rankers before BERT: K-NRM, DRMM, …; one trainer, a match matrix to show
sections        documents in sections, such as law: paraformer.py, attentive_cnn.py; legal.py: behind words
by_name         any of them by the name that a person types
cascade         cheap rankers first, dear ones for the best few, within a budget of milliseconds
explanation     which words or sentences matched, of any of them: numbers and a picture (explaining.py makes them)
learned         a model of features: scores and ranks of several retrievers, words, titles, dates
"""

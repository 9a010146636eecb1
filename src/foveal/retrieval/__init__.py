"""Find candidates in a collection: for each query at most k hits, best first (`Retriever.search`).

lexical, dense, hybrid   words (BM25), meaning (vectors), both; fusion joins rankings, pipeline puts rankers behind
lexsembridge             dense search that finds exact words, too
corpusbrain, generative  documents found by writing their titles; the retriever of a library over that
fresh, events, bursts    what is new: events of dated texts, and a search that knows them
late, sparse             token vectors and learnt sparse vectors; passage_indexes keeps them beside a library
phrases, multi_hop       answers without reading; questions that take two passages
store, tables, indexing  a library's files: one store over Lance tables, written in batches that a kill cannot tear
vectors, flat, hnsw, quantised   indexes over vectors in memory, or mapped from disk

    library.retriever("lexical").search(["where is sight sharpest?"], k=10)      # a name of registry.RETRIEVERS
"""

"""Documents in, passages out: what a file, page or address says, and where it may be cut.

discovery, loading   paths, folders, URLs and arXiv ids to sources, and these to documents; one module for each format
fetching             one way to the web, within limits; addresses, robots, page_cache
headings             the headings of a text, marked or not
segmentation         a document cut into passages that cover it; texttiling, c99, graphseg, embedding_segmentation,
                     same_topic do it by what is said (`registry.SEGMENTERS`)
units, tokens        sentences, paragraphs and words with their places; wrapping: line ends that only a width made

    HeadingSegmenter().segment(document)                 # of segmentation.py: passages, no character of it left out
"""

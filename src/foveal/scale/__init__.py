"""Past one process: the work of a library spread over a Ray cluster. Needs the extra `foveal[scale]`.

    cluster.py     a cluster that is there, or one of this machine's cores
    tasks.py       tasks that are tried again where their node or process died
    adding.py      `foveal add --ray`: sources loaded, cut and encoded by tasks
    indexing.py    indexes built by tasks, a part of the rows each (lance-ray)
    reading.py     `foveal read --ray`: windows of a text scored by tasks
    searching.py   `foveal research --ray`: sub-questions searched by tasks
    serving.py     `foveal serve --ray`: encoder, ranker and reader as Ray Serve deployments

A task may run on any node and is run again where its node dies. What has an order or a lock (what is new, what is
written, what a reading keeps) stays with the process that was asked, so results are those of one process.
"""

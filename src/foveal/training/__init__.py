"""Training: examples and negatives, objectives, and the one loop that all trainable systems share.

    from foveal.training.encoders import train_encoder
    from foveal.training.examples import Examples
    trained, report = train_encoder(Examples.of(load_beir(folder, "train")), "minilm", home=home)

Heavy packages load with the modules, not with this one. Needs `pip install 'foveal[train]'`.
"""

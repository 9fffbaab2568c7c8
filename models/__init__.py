"""Neural networks: the list of them (`registry`), inference (`titanet`, `ge2e`, `vad`) and installation (`install`).

A running worker needs only numpy and onnxruntime. `install`, `download`, `export` and `convert_ge2e` are run by hand.
"""

"""The neural networks: what there is (`registry`), how each one runs (`titanet`, `ge2e`, `vad`), how one is installed.

A running worker needs numpy and onnxruntime only; `install`, `download`, `export` and `convert_ge2e` are for a desk.
"""

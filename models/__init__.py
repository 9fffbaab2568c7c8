"""Neural networks: lists of them (`registry`, `recognisers`), inference (`titanet`, `nemo_ctc`, ...), installation.

A running worker needs only numpy and onnxruntime. `install`, `download`, `nemo_file`, `export`, `export_ctc` and
`convert_ge2e` are run by hand.
"""

"""Neural networks: lists of them (`registry`, `recognisers`), inference (`titanet`, `nemo_ctc`, ...), installation.

A running worker needs only numpy and onnxruntime. `install` (with `installation`) and `calibration` are run by hand.
"""

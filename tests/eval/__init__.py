"""Evaluation of the service on recordings with known speakers; tools that are run by hand.

A manifest is a CSV with the columns file, speaker, dataset, licence, seconds, kind, sex, note. Files are relative to
it. `kind` is `single` (one speaker), `single-30s` (one speaker, made like a mixture), `mixture` or `diarization` (with
an RTTM file beside the sound), `spoof` (synthetic speech) or `duplicate`. The note of a mixture contains
`dominant=SPEAKER`, that of a duplicate is `copy of FILE`. A file `trials.csv` beside the manifest is optional: enrol,
test, same, dataset.
"""

"""How good the service is, measured on recordings whose speakers are known; tools for a desk, run by hand.

A manifest is a CSV with the columns file, speaker, dataset, licence, seconds, kind, sex, note; files are relative to
it. `kind` is `single` (one speaker), `single-30s` (one speaker, made like a mixture), `mixture` or `diarization` (an
RTTM file lies beside the sound); of a mixture the note says `dominant=SPEAKER`. Beside it may lie `trials.csv`: enrol,
test, same, dataset.
"""

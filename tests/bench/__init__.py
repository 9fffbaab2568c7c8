"""How fast the service is, as ratios to the bare network and to NeMo's own pipeline, in one run on the same cores."""

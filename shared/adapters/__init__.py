"""The outside, as `shared/ports.py` asks for it."""

import sys

if not {"redis", "opentelemetry"} & sys.modules.keys():
    # redis-py imports OpenTelemetry's metrics, which nobody here uses, where they are installed: 30 ms and 3 MiB.
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    import redis  # noqa: F401

    del sys.modules["opentelemetry"]

"""Post the address of a recording, get the voiceprint of whoever speaks most in it.

Every request carries an API key, `Authorization: Bearer sk_...`. A POST that starts work answers at once with a job
id; poll `GET /v1/jobs/{jobId}` until its status is `succeeded`, `failed` or `canceled`, or name a webhook. Errors have
one form: `{"requestId", "code", "message", "errors"?}`. An address that is not here answers 404 `not_found`, a method
that an address does not have 405 `method_not_allowed`; two slashes in place of one are redirected, with 308,
except within the key of a recording.
"""

# Imported first: it keeps redis-py from importing OpenTelemetry, wherever that is imported next.
from shared import adapters  # noqa: F401

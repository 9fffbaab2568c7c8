"""Post the address of a recording, get the voiceprint of whoever speaks most in it.

Every request carries an API key, `Authorization: Bearer sk_...`. A POST that starts work answers at once with a job
id; poll `GET /v1/jobs/{jobId}` until its status is `succeeded` or `failed`. Errors have one form:
`{"requestId", "code", "message", "errors"?}`.
"""

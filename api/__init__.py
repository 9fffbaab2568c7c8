"""Post the address of a recording, get the voiceprint of whoever speaks most in it.

Every request carries an API key, `Authorization: Bearer sk_...`. A POST that starts work answers at once with a job
id; poll `GET /v1/jobs/{jobId}` until its status is `succeeded`, `failed` or `canceled`, or name a webhook. Errors have
one form: `{"requestId", "code", "message", "errors"?}`. An address that is not here answers 404 `not_found`, another
method 405 `method_not_allowed`, and two slashes where one is meant 308.
"""

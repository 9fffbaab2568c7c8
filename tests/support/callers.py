"""Client of an application in this process, without a server."""


class Caller:
    """Client of an application, by a key or a token."""

    def __init__(self, app, key):
        self._client = app.test_client()
        self.key = key

    def send(self, method, path, headers=(), **options):
        """Send a request; returns the response."""
        headers = {"Authorization": f"Bearer {self.key}", **dict(headers)}
        return self._client.open(path, method=method, headers=headers, **options)

    def ask(self, method, path, headers=(), **options):
        """Send a request; returns status and body."""
        answer = self.send(method, path, headers, **options)
        return answer.status_code, answer.json

    def post(self, path, headers=(), **body):
        """POST `body` as JSON; returns status and body."""
        return self.ask("POST", path, headers, json=body)

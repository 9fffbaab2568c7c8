"""Dialects: a vendor's wire form of a job, spoken by polling and webhooks alike.

A new dialect is a package here and one line in `speak`.
"""

from collections.abc import Mapping

from shared.dialects.base import Dialect
from shared.dialects.enroll import Enroll
from shared.dialects.pyannoteai import PyannoteAi

Dialects = Mapping[str, Dialect]
#: Dialect of records that the first release wrote, which name none.
FIRST_DIALECT = PyannoteAi.name


def speak(signature_encoding: str) -> Dialects:
    """Return every dialect by its name, which job records carry.

    Parameters
    ----------
    signature_encoding : of pyannoteAI's `X-Signature`, hex or base64.
    """
    spoken = [PyannoteAi(signature_encoding), Enroll(signature_encoding)]
    return {dialect.name: dialect for dialect in spoken}

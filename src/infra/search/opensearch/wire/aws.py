"""What AWS, in front of a cluster, answers to a signature or credential that it does not take: a 403 with words of its own."""

from __future__ import annotations

import re

from .....errors import ServiceCredentialsError

_CREDENTIAL = re.compile(
    r"(?P<clock>signature (?:expired|not yet current))|security token|request signature|signedheader|credential should be scoped|"
    r"authentication token|authorization header|user: anonymous",
    re.IGNORECASE,
)


def aws_refusal(reason: str, host: str) -> ServiceCredentialsError | None:
    """The error of a 403 that is about who asks; None where it is about what is asked for, such as a missing permission."""
    found = _CREDENTIAL.search(reason)
    if found is None:
        return None
    clock = found["clock"] is not None
    return ServiceCredentialsError(
        f"OpenSearch does not accept this server's credential (HTTP 403): {reason.rstrip('. ')}.",
        hop=host,
        setting="" if clock else "search.use_aws_auth",
        hint="Set the clock of this machine." if clock else "Check aws_region, aws_service, aws_profile and aws_role_arn of [search].",
    )

"""Named sets of defaults, as data: the lowest layer above the defaults themselves.

`[environment] cloud_profile` (or `CLOUD_PROFILE`) names one. Companies add their own, or add to these, as `[profile:NAME]`
sections of a configuration file. Values are written as they would be in an INI file; ``${VAR:}`` takes a variable of the
environment where it is set and leaves the key unset otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_AZURE: dict[str, str] = {
    "chat.provider": "azure",
    "chat.model": "gpt-4",
    "chat.api_base": "${AZURE_OPENAI_ENDPOINT:}",
    "chat.api_version": "2024-06-01",
    "embed.provider": "azure",
    "embed.model": "text-embedding-ada-002",
    "embed.dims": "1536",
    "azure.tenant_id": "${AZURE_TENANT_ID:}",
    "azure.client_id": "${AZURE_CLIENT_ID:}",
}

_AWS: dict[str, str] = {
    "search.use_aws_auth": "true",
    "search.aws_region": "${AWS_REGION:}",
}

PROFILES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "local": {},
        "azure": _AZURE,
        "aws": _AWS,
        "jpmc_azure": _AZURE
        | {
            "azure.credential": "certificate",
            "azure.certificate_path": "${AZURE_CLIENT_CERTIFICATE_PATH:}",
            "azure.certificate_password": "${AZURE_CLIENT_CERTIFICATE_PASSWORD:}",
            "chat.user_header": "user_sid",
            "network.proxy": "http://proxy.jpmchase.net:10443",
            # The bank's own hosts, and Azure OpenAI, which it reaches over private links; Entra ID and AWS lie behind the proxy.
            "network.no_proxy": "localhost, 127.0.0.1, jpmchase.net, openai.azure.com",
            "search.aws_region": "${AWS_REGION:}",
        },
    }
)

"""The one outbound policy: proxies, who goes round them, certificate authorities, client certificate, limits.

Importing this loads no HTTP library and no cryptography.
"""

from __future__ import annotations

from .bypass import direct_hosts
from .policy import Limits, NetworkPolicy
from .proxies import ProxySettings, split_proxy
from .tls import SYSTEM_BUNDLES

__all__ = ["SYSTEM_BUNDLES", "Limits", "NetworkPolicy", "ProxySettings", "direct_hosts", "split_proxy"]

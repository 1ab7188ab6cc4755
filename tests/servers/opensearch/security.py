"""The secured flavour: a private authority, certificates, users and roles for OpenSearch's security plugin.

Everyone here lives in a throw-away cluster on loopback; the passwords are no secrets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

PASSWORDS = {name: f"{name}-password" for name in ("admin", "reader", "writer", "bare", "nobody", "partner")}
# Made by org.opensearch.security.tools.Hasher, which takes a second for each.
HASHES = {
    "admin": "$2y$12$9qYO8G1slPzXiLtfFkCb5O0yAVeReJKrynoDI3zKqRbxfPkteM80W",
    "reader": "$2y$12$Tv4pSHiqERqKMZsJeboYbe4aFo/tTmbCrXlOme2YHjqeidCj9Bhbm",
    "writer": "$2y$12$iYyYfFz6Hg4YZejge5F6P.vTNeDY2XFQZYpI2EkfL80c4Yh6Iqv42",
    "bare": "$2y$12$C.cHjxUO.KDXVB.3fMWTl.2u6seQsfrrdooFk6nAoyntqIhLxlayG",
    "nobody": "$2y$12$81JJTMLNtsq5HjEvTRgo3uWg4vrKn.ULsQ9BZBT4WaKyyxDEycCeK",
    "partner": "$2y$12$EpctEkTkUAIvDT.KxDjHCeU6cRh5UzF8/.iVIf6mxrLJ3G.EQI9Rm",
}
SIGNING_KEY = hashlib.sha512(b"signing key of the test clusters").digest()
"""Shared secret of the JWT domain, long enough for HS512."""

OPEN_TO_PARTNER = {"term": {"tenant": "partner"}}
"""Document-level rule of role ``partner``; `Security` users give it another one by `roles/partner` of the plugin's API."""

READ = ["read", "indices:admin/get", "indices:admin/mappings/get", "indices:admin/aliases/get", "indices:monitor/settings/get"]
ROLES: dict[str, dict[str, Any]] = {
    # Searches, and multi-searches; no `cluster:monitor/*`, so `GET /` is 403, as in most companies.
    "reader": {
        "cluster_permissions": ["cluster_composite_ops_ro"],
        "index_permissions": [{"index_patterns": ["*"], "allowed_actions": READ}],
    },
    "writer": {
        "cluster_permissions": ["cluster_composite_ops", "cluster:monitor/main", "cluster:monitor/health"],
        "index_permissions": [{"index_patterns": ["*"], "allowed_actions": ["crud", "create_index", "manage", "manage_aliases"]}],
    },
    # No cluster permission at all: even `_bulk`, `_msearch` and `_mget` are refused.
    "bare": {"cluster_permissions": [], "index_permissions": [{"index_patterns": ["*"], "allowed_actions": READ}]},
    "partner": {
        "cluster_permissions": ["cluster_composite_ops_ro"],
        "index_permissions": [{"index_patterns": ["*"], "allowed_actions": READ, "dls": json.dumps(OPEN_TO_PARTNER)}],
    },
}
CERTIFICATE_USER = "rag-client"


@dataclass(frozen=True)
class Security:
    """Who may enter. Certificates are pairs of files: certificate, key."""

    ca_file: str
    admin_certificate: tuple[str, str]
    client_certificate: tuple[str, str]
    node_settings: dict[str, Any]
    authority: trustme.CA

    @classmethod
    def create(cls, config: Path) -> Security:
        """Write certificates and the plugin's files into the node's configuration folder."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(config / "ca.pem")
        node = _issue(authority, config, "node", "127.0.0.1", "localhost", "opensearch.company.test")
        admin = _issue(authority, config, "super-admin", "super-admin")
        client = _issue(authority, config, CERTIFICATE_USER, CERTIFICATE_USER)
        _write_plugin_files(config / "opensearch-security")
        return cls(str(config / "ca.pem"), admin, client, _node_settings(node), authority)

    def user(self, name: str) -> tuple[str, str]:
        """User and password: admin, reader, writer, bare (no cluster permission), nobody (no right at all), partner (document-level security)."""
        return name, PASSWORDS[name]

    def jwt(self, subject: str, roles: list[str], *, lifetime_s: float = 600, algorithm: str = "HS512") -> str:
        """A bearer token; ``roles`` are names of `ROLES` or ``admin``; a negative ``lifetime_s`` makes an expired one."""
        claims = {"sub": subject, "roles": roles, "exp": int(time.time() + lifetime_s)}
        body = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": algorithm, "typ": "JWT"}, claims))
        digest = {"HS256": "sha256", "HS512": "sha512"}[algorithm]
        return f"{body}.{_encode(hmac.digest(SIGNING_KEY, body.encode(), digest))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _issue(authority: trustme.CA, folder: Path, name: str, *identities: str) -> tuple[str, str]:
    """Issue a certificate with the distinguished name CN=name,OU=rag,O=test and write its key as PKCS#8, the only form that the plugin reads."""
    leaf = authority.issue_cert(*identities, common_name=name, organization_name="test", organization_unit_name="rag")
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    private = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    return str(certificate), str(key)


def _node_settings(node: tuple[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.http.clientauth_mode": "OPTIONAL",
        "plugins.security.ssl.transport.enforce_hostname_verification": False,
        "plugins.security.authcz.admin_dn": ["CN=super-admin,OU=rag,O=test"],
        "plugins.security.nodes_dn": ["CN=node,OU=rag,O=test"],
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.audit.type": "noop",
    }
    for layer in ("http", "transport"):
        # Relative to the configuration folder: the plugin takes no other place.
        settings |= {
            f"plugins.security.ssl.{layer}.pemcert_filepath": Path(node[0]).name,
            f"plugins.security.ssl.{layer}.pemkey_filepath": Path(node[1]).name,
            f"plugins.security.ssl.{layer}.pemtrustedcas_filepath": "ca.pem",
        }
    return settings


def _write_plugin_files(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    mapping = {name: {"users": [name, *([CERTIFICATE_USER] if name == "writer" else [])], "backend_roles": [name]} for name in ROLES}
    files: dict[str, tuple[str, dict[str, Any]]] = {
        "config": ("config", {"config": {"dynamic": {"http": {"anonymous_auth_enabled": False}, "authc": _domains(), "authz": {}}}}),
        "internal_users": ("internalusers", {name: {"hash": value} for name, value in HASHES.items()}),
        "roles": ("roles", ROLES),
        "roles_mapping": ("rolesmapping", mapping | {"all_access": {"users": ["admin"], "backend_roles": ["admin"]}}),
        "action_groups": ("actiongroups", {}),
        "tenants": ("tenants", {}),
        "nodes_dn": ("nodesdn", {}),
        "allowlist": ("allowlist", {"config": {"enabled": False, "requests": {}}}),
        "audit": ("audit", {"config": {"enabled": False}}),
    }
    for name, (kind, content) in files.items():
        # JSON is YAML; a YAML writer would share repeated lists by anchors, which the plugin does not read.
        (folder / f"{name}.yml").write_text(json.dumps({"_meta": {"type": kind, "config_version": 2}} | content))


def _domains() -> dict[str, Any]:
    """Certificate, then token, then password; the last one sends the challenge."""

    def domain(order: int, kind: str, backend: str, **config: Any) -> dict[str, Any]:
        authenticator = {"type": kind, "challenge": kind == "basic", "config": config}
        return {"http_enabled": True, "order": order, "http_authenticator": authenticator, "authentication_backend": {"type": backend}}

    return {
        "certificate": domain(0, "clientcert", "noop", username_attribute="cn"),
        "token": domain(1, "jwt", "noop", signing_key=base64.b64encode(SIGNING_KEY).decode(), jwt_header="Authorization", subject_key="sub", roles_key="roles"),
        "password": domain(2, "basic", "intern"),
    }

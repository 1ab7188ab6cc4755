"""Records in the shape of the Open Cybersecurity Schema Framework, version 1.8.0.

What callers ask for is API Activity (6003), with the documents as its resources; what is done to an index or taken out of the store
is Datastore Activity (6005); a refused sign-in is Authentication (3002).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .chain import Record

VERSION = "1.8.0"
SERVICE = "founders-rag"
_API, _STORE, _SIGN_IN = 6003, 6005, 3002
_CLASSES: Mapping[int, tuple[str, int, str]] = {
    _API: ("API Activity", 6, "Application Activity"),
    _STORE: ("Datastore Activity", 6, "Application Activity"),
    _SIGN_IN: ("Authentication", 3, "Identity & Access Management"),
}
_ACTIVITIES: Mapping[str, tuple[int, int, str]] = {
    "chat": (_API, 2, "Read"),
    "search": (_API, 2, "Read"),
    "document.read": (_API, 2, "Read"),
    "document.write": (_API, 1, "Create"),
    "document.delete": (_API, 4, "Delete"),
    "thread.delete": (_API, 4, "Delete"),
    "thread.export": (_API, 2, "Read"),
    "approval.decide": (_API, 3, "Update"),
    "config.loaded": (_API, 3, "Update"),
    "feedback.export": (_STORE, 1, "Read"),
    "audit.export": (_STORE, 1, "Read"),
    "user.erase": (_STORE, 7, "Delete"),
    "thread.retain": (_STORE, 7, "Delete"),
    "index.create": (_STORE, 6, "Create"),
    "index.delete": (_STORE, 7, "Delete"),
    "index.copy": (_STORE, 5, "Write"),
    "index.ingest": (_STORE, 5, "Write"),
    "index.reindex": (_STORE, 2, "Update"),
    "index.rebuild": (_STORE, 2, "Update"),
    "index.switch": (_STORE, 2, "Update"),
    "signin": (_SIGN_IN, 1, "Logon"),
}
"""Class and activity of each action; others are API Activity, Other."""


def to_ocsf(record: Record, product_version: str) -> dict[str, Any]:
    """One event. What OCSF has no place for stands under ``unmapped``, in our names."""
    kind, activity, name = _ACTIVITIES.get(record["action"], (_API, 99, "Other"))
    caption, category, category_name = _CLASSES[kind]
    good = record.get("outcome") == "allowed"
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": name,
        "category_uid": category,
        "category_name": category_name,
        "class_uid": kind,
        "class_name": caption,
        "type_uid": kind * 100 + activity,
        "type_name": f"{caption}: {name}",
        "time": int(datetime.fromisoformat(record["time"]).timestamp() * 1000),
        "severity_id": 1 if record.get("outcome") != "refused" else 2,
        "severity": "Informational" if record.get("outcome") != "refused" else "Low",
        **_status(record, good=good),
        "metadata": _metadata(record, product_version),
        "src_endpoint": _source(record),
        "unmapped": _left(kind, record),
    }
    event.update(_of_class(kind, record))
    return event


def _status(record: Record, *, good: bool) -> dict[str, Any]:
    begun = record.get("outcome") == "begun"
    status = {"status_id": 99, "status": "begun"} if begun else {"status_id": 1, "status": "Success"} if good else {"status_id": 2, "status": "Failure"}
    return {**status, **({"status_code": record["reason"]} if record.get("reason") else {})}


def _metadata(record: Record, product_version: str) -> dict[str, Any]:
    found = {
        "version": VERSION,
        "product": {"name": SERVICE, "vendor_name": SERVICE, "version": product_version},
        "uid": f"{record['chain']}-{record['n']}",
        "event_code": record["action"],
        "log_name": "audit",
        "original_time": record["time"],
        "sequence": record["n"],
        "correlation_uid": record.get("correlation_id", ""),
        "tenant_uid": record.get("tenant", ""),
    }
    return {key: value for key, value in found.items() if value != ""}


def _source(record: Record) -> dict[str, Any]:
    """The schema requires one; of what came from nowhere on a network this service is it. A pseudonym is no address."""
    address = str(record.get("facts", {}).get("client", ""))
    if not address:
        return {"svc_name": SERVICE}
    return {"uid": address} if address.startswith("~") else {"ip": address}


def _of_class(kind: int, record: Record) -> dict[str, Any]:
    user = {"uid": record["user"], "name": record["user"]} if record.get("user") else None
    documents = [{"uid": one, "type": "document"} for one in record.get("documents", ())]
    if kind == _SIGN_IN:
        return {"user": user or {"name": "unknown", "type_id": 0}, "service": {"name": SERVICE}}
    actor = {"actor": {"user": user} if user else {"app_name": SERVICE}}
    if kind == _API:
        return {**actor, "api": {"operation": record["action"], "service": {"name": SERVICE}}, **({"resources": documents} if documents else {})}
    kind_of_store = {"type": "Vector", "type_id": 7} if record["action"].startswith("index.") else {"type": "Other", "type_id": 99}
    return {**actor, "database": {"name": record.get("object") or SERVICE, **kind_of_store}}


def _left(kind: int, record: Record) -> dict[str, Any]:
    names = ("object", "turn", "facts", "chain", "key", "prev", "mac", *(("documents",) if kind != _API else ()))
    return {key: record[key] for key in names if key in record}

"""The one SQLite file that is the truth."""

from __future__ import annotations

FORMAT = 1
"""Version of the layout below; an index of another format is refused."""

STATEMENTS = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    truth TEXT NOT NULL,
    embedder TEXT NOT NULL,
    dims INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    horizon INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE acls (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    principals TEXT NOT NULL,
    UNIQUE (tenant, principals)
);
CREATE TABLE documents (
    ord INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    source TEXT NOT NULL,
    content_type TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    acl INTEGER NOT NULL REFERENCES acls (id),
    metadata TEXT NOT NULL,
    digest BLOB NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (tenant, id)
);
CREATE INDEX documents_by_id ON documents (id, tenant);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY,
    doc INTEGER NOT NULL REFERENCES documents (ord) ON DELETE CASCADE,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    text TEXT NOT NULL,
    page INTEGER,
    section TEXT NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE INDEX chunks_by_doc ON chunks (doc);
CREATE INDEX chunks_by_page ON chunks (page) WHERE page IS NOT NULL;
CREATE INDEX chunks_by_section ON chunks (section) WHERE section <> '';
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY REFERENCES chunks (row) ON DELETE CASCADE,
    crc INTEGER NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE tombstones (
    seq INTEGER PRIMARY KEY,
    row INTEGER NOT NULL
);
CREATE TABLE facets (
    field TEXT NOT NULL,
    kind INTEGER NOT NULL,
    value,
    doc INTEGER NOT NULL REFERENCES documents (ord) ON DELETE CASCADE,
    PRIMARY KEY (field, kind, value, doc)
) WITHOUT ROWID;
CREATE INDEX facets_by_doc ON facets (doc);
"""
"""One counter, `state.seq`, numbers every change. A chunk's row and a document's ord are the numbers of the change that
brought them, never used again; a tombstone's seq is the number of the change that took its chunk away. A view at number
p therefore needs the chunks with row > p and the tombstones with seq > p, and nothing else. `horizon` is the number up
to which tombstones were forgotten: a view older than that is rebuilt."""

FIRST_STATE = "INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)"

SELECT_HITS = (
    "SELECT c.row, c.doc, c.id, c.position, c.text, c.page, c.section, c.start, c.end, c.crc, "
    "d.id, d.tenant, d.title, d.source, d.content_type, d.content_hash, a.principals, d.metadata, d.crc "
    "FROM json_each(?) j JOIN chunks c ON c.row = j.value JOIN documents d ON d.ord = c.doc JOIN acls a ON a.id = d.acl"
)
SELECT_DOCUMENT = (
    "SELECT d.ord, d.acl, d.id, d.tenant, d.title, d.source, d.content_type, d.content_hash, a.principals, d.metadata, d.crc "
    "FROM documents d JOIN acls a ON a.id = d.acl WHERE d.tenant = ? AND d.id = ?"
)
WALK_TENANT = (
    "SELECT d.ord, d.acl, d.id, d.tenant, d.title, d.source, d.content_type, d.content_hash, a.principals, d.metadata, d.crc "
    "FROM documents d JOIN acls a ON a.id = d.acl WHERE d.tenant = ? AND d.id > ? ORDER BY d.id"
)
WALK_ALL = (
    "SELECT d.ord, d.acl, d.id, d.tenant, d.title, d.source, d.content_type, d.content_hash, a.principals, d.metadata, d.crc "
    "FROM documents d JOIN acls a ON a.id = d.acl WHERE (d.id, d.tenant) > (?, ?) ORDER BY d.id, d.tenant"
)
SELECT_CHUNKS = "SELECT c.id, c.position, c.text, c.page, c.section, c.start, c.end, c.crc FROM chunks c WHERE c.doc = ? ORDER BY c.position, c.row"
SELECT_ENTRIES = (
    "SELECT c.row, c.doc, d.acl, d.tenant, a.principals, d.title, c.section, c.text, c.crc, c.id, c.position, c.page, c.start, c.end "
    "FROM chunks c JOIN documents d ON d.ord = c.doc JOIN acls a ON a.id = d.acl WHERE c.row > ? AND c.row <= ? ORDER BY c.row"
)
SELECT_VECTORS = (
    "SELECT v.row, c.doc, d.acl, v.vector, v.crc FROM vectors v JOIN chunks c ON c.row = v.row JOIN documents d ON d.ord = c.doc "
    "WHERE v.row > ? AND v.row <= ? ORDER BY v.row"
)

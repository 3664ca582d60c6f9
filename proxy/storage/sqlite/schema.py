"""The database schema as numbered migrations from an empty file; a released migration is never changed."""

from __future__ import annotations

#: The statements of each migration; ``PRAGMA user_version`` is the number of migrations that a file has had.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE policies (
            name TEXT NOT NULL, version INTEGER NOT NULL, policy BLOB NOT NULL, who TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (name, version)) WITHOUT ROWID""",
        # The version in force is that of the last change.
        """CREATE TABLE policy_changes (
            seq INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, action TEXT NOT NULL,
            who TEXT NOT NULL, at REAL NOT NULL)""",
        "CREATE INDEX policy_changes_name ON policy_changes (name, seq)",
        """CREATE TABLE decisions (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL, choice INTEGER NOT NULL, completion_id TEXT,
            at REAL NOT NULL, route TEXT NOT NULL, policy TEXT, decision TEXT NOT NULL, reason TEXT NOT NULL,
            confidence REAL, body BLOB NOT NULL, text BLOB, UNIQUE (id, choice))""",
        "CREATE INDEX decisions_at ON decisions (at, route, decision, reason)",
        "CREATE INDEX decisions_route_at ON decisions (route, at)",
        "CREATE INDEX decisions_confidence ON decisions (route, confidence) WHERE confidence IS NOT NULL",
        "CREATE INDEX decisions_completion ON decisions (completion_id) WHERE completion_id IS NOT NULL",
        """CREATE TABLE tallies (
            route TEXT NOT NULL, policy TEXT NOT NULL, answered INTEGER NOT NULL,
            PRIMARY KEY (route, policy)) WITHOUT ROWID""",
        """CREATE TABLE labels (
            id TEXT NOT NULL, choice INTEGER NOT NULL, source TEXT NOT NULL, label TEXT NOT NULL,
            who TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (id, choice, source)) WITHOUT ROWID""",
        "CREATE INDEX labels_at ON labels (at)",
        """CREATE TABLE audit (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, choice INTEGER NOT NULL, at REAL NOT NULL,
            route TEXT NOT NULL, policy TEXT, decision TEXT NOT NULL, confidence REAL, body BLOB NOT NULL,
            UNIQUE (id, choice))""",
        "CREATE INDEX audit_route ON audit (route, seq)",
        "CREATE INDEX audit_policy ON audit (route, policy, seq)",
        "CREATE INDEX audit_at ON audit (at)",
        "CREATE TABLE risks (route TEXT PRIMARY KEY, revision INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE revisions (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL)",
        "INSERT INTO revisions VALUES (1, 0)",
    ),
    (
        """CREATE TABLE spendings (
            account TEXT NOT NULL, second INTEGER NOT NULL, amount INTEGER NOT NULL,
            PRIMARY KEY (account, second)) WITHOUT ROWID""",
    ),
    ("CREATE TABLE keys (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",),
    ("CREATE TABLE key_uses (name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",),
    ("CREATE TABLE ended_sessions (session TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID",),
)

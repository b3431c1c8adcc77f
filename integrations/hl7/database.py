"""The database connections of the daemon's processes."""

from django.db import connections

# So often a statement is sent before it is prepared: parsed and planned once for each connection.
PREPARED_AFTER = 2


def keep_connections() -> None:
    """Each thread keeps one connection, which is looked at before each message, and on it the statements that recur.

    All of its statements are prepared, so PostgreSQL decides for each whether one plan does for all values.
    Half of what PostgreSQL does for a message is otherwise to understand what it is told each time anew.
    """
    settings = connections.settings["default"]
    options = {name: value for name, value in (settings.get("OPTIONS") or {}).items() if name != "pool"}
    settings["CONN_MAX_AGE"] = None
    options["options"] = options.get("options", "").replace("force_generic_plan", "auto")
    settings["OPTIONS"] = {**options, "server_side_binding": True, "prepare_threshold": PREPARED_AFTER}

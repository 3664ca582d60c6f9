"""The page at ``/admin`` and its JSON: what each route does, its threshold, its labels and its policies."""

from proxy.admin.doors import admin_routes
from proxy.admin.guard import Guard

__all__ = ["Guard", "admin_routes"]

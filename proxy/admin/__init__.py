"""The page at ``/admin`` and its JSON API: each route's figures, threshold, labels and policies, and client keys."""

from proxy.admin.access import AdminAccess
from proxy.admin.endpoints import admin_routes

__all__ = ["AdminAccess", "admin_routes"]

"""What the upstreams can do, found out by asking them, and whether that is enough for the routes."""

from proxy.offline.doctor.probing import Deployment, probe
from proxy.offline.doctor.routes import Diagnosis, diagnosis

__all__ = ["Deployment", "Diagnosis", "diagnosis", "probe"]

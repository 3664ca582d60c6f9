"""The doctor: probes of the upstreams, and a diagnosis for each route of whether its answers can be measured."""

from proxy.offline.doctor.diagnosis import Diagnosis, diagnosis
from proxy.offline.doctor.probes import Deployment, probe

__all__ = ["Deployment", "Diagnosis", "diagnosis", "probe"]

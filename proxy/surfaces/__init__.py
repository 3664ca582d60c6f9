"""The surfaces: one for each wire format, in one table."""

from collections.abc import Mapping
from typing import Final

from proxy.surfaces.chat import Chat
from proxy.surfaces.completions import Completions
from proxy.surfaces.responses import Responses
from proxy.wire import Surface

#: By name. A new surface is one file and one line here.
SURFACES: Final[Mapping[str, Surface]] = {
    surface.name: surface for surface in (Chat(), Completions(), Responses())
}

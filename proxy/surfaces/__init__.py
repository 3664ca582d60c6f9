"""The wire formats that clients may use, in one table."""

from collections.abc import Mapping
from typing import Final

from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.completions.surface import Completions
from proxy.surfaces.contract import Surface
from proxy.surfaces.messages.over_chat import MessagesOverChat
from proxy.surfaces.messages.surface import Messages
from proxy.surfaces.responses.over_chat import ResponsesOverChat
from proxy.surfaces.responses.surface import Responses
from proxy.surfaces.translation import TranslatedSurface

#: The surfaces by their names. A new one is a folder and one line here.
SURFACES: Final[Mapping[str, Surface]] = {
    surface.name: surface for surface in (Chat(), Completions(), Responses(), Messages())
}
#: The surfaces for upstreams that speak chat completions only, by the names of the formats.
OVER_CHAT: Final[Mapping[str, TranslatedSurface]] = {
    translation.name: TranslatedSurface(translation)
    for translation in (ResponsesOverChat(), MessagesOverChat())
}

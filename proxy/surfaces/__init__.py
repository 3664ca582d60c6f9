"""The surfaces: one for each wire format, in one table."""

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

#: By name. A new surface is one file and one line here.
SURFACES: Final[Mapping[str, Surface]] = {
    surface.name: surface for surface in (Chat(), Completions(), Responses(), Messages())
}
#: Those that an upstream which speaks the chat's format alone can serve too.
OVER_CHAT: Final[Mapping[str, TranslatedSurface]] = {
    translation.name: TranslatedSurface(translation)
    for translation in (ResponsesOverChat(), MessagesOverChat())
}

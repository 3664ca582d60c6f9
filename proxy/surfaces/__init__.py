"""The surfaces: one for each wire format, in one table."""

from collections.abc import Mapping
from typing import Final

from proxy.surfaces.chat import Chat
from proxy.surfaces.completions import Completions
from proxy.surfaces.messages import Messages
from proxy.surfaces.messages_chat import MessagesOverChat
from proxy.surfaces.responses import Responses
from proxy.surfaces.responses_chat import ResponsesOverChat
from proxy.surfaces.translated import TranslatedSurface
from proxy.wire import Surface

#: By name. A new surface is one file and one line here.
SURFACES: Final[Mapping[str, Surface]] = {
    surface.name: surface for surface in (Chat(), Completions(), Responses(), Messages())
}
#: Those that an upstream which speaks the chat's format alone can serve too.
OVER_CHAT: Final[Mapping[str, TranslatedSurface]] = {
    translation.name: TranslatedSurface(translation)
    for translation in (ResponsesOverChat(), MessagesOverChat())
}

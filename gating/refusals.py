"""Patterns of answers that decline, in one table with an entry for each language.

A pattern is a lower-case regular expression that is matched at the beginning of a clause. Each pattern takes
one line, and a line that ends in ``|`` continues on the next. ``{SOURCE}`` and the other names in capitals are
replaced by shared parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = (
    r"(?:the |this |that |these |those |your |any )?(?:(?:provided|given|above|available|retrieved|supplied|"
    r"search|current) ){0,2}(?:contexts?|texts?|passages?|articles?|documents?|documentation|information|"
    r"paragraphs?|sources?|data|excerpts?|results?|statements?|question|snippets?|material)"
    r"(?: (?:provided|given|above|available|you (?:provided|gave)))?"
)
_NOT = r"(?:n't| not)(?: (?:explicitly|directly|specifically|clearly|actually|currently|seem to|appear to))*"
_KIND = (
    r"(?:(?:specific|such|relevant|available|known|direct|explicit|definitive|further|reliable|clear) ){0,2}"
)
_FACTS = (
    r"(?:information|mention|data|details?|evidence|context|indication|reference|way to|records?|answer)\b"
)
_SLOTS = MappingProxyType({"{SOURCE}": _SOURCE, "{NOT}": _NOT, "{KIND}": _KIND, "{FACTS}": _FACTS})


@dataclass(frozen=True, slots=True)
class Language:
    """The patterns of one language.

    ``cues``: substrings, at least one of which occurs in every refusal. ``contrasts``: conjunctions that begin a
    new clause. ``leads``: words that may precede a clause. ``declines``: the refusals. ``asides``: clauses that
    may accompany a refusal. ``guesses``: words that make a clause an answer after all.
    """

    cues: tuple[str, ...]
    contrasts: tuple[str, ...]
    leads: tuple[str, ...]
    declines: tuple[str, ...]
    asides: tuple[str, ...]
    guesses: tuple[str, ...]


def _patterns(block: str) -> tuple[str, ...]:
    joined = re.sub(r"\|\n\s*", "|", block)
    filled = re.sub(r"\{[A-Z]+\}", lambda slot: _SLOTS[slot[0]], joined)
    return tuple(line.strip() for line in filled.splitlines() if line.strip())


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "en": Language(
            cues=(
                *("not", "n't", "n’t", "no ", "know", "dunno", "idk", "n/a", "unable", "uncertain"),
                *("unclear", "unsure", "unaware", "unfamiliar", "unanswer", "insufficient"),
                *("impossible", "lack "),
            ),
            contrasts=("but", "however", "although", "though", "nevertheless", "still,"),
            leads=_patterns(r"""
                (?:i'm|i am|we are) (?:very |so |really |truly )?(?:sorry|afraid)(?: that)?
                (?:sorry|unfortunately|apologies|my apologies|regrettably|honestly|hmm|well|actually|
                    therefore|so|thus|hence|currently|answer|the answer is)
                as (?:an? )?(?:ai|artificial intelligence|large language model|language model|
                    computer program)(?: [\w-]+){0,5}
                (?:based on|according to|from|in|given) {SOURCE}(?: alone)?
                at (?:this|the) (?:time|moment)|as of (?:now|my (?:last|latest) \w+)|
                    to (?:the best of )?my knowledge
            """),
            declines=_patterns(r"""
                (?:i|we)(?: really| honestly| simply| just)? (?:do not|don't|dont|did not|
                    didn't) (?:really |actually |currently |quite )?(?:know|recall|
                    remember)\b(?: for (?:sure|
                    certain))?
                (?:i'm|i am|we are|we're) (?:really |honestly |still )?(?:not (?:\w+ )?(?:sure|certain|
                    aware|familiar|able|confident|qualified)|unsure|uncertain|unable|unaware|unfamiliar)\b
                (?:i|we) (?:do not|don't|dont) (?:currently |actually |personally )?have (?:(?:any|the|
                    enough|sufficient|specific|real-time|direct|detailed|personal|current|up-to-date|more|
                    further) ){0,3}(?:[\w-]+ )?(?:access|information|knowledge|data|details?|ability|capability|context|
                    answer|idea|clue|records?|memory|evidence|opinions?|beliefs?|feelings?|preferences?|
                    experiences?|emotions?)\b
                (?:i|we) (?:have no|lack) (?:(?:the|any|specific|real-time) )?(?:idea|clue|information|
                    knowledge|data|access|way of|ability|context|answer)\b
                (?:i|we) (?:can't|cannot|can not|could not|couldn't|won't|will not|
                    would not be able to) (?:\w+ly )?(?:answer|provide|determine|find|assist|help|verify|
                    confirm|say|tell|identify|give|predict|access|respond|know|recall|be (?:sure|certain)|
                    locate|discuss|fulfil|comply|browse)\b
                (?:there (?:is|was|are)|there's) (?:no|not enough|not any|insufficient|
                    not sufficient) {KIND}{FACTS}
                there (?:isn't|aren't|wasn't) (?:any|enough|sufficient) {KIND}{FACTS}
                {SOURCE} (?:do|does|did){NOT} (?:mention|contain|provide|specify|state|include|say|give|
                    have|indicate|discuss|address|answer|offer|describe|reveal|identify|list|clarify|tell|
                    talk|
                    refer)\b
                {SOURCE} (?:contains?|provides?|gives?|has|makes?|offers?) no (?:information|mention|
                    details?|data|answer|indication|reference)\b
                {SOURCE} (?:is|are){NOT} (?:enough|sufficient|clear|relevant|related)\b
                [^,;:]{1,120}? (?:is|are|was|were|has been){NOT} (?:been )?(?:mentioned|specified|stated|
                    provided|given|found|included|listed|available|disclosed|discussed|answered|present|
                    known)(?: (?:anywhere|explicitly|directly))? (?:in|by|from) {SOURCE}
                (?:it|this|that|the answer|the question|this question|
                    that question)(?:'s| is| remains)(?: currently)? (?:unknown|
                    unclear|unanswerable|uncertain|impossible to|
                    not (?:currently )?(?:possible to|known|clear (?:from|who|what|when|where|why|how|
                    whether|
                    which|if)|specified|mentioned|stated|provided|given|available))\b
                (?:it|this|that|the question|
                    this question)(?: can't| cannot| can not) be (?:\w+ly )?(?:determined|
                    answered|known|inferred|found|verified)\b
                (?:can't|cannot|can not) be (?:\w+ly )?(?:answered|determined) (?:because|since|as|from|with|
                    based|by)\b
                it (?:does not|doesn't|did not|didn't) mention\b
                (?:unknown|unanswerable|n/a|idk|not (?:mentioned|specified|stated|provided|given|known|
                    available|sure|enough information|applicable)|no (?:information|idea|answer|clue)|
                    insufficient (?:information|context|data)|(?:can't|cannot|can not) (?:answer|
                    determine|say|
                    be determined)|unable to (?:answer|determine|find|provide)|don't know|dunno)(?: (?:in|
                    by|
                    from) {SOURCE}| (?:about|on) [^,]*| to (?:answer|determine)[^,]*| (?:is )?(?:available|
                    provided|given|found))?$
            """),
            asides=_patterns(r"""
                (?:please|kindly|could you|can you|would you|if you|if there|let me|feel free|sorry|thanks?|
                    thank you|unfortunately)\b
                you (?:can|may|might|could|should|would|will|'ll|need)\b
                (?:i|we)(?:'d| would|'ll| will)? (?:recommend|suggest|need|advise|apologi[sz]e|hope|
                    can (?:help|assist|try|only|provide)|be happy|require)\b
                (?:i'm|i am) (?:an? |just |only |here|happy|sorry|designed|very sorry)
                my (?:knowledge|training|purpose|apologies)\b
                (?:more|further|additional) (?:information|context|details?)\b
                (?:for (?:more|accurate|further|the (?:latest|most)|up-to-date)|to (?:answer|determine|find|
                    get))\b
                (?:it|this|that)(?: (?:only|just) \w+|'s| is| would be) (?:\w+ )?(?:best|recommended|
                    advisable|necessary|important|about|a question)\b
                (?:it|they|{SOURCE}) (?:only|just|merely) \w+
                {SOURCE} (?:only |just |merely )?(?:provides?|contains?|gives?|includes?|has|have) (?:information|
                    details?|data|facts) (?:about|on|regarding|related to|of)\b
                the (?:question|answer to the question) ["“'][^"”]*$
                {SOURCE} (?:is about|are about|discuss(?:es)?|describes?|focus(?:es)?|talks?|deals?)\b
                is there (?:anything|something|another)|how (?:can|may) i|what (?:can|would you like)\b
            """),
            guesses=_patterns(r"""
                \b(?:i(?:'d| would)? (?:think|believe|guess|say|assume|suspect)|guess|probably|perhaps|
                    maybe|possibly|(?:most |very |more )likely|presumably)\b
                (?:^|[,:] ?)(?:(?:so|and|that|then) )?(?:it|he|she|this|that|they|these|there|
                    the (?:correct |right |short )?(?:answer|
                    result))(?:'s| is| was| are| were| might| could|
                    \ may| must)(?:n't)?\b
            """),
        ),
        "de": Language(
            cues=("nicht", "kein", "unbekannt"),
            contrasts=("aber", "jedoch", "allerdings"),
            leads=_patterns(r"""
                (?:leider|tut mir leid|es tut mir (?:sehr )?leid|entschuldigung|als (?:ki|
                    sprachmodell)[\w-]*)
            """),
            declines=_patterns(r"""
                (?:das )?(?:ich )?wei(?:ß|ss) (?:ich )?(?:es |das )?(?:leider )?nicht\b
                (?:ich bin|da bin ich) (?:mir )?(?:leider )?nicht sicher\b
                (?:ich )?(?:habe (?:ich )?)(?:dazu |darüber |leider )*keine (?:\w+ )?(?:ahnung|
                    informationen|angaben|daten|antwort)\b
                (?:ich )?kann (?:ich )?(?:das |die frage |diese frage |dir |ihnen |dazu |leider )*(?:nicht|
                    keine) (?:\w+ )?(?:beantworten|sagen|bestimmen|antwort|auskunft|helfen)\b
                (?:der|die|das) (?:\w+ )?(?:kontext|text|abschnitt|artikel|dokument|passage)[^,;]* (?:nicht|
                    keine)\b[^,;]*(?:erwähnt|genannt|angegeben|enthält|informationen|angaben)?
                es gibt (?:\w+ )?keine (?:informationen|angaben|daten|hinweise)\b
                (?:unbekannt|keine ahnung|keine angabe)$
            """),
            asides=_patterns(r"""
                (?:bitte|wenn sie|falls|könnten sie|kannst du|gerne|sorry)\b
            """),
            guesses=_patterns(r"""
                \b(?:ich (?:glaube|denke|vermute|schätze)|vielleicht|wahrscheinlich|vermutlich|
                    möglicherweise)\b
            """),
        ),
        "fr": Language(
            cues=(" pas", "aucun", "inconnu", "ignore"),
            contrasts=("mais", "cependant", "toutefois"),
            leads=_patterns(r"""
                (?:désolée?|je suis (?:vraiment )?désolée?|malheureusement|en tant qu(?:e |')[\w' -]{2,40})
            """),
            declines=_patterns(r"""
                (?:je )?(?:ne |n')?(?:le |la )?(?:sais|connais) pas\b
                (?:je )?(?:ne |n')?(?:suis|peux|dispose|ai) pas (?:certaine?|sûre?|d'informations?|
                    la réponse|
                    répondre|capable|accès|assez|en mesure)\b
                j'ignore\b
                il n'y a (?:pas d'|aucune )(?:information|mention|indication)s?\b
                (?:le|la|ce|cet) (?:contexte|texte|passage|article|document)[^,;]* ne [^,;]{2,30} pas\b
                aucune (?:information|idée|mention|réponse)\b
                inconnue?$
            """),
            asides=_patterns(r"""
                (?:veuillez|pourriez-vous|si vous|n'hésitez|merci|s'il vous)\b
            """),
            guesses=_patterns(r"""
                \b(?:je (?:pense|crois|suppose)|peut-être|probablement|c'est|il s'agit)\b
            """),
        ),
        "es": Language(
            cues=("no ", "desconoc", "ningun"),
            contrasts=("pero", "sin embargo", "aunque"),
            leads=_patterns(r"""
                (?:lo siento|lo lamento|desafortunadamente|lamentablemente|como (?:ia|modelo|
                    inteligencia)[\w ]{0,40})
            """),
            declines=_patterns(r"""
                (?:yo )?no (?:(?:lo |la )?(?:sé|conozco|recuerdo)\b|lo se\b|se$)
                (?:yo )?no (?:estoy segur[oa]|tengo (?:\w+ )?(?:información|idea|datos|conocimiento|acceso|
                    respuesta)|puedo (?:responder|contestar|determinar|proporcionar|decir|ayudar)|
                    dispongo de)\b
                no (?:(?:hay|existe) (?:\w+ )?información|se (?:menciona|proporciona|especifica|sabe|
                    indica))\b
                (?:el|la|este|esta) (?:contexto|texto|pasaje|artículo|documento)[^,;]* no (?:menciona|
                    proporciona|especifica|contiene|indica|dice)\b
                (?:desconozco\b|(?:desconocido|se desconoce)$)
            """),
            asides=_patterns(r"""
                (?:por favor|si (?:me|tienes|quieres|necesitas)|podrías|puedes|gracias)\b
            """),
            guesses=_patterns(r"""
                \b(?:creo|pienso|supongo|quizás?|tal vez|probablemente|posiblemente|diría)\b
            """),
        ),
        "it": Language(
            cues=("non ", "sconosciut", "nessun"),
            contrasts=("ma", "però", "tuttavia"),
            leads=_patterns(r"""
                (?:mi dispiace|purtroppo|spiacente|scusa|come (?:ia|modello|intelligenza)[\w ]{0,40})
            """),
            declines=_patterns(r"""
                (?:io )?non (?:lo |la )?(?:so|conosco|ricordo)\b
                (?:io )?non (?:(?:ne )?sono (?:sicur[oa]|in grado)|ho (?:\w+ )?(?:informazioni|idea|dati|
                    accesso|conoscenza)|posso (?:rispondere|dire|determinare|fornire|aiutar\w+))\b
                non (?:ci sono informazioni|è (?:noto|possibile|menzionat[oa]|specificat[oa]))\b
                (?:il|la|questo) (?:contesto|testo|passaggio|articolo|documento)[^,;]* non (?:menziona|
                    fornisce|specifica|contiene|indica|dice)\b
                (?:sconosciut[oa]|nessuna (?:informazione|idea))$
            """),
            asides=_patterns(r"""
                (?:per favore|se (?:vuoi|hai|puoi)|potresti|grazie)\b
            """),
            guesses=_patterns(r"""
                \b(?:credo|penso|suppongo|forse|probabilmente|direi)\b
            """),
        ),
        "pt": Language(
            cues=("não ", "desconhec", "nenhum"),
            contrasts=("mas", "porém", "no entanto"),
            leads=_patterns(r"""
                (?:desculpe|sinto muito|lamento|infelizmente|como (?:ia|um modelo|modelo|
                    inteligência)[\w ]{0,40})
            """),
            declines=_patterns(r"""
                (?:eu )?não (?:o |a )?(?:sei|conheço|lembro)\b
                (?:eu )?não (?:(?:estou|tenho) (?:certeza|segur[oa]|cert[oa])|
                    tenho (?:\w+ )?(?:informaç(?:ão|ões)|ideia|dados|acesso|conhecimento)|
                    posso (?:responder|
                    dizer|determinar|fornecer|ajudar)|consigo)\b
                não (?:há informaç(?:ão|ões)|é (?:possível|mencionad[oa]))\b
                (?:o|a|este|esta) (?:contexto|texto|passagem|artigo|documento)[^,;]* não (?:menciona|
                    fornece|especifica|contém|indica|diz)\b
                (?:desconheço\b|desconhecid[oa]$)
            """),
            asides=_patterns(r"""
                (?:por favor|se (?:você|quiser|precisar)|poderia|obrigad[oa])\b
            """),
            guesses=_patterns(r"""
                \b(?:acho|acredito|suponho|talvez|provavelmente|diria)\b
            """),
        ),
    }
)  # fmt: skip
"""By ISO 639-1 code."""

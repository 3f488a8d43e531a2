"""What simulated messages are made of: names in several scripts, and sentences in the four working languages.

No real person: names are put together from syllables, which bear a meaning in no language on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from broker.model.content import Language
from broker.model.naming import Region

_SYLLABLES = {  # Latin: Arabic, Cyrillic, kana
    "ba": ("با", "ба", "バ"),
    "da": ("دا", "да", "ダ"),
    "fi": ("في", "фи", "フィ"),
    "ku": ("كو", "ку", "ク"),
    "la": ("لا", "ла", "ラ"),
    "mi": ("مي", "ми", "ミ"),
    "na": ("نا", "на", "ナ"),
    "ri": ("ري", "ри", "リ"),
    "sa": ("سا", "са", "サ"),
    "ti": ("تي", "ти", "チ"),
    "wu": ("وو", "ву", "ウ"),
    "zo": ("زو", "зо", "ゾ"),
}
_SCRIPTS: Mapping[Region, int] = {Region.MIDDLE_EAST_NORTH_AFRICA: 0, Region.EUROPE: 1, Region.ASIA_PACIFIC: 2}
_ORIGINAL_SHARE: Mapping[Region, float] = {
    Region.MIDDLE_EAST_NORTH_AFRICA: 0.9,
    Region.EUROPE: 0.2,
    Region.ASIA_PACIFIC: 0.5,
}

TITLES: Mapping[str, Mapping[Language, str]] = {
    "wanted": {
        Language.EN: "Wanted for prosecution",
        Language.FR: "Recherché en vue de poursuites",
        Language.ES: "Buscado para su enjuiciamiento",
        Language.AR: "مطلوب للملاحقة القضائية",
    },
    "asked": {
        Language.EN: "Information sought",
        Language.FR: "Demande de renseignements",
        Language.ES: "Solicitud de información",
        Language.AR: "طلب معلومات",
    },
    "warned": {
        Language.EN: "Warning to police services",
        Language.FR: "Mise en garde",
        Language.ES: "Advertencia a los servicios policiales",
        Language.AR: "تحذير لأجهزة الشرطة",
    },
    "missing": {
        Language.EN: "Missing person",
        Language.FR: "Personne disparue",
        Language.ES: "Persona desaparecida",
        Language.AR: "شخص مفقود",
    },
    "unknown": {
        Language.EN: "Identification sought",
        Language.FR: "Demande d'identification",
        Language.ES: "Solicitud de identificación",
        Language.AR: "طلب تحديد هوية",
    },
}

_SENTENCES: Mapping[Language, tuple[str, ...]] = {
    Language.EN: (
        "The case is known to the bureau under the reference given.",
        "Travels overland and avoids airports; may use the papers of a relative.",
        "Workers were promised wages that were never paid, and their passports were kept.",
        "Please check border crossings of the last three months and inform us of the result.",
        "Was last seen at a bus station near the border, with one small bag.",
        "Do not approach without support; inform this bureau and the General Secretariat at once.",
        "Contact is kept through a prepaid telephone that changes every few weeks.",
        "The vehicle was hired with a forged licence and has not been returned.",
    ),
    Language.FR: (
        "L'affaire est connue du bureau sous la référence indiquée.",
        "Se déplace par la route et évite les aéroports ; utilise peut-être les papiers d'un proche.",
        "Les salaires promis n'ont jamais été payés et les passeports ont été confisqués.",
        "Veuillez vérifier les passages aux frontières des trois derniers mois et nous en informer.",
        "A été vu pour la dernière fois dans une gare routière, près de la frontière.",
        "Ne pas intervenir sans renfort ; prévenir ce bureau et le Secrétariat général.",
        "Les contacts passent par un téléphone prépayé, changé toutes les quelques semaines.",
    ),
    Language.ES: (
        "El caso consta en la oficina con la referencia indicada.",
        "Viaja por carretera y evita los aeropuertos; puede usar documentos de un familiar.",
        "Los salarios prometidos nunca se pagaron y los pasaportes fueron retenidos.",
        "Se ruega comprobar los cruces de frontera de los últimos tres meses e informar del resultado.",
        "Fue visto por última vez en una estación de autobuses cerca de la frontera.",
        "No intervenir sin apoyo; informar a esta oficina y a la Secretaría General.",
        "Los contactos se hacen con un teléfono de prepago que cambia cada pocas semanas.",
    ),
    Language.AR: (
        "القضية معروفة لدى المكتب بالرقم المرجعي المذكور.",
        "يتنقل برا ويتجنب المطارات، وقد يستعمل وثائق أحد أقاربه.",
        "لم تدفع الأجور الموعودة قط، وحجزت جوازات السفر.",
        "يرجى التحقق من عبور الحدود خلال الأشهر الثلاثة الأخيرة وإبلاغنا بالنتيجة.",
        "شوهد آخر مرة في محطة حافلات قرب الحدود.",
        "يرجى عدم التدخل دون دعم، وإبلاغ هذا المكتب والأمانة العامة.",
    ),
}

TOWNS = ("Sampletown", "Exampleville", "Muestra", "Beispielstadt", "Mfano", "Esimerkki", "Rei", "Mithal")
"""Words for *example* in some languages."""


def a_name(random: Random, region: Region) -> dict[str, str]:
    """Return a name, in its original script too where the region's people often have one."""
    family, forename = ([random.choice(list(_SYLLABLES)) for _ in range(random.randint(2, 4))] for _ in range(2))
    name = {"family": "".join(family).upper(), "forename": "".join(forename).title()}
    if random.random() < _ORIGINAL_SHARE.get(region, 0.0):
        script = _SCRIPTS[region]
        name["family_original"] = "".join(_SYLLABLES[one][script] for one in family)
        name["forename_original"] = "".join(_SYLLABLES[one][script] for one in forename)
    return name


def prose(random: Random, language: Language, chars: int) -> str:
    """Return sentences of a language, at least one, until there are so many characters."""
    said = [random.choice(_SENTENCES[language])]
    length = len(said[0])
    while length < chars:
        said.append(random.choice(_SENTENCES[language]))
        length += 1 + len(said[-1])
    return " ".join(said)

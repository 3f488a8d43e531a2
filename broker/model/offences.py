"""Categories of offences, by their codes: dots lead from the wider to the narrower.

Only ordinary-law crimes have a code. What is political, military, religious or racial (Constitution, article 3),
private or administrative (RPD article 83) has none, so a message about it cannot be written.
"""

from __future__ import annotations

from typing import NamedTuple


class Offence(NamedTuple):
    """A category."""

    code: str
    label: str
    source: str
    """Where it comes from: a section of the domain facts, or an instrument of international law."""


_THB = "domain section 6"
_PALERMO = "UNTOC and its protocols"
_CHOICE = "our choice, after INTERPOL's crime areas"

OFFENCES: dict[str, Offence] = {
    offence.code: offence
    for offence in (
        Offence("thb", "trafficking in human beings", "Palermo protocol, article 3; domain section 6"),
        Offence("thb.sexual", "trafficking of women (and children) for sexual exploitation", _THB),
        Offence("thb.labour", "trafficking for forced labour", _THB),
        Offence("thb.labour.agriculture", "forced labour in agriculture", _THB),
        Offence("thb.labour.fisheries", "forced labour in fisheries", _THB),
        Offence("thb.labour.construction", "forced labour in construction", _THB),
        Offence("thb.labour.domestic", "forced domestic labour", _THB),
        Offence("thb.labour.mining", "forced labour in mining", _THB),
        Offence("thb.labour.trade", "forced labour in trade", _THB),
        Offence("thb.labour.other", "other forced labour", _THB),
        Offence("thb.child-tourism", "commercial sexual exploitation of children in tourism", _THB),
        Offence("thb.organ", "trafficking for organs, tissue or cells", _THB),
        Offence("migrants", "smuggling of migrants", _PALERMO),
        Offence("organised-crime", "participation in an organised criminal group", _PALERMO),
        Offence("money-laundering", "laundering of proceeds of crime", _PALERMO),
        Offence("corruption", "corruption", "UNCAC"),
        Offence("homicide", "murder or manslaughter", _CHOICE),
        Offence("kidnapping", "kidnapping or hostage taking", _CHOICE),
        Offence("assault", "grievous bodily harm", _CHOICE),
        Offence("sexual", "sexual offences", _CHOICE),
        Offence("sexual.children", "sexual abuse of children", _CHOICE),
        Offence("robbery", "robbery or extortion", _CHOICE),
        Offence("theft", "theft or burglary", _CHOICE),
        Offence("theft.vehicles", "theft of vehicles", _CHOICE),
        Offence("drugs", "traffic in drugs", "UN convention of 1988"),
        Offence("firearms", "traffic in firearms", _PALERMO),
        Offence("explosives", "explosives, and chemical, biological, radiological or nuclear material", _CHOICE),
        Offence("terrorism", "terrorism", "UN conventions against terrorism"),
        Offence("war-crimes", "genocide, crimes against humanity, war crimes", "Rome statute, article 5"),
        Offence("fraud", "fraud", _CHOICE),
        Offence("counterfeiting", "counterfeit currency, documents or goods", _CHOICE),
        Offence("counterfeiting.documents", "forged or altered travel documents", _CHOICE),
        Offence("cybercrime", "crime against or by means of computer systems", _CHOICE),
        Offence("environment", "crime against wildlife, forests, fisheries or by pollution", _CHOICE),
        Offence("cultural-property", "traffic in works of art and cultural property", _CHOICE),
        Offence("piracy", "piracy at sea", "UNCLOS, article 101"),
    )
}
"""Every category of version 1, by code."""


def covers(wider: str, narrower: str) -> bool:
    """Return whether a category is another one or holds it: `thb` covers `thb.labour.mining`, not `thbx`."""
    return narrower == wider or narrower.startswith(wider + ".")

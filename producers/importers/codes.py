"""The public notices service's codes of colours, in the words of our format.

BRO and BLA are documented; the others are from public programs that read the service, unchecked. A code that is not
here is left out by name, never guessed: a wrong colour is worse than none.
"""

from __future__ import annotations

EYES = {
    "BLA": "black",
    "BLU": "blue",
    "BLUL": "blue",
    "BRO": "brown",
    "BROD": "brown",
    "BROH": "hazel",
    "BROL": "brown",
    "GRE": "green",
    "GRY": "grey",
    "OTHC": "different",
}
HAIR = {
    "BLA": "black",
    "BRO": "brown",
    "GRY": "grey",
    "HAIB": "bald",
    "HAID": "dyed",
    "RED": "red",
    "WHI": "white",
    "YELB": "blond",
}
